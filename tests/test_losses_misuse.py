"""Wrong arguments are answered with what was expected, what came, and what to write."""
# ruff: noqa: E501 (a table, one case per line)

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_losses_values import CALLS

from fnn import losses

X, Y = np.ones((4, 3), np.float32), np.ones((4, 3), np.float32)
COLUMN, ROW = np.ones((4, 1), np.float32), np.ones(4, np.float32)
CLASSES = np.array([0, 1, 2, 1])
LOG_P = np.log(np.full((4, 3), 1 / 3, np.float32))

MISUSE = [
    # nothing is broadcast
    (lambda: losses.squared_error(COLUMN, ROW), ValueError, r"same shape, got \(4, 1\) and \(4,\); write targets.reshape"),
    (lambda: losses.mse(COLUMN, ROW), ValueError, r"write targets\.reshape\(predictions\.shape\)"),
    (lambda: losses.sigmoid_binary_cross_entropy(COLUMN, ROW), ValueError, r"write labels\.reshape\(logits\.shape\)"),
    (lambda: losses.hinge_loss(COLUMN, ROW), ValueError, r"write targets\.reshape\(predictor_outputs\.shape\)"),
    (lambda: losses.kl_divergence(LOG_P, X[0] / 3), ValueError, r"log_predictions and targets of the same shape"),
    (lambda: losses.cosine_distance(X, X[:1]), ValueError, "same shape"),
    (lambda: losses.quantile_loss(X, ROW, (0.1, 0.9)), ValueError, r"targets and levels, \(4, 2\), got \(4, 3\)"),
    (lambda: losses.squared_error(ROW, ROW, weights=COLUMN), ValueError, r"got \(4, 1\); write weights.reshape\(\(4,\)\)"),
    (lambda: losses.squared_error(X, Y, weights=np.ones(3)), ValueError, r"weights of shape \(4, 3\) or of its leading axes"),
    (lambda: losses.squared_error(X, Y, where=np.ones(3, bool)), ValueError, "where of shape"),
    (lambda: losses.squared_error(X, Y, where=np.ones(4)), TypeError, "expected a boolean where.*write where != 0"),
    (lambda: losses.gaussian_negative_log_likelihood(X, Y, ROW), ValueError, "predictions and variance of the same shape"),
    # dtypes
    (lambda: losses.squared_error(CLASSES, CLASSES), TypeError, r"predictions to be floating-point.*astype\(jnp.float32\)"),
    (lambda: losses.softmax_cross_entropy(np.eye(4, dtype=int), CLASSES), TypeError, "logits to be floating-point"),
    (lambda: losses.squared_error(ROW, ROW * 1j), TypeError, "expected real targets"),
    # labels
    (lambda: losses.softmax_cross_entropy(X, ROW), TypeError, r"integer class numbers.*write labels.astype\(jnp.int32\)"),
    (lambda: losses.softmax_cross_entropy(X, CLASSES[:, None]), ValueError, r"got labels of shape \(4, 1\); write labels\[..., 0\]"),
    (lambda: losses.softmax_cross_entropy(X, CLASSES[:3]), ValueError, r"class numbers of shape \(4,\) or distributions of shape \(4, 3\)"),
    (lambda: losses.softmax_cross_entropy(X, CLASSES + 1), ValueError, r"class numbers 0 … 2, got 3 at index \(2,\)"),
    (lambda: losses.softmax_cross_entropy(X, CLASSES - 1), ValueError, r"got -1 at index \(0,\)"),
    (lambda: losses.softmax_cross_entropy(X, Y, ignore_index=0), ValueError, "class numbers with ignore_index.*use where"),
    (lambda: losses.softmax_cross_entropy_with_integer_labels(X, Y), TypeError, "for distributions write softmax_cross_entropy"),
    (lambda: losses.softmax_cross_entropy(X, CLASSES, 2), ValueError, "expected axis to name distinct axes of an array of rank 2, got 2"),
    (lambda: losses.softmax_cross_entropy(X, Y, (1, -1)), ValueError, r"expected axis to name distinct axes .* got \(1, -1\)"),
    (lambda: losses.kl_divergence(LOG_P, X, axis=1.0), TypeError, "kl_divergence: expected axis to be a Python int"),
    (lambda: losses.smooth_labels(X, 0.1, axis=2), ValueError, "smooth_labels: expected axis to name distinct axes"),
    (lambda: losses.dice_loss(X, Y, axis=(1, 1)), ValueError, "dice_loss: expected axis to name distinct axes"),
    (lambda: losses.contrastive_loss(X, X, ROW, axis=2), ValueError, "contrastive_loss: expected axis to name distinct"),
    (lambda: losses.triplet_margin_loss(X, X, X, axis="a"), TypeError, "triplet_margin_loss: expected axis to be a Python"),
    (lambda: losses.softmax_cross_entropy(X, CLASSES, class_weights=np.ones(2)), ValueError, r"class_weights of shape \(3,\), got \(2,\)"),
    (lambda: losses.softmax_cross_entropy(X, CLASSES, label_smoothing=1.5), ValueError, r"label_smoothing in \[0, 1\]"),
    (lambda: losses.multiclass_hinge_loss(X, CLASSES, form="ovr"), ValueError, "form to be one of 'crammer_singer'"),
    (lambda: losses.multiclass_hinge_loss(X, CLASSES + 5), ValueError, "class numbers 0 … 2"),
    (lambda: losses.ctc_loss(X[None], np.zeros((1, 4)), np.array([[3]]), np.zeros((1, 1))), ValueError, "class numbers 0 … 2, got 3"),
    (lambda: losses.ctc_loss(X[None], np.zeros((1, 3)), np.array([[1]]), np.zeros((1, 1))), ValueError, "logit_paddings"),
    (lambda: losses.smooth_labels(CLASSES, 0.1), TypeError, "labels to be floating-point"),
    # values that belong to another loss
    (lambda: losses.hinge_loss(ROW, np.array([0, 1, 1, 0])), ValueError, r"targets -1 or 1, got 0; for 0 and 1 write 2 \* targets - 1"),
    (lambda: losses.sigmoid_binary_cross_entropy(ROW, np.array([-1, 1, 1, 1])), ValueError, r"labels in \[0, 1\], got -1; for labels -1 and 1"),
    (lambda: losses.cross_entropy(5 * X, CLASSES), ValueError, "for logits write softmax_cross_entropy"),
    (lambda: losses.binary_cross_entropy(-X, X), ValueError, "for logits write sigmoid_binary_cross_entropy"),
    (lambda: losses.js_divergence(LOG_P, X / 3), ValueError, r"predictions in \[0, 1\].*softmax first"),
    (lambda: losses.dice_loss(5 * X, X, apply_softmax=False), ValueError, "for logits leave apply_softmax=True"),
    (lambda: losses.poisson_negative_log_likelihood(ROW, -ROW), ValueError, "counts >= 0"),
    # hyperparameters
    (lambda: losses.huber_loss(X, Y, delta=0), ValueError, r"delta in \(0, inf\)"),
    (lambda: losses.smooth_l1_loss(X, Y, beta=-1), ValueError, r"beta in \(0, inf\)"),
    (lambda: losses.quantile_loss(X, X, 1.0), ValueError, r"levels in \(0, 1\)"),
    (lambda: losses.sigmoid_focal_loss(X, Y, gamma=-1), ValueError, "gamma"),
    (lambda: losses.gaussian_negative_log_likelihood(X, Y), ValueError, "expected either variance or log_variance"),
    (lambda: losses.gaussian_negative_log_likelihood(X, Y, 0.0), ValueError, "positive variance; write log_variance="),
    (lambda: losses.laplace_negative_log_likelihood(X, Y, 1.0, log_scale=0.0), ValueError, "either scale or log_scale"),
    (lambda: losses.mse(X, Y, reduction="average"), ValueError, "reduction to be one of 'none', 'mean', 'sum', 'pair', got 'average'"),
    (lambda: losses.triplet_margin_loss(X, X, X, norm_degree=0), ValueError, "norm_degree"),
    (lambda: losses.triplet_margin_loss(X, X, X, norm_degree=np.inf), ValueError, "norm_degree"),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(MISUSE)))
def test_misuse(place):
    wrong, error, message = MISUSE[place]
    with pytest.raises(error, match=message):
        wrong()


SPECIAL = ("ctc_loss", "dice_loss", "smooth_labels", "student_t_negative_log_likelihood")


@pytest.mark.parametrize("name", [name for name in losses.__all__ if name not in SPECIAL])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_no_loss_takes_a_column_against_a_row(name, transform):
    more = (jnp.asarray(COLUMN),) * (name in ("contrastive_loss", "triplet_margin_loss"))
    for a, b in ((COLUMN, ROW), (ROW, COLUMN)):
        with pytest.raises((ValueError, TypeError), match=r"\(4|\[4|class numbers"):
            transform(getattr(losses, name))(jnp.asarray(a), jnp.asarray(b), *more)


def test_shapes_are_checked_under_jit_too():
    with pytest.raises(ValueError, match="same shape"):
        jax.jit(losses.squared_error)(jnp.asarray(COLUMN), jnp.asarray(ROW))


def test_masked_labels_are_not_checked():
    labels = np.array([0, 7, 1, 2])
    where = labels != 7
    assert losses.softmax_cross_entropy(X, labels, where=where)[1] == 0
    assert losses.sigmoid_binary_cross_entropy(ROW, labels / 2, where=where)[1] == 0
    assert losses.hinge_loss(ROW, np.array([1, 0, -1, 1]), where=where)[1] == 0


@pytest.mark.parametrize(
    ("labels", "paddings", "blank", "words"),
    [
        ([[1, 1]], [[0, 0]], 7, r"blank_id to be one of 3 classes, from 0, got 7"),
        ([[1, 1], [1, 0]], [[0, 0], [0, 0]], 0, "labels have the blank, class 0, .*first in row 1"),
        ([[1, 1], [0, 1]], [[0, 0], [1, 0]], 0, "labels have a label behind padding.*first in row 1"),
    ],
)
def test_labels_of_ctc_that_mean_nothing_are_named(labels, paddings, blank, words):
    labels, paddings = np.array(labels), np.array(paddings, np.float32)
    logits, frames = jnp.zeros((len(labels), 5, 3)), jnp.zeros((len(labels), 5))
    with pytest.raises(ValueError, match=words):
        losses.ctc_loss(logits, frames, labels, paddings, blank_id=blank)
    if len(labels) > 1:
        assert losses.ctc_loss(logits, frames, labels, paddings, where=np.array([True, False])).shape == (2,)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["host", "device"])
def test_complex_numbers_are_named_by_every_loss(name, array):
    inputs, others, keywords = CALLS[name]
    loss, given = getattr(losses, name), [*inputs, *others]
    arguments = list(inspect.signature(loss).parameters)[: len(given)]
    for place, argument in enumerate(arguments):
        complex_one = [*given[:place], array(given[place] + 0j), *given[place + 1 :]]
        with pytest.raises(
            (TypeError, ValueError), match=rf"expected .*({argument}|labels|class numbers).*got complex"
        ):
            loss(*complex_one, **keywords)
