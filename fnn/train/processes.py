"""Several processes that compute one run: they begin with the same, take the same steps and stop together."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all, process_allgather
from jax.sharding import Mesh

from fnn import checks
from fnn.kernels import placement
from fnn.train.console import interruption, is_to_end
from fnn.train.identity import PROGRAMS, describe_data, describe_programs, describe_settings, digest_of
from fnn.train.inputs import Inputs
from fnn.train.loop import Recipe, begin, keys_of
from fnn.train.sharding import exchange, on_automatic_axes
from fnn.train.stream import StreamError
from fnn.train.trained import Trained
from fnn.typing import Key

P = ParamSpec("P")
R = TypeVar("R")


def together(mesh: Mesh | None) -> bool:
    """Whether all processes, more than one, hold devices of the mesh."""
    hosts = placement.hosts()
    return isinstance(mesh, Mesh) and hosts > 1 and len({d.process_index for d in mesh.devices.flat}) == hosts


LOST = ("Gloo", "closed by peer", "heartbeat", "NCCL")
"""Words of what XLA says where another process does not answer."""


@contextmanager
def _peers(where: str, mesh: Mesh | None) -> Iterator[None]:
    """What one process alone raises is raised in all, at the next word that they exchange; where one has died, the
    error names it: what XLA says names a connection."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if hasattr(error, _TOLD):
            raise
        if not _is_of_a_connection(error):
            with suppress(Exception):  # nobody may be there any more
                raise_in_all(mesh, error, where)
            raise
        others = [n for n in range(placement.hosts()) if n != jax.process_index()]
        lost = f"process {others[0]}" if len(others) == 1 else f"one of the processes {', '.join(map(str, others))}"
        raise RuntimeError(
            f"{where}: {lost} has died or was ended while all {placement.hosts()} computed together, and process "
            f"{jax.process_index()} cannot go on alone. Start all of them again; fit(..., checkpoint=directory) then "
            "goes on after the last epoch saved"
        ) from error


def _is_of_a_connection(error: BaseException) -> bool:
    """Whether XLA says it, whose errors are of a type of their own or begin with a word of its own: a callback may
    speak of a heartbeat too."""
    by_xla = isinstance(error, jax.errors.JaxRuntimeError) or (
        isinstance(error, ValueError) and re.match("[A-Z_]+: ", str(error)) is not None
    )
    return by_xla and any(word in str(error) for word in LOST)


def on_a_mesh(
    where: str, mesh: Mesh | None = None, *, ends: bool = False, everywhere: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A verb that computes `on_automatic_axes` of this mesh, or of its argument `mesh`, and whose errors all processes
    of it hear of; those of its arguments too.

    Args:
        where: the verb.
        mesh: of a verb that is given none.
        ends: Ctrl-C in one of them ends the verb in all; by default it asks for Ctrl-C itself, and keeps what it has.
        everywhere: the verb computes on all devices where it is given no mesh.
    """

    def wrap(run: Callable[P, R]) -> Callable[P, R]:
        @on_automatic_axes
        @functools.wraps(run)
        def enter(*args: P.args, **options: P.kwargs) -> R:
            over: Any = options.get("mesh", mesh)
            if everywhere and over is None and placement.hosts() > 1:
                over = options["mesh"] = Mesh(np.asarray(jax.devices()), ("members",))
            if not together(over):
                return run(*args, **options)
            with _peers(where, over), interruption(ends):
                found = run(*args, **options)
                if checks.are_known(found):
                    pace(over, 1)  # nothing raises after it: a warning may, where it is an error
                return found

        return enter

    return wrap


def require_same_run(
    where: str,
    recipe: Recipe,
    inputs: Inputs,
    key: Key,
    start: Trained | None,
    described: Callable[[Inputs], dict[str, str]] = describe_data,
    beside: dict[str, Any] | None = None,
) -> None:
    """An error in every process, before the first step, where one of them is to train something else."""
    arrays = jax.tree.leaves((key, inputs))
    if not together(recipe.mesh) or not checks.are_known(arrays):
        return
    like = jax.eval_shape(functools.partial(begin, recipe), keys_of(key), inputs, start).train_state
    settings = describe_settings(recipe, inputs) | {"epochs": recipe.options.epochs} | (beside or {})
    data = described(inputs)
    everything = {
        "settings": {name: str(value) for name, value in settings.items()},
        "arrays": {"key": digest_of(key), "start": digest_of(start), "data": data.pop("x, targets and weights")} | data,
        "programs": describe_programs(recipe, like, key, inputs),
    }
    require_same(where, recipe.mesh, everything)


def gather(mesh: Mesh | None, own: Any) -> list[Any]:
    """What every process says, in the order of their numbers, as JSON can hold it; of one that is alone its own."""
    return _say(own) if together(mesh) else [own]


def pace(mesh: Mesh | None, steps: int) -> int:
    """The smallest number of steps that a process wants to take next; 0 where one of them wants to stop."""
    return int(meet(steps)[:, 0].min()) if together(mesh) else steps


def meet(*numbers: int) -> np.ndarray:
    """Numbers of every process, a row for each, the first one not below 0: such a one is how much another process has
    to say, which is why it cannot go on."""
    if is_to_end():
        _say(None)
    found = exchange(*numbers)
    if (least := int(found[:, 0].min())) < 0:
        _hear([None, None, True], -least, None)
    return found


TEXT_BYTES = 2**10
"""Of which the length of a text is a multiple: each length is a program."""

OTHER_CALLS = "the processes do not make the same calls: write the same ones, in the same order, in all of them"

_KINDS = StreamError, TypeError, ValueError, KeyboardInterrupt
_TOLD = "_told_to_all_processes"


def _say(own: Any, error: BaseException | None = None, what: str = "") -> list[Any]:
    """What every process says; the error of one of them is raised in all, and Ctrl-C where it ends the verb."""
    failed = None
    if error is None and is_to_end():
        error, what = KeyboardInterrupt("Ctrl-C was pressed"), "the call"
    if error is not None:
        kind = next((number for number, kind in enumerate(_KINDS) if isinstance(error, kind)), len(_KINDS))
        text = str(error) if kind < len(_KINDS) else f"{type(error).__name__}: {error}"
        failed = [kind, f"{what} of process {jax.process_index()} failed: {text}"]
    mine = [own, failed, False]
    return _hear(mine, -int(exchange(-len(json.dumps(mine)))[:, 0].min()), error)


def _hear(mine: list[Any], longest: int, error: BaseException | None) -> list[Any]:
    """`mine` is what it says, what failed, and whether it meets: has only numbers to say where others ask for more."""
    room = -(-longest // TEXT_BYTES) * TEXT_BYTES
    texts = process_allgather(np.frombuffer(json.dumps(mine).encode().ljust(room), np.uint8))
    said = [json.loads(bytes(text)) for text in np.asarray(texts)]
    failed = next((failed for _, failed, _ in said if failed), None)
    if failed is None and not any(meets for *_, meets in said):
        return [own for own, *_ in said]
    failed = failed or [_KINDS.index(ValueError), OTHER_CALLS]
    raised = (*_KINDS, RuntimeError)[failed[0]](failed[1]) if error is None else error
    setattr(raised, _TOLD, True)
    raise raised


def tell_all(mesh: Mesh | None, told: np.ndarray) -> np.ndarray:
    """What process 0 gives, in all of them; the others give an array of its shape and dtype."""
    return np.asarray(broadcast_one_to_all(told)) if together(mesh) else told


def attempt(ask: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What it answers, or its error, `SystemExit` too: all processes hear of that before one of them raises it."""
    try:
        return ask(), None
    except BaseException as error:
        return None, error


def raise_in_all(mesh: Mesh | None, error: BaseException | None, what: str) -> None:
    """The error in the process that has it; in the others one of its kind that says which `what` of which process."""
    if together(mesh):
        _say(None, error, what)
    elif error is not None:
        raise error


def attempt_in_all(mesh: Mesh | None, what: str, ask: Callable[[], Any]) -> Any:
    """What it answers in each process; the error of one of them is raised in all."""
    answer, error = attempt(ask)
    raise_in_all(mesh, error, what)
    return answer


def require_same(where: str, mesh: Mesh | None, described: dict[str, dict[str, Any]]) -> None:
    """An error in every process where one of them has other "settings", "arrays" or "programs"."""
    if not together(mesh):
        return
    first, *others = gather(mesh, described)
    said = [
        f"process {number} has {'; '.join(found)}" for number, other in enumerate(others, 1)
        if (found := _differences(first, other))
    ]  # fmt: skip
    if said:
        raise ValueError(
            f"{where}: expected the same run in all {placement.hosts()} processes, but {', '.join(said)}. Each process "
            "is given everything, of a stream its part, and computes its own part: write the same call in all of them"
        )


NOT_ASKED = "no such argument"
"""Where another verb is called."""


def _differences(first: dict[str, Any], other: dict[str, Any]) -> list[str]:
    settings, there = other["settings"], first["settings"]
    said = [
        f"{name}={settings.get(name, NOT_ASKED)} where process 0 has {there.get(name, NOT_ASKED)}"
        for name in there | settings
        if settings.get(name, NOT_ASKED) != there.get(name, NOT_ASKED)
    ]
    other_of = {"data", "rows", "validation rows", "data or keys"}
    arrays = [name for name, found in other["arrays"].items() if found != first["arrays"].get(name)]
    said += [f"{'other' if name in other_of else 'another'} {name}" for name in arrays]
    # Shapes of other data, or another batch size, make other programs by themselves.
    if said:
        return said
    differ = [name for name, found in other["programs"].items() if found != first["programs"].get(name)]
    return [f"another {name}" for name in [n for n in differ if n in PROGRAMS] or differ[:1]]
