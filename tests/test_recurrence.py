"""The recurrent kernels against NumPy loops, finite differences and the plain scan."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recurrence_references as reference
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn.kernels import placement
from fnn.kernels.recurrence import core

GATES = {"lstm": 4, "gru": 3, "gru before": 3, "rnn": 1, "rnn relu": 1}
STEPS = {
    "lstm": reference.lstm_step,
    "gru": reference.gru_after_step,
    "gru before": reference.gru_before_step,
    "rnn": reference.tanh_step,
    "rnn relu": reference.relu_step,
}
DTYPES = {jnp.float64: 1e-12, jnp.float32: 1e-5, jnp.bfloat16: 0.05, jnp.float16: 5e-3}


def run(kind, x, weights, carry, **options):
    """Outputs and a tuple of final states."""
    kernel, recurrent, bias, *extra = weights
    if kind == "lstm":
        outputs, state = fnn.kernels.lstm(x, kernel, recurrent, bias, carry, **options)
        return outputs, tuple(state)
    if kind.startswith("gru"):
        reset = "before" if extra == [] else "after"
        outputs, state = fnn.kernels.gru(x, kernel, recurrent, bias, *extra or [None], carry[0], reset=reset, **options)
    else:
        activation = "relu" if kind.endswith("relu") else "tanh"
        outputs, state = fnn.kernels.rnn(x, kernel, recurrent, bias, carry[0], activation=activation, **options)
    return outputs, (state,)


def problem(kind, batch, time, features, hidden, seed=0, scale=1.0):
    """Input, weights and initial state in float64."""
    rng, gates = np.random.default_rng(seed), GATES[kind]
    shapes = [(features, gates * hidden), (hidden, gates * hidden), (gates * hidden,)]
    shapes += [(hidden,)] if kind == "gru" else []
    weights = tuple(scale * rng.standard_normal(shape) / 2 for shape in shapes)
    carry = tuple(rng.standard_normal((batch, hidden)) for _ in range(2 if kind == "lstm" else 1))
    return rng.standard_normal((batch, time, features)), weights, carry


def expected(kind, x, weights, carry, counts, reverse=False):
    def step(x, *state):
        return STEPS[kind](x, *state, *weights)

    return reference.run(step, x, carry, counts, reverse)


def plain(kind, x, weights, carry, counts):
    """The same by `scan_cell`, differentiated by JAX as it is."""
    kernel, recurrent, bias, *extra = weights

    def step(carry, x):
        if kind == "lstm":
            h, c = carry
            i, f, g, o = jnp.split(x @ kernel + h @ recurrent + bias[None], 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            carry = (jax.nn.sigmoid(o) * jnp.tanh(c), c)
        elif kind.startswith("gru"):
            (h,) = carry
            size = h.shape[-1]
            x_r, x_z, x_n = jnp.split(x @ kernel + bias[None], 3, axis=-1)
            h_r, h_z = jnp.split(h @ recurrent[:, : 2 * size], 2, axis=-1)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            last = recurrent[:, 2 * size :]
            n = jnp.tanh(x_n + (r * (h @ last + extra[0][None]) if extra else (r * h) @ last))
            carry = ((1 - z) * n + z * h,)
        else:
            z = x @ kernel + carry[0] @ recurrent + bias[None]
            carry = (jax.nn.relu(z) if kind.endswith("relu") else jnp.tanh(z),)
        return carry, carry[0]

    return fnn.kernels.scan_cell(step, carry, x, mask=counts)


def close(got, want, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float64), b, rtol=tolerance, atol=tolerance)


def scalar(f):
    """A number that depends on every output and final state in its own way."""

    def value(*args):
        return sum(
            (jnp.sin(leaf + i) * jnp.cos(jnp.arange(leaf.size).reshape(leaf.shape))).sum()
            for i, leaf in enumerate(jax.tree.leaves(f(*args)))
        )

    return value


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", GATES)
@settings(max_examples=6)
@given(data=st.data())
def test_values_are_those_of_the_equations(kind, data):
    shape = data.draw(st.sampled_from([(1, 1, 1, 1), (3, 7, 2, 4), (40, 27, 2, 2)]))
    x, weights, carry = problem(kind, *shape, seed=data.draw(st.integers(0, 99)))
    reverse = data.draw(st.booleans())
    lengths = np.array(data.draw(st.lists(st.integers(0, shape[1]), min_size=shape[0], max_size=shape[0])))
    counts = np.arange(shape[1]) < lengths[:, None]
    got = run(kind, x, weights, carry, lengths=lengths, reverse=reverse)
    close(got, expected(kind, x, weights, carry, counts, reverse))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", GATES)
def test_any_mask_and_no_mask(kind):
    x, weights, carry = problem(kind, 3, 7, 2, 4)
    counts = np.random.default_rng(1).random((3, 7)) < 0.5
    close(run(kind, x, weights, carry, mask=counts), expected(kind, x, weights, carry, counts))
    close(run(kind, x, weights, carry), expected(kind, x, weights, carry, np.ones((3, 7), bool)))
    last, state = run(kind, x, weights, carry, mask=counts, return_sequences=False)
    close((last, state), (state[0], expected(kind, x, weights, carry, counts)[1]))
    turned = run(kind, x.swapaxes(0, 1), weights, carry, mask=counts.T, time_major=True)
    close((turned[0].swapaxes(0, 1), turned[1]), expected(kind, x, weights, carry, counts))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("kind", "masked"),
    [
        ("lstm", True),
        pytest.param("gru", True, marks=pytest.mark.thorough),
        ("gru before", False),
        ("rnn", True),
        ("rnn relu", False),
    ],
)
def test_derivatives_are_those_of_the_plain_scan(kind, masked):
    """Gradient, forward mode, and the Hessian by a vector, reverse over reverse."""
    args = problem(kind, 3, 7, 2, 4)
    counts = np.arange(7) < np.array([7, 0, 4])[:, None] if masked else np.ones((3, 7), bool)
    tangents = problem(kind, 3, 7, 2, 4, seed=1)
    fast = scalar(lambda *a: run(kind, *a, mask=counts if masked else None))
    slow = scalar(lambda *a: plain(kind, *a, counts))
    every = (0, 1, 2)

    def derivatives(f):
        gradient = jax.grad(f, every)

        def along(*args):
            return sum(
                jnp.vdot(g, t) for g, t in zip(jax.tree.leaves(gradient(*args)), jax.tree.leaves(tangents), strict=True)
            )

        return jax.jit(lambda *a: (gradient(*a), jax.jvp(f, a, tangents)[1], jax.grad(along, every)(*a)))(*args)

    close(derivatives(fast), derivatives(slow), 1e-10)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", GATES)
@settings(max_examples=2)
@given(data=st.data())
def test_gradients_for_random_sizes_and_masks(kind, data):
    batch, time, features, hidden = (data.draw(st.sampled_from(n)) for n in ([1, 3], [1, 2, 6], [1, 2], [1, 3]))
    args = problem(kind, batch, time, features, hidden, seed=data.draw(st.integers(0, 99)))
    counts = np.random.default_rng(data.draw(st.integers(0, 99))).random((batch, time)) < 0.6

    def gradients(args, counts):
        fast = scalar(lambda *a: run(kind, *a, mask=counts))
        return [jax.grad(f, (0, 1, 2))(*args) for f in (fast, scalar(lambda *a: plain(kind, *a, counts)))]

    close(*jax.jit(gradients)(args, counts), 1e-10)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["lstm", "gru before"])
def test_derivatives_against_finite_differences(kind):
    x, weights, carry = problem(kind, 2, 5, 2, 3)
    lengths = jnp.array([5, 3])
    fnn.testing.check_gradients(lambda *args: run(kind, *args, lengths=lengths), x, weights, carry)


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["lstm", "gru before"])
def test_segments_unrolling_and_direction_change_nothing(kind):
    args = problem(kind, 3, 11, 2, 4)
    lengths = jnp.array([11, 0, 5])

    def both(**options):
        f = functools.partial(run, kind, lengths=lengths, **options)
        return jax.jit(lambda *a: (f(*a), jax.grad(scalar(f), (0, 1, 2))(*a)))(*args)

    once = both()
    close(both(remat=4), once)
    close(both(unroll=3), once)
    turned = both(reverse=True, remat=4)
    close(turned, both(reverse=True))
    x, weights, carry = args
    flipped = run(kind, fnn.kernels.reverse_sequences(x, lengths), weights, carry, lengths=lengths)
    close(turned[0], (fnn.kernels.reverse_sequences(flipped[0], lengths), flipped[1]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("kind", "reverse"), [("lstm", True), ("gru", True), ("gru before", False), ("rnn", True)])
def test_padding_changes_nothing(kind, reverse):
    """Neither what stands in the padding nor how much of it there is: outputs, states, gradients."""
    x, weights, carry = problem(kind, 3, 6, 2, 4)
    lengths = jnp.array([6, 1, 4])
    f = functools.partial(run, kind, lengths=lengths, reverse=reverse)
    value = scalar(lambda *args: (lambda y, s: (y[:, :6], s))(*f(*args)))
    both = jax.jit(lambda *args: (f(*args), jax.grad(value, (0, 1, 2))(*args)))
    (outputs, state), gradients = both(x, weights, carry)
    padding = np.arange(6) >= np.asarray(lengths)[:, None]
    assert not np.asarray(outputs)[padding].any()
    assert not np.asarray(gradients[0])[padding].any()
    filling = np.resize([np.nan, np.inf, 1e300], x.shape)
    dirty = np.concatenate([np.where(padding[..., None], filling, x), filling[:, :3]], axis=1)
    (dirty_outputs, dirty_state), got = both(dirty, weights, carry)
    close((dirty_outputs[:, :6], dirty_state), (outputs, state))
    assert not np.asarray(dirty_outputs[:, 6:]).any()
    close((got[0][:, :6], *got[1:]), gradients)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", GATES)
def test_rows_do_not_see_each_other(kind):
    x, weights, carry = problem(kind, 5, 6, 2, 3)
    lengths, order = np.array([6, 0, 3, 5, 1]), np.array([3, 0, 4, 1, 2])
    outputs, state = run(kind, x, weights, carry, lengths=lengths)
    mixed = run(kind, x[order], weights, tuple(c[order] for c in carry), lengths=lengths[order])
    close(mixed, (outputs[order], tuple(s[order] for s in state)))
    for row in range(5):
        only = slice(row, row + 1)
        alone = run(kind, x[only], weights, tuple(c[only] for c in carry), lengths=lengths[only])
        close(alone, (outputs[only], tuple(s[only] for s in state)))


@pytest.mark.thorough
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", GATES)
def test_a_sequence_in_two_calls(kind):
    x, weights, carry = problem(kind, 2, 9, 2, 3)
    whole = run(kind, x, weights, carry)
    first, middle = run(kind, x[:, :4], weights, carry)
    second, last = run(kind, x[:, 4:], weights, middle)
    close((jnp.concatenate([first, second], axis=1), last), whole)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["lstm", "gru before"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_are_kept_and_sums_are_wide(kind, dtype):
    with jax.enable_x64(True):
        args = problem(kind, 3, 12, 4, 8)
        cast = jax.tree.map(lambda a: jnp.asarray(a, dtype), args)
        got = run(kind, *cast)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(got))
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), cast)
        close(got, expected(kind, *wide, np.ones((3, 12), bool)), DTYPES[dtype])
        total = jax.jit(jax.grad(lambda *a: run(kind, *a)[0].astype(jnp.float64).sum(), (0, 1, 2)))
        gradients = total(*cast)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(gradients))
        exact = total(*wide)
        for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(exact), strict=True):
            assert np.abs(np.asarray(a, np.float64) - b).max() <= 2 * DTYPES[dtype] * max(1, np.abs(b).max())


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("size", [1e4, -1e4, 0.0, 1e-45])
def test_gates_at_their_limits(kind, size):
    x, weights, carry = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), problem(kind, 2, 4, 2, 3))
    x = jnp.full_like(x, size)
    carry = tuple(jnp.full_like(c, 0.5) for c in carry)
    small = kind == "rnn relu" and abs(size) > 1
    weights = jax.tree.map(lambda w: 0.1 * w, weights) if small else weights
    f = functools.partial(run, kind)
    y, gradients = jax.jit(lambda *a: (f(*a), jax.grad(scalar(f), (0, 1, 2))(*a)))(x, weights, carry)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, gradients)))
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (x, weights, carry))
    close(y, expected(kind, *wide, np.ones((2, 4), bool)), 1e-3 if small else 1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_members_by_vmap(kind):
    args = [jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), problem(kind, 2, 5, 2, 3, seed)) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *args)
    f = lambda *a: (run(kind, *a), jax.grad(scalar(functools.partial(run, kind)), (0, 1, 2))(*a))  # noqa: E731
    each = [jax.jit(f)(*a) for a in args]
    close(jax.jit(jax.vmap(f))(*stacked), jax.tree.map(lambda *leaves: jnp.stack(leaves), *each), 1e-5)


def test_inside_an_outer_scan_under_jit():
    x, weights, carry = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), problem("lstm", 2, 5, 2, 3))
    loss = scalar(lambda w: run("lstm", x, w, carry))

    def descend(w, _):
        value, gradient = jax.value_and_grad(loss)(w)
        return jax.tree.map(lambda p, g: p - 0.1 * g, w, gradient), value

    final, losses = jax.jit(lambda w: jax.lax.scan(descend, w, None, length=3))(weights)
    looped = weights
    for value in losses:
        looped, expected_value = descend(looped, None)
        np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    close(final, looped, 1e-5)


@pytest.mark.devices(2)
def test_rows_over_two_devices():
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    x, weights, carry = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), problem("lstm", 4, 5, 2, 3))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    f = jax.jit(jax.value_and_grad(scalar(functools.partial(run, "lstm")), 1))
    close(f(*jax.device_put((x,), rows), weights, jax.device_put(carry, rows)), f(x, weights, carry), 1e-5)


def test_memory_of_the_gradient():
    """At most 60 % of what autodiff of the plain scan takes; segments need a fraction of that."""
    args = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), problem("lstm", 16, 600, 16, 32))

    def temporaries(f):
        gradient = jax.jit(jax.grad(lambda *a: (f(*a)[1][0] ** 2).sum(), (1, 2)))
        return gradient.lower(*args).compile().memory_analysis().temp_size_in_bytes

    counts = jnp.ones((16, 600), bool)
    slow = temporaries(lambda *a: plain("lstm", *a, counts))
    fast = functools.partial(run, "lstm", return_sequences=False)
    assert temporaries(fast) < 0.6 * slow
    assert temporaries(functools.partial(fast, remat=40)) < 0.15 * slow


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_an_empty_batch(kind):
    x, weights, carry = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), problem(kind, 0, 5, 2, 3))
    f = functools.partial(run, kind)
    (outputs, state), gradients = jax.jit(lambda *a: (f(*a), jax.grad(scalar(f), 1)(*a)))(x, weights, carry)
    assert outputs.shape == (0, 5, 3)
    assert all(leaf.shape == (0, 3) for leaf in state)
    assert not any(np.asarray(leaf).any() for leaf in gradients)


@pytest.mark.parametrize("batch", [1, 8, 64, 1000])
@pytest.mark.parametrize("time", [1, 5, 97, 100])
def test_chunks_cover_time(batch, time):
    size = core.chunk_size(time, batch)
    for reverse in (False, True):
        parts = core.chunk_parts(time, size, reverse)
        covered = [step for start, count, length in parts for step in range(start, start + count * length)]
        assert sorted(covered) == list(range(time))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_how_many_steps_are_projected_at_once_changes_no_number(monkeypatch, platform):
    monkeypatch.setattr(placement, "platform", lambda: platform)
    monkeypatch.setattr(core, "chunk_size", lambda time, batch: 4)
    core.recur.clear_cache()
    args = problem("rnn", 2, 9, 2, 3)
    f, counts = functools.partial(run, "rnn"), np.ones((2, 9), bool)
    outputs, gradients = jax.jit(lambda *a: (f(*a), jax.grad(scalar(f), 1)(*a)))(*args)
    core.recur.clear_cache()
    close(outputs, expected("rnn", *args, counts))
    by_autodiff = jax.grad(scalar(lambda *a: plain("rnn", *a, counts)), 1)(*args)
    close(gradients, by_autodiff, 1e-10)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("remat", [None, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_cell_runs_any_cell(remat, reverse):
    x = np.random.default_rng(0).standard_normal((3, 8))
    lengths = np.array([8, 0, 5])

    def step(carry, x):
        total, count = carry
        return (0.5 * total + x["a"], count + 1), {"total": 0.5 * total + x["a"], "count": count}

    start = (jnp.zeros(3), jnp.zeros(3, jnp.int32))
    outputs, (total, count) = fnn.kernels.scan_cell(
        step, start, {"a": jnp.asarray(x)}, lengths=lengths, remat=remat, reverse=reverse
    )
    want, final = reference.run(
        lambda x, h: (0.5 * h + x,), x[..., None], (np.zeros((3, 1)),), np.arange(8) < lengths[:, None], reverse
    )
    close((outputs["total"], total), (want[..., 0], final[0][:, 0]))
    assert count.tolist() == lengths.tolist()


@pytest.mark.parametrize(
    ("time", "remat", "steps"), [(1, None, 1), (5, None, 1), (25, None, 8), (100, None, 16), (96, 8, 2)]
)
def test_scan_cell_takes_up_to_sixteen_steps_in_an_iteration_off_the_cpu(monkeypatch, time, remat, steps):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, time)))

    def total(x):
        return fnn.kernels.scan_cell(lambda total, x: (0.5 * total + x, total), jnp.zeros(2), x, remat=remat)

    def steps_of_loop():
        return max(map(int, re.findall(r"unroll=(\d+)", str(jax.make_jaxpr(lambda x: total(x))(x)))))

    expected = total(x)
    assert steps_of_loop() == 1
    monkeypatch.setattr(placement, "platform", lambda: "gpu")
    assert steps_of_loop() == steps
    jax.tree.map(np.testing.assert_array_equal, total(x), expected)


def lstm_call(x=(2, 5, 3), kernel=(3, 16), recurrent=(4, 16), bias=(16,), state=None, **options):
    state = None if state is None else (jnp.zeros(state), jnp.zeros(state))
    return fnn.kernels.lstm(jnp.zeros(x), jnp.zeros(kernel), jnp.zeros(recurrent), jnp.zeros(bias), state, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lstm_call(x=(5, 3)), ValueError, r"\(batch, time, features\), got float32\[5,3\]"),
        (lambda: lstm_call(x=(2, 0, 3)), ValueError, "at least one time step"),
        (lambda: lstm_call(x=(2, 5, 4)), ValueError, r"kernel of shape \(features, 4\*hidden\) = \(4, 16\)"),
        (lambda: lstm_call(recurrent=(4, 15)), ValueError, r"recurrent_kernel of shape"),
        (lambda: lstm_call(bias=(15,)), ValueError, r"bias of shape"),
        (
            lambda: lstm_call(lengths=jnp.array([5, 6])),
            ValueError,
            "from 0 to 5, the number of time steps, got 6 for sequence 1",
        ),
        (lambda: lstm_call(lengths=jnp.array([-1, 2])), ValueError, "got -1 for sequence 0"),
        (lambda: lstm_call(lengths=jnp.array([5.0, 2.0])), TypeError, "integer lengths"),
        (lambda: lstm_call(lengths=jnp.array([1, 1, 1])), ValueError, r"\(batch,\) = \(2,\), got \(3,\)"),
        (lambda: lstm_call(lengths=jnp.ones(5, int)), ValueError, "axis 0 of x seems to be time .* time_major=True"),
        (lambda: lstm_call(state=(5, 4)), ValueError, "axis 0 of x seems to be time and axis 1 batch"),
        (
            lambda: lstm_call(state=(5, 4)[::-1], time_major=True),
            ValueError,
            r"\(batch, hidden\) = \(5, 4\), got \(4, 5\)",
        ),
        (
            lambda: lstm_call(state=(2, 4), time_major=True),
            ValueError,
            "seems to be batch and axis 1 time.*time_major=False",
        ),
        (lambda: lstm_call(state=(2, 5)), ValueError, r"h of the initial state of shape \(batch, hidden\)"),
        (lambda: lstm_call(mask=jnp.ones((2, 5))), ValueError, "mask of bool"),
        (lambda: lstm_call(mask=jnp.ones((2, 5), bool), lengths=jnp.array([1, 1])), ValueError, "got both"),
        (
            lambda: fnn.kernels.lstm(jnp.zeros((2, 5, 3), int), jnp.zeros((3, 4)), jnp.zeros((1, 4))),
            TypeError,
            "floating",
        ),
        (
            lambda: fnn.kernels.gru(jnp.zeros((2, 5, 3)), jnp.zeros((3, 3)), jnp.zeros((1, 3)), reset="no"),
            ValueError,
            "'after'",
        ),
        (
            lambda: fnn.kernels.gru(
                jnp.zeros((2, 5, 3)), jnp.zeros((3, 3)), jnp.zeros((1, 3)), None, jnp.zeros(1), reset="before"
            ),
            ValueError,
            "before the reset",
        ),
        (
            lambda: fnn.kernels.gru(jnp.zeros((2, 5, 3)), jnp.zeros((3, 3)), jnp.zeros((1, 3)), None, jnp.zeros(2)),
            ValueError,
            "recurrent_bias",
        ),
        (
            lambda: fnn.kernels.rnn(jnp.zeros((2, 5, 3)), jnp.zeros((3, 1)), jnp.zeros((1, 1)), activation="elu"),
            ValueError,
            "'tanh', 'relu'",
        ),
        (lambda: lstm_call(unroll=0), ValueError, "unroll >= 1"),
        (lambda: lstm_call(remat=0), ValueError, "remat >= 1"),
        (lambda: fnn.kernels.scan_cell(lambda c, x: (c, x), 0, jnp.zeros(3)), ValueError, r"\(batch, time, ...\)"),
        (lambda: fnn.kernels.reverse_sequences(jnp.zeros((2, 3)), jnp.array([4, 1])), ValueError, "from 0 to 3"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
