"""Rows of weight 0, which fill a short batch up, are no rows: neither in the loss nor in statistics over the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import fnn
from fnn.estimators.sparse import entries_of, of_entries
from fnn.layer.parts import count_rows

KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
X, Y = RNG.normal(2, 3, size=(11, 4)), RNG.normal(size=(11, 2))
SIZE, RATE = 8, 0.5

LAYERS = {
    "batch_norm": fnn.batch_norm(decay=0.7),
    "unbiased": fnn.batch_norm(unbiased=True, use_bias=False),
    "activity_penalty": fnn.activity_penalty(l1=0.1, l2=0.2),
    "inside others": fnn.residual(fnn.serial(fnn.dense(4), fnn.batch_norm(), fnn.activity_penalty(l2=0.1), fnn.tanh)),
    "shared": fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, fnn.batch_norm(), use)),
    "at every time step": fnn.serial(
        lambda x: x.reshape(len(x), 2, 2),
        fnn.time_distributed(fnn.serial(fnn.dense(3), fnn.batch_norm())),
        fnn.flatten(),
    ),
    "of images": fnn.serial(lambda x: x.reshape(len(x), 2, 2, 1), fnn.conv(3, 2), fnn.batch_norm(), fnn.flatten()),
}


def model_of(name):
    return fnn.serial(fnn.dense(4), LAYERS[name], fnn.dense(2))


def close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), one, other)


def batch_norm_by_hand(x, weights, params, state, decay, eps=1e-5):
    """Output, new statistics and the gradient of sum(y * w) by x, of rows that all count, in NumPy."""
    mean, var = x.mean(0), x.var(0)
    inverse = 1 / np.sqrt(var + eps)
    hat = (x - mean) * inverse
    dhat = weights * params["scale"]
    dx = inverse * (dhat - dhat.mean(0) - hat * (dhat * hat).mean(0))
    moved = {name: decay * state[name] + (1 - decay) * new for name, new in (("mean", mean), ("var", var))}
    return hat * params["scale"] + params["bias"], moved, dx


def test_three_rows_of_eight_are_normalized_as_three_rows_alone(x64):
    layer, where = fnn.batch_norm(decay=0.7), np.arange(SIZE) < 3
    x, weights = X[:SIZE], np.where(where[:, None], RNG.normal(size=(SIZE, 4)), 0)
    params, state = layer.init(KEY, x)
    params = {"scale": jnp.arange(1.0, 5), "bias": jnp.arange(4.0)}
    over_rows = layer.facts.over_rows(where)

    def value(x):
        y, new = over_rows.apply(params, state, x, train=True)
        return (y * weights).sum(), (y, new)

    gradient, (y, new) = jax.grad(value, has_aux=True)(jnp.asarray(x))
    expected, moved, dx = batch_norm_by_hand(x[:3], weights[:3], *jax.device_get((params, state)), 0.7)
    close((y[:3], new, gradient[:3]), (expected, moved, dx))
    assert (gradient[3:] == 0).all()


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_over_a_batch_that_is_filled_up_is_the_step_over_its_rows(x64, name):
    step = fnn.train_step(model_of(name), fnn.optim.sgd(RATE), fnn.losses.mse)
    state, weights = step.init(KEY, X[:1]), np.array([1, 2, 0.5, *5 * [0]])
    filled, loss = jax.jit(step.update)(state, KEY, (X[:SIZE], Y[:SIZE], weights))
    alone, expected = jax.jit(step.update)(state, KEY, (X[:3], Y[:3], weights[:3]))
    close((filled, loss), (alone, expected))


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("way", ["trainer", "vmap", "fit", "stream"])
def test_a_last_batch_of_three_trains_on_three_rows(way, dtype):
    model, options = model_of("inside others"), {"compute_dtype": dtype}
    x, y = X.astype(np.float32), Y.astype(np.float32)
    run = fnn.trainer(model, fnn.optim.sgd(0.1), fnn.losses.mse, epochs=1, batch_size=SIZE, shuffle=False, **options)
    batches = [(x[:SIZE], y[:SIZE]), (x[SIZE:], y[SIZE:])]
    fit = lambda data, **own: fnn.fit(  # noqa: E731
        model, fnn.optim.sgd(0.1), fnn.losses.mse, data, key=KEY, epochs=1, progress=False, **options, **own
    )
    trained = {
        "trainer": lambda: run(KEY, (x, y))[0],
        "vmap": lambda: jax.tree.map(lambda leaf: leaf[0], jax.vmap(lambda key: run(key, (x, y))[0])(KEY[None])),
        "fit": lambda: fit((x, y), batch_size=SIZE, shuffle=False)[0],
        "stream": lambda: fit(batches)[0],
    }[way]()
    step, keys = fnn.train_step(model, fnn.optim.sgd(0.1), fnn.losses.mse, **options), jax.random.split(KEY, 3)
    state = step.init(keys[0], x[:1])
    for number, batch in enumerate(batches):
        state, _ = step.update(state, jax.random.fold_in(keys[2], number), batch)
    tolerance = 1e-4 if dtype is None else 0.03
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), trained, state.trained)


def test_a_single_row_that_counts_is_normalized_with_those_that_fill_the_batch_up():
    layer, x = fnn.batch_norm(decay=0.5), jnp.asarray(X[:SIZE], jnp.float32)
    params, state = layer.init(KEY, x)
    one = layer.facts.over_rows(jnp.arange(SIZE) < 1).apply(params, state, x, train=True)
    jax.tree.map(np.testing.assert_array_equal, one, layer.apply(params, state, x, train=True))


def test_a_layer_of_ones_own_states_how_it_counts():
    def over_rows(where):
        def apply(params, state, x, *, key=None, train=False):
            where_ = jnp.ones(len(x), bool) if where is None else where
            return x - jnp.mean(x, 0, keepdims=True, where=where_[:, None]), state

        return fnn.Layer(lambda key, x: ((), ()), apply)

    own = over_rows(None)._replace(facts=fnn.Facts(over_rows=over_rows))
    step = fnn.train_step(fnn.serial(own, fnn.dense(2)), fnn.optim.sgd(RATE), fnn.losses.mse)
    x, y = X.astype(np.float32), Y.astype(np.float32)
    state, weights = step.init(KEY, x[:1]), np.float32([1, 1, 1, *5 * [0]])
    filled, alone = (step.update(state, KEY, (x[:rows], y[:rows], weights[:rows]))[0].params for rows in (SIZE, 3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), filled, alone)


def test_a_batch_may_say_that_it_has_no_weights():
    step = fnn.train_step(model_of("batch_norm"), fnn.optim.sgd(RATE), fnn.losses.mse)
    state = step.init(KEY, X[:1])
    jax.tree.map(np.testing.assert_array_equal, step.update(state, KEY, (X, Y, None)), step.update(state, KEY, (X, Y)))


def test_a_model_that_counts_rows_keeps_its_name():
    model = fnn.stacked(fnn.time_distributed(fnn.batch_norm()), fnn.gru(2))
    assert count_rows(model, jnp.arange(3) < 2).name == model.name


def test_entries_of_a_sparse_matrix_are_made_dense_before_rows_are_counted():
    table = scipy.sparse.random_array(
        (SIZE, 40), density=0.02, rng=np.random.default_rng(0), format="csr", dtype=np.float32
    )
    entries, where = entries_of(table), jnp.arange(SIZE) < 5
    model, layer = of_entries(fnn.batch_norm(), 40), fnn.batch_norm()
    params, state = model.init(KEY, entries)
    found, expected = (
        count_rows(one, where).apply(params, state, x, train=True)
        for one, x in ((model, entries), (layer, table.toarray()))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), found, expected)


LOSSES_OF_UNKNOWN = [
    "mse", "mae", "half_mse", "squared_error", "huber_loss", "smooth_l1_loss", "log_cosh", "quantile_loss",
    "poisson_negative_log_likelihood", "cosine_distance", "softmax_cross_entropy", "sigmoid_binary_cross_entropy",
]  # fmt: skip


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
@pytest.mark.parametrize("name", LOSSES_OF_UNKNOWN)
def test_targets_that_are_not_known_move_nothing_where_their_weight_is_0(x64, name, unknown):
    y = np.abs(Y[:SIZE]) / np.abs(Y[:SIZE]).sum(1, keepdims=True)
    weights = np.where(np.arange(SIZE) < 5, 1.0, 0.0)
    given = np.where(weights[:, None] == 0, unknown, y)
    step = fnn.train_step(fnn.dense(2), fnn.optim.sgd(RATE), getattr(fnn.losses, name))
    start = step.init(KEY, X[:SIZE])
    close(step.update(start, KEY, (X[:SIZE], given, weights)), step.update(start, KEY, (X[:5], y[:5], np.ones(5))))
