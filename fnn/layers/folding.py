"""Fold trained batch norms into the layers before them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fnn.kernels import wide_dtype
from fnn.kernels.broadcasting import add_bias, of_rank
from fnn.layer import Layer, stateless
from fnn.layer.combinators import same_length
from fnn.layer.parts import at, put, put_within, within
from fnn.layer.protocol import IDENTITY
from fnn.typing import Array, PyTree

__all__ = ["fold_batch_norm"]


def fold_batch_norm(model: Layer, params: PyTree, state: PyTree) -> tuple[Layer, PyTree, PyTree]:
    r"""The same model at inference without its batch norms: $\gamma (Wx + b - \mu) / \sigma + \beta = W'x + b'$.

    Every `batch_norm` of the last axis that follows a `dense` or any convolution in a `serial`, at any depth, is folded
    into it, and so is whatever states `featurewise` and follows what states `linear` (`fnn.Facts`):
    $W' = W \gamma / \sigma$, $b' = (b - \mu)\, \gamma / \sigma + \beta$. Others stay.

    Args:
        model: a trained model.
        params: its parameters.
        state: its state.

    Returns:
        `(model, params, state)` with equal outputs at inference, to rounding. A folded batch norm has become an
        identity, or the bias of a layer that had none; places and structure stay. Not meant to be trained on.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model, x = fnn.serial(fnn.conv(4, 3), fnn.batch_norm(), fnn.relu), jnp.ones((2, 5, 5, 1))
        >>> folded, params, state = fnn.fold_batch_norm(model, *model.init(jax.random.key(0), x))
        >>> folded.parts[1], folded.apply(params, state, x)[0].shape
        (identity, (2, 5, 5, 4))

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient Inference, 2018.
    """
    inside = within(model, params, state)
    if model.facts.sequential and inside is None:
        same_length("fold_batch_norm", model.parts, params)
    if model.rebuild is None or inside is None:
        return model, params, state
    folded = [fold_batch_norm(*part) for part in inside]
    if model.facts.sequential:
        for place in range(len(folded) - 1):
            if folded[place][0].facts.linear is not None and folded[place + 1][0].facts.featurewise:
                folded[place : place + 2] = _fold(*folded[place : place + 2])
    rebuilt = model.rebuild(tuple(layer for layer, *_ in folded))._replace(name=model.name)
    return rebuilt, *put_within(model, folded, params, state)


LayerAndArrays = tuple[Layer, PyTree, PyTree]


def _fold(layer: LayerAndArrays, norm: LayerAndArrays) -> tuple[LayerAndArrays, LayerAndArrays]:
    linear, params, state = layer
    keys = linear.facts.linear or ()
    inside = at(params, keys)
    scale, shift = _affine(inside["kernel"], *norm)
    kernel = inside["kernel"].astype(scale.dtype) * of_rank(scale, inside["kernel"].ndim)
    new: dict[str, Any] = {"kernel": kernel.astype(inside["kernel"].dtype)}
    if "bias" in inside:
        new["bias"] = (inside["bias"].astype(shift.dtype) * scale + shift).astype(inside["bias"].dtype)
        rest: LayerAndArrays = (IDENTITY, (), ())
    else:
        rest = (_BIAS, {"bias": shift.astype(new["kernel"].dtype)}, ())
    return (linear, put(params, keys, new), state), rest


def _affine(kernel: Array, norm: Layer, params: PyTree, state: PyTree) -> tuple[Array, Array]:
    """Scale and shift of a layer that acts feature by feature, from what it does to 0 and to a tangent of 1."""
    zero = jnp.zeros((1, kernel.shape[-1]), wide_dtype(kernel))
    shift, scale = jax.jvp(lambda x: norm.apply(params, state, x)[0], (zero,), (jnp.ones_like(zero),))
    return scale[0], shift[0]


_BIAS = stateless(
    lambda key, x: {"bias": jnp.zeros(x.shape[-1:], x.dtype)},
    lambda params, x: add_bias(x, params["bias"]),
)._replace(name="bias")
