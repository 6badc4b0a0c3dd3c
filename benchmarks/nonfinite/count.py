"""Asks a function for its values, JVPs and VJPs at once, and counts the answers that are not finite but ought to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.nonfinite.points import Question


class Counted(NamedTuple):
    """What was asked, and how many answers were not finite, of values, JVPs and VJPs."""

    name: str
    asked: int
    values: int
    jvps: int
    vjps: int


def count(name: str, function: Callable[..., Any], x: Any, finite: Any, slopes: Any, jvps: Any) -> Counted:
    """Evaluate at x; `finite`, `slopes` and `jvps` say where value, VJP and JVP are to be finite."""
    weights = jnp.linspace(0.5, 1.5, x.size).reshape(x.shape).astype(x.dtype)

    @jax.jit
    def answers(x: Any) -> Any:
        value, tangent = jax.jvp(function, (x,), (weights,))
        value, back = jax.vjp(function, x)
        return value, tangent, back(jnp.linspace(0.5, 1.5, value.size).reshape(value.shape).astype(value.dtype))[0]

    value, jvp, vjp = (~np.isfinite(np.asarray(one, np.float64)) for one in answers(x))
    asked = sum(int(np.broadcast_to(a, b.shape).sum()) for a, b in ((finite, value), (jvps, jvp), (slopes, vjp)))
    return Counted(name, asked, int((value & finite).sum()), int((jvp & jvps).sum()), int((vjp & slopes).sum()))


def _over(examples: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(examples.reshape(-1, *[1] * (like.ndim - 1)), like.shape)


def fits(x: Any, dtype: Any) -> Any:
    """Whether a number has room in the dtype, and a factor of 2 to spare for the weights of the derivatives."""
    return np.isfinite(x) & (abs(np.where(np.isfinite(x), x, 0)) <= float(jnp.finfo(dtype).max) / 2)


def ask(question: Question, function: Callable[..., Any], dtype: Any) -> Counted:
    given = question.inputs(float(jnp.finfo(dtype).smallest_subnormal))
    given = [jnp.asarray(one) if one.dtype.kind == "i" else jnp.asarray(one).astype(dtype) for one in given]
    exact = [np.asarray(one) if one.dtype.kind == "i" else np.asarray(one, np.float64) for one in given]
    with np.errstate(all="ignore"):
        value, slope = question.value(*exact), question.slope(*exact)
    finite, slopes = fits(value, dtype), fits(slope, dtype)
    # The first axis counts examples. A derivative is asked for where every value of its example is finite, a JVP,
    # which adds them up, where every derivative is too.
    slopes = slopes & _over(finite.reshape(len(finite), -1).all(1), slopes)
    jvps = _over(slopes.reshape(len(slopes), -1).all(1), finite)
    return count(question.name, lambda x: function(x, *given[1:], **question.options), given[0], finite, slopes, jvps)
