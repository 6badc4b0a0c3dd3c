"""Outputs of a model beside those of the module that its weights came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.layer import Layer
from fnn.layer.arguments import example
from fnn.train.trained import Trained, apply_trained

TOLERANCE = 1e-2
"""Of the largest output: half precision stays below it."""
ROWS = 4


def compare(
    where: str, model: Layer, trained: Trained, x: Any, theirs: Callable[[np.ndarray], np.ndarray], more: str = ""
) -> None:
    """Warn where the weights fit and the outputs differ all the same: not all that decides them is a weight.

    `more` is what else may decide them in this module.
    """
    x = _example(x)
    if not isinstance(x, np.ndarray):
        return
    try:
        expected = theirs(x)
    except Exception:  # it takes another input than the model does: there is nothing to compare with
        return
    y = apply_trained(model, trained, jnp.asarray(x))
    if not hasattr(y, "shape"):  # several outputs, which the other library may give in another form
        return
    ours = np.asarray(y, np.float32)
    size = max(float(np.abs(expected).max(initial=0)), 1e-3)
    if ours.shape != expected.shape:
        said = f"the output has shape {ours.shape}, there {expected.shape}"
    elif (difference := float(np.abs(ours - expected).max(initial=0))) <= TOLERANCE * size:
        return
    else:
        said = f"the outputs differ by up to {difference:.2g} of {size:.2g}"
    checks.warn(
        f"{where}: every weight has its place, but {said} for x {checks.describe(x)}: look at what is no weight, "
        f'padding (at a stride of 2 torch\'s padding=1 is not "SAME"), stride, activations, pooling, eps{more}'
    )


def _example(x: Any) -> Any:
    """A few rows of an input, of a shape one that is drawn."""
    if hasattr(x, "__array__"):
        return np.asarray(x[:ROWS])
    x = example(x)
    if not isinstance(x, jax.ShapeDtypeStruct):
        return None
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return np.zeros(x.shape, x.dtype)
    return np.random.default_rng(0).normal(size=x.shape).astype(x.dtype)
