"""What every rule must survive: odd trees, dtypes, tracing, donation, other libraries, extreme gradients."""

import functools

import chex
import flax.linen
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState
from hypothesis import strategies as st

from fnn import optim
from fnn.optim import leaves
from fnn.optim.adam_variants import degrees_of_freedom
from fnn.testing import strategies

RULES = {
    "sgd": optim.sgd,
    "momentum": functools.partial(optim.momentum, init_from_first=True, dampening=0.5),
    "average": functools.partial(optim.momentum, form="average", init_from_first=True),
    "velocity": functools.partial(optim.momentum, form="velocity", nesterov=True),
    "adagrad": optim.adagrad,
    "adagrad_outside": functools.partial(optim.adagrad, initial_accumulator_value=0.0, eps_in_sqrt=False),
    "rmsprop": optim.rmsprop,
    "rmsprop_centered": functools.partial(optim.rmsprop, centered=True, eps_in_sqrt=False, momentum=0.9),
    "adadelta": optim.adadelta,
    "adam": optim.adam,
    "adam_uncorrected": functools.partial(optim.adam, bias_correction=False),
    "adam_hat": functools.partial(optim.adam, eps_hat=True),
    "adamw": optim.adamw,
    "nadam": optim.nadam,
    "amsgrad": functools.partial(optim.amsgrad, max_over="raw"),
    "adamax": optim.adamax,
    "keras_adamax": optim.presets.keras.adamax,
    "torch_nadam": optim.presets.torch.nadam,
    "radam": optim.radam,
    "yogi": optim.yogi,
    "adabelief": optim.adabelief,
    "signum": optim.signum,
    "lion": optim.lion,
    "lamb": optim.lamb,
    "lars": optim.lars,
    "adafactor": functools.partial(optim.adafactor, min_dim_size_to_factor=2),
    "schedule_free": lambda rate: optim.schedule_free(optim.sgd(rate), rate),
}
every_rule = pytest.mark.parametrize("build", RULES.values(), ids=RULES)


def _finite(tree):
    return all(np.isfinite(np.asarray(leaf).astype(np.float32)).all() for leaf in jax.tree.leaves(tree))


KIN = {"sign_sgd": optim.sign_sgd, "nadamw": optim.nadamw, "adamaxw": optim.adamaxw, "muon": optim.muon}


@pytest.mark.thorough
@pytest.mark.parametrize("build", (RULES | KIN).values(), ids=RULES | KIN)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_extreme_gradients_give_finite_updates_and_states(build, dtype):
    tiny = float(jnp.finfo(dtype).smallest_subnormal)
    large = 1e4
    path = [[0.0, 0.0, large, tiny], [0.0, tiny, -large, -tiny], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1e-3, -1e-3]]
    params = {"w": jnp.ones(4, dtype), "zero": jnp.zeros(4, dtype)}
    rule = build(1e-3)
    state = rule.init(params)
    update = jax.jit(rule.update)
    for g in [*path, *path[::-1]]:
        g = jnp.asarray(g, dtype)
        updates, state = update({"w": g, "zero": g}, state, params)
        chex.assert_trees_all_equal_dtypes(updates, params)
        assert _finite(updates), updates
        assert _finite(state), state


@pytest.mark.parametrize("name", ["adam", "nadam", "amsgrad", "adamax", "radam", "lamb", "adabelief", "yogi"])
def test_float16_zero_gradients_move_nothing(name):
    params = jnp.ones(3, jnp.float16)
    rule = RULES[name](1e-3)
    state = rule.init(params)
    for _ in range(10):
        updates, state = rule.update(jnp.zeros(3, jnp.float16), state, params)
        if name != "yogi":
            assert (updates == 0).all()
        assert _finite(updates)


@pytest.mark.parametrize("eps_in_sqrt", [False, True])
@pytest.mark.parametrize("decay", [0.9, 0.95, 0.99])
def test_centered_rmsprop_survives_a_constant_gradient(eps_in_sqrt, decay):
    rule = optim.rmsprop(1e-2, decay, eps_in_sqrt=eps_in_sqrt, centered=True)
    g = jnp.full(3, 0.1)

    def step(state, _):
        updates, state = rule.update(g, state)
        return state, jnp.isfinite(updates).all()

    _, finite = jax.jit(lambda s: jax.lax.scan(step, s, length=2000))(rule.init(g))
    assert finite.all()


@pytest.mark.thorough
@every_rule
def test_updates_have_gradients_where_the_moments_are_zero(build):
    params = jnp.array([1.0, -2.0])
    rule = build(0.1)

    def moved(g):
        state = rule.init(params)
        for _ in range(2):
            updates, state = rule.update(g, state, params)
        return jnp.sum(updates)

    assert jnp.isfinite(jax.grad(moved)(jnp.zeros(2))).all()
    assert jnp.isfinite(jax.grad(moved)(jnp.array([0.5, -0.1]))).all()


@every_rule
def test_one_trace_for_all_rates_and_no_shared_buffers_when_donated(build):
    traces = 0

    @functools.partial(jax.jit, donate_argnums=(1, 2))
    def step(rate, params, state):
        nonlocal traces
        traces += 1
        updates, state = build(rate).update(jax.tree.map(jnp.ones_like, params), state, params)
        return optim.apply_updates(params, updates), state

    params = {"a": jnp.ones((2, 2)), "b": jnp.ones(2)}
    state = build(0.1).init(params)
    for rate in (0.1, 0.2, 0.3):
        params, state = step(jnp.float32(rate), params, state)
    assert traces == 1
    assert _finite(params)


@pytest.mark.thorough
@every_rule
def test_none_masked_and_mixed_leaves(build):
    params = {"a": jnp.ones(2), "none": None, "b": jnp.ones(2, jnp.bfloat16), "c": jnp.ones((), jnp.float16)}
    grads = jax.tree.map(jnp.ones_like, params)
    rule = build(0.1)
    state = rule.init(params)
    updates, new = rule.update(grads, state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new)
    chex.assert_trees_all_equal_shapes_and_dtypes(jax.eval_shape(rule.init, params), state)
    updates, new = rule.update({**grads, "a": None}, state, params)
    assert updates["a"] is None
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new)
    masked = optax.masked(rule, {"a": True, "none": None, "b": False, "c": True})
    updates, _ = masked.update(grads, masked.init(params), params)
    chex.assert_trees_all_equal(updates["b"], grads["b"])


@pytest.mark.thorough
@every_rule
def test_in_a_vmap_over_members(build):
    params = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    rates = jnp.array([0.1, 0.5])

    def member(rate, p):
        rule = build(rate)
        return rule.update(p, rule.init(p), p)

    both = jax.vmap(member)(rates, params)
    for i in range(2):
        one = jax.tree.map(lambda leaf: leaf[i], both)
        chex.assert_trees_all_close(one, member(rates[i], params[i]), rtol=1e-6)


@pytest.mark.thorough
@hypothesis.given(tree=strategies.pytrees(), rate=st.floats(1e-4, 1.0), decay=st.floats(0.1, 0.99))
def test_random_trees_and_hyper_parameters(tree, rate, decay):
    hypothesis.assume(tree is not None)
    pairs = [
        (optim.momentum(rate, decay), optax.sgd(rate, decay)),
        (optim.adamw(rate, decay, eps=1e-6), optax.adamw(rate, decay, eps=1e-6)),
        (optim.rmsprop(rate, decay, eps=1e-6), optax.rmsprop(rate, decay, eps=1e-6)),
    ]
    for mine, theirs in pairs:
        states = [mine.init(tree), theirs.init(tree)]
        for _ in range(2):
            got, states[0] = mine.update(tree, states[0], tree)
            with jax.numpy_dtype_promotion("standard"):
                expected, states[1] = theirs.update(tree, states[1], tree)
            for a, b in zip(jax.tree.leaves((got, states[0])), jax.tree.leaves((expected, states[1])), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-30)


def test_hyper_parameters_may_be_traced(x64):
    g = jnp.array([0.3, -0.2])

    def first_two(b1, b2, eps):
        rule = optim.adam(0.1, b1, b2, eps)
        _, state = rule.update(g, rule.init(g))
        return rule.update(g, state)[0]

    b1, b2, eps = jnp.array([0.5, 0.9]), jnp.array([0.9, 0.99]), jnp.array([1e-8, 1e-3])
    for i, row in enumerate(jax.vmap(first_two)(b1, b2, eps)):
        np.testing.assert_allclose(row, first_two(float(b1[i]), float(b2[i]), float(eps[i])), rtol=1e-12)


def test_inside_optax_and_around_it():
    params = {"w": jnp.array([1.0, 2.0])}
    grads = {"w": jnp.array([3.0, 4.0])}
    with jax.numpy_dtype_promotion("standard"):
        mixed = [
            optax.chain(optax.clip(1.0), optim.adam(0.1)),
            optim.chain(optax.clip(1.0), optax.adam(0.1)),
            optim.chain(optax.clip(1.0), optim.chain(optim.scale_by_adam(), optax.scale(-0.1))),
        ]
        expected = optax.chain(optax.clip(1.0), optax.adam(0.1))
        for rule in mixed:
            states, updates = [rule.init(params), expected.init(params)], [None, None]
            for _ in range(3):
                for i, each in enumerate((rule, expected)):
                    updates[i], states[i] = each.update(grads, states[i], params)
            chex.assert_trees_all_close(*updates, rtol=1e-5)  # optax rounds 0.999 to float32
        every = optax.MultiSteps(optim.adam(0.1), every_k_schedule=2)
        state = every.init(params)
        first, state = every.update(grads, state, params)
        second, state = every.update(grads, state, params)
    assert not first["w"].any()
    np.testing.assert_allclose(second["w"], [-0.1, -0.1], rtol=1e-5)


def test_extra_arguments_reach_optax_inside_a_chain():
    rule = optim.chain(optim.sgd(1.0), optax.contrib.reduce_on_plateau(factor=0.5, patience=1))
    params = jnp.ones(1)
    state, scales = rule.init(params), []
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(4):
            updates, state = rule.update(jnp.ones(1), state, params, value=jnp.float32(1.0))
            scales.append(float(updates[0]))
    assert scales[0] == -1.0
    assert scales[-1] > -1.0


def test_with_the_tools_of_optax():
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
    rule = optax.inject_hyperparams(optim.adam)(learning_rate=0.1)
    state = rule.init(params)
    with jax.numpy_dtype_promotion("standard"):
        state.hyperparams["learning_rate"] = jnp.float32(0.2)
        updates, _ = rule.update(params, state, params)
    np.testing.assert_allclose(updates["b"], -0.2, rtol=1e-5)
    state = optim.adamw(0.1).init(params)
    mapped = optax.tree_utils.tree_map_params(optim.adamw(0.1), lambda leaf: leaf + 1, state)
    assert (mapped[0].mu["w"] == 1).all()
    assert optax.tree_utils.tree_get(mapped, "count") == 0


def test_a_float16_gradient_that_overflowed_is_not_hidden():
    rule = optim.sgd(0.1, 0.9)
    updates, state = rule.update(jnp.array([jnp.inf, 1.0], jnp.float16), rule.init(jnp.ones(2, jnp.float16)))
    assert updates[0] == -jnp.inf
    assert state[0].trace[0] == jnp.inf


def test_in_a_flax_train_state():
    model = flax.linen.Dense(1)
    x = jnp.ones((4, 2))
    params = model.init(jax.random.key(0), x)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optim.adam(0.1))

    @jax.jit
    def step(state):
        loss, grads = jax.value_and_grad(lambda p: jnp.mean((state.apply_fn(p, x) - 3) ** 2))(state.params)
        return state.apply_gradients(grads=grads), loss

    losses = []
    for _ in range(40):
        state, loss = step(state)
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]


def test_in_an_equinox_program():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.Linear(2, 1, key=jax.random.key(0))
    rule = optim.adamw(0.1)
    state = rule.init(eqx.filter(model, eqx.is_inexact_array))
    grads = eqx.filter_grad(lambda m: m(jnp.ones(2))[0])(model)
    updates, state = rule.update(grads, state, eqx.filter(model, eqx.is_inexact_array))
    model = eqx.apply_updates(model, updates)
    assert jnp.isfinite(model.weight).all()


def test_a_new_count_never_overflows():
    last = jnp.iinfo(jnp.int32).max
    rule = optim.scale_by_adam()
    state = rule.init(jnp.ones(1))._replace(count=jnp.int32(last))
    updates, state = rule.update(jnp.ones(1), state)
    assert state.count == last
    assert jnp.isfinite(updates).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.sgd(-0.1), "expected learning_rate in [0, inf), got -0.1"),
        (lambda: optim.adam(float("nan")), "expected learning_rate in [0, inf), got nan"),
        (lambda: optim.adam(0.1, b1=1.0), "scale_by_adam: expected b1 in [0, 1), got 1.0"),
        (lambda: optim.adam(0.1, eps=-1e-8), "scale_by_adam: expected eps in [0, inf), got -1e-08"),
        (lambda: optim.adam(0.1, nesterov=True, bias_correction=False), "leave it on"),
        (lambda: optim.amsgrad(0.1, max_over="torch"), "one of 'corrected', 'raw', got 'torch'"),
        (lambda: optim.momentum(0.1, form="torch"), "one of 'trace', 'average', 'velocity', got 'torch'"),
        (lambda: optim.momentum(0.1, form="average", dampening=0.1), 'dampening with form="trace" only'),
        (lambda: optim.ema(0.9, init_from_first=True), "write debias=False"),
        (lambda: optim.rmsprop(0.1, decay=1.5), "scale_by_rms: expected decay in [0, 1], got 1.5"),
        (lambda: optim.scale_by_trust_ratio().update(1.0, optim.EmptyState()), "write update(updates, state, params)"),
        (lambda: optim.orthogonalize(jnp.ones(3)), "expected x of shape (m, n), got float32[3]"),
        (
            lambda: optim.scale_by_adam().update(jnp.ones(3), optim.scale_by_adam().init(jnp.ones(1))),
            "expected updates in the shapes of the params given to init, got (float32[3], float32[1], float32[1])",
        ),
        (
            lambda: optim.scale_by_adam().update({"a": jnp.ones(1)}, optim.scale_by_adam().init(jnp.ones(1))),
            "expected updates in the structure of the params given to init",
        ),
    ],
)
def test_misuse_is_answered(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_orthogonalized_matrices_have_singular_values_near_one():
    x = jax.random.normal(jax.random.key(0), (6, 4))
    values = jnp.linalg.svd(optim.orthogonalize(x), compute_uv=False)
    assert (values > 0.6).all()
    assert (values < 1.25).all()
    np.testing.assert_allclose(optim.orthogonalize(x.T).T, optim.orthogonalize(x), atol=1e-5)


@pytest.mark.parametrize("axes", [(0, 0), (0, 2), (-3, 1), ((0, 0), 1)], ids=str)
def test_axes_of_a_matrix_are_its_own_and_differ(axes):
    rule = optim.scale_by_muon(weight_dimension_numbers=optim.MuonDimensionNumbers(*axes))
    with pytest.raises(ValueError, match=r"inputs and outputs on different axes, got MuonDim.* for float32\[2,3\]"):
        rule.update(jnp.ones((2, 3)), rule.init(jnp.ones((2, 3))))


def test_muon_beside_what_is_none():
    """Its axes are those of the matrices that are there, wherever a None stands before or between them."""
    axes = optim.MuonDimensionNumbers(1, 0)
    for numbers, params in (
        (None, {"a": None, "b": jnp.eye(2), "c": jnp.ones((2, 3))}),
        ({"a": axes, "b": None, "c": None, "d": axes}, {"a": jnp.eye(2), "b": None, "c": jnp.ones(3), "d": jnp.eye(2)}),
    ):
        rule = optim.muon(0.1, muon_weight_dimension_numbers=numbers)
        updates, _ = rule.update(params, rule.init(params), params)
        chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)
        there = {name: leaf for name, leaf in params.items() if leaf is not None}
        rule = optim.muon(0.1, muon_weight_dimension_numbers=numbers and {name: numbers[name] for name in there})
        alone, _ = rule.update(there, rule.init(there), there)
        chex.assert_trees_all_equal({name: updates[name] for name in there}, alone)


def test_a_rule_that_keeps_nothing_takes_any_empty_state():
    for state in (optim.EmptyState(), (), None, {}):
        updates, new = optim.clip(1.0).update(jnp.array([2.0]), state)
        assert updates.tolist() == [1.0]
        assert new == state


@pytest.mark.parametrize("state", [None, (), optim.EmptyState(), optim.ScaleByRmsState(jnp.ones(1))], ids=repr)
def test_the_state_of_another_rule_is_named(state):
    with pytest.raises(TypeError, match=f"expected a state that counts steps, got {type(state).__name__}; write state"):
        optim.scale_by_adam().update(jnp.ones(1), state)
    with pytest.raises(ValueError, match=r"chain: expected the state of 2 transforms, got (0|1|NoneType); call init"):
        optim.adam(0.1).update(jnp.ones(1), state)


def test_muon_of_a_matrix_without_rows():
    params = {"none": jnp.ones((0, 3)), "some": jnp.ones((2, 3))}
    rule = optim.muon(0.1)
    updates, _ = rule.update(params, rule.init(params), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, params)


def test_accumulator_dtypes_are_kept():
    params = jnp.ones(2)
    assert optim.adam(0.1, mu_dtype=jnp.bfloat16).init(params)[0].mu.dtype == jnp.bfloat16
    rule = optim.sgd(0.1, 0.9, accumulator_dtype=jnp.float32)
    half = jnp.ones(2, jnp.bfloat16)
    updates, state = rule.update(half, rule.init(half), half)
    assert state[0].trace.dtype == updates.dtype == jnp.float32


def test_a_setting_makes_no_parameter_larger():
    for rule in (optim.sgd(jnp.array([[0.1, 0.2]])), optim.scale_by_adam(b1=jnp.array([[0.1, 0.2]]))):
        params = jnp.ones((2, 1))
        with pytest.raises(ValueError, match=r"settings that keep a parameter of shape \(2, 1\), got float32\[2,2\]"):
            rule.update(params, rule.init(params), params)
        rule.update(params.reshape(1, 2), rule.init(params.reshape(1, 2)))  # one for each column


def test_adafactor_begins_where_fewer_steps_were_made_than_its_offset():
    rule = optim.scale_by_factored_rms(step_offset=3)
    updates, state = rule.update(jnp.array([2.0]), rule.init(jnp.ones(1)))
    assert updates.tolist() == [1]
    np.testing.assert_allclose(rule.update(jnp.array([3.0]), state)[0], 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.rprop(0.1, min_step_size=1.0, max_step_size=0.5), "expected max_step_size in [1.0, inf], got"),
        (lambda: optim.presets.torch.adagrad(-1.0, lr_decay=0.1), "adagrad: expected lr in [0, inf), got -1.0"),
        (lambda: optim.presets.torch.adagrad(lr_decay=-0.1), "adagrad: expected lr_decay in [0, inf), got -0.1"),
        (lambda: optim.scale_by_zoom_linesearch(5, -1.0), "expected max_learning_rate in (0, inf), got -1.0"),
    ],
)
def test_settings_that_no_step_could_be_made_with(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


CORRECTED = {
    "adabelief": lambda b2, eps: optim.adabelief(0.1, b2=b2, eps=eps, eps_root=0.0),
    "adam": lambda b2, eps: optim.adam(0.1, b2=b2, eps=eps),
    "adam_hat": lambda b2, eps: optim.adam(0.1, b2=b2, eps=eps, eps_hat=True),
    "amsgrad": lambda b2, eps: optim.amsgrad(0.1, b2=b2, eps=eps),
    "nadam": lambda b2, eps: optim.nadam(0.1, b2=b2, eps=eps),
    "rmsprop": lambda b2, eps: optim.rmsprop(0.1, b2, eps=eps, bias_correction=True),
    "torch_nadam": lambda b2, eps: optim.presets.torch.nadam(0.1, (0.9, b2), eps),
    "yogi": lambda b2, eps: optim.scale_by_yogi(b2=b2, eps=eps, initial_accumulator_value=0.0),
}


def steps_of(build, decay, dtype, gradients):
    rule = build(decay, 1e-8)
    params = jnp.zeros(gradients.shape[1:], dtype)

    @jax.jit
    def run(gradients):
        return jax.lax.scan(lambda state, g: rule.update(g, state, params)[::-1], rule.init(params), gradients)[1]

    return np.asarray(run(jnp.asarray(gradients, dtype)))


@pytest.mark.parametrize("decay", [0.0, 0.999, 1 - 1e-8])
@pytest.mark.parametrize("name", CORRECTED)
def test_a_decay_near_1_is_corrected_in_float32_as_in_float64(name, decay):
    gradients = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    single = steps_of(CORRECTED[name], decay, jnp.float32, gradients)
    with jax.enable_x64(True):
        double = steps_of(CORRECTED[name], decay, jnp.float64, gradients)
    np.testing.assert_allclose(single, double, rtol=2e-5, atol=2e-6 * np.abs(double).max())


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999, 1 - 1e-8])
def test_what_an_average_is_corrected_by_is_the_double(decay):
    counts = jnp.array([1, 2, 5, 100, 10_000, 2**30])
    found = leaves.correction(decay, counts)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, -1 / np.expm1(np.asarray(counts, float) * np.log(max(decay, 1e-300))), rtol=3e-7)


def test_a_debiased_average_of_parameters_is_their_mean_where_hardly_anything_decays():
    rule = optim.ema_params(optim.identity(), 1 - 1e-8, debias=True)
    state = rule.init(jnp.zeros(1))
    for value in (1.0, 2.0, 6.0):
        _, state = rule.update(jnp.zeros(1), state, jnp.full(1, value))
    np.testing.assert_allclose(state.ema, [3.0], rtol=1e-6)


def test_the_degrees_of_freedom_of_radam_keep_their_digits():
    counts = np.array([1, 2, 5, 6, 7, 100, 10_000, 10**6])
    for b2 in (0.9, 0.999, 1 - 1e-6, 1 - 1e-8):
        with np.errstate(over="ignore"):
            x = -counts * np.log(np.longdouble(b2))
            expected = 2 / (1 - np.longdouble(b2)) - 1 - 2 * counts / np.expm1(x)
        found = degrees_of_freedom(b2, jnp.asarray(counts), 2 / (1 - b2) - 1)
        np.testing.assert_allclose(found, expected.astype(float), rtol=2e-5)
