"""Tasks: losses and metrics of each against their definitions, decoding, and refused pairings."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.metrics.protocol import measure_all
from fnn.tasks.task import mean_loss

T = fnn.tasks
RNG = np.random.default_rng(0)
LOGIT = RNG.normal(size=(40, 1)).astype(np.float32)
LOGITS = RNG.normal(size=(40, 4)).astype(np.float32)
BITS = RNG.integers(0, 2, 40)
CLASSES = RNG.integers(0, 4, 40)
VALUES = RNG.normal(size=40).astype(np.float32)


def sigmoid(z):
    return 1 / (1 + np.exp(-z.astype(np.float64)))


def test_binary():
    task = T.binary()
    p = sigmoid(LOGIT[:, 0])
    expected = -(BITS * np.log(p) + (1 - BITS) * np.log(1 - p))
    np.testing.assert_allclose(task.loss(LOGIT, task.encode(BITS)), expected, rtol=1e-4)
    np.testing.assert_array_equal(task.decode(LOGIT), (p > 0.5).astype(int))
    np.testing.assert_allclose(task.probabilities(LOGIT), np.stack([1 - p, p], 1), rtol=1e-5)
    np.testing.assert_allclose(task.metrics["accuracy"](LOGIT, BITS), ((p > 0.5) == BITS).mean(), rtol=1e-6)
    np.testing.assert_array_equal(T.binary(threshold=0.9).decode(LOGIT), (p > 0.9).astype(int))
    np.testing.assert_array_equal(task.encode(BITS.astype(bool)), BITS)
    np.testing.assert_array_equal(task.encode(BITS[:, None].astype(float)), BITS)


def test_multiclass():
    task = T.multiclass(4)
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    np.testing.assert_allclose(task.loss(LOGITS, task.encode(CLASSES)), -np.log(p[np.arange(40), CLASSES]), rtol=1e-5)
    np.testing.assert_array_equal(task.decode(LOGITS), LOGITS.argmax(1))
    np.testing.assert_allclose(task.probabilities(LOGITS), p, rtol=1e-5)
    np.testing.assert_allclose(
        task.metrics["accuracy"](LOGITS, CLASSES), (LOGITS.argmax(1) == CLASSES).mean(), rtol=1e-6
    )
    weights = np.arange(4.0, dtype=np.float32)
    weighted, counts = T.multiclass(4, class_weights=weights).loss(LOGITS, CLASSES)
    np.testing.assert_allclose(weighted, weights[CLASSES] * task.loss(LOGITS, CLASSES), rtol=1e-5)
    np.testing.assert_array_equal(counts, weights[CLASSES])
    smooth = np.eye(4)[CLASSES] * 0.9 + 0.1 / 4
    expected = -(smooth * np.log(p)).sum(1)
    np.testing.assert_allclose(T.multiclass(4, label_smoothing=0.1).loss(LOGITS, CLASSES), expected, rtol=1e-5)


def test_multilabel():
    task, targets = T.multilabel(4), RNG.integers(0, 2, (40, 4))
    p = sigmoid(LOGITS)
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(1)
    np.testing.assert_allclose(task.loss(LOGITS, task.encode(targets)), expected, rtol=1e-4)
    np.testing.assert_array_equal(task.decode(LOGITS), (LOGITS > 0).astype(int))
    np.testing.assert_allclose(task.metrics["accuracy"](LOGITS, targets), ((LOGITS > 0) == targets).mean(), rtol=1e-6)


@pytest.mark.parametrize("outputs", [1, 4])
def test_regression(outputs):
    task, targets = T.regression(outputs), RNG.normal(size=(40, outputs)).astype(np.float32)
    predictions = LOGITS[:, :outputs]
    np.testing.assert_allclose(task.loss(predictions, targets), ((predictions - targets) ** 2).mean(1), rtol=1e-5)
    np.testing.assert_allclose(
        task.metrics["mae"](predictions, targets), np.abs(predictions - targets).mean(), rtol=1e-5
    )
    assert task.encode(VALUES).shape == (40, 1) if outputs == 1 else True
    robust = T.regression(outputs, loss=fnn.losses.huber_loss)
    assert robust.loss(predictions, targets).shape == (40,)


def test_quantile():
    task, targets = T.quantile((0.1, 0.5, 0.9)), VALUES[:, None]
    r = targets - LOGITS[:, :3]
    levels = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        task.loss(LOGITS[:, :3], targets), np.maximum(levels * r, (levels - 1) * r).mean(1), rtol=1e-4
    )
    decoded = task.decode(LOGITS[:, :3])
    assert (np.diff(decoded, axis=1) >= 0).all()
    inside = (decoded[:, 0] <= VALUES) & (decoded[:, 2] >= VALUES)
    np.testing.assert_allclose(task.metrics["coverage"](LOGITS[:, :3], targets), inside.mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="ascending"):
        T.quantile((0.9, 0.1))


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
def test_distribution(family):
    stats = pytest.importorskip("scipy.stats")
    task = T.distribution(family)
    mean, log_scale = LOGITS[:, 0].astype(float), LOGITS[:, 1].astype(float)
    law = stats.norm(mean, np.exp(log_scale / 2)) if family == "gaussian" else stats.laplace(mean, np.exp(log_scale))
    np.testing.assert_allclose(task.loss(LOGITS[:, :2], VALUES[:, None]), -law.logpdf(VALUES), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(task.decode(LOGITS[:, :2])[:, 0], LOGITS[:, 0])


TASKS = {
    "binary": (T.binary(), LOGIT, BITS),
    "multiclass": (T.multiclass(4), LOGITS, CLASSES),
    "multilabel": (T.multilabel(4), LOGITS, (LOGITS > 0.3).astype(int)),
    "regression": (T.regression(), LOGIT, VALUES),
    "quantile": (T.quantile(), LOGITS[:, :3], VALUES),
    "gaussian": (T.distribution(), LOGITS[:, :2], VALUES),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", TASKS)
def test_zero_weights_do_not_count_in_any_metric(name):
    task, outputs, targets = TASKS[name]
    targets = task.encode(targets)
    weights = np.r_[np.ones(30), np.zeros(10)].astype(np.float32)
    for metric in task.metrics.values():
        kept, masked = metric(outputs[:30], targets[:30]), metric(outputs, targets, weights=weights)
        np.testing.assert_allclose(masked, kept, rtol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_loss_is_finite_with_finite_gradient_for_huge_outputs(name):
    task, outputs, targets = TASKS[name]
    if name == "gaussian":
        outputs = outputs * np.array([1e4, 1.0], np.float32)
    else:
        outputs = outputs * 1e4
    value, slope = jax.value_and_grad(lambda z: task.loss(z, task.encode(targets)).sum())(jnp.asarray(outputs))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", TASKS)
def test_wrong_number_of_outputs_is_named(name):
    task, outputs, targets = TASKS[name]
    wrong = np.concatenate([outputs, outputs], axis=1)
    with pytest.raises(ValueError, match=r"expected outputs of shape \(batch, \d\).*end the model in dense"):
        task.loss(wrong, task.encode(targets))


STEPS = np.array([[0, 2, 1, 1, 2], [1, 1, 0, 2, 0]], np.int32)
SCORES = RNG.normal(size=(2, 5, 3)).astype(np.float32)


def test_classes_at_every_step_or_pixel():
    task = T.multiclass(3)
    log_p = SCORES - np.log(np.exp(SCORES).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, STEPS[..., None], -1)[..., 0]
    np.testing.assert_allclose(task.loss(SCORES, task.encode(STEPS)), expected, rtol=1e-5)
    np.testing.assert_array_equal(task.decode(SCORES), SCORES.argmax(-1))
    right = SCORES.argmax(-1) == STEPS
    np.testing.assert_allclose(task.metrics["accuracy"](SCORES, STEPS), right.mean(), rtol=1e-6)
    weighed = task.metrics["accuracy"](SCORES, STEPS, weights=jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(weighed, (right.mean(1) * [0.25, 0.75]).sum(), rtol=1e-6)
    pixels = task.loss(SCORES.reshape(1, 2, 5, 3), task.encode(STEPS[None]))
    np.testing.assert_allclose(pixels, expected[None], rtol=1e-5)


def test_shares_of_classes_are_targets_too():
    shares = np.full((2, 3), 1 / 3, np.float32)
    logits = SCORES[:, 0]
    expected = np.log(np.exp(logits).sum(-1)) - logits.mean(-1)
    np.testing.assert_allclose(T.multiclass(3, ignore_index=-1).loss(logits, jnp.asarray(shares)), expected, rtol=1e-5)


def test_shares_of_classes_do_not_count_in_the_padding():
    shares, real = jax.nn.softmax(jnp.asarray(SCORES[::-1])), np.arange(5) < np.array([[5], [2]])
    losses, counts = T.multiclass(3).loss(fnn.Padded(SCORES, jnp.array([5, 2])), shares)
    np.testing.assert_array_equal(counts, real)
    np.testing.assert_allclose(losses[real], T.multiclass(3).loss(SCORES[real], shares[real]), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_masks_that_nobody_encoded_count_as_they_say(dtype):
    labels = jnp.asarray(np.where(STEPS == 2, 255, STEPS).astype(dtype))
    values, counts = jax.jit(T.multiclass(3, ignore_index=255).loss)(SCORES, labels)
    np.testing.assert_array_equal(counts, STEPS != 2)
    np.testing.assert_allclose(values, np.where(STEPS == 2, 0, T.multiclass(3).loss(SCORES, STEPS)), rtol=1e-5)
    padded, lengths = fnn.Padded(SCORES, jnp.array([5, 2])), np.array([5, 2])
    values, counts = jax.jit(T.multiclass(3).loss)(padded, jnp.asarray(STEPS.astype(dtype)))
    np.testing.assert_array_equal(counts, np.arange(5) < lengths[:, None])
    assert np.isfinite(values).all()


def test_a_number_that_is_no_class_and_not_the_ignored_one_is_not_left_out():
    traced = jax.jit(T.multiclass(3, ignore_index=-100).loss)(SCORES, jnp.where(STEPS == 2, -1, STEPS))[0]
    assert np.isnan(traced[STEPS == 2]).all()
    padded = jax.jit(T.multiclass(3).loss)(fnn.Padded(SCORES, jnp.array([5, 5])), jnp.where(STEPS == 2, -1, STEPS))[0]
    assert np.isnan(padded[STEPS == 2]).all()


def test_padding_is_along_the_axis_of_time():
    scores, lengths = RNG.normal(size=(2, 2, 2, 3)).astype(np.float32), jnp.array([2, 1])
    task = T.multiclass(3)
    _, counts = task.loss(fnn.Padded(scores, lengths), jnp.zeros((2, 2, 2), jnp.int32))
    np.testing.assert_array_equal(counts, [[[1, 1], [1, 1]], [[1, 1], [0, 0]]])
    right = scores.argmax(-1) == 0
    accuracy = task.metrics["accuracy"](fnn.Padded(scores, lengths), jnp.zeros((2, 2, 2), jnp.int32))
    np.testing.assert_allclose(accuracy, right[np.asarray(counts) == 1].mean(), rtol=1e-6)


def test_one_step_is_a_step():
    task = T.multiclass(3, ignore_index=1)
    for outputs in (SCORES[:, :1], SCORES[:, 0]):
        for targets in (STEPS[:, :1], STEPS[:, 0]):
            values, counts = task.loss(outputs, task.encode(targets))
            np.testing.assert_array_equal(counts.ravel(), [1, 0])
            assert values.ravel()[1] == 0


MISFITS = {
    "one-hot rows": (SCORES[:, 0], np.eye(3, dtype=np.int32)[:2], r"write targets.argmax\(axis=-1\)"),
    "one class for many steps": (
        SCORES,
        STEPS[:, 0],
        r"expected targets of shape \(2, 5\), got \(2,\); one row of outputs",
    ),
    "many classes for one step": (
        SCORES[:, 0],
        STEPS,
        r"expected targets of shape \(2,\), got \(2, 5\); .*return_sequences",
    ),
    "another number of steps": (SCORES, STEPS[:, :4], r"expected targets of shape \(2, 5\), got \(2, 4\)$"),
    "a mask with one channel": (SCORES, STEPS[..., None], r"write targets\[..., 0\]"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_targets_that_do_not_fit_the_outputs_say_what_to_write(name):
    outputs, targets, message = MISFITS[name]
    task = T.multiclass(3)
    for use in (task.loss, task.metrics["accuracy"]):
        with pytest.raises(ValueError, match=message):
            use(outputs, task.encode(targets))


@pytest.mark.parametrize("outputs", [SCORES, SCORES[:, 0]], ids=["steps", "rows"])
def test_class_numbers_that_are_floats_say_what_to_write(outputs):
    targets = jnp.zeros(outputs.shape[:-1])
    for use in (T.multiclass(3).loss, T.multiclass(3).metrics["accuracy"]):
        with pytest.raises(
            TypeError, match=r"multiclass\(3\): expected targets to be integers.*targets\.astype\(int\)"
        ):
            use(outputs, targets)


def test_a_class_that_is_no_class_is_ignored_where_one_says_so():
    hole = np.where(STEPS == 2, -1, STEPS)
    with pytest.raises(ValueError, match=r"got -1 at row 0.*; ignore_index=-1 leaves them out"):
        T.multiclass(3).encode(hole)
    np.testing.assert_array_equal(T.multiclass(3, ignore_index=-1).encode(hole), hole)
    with pytest.raises(ValueError, match=r"got 7 at row 1"):
        T.multiclass(3, ignore_index=-1).encode(np.where(np.arange(2)[:, None] == 1, 7, hole))
    with pytest.raises(TypeError, match="expected ignore_index to be a Python int"):
        T.multiclass(3, ignore_index=0.5)
    with pytest.raises(ValueError, match="ignore_index"):
        T.multiclass(3, ignore_index=2**32 + 1)
    with pytest.raises(ValueError, match=r"numpy\.unique"):
        T.multilabel(2).encode([[0, -1]])
    with pytest.raises(ValueError, match=r"got -1 at row 0.*; fnn.tasks.multiclass\(2, ignore_index=-1\) leaves them"):
        T.binary().encode(np.where(hole == 1, 1, -1))
    with pytest.raises(ValueError, match="argmax"):
        T.binary().loss(LOGIT[:2], T.binary().encode(np.eye(2)))


@pytest.mark.parametrize("name", TASKS)
def test_a_metric_is_called_what_it_measures(name):
    known = {getattr(fnn.metrics, metric) for metric in fnn.metrics.__all__}
    for key, measure in TASKS[name][0].metrics.items():
        assert measure.__name__ == key or inspect.unwrap(measure) in known


def test_a_bare_loss_from_logits_refuses_a_softmax_too():
    model = fnn.serial(fnn.dense(3), fnn.softmax)
    with pytest.raises(ValueError, match="ends in softmax"):
        fnn.train_step(model, fnn.optim.sgd(0.1), fnn.losses.softmax_cross_entropy)
    fnn.train_step(model, fnn.optim.sgd(0.1), fnn.losses.mse)
    with pytest.raises(TypeError, match="expected a task"):
        T.as_task(3)


@pytest.mark.parametrize(
    ("task", "outputs", "targets"),
    [
        (T.multiclass(3), (4, 3), np.array([0, 0, 0, 1])), (T.multilabel(2), (4, 2), np.zeros((4, 2), np.int32)),
        (T.binary(), (4, 1), np.array([0, 0, 0, 1])),
    ],
)  # fmt: skip
def test_an_output_that_is_nan_is_never_right(task, outputs, targets):
    assert task.metrics["accuracy"](jnp.full(outputs, jnp.nan), targets) == 0


@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (T.multiclass(4), CLASSES), (T.binary(), BITS), (T.multilabel(4), RNG.integers(0, 2, (40, 4))),
        (T.regression(4), LOGITS), (T.quantile((0.1, 0.9)), VALUES[:, None]), (T.distribution(), VALUES[:, None]),
    ],
    ids=lambda value: value.name if isinstance(value, T.Task) else "",
)  # fmt: skip
def test_of_no_rows_metrics_are_nan_and_there_is_no_loss(task, targets):
    outputs = {"binary()": LOGIT}.get(task.name, LOGITS[:, : 4 if targets.shape[1:] != (1,) else 2])
    losses, counts, _ = mean_loss(task, outputs[:0], targets[:0])
    assert (losses, counts) == (0, 0)
    for metric in task.metrics.values():
        assert np.isnan(metric(outputs[:0], targets[:0]))
        assert np.isnan(metric(outputs, targets, weights=np.zeros(40, np.float32)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    ("task", "targets"),
    [
        (T.regression(2), np.array([[1003.0, 9]])), (T.quantile((0.1, 0.9)), np.array([[1003.0]])),
        (T.distribution(), np.array([[1003.0]])), (T.multilabel(2), np.array([[0, 1]])),
    ],
    ids=lambda value: value.name if isinstance(value, T.Task) else "",
)  # fmt: skip
def test_targets_of_half_precision_outputs_are_not_rounded(task, targets, dtype):
    outputs, targets = jnp.array([[1000.0, 6]], dtype), task.encode(targets)
    wide = outputs.astype(jnp.float32)
    np.testing.assert_allclose(task.loss(outputs, targets).astype(jnp.float32), task.loss(wide, targets), rtol=1e-2)
    for name, metric in task.metrics.items():
        np.testing.assert_allclose(metric(outputs, targets), metric(wide, targets), rtol=1e-2, err_msg=name)
        assert metric(outputs, targets).dtype == jnp.float32
    assert task.decode(outputs).dtype == (jnp.int32 if task.name == "multilabel(2)" else dtype)


def test_a_loss_of_ones_own_meets_half_precision_outputs_in_float32():
    task = T.regression(loss=lambda p, y: (p - y) ** 2)
    values = task.loss(jnp.ones((2, 1), jnp.bfloat16), jnp.full((2, 1), 1.001))
    np.testing.assert_allclose(values, 1e-6, rtol=1e-3)


def worst(outputs, targets):
    return jnp.abs(outputs - targets).max()


def test_a_metric_that_takes_no_weights_is_named():
    x, model, task = np.ones((4, 1), np.float32), fnn.dense(1), T.regression()._replace(metrics={"worst": worst})
    run, rule = {"key": jax.random.key(0), "epochs": 1, "batch_size": 2}, fnn.optim.sgd(0.1)
    trained = fnn.Trained(*model.init(jax.random.key(0), x))
    for use in (
        lambda: fnn.evaluate(model, trained, (x, x), task),
        lambda: fnn.fit(model, rule, task, (x, x), training_metrics=True, **run),
        lambda: fnn.selection.cross_validate(model, rule, task, (x, x), folds=2, **run),
    ):
        with pytest.raises(TypeError, match=r"metric 'worst'.*, got one of \(outputs, targets\); write weights=None"):
            use()


@pytest.mark.parametrize(
    ("metric", "came"),
    [
        (lambda outputs, targets, scale, weights=None: 0.0, r"got one of \(outputs, targets, scale, weights=None\)"),
        (lambda outputs, targets, weights, /: 0.0, "got one of"),
        (0.5, "got 0.5$"),
    ],
)
def test_what_cannot_be_called_with_weights_is_no_metric(metric, came):
    with pytest.raises(TypeError, match=f"metric 'mine'.*{came}"):
        measure_all({"mine": metric}, VALUES, VALUES, None)


def test_every_kind_of_function_with_weights_is_a_metric():
    def scaled(outputs, targets, scale, *, weights=None):
        return scale

    class Constant:
        def __call__(self, outputs, targets, weights):
            return 2

    metrics = {"partial": functools.partial(scaled, scale=1), "object": Constant(), "all": lambda *given, **named: 3}
    assert measure_all(metrics, VALUES, VALUES, None) == {"partial": 1, "object": 2, "all": 3}
