"""Every loss in closed form, its slope in the predictions, and the points where it is asked for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from benchmarks.nonfinite.points import (
    HIDDEN,
    INF,
    Question,
    flat,
    grid,
    log_softmax,
    nothing,
    points,
    product,
    rows,
    softmax,
)  # fmt: skip

Formula = Callable[..., np.ndarray]


def _residual(name: str, value: Formula, slope: Formula, by_row: bool = False, **options: Any) -> Question:
    """A function of r = prediction - target."""

    def inputs(tiny: float) -> tuple[np.ndarray, ...]:
        p, t = grid(tiny, -1e4, 0.0, 1e4)
        return (p[:, None], t[:, None]) if by_row else (p, t)

    def of_rows(p: np.ndarray, t: np.ndarray) -> np.ndarray:
        return value(p - t)[:, 0] if by_row else value(p - t)

    return Question(name, inputs, of_rows, lambda p, t: slope(p - t), options)


def _margin(name: str, value: Formula, slope: Formula, labels: tuple[float, float]) -> Question:
    """A function of z = score of the true side: a score and its label -1 or 1, or a logit and 0 or 1."""

    def side(y: np.ndarray) -> np.ndarray:
        return np.where(y == labels[1], 1.0, -1.0)

    return Question(
        name,
        lambda tiny: grid(tiny, *labels),
        lambda p, y: value(p * side(y)),
        lambda p, y: side(y) * slope(p * side(y)),
    )


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, z)


def _focal_slope(z: np.ndarray) -> np.ndarray:
    wrong = special.expit(-z)
    return -(wrong**3) - 2 * product(_softplus(-z), wrong**2 * special.expit(z))


def _probability(tiny: float) -> tuple[np.ndarray, np.ndarray]:
    p = np.array([0, tiny, 0.25, 0.5, 1 - 2.0**-7, 1])
    return np.tile(p, 2), np.repeat([0.0, 1.0], 6)


def _labels(x: np.ndarray) -> np.ndarray:
    return np.arange(len(x)) % 2


def _hot(x: np.ndarray) -> np.ndarray:
    return np.eye(4)[_labels(x)]


def _classes(name: str, value: Formula, slope: Formula, integer: bool = False, given: Formula = rows) -> Question:
    def inputs(tiny: float) -> tuple[np.ndarray, ...]:
        x = given(tiny)
        return x, (_labels(x).astype(np.int32) if integer else _hot(x))

    return Question(name, inputs, lambda x, y: value(x, _hot(x)), lambda x, y: slope(x, _hot(x)))


def _cross_entropy(log_p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -product(y, log_p).sum(-1)


def _logit_slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return softmax(x) - y


def _poly_slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    p = softmax(x)
    return (p - y) * (1 + 2 * (y * p).sum(-1, keepdims=True))


def _log_probabilities(tiny: float) -> np.ndarray:
    return np.array([[0, -INF, -INF, -INF], [-1e4, 0, -1e4, -1e4], [-1, -2, -INF, -1], [-INF, -0.5, -1, -4]])


def _simplexes(tiny: float) -> np.ndarray:
    return np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.25, 0.25, 0], [tiny, 1, 0, 0], [0.25] * 4])


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a/b, and 0 where a is 0."""
    return np.where(a == 0, 0.0, a / np.where(a == 0, 1, b))


def _js_slope(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.where(q == 0, np.where(p > 0, -INF, np.log(2) / 2), np.log(np.where(q == 0, 1, 2 * q / (p + q))) / 2)


def _top_two(s: np.ndarray, y: np.ndarray, margin: float) -> np.ndarray:
    """max(0, margin + best other score - true score)."""
    true, other = np.where(y == 1, s, 0).sum(-1), np.where(y == 1, -INF, s).max(-1)
    return np.maximum(0, margin + other - true)


def _vectors(tiny: float) -> tuple[np.ndarray, np.ndarray]:
    x = np.array([[0, 0, 0], [tiny, 0, 0], [1e4, -1e4, 1e4], [1, 2, 3]])
    return x, np.array([[1, 2, 2.0]] * 4)


def _located(spread: float) -> Callable[[float], tuple[np.ndarray, ...]]:
    return lambda tiny: (*grid(tiny, 0.0, 1e4), np.full(18, spread))


def losses() -> list[Question]:
    return [*_regression(), *_binary(), *_multiclass(), *_divergences(), *_vectors_and_shapes(), *_likelihoods()]


def _huber(r: np.ndarray) -> np.ndarray:
    return np.where(abs(r) <= 1, 0.5 * r**2, abs(r) - 0.5)


def _clipped(r: np.ndarray) -> np.ndarray:
    return np.clip(r, -1, 1)


def _regression() -> list[Question]:
    return [
        _residual("squared_error", np.square, lambda r: 2 * r),
        _residual("l2_loss", lambda r: r**2 / 2, lambda r: r),
        _residual("absolute_error", abs, np.sign),
        _residual("huber_loss", _huber, _clipped),
        _residual("smooth_l1_loss", _huber, _clipped),
        _residual("log_cosh", lambda r: abs(r) + np.log1p(np.exp(-2 * abs(r))) - np.log(2), np.tanh),
        _residual("quantile_loss", lambda r: abs(r) / 2, lambda r: np.where(r > 0, 0.5, -0.5)),
        _residual("mse", np.square, lambda r: 2 * r, by_row=True),
        _residual("half_mse", lambda r: r**2 / 2, lambda r: r, by_row=True),
        _residual("mae", abs, np.sign, by_row=True),
    ]


def _binary() -> list[Question]:
    def hinge(z: np.ndarray) -> np.ndarray:
        return np.maximum(0, 1 - z)

    def below(edge: float) -> Formula:
        return lambda z: np.where(z < edge, -1.0, 0.0)

    def entropy(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -special.xlogy(y, p) - special.xlog1py(1 - y, -p)

    def entropy_slope(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _divided(1 - y, 1 - p) - _divided(y, p)

    def logistic(z: np.ndarray) -> np.ndarray:
        return _softplus(-z)

    def logistic_slope(z: np.ndarray) -> np.ndarray:
        return -special.expit(-z)

    def focal(z: np.ndarray) -> np.ndarray:
        return product(_softplus(-z), special.expit(-z) ** 2)

    return [
        _margin("hinge_loss", hinge, below(1), (-1, 1)),
        _margin("squared_hinge_loss", lambda z: hinge(z) ** 2, lambda z: -2 * hinge(z), (-1, 1)),
        _margin("perceptron_loss", lambda z: np.maximum(0, -z), below(0), (-1, 1)),
        _margin("sigmoid_binary_cross_entropy", logistic, logistic_slope, (0, 1)),
        _margin("bernoulli_negative_log_likelihood", logistic, logistic_slope, (0, 1)),
        _margin("sigmoid_focal_loss", focal, _focal_slope, (0, 1)),
        Question("binary_cross_entropy", _probability, entropy, entropy_slope),
    ]


def _multiclass() -> list[Question]:
    def entropy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _cross_entropy(log_softmax(x), y)

    def poly(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return entropy(x, y) + 2 - 2 * (y * softmax(x)).sum(-1)

    def finite(tiny: float) -> np.ndarray:
        return rows(tiny)[:5]

    hidden = Question("softmax_cross_entropy", lambda tiny: (rows(tiny), np.zeros((9, 4))), nothing, flat, HIDDEN)
    return [
        _classes("softmax_cross_entropy", entropy, _logit_slope),
        _classes("softmax_cross_entropy_with_integer_labels", entropy, _logit_slope, integer=True),
        _classes("poly_loss_cross_entropy", poly, _poly_slope),
        hidden,
        _classes("categorical_negative_log_likelihood", _cross_entropy, lambda x, y: -y, given=_log_probabilities),
        _classes("multiclass_hinge_loss", lambda s, y: _top_two(s, y, 1), flat, integer=True, given=finite),
        _classes("multiclass_perceptron_loss", lambda s, y: _top_two(s, y, 0), flat, integer=True, given=finite),
    ]


def _divergences() -> list[Question]:
    def of_probabilities(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _cross_entropy(np.log(p), y)

    def slope(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -_divided(y, p)

    def js(q: np.ndarray, p: np.ndarray) -> np.ndarray:
        middle = (p + q) / 2
        return (special.rel_entr(q, middle) + special.rel_entr(p, middle)).sum(-1) / 2

    def log_targets(tiny: float) -> tuple[np.ndarray, ...]:
        return np.log(np.full((2, 4), 0.25)), np.array([[0, -INF, -INF, -INF], [-1e4, 0, -1e4, -INF]])

    def generalized(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _cross_entropy(x, y) - y.sum(-1) + np.exp(x).sum(-1)

    return [
        _classes("cross_entropy", of_probabilities, slope, given=_simplexes),
        _classes("kl_divergence", _cross_entropy, lambda x, y: -y, given=_log_probabilities),
        _classes("kl_divergence_from_probabilities", of_probabilities, slope, given=_simplexes),
        _classes("js_divergence", js, _js_slope, given=_simplexes),
        _classes("generalized_kl_divergence", generalized, lambda x, y: np.exp(x) - y, given=_log_probabilities),
        Question(
            "kl_divergence_with_log_targets",
            log_targets,
            lambda q, p: product(np.exp(p), p - q).sum(-1),
            lambda q, p: -np.exp(p),
        ),
    ]


def _vectors_and_shapes() -> list[Question]:
    """Values bounded by 1 or by the inputs, slopes by 1/epsilon = 1,000 where there is one."""

    def triplet(tiny: float) -> tuple[np.ndarray, ...]:
        x, y = _vectors(tiny)
        return x, y, -y

    def pair(tiny: float) -> tuple[np.ndarray, ...]:
        x, _ = _vectors(tiny)
        return x, x, np.ones(4, np.int32)

    def image(tiny: float) -> tuple[np.ndarray, ...]:
        x = rows(tiny)[:7]
        return x[None], _hot(x)[None]

    def frames(tiny: float) -> tuple[np.ndarray, ...]:
        x = rows(tiny)[:5]
        return np.stack([x, x], 1), np.zeros((5, 2)), np.ones((5, 1), np.int32), np.zeros((5, 1))

    def one(x: np.ndarray, *_: Any) -> np.ndarray:
        return np.zeros(1)

    return [
        Question("cosine_similarity", _vectors, nothing, flat, {"epsilon": 1e-3}),
        Question("cosine_distance", _vectors, nothing, flat, {"epsilon": 1e-3}),
        Question("triplet_margin_loss", triplet, nothing, flat),
        Question("contrastive_loss", pair, nothing, flat),
        Question("dice_loss", image, one, flat),
        Question("binary_dice_loss", lambda tiny: (points(tiny)[None], np.ones((1, 9))), one, flat),
        Question("ctc_loss", frames, lambda x, *_: 2 * abs(x).max((1, 2)), flat),
    ]


def _likelihoods() -> list[Question]:
    def student(m: np.ndarray, y: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.log1p((y - m) ** 2)

    def student_slope(m: np.ndarray, y: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.where(np.isinf(m), INF, 0)

    def poisson(z: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(z) - product(y, z)

    return [
        Question(
            "gaussian_negative_log_likelihood",
            _located(4.0),
            lambda m, y, v: (y - m) ** 2 / (2 * v),
            lambda m, y, v: (m - y) / v,
        ),
        Question(
            "laplace_negative_log_likelihood",
            _located(0.5),
            lambda m, y, b: abs(y - m) / b,
            lambda m, y, b: np.sign(m - y) / b,
        ),
        Question(
            "student_t_negative_log_likelihood", _located(1.0), student, student_slope, {"degrees_of_freedom": 3.0}
        ),
        Question(
            "poisson_negative_log_likelihood",
            lambda tiny: grid(tiny, 0.0, 3.0),
            poisson,
            lambda z, y: np.exp(z) - y,
        ),
        Question(
            "gaussian_kl_divergence",
            lambda tiny: (points(tiny), np.zeros(9)),
            lambda m, u: m**2 / 2,
            lambda m, u: m,
        ),
    ]
