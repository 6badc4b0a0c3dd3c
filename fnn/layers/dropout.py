"""The dropout family: layers that are random in training and the identity at inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, kernels
from fnn.layer import Facts, Layer, as_layer, constructor
from fnn.layer.padded import step_by_step
from fnn.layer.parts import any_layer
from fnn.layer.protocol import identity
from fnn.typing import Array, ArrayLike, Key, PyTree

__all__ = ["alpha_dropout", "dropout", "gaussian_noise", "mc_dropout", "spatial_dropout", "variational_dropout"]


def random_layer(
    name: str, draw: Callable[[Key, Array], Array], rate: ArrayLike = 0, settle: Callable[[Any], Any] = identity
) -> Layer:
    """A layer without parameters: `draw(key, x)` in training, `settle(x)` at inference."""
    checks.in_range(name, "rate", rate, 0, 1)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        checks.floating(name, "x", x)
        return (), ()

    def apply(
        params: PyTree, state: PyTree, x: Array, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        if not train:
            return settle(x), state
        checks.keeps_some(name, rate)
        return draw(checks.require_key(name, key, "train=True"), jnp.asarray(x)), state

    return step_by_step(name, Layer(init, apply, facts=Facts(random=True)))


@constructor
def dropout(rate: ArrayLike, *, broadcast_dims: tuple[int, ...] = ()) -> Layer:
    r"""Drop a fraction $p$ of the units in training: $y = x\,m / (1 - p)$, $m \sim Bernoulli(1 - p)$.

    At inference $y = x$; no rescaling is needed.

    At $p = 1$ the kernel is 0, and so is its gradient: exact, and nothing would be trained, which this layer says in
    training, unless the rate is traced.

    Args:
        rate: $p$ in [0, 1], the fraction dropped; it may be traced.
        broadcast_dims: axes along which one draw serves all.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> y, _ = fnn.dropout(0.5).apply((), (), jnp.ones((2, 100)), key=jax.random.key(0), train=True)
        >>> sorted(set(y.ravel().tolist()))
        [0.0, 2.0]

    References:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """
    axes = checks.sequence("dropout", "broadcast_dims", broadcast_dims, "axes")
    dims = tuple(checks.integer("dropout", "every axis of broadcast_dims", axis, None) for axis in axes)
    return random_layer("dropout", lambda key, x: kernels.dropout(key, x, rate, broadcast_dims=dims), rate)


@constructor
def spatial_dropout(rate: ArrayLike) -> Layer:
    """Drop whole channels in training: one draw for all positions of a channel.

    $y_{b…c} = x_{b…c} m_{bc} / (1 - p)$, for `x` of shape (batch, positions …, channels).

    Args:
        rate: $p$ in [0, 1], the fraction of channels dropped; it may be traced.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> y, _ = fnn.spatial_dropout(0.5).apply((), (), jnp.ones((1, 5, 5, 8)), key=jax.random.key(0), train=True)
        >>> sorted(set(y.sum((1, 2)).ravel().tolist()))
        [0.0, 50.0]

    References:
        Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """

    def draw(key: Key, x: Array) -> Array:
        checks.least_rank("spatial_dropout", "x", x, 3, "(batch, *spatial, channels)")
        return kernels.dropout(key, x, rate, broadcast_dims=tuple(range(1, x.ndim - 1)))

    return random_layer("spatial_dropout", draw, rate)


@constructor
def variational_dropout(rate: ArrayLike) -> Layer:
    """Dropout with the same mask at all time steps: $y_{bt} = x_{bt} m_b / (1 - p)$, x (batch, time, features …).

    Args:
        rate: $p$ in [0, 1], the fraction dropped; it may be traced.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> y, _ = fnn.variational_dropout(0.5).apply((), (), jnp.ones((1, 5, 8)), key=jax.random.key(0), train=True)
        >>> bool((y == y[:, :1]).all())
        True

    References:
        Gal and Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural Networks, 2016.
    """

    def draw(key: Key, x: Array) -> Array:
        checks.least_rank("variational_dropout", "x", x, 3, "(batch, time, features)")
        return kernels.dropout(key, x, rate, broadcast_dims=(1,))

    return random_layer("variational_dropout", draw, rate)


@constructor
def alpha_dropout(rate: ArrayLike) -> Layer:
    r"""Dropout after SELU: keeps mean 0 and variance 1.

    $y = a\,(x\,m + \alpha' (1 - m)) + b$ with $m \sim Bernoulli(q)$, $q = 1 - p$, $\alpha' = -\lambda\alpha$,
    $a = (q + \alpha'^2 q (1 - q))^{-1/2}$ and $b = -a (1 - q) \alpha'$.

    Args:
        rate: $p$ in [0, 1], the fraction dropped; it may be traced.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> y, _ = fnn.alpha_dropout(0.1).apply((), (), jnp.zeros((2, 3)), key=jax.random.key(0), train=True)
        >>> y.shape
        (2, 3)

    References:
        Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """
    return random_layer("alpha_dropout", lambda key, x: kernels.alpha_dropout(key, x, rate), rate)


@constructor
def gaussian_noise(stddev: ArrayLike) -> Layer:
    r"""Add noise in training: $y = x + \epsilon$, $\epsilon \sim N(0, \sigma^2)$.

    Args:
        stddev: $\sigma \ge 0$, in the units of `x`; it may be traced.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.gaussian_noise(0.1).apply((), (), jnp.ones(2))[0].tolist()
        [1.0, 1.0]

    References:
        Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995.
    """
    checks.in_range("gaussian_noise", "stddev", stddev, 0)

    def draw(key: Key, x: Array) -> Array:
        checks.floating("gaussian_noise", "x", x)
        return x + jnp.asarray(stddev, x.dtype) * jax.random.normal(key, x.shape, x.dtype)

    return random_layer("gaussian_noise", draw)


def mc_dropout(model: Layer) -> Layer:
    r"""The same model with its dropout on at inference too: each call is a draw from the approximate posterior.

    It needs a key at inference.
    Layers that draw in training (dropout, noise, `drop_connect`, recurrent layers with dropout) and layers without
    state run as in training; all others (batch norm) run as they are told. Parameters and state are those of `model`.
    Over keys $k$, the mean of the outputs is the prediction and their spread its uncertainty.

    Args:
        model: a layer. A layer of your own that draws and keeps state says so, `facts=fnn.Facts(random=True)`.

    Raises:
        ValueError: for a model that hides a layer that draws beside one that keeps state.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.serial(fnn.dense(16), fnn.dropout(0.5), fnn.dense(1))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 2)))
        >>> draw = lambda key: fnn.mc_dropout(model).apply(params, state, jnp.ones((8, 2)), key=key)[0]
        >>> jax.vmap(draw)(jax.random.split(jax.random.key(1), 50)).std(0).shape
        (8, 1)

    References:
        Gal and Ghahramani, Dropout as a Bayesian Approximation, 2016.
    """
    model = as_layer(model)
    drawing = _draw_at_inference(model)

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        return (model if train else drawing).apply(params, state, x, key=key, train=train)

    again = model.rebuild
    return model._replace(apply=apply, rebuild=again and (lambda parts: mc_dropout(again(parts))))


def _draw_at_inference(layer: Layer) -> Layer:
    """The layer at inference, each layer inside told for itself whether it runs as in training."""
    shows_parts = layer.rebuild is not None
    if layer.rebuild is not None:
        layer = layer.rebuild(tuple(_draw_at_inference(part) for part in layer.parts))
        if not layer.parts:
            return layer

    def apply(params: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
        draws = layer.facts.random or not (shows_parts or jax.tree.leaves(state))
        if not draws and not shows_parts and any_layer(layer, lambda facts: facts.random):
            raise ValueError(
                f"mc_dropout: {layer.name} keeps state and hides a layer that draws; give it parts and rebuild"
            )
        return layer.apply(params, state, x, **options | {"train": draws})

    return layer._replace(apply=apply)
