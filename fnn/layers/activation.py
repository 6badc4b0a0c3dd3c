"""Activations that are more than a function of x: a learned slope, a drawn slope, a penalty on what passes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from fnn import activations, checks
from fnn.activations.pieces import require_finite
from fnn.activations.rectifiers import require_slopes
from fnn.layer import Facts, Layer, Penalty, constructor, stateless
from fnn.layer.padded import step_by_step
from fnn.layers.dropout import random_layer
from fnn.precision import widen
from fnn.typing import Array, ArrayLike, Key, PyTree

__all__ = ["activity_penalty", "prelu", "rrelu"]


@constructor
def prelu(alpha: ArrayLike = 0.25, *, per_channel: bool = True) -> Layer:
    r"""Leaky relu with a learned slope: $f(x) = x$ for $x > 0$, $αx$ for $x \le 0$.

    Parameters: `alpha` (channels,), or () if shared.

    Args:
        alpha: where the slope starts.
        per_channel: one slope per channel (last axis), or one for all.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> params, state = fnn.prelu().init(jax.random.key(0), jnp.ones((8, 3)))
        >>> params["alpha"].tolist()
        [0.25, 0.25, 0.25]

    References:
        He et al., Delving deep into rectifiers, 2015.
    """
    require_finite("prelu", "alpha", alpha)

    def init(key: Key, x: Any) -> PyTree:
        checks.floating("prelu", "x", x)
        return {"alpha": jnp.full(x.shape[-1:] if per_channel else (), alpha, jnp.result_type(x))}

    def apply(params: PyTree, x: Array) -> Array:
        return activations.prelu(x, params["alpha"])

    return step_by_step("prelu", stateless(init, apply))


@constructor
def rrelu(lower: ArrayLike = 1 / 8, upper: ArrayLike = 1 / 3) -> Layer:
    r"""Leaky relu with a random slope: $α \sim U(l, u)$ per element in training, $\frac{l+u}{2}$ at inference.

    Args:
        lower, upper: $l$ and $u$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.rrelu().apply((), (), jnp.array([-48.0, 1.0]))[0].tolist()
        [-11.0, 1.0]

    References:
        Xu et al., Empirical evaluation of rectified activations in convolutional network, 2015.
    """
    require_slopes(lower, upper)

    def draw(key: Key, x: Array) -> Array:
        return activations.rrelu(x, key, lower, upper, train=True)

    return random_layer("rrelu", draw, settle=lambda x: activations.rrelu(x, None, lower, upper))


@constructor
def activity_penalty(l1: ArrayLike = 0.0, l2: ArrayLike = 0.0) -> Layer:
    r"""Ask for small or sparse activations: $λ_1 \overline{\sum|x|} + λ_2 \overline{\sum x^2}$ joins the training loss.

    The sums are over the features of an example, the mean over the batch. The layer returns x as it is.

    States: `penalty`, an `fnn.Penalty`, which `train_step` adds to the loss.

    Args:
        l1: $λ_1$; drives activations to exactly zero behind a relu.
        l2: $λ_2$.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> layer = fnn.activity_penalty(l1=0.5)
        >>> y, state = layer.apply((), {"penalty": fnn.Penalty(0.0)}, jnp.array([[1.0, -3.0]]), train=True)
        >>> state["penalty"].value.tolist()
        2.0

    References:
        Glorot, Bordes and Bengio, Deep sparse rectifier neural networks, 2011.
    """
    checks.in_range("activity_penalty", "l1", l1, 0)
    checks.in_range("activity_penalty", "l2", l2, 0)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        checks.floating("activity_penalty", "x", x)
        return (), {"penalty": Penalty(jnp.zeros((), widen(jnp.zeros((), jnp.result_type(x))).dtype))}

    def over_rows(where: Any) -> Layer:
        def apply(
            params: PyTree, state: PyTree, x: Array, /, *, key: Key | None = None, train: bool = False
        ) -> tuple[Array, PyTree]:
            wide = widen(x)
            rows = jnp.asarray(x.shape[0]).astype(wide.dtype)
            if where is not None and where.shape == x.shape[:1]:
                wide = jnp.where(where.reshape(-1, *(1,) * (x.ndim - 1)), wide, 0)
                rows = where.sum().astype(wide.dtype)
            total = jnp.asarray(l1, wide.dtype) * jnp.abs(wide).sum() + jnp.asarray(l2, wide.dtype) * (wide**2).sum()
            return x, {"penalty": Penalty(total / jnp.maximum(rows, 1))}

        return Layer(init, apply)

    return over_rows(None)._replace(facts=Facts(over_rows=over_rows))
