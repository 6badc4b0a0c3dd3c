"""The words the rest of fnn uses for its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import jax
import jax.typing
import numpy as np

Array: TypeAlias = jax.Array
ArrayLike: TypeAlias = jax.typing.ArrayLike
"""An array, a NumPy array or a Python number."""
Key: TypeAlias = jax.Array
"""A JAX random key, `jax.random.key(0)`."""
DType: TypeAlias = jax.typing.DTypeLike
Shape: TypeAlias = tuple[int, ...]
PyTree: TypeAlias = Any
"""Arrays in nested tuples, lists, dicts or NamedTuples."""
Schedule: TypeAlias = Callable[[ArrayLike], ArrayLike]
"""step count -> learning rate"""
ScalarOrSchedule: TypeAlias = float | Array | Schedule
Initializer: TypeAlias = Callable[[Key, Shape, DType | None], Array]

LossFunction: TypeAlias = Callable[[PyTree, PyTree], Array]
"""(outputs, targets) -> losses of the examples; a task is taken wherever one is"""
PenaltyFunction: TypeAlias = Callable[[PyTree], ArrayLike]
"""params -> a scalar that is added to the loss"""
Augmentation: TypeAlias = Callable[[Key, PyTree, PyTree], tuple[PyTree, PyTree]]
"""(key, x, targets) -> (x, targets), a random change of a batch"""

Arrays: TypeAlias = tuple[PyTree, PyTree] | tuple[PyTree, PyTree, PyTree]
"""`(x, targets)` or `(x, targets, weights)`: arrays of the same rows, of which x may be several in a pytree."""
Batches: TypeAlias = Iterable[PyTree] | Callable[[], Iterable[PyTree]] | Callable[[int], Iterable[PyTree]]
"""A stream: what can be iterated again and gives `(x, targets)` or `(x, targets, weights)`, or a function of nothing or
of the epoch that makes it."""
Data: TypeAlias = Arrays | Batches
"""What is trained on: arrays or a stream."""
Rows: TypeAlias = Sequence[int] | np.ndarray | Array
"""Row numbers; a negative one is an empty slot."""
Labels: TypeAlias = Sequence[object] | np.ndarray | Array
"""One for each row: class numbers or names, or what rows belong to."""
Validation: TypeAlias = Data | Rows | float
"""What is scored after every epoch: data of its own, row numbers of the data, or a fraction of its rows."""
History: TypeAlias = dict[str, Any]
"""Of a run driven from the host: lists of floats, one for every epoch, and counts ("epochs", "diverged_at", …). As a
union it would make `history["loss"][-1]` an error to a type checker."""
