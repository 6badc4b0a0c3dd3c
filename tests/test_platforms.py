"""Every kernel, and whole training steps, lower for GPUs and TPUs on a machine that has neither."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.kernels import placement, recurrent_core

pytestmark = pytest.mark.usefixtures("optimized")

PLATFORMS = ("cuda", "tpu")


def lowered(f, *args):
    """The program of `f` for both platforms, as text, from shapes alone."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), args)
    return [jax.export.export(jax.jit(f), platforms=[platform])(*shapes).mlir_module() for platform in PLATFORMS]


def of_kernel(kernel):
    """Value and gradient with respect to every argument."""

    def all_of(*args):
        y, back = jax.vjp(kernel, *args)
        return y, back(jax.tree.map(jnp.ones_like, y))

    return all_of


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("kernel", "groups"),
    [(fnn.kernels.conv, 1), (fnn.kernels.conv, 4), (fnn.kernels.conv_transpose, 2)],
    ids=["dense", "depthwise", "transposed"],
)
def test_convolutions_are_the_platforms_own(kernel, groups, dtype):
    """One convolution for each product: none of the forms that are for CPUs."""
    x, w = jnp.ones((2, 8, 8, 4), dtype), jnp.ones((3, 3, 4 // groups, 8), dtype)
    for text in lowered(of_kernel(functools.partial(kernel, stride=2, groups=groups)), x, w):
        assert text.count("stablehlo.convolution") == 3
        assert not any(word in text for word in ("stablehlo.while", "stablehlo.dot_general", "custom_call"))


@pytest.mark.parametrize(
    "pool",
    [
        functools.partial(fnn.kernels.max_pool, window=2),
        functools.partial(fnn.kernels.max_pool, window=3, stride=2, padding="SAME"),
        functools.partial(fnn.kernels.avg_pool, window=2),
        functools.partial(fnn.kernels.lp_pool, window=2),
        functools.partial(fnn.kernels.adaptive_max_pool, output_size=3),
    ],
    ids=["max", "max overlapping", "average", "lp", "adaptive"],
)
def test_pooling_has_no_scatter(pool):
    for text in lowered(of_kernel(pool), jnp.ones((2, 8, 8, 4))):
        assert "select_and_scatter" not in text


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_recurrence_off_the_cpu_projects_all_steps_at_once(kind, monkeypatch):
    """What a GPU process would trace, lowered for it: no loop over chunks around the loop over time."""
    chunk = recurrent_core.chunk_size(37, 64)
    assert chunk < 37
    monkeypatch.setattr(placement, "platform", lambda: "gpu")
    assert recurrent_core.chunk_size(700, 64) == 700
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[kind]
    x, kernel, recurrent = jnp.ones((64, 37, 5)), jnp.ones((5, 3 * gates)), jnp.ones((3, 3 * gates))

    def run(x, kernel, recurrent, lengths):
        return getattr(fnn.kernels, kind)(x, kernel, recurrent, lengths=lengths)

    def gradient(*args):
        return jax.grad(lambda *a: jnp.sum(run(*a)[0]), (0, 1, 2))(*args)

    for text in lowered(gradient, x, kernel, recurrent, jnp.ones(64, int)):
        assert f"tensor<37x64x{3 * gates}xf32>" in text
        assert f"tensor<{chunk}x64x" not in text


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (fnn.models.lenet5(10), (4, 28, 28, 1)),
        (fnn.serial(fnn.conv(8, 3), fnn.batch_norm(), fnn.relu, fnn.global_avg_pool(), fnn.dense(10)), (4, 8, 8, 3)),
        (fnn.models.sequence_classifier(10, (8,), cell=fnn.gru, bidirectional=True), (4, 9, 3)),
    ],
    ids=["lenet5", "batch norm", "recurrent"],
)
def test_a_training_step(model, shape):
    step = fnn.train_step(model, fnn.optim.adam(1e-3), fnn.tasks.multiclass(10))
    batch = (jnp.ones(shape), jnp.zeros(shape[0], jnp.int32))

    def first(batch):
        key = jax.random.key(0)
        state, loss = step.update(step.init(key, batch[0]), key, batch)
        return loss, state.params

    assert all("func.func public @main" in text for text in lowered(first, batch))
