"""Layers around a layer: its kernel dropped, normalized, or bounded before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, kernels, random_bits
from fnn.layer import Facts, Layer, as_layer, constructor
from fnn.layer.arguments import output_and_state
from fnn.typing import ArrayLike, Key, PyTree

__all__ = ["drop_connect", "spectral_norm", "weight_norm"]


def _init_with(where: str, layer: Layer, key: Key, x: Any, name: str) -> tuple[PyTree, PyTree]:
    """The arrays of `layer`, with the parameter `name` among them."""
    checks.instance(where, "name", name, str, "the name of a parameter", 'write "kernel"')
    params, state = layer.init(key, x)
    if not isinstance(params, dict) or name not in params:
        found = ", ".join(map(repr, params)) if isinstance(params, dict) else type(params).__name__
        raise ValueError(
            f"{where}: expected a layer with a parameter {name!r}, got {layer.name} with {found or 'none'}; "
            f"wrap the layer that has it"
        )
    return params, state


def _around(
    layer: Layer, init: Callable[..., Any], apply: Callable[..., Any], again: Callable[[Layer], Layer], **own: Any
) -> Layer:
    """A layer around another: what the inner one states is found in its parts, what it ends in is carried on."""
    return Layer(
        init, apply, parts=(layer,), rebuild=lambda new: again(*new), facts=Facts(ends_in=layer.facts.ends_in, **own)
    )


@constructor
def drop_connect(layer: Layer, rate: ArrayLike, name: str = "kernel") -> Layer:
    r"""Drop weights, not units, in training: `layer` with $W \odot M / (1 - p)$ in the place of $W$.

    One mask serves the whole batch. At inference `layer` is used as it is.

    Args:
        layer, name: the layer, and which of its parameters.
        rate: $p$ in [0, 1], the fraction of weights dropped; it may be traced.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.drop_connect(fnn.dense(3), 0.5)
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 2)))
        >>> layer.apply(params, state, jnp.ones((8, 2)), key=jax.random.key(1), train=True)[0].shape
        (8, 3)

    References:
        Wan et al., Regularization of Neural Networks using DropConnect, 2013;
        Merity, Keskar and Socher, Regularizing and Optimizing LSTM Language Models, 2018.
    """
    layer = as_layer(layer)
    checks.in_range("drop_connect", "rate", rate, 0, 1)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        return _init_with("drop_connect", layer, key, x, name)

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        if train:
            checks.keeps_some("drop_connect", rate)
            mask_key, key = random_bits.split(checks.require_key("drop_connect", key, "train=True"))
            params = params | {name: kernels.dropout(mask_key, params[name], rate)}
        return layer.apply(params, state, x, key=key, train=train)

    return _around(
        layer, init, apply, lambda new: drop_connect(new, rate, name), linear=layer.facts.linear, random=True
    )


@constructor
def weight_norm(layer: Layer, name: str = "kernel") -> Layer:
    r"""Learn length and direction of each output's weights apart: `layer` with $W = g\,v / \lVert v \rVert$.

    Parameters: those of `layer`, with $v$ in the place of $W$, and `{name}_scale` $g$ (out,), which starts at
    $\lVert v \rVert$: at first the layer computes what it did.

    Args:
        layer, name: the layer, and which of its parameters.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.weight_norm(fnn.dense(3))
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 2)))
        >>> sorted(params)
        ['bias', 'kernel', 'kernel_scale']

    References:
        Salimans and Kingma, Weight Normalization, 2016.
    """
    layer = as_layer(layer)
    length = f"{name}_scale"

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        params, state = _init_with("weight_norm", layer, key, x, name)
        v = params[name]
        wide = kernels.widen(v).reshape(-1, v.shape[-1])
        return params | {length: jnp.linalg.norm(wide, axis=0).astype(v.dtype)}, state

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        inner = {k: v for k, v in params.items() if k != length}
        inner[name] = kernels.weight_norm(params[name], params[length])
        return layer.apply(inner, state, x, key=key, train=train)

    return _around(layer, init, apply, lambda new: weight_norm(new, name))


@constructor
def spectral_norm(layer: Layer, name: str = "kernel", *, steps: int = 1) -> Layer:
    r"""Bound the slope of `layer` by 1: $W / \sigma(W)$ in the place of $W$, $\sigma$ its largest singular value.

    State: `layer` (that of the layer) and `u` (out,), the singular vector, which `steps` power iterations
    improve at each training step. It starts after 15 iterations.

    Args:
        layer, name: the layer, and which of its parameters.
        steps: power iterations per training step.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.spectral_norm(fnn.dense(3))
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 2)))
        >>> state["u"].shape
        (3,)

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.
    """
    layer = as_layer(layer)
    steps = checks.integer("spectral_norm", "steps", steps)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        params, inner = _init_with("spectral_norm", layer, key, x, name)
        w = params[name]
        start = jax.random.normal(random_bits.fold_in(key, 1), w.shape[-1:], kernels.wide_dtype(w))
        return params, {"layer": inner, "u": kernels.spectral_norm(w, start, steps=15)[1]}

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        w, u = kernels.spectral_norm(params[name], state["u"], steps=steps if train else 0)
        y, inner = output_and_state(layer.apply(params | {name: w}, state["layer"], x, key=key, train=train))
        return y, {"layer": inner, "u": u.astype(state["u"].dtype)}

    return _around(layer, init, apply, lambda new: spectral_norm(new, name, steps=steps))
