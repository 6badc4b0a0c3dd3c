"""The state that a stream has of itself, in what JSON can hold."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fnn import checks


class Accessors(NamedTuple):
    """The state that an object has of itself: `get()` and `set(state)`."""

    get: Callable[[], Any]
    set: Callable[[Any], Any]


def own_state(thing: Any) -> Accessors | None:
    """By the names that torchdata and grain have for it."""
    for get, put in (("state_dict", "load_state_dict"), ("get_state", "set_state")):
        if callable(getattr(thing, get, None)) and callable(getattr(thing, put, None)):
            return Accessors(getattr(thing, get), getattr(thing, put))
    return None


def encode_state(state: Any) -> Any:
    """Dicts, lists, numbers, texts, bytes and arrays as JSON can hold them; anything else could only be read back by
    running what stands in a file."""
    if state is None or isinstance(state, (bool, int, float, str)):
        return state
    if isinstance(state, dict):
        return {"dict": [[encode_state(key), encode_state(value)] for key, value in state.items()]}
    if isinstance(state, (list, tuple)):
        return {"tuple" if isinstance(state, tuple) else "list": [encode_state(part) for part in state]}
    if isinstance(state, (bytes, bytearray)):
        return {"bytes": base64.b64encode(state).decode()}
    if hasattr(state, "__array__") and (array := np.asarray(state)).dtype.kind in "biufc":
        home = type(state).__module__.partition(".")[0]
        text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        return {"array": text, "dtype": array.dtype.str, "shape": list(array.shape), "home": home}
    raise TypeError(
        f"fit: the state of the stream holds {checks.describe(state)}, which a checkpoint cannot; expected dicts, "
        "lists, numbers, texts, bytes and arrays"
    )


def decode_state(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    if "dict" in state:
        return {decode_state(key): decode_state(value) for key, value in state["dict"]}
    for kind, build in (("list", list), ("tuple", tuple)):
        if kind in state:
            return build(decode_state(part) for part in state[kind])
    if "bytes" in state:
        return base64.b64decode(state["bytes"])
    array = np.frombuffer(base64.b64decode(state["array"]), state["dtype"]).reshape(state["shape"]).copy()
    if state["home"] != "torch":
        return array if array.shape else array[()]
    import torch

    return torch.from_numpy(array)
