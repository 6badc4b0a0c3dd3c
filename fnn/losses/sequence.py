"""Losses of sequences: connectionist temporal classification."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels.mesh_axes import auto_axes, rows_of
from fnn.losses.labels import full_width, require_classes
from fnn.losses.log_softmax import log_softmax
from fnn.losses.reduction import Reduction, floats, follow, full_mask, readable, reduce, takes
from fnn.typing import Array, ArrayLike

__all__ = ["ctc_loss"]


@takes("logits")
def ctc_loss(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: ArrayLike = -1e5,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative log-probability of a label sequence over all its alignments with the frames.

    $-\log \sum_{π ∈ B^{-1}(y)} \prod_t \mathrm{softmax}(x_t)_{π_t}$, where $B$ merges repeated symbols and then
    removes blanks. With the labels interleaved with blanks, $ℓ = (∅, y_1, ∅, …, y_N, ∅)$:
    $α_t(s) = (α_{t-1}(s) + α_{t-1}(s-1) + [ℓ_s ≠ ∅, ℓ_s ≠ ℓ_{s-2}]\,α_{t-1}(s-2))\, p_t(ℓ_s)$.

    Args:
        logits: (batch, frames, classes), one class being the blank.
        logit_paddings: (batch, frames), 1 where a frame is padding, else 0.
        labels: class numbers (batch, length).
        label_paddings: (batch, length), 1 where a label is padding (at the end of a row), else 0.
        blank_id: class number of the blank.
        log_epsilon: stands for log 0; a sequence that cannot be aligned costs about its negative.
        where: sequences to include, (batch,).
        weights, reduction: as in every loss, see `fnn.losses`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> logits, labels = jnp.zeros((1, 2, 2)), jnp.array([[1]])  # 3 of 4 paths: 1 1, 1 blank, blank 1
        >>> [round(float(x), 3) for x in fnn.losses.ctc_loss(logits, jnp.zeros((1, 2)), labels, jnp.zeros((1, 1)))]
        [0.288]

    References:
        Graves et al., Connectionist Temporal Classification, 2006.
    """
    name = "ctc_loss"
    x = floats(name, "logits", logits)
    checks.rank(name, "logits", x, 3, "(batch, frames, classes)")
    if checks.integer(name, "blank_id", blank_id, 0) >= x.shape[-1]:
        raise ValueError(f"{name}: expected blank_id to be one of {x.shape[-1]} classes, from 0, got {blank_id}")
    raw, labels = labels, checks.cast(name, "labels", labels)
    padded_frames = follow(name, "logit_paddings", logit_paddings, x) != 0
    padded_labels = follow(name, "label_paddings", label_paddings, x) != 0
    if labels.ndim != 2 or labels.shape[0] != x.shape[0] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise checks.wrong_shape(name, "integer labels", f"({x.shape[0]}, length)", labels)
    checks.same_shape(name, "labels", labels, "label_paddings", padded_labels)
    if padded_frames.shape != x.shape[:2]:
        raise checks.wrong_shape(name, "logit_paddings", x.shape[:2], padded_frames.shape)
    keep = full_mask(name, where, x.shape[:1])
    if keep is not None:
        x = jnp.where(keep[:, None, None], x, 0)
    x = jnp.where(padded_frames[..., None], 0, x)
    require_classes(name, raw, x.shape[-1], None, ~padded_labels)
    _require_labels_first(name, raw, label_paddings, keep, blank_id)
    # A traced label out of range is read beyond the last class, where there is NaN.
    labels = full_width(labels)
    labels = jnp.where(labels < 0, x.shape[-1], labels)
    labels = jnp.where(padded_labels, blank_id, labels)
    align = functools.partial(_minus_log_alignments, blank_id=blank_id)
    losses = auto_axes(align, rows_of(x))(log_softmax(x, None), padded_frames, labels, ~padded_labels, log_epsilon)
    return reduce(name, losses, logits, reduction, weights, keep)


def _require_labels_first(name: str, labels: ArrayLike, paddings: ArrayLike, keep: Array | None, blank_id: int) -> None:
    """No label is the blank and none stands behind padding, where they can be looked at."""
    if not (readable(labels) and readable(paddings) and readable(keep)):
        return
    host, real = np.asarray(labels), np.asarray(paddings) == 0
    real &= True if keep is None else np.asarray(keep)[:, None]
    for wrong, what in (
        ((host == blank_id) & real, f"the blank, class {blank_id}, which stands between labels and is none"),
        (
            real[:, 1:] & (np.asarray(paddings)[:, :-1] != 0),
            "a label behind padding, which belongs at the end of the row",
        ),
    ):
        if wrong.any():
            raise ValueError(f"{name}: labels have {what}, first in row {int(np.argwhere(wrong)[0][0])}")


# Compiled, because an eager scan would be compiled again at every call.
@functools.partial(jax.jit, static_argnames="blank_id")
def _minus_log_alignments(
    log_p: Array, padded_frames: Array, labels: Array, real: Array, log_epsilon: ArrayLike, *, blank_id: int
) -> Array:
    batch, length = labels.shape
    zero = jnp.asarray(log_epsilon, log_p.dtype)
    interleaved = jnp.full((batch, 2 * length + 1), blank_id, labels.dtype).at[:, 1::2].set(labels)  # (B, S)
    before = jnp.pad(interleaved, ((0, 0), (2, 0)), constant_values=blank_id)[:, :-2]
    may_skip = (interleaved != blank_id) & (interleaved != before)
    emitted = jnp.take_along_axis(log_p, interleaved[:, None, :], 2, mode="fill").transpose(1, 0, 2)  # (T, B, S)

    def step(alpha: Array, frame: tuple[Array, Array]) -> tuple[Array, None]:
        log_emitted, padded = frame
        shifted = jnp.pad(alpha, ((0, 0), (2, 0)), constant_values=zero)  # (B, S + 2)
        from_skip = jnp.where(may_skip, shifted[:, :-2], zero)
        moved = jnp.logaddexp(jnp.logaddexp(alpha, shifted[:, 1:-1]), from_skip) + log_emitted
        return jnp.where(padded[:, None], alpha, moved), None

    start = jnp.full(interleaved.shape, zero).at[:, 0].set(0)
    alpha, _ = jax.lax.scan(step, start, (emitted, padded_frames.T))
    end = 2 * real.sum(1)
    final = jnp.take_along_axis(alpha, end[:, None], 1)[:, 0]
    label = jnp.take_along_axis(alpha, jnp.maximum(end - 1, 0)[:, None], 1)[:, 0]
    return -jnp.where(end == 0, final, jnp.logaddexp(final, label))
