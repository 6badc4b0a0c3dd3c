"""What fnn uses of jax that may go with any release: in three modules, loaded late, and not missed."""

import ast
import importlib
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import fnn
from fnn.kernels import convolution, mesh_axes
from fnn.kernels.convolution import plain
from fnn.kernels.convolution.products import products
from fnn.kernels.sliding_windows import Windows

ROOT = Path(__file__).parent.parent
SOURCES = [path for room in ("fnn", "tests", "examples", "benchmarks") for path in (ROOT / room).rglob("*.py")]
INTERIOR = ("jax.extend", "jax.interpreters", "jax._src")
PRIMITIVES = "fnn.kernels.convolution.primitives"


def used_modules(source):
    """What is imported, or reached by its dotted name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def test_three_modules_use_the_interior_of_jax():
    using = {
        path.relative_to(ROOT).as_posix(): name
        for path in SOURCES
        for name in used_modules(path.read_text())
        if name.startswith(INTERIOR)
    }
    assert set(using) == {"fnn/kernels/convolution/primitives.py", "fnn/programs/disk.py", "fnn/random_bits.py"}
    assert not any("_src" in name for name in using.values())


@pytest.mark.parametrize(
    "source", ["import jax._src.core", "from jax._src import core", "import jax\njax.extend.core.Primitive('a')"]
)
def test_a_use_of_the_interior_is_found(source):
    assert any(name.startswith(INTERIOR) for name in used_modules(source))


def test_the_interior_is_loaded_by_the_first_convolution():
    code = (
        "import sys, fnn, jax, jax.numpy as jnp; key = jax.random.key(0)\n"
        f"def loaded(): return {PRIMITIVES!r} in sys.modules\n"
        "jax.eval_shape(fnn.models.mlp((4,), 2).init, key, jnp.ones((1, 3)))\n"
        "before = loaded()\n"
        "jax.eval_shape(lambda x, w: fnn.kernels.conv(x, w), jnp.ones((1, 4, 1)), jnp.ones((3, 1, 2)))\n"
        "print(before, loaded())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.fixture
def afresh(monkeypatch):
    """As if no convolution had been traced in this process."""
    monkeypatch.delitem(sys.modules, PRIMITIVES, raising=False)
    monkeypatch.delattr(convolution, "primitives", raising=False)
    products.cache_clear()
    yield
    monkeypatch.undo()
    products.cache_clear()


def nothing(*args, **kwargs):
    """A function of another jax that no longer does what its name says."""


MISSING = [
    ("jax.extend.core", None, None),
    ("jax.extend.core", "Primitive", None),
    ("jax.interpreters.ad", None, None),
    ("jax.interpreters.ad", "defbilinear", None),
    ("jax.interpreters.ad", "defbilinear", nothing),
    ("jax.interpreters.batching", None, None),
    ("jax.interpreters.batching", "primitive_batchers", None),
    ("jax.interpreters.batching", "primitive_batchers", types.MappingProxyType({})),
    ("jax.interpreters.mlir", None, None),
    ("jax.interpreters.mlir", "lower_fun", None),
    ("jax.interpreters.mlir", "register_lowering", None),
    ("jax.interpreters.mlir", "register_lowering", nothing),
]


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize("case", range(len(MISSING)), ids=[f"{m} {n}{' other' if o else ''}" for m, n, o in MISSING])
def test_convolutions_go_on_without(monkeypatch, case):
    """With one warning, by XLA's own form. Each case has shapes of its own: nothing traced before is taken again."""
    module, name, other = MISSING[case]
    if name is None:
        package, _, last = module.rpartition(".")
        monkeypatch.delattr(importlib.import_module(package), last)
        monkeypatch.setitem(sys.modules, module, None)
    elif other is None:
        monkeypatch.delattr(f"{module}.{name}")
    else:
        monkeypatch.setattr(f"{module}.{name}", other)
    rng, windows = np.random.default_rng(0), Windows((3,), (1,), ((1, 1),), (1,))
    x, w = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 20 + case, 3), (3, 3, 5)))
    with pytest.warns(RuntimeWarning, match=r"XLA's own forms.* tested with jax>=0\.10\.2") as told:
        y, back = jax.vjp(fnn.kernels.conv, x, w)
    assert [warning.filename for warning in told] == [__file__]
    expected, expected_back = jax.vjp(lambda x, w: plain.convolve(x, w, windows), x, w)
    for a, b in zip((y, *back(y)), (expected, *expected_back(expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    painted = fnn.kernels.conv_transpose(y, w.swapaxes(1, 2))  # warns no more
    assert painted.shape == x.shape


@pytest.mark.parametrize(
    ("kind", "axes"),
    [
        (types.SimpleNamespace(manual_axis_type=types.SimpleNamespace(varying=frozenset("a"))), {"a"}),
        (types.SimpleNamespace(vma=frozenset("b")), {"b"}),
        (types.SimpleNamespace(), set()),
    ],
)
def test_what_varies_inside_shard_map_by_every_name_it_has_had(monkeypatch, kind, axes):
    monkeypatch.setattr(jax, "typeof", lambda x: kind)
    assert mesh_axes.manual_axes(1.0) == axes


MESH = jax.make_mesh((1,), ("data",), (AxisType.Auto,))
AROUND = {
    "jit": jax.jit,
    "vmap": lambda f: lambda x, w: jax.vmap(f, (0, None))(x[None], w),
    "grad": lambda f: jax.grad(lambda x, w: f(x, w).sum()),
    "checkpoint": jax.checkpoint,
    "scan": lambda f: lambda x, w: jax.lax.map(lambda x: f(x, w), x[None]),
    "shard_map": lambda f: jax.shard_map(f, mesh=MESH, in_specs=(PartitionSpec("data"), PartitionSpec()),
                                         out_specs=PartitionSpec("data")),
}  # fmt: skip


@pytest.mark.usefixtures("afresh")
@pytest.mark.parametrize("how", AROUND)
def test_the_first_convolution_may_stand_anywhere(how):
    """The rules are tried where it is traced, and are there."""
    x, w = jnp.ones((1, 50 + list(AROUND).index(how), 3)), jnp.ones((3, 3, 5))
    assert "fnn_convolve" in str(jax.make_jaxpr(AROUND[how](fnn.kernels.conv))(x, w))


@pytest.mark.usefixtures("afresh")
def test_the_first_convolution_may_run_without_jit():
    with jax.disable_jit():
        y = fnn.kernels.conv(jnp.ones((1, 60, 3)), jnp.ones((3, 3, 5)), padding="VALID")
    np.testing.assert_array_equal(y, jnp.full((1, 58, 5), 9.0))
    assert products() is not plain
