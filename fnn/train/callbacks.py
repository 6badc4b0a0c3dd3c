"""What a run tells while it is driven: at the end of an epoch, or every so many steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fnn import checks
from fnn.train.stopping import EarlyStopping
from fnn.train.trained import TrainState

__all__ = ["EpochEnd", "Every", "StepEnd", "every"]


class EpochEnd(NamedTuple):
    """What a callback is told: the `epoch` (from 0), its `row` of the history, the `train_state`.

    Example:
        >>> import fnn
        >>> def stop_when_good(end: fnn.EpochEnd) -> bool:
        ...     return end.row["loss"] < 0.01
    """

    epoch: int
    row: dict[str, float]
    train_state: TrainState


class StepEnd(NamedTuple):
    """What a callback of `every` is told: the `epoch` (from 0), the `step` (how many the run has taken), `row`, the
    training numbers of the epoch so far, the `train_state`.

    Example:
        >>> import fnn
        >>> def show(end: fnn.StepEnd) -> None:
        ...     print(end.step, end.row["loss"])
    """

    epoch: int
    step: int
    row: dict[str, float]
    train_state: TrainState


class Every(NamedTuple):
    """A callback that is called after every so many steps: see `every`."""

    steps: int
    function: Callable[[StepEnd], object]


Callback: TypeAlias = Callable[[EpochEnd], object] | Every


def every(steps: int, function: Callable[[StepEnd], object]) -> Every:
    """A callback of `fit` that is called after every so many steps, and not at the end of an epoch.

    Args:
        steps: how many, counted over the whole run.
        function: takes a `StepEnd`; one that returns True ends the run there.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x, seen = jnp.linspace(-1, 1, 20).reshape(20, 1), []
        >>> trained, history = fnn.fit(
        ...     fnn.dense(1), fnn.optim.sgd(0.3), fnn.tasks.regression(), (x, 3 * x[:, 0]), key=jax.random.key(0),
        ...     epochs=3, batch_size=5, callbacks=[fnn.every(5, lambda end: seen.append(end.step))], progress=False)
        >>> seen
        [5, 10]
    """
    checks.integer("every", "steps", steps)
    if not callable(function):
        raise TypeError(f"every: expected a function of a StepEnd, got {function!r}; write every(100, function)")
    return Every(steps, function)


def check_callbacks(where: str, callbacks: Any) -> None:
    """A list of functions, some of them under `every`."""
    several = isinstance(callbacks, (list, tuple)) and not isinstance(callbacks, Every)
    if not several or not all(callable(one) or isinstance(one, Every) for one in callbacks):
        stops = several and any(isinstance(one, EarlyStopping) for one in callbacks)
        repair = "write early_stopping=fnn.early_stopping(…)" if stops else "write callbacks=[function]"
        raise checks.not_one(where, "callbacks", "a list of functions", callbacks, repair)
    for one in callbacks:
        told = one.function if isinstance(one, Every) else one
        checks.function(where, "a callback", told, "of what it is told", "", "Callable[[Told], None]")


def ends_the_run(callbacks: Sequence[Callable[[Any], Any]], told: EpochEnd | StepEnd) -> bool:
    """Whether one of them answers True; all of them are asked, and an error says whose it is."""
    answers = [_ask(callback, told) for callback in callbacks]
    return any(map(_is_true, answers))


def _ask(callback: Callable[[Any], Any], told: EpochEnd | StepEnd) -> Any:
    try:
        # A row of its own: whoever writes into it changes nobody else's.
        return callback(told._replace(row=dict(told.row)))
    except Exception as error:
        error.add_note(f"fit: in the callback {checks.name_of(callback)}, epoch {told.epoch}")
        raise


def _is_true(answer: Any) -> bool:
    """True itself, of Python, NumPy or JAX; what a callback returns by the way, a list say, ends nothing."""
    scalar = getattr(answer, "ndim", None) == 0 and answer.dtype == np.bool_
    return answer is True or (scalar and bool(answer))
