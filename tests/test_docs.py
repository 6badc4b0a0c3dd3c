"""Every public name explains itself: one line, a runnable example; every family is reachable from the façade."""

import ast
import importlib
import inspect
import re
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


def arguments_of(doc):
    """The names that a docstring's Args explain."""
    section = re.search(r"^Args:\n((?: .*\n|\n)+)", f"{doc}\n", re.M)
    entries = re.findall(r"^ {4}(\S(?:[^:]|\n)*?):", section[1], re.M) if section else []
    return {name.strip(" *") for entry in entries for name in re.split(r",\s*", entry)}


def referred(doc):
    """The function that has the arguments that are not listed, as `fnn.optim.nadam` refers to `adam`."""
    return next(iter(re.findall(r"^Arguments that are not listed are those of `(\w+)`[.;]", doc, re.M)), None)


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if inspect.isfunction(value)])
def test_every_argument_is_explained(name):
    """Of two or more; what a function of one is for, its line says."""
    value = PUBLIC[name]
    doc, parameters = inspect.getdoc(value), inspect.signature(value).parameters
    assert not re.search(r"^Args.*:.*those of", doc, re.M)
    missing = set(parameters) - arguments_of(doc) if len(parameters) > 1 else set()
    if missing and (other := referred(doc)):
        missing -= arguments_of(inspect.getdoc(PUBLIC[f"{name.rpartition('.')[0]}.{other}"]))
    assert missing == set()


def test_every_family_names_what_it_exports():
    for name in FAMILIES:
        module = getattr(fnn, name)
        exported = list(module.__all__)
        assert exported, name
        assert len(exported) == len(set(exported)), f"{name} names something twice"
        assert not [entry for entry in exported if entry.startswith("_")], name
        assert not [entry for entry in exported if not hasattr(module, entry)], name


PURE = {"prelu", "rrelu"}  # of these names `fnn` has the layers


ROOMS = [path.parent for path in sorted(Path(fnn.__file__).parent.glob("*/**/__init__.py"))]


def names_in_words(room):
    """The names that a type checker reads in a room's list: none of what is computed."""
    lists = [node for node in ast.parse((room / "__init__.py").read_text()).body if isinstance(node, ast.Assign)]
    lists = [node.value for node in lists if ast.unparse(node.targets[0]) == "__all__"]
    words = [entry.value for given in lists if isinstance(given, ast.List) for entry in given.elts if is_word(entry)]
    return set(words)


def is_word(entry):
    return isinstance(entry, ast.Constant)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_what_a_room_exports_is_seen_by_type_checkers(room):
    """Of a list that is computed they know nothing: there only what comes by `*`, from a file or from a room with a
    list in words, is exported. To them `fnn.dense` could be anything else, and `fnn.selection.sweep` would be private.
    """
    imports = [node for node in ast.parse((room / "__init__.py").read_text()).body if isinstance(node, ast.ImportFrom)]
    public = all_names(room)
    unseen = public - names_in_words(room)
    assert not unseen & {alias.name for node in imports for alias in node.names}
    taken = [ROOT.joinpath(*node.module.split(".")) for node in imports if node.names[0].name == "*"]
    exported = {name for source in taken if source in ROOMS for name in all_names(source) - names_in_words(source)}
    assert not unseen & exported


@pytest.mark.parametrize("room", ["activations", "layer", "layers", "kernels.pooling", "data.augmentation"])
def test_a_list_in_words_has_what_the_files_export(room):
    folder = Path(fnn.__file__).parent.joinpath(*room.split("."))
    files = [importlib.import_module(f"fnn.{room}.{path.stem}") for path in folder.glob("[a-z]*.py")]
    exported = {name for file in files for name in getattr(file, "__all__", ())}
    assert names_in_words(folder) == exported - (PURE if room == "activations" else set())


def all_names(room):
    return set(getattr(importlib.import_module(".".join(room.relative_to(ROOT).parts)), "__all__", ()))


def test_import_is_light():
    """No optional dependency and no backend is loaded by `import fnn`."""
    heavy = ["optax", "flax", "torch", "sklearn", "matplotlib", "pandas", "tqdm", "hypothesis", "scipy.stats", "orbax"]
    code = (
        f"import sys, fnn; print([m for m in {heavy} if m in sys.modules], fnn.devices.use_cpu_cores(3));"
        "import jax; print(jax.device_count('cpu'))"  # three only if no backend had started
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "3", "3"]
