"""The words the rest of fnn uses for its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

Array: TypeAlias = jax.Array
ArrayLike: TypeAlias = Any
"""An array, a NumPy array or a Python number."""
Key: TypeAlias = jax.Array
"""A JAX random key, `jax.random.key(0)`."""
DType: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]
PyTree: TypeAlias = Any
"""Arrays in nested tuples, lists, dicts or NamedTuples."""
Schedule: TypeAlias = Callable[[ArrayLike], ArrayLike]
"""step count -> learning rate"""
ScalarOrSchedule: TypeAlias = float | Array | Schedule
Initializer: TypeAlias = Callable[[Key, Shape, DType], Array]
