"""The public checks find what they promise to find."""

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.testing import check_gradients, check_layer

X = jnp.array([[1.0, -2.0], [0.5, 3.0], [0.25, 1.0]])


def layer_of(apply, init=lambda key, x: ((), ())):
    return fnn.Layer(init, apply, "planted")


def test_right_gradients_pass():
    check_gradients(lambda x: (jnp.sin(x), {"square": x**2}), X, order=3)
    check_gradients(lambda params, rows: params["w"][rows] ** 3, {"w": X}, jnp.array([2, 0]))
    check_gradients(lambda x: x > 0, X)


def test_gradients_are_checked_in_float64():
    seen = []
    check_gradients(lambda x: (seen.append(x.dtype), x)[1], X, order=1)
    assert set(seen) == {jnp.dtype("float64")}
    assert X.dtype == jnp.float32


def wrong_slope(factor):
    @jax.custom_jvp
    def f(x):
        return x**3

    f.defjvp(lambda x, dx: (f(x[0]), factor * 3 * x[0] ** 2 * dx[0]))
    return f


@pytest.mark.parametrize(
    ("f", "x", "message"),
    [
        (wrong_slope(1.01), X, r"order 1: forward mode differs from finite differences, output 0\[\d\]\[\d\]"),
        (jnp.abs, jnp.zeros(2), "order 1: forward mode differs from finite differences"),
        (jnp.sqrt, jnp.zeros(2), "order 1: forward mode is not finite"),
        (lambda x: jnp.log(x - 1), jnp.zeros(2), "order 1: value is not finite"),
        (lambda x: jnp.sum((x - jax.lax.stop_gradient(x.mean())) ** 2), X[0], "order 2: forward mode differs"),
    ],
)
def test_wrong_gradients_are_named(f, x, message):
    with pytest.raises(AssertionError, match=message):
        check_gradients(f, x)


def test_reverse_mode_is_compared_with_forward_mode():
    @jax.custom_jvp
    def f(x):
        return 2 * x

    # Forward is right; the transpose of the rule is not that of its value.
    f.defjvp(lambda x, dx: (2 * x[0], jax.custom_derivatives.linear_call(scale(2), scale(3), (), dx[0])))
    with pytest.raises(AssertionError, match="order 1: reverse mode differs from forward mode by"):
        check_gradients(f, X)


def scale(factor):
    return lambda _, x: factor * x


def test_relative_tolerance():
    check_gradients(wrong_slope(1 + 1e-7), X, order=1)
    with pytest.raises(AssertionError):
        check_gradients(wrong_slope(1 + 1e-7), X, order=1, rtol=1e-8, step=1e-4)


def test_good_layers_pass():
    check_layer(fnn.serial(fnn.dense(3), fnn.batch_norm(), fnn.tanh, fnn.dropout(0.5)), X)
    check_layer(jnp.sin, X)


def unstable_init():
    calls = iter(range(10))
    return layer_of(
        lambda p, s, x, *, key=None, train=False: (x + p, s), lambda key, x: (jnp.ones((1, 2)) * next(calls), ())
    )


def planted(change):
    """A layer that behaves but for `change(y, state, x, key, train)`."""

    def apply(params, state, x, *, key=None, train=False):
        return change(x * params, state, x, key, train)

    return layer_of(apply, lambda key, x: (jax.random.uniform(key, (1, 2), x.dtype), {"count": jnp.zeros((), x.dtype)}))


traced = [0]


def drifting(y, state, x, key, train):
    traced[0] += 1
    return y + traced[0], state


FAULTS = {
    "init twice with one key": unstable_init(),
    "init from shape and dtype alone": layer_of(
        lambda p, s, x, *, key=None, train=False: (x + p, s),
        lambda key, x: (jnp.full((1, 2), float(isinstance(x, jax.ShapeDtypeStruct))), ()),
    ),
    "the same call twice, train=False": planted(drifting),
    "state changes its structure, train=False": planted(lambda y, s, x, key, train: (y, ())),
    "inference changes the state": planted(lambda y, s, x, key, train: (y, {"count": s["count"] + 1})),
    "state changes its structure, train=True": planted(
        lambda y, s, x, key, train: (y, {"count": jnp.zeros((), jnp.float16)} if train else s)
    ),
    "the second call compiles again, train=True": planted(
        lambda y, s, x, key, train: (y, {"count": jax.lax.full((), 1.0)} if train else s)
    ),
    "jit differs from eager, train=False": planted(
        lambda y, s, x, key, train: (y + float(isinstance(y, jax.core.Tracer)), s)
    ),
    "vmap over members differs from a loop": planted(
        lambda y, s, x, key, train: (y + float("BatchTracer" in type(y).__name__), s)
    ),
    "dtype of bfloat16 input is not kept, train=False": planted(
        lambda y, s, x, key, train: (y.astype(jnp.promote_types(y.dtype, "float32")), s)
    ),
    "dtype of bfloat16 input is not kept by init": layer_of(
        lambda p, s, x, *, key=None, train=False: (x * p.astype(x.dtype), s),
        lambda key, x: (jax.random.uniform(key, (1, 2), jnp.float32), ()),
    ),
    "gradient, train=True, order 1: forward mode differs": planted(
        lambda y, s, x, key, train: (y * jax.lax.stop_gradient(x) if train else y, s)
    ),
    "gradient, train=False, order 1: forward mode is not finite": planted(
        lambda y, s, x, key, train: (jnp.sqrt(y - y), s)
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_every_fault_is_named(message):
    if "not kept, train" in message:
        jax.config.update("jax_numpy_dtype_promotion", "standard")
    try:
        with pytest.raises(AssertionError, match=f"check_layer, planted: {message}"):
            check_layer(FAULTS[message], X)
    finally:
        jax.config.update("jax_numpy_dtype_promotion", "strict")


def test_inference_must_not_need_a_key():
    def apply(params, state, x, *, key=None, train=False):
        return x + jax.random.normal(fnn.checks.require_key("planted", key, "this layer"), x.shape, x.dtype), state

    with pytest.raises(ValueError, match="planted: this layer needs a random key"):
        check_layer(layer_of(apply), X)


def test_not_a_layer():
    with pytest.raises(TypeError, match="expected a layer or a function of arrays, got int 3"):
        check_layer(3, X)
