"""Every loss beside an independent reference: the tests compare them, and benchmarks/RESULTS.md has the table.

`table()` gives the largest relative difference of each pair over random cases, in float64.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.spatial.distance
import scipy.special
import scipy.stats

from fnn import losses

Rng = np.random.Generator
N, K = 6, 5


class Comparison(NamedTuple):
    """`mine(*case)` and `reference(*case)` for `case = cases(rng)`, whose shapes are always the same."""

    name: str
    source: str
    mine: Callable[..., Any]
    reference: Callable[..., Any]
    cases: Callable[[Rng], tuple[Any, ...]]


def scaled(rng: Rng, *shape: int) -> np.ndarray:
    """Normal numbers of a random size between 0.1 and 30."""
    return rng.normal(size=shape) * 10 ** rng.uniform(-1, 1.5)


def simplex(rng: Rng, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def two(rng: Rng) -> tuple[Any, ...]:
    return scaled(rng, N, 3), scaled(rng, N, 3)


def signs(rng: Rng) -> tuple[Any, ...]:
    return scaled(rng, N), rng.choice([-1.0, 1.0], N)


def bits(rng: Rng) -> tuple[Any, ...]:
    return scaled(rng, N, 3), rng.integers(0, 2, (N, 3)).astype(float)


def classes(rng: Rng) -> tuple[Any, ...]:
    return scaled(rng, N, K), rng.integers(0, K, N)


def soft(rng: Rng) -> tuple[Any, ...]:
    return scaled(rng, N, K), simplex(rng, N, K)


def class_subset(rng: Rng) -> tuple[Any, ...]:
    where = rng.random((N, K)) < 0.6
    y = np.where(where, simplex(rng, N, K), 0)
    return scaled(rng, N, K), y, where


def log_soft(rng: Rng) -> tuple[Any, ...]:
    return np.log(simplex(rng, N, K)), simplex(rng, N, K)


def probability_pairs(rng: Rng) -> tuple[Any, ...]:
    return simplex(rng, N, K), simplex(rng, N, K)


def ctc(rng: Rng) -> tuple[Any, ...]:
    lengths = rng.integers(0, 4, 4)
    label_paddings = (np.arange(4) >= lengths[:, None]).astype(float)
    logit_paddings = (np.arange(10) >= rng.integers(8, 11, 4)[:, None]).astype(float)
    return rng.normal(size=(4, 10, K)) * 2, logit_paddings, rng.integers(1, K, (4, 4)), label_paddings


def from_optax() -> list[Comparison]:
    o = optax.losses
    one_hot = lambda y: np.eye(K)[y]  # noqa: E731
    pairs: list[tuple[str, Callable[..., Any], Callable[..., Any], Callable[[Rng], tuple[Any, ...]]]] = [
        (
            "softmax_cross_entropy",
            losses.softmax_cross_entropy,
            o.softmax_cross_entropy_with_integer_labels,
            classes,
        ),
        (
            "softmax_cross_entropy_with_integer_labels",
            losses.softmax_cross_entropy_with_integer_labels,
            o.softmax_cross_entropy_with_integer_labels,
            classes,
        ),
        ("softmax_cross_entropy (soft labels)", losses.softmax_cross_entropy, o.softmax_cross_entropy, soft),
        (
            "softmax_cross_entropy (where)",
            lambda x, y, w: losses.softmax_cross_entropy(x, y, where=w),
            lambda x, y, w: o.softmax_cross_entropy(x, y, where=w),
            class_subset,
        ),
        (
            "softmax_cross_entropy (label_smoothing)",
            lambda x, y: losses.softmax_cross_entropy(x, y, label_smoothing=0.1),
            lambda x, y: o.softmax_cross_entropy(x, o.smooth_labels(jnp.eye(K)[y], 0.1)),
            classes,
        ),
        (
            "smooth_labels",
            lambda x, y: losses.smooth_labels(y, 0.3),
            lambda x, y: o.smooth_labels(y, 0.3),
            soft,
        ),
        (
            "poly_loss_cross_entropy",
            losses.poly_loss_cross_entropy,
            o.poly_loss_cross_entropy,
            soft,
        ),
        (
            "sigmoid_binary_cross_entropy",
            losses.sigmoid_binary_cross_entropy,
            o.sigmoid_binary_cross_entropy,
            bits,
        ),
        (
            "sigmoid_focal_loss",
            lambda x, y: losses.sigmoid_focal_loss(x, y, alpha=0.3, gamma=1.5),
            lambda x, y: o.sigmoid_focal_loss(x, y, alpha=0.3, gamma=1.5),
            bits,
        ),
        ("hinge_loss", losses.hinge_loss, o.hinge_loss, signs),
        ("perceptron_loss", losses.perceptron_loss, o.perceptron_loss, signs),
        ("multiclass_hinge_loss", losses.multiclass_hinge_loss, o.multiclass_hinge_loss, classes),
        (
            "multiclass_perceptron_loss",
            losses.multiclass_perceptron_loss,
            o.multiclass_perceptron_loss,
            classes,
        ),
        ("squared_error", losses.squared_error, o.squared_error, two),
        ("l2_loss", losses.l2_loss, o.l2_loss, two),
        (
            "huber_loss",
            lambda p, t: losses.huber_loss(p, t, delta=1.7),
            lambda p, t: o.huber_loss(p, t, delta=1.7),
            two,
        ),
        ("log_cosh", losses.log_cosh, o.log_cosh, two),
        ("cosine_similarity", losses.cosine_similarity, o.cosine_similarity, two),
        (
            "cosine_distance",
            lambda p, t: losses.cosine_distance(p, t, epsilon=0.5),
            lambda p, t: o.cosine_distance(p, t, epsilon=0.5),
            two,
        ),
        ("kl_divergence", losses.kl_divergence, o.kl_divergence, log_soft),
        (
            "kl_divergence_with_log_targets",
            lambda q, p: losses.kl_divergence_with_log_targets(q, jnp.log(p)),
            lambda q, p: o.kl_divergence_with_log_targets(q, jnp.log(p)),
            log_soft,
        ),
        (
            "generalized_kl_divergence",
            losses.generalized_kl_divergence,
            o.generalized_kl_divergence,
            lambda rng: (scaled(rng, N, K) / 10, rng.random((N, K)) * 3),
        ),
        (
            "triplet_margin_loss",
            losses.triplet_margin_loss,
            o.triplet_margin_loss,
            lambda rng: tuple(rng.normal(size=(3, N, K))),
        ),
        (
            "dice_loss",
            lambda p, t: losses.dice_loss(p, t, alpha=0.3, beta=0.7, class_weights=np.arange(1.0, K + 1)),
            lambda p, t: o.dice_loss(p, t, alpha=0.3, beta=0.7, class_weights=np.arange(1.0, K + 1)),
            lambda rng: (scaled(rng, 3, 4, 4, K), one_hot(rng.integers(0, K, (3, 4, 4)))),
        ),
        (
            "binary_dice_loss",
            losses.binary_dice_loss,
            o.binary_dice_loss,
            lambda rng: (scaled(rng, 3, 4, 4), rng.integers(0, 2, (3, 4, 4)).astype(float)),
        ),
        ("ctc_loss", losses.ctc_loss, o.ctc_loss, ctc),
    ]
    return [Comparison(name, "optax", mine, theirs, cases) for name, mine, theirs, cases in pairs]


def from_scipy() -> list[Comparison]:
    stats, special = scipy.stats, scipy.special

    def located(rng: Rng) -> tuple[Any, ...]:
        return scaled(rng, N), scaled(rng, N), rng.uniform(0.1, 3, N)

    def quantile(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.array([[t * (b - a) if b >= a else (1 - t) * (a - b) for a, t in zip(r, (0.1, 0.5, 0.8), strict=True)]
                         for r, b in zip(p, y, strict=True)])  # fmt: skip

    pairs: list[tuple[str, str, Callable[..., Any], Callable[..., Any], Callable[[Rng], tuple[Any, ...]]]] = [
        (
            "cross_entropy",
            "scipy",
            losses.cross_entropy,
            lambda q, p: -special.xlogy(p, q).sum(-1),
            probability_pairs,
        ),
        (
            "binary_cross_entropy",
            "scipy",
            losses.binary_cross_entropy,
            lambda p, y: -special.xlogy(y, p) - special.xlog1py(1 - y, -p),
            lambda rng: (rng.uniform(0.01, 0.99, (N, 3)), rng.random((N, 3))),
        ),
        (
            "squared_hinge_loss",
            "closed form",
            losses.squared_hinge_loss,
            lambda p, y: np.maximum(0, 1 - p * y) ** 2,
            signs,
        ),
        (
            "multiclass_hinge_loss (Weston–Watkins)",
            "closed form",
            lambda s, y: losses.multiclass_hinge_loss(s, y, form="weston_watkins"),
            lambda s, y: np.array(
                [sum(max(0, 1 + s[i, j] - s[i, c]) for j in range(K) if j != c) for i, c in enumerate(y)]
            ),
            classes,
        ),
        ("mse", "closed form", losses.mse, lambda p, t: ((p - t) ** 2).mean(1), two),
        ("half_mse", "closed form", losses.half_mse, lambda p, t: ((p - t) ** 2).sum(1) / 2, two),
        ("mae", "closed form", losses.mae, lambda p, t: np.abs(p - t).mean(1), two),
        ("absolute_error", "closed form", losses.absolute_error, lambda p, t: np.abs(p - t), two),
        (
            "quantile_loss",
            "closed form",
            lambda p, y: losses.quantile_loss(p, y, (0.1, 0.5, 0.8)),
            quantile,
            lambda rng: (scaled(rng, N, 3), scaled(rng, N)),
        ),
        (
            "categorical_negative_log_likelihood",
            "closed form",
            losses.categorical_negative_log_likelihood,
            lambda q, p: -(p * q).sum(-1),
            log_soft,
        ),
        (
            "bernoulli_negative_log_likelihood",
            "scipy",
            losses.bernoulli_negative_log_likelihood,
            lambda x, y: -np.where(y == 1, special.log_expit(x), special.log_expit(-x)),
            bits,
        ),
        (
            "gaussian_negative_log_likelihood",
            "scipy",
            losses.gaussian_negative_log_likelihood,
            lambda m, y, v: -stats.norm.logpdf(y, m, np.sqrt(v)),
            located,
        ),
        (
            "laplace_negative_log_likelihood",
            "scipy",
            losses.laplace_negative_log_likelihood,
            lambda m, y, b: -stats.laplace.logpdf(y, m, b),
            located,
        ),
        (
            "student_t_negative_log_likelihood",
            "scipy",
            lambda m, y, s: losses.student_t_negative_log_likelihood(m, y, s, degrees_of_freedom=2.5),
            lambda m, y, s: -stats.t.logpdf(y, 2.5, m, s),
            located,
        ),
        (
            "poisson_negative_log_likelihood",
            "scipy",
            losses.poisson_negative_log_likelihood,
            lambda z, y: -stats.poisson.logpmf(y, np.exp(z)),
            lambda rng: (rng.uniform(-2, 3, N), rng.integers(0, 20, N)),
        ),
        (
            "kl_divergence_from_probabilities",
            "scipy",
            losses.kl_divergence_from_probabilities,
            lambda q, p: special.rel_entr(p, q).sum(-1),
            probability_pairs,
        ),
        (
            "js_divergence",
            "scipy",
            losses.js_divergence,
            lambda q, p: scipy.spatial.distance.jensenshannon(q, p, axis=-1) ** 2,
            probability_pairs,
        ),
        (
            "gaussian_kl_divergence",
            "closed form",
            losses.gaussian_kl_divergence,
            lambda a, u, b, v: (v - u + (np.exp(u) + (a - b) ** 2) / np.exp(v) - 1) / 2,
            lambda rng: tuple(rng.normal(size=(4, N))),
        ),
        (
            "contrastive_loss",
            "closed form",
            losses.contrastive_loss,
            lambda a, b, y: np.array(
                [
                    d**2 if same else max(0, 1 - d) ** 2
                    for d, same in zip(np.linalg.norm(a - b, axis=-1), y, strict=True)
                ]
            ),
            lambda rng: (*rng.normal(size=(2, N, 3)) / 3, rng.integers(0, 2, N)),
        ),
    ]
    return [Comparison(*pair) for pair in pairs]


def from_torch() -> list[Comparison]:
    import torch
    from torch.nn import functional as F

    def of(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *case: function(*(torch.tensor(np.asarray(a)) for a in case)).numpy()

    weights = np.arange(1.0, K + 1)

    def ctc_in_torch(x: Any, x_pad: Any, y: Any, y_pad: Any) -> Any:
        log_p = F.log_softmax(x, -1).transpose(0, 1)
        frames, labels = (1 - x_pad).sum(1).long(), (1 - y_pad).sum(1).long()
        return F.ctc_loss(log_p, y, frames, labels, reduction="none")

    pairs: list[tuple[str, Callable[..., Any], Callable[..., Any], Callable[[Rng], tuple[Any, ...]]]] = [
        (
            "softmax_cross_entropy (class_weights, label_smoothing, ignore_index, mean)",
            lambda x, y: losses.softmax_cross_entropy(
                x, y, class_weights=weights, label_smoothing=0.2, ignore_index=2, reduction="mean"
            ),
            of(lambda x, y: F.cross_entropy(x, y, torch.tensor(weights), label_smoothing=0.2, ignore_index=2)),
            lambda rng: (scaled(rng, N, K), np.append(rng.integers(0, K, N - 1), 0)),
        ),
        (
            "sigmoid_binary_cross_entropy (pos_weight)",
            lambda x, y: losses.sigmoid_binary_cross_entropy(x, y, pos_weight=(1.0, 2.0, 3.0)),
            of(
                lambda x, y: F.binary_cross_entropy_with_logits(
                    x, y, pos_weight=torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype), reduction="none"
                )
            ),
            bits,
        ),
        (
            "multiclass_hinge_loss (Weston–Watkins)",
            lambda s, y: losses.multiclass_hinge_loss(s, y, form="weston_watkins"),
            of(lambda s, y: K * F.multi_margin_loss(s, y, reduction="none")),
            classes,
        ),
        (
            "smooth_l1_loss",
            lambda p, t: losses.smooth_l1_loss(p, t, beta=0.7),
            of(lambda p, t: F.smooth_l1_loss(p, t, beta=0.7, reduction="none")),
            two,
        ),
        ("ctc_loss", losses.ctc_loss, of(ctc_in_torch), ctc),
    ]
    return [Comparison(name, "torch", mine, theirs, cases) for name, mine, theirs, cases in pairs]


def compare_losses() -> list[Comparison]:
    """Every loss beside its references; torch's where it is installed."""
    torch = from_torch() if importlib.util.find_spec("torch") else []
    return [*from_optax(), *from_scipy(), *torch]


def difference(comparison: Comparison, cases: list[tuple[Any, ...]]) -> float:
    """Largest `|mine - reference| / max(|reference|, 0.01)` of the cases, each side one program."""
    mine = jax.jit(comparison.mine)
    reference = jax.jit(comparison.reference) if comparison.source == "optax" else comparison.reference
    worst = 0.0
    for case in cases:
        got = np.asarray(mine(*case))
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            expected = np.asarray(reference(*case))
        assert got.shape == expected.shape, (got.shape, expected.shape)
        worst = max(worst, float((np.abs(got - expected) / np.maximum(np.abs(expected), 0.01)).max()))
    return worst


def table(cases: int = 100) -> list[tuple[str, str, int, float]]:
    """Rows of loss, reference, number of random cases and largest relative difference, in float64."""
    rows = []
    with jax.enable_x64(True):
        for comparison in compare_losses():
            rng = np.random.default_rng(0)
            worst = difference(comparison, [comparison.cases(rng) for _ in range(cases)])
            rows.append((comparison.name, comparison.source, cases, worst))
    return rows


if __name__ == "__main__":
    for row in table():
        print("| {} | {} | {} | {:.0e} |".format(*row))
