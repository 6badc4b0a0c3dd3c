"""Every public name explains itself: one line, a runnable example; every family is reachable from the façade."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fnn

ROOT = Path(__file__).parent.parent
FAMILIES = [
    "activations", "data", "devices", "diagnostics", "estimators", "initializers", "interop", "kernels", "losses",
    "metrics", "models", "optim", "plot", "schedules", "selection", "tasks", "testing",
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
        assert module.__all__ == sorted(module.__all__) or set(module.__all__), name
        for entry in module.__all__:
            assert hasattr(module, entry), f"{name}.{entry}"


def test_readme_code_runs():
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_import_is_light():
    """No optional dependency and no backend is loaded by `import fnn`."""
    heavy = ["optax", "flax", "torch", "sklearn", "matplotlib", "pandas", "tqdm", "hypothesis", "scipy.stats", "orbax"]
    code = (
        "import sys, fnn, jax._src.xla_bridge as bridge;"
        f"print([m for m in {heavy} if m in sys.modules], bool(bridge._backends))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
