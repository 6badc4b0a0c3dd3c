"""Augmentations that mix two examples and their targets."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.data.augmentation.images import inside_box
from fnn.data.augmentation.protocol import IMAGES, Augmentation, narrow, require_one_input, require_targets_of_rows
from fnn.kernels.mesh_axes import auto_axes, rows_of
from fnn.precision import wide_dtype
from fnn.typing import Array, ArrayLike, DType, Key

__all__ = ["cutmix", "mixup"]


def _soft(where: str, targets: Any, classes: int | None, dtype: DType) -> Array:
    """Targets that can be mixed: class numbers as one-hot rows, values as they are."""
    if isinstance(targets, dict):
        raise TypeError(f"{where}: one array of targets is mixed, got {checks.describe(targets)}")
    raw, targets = targets, checks.cast(where, "targets", targets)
    if jnp.issubdtype(targets.dtype, jnp.floating):
        return targets
    if classes is None:
        raise TypeError(f"{where}: class numbers cannot be mixed, got {checks.describe(raw)}; write {where}(classes=…)")
    if targets.ndim != 1:
        raise checks.wrong_shape(where, "class numbers", "(batch,)", raw)
    if checks.is_concrete(targets):
        known = np.asarray(targets)
        wrong = np.flatnonzero((known < 0) | (known >= classes))
        if wrong.size:
            raise checks.no_class(where, "class numbers", classes, known[wrong[0]], f"row {wrong[0]}")
    # A wrong number that cannot be seen now shows as a loss of NaN.
    outside = (targets < 0) | (targets >= classes)
    return jnp.where(outside[:, None], jnp.nan, jax.nn.one_hot(targets, classes, dtype=dtype))


def _shares(key: Key, alpha: ArrayLike, batch: int, dtype: DType) -> Array:
    r"""One $λ \sim Beta(α, α)$ per example; 1, nothing mixed, for α = 0."""
    alpha = jnp.asarray(alpha, dtype)
    some = jnp.where(alpha > 0, alpha, 1)
    drawn = jax.vmap(lambda own: jax.random.beta(own, some, some, dtype=dtype))(random_bits.split(key, batch))
    return jnp.where(alpha > 0, drawn, 1)


def _mix(share: Array, a: Array, b: Array) -> Array:
    dtype = wide_dtype(a)
    share = share.reshape(-1, *[1] * (a.ndim - 1)).astype(dtype)
    return narrow(share * a.astype(dtype) + (1 - share) * b.astype(dtype), a.dtype)


def _take(a: Array, rows: Array) -> Array:
    return auto_axes(lambda a, rows: a[rows], rows_of(a))(a, rows)


def mixup(alpha: ArrayLike = 0.2, *, classes: int | None = None) -> Augmentation:
    r"""Mix every example with another of the batch: $x = λ x_i + (1-λ) x_j$, $t = λ t_i + (1-λ) t_j$.

    $λ \sim Beta(α, α)$ is drawn for each example, $j$ is a random permutation of the batch. Weights are not mixed: a
    row of weight 0 is mixed into others, so leave such rows out of the data (`fit(rows=…)`).

    Args:
        alpha: $α \ge 0$; 0 mixes nothing.
        classes: number of classes, where targets are class numbers: they become rows of probabilities, which
            `fnn.tasks.multiclass` and `fnn.losses.softmax_cross_entropy` take. None for targets that are values.

    Raises:
        TypeError: on class numbers without `classes`.
        ValueError: on a class number out of range (NaN where it is traced).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, targets = fnn.data.mixup(classes=3)(jax.random.key(0), jnp.ones((4, 2)), jnp.array([0, 1, 2, 0]))
        >>> targets.shape, targets.sum(axis=1).round(3).tolist()
        ((4, 3), [1.0, 1.0, 1.0, 1.0])

    References:
        Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018.
    """
    checks.in_range("mixup", "alpha", alpha, 0)
    if classes is not None:
        classes = checks.integer("mixup", "classes", classes, 2)

    def augment(key: Key, x: Array, targets: Any) -> tuple[Array, Array]:
        require_one_input("mixup", x)
        x = jnp.asarray(x)
        dtype = wide_dtype(x)
        targets = _soft("mixup", targets, classes, dtype)
        for_share, for_partner = random_bits.split(key)
        share = _shares(for_share, alpha, x.shape[0], dtype)
        partner = jax.random.permutation(for_partner, x.shape[0])
        return _mix(share, x, _take(x, partner)), _mix(share, targets, _take(targets, partner))

    return augment


def cutmix(alpha: ArrayLike = 1.0, *, classes: int | None = None) -> Augmentation:
    r"""Paste a box of another image of the batch into every image and mix the targets by area.

    $x = (1-m)\,x_i + m\,x_j$, $t = λ t_i + (1-λ) t_j$. The box has sides $h\sqrt{1-λ'}$ and $w\sqrt{1-λ'}$ with
    $λ' \sim Beta(α, α)$ and a center uniform over the image; λ is the share of the pixels that stay. Weights are not
    mixed: an image of weight 0 is pasted into others, so leave such rows out of the data (`fit(rows=…)`).

    Args:
        alpha: $α \ge 0$; 0 pastes nothing.
        classes: number of classes, asked for as in `mixup`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> images, labels = jnp.ones((4, 8, 8, 1)), jnp.array([0, 1, 2, 0])
        >>> x, targets = fnn.data.cutmix(classes=3)(jax.random.key(0), images, labels)
        >>> x.shape, targets.sum(axis=1).round(3).tolist()
        ((4, 8, 8, 1), [1.0, 1.0, 1.0, 1.0])

    References:
        Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, 2019.
    """
    checks.in_range("cutmix", "alpha", alpha, 0)
    if classes is not None:
        classes = checks.integer("cutmix", "classes", classes, 2)

    def augment(key: Key, x: Array, targets: Any) -> tuple[Array, Array]:
        require_one_input("cutmix", x)
        checks.rank("cutmix", "x", x, 4, IMAGES)
        require_targets_of_rows("cutmix", x, targets)
        x = jnp.asarray(x)
        targets = _soft("cutmix", targets, classes, wide_dtype(x))
        for_share, for_place, for_partner = random_bits.split(key, 3)
        side = jnp.sqrt(1 - _shares(for_share, alpha, x.shape[0], jnp.float32))

        def box(key: Key, side: Array) -> Array:
            height, width = ((side * size).astype(jnp.int32) for size in x.shape[1:3])
            return inside_box(key, x.shape[1:], (height, width))

        pasted = jax.vmap(box)(random_bits.split(for_place, x.shape[0]), side)
        partner = jax.random.permutation(for_partner, x.shape[0])
        stays = 1 - pasted.mean(axis=(1, 2, 3), dtype=jnp.float32)
        return jnp.where(pasted, _take(x, partner), x), _mix(stays, targets, _take(targets, partner))

    return augment
