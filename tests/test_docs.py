"""Every public name explains itself: one line, a runnable example; every family is reachable from the façade."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fnn

ROOT = Path(__file__).parent.parent

FAMILIES = [
    "activations", "callbacks", "data", "devices", "diagnostics", "estimators", "initializers", "interop", "kernels",
    "losses", "metrics", "models", "optim", "plot", "schedules", "selection", "tasks", "testing",
]  # fmt: skip


def public():
    for module in [fnn, *(getattr(fnn, name) for name in FAMILIES)]:
        assert module.__doc__, module.__name__
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and not inspect.ismodule(value):
                yield f"{module.__name__}.{name}", value


PUBLIC = dict(public())


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    value = PUBLIC[name]
    doc = inspect.getdoc(value) or ""
    assert doc, f"{name} has no docstring"
    first = doc.splitlines()[0]
    assert len(first) <= 120, first
    record = inspect.isclass(value) and issubclass(value, tuple)
    if inspect.isfunction(value) and not record:
        assert ">>> " in doc, f"{name} has no runnable example"


def test_every_family_names_what_it_exports():
    for name in FAMILIES:
        module = getattr(fnn, name)
        exported = list(module.__all__)
        assert exported, name
        assert len(exported) == len(set(exported)), f"{name} names something twice"
        assert not [entry for entry in exported if entry.startswith("_")], name
        assert not [entry for entry in exported if not hasattr(module, entry)], name


PURE = {"prelu", "rrelu"}  # of these names `fnn` has the layers


@pytest.mark.parametrize("room", ["activations", "layer", "layers", "kernels.pooling"])
def test_a_room_whose_names_another_room_has_lists_in_words_what_its_files_export(room):
    """Of a list that is computed type checkers know nothing: to them `fnn.dense` could be anything."""
    folder = Path(fnn.__file__).parent.joinpath(*room.split("."))
    body = ast.parse((folder / "__init__.py").read_text()).body
    (listed,) = [ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)]
    files = [importlib.import_module(f"fnn.{room}.{path.stem}") for path in folder.glob("[a-z]*.py")]
    exported = {name for file in files for name in getattr(file, "__all__", ())}
    assert set(listed) == exported - (PURE if room == "activations" else set())


def test_import_is_light():
    """No optional dependency and no backend is loaded by `import fnn`."""
    heavy = ["optax", "flax", "torch", "sklearn", "matplotlib", "pandas", "tqdm", "hypothesis", "scipy.stats", "orbax"]
    code = (
        f"import sys, fnn; print([m for m in {heavy} if m in sys.modules], fnn.devices.use_cpu_cores(3));"
        "import jax; print(jax.device_count('cpu'))"  # three only if no backend had started
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "3", "3"]
