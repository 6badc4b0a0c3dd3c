"""Penalties against their formulas, proximal steps against lasso, weights held in a ball."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn
from fnn import optim
from fnn.optim import grouping, regularization
from fnn.optim.transform import apply_updates, chain

ALL = grouping.by_path(lambda path: True)


def params(seed=0, dtype=jnp.float64):
    rng = np.random.default_rng(seed)
    return {
        "dense": {
            "kernel": jnp.asarray(rng.normal(size=(4, 3)), dtype),
            "bias": jnp.asarray(rng.normal(size=3), dtype),
        },
        "conv": [jnp.asarray(rng.normal(size=(2, 2, 3, 5)), dtype)],
    }


@given(seed=st.integers(0, 1000), strength=st.sampled_from([0.0, 0.1, 3.0]))
def test_penalties_equal_their_formulas(seed, strength):
    with jax.enable_x64(True):
        tree = params(seed)
        w = np.concatenate([np.ravel(tree["conv"][0]), np.ravel(tree["dense"]["kernel"])])

        def close(penalty, value):
            np.testing.assert_allclose(penalty(tree), value, rtol=1e-12)

        close(regularization.l1(strength), strength * np.abs(w).sum())
        close(regularization.l2(strength), strength * (w**2).sum())
        close(regularization.l2(strength, half=True), strength * (w**2).sum() / 2)
        close(regularization.elastic_net(strength, 0.3), strength * np.abs(w).sum() + 0.3 * (w**2).sum())
        close(regularization.elastic_net(strength, 0.3, half=True), strength * np.abs(w).sum() + 0.15 * (w**2).sum())
        everything = np.concatenate([w, np.ravel(tree["dense"]["bias"])])
        close(regularization.l1(strength, ALL), strength * np.abs(everything).sum())
        close(regularization.l1(strength, {"dense": False, "conv": True}), strength * np.abs(tree["conv"][0]).sum())


def test_gradients(x64):
    tree = params()
    kernel = tree["dense"]["kernel"].at[0, 0].set(0.0)
    tree["dense"]["kernel"] = kernel
    for penalty, expected in [
        (regularization.l1(0.5), 0.5 * np.sign(kernel)),
        (regularization.l2(0.5), np.asarray(kernel)),
        (regularization.l2(0.5, half=True), 0.5 * np.asarray(kernel)),
    ]:
        grads = jax.grad(penalty)(tree)
        np.testing.assert_allclose(grads["dense"]["kernel"], expected, rtol=1e-12)
        np.testing.assert_array_equal(grads["dense"]["bias"], 0)


def test_l2_half_is_coupled_decay(x64):
    tree = params()
    decay = optim.add_decayed_weights(0.3, grouping.weights_only)
    zeros = jax.tree.map(jnp.zeros_like, tree)
    coupled = decay.update(zeros, decay.init(tree), tree)[0]
    for a, b in zip(
        jax.tree.leaves(coupled), jax.tree.leaves(jax.grad(regularization.l2(0.3, half=True))(tree)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_penalties_of_low_precision_are_float32(dtype):
    tree = {"kernel": jnp.full((100, 100), 100.0, dtype), "other": jnp.full((2, 2), 1.0, jnp.float32)}
    value = jax.jit(regularization.l2(1.0))(tree)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 1e8 + 4, rtol=1e-5)
    assert jax.grad(regularization.l1(1.0))(tree)["kernel"].dtype == dtype
    assert float(regularization.l1(1.0)({})) == 0.0


def test_strength_may_be_traced():
    tree, strengths = params(dtype=jnp.float32), jnp.array([0.1, 1.0])
    many = jax.vmap(lambda s: regularization.elastic_net(s, s)(tree))(strengths)
    np.testing.assert_allclose(
        many, [regularization.elastic_net(float(s), float(s))(tree) for s in strengths], rtol=1e-6
    )


def lasso(steps=3000, strength=0.3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8))
    y = x @ np.array([2.0, -1.5, 0, 0, 0, 1.0, 0, 0]) + 0.3 * rng.normal(size=60)
    rule = chain(optim.sgd(0.1), regularization.proximal_l1(0.1, strength))
    grad = jax.grad(lambda w: jnp.mean((x @ w[:, 0] - y) ** 2) / 2)

    def step(carry, _):
        w, state = carry
        updates, state = rule.update(grad(w), state, w)
        return (apply_updates(w, updates), state), None

    w = jnp.ones((8, 1))
    return x, y, jax.lax.scan(step, (w, rule.init(w)), length=steps)[0][0]


def test_proximal_l1_finds_the_lasso_and_its_zeros(x64):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y, w = lasso()
    reference = linear_model.Lasso(alpha=0.3, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(w[:, 0], reference.coef_, atol=1e-9)
    np.testing.assert_array_equal(np.asarray(w[:, 0] == 0), reference.coef_ == 0)
    assert int((w == 0).sum()) >= 4
    np.testing.assert_allclose(regularization.sparsity(w)["total"], np.mean(reference.coef_ == 0))


@given(seed=st.integers(0, 1000), dtype=st.sampled_from(["float32", "bfloat16", "float16"]))
def test_proximal_l1_reaches_exact_zeros(seed, dtype):
    rng = np.random.default_rng(seed)
    w, u = (jnp.asarray(rng.normal(size=(5, 4)), dtype) for _ in range(2))
    rule = regularization.proximal_l1(1.0, 1.0)
    new = np.asarray(apply_updates(w, rule.update(u, rule.init(w), w)[0]), np.float32)
    moved = np.asarray(w, np.float32) + np.asarray(u, np.float32)
    np.testing.assert_array_equal(new == 0, np.abs(moved) <= 1)
    expected = np.sign(moved) * np.maximum(np.abs(moved) - 1, 0)
    np.testing.assert_allclose(new, expected, atol=4 * float(jnp.finfo(dtype).eps) * 4)


def test_proximal_l1_follows_a_schedule_and_leaves_biases():
    rule = regularization.proximal_l1(lambda count: jnp.where(count == 0, 0.0, 1.0), 0.5)
    tree = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
    zeros, state = jax.tree.map(jnp.zeros_like, tree), rule.init(tree)
    first, state = rule.update(zeros, state, tree)
    second, state = rule.update(zeros, state, tree)
    assert [float(u["kernel"][0, 0]) for u in (first, second)] == [0.0, -0.5]
    assert float(second["bias"][0]) == 0.0


def test_sparsity_report():
    tree = {"a": {"kernel": jnp.array([[0.0, 1.0]])}, "b": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}
    report = {name: float(value) for name, value in jax.jit(regularization.sparsity)(tree).items()}
    assert report == {"a/kernel": 0.5, "b/kernel": 1.0, "total": 0.875}
    assert float(regularization.sparsity({})["total"]) == 0.0


def test_max_norm_holds_each_unit(x64):
    tree = params()
    rule = chain(optim.sgd(1.0), regularization.max_norm(1.2))
    grads = jax.tree.map(lambda p: -p, tree)
    updates, _ = rule.update(grads, rule.init(tree), tree)
    new = apply_updates(tree, updates)
    for leaf, old in ((new["dense"]["kernel"], tree["dense"]["kernel"]), (new["conv"][0], tree["conv"][0])):
        w = 2 * np.asarray(old).reshape(-1, old.shape[-1])
        norms = np.linalg.norm(w, axis=0)
        expected = w * np.minimum(1, 1.2 / norms)
        np.testing.assert_allclose(np.asarray(leaf).reshape(w.shape), expected, rtol=1e-12)
    np.testing.assert_allclose(new["dense"]["bias"], 2 * tree["dense"]["bias"], rtol=1e-12)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_norm_has_no_size_at_which_its_square_is_too_large_or_too_small(size):
    w = size * jnp.array([[3.0, 0.3], [4.0, 0.4]])
    held = regularization.max_norm(size)
    np.testing.assert_allclose(w + held.update(0 * w, held.init(w), w)[0], w * jnp.array([0.2, 1.0])[None], rtol=1e-6)
    rms = np.sqrt(np.mean((np.asarray(w) / size) ** 2))
    clipped, scaled, trusted = optim.clip_by_block_rms(1.0), optim.scale_by_param_block_rms(), optim.lars(1.0)
    found = clipped.update(w, clipped.init(w))[0]
    np.testing.assert_allclose(found, w / max(1.0, size * rms), rtol=1e-5)
    found = scaled.update(jnp.ones((2, 2)), scaled.init(w), w)[0]
    np.testing.assert_allclose(found, max(size * rms, 1e-3), rtol=1e-5)
    np.testing.assert_allclose(trusted.update(w, trusted.init(w), w)[0], -1e-3 * w, rtol=1e-5)
    found, expected = (optim.orthogonalize(x, eps=0.0) for x in (w, w / size))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_max_norm_of_zeros_and_of_nothing():
    w = jnp.zeros((3, 2))
    rule = regularization.max_norm(0.0)
    np.testing.assert_array_equal(rule.update(w, rule.init(w), w)[0], 0)
    assert rule.update({}, rule.init({}), {})[0] == {}


def test_with_optax():
    w = {"kernel": jnp.full((2, 2), 0.05)}
    rule = optax.chain(optax.sgd(0.1), regularization.proximal_l1(0.1, 1.0))
    updates, _ = rule.update(jax.tree.map(jnp.zeros_like, w), rule.init(w), w)
    np.testing.assert_array_equal(optax.apply_updates(w, updates)["kernel"], 0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: regularization.l1(-1.0), "strength"),
        (lambda: regularization.l2(float("nan")), "strength"),
        (lambda: regularization.max_norm(-1.0), "bound"),
        (lambda: regularization.proximal_l1(0.1, -1.0), "strength"),
        (
            lambda: (lambda rule: rule.update(jnp.ones((1, 1)), rule.init(jnp.ones((1, 1)))))(
                regularization.max_norm(1.0)
            ),
            "needs the parameters",
        ),
    ],
)
def test_misuse(call, match):
    with pytest.raises(ValueError, match=match):
        call()


KEY = jax.random.key(0)
SEQUENCE, IMAGE = jnp.ones((2, 4, 3)), jnp.ones((2, 4, 4, 3))
NO_WEIGHTS = {
    "layer norm": (fnn.layer_norm(axis=(1, 2, 3)), IMAGE, set()),
    "rms norm": (fnn.rms_norm(axis=(1, 2)), IMAGE, set()),
    "batch norm": (fnn.batch_norm(axis=(2, 3)), IMAGE, set()),
    "prelu": (fnn.prelu(), IMAGE, set()),
    "peepholes": (fnn.lstm(3, peephole=True, projection=2), SEQUENCE, {"kernel", "recurrent_kernel", "projection"}),
    "normalized LSTM": (fnn.lstm(3, layer_norm=True), SEQUENCE, {"kernel", "recurrent_kernel"}),
    "GRU": (fnn.gru(3), SEQUENCE, {"kernel", "recurrent_kernel"}),
    "weight norm": (fnn.weight_norm(fnn.conv(2, 3)), IMAGE, {"kernel"}),
    "embedding": (fnn.embedding(5, 2), jnp.array([[1, 2]]), {"embedding"}),
    "dense": (fnn.dense(2), IMAGE, {"kernel"}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_layers_say_which_parameters_are_weights(name):
    layer, x, weights = NO_WEIGHTS[name]
    model = fnn.serial(layer)
    params, _ = model.init(KEY, x)
    mask = grouping.weights_only(params)[0]
    assert {key for key, chosen in mask.items() if chosen} == weights
    ones = jax.tree.map(jnp.ones_like, params)
    assert optim.l2(1.0)(ones) == sum(params[0][key].size for key in weights)
    many = jax.vmap(lambda key: optim.l2(1.0)(jax.tree.map(jnp.ones_like, model.init(key, x)[0])))
    np.testing.assert_array_equal(many(jax.random.split(KEY, 2)), optim.l2(1.0)(ones))


def test_muon_orthogonalises_weights_alone():
    model = fnn.serial(fnn.lstm(3, peephole=True, return_sequences=True), fnn.layer_norm(axis=(1, 2)), fnn.dense(2))
    params, _ = model.init(KEY, SEQUENCE)
    rule = optim.muon(0.1)
    # Adam's first step is the same whatever the shape; an orthogonalised update is not.
    updates, _ = rule.update(jax.tree.map(jnp.ones_like, params), rule.init(params), params)
    adam = updates[2]["bias"][0]
    for tree, key in ((updates[0], "peephole"), (updates[1], "scale"), (updates[1], "bias"), (updates[2], "bias")):
        np.testing.assert_allclose(tree[key], adam, rtol=1e-5)
    for tree, key in ((updates[0], "kernel"), (updates[0], "recurrent_kernel"), (updates[2], "kernel")):
        assert (abs(tree[key] - adam) > 1e-2).all()


def test_the_soft_threshold_follows_a_schedule():
    rule, w = optim.proximal_l1(lambda step: 0.5 / (1 + step.astype(float)), 1.0), jnp.array([[2.0]])
    first, state = rule.update(jnp.zeros((1, 1)), rule.init(w), w)
    second, _ = rule.update(jnp.zeros((1, 1)), state, w)
    assert (first.item(), second.item()) == (-0.5, -0.25)


def test_a_root_mean_square_is_a_number_where_a_norm_is_not():
    large = jnp.full(4, 3e38, jnp.float32)
    rule = optim.clip_by_block_rms(1e37)
    np.testing.assert_allclose(rule.update(large, rule.init(large))[0], 1e37, rtol=1e-6)
