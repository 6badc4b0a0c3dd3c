"""Fold trained batch norms into the layers before them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fnn.kernels import wide_dtype
from fnn.layer import Layer, as_layer, joined, stateless, states_of
from fnn.typing import Array, PyTree

__all__ = ["fold_batch_norm"]

_LINEAR = ("conv(", "conv_transpose(", "dense(", "depthwise_conv(", "separable_conv(")


def fold_batch_norm(model: Layer, params: PyTree, state: PyTree) -> tuple[Layer, PyTree, PyTree]:
    r"""The same model at inference without its batch norms: $\gamma (Wx + b - \mu) / \sigma + \beta = W'x + b'$.

    Every `batch_norm` that follows a `dense` or any convolution in a `serial`, at any depth, is folded into it:
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
    if model.rebuild is None or not isinstance(params, tuple) or len(params) != len(model.parts):
        return model, params, state
    folded = [
        fold_batch_norm(*inside) for inside in zip(model.parts, params, states_of(model.parts, state), strict=True)
    ]
    # A model named by its own constructor is rebuilt by the combinator it is made of.
    if model.rebuild(model.parts).name.startswith("serial"):
        for place in range(len(folded) - 1):
            layer, norm = folded[place : place + 2]
            if _folds(layer, norm):
                folded[place : place + 2] = _fold(layer, norm)
    layers, new_params, new_state = zip(*folded, strict=True) if folded else ((), (), ())
    return model.rebuild(layers)._replace(name=model.name), new_params, joined(new_state)


Trained = tuple[Layer, PyTree, PyTree]


def _folds(layer: Trained, norm: Trained) -> bool:
    """Whether `norm` is a batch norm of the last axis right after a linear layer."""
    name = norm[0].name
    return layer[0].name.startswith(_LINEAR) and name.startswith("batch_norm(") and "axis=" not in name


def _fold(layer: Trained, norm: Trained) -> tuple[Trained, Trained]:
    linear, params, state = layer
    inside = params.get("pointwise", params)  # the last half of a separable convolution
    scale, shift = _affine(*norm)
    new: dict[str, Any] = {"kernel": _times(inside["kernel"], scale)}
    if "bias" in inside:
        new["bias"] = (inside["bias"].astype(shift.dtype) * scale + shift).astype(inside["bias"].dtype)
        rest: Trained = (as_layer(lambda x: x)._replace(name="identity"), (), ())
    else:
        rest = (_BIAS, {"bias": shift.astype(new["kernel"].dtype)}, ())
    return (linear, {**params, "pointwise": new} if inside is not params else new, state), rest


def _affine(norm: Layer, params: PyTree, state: PyTree) -> tuple[Array, Array]:
    """Scale and shift of a batch norm at inference, from what it does to 0 and to a tangent of 1."""
    zero = jnp.zeros((1, *state["mean"].shape), wide_dtype(state["mean"]))
    shift, scale = jax.jvp(lambda x: norm.apply(params, state, x)[0], (zero,), (jnp.ones_like(zero),))
    return scale[0], shift[0]


def _times(kernel: Array, scale: Array) -> Array:
    return (kernel.astype(scale.dtype) * scale).astype(kernel.dtype)


_BIAS = stateless(
    lambda key, x: {"bias": jnp.zeros(x.shape[-1:], x.dtype)},
    lambda params, x: x + params["bias"].astype(x.dtype),
)._replace(name="bias")
