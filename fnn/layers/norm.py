"""Norms of single examples, alike in training and at inference. Statistics are in float32 or better."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, initializers, kernels, random_bits
from fnn.layer import Facts, Layer, constructor, stateless
from fnn.layer.padded import step_by_step
from fnn.typing import Array, ArrayLike, Initializer, Key, PyTree, Shape

__all__ = ["group_norm", "instance_norm", "layer_norm", "rms_norm"]

Axes = int | tuple[int, ...]
Affine = Callable[[Key, Shape, Any], PyTree]


def affine_init(use_scale: bool, use_bias: bool, scale_init: Initializer, bias_init: Initializer) -> Affine:
    """The initialiser of `scale` and `bias`, where they are used."""

    def init(key: Key, shape: Shape, dtype: Any) -> PyTree:
        params = {}
        if use_scale:
            params["scale"] = scale_init(key, shape, dtype)
        if use_bias:
            params["bias"] = bias_init(random_bits.fold_in(key, 1), shape, dtype)
        return params or ()

    return init


def features_shape(where: str, x: Any, axis: Axes) -> Shape:
    """The shape of the features of `x`."""
    checks.floating(where, "x", x)
    return tuple(x.shape[a] for a in sorted(checks.axes(where, "axis", axis, len(x.shape))))


def require_same_features(where: str, arrays: PyTree, axis: Axes, x: Array) -> None:
    shape = features_shape(where, x, axis)
    for array in jax.tree.leaves(arrays):
        checks.same_features(where, array.shape, shape, x)


def static_eps(eps: ArrayLike) -> float | None:
    return float(checks.to_host(eps)) if checks.is_concrete(eps) and jnp.ndim(eps) == 0 else None


def _per_example(where: str, axis: Axes, affine: Affine, eps: ArrayLike, kernel: Callable[..., Array]) -> Layer:
    """A norm without state: the same in training and at inference."""
    checks.in_range(where, "eps", eps, 0)

    def init(key: Key, x: Any) -> PyTree:
        return affine(key, features_shape(where, x, axis), jnp.result_type(x))

    def apply(params: PyTree, x: Any) -> Array:
        x = jnp.asarray(x)
        require_same_features(where, params, axis, x)
        return kernel(x, **dict(params), eps=eps)

    return stateless(init, apply, facts=Facts(eps=static_eps(eps)))


def _over_features(kernel: Callable[..., Array], axis: Axes, affine: Affine, eps: ArrayLike) -> Layer:
    """The norm of a kernel over given axes, for `Padded` too where each step has its own."""
    where = kernel.__name__
    axis = checks.static_axes(where, "axis", axis)
    layer = _per_example(where, axis, affine, eps, functools.partial(kernel, axis=axis))
    return step_by_step(where, layer) if axis in (-1, (-1,)) else layer


@constructor
def layer_norm(
    *,
    axis: Axes = -1,
    eps: ArrayLike = 1e-5,
    use_scale: bool = True,
    use_bias: bool = True,
    scale_init: Initializer = initializers.ones,
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    r"""Normalize each example over its features: $y = \gamma\,(x - E[x]) / \sqrt{Var[x] + \varepsilon} + \beta$.

    Parameters: `scale` $\gamma$ and `bias` $\beta$, of the shape of `axis` in `x`.

    Args:
        axis: the axis, or axes, normalized over.
        eps: $\varepsilon$.
        use_scale, use_bias: whether there is a $\gamma$, and a $\beta$.
        scale_init, bias_init: of these; ones and zeros by default.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.layer_norm(), jnp.array([[1.0, 3.0]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, state, x)[0].round(3).tolist()
        [[-1.0, 1.0]]

    References:
        Ba, Kiros and Hinton, Layer Normalization, 2016.
    """
    return _over_features(kernels.layer_norm, axis, affine_init(use_scale, use_bias, scale_init, bias_init), eps)


@constructor
def rms_norm(
    *, axis: Axes = -1, eps: ArrayLike = 1e-6, use_scale: bool = True, scale_init: Initializer = initializers.ones
) -> Layer:
    r"""Divide each example by the root mean square of its features: $y = \gamma\,x / \sqrt{E[x^2] + \varepsilon}$.

    Parameters: `scale` $\gamma$, of the shape of `axis` in `x`.

    Args:
        axis: the axis, or axes, averaged over.
        eps, use_scale, scale_init: as for `fnn.layer_norm`; `eps` is 1e-6 by default.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.rms_norm(), jnp.array([[3.0, -3.0]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, state, x)[0].round(3).tolist()
        [[1.0, -1.0]]

    References:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """
    return _over_features(kernels.rms_norm, axis, affine_init(use_scale, False, scale_init, initializers.zeros), eps)


@constructor
def group_norm(
    num_groups: int = 32,
    *,
    eps: ArrayLike = 1e-5,
    use_scale: bool = True,
    use_bias: bool = True,
    scale_init: Initializer = initializers.ones,
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    r"""Normalize each example, (batch, …, channels), over groups of neighboring channels and all positions.

    $y = \gamma\,(x - E_g[x]) / \sqrt{Var_g[x] + \varepsilon} + \beta$. Parameters: `scale` $\gamma$ and
    `bias` $\beta$, (channels,).

    Args:
        num_groups: into how many groups the channels are cut, a divisor; 1 is layer norm over all but the batch.
        eps, use_scale, use_bias, scale_init, bias_init: as for `fnn.layer_norm`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.group_norm(2), jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, state, x)[0].round(3).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    References:
        Wu and He, Group Normalization, 2018.
    """
    num_groups = checks.integer("group_norm", "num_groups", num_groups)
    affine = affine_init(use_scale, use_bias, scale_init, bias_init)
    kernel = functools.partial(kernels.group_norm, num_groups=num_groups)
    return _per_example("group_norm", -1, affine, eps, kernel)


@constructor
def instance_norm(
    *,
    eps: ArrayLike = 1e-5,
    use_scale: bool = True,
    use_bias: bool = True,
    scale_init: Initializer = initializers.ones,
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    r"""Normalize each channel of each example, (batch, positions …, channels), over its positions.

    $y = \gamma\,(x - E[x]) / \sqrt{Var[x] + \varepsilon} + \beta$. Parameters: `scale` $\gamma$ and
    `bias` $\beta$, (channels,).

    Args:
        eps, use_scale, use_bias, scale_init, bias_init: as for `fnn.layer_norm`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.instance_norm(), jnp.array([[[1.0, 7.0], [3.0, 7.0]]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, state, x)[0].round(3).tolist()
        [[[-1.0, 0.0], [1.0, 0.0]]]

    References:
        Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016.
    """
    affine = affine_init(use_scale, use_bias, scale_init, bias_init)
    return _per_example("instance_norm", -1, affine, eps, kernels.instance_norm)
