"""Cross-entropy of class numbers among many classes: no array of log-probabilities, and the digits of float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fnn
from fnn.losses.log_softmax import PIECE

loss = fnn.losses.softmax_cross_entropy_with_integer_labels


@pytest.mark.parametrize("classes", [2 * PIECE, 521])
@pytest.mark.parametrize("split", [("x",), ("labels",), ("x", "labels")], ids=" ".join)
def test_rows_and_labels_may_be_split_unlike_over_an_explicit_mesh(split, classes):
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Explicit,))
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(4, classes)).astype(np.float32), rng.integers(0, classes, 4).astype(np.int32)
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(part, NamedSharding(mesh, P("rows") if name in split else P()))
            for name, part in (("x", x), ("labels", labels))
        ]
        found = jax.jit(jax.value_and_grad(lambda x, labels: loss(x, labels).sum()))(*placed)
    expected = jax.value_and_grad(lambda x: loss(x, labels).sum())(x)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)


def reference(x, labels):
    x = np.asarray(x, np.float64)
    peak = x.max(-1, keepdims=True)
    p = np.exp(x - peak)
    p /= p.sum(-1, keepdims=True)
    rows = np.arange(len(x))
    others = np.where(np.arange(x.shape[-1]) == labels[:, None], -np.inf, x)
    losses = np.log1p(np.exp(others - x[rows, labels][:, None]).sum(-1))
    slope = p.copy()
    slope[rows, labels] = np.expm1(-losses)
    return losses, p, slope


@pytest.mark.parametrize("classes", [1, 3, PIECE, 2 * PIECE + 1000, 4099])
def test_loss_and_gradient_are_those_of_float64_for_any_number_of_classes(classes):
    x = 3 * jax.random.normal(jax.random.key(classes), (4, classes))
    x = x.at[0, -1].set(40)  # the label's probability is almost 1: its loss and slope are what the others have
    labels = np.array([classes - 1, 0, classes // 2, classes - 1])
    losses, _, slope = reference(x, labels)
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss)))(x, jnp.asarray(labels))
    np.testing.assert_allclose(value, losses, rtol=2e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-37)


def test_products_with_the_second_derivative_are_those_of_the_formula():
    classes = PIECE + 10
    x, v = jax.random.normal(jax.random.key(0), (2, 3, classes))
    labels = np.array([0, 5, classes - 1])
    _, p, _ = reference(x, labels)
    expected = p * (v - (p * v).sum(-1, keepdims=True))
    gradient = jax.grad(lambda x: loss(x, jnp.asarray(labels)).sum())
    forward = jax.jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])(x, v)
    reverse = jax.jit(jax.grad(lambda x, v: (gradient(x) * v).sum()))(x, v)
    np.testing.assert_allclose(forward, expected, rtol=1e-4, atol=2e-8)
    np.testing.assert_allclose(reverse, expected, rtol=1e-4, atol=2e-8)


@pytest.mark.parametrize("classes", [100_000, 50_257])  # the second has no divisor of use
@pytest.mark.parametrize("what", ["value", "gradient"])
def test_no_array_of_log_probabilities_is_made(what, classes):
    rows = 64
    function = loss if what == "value" else jax.grad(lambda x, y: loss(x, y).mean())
    shapes = jax.ShapeDtypeStruct((rows, classes), jnp.float32), jax.ShapeDtypeStruct((rows,), jnp.int32)
    memory = jax.jit(function).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < rows * classes * 4 / 10


def test_a_row_that_does_not_count_may_hold_anything():
    x = jnp.array([[jnp.nan, 1.0], [jnp.inf, -jnp.inf], [1.0, 2.0]])
    gradient = jax.grad(lambda x: loss(x, jnp.array([-1, -1, 0]), ignore_index=-1, reduction="mean"))(x)
    np.testing.assert_array_equal(gradient[:2], 0)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64"])
@pytest.mark.parametrize("classes", [2 * PIECE, 521])
def test_labels_of_any_width_in_float64(classes, dtype, x64):
    x, labels = jax.random.normal(jax.random.key(0), (4, classes)), np.array([0, 1, classes - 2, classes - 1], dtype)
    value, gradient = jax.value_and_grad(lambda x: loss(x, jnp.asarray(labels)).sum())(x)
    losses, _, slope = reference(x, labels.astype(int))
    np.testing.assert_allclose(loss(x, jnp.asarray(labels)), losses, rtol=1e-12)
    np.testing.assert_allclose(value, losses.sum(), rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10)
