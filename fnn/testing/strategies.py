"""Strategies of hypothesis, which they need, for what transforms and layers are given."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.typing import DType, Shape

__all__ = ["arrays", "pytrees"]

SHAPES: tuple[Shape, ...] = ((), (1,), (3,), (2, 3), (0,), (2, 1, 2))


def _hypothesis() -> Any:
    return checks.package("hypothesis.strategies", "fnn.testing.strategies", "hypothesis", "test")


def arrays(dtype: DType = "float32", shapes: tuple[Shape, ...] = SHAPES, size: float = 100.0) -> Any:
    """Arrays of one of a few shapes, with entries of all sizes up to `size`, zeros among them.

    Few shapes, because every new one is compiled anew. An example shrinks towards zeros in the first shape.

    Args:
        dtype: real or complex.
        shapes: what to choose from; scalar and empty ones are among the default.
        size: the largest magnitude.

    Example:
        >>> import hypothesis, fnn
        >>> @hypothesis.settings(deadline=None, max_examples=10)
        ... @hypothesis.given(fnn.testing.strategies.arrays(shapes=((3,),)))
        ... def relu_is_positive(x):
        ...     assert (fnn.relu(x) >= 0).all()
        >>> relu_is_positive()
    """
    st = _hypothesis()

    def fill(shape: Shape, seed: int, magnitude: float, zeros: float) -> Any:
        rng = np.random.default_rng(seed)
        values = magnitude * rng.uniform(-1, 1, size=shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            values = values + 1j * magnitude * rng.uniform(-1, 1, size=shape)
        return jnp.asarray(np.where(rng.uniform(size=shape) < zeros, 0, values), dtype)

    magnitudes = st.sampled_from([0.0, 1.0, size, 1e-2, 1e-4 * size])
    return st.builds(fill, st.sampled_from(shapes), st.integers(0, 2**16), magnitudes, st.sampled_from([0.0, 0.3]))


def pytrees(leaves: Any = None, max_leaves: int = 5) -> Any:
    """Trees of arrays: nested dicts, lists and tuples, empty ones, bare leaves and None among them.

    Args:
        leaves: the strategy of a leaf; `arrays()` by default.
        max_leaves: the largest number of leaves.

    Example:
        >>> import hypothesis, jax, fnn
        >>> @hypothesis.settings(deadline=None, max_examples=10)
        ... @hypothesis.given(fnn.testing.strategies.pytrees())
        ... def structure_is_kept(tree):
        ...     assert jax.tree.structure(fnn.optim.sgd(0.1).init(tree)) is not None
        >>> structure_is_kept()
    """
    st = _hypothesis()
    names = st.sampled_from(["kernel", "bias", "scale"])

    def inside(children: Any) -> Any:
        return st.one_of(
            st.dictionaries(names, children, max_size=3),
            st.lists(children, max_size=3),
            st.lists(children, max_size=2).map(tuple),
        )

    return st.recursive(st.one_of(arrays() if leaves is None else leaves, st.none()), inside, max_leaves=max_leaves)
