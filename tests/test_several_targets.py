"""Targets by name, of which a loss takes what it needs: the numbers of the same columns side by side."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
ROWS = 40
X = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
PRICE = X.sum(axis=1)
KIND = (X[:, 0] > 0).astype(np.int32)
MODEL = fnn.parallel(fnn.dense(1), fnn.dense(2))
NAMED = {"price": PRICE, "kind": KIND}
House = collections.namedtuple("House", ["price", "kind"])
WAYS = {
    "by name": NAMED,
    "a named tuple": House(PRICE, KIND),
    "lists by name": {"price": PRICE.tolist(), "kind": KIND.tolist()},
}


def both(outputs, price, kind):
    guess, logits = outputs
    return (guess[:, 0] - price) ** 2 + fnn.losses.softmax_cross_entropy(logits, kind)


def of_columns(outputs, targets):
    return both(outputs, targets[:, 0], targets[:, 1].astype(jnp.int32))


def of_parts(outputs, targets):
    return both(outputs, *(targets if isinstance(targets, tuple) else (targets["price"], targets["kind"])))


def fit(data, loss=of_parts, **options):
    options = {"epochs": 3, "batch_size": 16, "progress": False, "key": KEY} | options
    return fnn.fit(MODEL, fnn.optim.adam(0.1), loss, data, **options)


def side_by_side(**options):
    return fit((X, np.column_stack([PRICE, KIND]).astype(np.float32)), of_columns, **options)


@pytest.mark.parametrize("way", WAYS)
def test_they_are_trained_on_and_scored_as_columns_are(way):
    trained, history = fit((X, WAYS[way]), validation=0.25)
    columns, expected = side_by_side(validation=0.25)
    # The programs differ in their last digits.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, trained, columns)
    jax.tree.map(close, history, expected)
    score = fnn.evaluate(MODEL, trained, (X, WAYS[way]), of_parts)["loss"]
    close(score, fnn.evaluate(MODEL, trained, (X, np.column_stack([PRICE, KIND])), of_columns)["loss"])


def test_they_stream_with_batches_of_any_size_and_memory_that_is_used_again():
    def batches():
        price, kind = np.empty(16, np.float32), np.empty(16, np.int32)
        for begin in range(0, ROWS, 16):
            part = slice(begin, begin + 16)
            count = len(PRICE[part])
            price[:count], kind[:count] = PRICE[part], KIND[part]
            yield X[part], {"price": price[:count], "kind": kind[:count]}

    trained, history = fit(batches, batch_size=32, validation=[(X, NAMED)])
    expected, _ = fit((X, NAMED), batch_size=16, shuffle=False)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), trained, expected)
    alone = fnn.evaluate(MODEL, trained, (X, NAMED), of_parts)["loss"]
    np.testing.assert_allclose(history["validation_loss"][-1], alone, rtol=1e-6)


def test_a_run_goes_on_from_its_checkpoints(tmp_path):
    fit((X, NAMED), epochs=1, checkpoint=tmp_path)
    resumed, _ = fit((X, NAMED), checkpoint=tmp_path)
    jax.tree.map(np.testing.assert_array_equal, resumed, fit((X, NAMED))[0])


def test_folds_and_ensembles_take_them():
    found = fnn.selection.cross_validate(MODEL_OF_ONE, fnn.optim.adam(0.1), of_one, (X, NAMED), key=KEY, epochs=2)
    columns = (X, PRICE)
    expected = fnn.selection.cross_validate(MODEL_OF_ONE, fnn.optim.adam(0.1), squared, columns, key=KEY, epochs=2)
    np.testing.assert_allclose(found.scores["loss"], expected.scores["loss"], rtol=1e-5)


def test_outputs_of_each_row_stand_in_the_places_of_the_model_s():
    options = {"key": KEY, "epochs": 2, "progress": False}
    found = fnn.selection.cross_validate(MODEL, fnn.optim.adam(0.1), of_parts, (X, NAMED), folds=4, **options)
    guess, logits = found.outputs
    assert guess.shape == (1, 1, ROWS, 1)
    assert logits.shape == (1, 1, ROWS, 2)
    losses = both((jnp.asarray(guess[0, 0]), jnp.asarray(logits[0, 0])), PRICE, KIND)
    np.testing.assert_allclose(losses.mean(), found.mean("loss")[0], rtol=1e-5)
    bag = fnn.selection.ensemble(MODEL, fnn.optim.adam(0.1), of_parts, (X, NAMED), members=3, **options)
    each = bag.outputs(X)
    jax.tree.map(lambda mean, one: np.testing.assert_allclose(mean, one.mean(0), 1e-5), bag.predict(X), each)
    assert [leaf.shape for leaf in bag.spread(X)] == [leaf.shape for leaf in bag.out_of_bag] == [(ROWS, 1), (ROWS, 2)]
    with pytest.raises(ValueError, match="members vote on classes"):
        bag.predict(X, "vote")


MODEL_OF_ONE = fnn.dense(1)


def squared(outputs, price):
    return (outputs[:, 0] - price) ** 2


def of_one(outputs, targets):
    return squared(outputs, targets["price"])


def test_a_training_step_takes_them():
    step = fnn.train_step(MODEL, fnn.optim.sgd(0.1), of_parts)
    state, loss = jax.jit(step.update)(step.init(KEY, X), KEY, (X, NAMED))
    assert jnp.isfinite(loss)
    found = fnn.diagnostics.diagnose(MODEL, of_parts, state.trained, (X, NAMED))
    assert "dense(2)" in str(found)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"price": PRICE, "kind": KIND[:5]}, r"\['kind'\]: expected one target per row of x, .* of shape \(5,\)"),
        ({}, r"an array of targets at least, got none in \{\}"),
        ((PRICE, KIND), r"is one array of rows, and these are several arrays, .*write a dict of them"),
        ([PRICE, KIND], r"is one array of rows, and these are several arrays, .*write a dict of them"),
        ({"price": PRICE, "kind": np.array(["a"] * ROWS)}, r"targets\['kind'\]"),
        ({"price": PRICE, "kind": 3}, r"one target per row of x, got 40 rows and targets of shape \(\)"),
    ],
)
def test_what_is_wrong_with_one_is_named(targets, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit((X, targets))


@pytest.mark.parametrize(
    "task",
    [fnn.tasks.multiclass(2), fnn.tasks.binary(), fnn.tasks.regression(), fnn.tasks.multilabel(2)],
    ids=lambda task: task.name,
)
def test_a_task_of_one_array_says_so(task):
    with pytest.raises(TypeError, match=r"expected one array of targets, got dict; several are for a loss function"):
        fit((X, NAMED), task)


def test_a_tuple_of_rows_is_one_array_of_rows():
    columns = np.column_stack([PRICE, PRICE]).astype(np.float32)
    runs = [
        fnn.fit(fnn.dense(2), fnn.optim.adam(0.1), fnn.tasks.regression(2), (X, y), epochs=1, progress=False, key=KEY)
        for y in (columns, tuple(columns), list(columns))
    ]
    for trained, _ in runs[1:]:
        jax.tree.map(np.testing.assert_array_equal, trained, runs[0][0])


def test_arrays_in_a_list_that_a_stream_gives_are_not_stacked():
    for size in (2, 16):  # as many rows as arrays, and more
        with pytest.raises(fnn.StreamError, match=r"batch 1 of epoch 1: a list or tuple .*write a dict of them"):
            fit([(X[:size], [PRICE[:size], KIND[:size]])] * 2, epochs=1, batch_size=32)


def test_targets_to_validate_on_have_the_names_of_those_to_train_on():
    with pytest.raises(ValueError, match="validation: expected targets as in the data"):
        fit((X, NAMED), validation=(X, {"price": PRICE}))


def test_folds_that_stratify_find_no_classes():
    selection = pytest.importorskip("sklearn.model_selection")
    options = {"key": KEY, "epochs": 1, "progress": False}
    cross_validate = fnn.selection.cross_validate
    found = cross_validate(MODEL, fnn.optim.sgd(0.1), of_parts, (X, NAMED), folds=selection.KFold(2), **options)
    assert found.scores["loss"].shape == (1, 2, 1)
    with pytest.raises(ValueError, match="continuous"):
        cross_validate(MODEL, fnn.optim.sgd(0.1), of_parts, (X, NAMED), folds=selection.StratifiedKFold(2), **options)
