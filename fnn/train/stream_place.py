"""Where a stream stands between two epochs of a run, in each process, and how a new run comes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from fnn import checks
from fnn.train.feeding import Feed
from fnn.train.processes import gather
from fnn.train.stream import describe_list, takes_epoch
from fnn.train.stream_state import decode_state, encode_state


def place_of(feed: Feed, epochs: int, seen: str = "") -> dict[str, Any]:
    """The room of a batch and the slots of a super-batch, and of every process the state of its stream after so many
    epochs and what it has `seen` of it last."""
    state = feed.attempt(lambda: encode_state(feed.reader.state)) if epochs else feed.reader.begun
    parts = gather(feed.mesh, {"state": state, "seen": seen})
    return {"room": feed.room * len(parts), "slots": feed.slots, "parts": parts}


def come_to(
    feed: Feed, place: dict[str, Any], epochs: int, read_again: Callable[[], None] = lambda: None
) -> str | None:
    """Be where the stream was after so many epochs: what knows its state is given it back, a list and a function of the
    epoch stand there already, anything else is read again. In the first epoch nothing is but what is given its state.
    What this process had seen of a stream without a state in the last pass, None or empty where it is not known."""
    source, parts = feed.reader.stream.source, place["parts"]
    own = parts[jax.process_index() if feed.joined else 0] if len(parts) == feed.processes else None

    def go() -> None:
        if stands_by_itself(source):
            return
        if own is None:
            raise ValueError(
                f"{feed.reader.stream.where}: expected {len(parts)} processes, of whose streams the checkpoint knows "
                f"where they stood, got {feed.processes}; start as many, or give one that takes the epoch"
            )
        if own["state"] is not None:
            feed.close(wait=True)
            feed.reader.restore(decode_state(own["state"]), epochs)
        elif epochs:
            read_again()

    feed.attempt(go)
    if epochs:  # what is read of the first one was measured as before
        feed.close(wait=True)  # its thread fills super-batches of these sizes
        feed.room, feed.slots = feed.round_up(-(-place["room"] // feed.processes)), place["slots"]
    return own and own["seen"]


def describe_stream(feed: Feed, form: str = "") -> str:
    """What is said of it where runs are compared, by all processes."""
    return " and ".join(dict.fromkeys(gather(feed.mesh, f"a stream{form}{describe_list(feed.reader.stream.source)}")))


def stands_by_itself(source: Any) -> bool:
    """Whether it gives an epoch's batches again, wherever it stands."""
    return takes_epoch(source) or isinstance(source, list)


def warn_of_another(where: str, came: str, what: str, repair: str) -> None:
    """Say that a stream is not the one that a run was begun with."""
    checks.warn(
        f"{where}: the stream gives {came} than before the run was resumed, so {what} need not be those of an unbroken "
        f"run; give what was given then, {repair}",
        UserWarning,
    )
