"""Batch normalization: the statistics of the batch in training, running ones at inference."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks, initializers, kernels
from fnn.layer import Facts, Layer, constructor
from fnn.layers.norm import Axes, affine_init, features_shape, require_same_features, static_eps
from fnn.typing import Array, ArrayLike, Initializer, Key, PyTree

__all__ = ["batch_norm"]


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
        unbiased: whether the running variance takes $\frac{n}{n-1} Var[x]$, as torch's does.
        axis_name: mapped axis or axes (of `vmap`, `shard_map`) over which a batch is spread. A batch sharded
            over a mesh by `jit` needs no name: its statistics are global.
        use_scale, use_bias, scale_init, bias_init: as for `fnn.layer_norm`.

    Raises:
        ValueError: in training, for one value per feature only: a single example without positions. (`fit` and
            `trainer` fill a last batch up with other rows, which count in neither the loss nor the statistics; only
            where a single value is left they are normalized with it, so that only `batch_size=1` meets this.)

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
    axis = checks.static_axes("batch_norm", "axis", axis)
    checks.in_range("batch_norm", "decay", decay, 0, 1)
    checks.in_range("batch_norm", "eps", eps, 0)
    affine = affine_init(use_scale, use_bias, scale_init, bias_init)

    static = Facts(featurewise=axis in (-1, (-1,)), eps=static_eps(eps) if eps_inside_sqrt else None)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        shape, dtype = features_shape("batch_norm", x, axis), jnp.result_type(x)
        wide = kernels.wide_dtype(x)
        return affine(key, shape, dtype), {"mean": jnp.zeros(shape, wide), "var": jnp.ones(shape, wide)}

    def over_rows(where: Any) -> Layer:
        def apply(
            params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
        ) -> tuple[Array, PyTree]:
            x = jnp.asarray(x)
            require_same_features("batch_norm", state, axis, x)
            options: dict[str, Any] = {"axis": axis, "eps": eps, "eps_inside_sqrt": eps_inside_sqrt}
            if not train:
                return kernels.normalize(x, state["mean"], state["var"], **dict(params), **options), state
            counts = None if where is None else _mask_of(x, axis, axis_name, where)
            y, (mean, variance, size) = kernels.batch_norm(
                x, **dict(params), **options, where=counts, axis_name=axis_name
            )
            _require_several(x, axis, axis_name)
            if unbiased:
                variance = variance * (size / jnp.maximum(size - 1, 1))
            return y, {"mean": _average(state["mean"], mean, decay), "var": _average(state["var"], variance, decay)}

        return Layer(init, apply, facts=static)

    return over_rows(None)._replace(facts=static._replace(over_rows=over_rows))


def _size(x: Array, axis: Axes) -> int:
    """How many values a feature has."""
    return math.prod(x.shape) // max(math.prod(features_shape("batch_norm", x, axis)), 1)


def _require_several(x: Array, axis: Axes, axis_name: Any) -> None:
    """Require more than one value per feature: the variance of one is 0, and every output then the bias."""
    size = _size(x, axis) if axis_name is None else jax.lax.psum(_size(x, axis), axis_name)
    if isinstance(size, int) and size < 2:
        raise ValueError(
            f"batch_norm: expected more than one value per feature (axis {axis}) in training, got {size} in "
            f"{checks.describe(x)}, whose variance is no estimate; train on batches of at least 2 examples, or write "
            "layer_norm() or group_norm(), which look at one example at a time"
        )


def _mask_of(x: Array, axis: Axes, axis_name: Any, where: Array) -> Array | None:
    """Which values count, None for all. A single value per feature has no variance: those that do not count join it."""
    if where.shape != x.shape[:1]:  # something inside the model made other rows of them
        return None
    count = where.sum() * (_size(x, axis) // max(x.shape[0], 1))
    count = count if axis_name is None else jax.lax.psum(count, axis_name)
    return (where | (count < 2)).reshape(-1, *(1,) * (x.ndim - 1))


def _average(old: Array, new: Array, decay: ArrayLike) -> Array:
    d = jnp.asarray(decay, old.dtype)
    return d * old + (1 - d) * new.astype(old.dtype)
