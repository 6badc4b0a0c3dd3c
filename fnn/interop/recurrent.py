"""Weights of recurrent layers from and to torch and flax, with equal outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.typing import Array, PyTree

__all__ = ["recurrent_from_flax", "recurrent_from_torch", "recurrent_to_flax", "recurrent_to_torch"]

# Gates in fnn's and torch's order, by the letters flax names them with.
_FLAX_GATES: dict[str, Sequence[str]] = {"lstm": "ifgo", "gru": "rzn", "rnn": ("",)}
_GATES = {4: "lstm", 3: "gru", 1: "rnn"}


def recurrent_from_torch(state_dict: Mapping[str, Any], *, dropout: bool = False) -> PyTree:
    """Parameters of fnn's recurrent layers from those of `torch.nn.LSTM`, `GRU` or `RNN`.

    torch's two biases are added up where they act as one: for all gates but the GRU's n, whose second is
    `recurrent_bias`.

    Args:
        state_dict: `module.state_dict()`, or the same names with NumPy arrays.
        dropout: whether the parameters are for a `stacked` with dropout between its layers.

    Returns:
        The parameters of `lstm`, `gru` (reset after) or `rnn`; a pair of them for `bidirectional`; for several layers a
        tuple for `stacked`.

    Example:
        >>> import numpy as np, fnn
        >>> weights = {"weight_ih_l0": np.ones((16, 3)), "weight_hh_l0": np.ones((16, 4))}
        >>> params = fnn.interop.recurrent_from_torch(weights)
        >>> {name: value.shape for name, value in params.items()}
        {'kernel': (3, 16), 'recurrent_kernel': (4, 16), 'bias': (16,)}
    """
    arrays = arrays_of("recurrent_from_torch", state_dict)
    if "weight_ih_l0" not in arrays:
        raise ValueError(
            "recurrent_from_torch: expected the names of torch.nn.LSTM, GRU or RNN (weight_ih_l0, …), "
            f"got {', '.join(sorted(arrays)) or 'none'}"
        )
    layers: list[PyTree] = []
    while f"weight_ih_l{len(layers)}" in arrays:
        names = [f"l{len(layers)}"] + [f"l{len(layers)}_reverse"] * (f"weight_ih_l{len(layers)}_reverse" in arrays)
        directions = tuple(one_from_torch("recurrent_from_torch", arrays, name) for name in names)
        layers.append(directions if len(names) == 2 else directions[0])
    if len(layers) == 1:
        return layers[0]
    # Dropout has the parameters () between the layers.
    return tuple(entry for layer in layers for entry in (layer, ()))[:-1] if dropout else tuple(layers)


def arrays_of(where: str, given: Any) -> dict[str, np.ndarray]:
    if hasattr(given, "state_dict") and not isinstance(given, type):
        given = given.state_dict()
    named = isinstance(given, Mapping) and all(isinstance(name, str) for name in given)
    if not named or not all(hasattr(value, "shape") for value in given.values()):
        raise TypeError(f"{where}: expected a module or its state_dict(), got {checks.describe_given(given)}")
    return {name: as_numpy(value) for name, value in given.items()}


def as_numpy(value: Any) -> np.ndarray:
    """An array of torch, or of NumPy, on the host; NumPy has no bfloat16 of torch's."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu()
    return np.asarray((value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy())


def for_torch(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays that `torch.from_numpy` takes: bfloat16, which is no dtype of NumPy's own, becomes float32."""
    return {name: array if array.dtype.isbuiltin == 1 else array.astype(np.float32) for name, array in arrays.items()}


def one_from_torch(where: str, arrays: Mapping[str, np.ndarray], name: str) -> dict[str, Array]:
    """The parameters of one layer in one direction, "l0" or "l0_reverse"."""
    kernel, recurrent = (arrays.get(f"weight_{kind}_{name}") for kind in ("ih", "hh"))
    if kernel is None or recurrent is None or kernel.ndim != 2 or recurrent.ndim != 2:
        came = ", ".join(f"{key} {checks.describe(array)}" for key, array in arrays.items())
        raise ValueError(f"{where}: expected matrices weight_ih_{name} and weight_hh_{name}, got {came}")
    projection = arrays.get(f"weight_hr_{name}")
    hidden = recurrent.shape[1] if projection is None else projection.shape[1]
    none = np.zeros(kernel.shape[0], kernel.dtype)
    bias, second = (arrays.get(f"bias_{kind}_{name}", none) for kind in ("ih", "hh"))
    params = {"kernel": kernel.T, "recurrent_kernel": recurrent.T, **_biases(bias, second, hidden, np.concatenate)}
    if projection is not None:
        params["projection"] = projection.T
    return {name: checks.cast(where, name, value) for name, value in params.items()}


def _biases(first: Any, second: Any, hidden: int, join: Any) -> dict[str, Any]:
    """Two biases that act as their sum, but for the candidate of a GRU, whose second one its reset gate scales."""
    if _GATES.get(len(first) // hidden) != "gru":
        return {"bias": first + second}
    gates = 2 * hidden
    return {"bias": join([(first + second)[:gates], first[gates:]]), "recurrent_bias": second[gates:]}


def recurrent_to_torch(params: PyTree, *, bidirectional: bool = False) -> dict[str, np.ndarray]:
    """The state dict of `torch.nn.LSTM`, `GRU` or `RNN` from the parameters of fnn's recurrent layers.

    Args:
        params: of `lstm`, `gru` (reset after) or `rnn`, of `bidirectional` of one, or of `stacked` of either.
        bidirectional: whether each layer is a `bidirectional`.

    Returns:
        Names and NumPy arrays; `module.load_state_dict({k: torch.tensor(v) for k, v in …})` takes them. What is
        bfloat16 comes as float32.

    Raises:
        ValueError: for a layer torch does not have (peepholes, coupled gates, layer norm, reset before).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> params, _ = fnn.gru(4).init(jax.random.key(0), jnp.ones((1, 1, 3)))
        >>> sorted(fnn.interop.recurrent_to_torch(params))
        ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """
    checks.instance("recurrent_to_torch", "params", params, dict | list | tuple, "the parameters of a recurrent layer")
    single = isinstance(params, dict) or (bidirectional and isinstance(next(iter(params), None), dict))
    layers = [layer for layer in ((params,) if single else params) if not isinstance(layer, tuple) or layer]
    arrays: dict[str, np.ndarray] = {}
    for number, layer in enumerate(layers):
        directions = layer if bidirectional else (layer,)
        if not all(isinstance(direction, dict) for direction in directions):
            raise ValueError("recurrent_to_torch: expected the parameters of one layer each; write bidirectional=True?")
        for suffix, direction in zip(("", "_reverse"), directions, strict=False):
            arrays |= _one_to_torch(direction, f"l{number}{suffix}")
    return for_torch(arrays)


def _kind(where: str, params: Any, known: set[str]) -> str:
    """ "lstm", "gru" or "rnn", by the shapes; only with the parameters the other library has."""
    needed = {"kernel", "recurrent_kernel", "bias"}
    names = set(params) if isinstance(params, Mapping) else set()
    if needed <= names <= needed | known:
        hidden = params["projection" if "projection" in params else "recurrent_kernel"].shape[0]
        kind = _GATES.get(params["kernel"].shape[1] // hidden, "")
        # Three gates with a projection are an LSTM with coupled gates.
        if kind and (kind != "gru" or ("recurrent_bias" in params and "projection" not in params)):
            return kind
    came = ", ".join(sorted(map(str, names))) or checks.describe_given(params)
    raise ValueError(f"{where}: expected a plain lstm, gru (reset after) or rnn, got {came}")


def _one_to_torch(params: Mapping[str, Any], name: str) -> dict[str, np.ndarray]:
    kind = _kind("recurrent_to_torch", params, {"recurrent_bias", "projection"})
    bias = np.asarray(params["bias"])
    second = np.zeros_like(bias)
    if kind == "gru":
        second[-params["recurrent_bias"].shape[0] :] = params["recurrent_bias"]
    arrays = {
        f"weight_ih_{name}": np.asarray(params["kernel"]).T,
        f"weight_hh_{name}": np.asarray(params["recurrent_kernel"]).T,
        f"bias_ih_{name}": bias,
        f"bias_hh_{name}": second,
    }
    if "projection" in params:
        arrays[f"weight_hr_{name}"] = np.asarray(params["projection"]).T
    return arrays


def recurrent_from_flax(params: Mapping[str, Any]) -> dict[str, Array]:
    """Parameters of `lstm`, `gru` (reset after) or `rnn` from those of a flax cell.

    Args:
        params: of flax linen's `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` or `SimpleCell` (without the outer
            "params"), or of nnx's as `nnx.to_pure_dict(nnx.state(cell, nnx.Param))`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> cell = {"i": {"kernel": jnp.ones((3, 4)), "bias": jnp.zeros(4)}, "h": {"kernel": jnp.ones((4, 4))}}
        >>> sorted(fnn.interop.recurrent_from_flax(cell))
        ['bias', 'kernel', 'recurrent_kernel']
    """
    checks.instance("recurrent_from_flax", "params", params, Mapping, "the gates of a cell by their names")
    found = {_gate(str(name)): entry for name, entry in params.items()}
    named = [gates for gates in _FLAX_GATES.values() if set(found) == _names(gates)]
    matrices = [isinstance(entry, Mapping) and jnp.ndim(entry.get("kernel", 0)) == 2 for entry in found.values()]
    if not named or not all(matrices):
        raise ValueError(
            "recurrent_from_flax: expected the parameters of an LSTMCell, GRUCell or SimpleCell, a kernel in each "
            f"gate, got the names {', '.join(sorted(map(str, params))) or 'none'}"
        )
    inputs, hidden = (_join([found[side + gate] for gate in named[0]]) for side in "ih")
    biases = _biases(inputs["bias"], hidden["bias"], hidden["kernel"].shape[0], jnp.concatenate)
    return {"kernel": inputs["kernel"], "recurrent_kernel": hidden["kernel"], **biases}


def _gate(name: str) -> str:
    return name.rstrip("_").replace("dense_", "")


def _names(gates: Sequence[str]) -> set[str]:
    return {side + gate for side in "ih" for gate in gates}


def is_cell(names: Iterable[str]) -> bool:
    return set(map(_gate, names)) in map(_names, _FLAX_GATES.values())


def _join(entries: list[Any]) -> dict[str, Array]:
    """One kernel and bias from those of each gate."""
    kernels = [jnp.asarray(entry["kernel"]) for entry in entries]
    pairs = zip(entries, kernels, strict=True)
    biases = [jnp.asarray(entry.get("bias", jnp.zeros(kernel.shape[1], kernel.dtype))) for entry, kernel in pairs]
    return {"kernel": jnp.concatenate(kernels, axis=1), "bias": jnp.concatenate(biases)}


def recurrent_to_flax(params: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """The parameters of flax linen's `LSTMCell`, `GRUCell` or `SimpleCell` from those of `lstm`, `gru` or `rnn`.

    Args:
        params: of one plain layer (a GRU with reset after).

    Returns:
        The cell's parameters; `cell.apply({"params": …}, carry, x)` takes them.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> params, _ = fnn.lstm(4).init(jax.random.key(0), jnp.ones((1, 1, 3)))
        >>> sorted(fnn.interop.recurrent_to_flax(params))
        ['hf', 'hg', 'hi', 'ho', 'if', 'ig', 'ii', 'io']
    """
    kind = _kind("recurrent_to_flax", params, {"recurrent_bias"})
    gates = _FLAX_GATES[kind]
    columns = {name: jnp.split(params[name], len(gates), axis=-1) for name in ("kernel", "recurrent_kernel", "bias")}
    cell: dict[str, dict[str, Array]] = {}
    for place, gate in enumerate(gates):
        cell["i" + gate] = {"kernel": columns["kernel"][place]}
        cell["h" + gate] = {"kernel": columns["recurrent_kernel"][place]}
        # flax adds the LSTM's bias to the recurrent product, that of the others to the input's.
        cell[("h" if kind == "lstm" else "i") + gate]["bias"] = columns["bias"][place]
    if kind == "gru":
        cell["hn"]["bias"] = params["recurrent_bias"]
    return cell
