"""Mixed precision: the pass through a model in another dtype than its parameters are kept in."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Layer
from fnn.layer.arguments import output_and_state
from fnn.layer.parts import any_layer, count_rows
from fnn.typing import DType, Key, PyTree

LEAST = 1e-30
"""Of a gradient: a dtype whose numbers begin above it loses some that matter."""


def warn_unless_scaled(dtype: DType | None, scale: Any) -> None:
    """Say so where gradients may vanish unseen: in a dtype of a small range, with a loss that nothing scales."""
    if dtype is not None and scale is None and float(jnp.finfo(dtype).smallest_normal) > LEAST:
        least = float(jnp.finfo(dtype).smallest_subnormal)
        checks.warn(
            f"optimizer: with compute_dtype={jnp.dtype(dtype).name} gradients below {least:.0e} become 0, and nothing "
            "says so; write fnn.optim.scale_loss(optimizer), or compute_dtype=jnp.bfloat16, whose range is float32's"
        )


def compute_in(dtype: DType | None, model: Layer) -> Layer:
    """The model with parameters and inputs cast to `dtype` where it is applied, outputs to float32, its new state to
    the dtypes of the old one; complex numbers and integers stay. The gradient comes back in the parameters' own dtype.
    """
    if dtype is None:
        return model

    def apply(params: PyTree, state: PyTree, x: PyTree, *, key: Key | None = None, train: bool = False) -> Any:
        found = model.apply(_cast(params, dtype), state, _cast(x, dtype), key=key, train=train)
        outputs, new_state = output_and_state(found)
        own = jax.tree.map(lambda new, old: new.astype(jnp.result_type(old)), new_state, state)
        return _cast(outputs, jnp.float32), own

    over_rows = model.facts.over_rows
    if over_rows is None and model.rebuild is not None and any_layer(model, lambda facts: facts.over_rows is not None):
        over_rows = functools.partial(count_rows, model)
    own = over_rows and (lambda where: compute_in(dtype, over_rows(where)))
    return model._replace(apply=apply, facts=model.facts._replace(over_rows=own))


def _cast(tree: PyTree, dtype: DType) -> PyTree:
    floats = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.floating)  # noqa: E731
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if floats(leaf) else leaf, tree)
