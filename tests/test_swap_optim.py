"""fnn's rules stand where optax's stood: inside `jit`, inside optax's own combinators, and under its tree functions."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn

PARAMS = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
ONES = jax.tree.map(jnp.ones_like, PARAMS)
SETTING, HALF, LARGE = jnp.asarray(0.25), jnp.asarray(0.5), jnp.asarray(5.0)


FROM_ONE = ("eta_plus", "increase_factor", "initial", "factor", "largest", "threshold")
"""Settings that are at least 1, one of them at least 4, but for `reduce_on_plateau`'s factor."""


def settings():
    """Every number that configures a rule, `(name of the function, name of the setting)`."""
    for name in fnn.optim.__all__:
        rule = getattr(fnn.optim, name)
        if inspect.isfunction(rule) and name not in ("orthogonalize", "smooth"):
            for p in inspect.signature(rule).parameters.values():
                if isinstance(p.default, float) or p.name in ("learning_rate", "max_norm", "max_delta"):
                    yield name, p.name


@pytest.mark.parametrize(("name", "setting"), list(settings()))
def test_a_concrete_array_is_a_setting_inside_jit(name, setting):
    rule = getattr(fnn.optim, name)
    required = {
        p.name: 0.5 for p in inspect.signature(rule).parameters.values() if p.default is inspect.Parameter.empty
    }
    if name.startswith("schedule_free") and "base_optimizer" in required:
        required["base_optimizer"] = fnn.optim.sgd(0.5)
    if "inner" in required and name == "scale_loss":
        required |= {"inner": fnn.optim.sgd(0.5), "initial": LARGE}  # of a largest one that is no smaller
    if "max_linesearch_steps" in required:
        required["max_linesearch_steps"] = 5

    def begin(params):
        rule(**required | {setting: LARGE if setting in FROM_ONE and name != "reduce_on_plateau" else SETTING})
        return 0

    jax.eval_shape(begin, PARAMS)


def test_other_settings_may_be_concrete_arrays_inside_jit():
    x, y = jnp.ones((4, 3)), jnp.zeros((4, 3))
    key = jax.random.key(0)

    def all_of_them(x, y):
        return (
            fnn.losses.huber_loss(x, y, delta=SETTING),
            fnn.losses.softmax_cross_entropy(x, jnp.array([0, 1, 2, 0]), label_smoothing=SETTING),
            fnn.dropout(SETTING).apply((), (), x, key=key, train=True)[0],
            fnn.layers.rrelu(SETTING, SETTING).apply((), (), x)[0],
            fnn.celu(x, SETTING),
            fnn.schedules.cosine_onecycle_schedule(10, 1.0, pct_start=SETTING)(3),
            fnn.schedules.linear_onecycle_schedule(10, 1.0, pct_start=SETTING, pct_final=HALF)(3),
            fnn.batch_norm(decay=SETTING).init(key, x),
            fnn.data.mixup(classes=3)(key, x, np.array([0, 1, 2, 0])),
        )

    jax.eval_shape(all_of_them, x, y)


def test_a_setting_out_of_range_is_refused_inside_jit_too():
    wrong = jnp.asarray(1.5)
    with pytest.raises(ValueError, match=r"expected b1 in \[0, 1\), got 1.5"):
        jax.jit(lambda p: fnn.optim.adam(1e-3, b1=wrong).init(p))(PARAMS)


def test_a_rule_is_what_optax_asks_for():
    rule = fnn.optim.sgd(0.1)
    assert isinstance(rule, optax.GradientTransformationExtraArgs)
    assert isinstance(rule, fnn.optim.Transform)
    assert type(rule) is fnn.optim.Transform
    assert repr(rule).startswith("Transform(")


@pytest.mark.parametrize("name", ["scale_by_adam", "scale_by_rms", "scale_by_lion", "scale_by_amsgrad", "ema", "trace"])
def test_a_state_of_optax_is_carried_on_as_one(name):
    """A loop that began with optax's rule goes on with fnn's: the carry of a scan keeps its type."""
    given = {"decay": 0.9} if name in ("ema", "trace") else {}
    mine, theirs = (getattr(module, name)(**given) for module in (fnn.optim, optax))
    gradients = jnp.linspace(-1, 1, 12).reshape(4, 3)

    def moved(rule):
        return jax.lax.scan(lambda state, g: rule.update(g, state)[::-1], theirs.init(jnp.ones(3)), gradients)

    state, updates = moved(mine)
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        expected, wanted = moved(theirs)
    assert type(state) is type(expected)
    np.testing.assert_allclose(updates, wanted, rtol=2e-5)  # optax corrects for bias in float32, 1e-5 off


def test_optax_hands_extra_arguments_on():
    rule = optax.chain(fnn.optim.sgd(0.5), fnn.optim.reduce_on_plateau(factor=0.5, patience=1))
    state = rule.init(PARAMS)
    for _ in range(2):
        updates, state = rule.update(ONES, state, PARAMS, value=1.0)
    assert updates["bias"].tolist() == [-0.25] * 3


def test_optax_injects_hyperparameters():
    def build(learning_rate):
        return fnn.optim.chain(fnn.optim.adam(learning_rate), fnn.optim.reduce_on_plateau())

    rule = optax.inject_hyperparams(build)(learning_rate=0.5)
    updates, _ = rule.update(ONES, rule.init(PARAMS), PARAMS, value=1.0)
    np.testing.assert_allclose(updates["bias"], -0.5, rtol=1e-5)


RULES = {
    "masked": lambda lib: lib.masked(lib.adam(1e-3), {"kernel": True, "bias": False}),
    "partition": lambda lib: lib.partition(
        {"a": lib.adam(1e-3), "b": lib.sgd(0.1, momentum=0.9)}, {"kernel": "a", "bias": "b"}
    ),
    "multi_transform": lambda lib: lib.multi_transform(
        {"a": lib.adam(1e-3), "b": lib.sgd(0.1, momentum=0.9)},
        lambda params: jax.tree.map(lambda p: "ab"[p.ndim == 1], params),
    ),
    "adamw": lambda lib: lib.adamw(1e-3, mask={"kernel": True, "bias": False}),
    "lookahead": lambda lib: lib.lookahead(lib.adam(1e-3), 5, 0.5),
}


@pytest.mark.parametrize("name", RULES)
def test_optax_finds_what_mirrors_the_parameters(name):
    params = fnn.optim.LookaheadParams.init_synced(PARAMS) if name == "lookahead" else PARAMS

    def marked(rule):
        return optax.tree.map_params(rule, lambda _: "p", rule.init(params), transform_non_params=lambda _: "n")

    mine, theirs = marked(RULES[name](fnn.optim)), marked(RULES[name](optax))
    assert jax.tree.leaves(mine) == jax.tree.leaves(theirs)
    assert [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(mine)] == [
        jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(theirs)
    ]


@jax.tree_util.register_pytree_node_class
class Module:
    """A tree that can be called, as every module of equinox."""

    def __init__(self, kernel, bias):
        self.kernel, self.bias = kernel, bias

    def __call__(self, x):
        raise AssertionError("a mask is read, not called")

    def tree_flatten(self):
        return (self.kernel, self.bias), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


@pytest.mark.parametrize(
    "build",
    [
        lambda mask: fnn.optim.masked(fnn.optim.scale(2.0), mask),
        lambda mask: fnn.optim.adamw(1.0, mask=mask),
        lambda mask: fnn.optim.freeze(mask),
        lambda mask: fnn.optim.partition({True: fnn.optim.scale(2.0), False: fnn.optim.identity()}, mask),
    ],
    ids=["masked", "adamw", "freeze", "partition"],
)
def test_a_mask_that_can_be_called_is_read(build):
    params = Module(jnp.ones(2), jnp.ones(1))
    rule = build(Module(True, False))
    updates, _ = rule.update(params, rule.init(params), params)
    assert updates.kernel[0] != updates.bias[0]


def test_a_penalty_reads_a_mask_that_can_be_called():
    assert float(fnn.optim.l2(1.0, mask=Module(True, False))(Module(jnp.ones(2), jnp.ones(1)))) == 2.0


WEIGHTS = {
    "matrix": jnp.linspace(-1, 1, 24).reshape(4, 6) ** 3,
    "kernel": jnp.sin(jnp.arange(60.0)).reshape(2, 2, 3, 5),
    "heads": jnp.cos(jnp.arange(36.0)).reshape(2, 6, 3),
    "bias": jnp.ones(5),
}
AXES = {"matrix": (0, 1), "kernel": ((0, 1, 2), 3), "heads": (1, -1), "bias": None}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options",
    [
        {"preconditioning": "spectral"},
        {"preconditioning": "aol", "nesterov": False},
        {"preconditioning": "schatten", "adaptive": True},
        {"ns_coeffs": "dion", "consistent_rms": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("by", ["tree", "function"])
def test_muon_orthogonalizes_any_axes_as_optax_does(options, by, x64):
    def run(lib):
        axes = {name: given and lib.MuonDimensionNumbers(*given) for name, given in AXES.items()}
        numbers = axes if by == "tree" else lambda params: {name: axes[name] for name in params}
        rule = lib.muon(0.1, muon_weight_dimension_numbers=numbers, **options)
        params = jax.tree.map(lambda p: p.astype(float), WEIGHTS)
        state = rule.init(params)
        update = jax.jit(rule.update)
        for _ in range(2):
            updates, state = update(jax.tree.map(jnp.sin, params), state, params)
        return updates, state

    mine = run(fnn.optim)
    with jax.numpy_dtype_promotion("standard"):
        theirs = run(optax.contrib)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_factored_moments_take_another_decay():
    def run(lib):
        rule = lib.scale_by_factored_rms(min_dim_size_to_factor=2, decay_rate_fn=lambda step, rate: rate * 0.5)
        state = rule.init(PARAMS)
        for _ in range(2):
            updates, state = rule.update(jax.tree.map(lambda p: p * 0.3, PARAMS), state, PARAMS)
        return jax.tree.leaves((updates, state))

    for a, b in zip(run(fnn.optim), run(optax), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_centered_second_moment_does_not_cancel(x64):
    """At a decay of 0.01 the last gradient is nearly its own mean; long doubles say what is right."""
    gradients, decay, wide = np.random.default_rng(0).normal(size=(100, 5)), 0.01, np.longdouble
    rule = fnn.optim.scale_by_stddev(decay, eps=1e-8, eps_in_sqrt=False)
    state, m, s = rule.init(jnp.zeros(5)), np.zeros(5, wide), np.zeros(5, wide)
    update = jax.jit(rule.update)
    for g in gradients:
        got, state = update(jnp.asarray(g), state)
        m, s = (wide(decay) * old + (1 - wide(decay)) * new for old, new in ((m, wide(1) * g), (s, wide(1) * g * g)))
        np.testing.assert_allclose(np.asarray(got), g / (np.sqrt(s - m * m) + wide(1e-8)), rtol=2e-11)
