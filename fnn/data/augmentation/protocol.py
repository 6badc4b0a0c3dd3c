"""What an augmentation is: how it is made of a function of one example, and of other augmentations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, random_bits
from fnn.kernels.mesh_axes import auto_axes, rows_of
from fnn.typing import Array, Augmentation, DType, Key

__all__ = ["compose"]

IMAGES = "(batch, height, width, channels)"


def each_example(
    where: str,
    change: Callable[[Key, Array], Array],
    ranks: int | Collection[int] | None = None,
    layout: str = "",
    moves: bool = False,
) -> Augmentation:
    """`change(key, example)` for every example of the batch, each with a key of its own; targets stay.

    One that `moves` pixels refuses targets that belong to pixels.
    """

    def augment(key: Key, x: Array, targets: Any) -> tuple[Array, Any]:
        require_one_input(where, x)
        if ranks is not None:
            checks.rank(where, "x", x, ranks, layout)
        if moves:
            require_targets_of_rows(where, x, targets)
        x = jnp.asarray(x)
        each = auto_axes(jax.vmap(change), rows_of(x))
        return each(random_bits.split(key, x.shape[0]), x), targets

    return augment


def require_one_input(where: str, x: Any) -> None:
    """Require an array, and say what is written where a batch has several."""
    if isinstance(x, dict | tuple):
        raise TypeError(
            f"{where}: one input is changed, got {checks.describe(x)}; write a function augment(key, x, targets) "
            "that calls it with one of them, and returns all"
        )


def require_targets_of_rows(where: str, x: Array, targets: Any) -> None:
    """Require targets without the pixels, or the steps, of x: they would stay where they are while these move.

    As many columns as there are steps look the same, and an augmentation does not know the task: it is said how to
    write that they belong to the series.
    """
    for leaf in jax.tree.leaves(targets):
        if x.ndim > 2 and jnp.shape(leaf)[1 : x.ndim - 1] == x.shape[1:-1]:
            parts, otherwise = "pixels", ""
            if x.ndim == 3:
                own = f"lambda key, x, targets: ({where}(…)(key, x, None)[0], targets)"
                parts, otherwise = "steps", f"; if they are {x.shape[1]} values of the whole series, write {own}"
            raise ValueError(
                f"{where}: targets {jnp.shape(leaf)} belong to the {parts} of x {x.shape}, which move while they stay; "
                f"write a function augment(key, x, targets) that moves both, as more channels of one array{otherwise}"
            )


def require_augmentation(where: str, name: str, given: Any) -> None:
    """Require one, or None for none."""
    example = "fnn.data.compose(*augmentations)" if isinstance(given, list | tuple) else "fnn.data.random_flip()"
    checks.function(where, name, given, "(key, x, targets) -> (x, targets)", example, "Augmentation")


def narrow(y: Array, dtype: DType) -> Array:
    """Back in the dtype of the data: integers are rounded and held inside their range."""
    if jnp.issubdtype(dtype, jnp.floating):
        return y.astype(dtype)
    info = jnp.iinfo(dtype)
    return jnp.clip(jnp.round(y), info.min, info.max).astype(dtype)


def compose(*augmentations: Augmentation) -> Augmentation:
    r"""Augmentations one after another: $(x, t) \leftarrow a_n(k_n, … a_1(k_1, x, t))$ with $k = $ `split(key, n)`.

    Args:
        *augmentations: functions `augment(key, x, targets) -> (x, targets)`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> augment = fnn.data.compose(fnn.data.random_flip(), fnn.data.random_crop(4))
        >>> x, targets = augment(jax.random.key(0), jnp.ones((8, 28, 28, 1)), jnp.zeros(8, int))
        >>> x.shape
        (8, 28, 28, 1)
    """
    for place, one in enumerate(augmentations):
        if one is None:
            raise TypeError(f"compose: expected an augmentation at place {place}, got None; leave it out")
        require_augmentation("compose", f"augmentation {place}", one)

    def augment(key: Key, x: Any, targets: Any) -> tuple[Any, Any]:
        for one, own in zip(augmentations, random_bits.split(key, len(augmentations)), strict=True):
            x, targets = one(own, x, targets)
        return x, targets

    return augment
