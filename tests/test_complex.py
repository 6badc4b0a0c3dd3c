"""Complex parameters under a real loss go downhill, in the step, the run and from the host."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn import optim

KEY = jax.random.key(0)
TRUE = np.array([1.0 + 2.0j, -0.5 - 1.0j], np.complex64)
X = np.asarray(jax.random.normal(KEY, (16, 2)))
Y = X @ TRUE
MODEL = fnn.stateless(
    lambda key, x: {"kernel": jnp.zeros(x.shape[-1], jnp.complex64), "bias": jnp.zeros((), x.dtype)},
    lambda params, x: x.astype(jnp.complex64) @ params["kernel"] + params["bias"].astype(jnp.complex64),
)


def loss(outputs, targets):
    error = outputs - targets
    return error.real**2 + error.imag**2


TASK = fnn.tasks.as_task(loss)
RULES = {
    "sgd": lambda: optim.sgd(0.1),
    "adam": lambda: optim.adam(0.1),
    "rmsprop": lambda: optim.rmsprop(0.03),
    "clipped": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1)),
    "accumulated": lambda: optim.multi_steps(optim.sgd(0.1), 2),
    "averaged": lambda: optim.ema_params(optim.sgd(0.1), 0.5),
    "schedule_free": lambda: optim.schedule_free(optim.sgd(0.1), 0.1),
    "lookahead": lambda: optim.lookahead(optim.sgd(0.1), 2, 0.5),
    "optax.adam": lambda: optax.adam(0.1),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", RULES)
def test_a_run_finds_complex_parameters(name):
    with jax.numpy_dtype_promotion("standard" if "optax" in name else "strict"):
        trained, history = fnn.trainer(MODEL, RULES[name](), TASK, epochs=60, batch_size=8)(KEY, (X, Y))
    assert history["loss"][-1] < 0.02 * history["loss"][0]
    np.testing.assert_allclose(trained.params["kernel"], TRUE, atol=0.15)
    assert trained.params["kernel"].dtype == jnp.complex64


def test_fit_and_many_at_once_go_downhill_too():
    rule = optim.adam(0.1)
    kept, history = fnn.fit(MODEL, rule, TASK, (X, Y), key=KEY, epochs=60, batch_size=8, progress=False)
    np.testing.assert_allclose(kept.params["kernel"], TRUE, atol=0.1)
    many, _ = jax.vmap(lambda key: fnn.trainer(MODEL, rule, TASK, epochs=60, batch_size=8)(key, (X, Y)))(
        jax.random.split(KEY, 2)
    )
    np.testing.assert_allclose(many.params["kernel"], np.stack([TRUE, TRUE]), atol=0.1)
    np.testing.assert_allclose(
        fnn.predict(MODEL, kept, X), X @ np.asarray(kept.params["kernel"]) + np.asarray(kept.params["bias"]), rtol=1e-4
    )


def test_the_step_takes_the_conjugate_and_a_loop_of_ones_own_keeps_the_convention_of_optax(x64):
    params = {"kernel": jnp.asarray(TRUE.astype(complex) + 1), "bias": jnp.ones(())}
    x, y = X.astype(np.float64), Y.astype(complex)
    model = MODEL._replace(init=lambda key, x: (params, ()))

    def apply(p, s, x, *, key=None, train=False):
        return x.astype(complex) @ p["kernel"] + p["bias"].astype(complex), s

    model = model._replace(apply=apply)
    step = fnn.train_step(model, optim.sgd(0.1), loss)
    found, value = step.update(step.init(KEY, x), KEY, (x, y))
    gradients = jax.grad(lambda p: loss(apply(p, (), x)[0], y).mean())(params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g.conj(), params, gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found.params, expected)
    assert loss(apply(found.params, (), x)[0], y).mean() < value


def test_a_complex_penalty_is_an_error_and_a_complex_loss_too():
    step = fnn.train_step(MODEL, optim.sgd(0.1), loss, penalty=lambda params: (params["kernel"] ** 2).sum())
    with pytest.raises(TypeError, match=r"penalty: expected a real number, got complex64\[\]; write abs\(w\) \*\* 2"):
        step.update(step.init(KEY, X), KEY, (X, Y))
    step = fnn.train_step(MODEL, optim.sgd(0.1), lambda outputs, targets: outputs - targets)
    with pytest.raises(TypeError, match=r"expected real losses, got complex64\[16\]"):
        step.update(step.init(KEY, X), KEY, (X, Y))
    with pytest.raises(TypeError, match="floating-point"):
        optim.l2(1.0)({"kernel": jnp.ones((2, 2), complex)})


TURNING = {
    "adabelief": lambda: optim.adabelief(0.1),
    "adadelta": lambda: optim.adadelta(1.0),
    "adam": lambda: optim.adam(0.1),
    "adamax": lambda: optim.adamax(0.1),
    "amsgrad": lambda: optim.amsgrad(0.1),
    "clip_by_block_rms": lambda: optim.clip_by_block_rms(0.1),
    "clip_by_global_norm": lambda: optim.clip_by_global_norm(0.1),
    "lamb": lambda: optim.lamb(0.1),
    "lars": lambda: optim.lars(0.1),
    "lion": lambda: optim.lion(0.1),
    "lion, smooth": lambda: optim.scale_by_lion(mode="smooth"),
    "lion, refined": lambda: optim.scale_by_lion(mode="refined"),
    "max_norm": lambda: optim.max_norm(1.0, mask=True),
    "proximal_l1": lambda: optim.proximal_l1(1.0, 1.0, mask=True),
    "radam": lambda: optim.radam(0.1),
    "rmsprop": lambda: optim.rmsprop(0.1),
    "rmsprop, centered": lambda: optim.rmsprop(0.1, centered=True),
    "signum": lambda: optim.signum(0.1),
    "yogi": lambda: optim.scale_by_yogi(initial_accumulator_value=0.0),
}


@pytest.mark.parametrize("name", TURNING)
def test_a_step_turns_with_its_gradient(name):
    rule, steps = TURNING[name](), []
    update = jax.jit(lambda gradient: rule.update(gradient, rule.init(gradient), gradient)[0])
    for turn in (1, 1j, np.exp(2j)):
        gradient = jnp.asarray(turn * np.array([3.0 + 1.0j, -2.0j, 0.1 + 0.2j]), jnp.complex64)
        steps.append(np.asarray(update(gradient)) / turn)
    assert np.isfinite(steps).all()
    for other in steps[1:]:
        np.testing.assert_allclose(other, steps[0], rtol=1e-5, atol=1e-6)


def test_the_soft_threshold_of_a_complex_number_shortens_it():
    rule, params = optim.proximal_l1(0.5, 1.0, mask=True), jnp.array([3.0 + 4.0j, 0.3 - 0.4j, 0.1j, 0])
    updates, _ = rule.update(jnp.zeros_like(params), rule.init(params), params)
    np.testing.assert_allclose(params + updates, [2.7 + 3.6j, 0, 0, 0], rtol=1e-6)
    assert (params + updates)[2] == 0


def test_what_has_an_order_alone_says_what_to_write():
    rule = optim.chain(optim.clip(1.0), optim.sgd(0.1))
    with pytest.raises(
        TypeError, match=r"clip: expected updates to be real, got complex64\[2\]; write fnn.optim.clip_by_"
    ):
        rule.update(jnp.asarray(TRUE), rule.init(TRUE))
