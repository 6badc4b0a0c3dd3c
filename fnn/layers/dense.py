"""Dense and embedding layers, and changes of shape."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, initializers, random_bits
from fnn.kernels.broadcasting import add_bias
from fnn.kernels.mesh_axes import auto_axes, rows_and_features
from fnn.kernels.sizes import is_static
from fnn.layer import Facts, Layer, constructor, stateless
from fnn.layer.padded import step_by_step
from fnn.precision import widen
from fnn.typing import Array, DType, Initializer, Key, PyTree

__all__ = ["dense", "embedding", "flatten", "reshape"]

LECUN_NORMAL = initializers.lecun_normal()
STANDARD_NORMAL = initializers.normal(1.0)


def _features_of(where: str, x: Any) -> int:
    """How many features come in; `x` is checked to be (batch, ..., features)."""
    checks.floating(where, "x", x)
    checks.least_rank(where, "x", x, 2, "(batch, ..., features)", checks.ONE_EXAMPLE)
    if not is_static(x.shape[-1]):
        raise ValueError(
            f"{where}: expected a number of features, got {x.shape[-1]} in {checks.describe(x)}; for images of any "
            "size write global_avg_pool() in the place of flatten()"
        )
    return x.shape[-1]


@constructor
def dense(
    features: int,
    *,
    use_bias: bool = True,
    kernel_init: Initializer = LECUN_NORMAL,
    bias_init: Initializer = initializers.zeros,
) -> Layer:
    r"""Every output from every input: $y = x W + b$, over the last axis of (batch, …, in).

    Parameters: `kernel` $W$ (in, features) and `bias` $b$ (features,).

    Args:
        features: number of outputs.
        use_bias: whether $b$ is added.
        kernel_init: `initializers.lecun_normal()` by default: $Var[W] = 1/in$, unit variance in and out.
        bias_init: zeros by default.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.dense(3)
        >>> params, state = layer.init(jax.random.key(0), jnp.ones((8, 2)))
        >>> layer.apply(params, state, jnp.ones((8, 2)))[0].shape, params["kernel"].shape
        ((8, 3), (2, 3))
    """
    features = checks.integer("dense", "features", features)

    def init(key: Key, x: Any) -> PyTree:
        inputs, dtype = _features_of("dense", x), jnp.result_type(x)
        params = {"kernel": kernel_init(key, (inputs, features), dtype)}
        if use_bias:
            params["bias"] = bias_init(random_bits.fold_in(key, 1), (features,), dtype)
        return params

    def apply(params: PyTree, x: Array) -> Array:
        checks.same_features("dense", params["kernel"].shape[:1], (_features_of("dense", x),), x)
        x = jnp.asarray(x)
        y = x @ params["kernel"].astype(x.dtype)
        return add_bias(y, params["bias"]) if use_bias else y

    return step_by_step("dense", stateless(init, apply, facts=Facts(linear=())))


@constructor
def embedding(
    num_embeddings: int,
    features: int,
    *,
    embedding_init: Initializer = STANDARD_NORMAL,
    dtype: DType = jnp.float32,
) -> Layer:
    r"""A learned vector for each of $n$ indices: $y = E_x$; on vectors, the scores of all indices: $y = x E^T$.

    Integer `x` is looked up. Floating-point `x` (batch, …, features) is decoded, so that
    `shared(embedding(…), body)` ties the input and output weights of a language model.

    Parameters: `embedding` $E$ (num_embeddings, features).

    Args:
        num_embeddings: $n$; indices are 0 … n-1.
        features: length of each vector.
        embedding_init: standard normal by default.
        dtype: of the parameters and of what is looked up; integers do not tell.

    Returns:
        A layer from (batch, …) to (batch, …, features); decoding, from (batch, …, features) to
        (batch, …, num_embeddings). An index out of range is an error, and gives NaN under `jit`, where none can be.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.shared(fnn.embedding(50, 8), lambda tied: fnn.serial(tied, fnn.tanh, tied))
        >>> words = jnp.array([[1, 2, 3]])
        >>> params, state = model.init(jax.random.key(0), words)
        >>> params["shared"]["embedding"].shape, model.apply(params, state, words)[0].shape
        ((50, 8), (1, 3, 50))

    References:
        Press and Wolf, Using the Output Embedding to Improve Language Models, 2017.
    """
    num_embeddings = checks.integer("embedding", "num_embeddings", num_embeddings)
    features = checks.integer("embedding", "features", features)
    checks.floating_dtype("embedding", "dtype", dtype, jnp.inexact)

    def init(key: Key, x: Any) -> PyTree:
        checks.integers("embedding", "x", x, "write x.astype(jnp.int32)")
        return {"embedding": embedding_init(key, (num_embeddings, features), dtype)}

    def look_up(table: Array, x: Array) -> Array:
        if checks.is_concrete(x) and x.size:
            # In NumPy: inside jit even known indices would become traced by jax.numpy.
            known = np.asarray(x)
            checks.in_range("embedding", "every index", int(known.min()), 0, num_embeddings - 1)
            checks.in_range("embedding", "every index", int(known.max()), 0, num_embeddings - 1)
        x = x if jnp.iinfo(x.dtype).bits >= 32 else x.astype(jnp.int32)
        split = rows_and_features("embedding", x, table, x.ndim + 1)
        return auto_axes(_rows_of, split)(table, jnp.where(x < 0, num_embeddings, x))

    def decode(table: Array, x: Array) -> Array:
        if _features_of("embedding", x) != features:
            raise ValueError(
                f"embedding: expected integer x, or vectors of {features} features to decode, got {checks.describe(x)}"
            )
        return x @ table.astype(x.dtype).T

    def apply(params: PyTree, x: Array) -> Array:
        x = checks.cast("embedding", "x", x)
        look = jnp.issubdtype(x.dtype, jnp.integer)
        return (look_up if look else decode)(params["embedding"], x)

    return step_by_step("embedding", stateless(init, apply))


@jax.custom_jvp
def _rows_of(table: Array, places: Array) -> Array:
    return table.at[places].get(mode="fill", fill_value=jnp.nan)


@_rows_of.defjvp
def _rows_of_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    """Its transpose adds up, in float32 at least, the gradients of a row that is looked up often."""
    y, change = _rows_of(*primals), tangents[0]
    wide = change if jnp.iscomplexobj(change) else widen(change)
    return y, wide.at[primals[1]].get(mode="fill", fill_value=0).astype(y.dtype)


@constructor
def flatten() -> Layer:
    """All axes but the batch in one: (batch, …) to (batch, features).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.flatten().apply((), (), jnp.ones((8, 4, 4, 3)))[0].shape
        (8, 48)
    """

    def apply(params: PyTree, x: Array) -> Array:
        checks.least_rank("flatten", "x", x, 1, "(batch, ...)")
        return jnp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))

    return stateless(lambda key, x: (), apply)


@constructor
def reshape(*shape: int) -> Layer:
    """Another shape for each example: (batch, …) to (batch, *shape).

    Args:
        *shape: the new shape without the batch axis; one entry may be -1.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.reshape(4, -1).apply((), (), jnp.ones((8, 12)))[0].shape
        (8, 4, 3)
    """
    shape = tuple(checks.integer("reshape", "every size", size, low=-1) for size in shape)
    if shape.count(-1) > 1:
        raise ValueError(f"reshape: expected at most one size of -1, got {shape}")

    def apply(params: PyTree, x: Array) -> Array:
        checks.least_rank("reshape", "x", x, 1, "(batch, ...)")
        size, known = math.prod(x.shape[1:]), math.prod(s for s in shape if s != -1)
        free = size // max(known, 1)
        new = tuple(free if s == -1 else s for s in shape)
        if math.prod(new) != size:
            raise ValueError(
                f"reshape: expected a shape of {size} values per example, got {shape} for {checks.describe(x)}"
            )
        return jnp.reshape(x, (x.shape[0], *new))

    return stateless(lambda key, x: (), apply)
