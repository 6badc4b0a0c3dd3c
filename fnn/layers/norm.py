"""Normalization layers. Statistics are taken in float32 or better, whatever the dtype of `x`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, initializers, kernels
from fnn.layer import Facts, Layer, constructor, stateless
from fnn.typing import Array, ArrayLike, Initializer, Key, PyTree, Shape

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]

Axes = int | tuple[int, ...]
Affine = Callable[[Key, Shape, Any], PyTree]


def _affine(use_scale: bool, use_bias: bool, scale_init: Initializer, bias_init: Initializer) -> Affine:
    """The initialiser of `scale` and `bias`, where they are used."""

    def init(key: Key, shape: Shape, dtype: Any) -> PyTree:
        params = {}
        if use_scale:
            params["scale"] = scale_init(key, shape, dtype)
        if use_bias:
            params["bias"] = bias_init(jax.random.fold_in(key, 1), shape, dtype)
        return params or ()

    return init


def _shape(where: str, x: Any, axis: Axes) -> Shape:
    """The shape of the features of `x`."""
    checks.floating(where, "x", x)
    axes = (axis,) if isinstance(axis, int) else axis
    if not all(-len(x.shape) <= a < len(x.shape) for a in axes):
        raise ValueError(f"{where}: expected x with an axis {axis}, got {checks.describe(x)}")
    return tuple(x.shape[a] for a in sorted(a % len(x.shape) for a in axes))


def _as_initialised(where: str, arrays: PyTree, shape: Shape, x: Array) -> None:
    for array in jax.tree.leaves(arrays):
        if array.shape != shape:
            expected, came = (s[0] if len(s) == 1 else s for s in (array.shape, shape))
            raise ValueError(
                f"{where}: expected {expected} features, as initialised, got {came} in {checks.describe(x)}"
            )


def _static_axis(where: str, axis: Axes) -> Axes:
    if isinstance(axis, (tuple, list)):
        return tuple(checks.integer(where, "axis", a, low=None) for a in axis)
    return checks.integer(where, "axis", axis, low=None)


@constructor
def batch_norm(
    *,
    axis: Axes = -1,
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-5,
    eps_inside_sqrt: bool = True,
    use_scale: bool = True,
    use_bias: bool = True,
    unbiased: bool = False,
    axis_name: Any = None,
    scale_init: Initializer = initializers.ones,
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    r"""Normalize each feature over the batch; at inference, with running statistics.

    $y = \gamma\,(x - E[x]) / \sqrt{Var[x] + \varepsilon} + \beta$, and in training, with $d$ = `decay`,
    $\mu \leftarrow d\,\mu + (1 - d)\,E[x]$, $\sigma^2 \leftarrow d\,\sigma^2 + (1 - d)\,Var[x]$.

    Parameters: `scale` $\gamma$ and `bias` $\beta$. State: `mean` $\mu$ and `var` $\sigma^2$, in float32 or better.

    Args:
        axis: the feature axis, or axes; statistics are over all the others.
        decay: weight of the old running value: torch's `momentum` is `1 - decay`, flax's is `decay`.
        eps: $\varepsilon$.
        eps_inside_sqrt: whether $\varepsilon$ stands inside the root; else $\sqrt{Var[x]} + \varepsilon$.
        use_scale: whether there is a $\gamma$.
        use_bias: whether there is a $\beta$.
        unbiased: whether the running variance takes $\frac{n}{n-1} Var[x]$, as torch's does.
        axis_name: mapped axis or axes (of `vmap`, `shard_map`) over which a batch is spread. A batch sharded
            over a mesh by `jit` needs no name: its statistics are global.
        scale_init: ones by default.
        bias_init: zeros by default.

    Returns:
        A layer that keeps the shape of `x`.

    Raises:
        ValueError: for a decay outside [0, 1], a negative eps, `x` without that axis or number of features, or, in
            training, one value per feature only: a single example without positions. (`fit` and `trainer` fill a
            last batch up with other rows, whose loss does not count, so that only `batch_size=1` meets this.)

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.batch_norm(decay=0.5), jnp.array([[1.0], [3.0]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> y, state = layer.apply(params, state, x, train=True)
        >>> y.round(3).tolist(), state["mean"].tolist(), state["var"].tolist()
        ([[-1.0], [1.0]], [1.0], [1.0])

    References:
        Ioffe and Szegedy, Batch Normalization, 2015.
    """
    axis = _static_axis("batch_norm", axis)
    checks.in_range("batch_norm", "decay", decay, 0, 1)
    checks.in_range("batch_norm", "eps", eps, 0)
    affine = _affine(use_scale, use_bias, scale_init, bias_init)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        shape, dtype = _shape("batch_norm", x, axis), jnp.result_type(x)
        wide = kernels.wide_dtype(x)
        return affine(key, shape, dtype), {"mean": jnp.zeros(shape, wide), "var": jnp.ones(shape, wide)}

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        x = jnp.asarray(x)
        _as_initialised("batch_norm", state, _shape("batch_norm", x, axis), x)
        options = {"axis": axis, "eps": eps, "eps_inside_sqrt": eps_inside_sqrt}
        if not train:
            return kernels.normalize(x, state["mean"], state["var"], **dict(params), **options), state
        y, (mean, variance, size) = kernels.batch_norm(x, **dict(params), **options, axis_name=axis_name)
        _several(x, axis, axis_name)
        if unbiased:
            variance = variance * (size / jnp.maximum(size - 1, 1))
        return y, {"mean": _running(state["mean"], mean, decay), "var": _running(state["var"], variance, decay)}

    stated = _stated(eps) if eps_inside_sqrt else None
    return Layer(init, apply, facts=Facts(featurewise=axis in (-1, (-1,)), eps=stated))


def _stated(eps: ArrayLike) -> float | None:
    return float(checks.known(eps)) if checks.is_concrete(eps) and jnp.ndim(eps) == 0 else None


def _several(x: Array, axis: Axes, axis_name: Any) -> None:
    """Require more than one value per feature: the variance of one is 0, and every output then the bias."""
    size = math.prod(x.shape) // max(math.prod(_shape("batch_norm", x, axis)), 1)
    size = size if axis_name is None else jax.lax.psum(size, axis_name)
    if isinstance(size, int) and size < 2:
        raise ValueError(
            f"batch_norm: expected more than one value per feature (axis {axis}) in training, got {size} in "
            f"{checks.describe(x)}, whose variance is no estimate; train on batches of at least 2 examples, or write "
            "layer_norm() or group_norm(), which look at one example at a time"
        )


def _running(old: Array, new: Array, decay: ArrayLike) -> Array:
    d = jnp.asarray(decay, old.dtype)
    return d * old + (1 - d) * new.astype(old.dtype)


def _per_example(where: str, axis: Axes, affine: Affine, eps: ArrayLike, kernel: Callable[..., Array]) -> Layer:
    """A norm without state: the same in training and at inference."""

    def init(key: Key, x: Any) -> PyTree:
        return affine(key, _shape(where, x, axis), jnp.result_type(x))

    def apply(params: PyTree, x: Any) -> Array:
        x = jnp.asarray(x)
        _as_initialised(where, params, _shape(where, x, axis), x)
        return kernel(x, **dict(params))

    return stateless(init, apply, facts=Facts(eps=_stated(eps)))


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
        use_scale: whether there is a $\gamma$.
        use_bias: whether there is a $\beta$.
        scale_init: ones by default.
        bias_init: zeros by default.

    Returns:
        A layer that keeps the shape of `x`; training and inference are alike.

    Raises:
        ValueError: for a negative eps, or `x` without that axis or number of features.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.layer_norm(), jnp.array([[1.0, 3.0]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, state, x)[0].round(3).tolist()
        [[-1.0, 1.0]]

    References:
        Ba, Kiros and Hinton, Layer Normalization, 2016.
    """
    axis = _static_axis("layer_norm", axis)
    checks.in_range("layer_norm", "eps", eps, 0)
    affine = _affine(use_scale, use_bias, scale_init, bias_init)

    kernel = functools.partial(kernels.layer_norm, axis=axis, eps=eps)
    return _per_example("layer_norm", axis, affine, eps, kernel)


@constructor
def rms_norm(
    *, axis: Axes = -1, eps: ArrayLike = 1e-6, use_scale: bool = True, scale_init: Initializer = initializers.ones
) -> Layer:
    r"""Divide each example by the root mean square of its features: $y = \gamma\,x / \sqrt{E[x^2] + \varepsilon}$.

    Parameters: `scale` $\gamma$, of the shape of `axis` in `x`.

    Args:
        axis: the axis, or axes, averaged over.
        eps: $\varepsilon$.
        use_scale: whether there is a $\gamma$.
        scale_init: ones by default.

    Returns:
        A layer that keeps the shape of `x`; training and inference are alike.

    Raises:
        ValueError: for a negative eps, or `x` without that axis or number of features.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.rms_norm(), jnp.array([[3.0, -3.0]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, state, x)[0].round(3).tolist()
        [[1.0, -1.0]]

    References:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """
    axis = _static_axis("rms_norm", axis)
    checks.in_range("rms_norm", "eps", eps, 0)
    affine = _affine(use_scale, False, scale_init, initializers.zeros)

    kernel = functools.partial(kernels.rms_norm, axis=axis, eps=eps)
    return _per_example("rms_norm", axis, affine, eps, kernel)


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
    r"""Normalize each example over groups of neighboring channels and all positions.

    $y = \gamma\,(x - E_g[x]) / \sqrt{Var_g[x] + \varepsilon} + \beta$. Parameters: `scale` $\gamma$ and
    `bias` $\beta$, (channels,).

    Args:
        num_groups: into how many groups the channels are cut; 1 is layer norm over all but the batch.
        eps: $\varepsilon$.
        use_scale: whether there is a $\gamma$.
        use_bias: whether there is a $\beta$.
        scale_init: ones by default.
        bias_init: zeros by default.

    Returns:
        A layer for `x` of shape (batch, …, channels); training and inference are alike.

    Raises:
        ValueError: if `num_groups` does not divide the channels, or for a negative eps.

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
    checks.in_range("group_norm", "eps", eps, 0)
    affine = _affine(use_scale, use_bias, scale_init, bias_init)

    kernel = functools.partial(kernels.group_norm, num_groups=num_groups, eps=eps)
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
    r"""Normalize each channel of each example over its positions.

    $y = \gamma\,(x - E[x]) / \sqrt{Var[x] + \varepsilon} + \beta$. Parameters: `scale` $\gamma$ and
    `bias` $\beta$, (channels,).

    Args:
        eps: $\varepsilon$.
        use_scale: whether there is a $\gamma$.
        use_bias: whether there is a $\beta$.
        scale_init: ones by default.
        bias_init: zeros by default.

    Returns:
        A layer for `x` of shape (batch, positions …, channels); training and inference are alike.

    Raises:
        ValueError: for a negative eps, or `x` without positions.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer, x = fnn.instance_norm(), jnp.array([[[1.0, 7.0], [3.0, 7.0]]])
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, state, x)[0].round(3).tolist()
        [[[-1.0, 0.0], [1.0, 0.0]]]

    References:
        Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016.
    """
    checks.in_range("instance_norm", "eps", eps, 0)
    affine = _affine(use_scale, use_bias, scale_init, bias_init)

    kernel = functools.partial(kernels.instance_norm, eps=eps)
    return _per_example("instance_norm", -1, affine, eps, kernel)
