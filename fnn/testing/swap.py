"""Can the import be swapped? Names of two modules, compared by signature, defaults, dtypes, states and values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["check_swap"]

Caller = Callable[[str, Callable[..., Any]], Any]


def check_swap(
    mine: Any,
    reference: Any,
    *,
    names: Iterable[str] | None = None,
    call: Caller | None = None,
    differs: Mapping[str, str] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> dict[str, str]:
    """Require that every function that `mine` and `reference` share can take the other's place.

    The parameters of `reference` come first and in its order, with its names, defaults and kinds; `mine` may add
    keyword parameters after them. What `call` makes of both has the same structure (names of fields included), shapes,
    dtypes and values.

    Args:
        mine: a module or a namespace.
        reference: the module whose place it takes.
        names: which names; by default all public ones that both have.
        call: `call(name, function) -> result`, made with both functions; None compares signatures only.
        differs: name -> why it differs on purpose; such a name must differ, or it is reported too.
        rtol, atol: of the values.

    Returns:
        name -> "equal", or why not, from `differs`.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> table = fnn.testing.check_swap(fnn.activations, jax.nn, names=["relu", "gelu"],
        ...                                call=lambda name, f: f(jnp.linspace(-3, 3, 7)))
        >>> table
        {'gelu': 'equal', 'relu': 'equal'}
    """
    differs = dict(differs or {})
    table: dict[str, str] = {}
    faults: list[str] = []
    for name in sorted(shared_names(mine, reference) if names is None else names):
        pair = getattr(mine, name), getattr(reference, name)
        fault = _signature_difference(*map(inspect.signature, pair))
        if call is not None:
            fault = fault or _result_difference(call(name, pair[0]), call(name, pair[1]), rtol, atol)
        if name in differs and not fault:
            faults.append(f"{name}: said to differ ({differs[name]}), but does not")
        elif fault and name not in differs:
            faults.append(f"{name}: {fault}")
        table[name] = differs.get(name, fault or "equal")
    if faults:
        raise AssertionError("cannot be swapped:\n" + "\n".join(faults))
    return table


def shared_names(mine: Any, reference: Any) -> set[str]:
    """Public functions of `mine` that `reference` has too."""
    public = getattr(mine, "__all__", None) or [name for name in dir(mine) if not name.startswith("_")]
    found = {name for name in public if callable(getattr(reference, name, None))}
    return {name for name in found if callable(getattr(mine, name)) and not inspect.isclass(getattr(mine, name))}


def _signature_difference(mine: inspect.Signature, reference: inspect.Signature) -> str:
    """In what the leading parameters differ; "" if they do not."""
    named = [p for p in reference.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    own = [p for p in mine.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p.name for p in named if p.kind is not p.KEYWORD_ONLY]
    if [p.name for p in own if p.kind is not p.KEYWORD_ONLY][: len(positional)] != positional:
        return f"parameters ({', '.join(p.name for p in own)}) instead of ({', '.join(p.name for p in named)})"
    for p in named:
        other = mine.parameters.get(p.name)
        if other is None:
            return f"no parameter {p.name}"
        if not _same_default(other.default, p.default):
            return f"{p.name}={_text(other.default)} instead of {_text(p.default)}"
    late = [p.name for p in own if p.name not in reference.parameters and p.default is p.empty]
    return f"requires {', '.join(late)}" if late else ""


def _same_default(mine: Any, reference: Any) -> bool:
    """Equal values; of functions and transforms, the place alone: the values are for `call` to compare."""
    if inspect.Parameter.empty not in (mine, reference) and _computes(mine) and _computes(reference):
        return True
    return bool(np.all(mine == reference)) and (mine is None) == (reference is None)


def _computes(default: Any) -> bool:
    return callable(default) or (isinstance(default, tuple) and bool(default) and all(map(callable, default)))


def _text(default: Any) -> str:
    return "(required)" if default is inspect.Parameter.empty else repr(default)


def _result_difference(got: Any, expected: Any, rtol: float, atol: float) -> str:
    left, right = (jax.tree.leaves_with_path(tree) for tree in (got, expected))
    places = [[jax.tree_util.keystr(path) for path, _ in leaves] for leaves in (left, right)]
    if places[0] != places[1]:
        return f"leaves {places[0]} instead of {places[1]}"
    for place, (_, a), (_, b) in zip(places[0], left, right, strict=True):
        a, b = jnp.asarray(a), jnp.asarray(b)
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"{a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)} {place}".rstrip()
        wide = np.complex128 if jnp.iscomplexobj(a) else np.float64
        if not np.allclose(np.asarray(a).astype(wide), np.asarray(b).astype(wide), rtol, atol, equal_nan=True):
            return f"{np.asarray(a).ravel()[:3]} instead of {np.asarray(b).ravel()[:3]} {place}".rstrip()
    return ""
