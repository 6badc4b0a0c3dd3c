"""Wrappers against optax over many steps, and for any transform, dtype and tree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from fnn import optim
from fnn.optim import accumulation, grouping, plateau, wrappers
from fnn.optim.transform import Transform, apply_updates, chain

PARAMS = {"kernel": jnp.arange(6.0).reshape(2, 3) / 3, "bias": [jnp.array([1.0, -2.0]), jnp.array(0.5)]}
MASK = {"kernel": True, "bias": [False, True]}
LABELS = {"kernel": "a", "bias": "b"}
INNER = functools.partial(optax.adam, 0.1)


def skips(module):
    return functools.partial(module.skip_large_updates, max_squared_norm=20.0)


def multi(**options):
    return (
        lambda: accumulation.multi_steps(INNER(), **options, accumulator_dtype=jnp.float64),
        lambda: optax.MultiSteps(INNER(), **options, accumulator_dtype=jnp.float64),
    )


# name -> ours, optax's
PAIRS = {
    "clip": (lambda: wrappers.clip(0.7), lambda: optax.clip(0.7)),
    "clip_by_global_norm": (lambda: wrappers.clip_by_global_norm(2.5), lambda: optax.clip_by_global_norm(2.5)),
    "add_decayed_weights": (lambda: wrappers.add_decayed_weights(0.1), lambda: optax.add_decayed_weights(0.1)),
    "add_decayed_weights, masked": (
        lambda: wrappers.add_decayed_weights(0.1, MASK),
        lambda: optax.add_decayed_weights(0.1, MASK),
    ),
    "add_decayed_weights, scheduled": (
        lambda: wrappers.add_decayed_weights(lambda t: 0.1 / (1 + t)),
        lambda: optax.add_decayed_weights(lambda t: 0.1 / (1 + t)),
    ),
    "masked": (lambda: grouping.masked(INNER(), MASK), lambda: optax.masked(INNER(), MASK)),
    "masked, function": (
        lambda: grouping.masked(INNER(), grouping.weights_only),
        lambda: optax.masked(INNER(), lambda p: jax.tree.map(lambda x: x.ndim >= 2, p)),
    ),
    "partition": (
        lambda: grouping.partition({"a": INNER(), "b": optax.sgd(0.5)}, LABELS),
        lambda: optax.partition({"a": INNER(), "b": optax.sgd(0.5)}, LABELS),
    ),
    "freeze": (lambda: grouping.freeze(MASK), lambda: optax.transforms.freeze(MASK)),
    "multi_steps": multi(every_k_schedule=3),
    "multi_steps, sum": multi(every_k_schedule=4, use_grad_mean=False),
    "multi_steps, scheduled": multi(every_k_schedule=lambda count: 1 + count // 3),
    "multi_steps, skip": (
        lambda: accumulation.multi_steps(INNER(), 3, True, skips(accumulation), jnp.float64),
        lambda: optax.MultiSteps(INNER(), 3, True, skips(optax), jnp.float64),
    ),
    "apply_if_finite": (lambda: wrappers.apply_if_finite(INNER(), 2), lambda: optax.apply_if_finite(INNER(), 2)),
    "reduce_on_plateau": (
        lambda: plateau.reduce_on_plateau(0.5, patience=2, cooldown=2, accumulation_size=2, min_scale=0.1),
        lambda: contrib.reduce_on_plateau(0.5, patience=2, cooldown=2, accumulation_size=2, min_scale=0.1),
    ),
}


def double(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def gradients(seed, params, bad=False):
    rng = np.random.default_rng(seed)
    tree = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)
    return jax.tree.map(lambda g: g * jnp.inf, tree) if bad else tree


def largest_difference(ours, theirs, params, steps=50, bad_steps=()):
    """Over all updates and state leaves, relative above 1; the states must have the same fields."""
    states = [rule.init(params) for rule in (ours, theirs)]
    updates = [jax.jit(ours.update), jax.jit(theirs.update)]
    rng, worst = np.random.default_rng(0), 0.0
    for step in range(steps):
        grads, results = gradients(step, params, step in bad_steps), []
        value = jnp.asarray(rng.uniform(1, 1.5))
        for i, update in enumerate(updates):
            extra = {"value": value} if hasattr(states[i], "plateau_count") else {}
            with jax.numpy_dtype_promotion("standard"):
                new, states[i] = update(grads, states[i], params, **extra)
            results.append(new)
        names = [
            {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(pair)}
            for pair in zip(results, states, strict=True)
        ]
        assert names[0].keys() == names[1].keys()
        for key, a in names[0].items():
            b = names[1][key]
            assert (a.shape, a.dtype) == (b.shape, b.dtype), key
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
            ok = np.isfinite(b)
            gap = np.abs(a[ok].astype(float) - b[ok].astype(float)) / np.maximum(1, np.abs(b[ok].astype(float)))
            worst = max(worst, gap.max(initial=0.0))
        if not bad_steps:
            params = apply_updates(params, results[1])
    return worst


@pytest.mark.thorough
@pytest.mark.parametrize("name", PAIRS)
def test_equals_optax(x64, name):
    ours, theirs = (build() for build in PAIRS[name])
    bad_steps = (3, 4, 10, 11, 12, 13) if name == "apply_if_finite" else ()
    assert largest_difference(ours, theirs, double(PARAMS), bad_steps=bad_steps) < 1e-12


def test_lookahead_equals_optax(x64):
    build = {"sync_period": 3, "slow_step_size": 0.4}
    for reset in (False, True):
        ours, theirs = (m.lookahead(INNER(), **build, reset_state=reset) for m in (optim, optax))
        params = [m.LookaheadParams.init_synced(double(PARAMS)) for m in (optim, optax)]
        states = [ours.init(params[0]), theirs.init(params[1])]
        updates = [jax.jit(ours.update), jax.jit(theirs.update)]
        for step in range(50):
            grads = gradients(step, params[0].fast)
            for i in range(2):
                with jax.numpy_dtype_promotion("standard"):
                    new, states[i] = updates[i](grads, states[i], params[i])
                params[i] = optax.apply_updates(params[i], new)
            for a, b in zip(*(jax.tree.leaves(pair) for pair in zip(params, states, strict=True)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def ours_only():
    return {name: build() for name, (build, _) in PAIRS.items()}


@pytest.mark.parametrize("name", PAIRS)
def test_mixed_dtypes_donation_scan_and_eval_shape(name):
    rule = ours_only()[name]
    if "multi_steps" in name:
        rule = accumulation.multi_steps(optim.sgd(0.1), 2)
    params = {"kernel": jnp.ones((2, 3), jnp.bfloat16), "bias": [jnp.ones(2, jnp.float16), jnp.ones((), jnp.float32)]}
    extra = {"value": jnp.float32(1.0)} if name == "reduce_on_plateau" else {}
    with jax.numpy_dtype_promotion("standard"):
        state = rule.init(params)
        shapes = jax.eval_shape(lambda s: rule.update(params, s, params, **extra), state)
        step = jax.jit(lambda s: rule.update(params, s, params, **extra), donate_argnums=0)
        for _ in range(3):
            updates, state = step(state)
        scanned = jax.lax.scan(lambda s, _: (rule.update(params, s, params, **extra)[1], 0), state, length=2)[0]

    def describe(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    assert describe(updates) == describe(shapes[0]) == describe(params)
    assert describe(state) == describe(shapes[1]) == describe(scanned)


@pytest.mark.parametrize("name", PAIRS)
def test_empty_tree(name):
    rule = ours_only()[name]
    if "masked" in name or name in ("partition", "freeze"):
        rule = grouping.partition({"a": optim.sgd(0.1)}, {})
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = rule.update({}, rule.init({}), {}, value=jnp.float32(1.0))
    assert updates == {}


def test_hyper_parameters_may_be_traced():
    g = jnp.array([3.0, -4.0])
    values = jnp.array([0.5, 2.0, 10.0])
    builds = [
        wrappers.clip,
        wrappers.clip_by_global_norm,
        wrappers.add_decayed_weights,
        lambda v: plateau.reduce_on_plateau(v / 20, patience=1, rtol=v / 100),
        lambda v: wrappers.apply_if_finite(optim.sgd(v), 1),
    ]
    for build in builds:

        def run(v):
            return build(v).update(g, build(v).init(g), g, value=jnp.float32(1.0))[0]

        np.testing.assert_allclose(jax.vmap(run)(values), [run(float(v)) for v in values], rtol=1e-6)


def recorder():
    """A rule that adds the extra argument `value`, and optax's kind, which takes none."""
    return Transform(
        lambda p: (), lambda u, s, params=None, *, value, **extra: (jax.tree.map(lambda x: x + value, u), s)
    )


WRAP = {
    "masked": lambda rule: grouping.masked(rule, True),
    "partition": lambda rule: grouping.partition({"a": rule}, "a"),
    "multi_steps": lambda rule: accumulation.multi_steps(rule, 1),
    "apply_if_finite": lambda rule: wrappers.apply_if_finite(rule, 1),
}


@pytest.mark.parametrize("name", WRAP)
def test_extra_arguments_reach_who_takes_them(name):
    rule = WRAP[name](chain(recorder(), optax.scale(2.0)))
    plain = WRAP[name](optax.sgd(1.0))
    assert float(rule.update(jnp.ones(1), rule.init(jnp.ones(1)), None, value=3.0, other=1)[0][0]) == 8.0
    assert float(plain.update(jnp.ones(1), plain.init(jnp.ones(1)), None, value=3.0)[0][0]) == -1.0


def test_inside_optax_chain():
    rule = optax.chain(wrappers.clip_by_global_norm(1.0), optax.sgd(1.0), grouping.freeze({"a": True, "b": False}))
    params = {"a": jnp.ones(2), "b": jnp.full(2, 2.0)}
    updates, _ = rule.update(params, rule.init(params), params)
    np.testing.assert_allclose(updates["a"], 0)
    np.testing.assert_allclose(updates["b"], -2 / np.sqrt(10), rtol=1e-6)


def test_global_norm_neither_overflows_nor_vanishes():
    for size in (1e-30, 1.0, 1e30):
        tree = {"a": jnp.array([3.0]) * size, "b": jnp.array([4.0]) * size, "c": jnp.zeros((0, 2))}
        np.testing.assert_allclose(wrappers.global_norm(tree), 5 * size, rtol=1e-6)
        clipped = wrappers.clip_by_global_norm(0.5 * size).update(tree, optim.EmptyState())[0]
        np.testing.assert_allclose(clipped["b"], [0.4 * size], rtol=1e-6)
    assert float(wrappers.global_norm(jnp.full(1000, 60000.0, jnp.float16))) > 1e6
    np.testing.assert_allclose(jax.grad(wrappers.global_norm)(jnp.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(wrappers.global_norm)(jnp.zeros(2)), 0)


def test_accumulation_equals_one_large_batch(x64):
    rng = np.random.default_rng(0)
    x, y, w = (jnp.asarray(rng.normal(size=s)) for s in ((12, 3), (12,), (3,)))
    grad = jax.grad(lambda w, x, y: jnp.mean((x @ w - y) ** 2))
    rule = accumulation.multi_steps(optim.adam(0.1), 4, accumulator_dtype=None)
    whole = optim.adam(0.1)
    a, b, state, whole_state = w, w, rule.init(w), whole.init(w)
    for _ in range(3):
        for i in range(4):
            u, state = rule.update(grad(a, x[3 * i : 3 * i + 3], y[3 * i : 3 * i + 3]), state, a)
            assert i == 3 or not u.any()
            a = apply_updates(a, u)
        u, whole_state = whole.update(grad(b, x, y), whole_state, b)
        b = apply_updates(b, u)
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_accumulation_recovers_after_nan():
    rule = accumulation.multi_steps(optim.sgd(1.0), 1)
    state = rule.update(jnp.array([jnp.nan]), rule.init(jnp.ones(1)))[1]
    assert rule.update(jnp.array([1.0]), state)[0].tolist() == [-1.0]
    skipping = accumulation.multi_steps(optim.sgd(1.0), 2, should_skip_update_fn=accumulation.skip_not_finite)
    state = skipping.init(jnp.ones(1))
    for g in (1.0, np.nan, 3.0):
        updates, state = skipping.update(jnp.array([g]), state)
    assert updates.tolist() == [-2.0]
    assert int(state.gradient_step) == 1


def test_coupled_and_decoupled_decay_agree_for_sgd_and_differ_for_adam():
    params, g = jnp.array([2.0]), jnp.array([0.5])

    def step(*rules):
        rule = chain(*rules)
        return rule.update(g, rule.init(params), params)[0]

    decay, rate = wrappers.add_decayed_weights(0.1), optim.scale(-0.1)
    adam = optim.scale_by_adam()
    np.testing.assert_allclose(step(decay, rate), -0.1 * (0.5 + 0.1 * 2.0), rtol=1e-6)
    np.testing.assert_allclose(step(decay, adam, rate), -0.1, rtol=1e-5)
    np.testing.assert_allclose(step(adam, decay, rate), -0.1 * (1 + 0.2), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: wrappers.clip(-1.0), ValueError, "max_delta"),
        (lambda: wrappers.clip_by_global_norm(float("nan")), ValueError, "max_norm"),
        (lambda: wrappers.add_decayed_weights(0.1).update(jnp.ones(1), optim.EmptyState()), ValueError, "parameters"),
        (
            lambda: grouping.masked(optim.sgd(1.0), {"x": True}).init({"a": 1.0}),
            ValueError,
            "or with a prefix of it:",
        ),
        (lambda: grouping.partition({"a": optim.sgd(1.0)}, "b").init(jnp.ones(1)), ValueError, "labels .*'b'"),
        (lambda: grouping.partition({"a": optim.sgd(1.0)}, np.arange(2)).init(jnp.ones(1)), TypeError, "every label"),
        (lambda: accumulation.multi_steps(optim.sgd(1.0), 0), ValueError, "every_k_schedule >= 1"),
        (lambda: optim.lookahead(optim.sgd(1.0), 0, 0.5), ValueError, "sync_period"),
        (lambda: plateau.reduce_on_plateau(1.5), ValueError, "factor"),
        (lambda: plateau.reduce_on_plateau(rtol=0.0), ValueError, "rtol or atol"),
        (
            lambda: plateau.reduce_on_plateau().update(jnp.ones(1), plateau.reduce_on_plateau().init(jnp.ones(1))),
            ValueError,
            "value=loss",
        ),
    ],
)
def test_misuse(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_without_patience_each_check_without_improvement_lowers_the_scale():
    rule, scales = optim.reduce_on_plateau(factor=0.5, patience=0), []
    state = rule.init(PARAMS)
    for value in (5.0, 4.0, 3.0, 3.0, 3.0):
        state = rule.update(PARAMS, state, value=value)[1]
        scales.append(float(state.scale))
    assert scales == [1, 1, 1, 0.5, 0.25]


def test_radam_has_no_root_below_a_threshold_of_4():
    with pytest.raises(ValueError, match=r"expected threshold in \[4, inf\), got 3"):
        optim.radam(0.1, threshold=3.0)


def test_gradients_of_float64_are_averaged_in_float64(x64):
    gradients = [np.array([1.0]), np.array([1e-12])]
    rule, means = optim.multi_steps(optim.sgd(1.0), 2), []
    state = rule.init(np.zeros(1))
    for gradient in gradients:
        update, state = rule.update(gradient, state)
        means.append(-update[0])
    np.testing.assert_allclose(means[-1], np.mean(gradients), rtol=1e-15)
    narrow = optim.multi_steps(optim.sgd(1.0), 2, accumulator_dtype=jnp.bfloat16)
    assert narrow.init(jnp.zeros(1, jnp.float32)).acc_grads.dtype == jnp.bfloat16


def test_lookahead_leaves_slow_parameters_without_a_gradient_where_they_are():
    rule, params = optim.lookahead(optim.sgd(0.5), 2, 0.5), {"moved": jnp.ones(1), "kept": jnp.ones(1)}
    for pair in (False, True):
        fast = optim.LookaheadParams.init_synced(params) if pair else params
        state = rule.init(fast)
        for _ in range(2):
            updates, state = rule.update({"moved": jnp.ones(1), "kept": None}, state, fast)
            fast = optim.apply_updates(fast, updates)
        slow = fast.slow if pair else state.slow
        assert {name: float(p[0]) for name, p in slow.items()} == {"moved": 0.5, "kept": 1.0}


def test_lookahead_starts_its_rule_anew_from_where_it_goes_on():
    rule = optim.lookahead(optim.schedule_free(optim.sgd(0.5), 0.5), 2, 0.5, reset_state=True)
    params = jnp.ones(1)
    state = rule.init(params)
    for _ in range(2):
        updates, state = rule.update(jnp.ones(1), state, params)
        params = optim.apply_updates(params, updates)
    np.testing.assert_allclose(state.fast_state.z, params)


@pytest.mark.parametrize("settings", [{"patience": -1}, {"cooldown": -1}, {"accumulation_size": 0}, {"min_scale": -1}])
def test_a_plateau_that_is_never_looked_at_is_refused(settings):
    with pytest.raises(ValueError, match=f"reduce_on_plateau: expected {next(iter(settings))} in"):
        optim.reduce_on_plateau(**settings)
