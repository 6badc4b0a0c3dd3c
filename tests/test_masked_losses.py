"""What does not count, counts nowhere: ignored tokens, padding, class weights, in a step, a run and a score."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import losses

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, TIME, CLASSES = 6, 5, 3
X = RNG.normal(size=(ROWS, TIME, 2)).astype(np.float32)
LENGTHS = np.array([5, 1, 2, 1, 4, 1])
REAL = np.arange(TIME) < LENGTHS[:, None]
TOKENS = np.where(REAL, RNG.integers(0, CLASSES, (ROWS, TIME)), -1).astype(np.int32)
PER_TOKEN = fnn.dense(CLASSES)
IGNORING = functools.partial(losses.softmax_cross_entropy, ignore_index=-1)
TAGS = fnn.tasks.multiclass(CLASSES, ignore_index=-1)


def by_hand(outputs, tokens, weights=None):
    return losses.softmax_cross_entropy(outputs, tokens, ignore_index=-1, reduction="pair")


def cross_entropies(trained, x=X, tokens=TOKENS):
    """Of every token that counts, in float64."""
    z = x.astype(np.float64) @ np.asarray(trained.params["kernel"], np.float64) + np.asarray(trained.params["bias"])
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return [-np.take_along_axis(row[t >= 0], t[t >= 0, None], 1)[:, 0] for row, t in zip(log_p, tokens, strict=True)]


def start(model=PER_TOKEN, x=X):
    return fnn.Trained(*model.init(KEY, jax.tree.map(jnp.asarray, x)))


@pytest.mark.parametrize("loss", [IGNORING, by_hand, TAGS], ids=["partial", "pair", "task"])
@pytest.mark.parametrize("batch_size", [1, 4, 1024])
def test_an_evaluation_is_the_mean_over_tokens_that_count(loss, batch_size):
    trained = start()
    value = fnn.evaluate(PER_TOKEN, trained, (X, TOKENS), loss, batch_size=batch_size)["loss"]
    np.testing.assert_allclose(value, np.concatenate(cross_entropies(trained)).mean(), rtol=1e-5)


def test_weights_of_rows_weigh_their_tokens():
    trained, weights = start(), np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.0], np.float32)
    value = fnn.evaluate(PER_TOKEN, trained, (X, TOKENS, weights), IGNORING)["loss"]
    rows = cross_entropies(trained)
    expected = sum(w * row.sum() for w, row in zip(weights, rows, strict=True)) / (weights * LENGTHS).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    some = fnn.evaluate(PER_TOKEN, trained, (X, TOKENS, weights), IGNORING, rows=np.array([0, 3, -1]))["loss"]
    np.testing.assert_allclose(some, (rows[0].sum() + 0.5 * rows[3].sum()) / (5 + 0.5), rtol=1e-5)


@pytest.mark.parametrize("ignored", [-1, 2, 77])
def test_the_accuracy_of_classes_at_every_step_is_over_those_that_count(ignored):
    task, tokens = fnn.tasks.multiclass(CLASSES, ignore_index=ignored), np.where(REAL, TOKENS, ignored)
    trained, weights = start(), np.array([1.0, 0.0, 2.0, 0.5, 0.0, 1.0], np.float32)
    right = np.asarray(fnn.predict(PER_TOKEN, trained, X, task)) == tokens
    counts = (tokens != ignored) * weights[:, None]
    found = fnn.evaluate(PER_TOKEN, trained, (X, tokens, weights), task, batch_size=4)
    np.testing.assert_allclose(found["accuracy"], (right * counts).sum() / counts.sum(), rtol=1e-6)
    stream = [(X[:4], tokens[:4], weights[:4]), (X[4:], tokens[4:], weights[4:])]
    streamed = fnn.evaluate(PER_TOKEN, trained, stream, task)
    assert streamed == pytest.approx(found)


def test_class_weights_of_steps_divide_by_those_that_count():
    task = fnn.tasks.multiclass(CLASSES, ignore_index=-1, class_weights=WEIGHTS)
    rows, trained = cross_entropies(start()), start()
    w = [WEIGHTS[t[t >= 0]] for t in TOKENS]
    expected = sum((a * b).sum() for a, b in zip(w, rows, strict=True)) / np.concatenate(w).sum()
    np.testing.assert_allclose(fnn.evaluate(PER_TOKEN, trained, (X, TOKENS), task)["loss"], expected, rtol=1e-5)


def pad(x, tokens, time):
    more = time - x.shape[1]
    return np.pad(x, ((0, 0), (0, more), (0, 0))), np.pad(tokens, ((0, 0), (0, more)), constant_values=-1)


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["trainer", "fit", "step"])
def test_the_same_tokens_with_more_padding_train_the_same_weights(how):
    def trained_on(x, tokens):
        optimizer = fnn.optim.sgd(0.5)
        if how == "step":
            step = fnn.train_step(PER_TOKEN, optimizer, IGNORING)
            state, loss = step.update(step.init(KEY, x), KEY, (x, tokens))
            return state.params, loss
        options = {"epochs": 2, "batch_size": 4}
        if how == "fit":
            trained, history = fnn.fit(PER_TOKEN, optimizer, IGNORING, (x, tokens), key=KEY, progress=False, **options)
        else:
            trained, history = fnn.trainer(PER_TOKEN, optimizer, IGNORING, **options)(KEY, (x, tokens))
        return trained.params, history["loss"]

    few, many = trained_on(X, TOKENS), trained_on(*pad(X, TOKENS, 9))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4), few, many)


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["trainer", "fit"])
@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_the_loss_of_an_epoch_is_the_mean_over_its_tokens_however_they_fall_into_batches(how, batch_size):
    still = fnn.optim.sgd(0.0)
    options = {"epochs": 1, "batch_size": batch_size}
    if how == "fit":
        trained, history = fnn.fit(PER_TOKEN, still, IGNORING, (X, TOKENS), key=KEY, progress=False, **options)
    else:
        trained, history = fnn.trainer(PER_TOKEN, still, IGNORING, **options)(KEY, (X, TOKENS))
    np.testing.assert_allclose(history["loss"][0], np.concatenate(cross_entropies(trained)).mean(), rtol=1e-5)


def test_a_batch_without_a_token_that_counts_changes_nothing():
    tokens = TOKENS.copy()
    tokens[2] = -1
    trained, history = fnn.trainer(PER_TOKEN, fnn.optim.sgd(0.1), IGNORING, epochs=1, batch_size=1)(KEY, (X, tokens))
    assert np.isfinite(history["loss"]).all()
    assert history["diverged_at"] == -1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.params))


def test_a_cross_validation_scores_by_tokens():
    found = fnn.selection.cross_validate(
        PER_TOKEN, fnn.optim.sgd(0.0), IGNORING, (X, TOKENS), key=KEY, folds=fnn.selection.k_fold(ROWS, 2, seed=None),
        epochs=1, batch_size=None, progress=False,
    )  # fmt: skip
    outputs = found.outputs[0, 0]
    log_p = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
    own = [-np.take_along_axis(row[t >= 0], t[t >= 0, None], 1)[:, 0] for row, t in zip(log_p, TOKENS, strict=True)]
    expected = [np.concatenate(own[:3]).mean(), np.concatenate(own[3:]).mean()]
    np.testing.assert_allclose(found.scores["loss"][0, :, 0], expected, rtol=1e-5)


def test_members_under_vmap_average_over_their_own_tokens():
    run = fnn.trainer(PER_TOKEN, fnn.optim.sgd(0.0), IGNORING, epochs=1, batch_size=None)
    rows = jnp.array([[0, 1, -1], [2, 3, 4]])
    trained, history = jax.vmap(lambda rows: run(KEY, (X, TOKENS), rows))(rows)
    own = cross_entropies(jax.tree.map(lambda leaf: leaf[0], trained))
    expected = [np.concatenate(own[:2]).mean(), np.concatenate(own[2:5]).mean()]
    np.testing.assert_allclose(history["loss"][:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.softmax_cross_entropy, losses.squared_error, losses.huber_loss])
def test_the_padding_of_padded_outputs_does_not_count_and_may_hold_anything(loss):
    model = fnn.rnn(CLASSES, return_sequences=True)
    classes = loss is losses.softmax_cross_entropy
    targets = TOKENS if classes else RNG.normal(size=(ROWS, TIME, CLASSES)).astype(np.float32)
    noisy = np.where(REAL, TOKENS, 77) if classes else np.where(REAL[..., None], targets, 1e30).astype(np.float32)
    trained = start(model, fnn.Padded(jnp.asarray(X), jnp.asarray(LENGTHS)))
    x = fnn.Padded(X, LENGTHS.astype(np.int32))
    value = fnn.evaluate(model, trained, (x, noisy), loss)["loss"]
    outputs = fnn.predict(model, trained, x).values
    expected = loss(outputs, targets, where=REAL, reduction="mean")
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("ignored", [None, 0], ids=["padding", "padding and a class"])
def test_a_task_knows_the_padding_of_padded_outputs(ignored):
    model, task = fnn.rnn(CLASSES, return_sequences=True), fnn.tasks.multiclass(CLASSES, ignore_index=ignored)
    x, noisy = fnn.Padded(X, LENGTHS.astype(np.int32)), np.where(REAL, TOKENS, 1)
    trained = start(model, x)
    found, outputs = fnn.evaluate(model, trained, (x, noisy), task), fnn.predict(model, trained, x).values
    keep = REAL & (noisy != ignored)
    expected = losses.softmax_cross_entropy(outputs, noisy, where=keep, reduction="mean")
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    classes = fnn.predict(model, trained, x, task)
    np.testing.assert_array_equal(classes.lengths, LENGTHS)
    np.testing.assert_allclose(found["accuracy"], (np.asarray(classes.values) == noisy)[keep].mean(), rtol=1e-6)
    np.testing.assert_allclose(task.probabilities(fnn.Padded(outputs, LENGTHS)).values.sum(-1), 1, rtol=1e-5)


WEIGHTS = np.array([0.2, 1.0, 3.0], np.float32)
LABELS = np.array([0, 0, 1, 2, 1, 0])


@pytest.mark.thorough
def test_class_weights_divide_by_weights_in_scores_steps_and_runs():
    x, task = X[:, 0], fnn.tasks.multiclass(CLASSES, class_weights=WEIGHTS)
    model, still = fnn.dense(CLASSES), fnn.optim.sgd(0.0)
    trained = start(model, x)
    outputs = fnn.predict(model, trained, x)
    expected = losses.softmax_cross_entropy(outputs, LABELS, class_weights=WEIGHTS, reduction="mean")
    by_row = losses.softmax_cross_entropy(outputs, LABELS)
    np.testing.assert_allclose(expected, (WEIGHTS[LABELS] * by_row).sum() / WEIGHTS[LABELS].sum(), rtol=1e-5)
    np.testing.assert_allclose(fnn.evaluate(model, trained, (x, LABELS), task)["loss"], expected, rtol=1e-5)
    step = fnn.train_step(model, still, task)
    state = step.init(KEY, x, trained)
    np.testing.assert_allclose(step.update(state, KEY, (jnp.asarray(x), jnp.asarray(LABELS)))[1], expected, rtol=1e-5)
    _, history = fnn.trainer(model, still, task, epochs=1, batch_size=4)(KEY, (x, LABELS), start=trained)
    np.testing.assert_allclose(history["loss"][0], expected, rtol=1e-5)
    right = (np.asarray(outputs).argmax(-1) == LABELS).mean()  # of every row as much, whatever its class weighs
    np.testing.assert_allclose(history["accuracy"][0], right, rtol=1e-5)


def test_class_weights_train_what_the_same_weights_of_rows_train():
    x, model, sgd = X[:, 0], fnn.dense(CLASSES), fnn.optim.sgd(0.5)
    weighed = fnn.tasks.multiclass(CLASSES, class_weights=WEIGHTS)
    one, _ = fnn.trainer(model, sgd, weighed, epochs=2, batch_size=4)(KEY, (x, LABELS))
    other, _ = fnn.trainer(model, sgd, fnn.tasks.multiclass(CLASSES), epochs=2, batch_size=4)(
        KEY, (x, LABELS, WEIGHTS[LABELS])
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), one, other)


def test_missing_targets_do_not_count():
    targets = np.where(REAL, 1.0, np.nan).astype(np.float32)[..., None]

    def loss(outputs, targets):
        return losses.squared_error(outputs, targets, where=~jnp.isnan(targets), reduction="pair")

    model = fnn.dense(1)
    trained = start(model)
    value = fnn.evaluate(model, trained, (X, targets), loss)["loss"]
    r = np.asarray(fnn.predict(model, trained, X))[..., 0] - 1
    np.testing.assert_allclose(value, (r[REAL] ** 2).mean(), rtol=1e-5)
    fitted, _ = fnn.trainer(model, fnn.optim.sgd(0.1), loss, epochs=1, batch_size=2)(KEY, (X, targets))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.params))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "pair"])
def test_what_weighs_nothing_may_be_nan(reduction):
    outputs, weights = jnp.array([1.0, jnp.nan]), np.array([1.0, 0.0], np.float32)
    found = losses.squared_error(outputs, jnp.zeros(2), weights=weights, reduction=reduction)
    expected = {"none": [1.0, 0.0], "sum": 1.0, "mean": 1.0, "pair": ([1.0, 0.0], [1.0, 0.0])}[reduction]
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_a_pair_divides_into_the_mean():
    z = jnp.asarray(RNG.normal(size=(ROWS, TIME, CLASSES)), jnp.float32)
    options = {"ignore_index": -1, "class_weights": WEIGHTS, "label_smoothing": 0.1}
    values, counts = losses.softmax_cross_entropy(z, TOKENS, **options, reduction="pair")
    mean = losses.softmax_cross_entropy(z, TOKENS, **options, reduction="mean")
    np.testing.assert_allclose(values.sum() / counts.sum(), mean, rtol=1e-6)
    np.testing.assert_array_equal(counts[~REAL], 0)


WITHOUT_COUNTS = {
    "ignore_index": lambda z, t: losses.softmax_cross_entropy(z, t, ignore_index=-1),
    "where": lambda z, t: 2 * losses.softmax_cross_entropy(z, jnp.maximum(t, 0), where=t >= 0),
    "class_weights": lambda z, t: losses.softmax_cross_entropy(z, jnp.maximum(t, 0), class_weights=WEIGHTS),
}


@pytest.mark.parametrize("name", WITHOUT_COUNTS)
def test_a_loss_that_leaves_entries_out_and_does_not_say_which_is_warned_of(name):
    with pytest.warns(UserWarning, match=r'is averaged as 0; write reduction="pair" in it, or give functools.partial'):
        fnn.evaluate(PER_TOKEN, start(), (X, TOKENS), WITHOUT_COUNTS[name])


def test_a_loss_that_averages_the_tokens_of_a_sequence_itself_is_taken_at_its_word():
    def by_sequence(z, t):
        return losses.softmax_cross_entropy(z, t, ignore_index=-1).sum(1) / (t >= 0).sum(1).astype(z.dtype)

    trained = start()
    value = fnn.evaluate(PER_TOKEN, trained, (X, TOKENS), by_sequence)["loss"]
    np.testing.assert_allclose(value, np.mean([row.mean() for row in cross_entropies(trained)]), rtol=1e-5)


def test_a_loss_may_keep_more_axes_than_outputs_and_targets_have():
    x, y = X[:, 0], np.ones(ROWS, np.float32)
    value = fnn.evaluate(fnn.dense(2), start(fnn.dense(2), x), (x, y), lambda o, t: jnp.ones((ROWS, 2, 5)))["loss"]
    assert value == 1


BROADCASTING = {
    "squares": lambda outputs, targets: (outputs - targets) ** 2,
    "absolute": lambda outputs, targets: jnp.abs(outputs - targets),
    "pair": lambda outputs, targets: ((outputs - targets) ** 2, jnp.ones((ROWS, ROWS))),
}


@pytest.mark.parametrize("name", BROADCASTING)
@pytest.mark.parametrize("how", ["evaluate", "step", "fit", "cross_validate"])
def test_a_loss_of_a_column_against_a_row_is_refused(name, how):
    model, x, y, loss = fnn.dense(1), X[:, 0], np.ones(ROWS, np.float32), BROADCASTING[name]
    step = fnn.train_step(model, fnn.optim.sgd(0.1), loss)
    calls = {
        "evaluate": lambda: fnn.evaluate(model, start(model, x), (x, y), loss),
        "step": lambda: step.update(step.init(KEY, x), KEY, (x, y)),
        "fit": lambda: fnn.fit(model, fnn.optim.sgd(0.1), loss, (x, y), key=KEY, epochs=1, batch_size=None),
        "cross_validate": lambda: fnn.selection.cross_validate(
            model, fnn.optim.sgd(0.1), loss, (x, y), key=KEY, folds=2, epochs=1, batch_size=None
        ),
    }
    broadcasts = jax.numpy_rank_promotion("allow")  # as it is unless one asks for more
    with (
        broadcasts,
        pytest.raises(ValueError, match=r"outputs \(\d, 1\) and targets \(\d,\).*write targets.reshape\(\(\d, 1\)\)"),
    ):
        calls[how]()


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weights": np.ones(2, np.float32)}], ids=str)
def test_a_row_that_is_ignored_has_no_gradient_whatever_stands_in_it(options):
    logits, labels = jnp.array([[1.0, 2.0], [jnp.nan, jnp.inf]]), jnp.array([0, -1])
    loss = lambda x, y: losses.softmax_cross_entropy(x, y, ignore_index=-1, reduction="mean", **options)  # noqa: E731
    slope = jax.grad(loss)(logits, labels)
    np.testing.assert_array_equal(slope[1], 0)
    np.testing.assert_allclose(slope[:1], jax.grad(loss)(logits[:1], labels[:1]), rtol=1e-6)
