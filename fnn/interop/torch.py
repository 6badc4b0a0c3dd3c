"""Weights of whole models from and to torch."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn.interop import matching
from fnn.interop.comparing import compare
from fnn.interop.matching import Library, Module, Slot, back, read
from fnn.interop.recurrent import arrays_of, for_torch, one_from_torch
from fnn.layer import Layer
from fnn.layer.parts import any_layer
from fnn.train.trained import Trained, as_trained

__all__ = ["from_torch", "to_torch"]


def from_torch(state_dict: Any, model: Layer, x: Any) -> Trained:
    """The parameters and state of a model from those of a torch module that computes the same.

    Kernels change from channels first to channels last; so do the rows of a dense layer after `flatten`, which torch
    counts channel by channel, and the columns of one before `reshape` to an image. In a residual block the body comes
    before the shortcut, as in torchvision.

    Not in the weights, and so to be written in the model: paddings (torch's `padding=1` is `padding=1`, not "SAME",
    where there is a stride), `batch_norm(decay=1 - momentum, unbiased=True)` to go on training as torch does, and
    `eps`. If the module itself is given, both are run once, and outputs that differ are warned of; a recurrent module
    that is not `batch_first` gets the input with time first.

    Args:
        state_dict: `module.state_dict()`, the same names with NumPy arrays, or the `torch.nn.Module` itself.
        model: the model in fnn.
        x: an input of the model, or its shape, channels last.

    Raises:
        ValueError: for a layer behind branches or a selection through which a flattened image comes: its order is not
            followed there.

    Example:
        >>> import numpy as np, fnn
        >>> weights = {"0.weight": np.ones((4, 3, 2, 2)), "0.bias": np.ones(4), "2.weight": np.ones((5, 4 * 36))}
        >>> model = fnn.serial(fnn.conv(4, 2), fnn.flatten(), fnn.dense(5, use_bias=False))
        >>> trained = fnn.interop.from_torch(weights, model, (1, 6, 6, 3))
        >>> trained.params[0]["kernel"].shape
        (2, 2, 3, 4)
    """
    trained = read("from_torch", _TORCH, _modules("from_torch", state_dict), model, x)
    if hasattr(state_dict, "eval"):
        images = any_layer(model, lambda facts: facts.convolves)
        compare("from_torch", model, trained, x, lambda x: _outputs(state_dict, x, images), _say_axes(state_dict))
    return trained


def _time_first(module: Any) -> bool:
    """Whether a recurrent module takes (time, rows, features), torch's default."""
    return not getattr(module, "batch_first", True)


def _say_axes(module: Any) -> str:
    """Parts that take time first, in a module that takes what its author decided."""
    found = [name for name, part in module.named_modules() if name and _time_first(part)]
    return f", batch_first, which is False in {', '.join(found)}: time comes first there" if found else ""


def _outputs(module: Any, x: np.ndarray, images: bool) -> np.ndarray:
    """What a torch module gives at inference for an input with channels last."""
    torch = sys.modules["torch"]
    modes = [(part, part.training) for part in module.modules()]  # one that is frozen stays so
    swap = images or x.ndim > 3
    time_first = _time_first(module) and x.ndim == 3
    x = np.swapaxes(x, 0, 1) if time_first else x
    first = np.ascontiguousarray(np.moveaxis(x, -1, 1) if swap and x.ndim > 2 else x)
    like = next(iter(module.parameters()), torch.zeros(()))
    given = torch.from_numpy(first.astype(np.float32) if first.dtype.kind not in "iub" else first)
    try:
        with torch.no_grad():
            y = module.eval()(given.to(like.device, like.dtype if given.is_floating_point() else given.dtype))
    finally:
        for part, training in modes:
            part.training = training
    y = (y[0] if isinstance(y, tuple) else y).float().cpu().numpy()
    y = np.swapaxes(y, 0, 1) if time_first else y
    return np.moveaxis(y, 1, -1) if swap and y.ndim > 2 else y


def to_torch(trained: Trained, model: Layer, x: Any, like: Any) -> dict[str, np.ndarray]:
    """The state dict of a torch module from the parameters and state of a model that computes the same.

    Args:
        trained: the model's `Trained(params, state)`.
        model: the model in fnn.
        x: an input of the model, or its shape, channels last.
        like: the torch module, or its `state_dict()`: names, shapes and order.

    Returns:
        Name -> NumPy array: `module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})`.
        Weights in bfloat16, which `torch.from_numpy` does not know, come as float32, and `load_state_dict` casts them.

    Example:
        >>> import jax, numpy as np, fnn
        >>> model = fnn.dense(5)
        >>> trained = fnn.Trained(*model.init(jax.random.key(0), np.ones((1, 3), np.float32)))
        >>> like = {"weight": np.zeros((5, 3)), "bias": np.zeros(5)}
        >>> {name: array.shape for name, array in fnn.interop.to_torch(trained, model, (1, 3), like).items()}
        {'weight': (5, 3), 'bias': (5,)}
    """
    found = back("to_torch", _TORCH, _modules("to_torch", like), as_trained("to_torch", trained), model, x)
    given = arrays_of("to_torch", like)
    first = _first(given)
    return for_torch({name: found.get(name, found.get(first[name], array)) for name, array in given.items()})


def _first(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The name under which each array came first: one weight in two places (tied) has two names."""
    names: dict[Any, str] = {}
    return {
        name: names.setdefault((array.__array_interface__["data"], array.shape) if array.size else name, name)
        for name, array in arrays.items()
    }


def _modules(where: str, given: Any) -> list[Module]:
    """The modules that have arrays, in the order of their names; a recurrent one as its layers and directions."""
    grouped: dict[str, dict[str, str]] = {}
    arrays = arrays_of(where, given)
    first = _first(arrays)
    for key in arrays:
        _refuse_spectral_norm(key)
        prefix, own = _split(key)
        layer = re.fullmatch(r"(?:weight|bias)_(?:ih|hh|hr)(_l\d+(?:_reverse)?)", own)
        grouped.setdefault(prefix + (layer[1] if layer else ""), {})[own] = key
    parts = given.named_modules() if hasattr(given, "named_modules") else ()
    eps = {name: _eps(one) for name, one in parts}
    modules = []
    for name, keys in grouped.items():
        inside = {own: arrays[key] for own, key in keys.items()}
        if any(first[key] == key for own, key in keys.items() if own not in _IGNORED):
            modules.append(Module(name, _kind(inside), inside, keys, eps.get(name)))
    return modules


def _refuse_spectral_norm(key: str) -> None:
    """torch divides by a singular value of two vectors, fnn of one: their outputs are equal where both have settled."""
    if found := re.fullmatch(r"(?:(.*)\.)?(?:parametrizations\.weight\.0\._u|weight_u)", key):
        raise ValueError(
            f"from_torch: {found[1] or 'the module'} has a spectral norm, whose vectors fnn has no place for; "
            "write torch.nn.utils.parametrize.remove_parametrizations(module, 'weight'), of the older kind "
            "torch.nn.utils.remove_spectral_norm(module), and give fnn the layer without its norm"
        )


def _eps(part: Any) -> float | None:
    """What a norm adds to the variance; None, of torch's RMS norm, is the smallest step of its dtype above 1."""
    if not hasattr(part, "eps") or part.eps is not None or getattr(part, "weight", None) is None:
        return getattr(part, "eps", None)
    return float(sys.modules["torch"].finfo(part.weight.dtype).eps)


def _split(key: str) -> tuple[str, str]:
    """Module and name of an array; those of torch's weight norm, old and new, are `weight` and `weight_g`."""
    found = re.fullmatch(r"(?:(.*)\.)?(?:parametrizations\.weight\.original([01])|weight_([gv]))", key)
    if found:
        return found[1] or "", "weight_g" if found[2] == "0" or found[3] == "g" else "weight"
    prefix, _, own = key.rpartition(".")
    return prefix, own


def _kind(arrays: Mapping[str, np.ndarray]) -> matching.ModuleKind:
    if any(name.startswith("weight_ih") for name in arrays):
        return matching.RECURRENT
    if "running_mean" in arrays:
        return matching.STATISTICS
    rank = arrays["weight"].ndim if "weight" in arrays else 1
    if "bias" in arrays and arrays["bias"].ndim == rank:  # a norm over several axes has a bias of as many
        return matching.VECTOR
    return {1: matching.VECTOR, 2: matching.MATRIX}.get(rank, matching.CONVOLUTION)


def _arrange(slot: Slot, name: str, array: np.ndarray) -> np.ndarray:
    """A weight as fnn has it: channels last, and features in the order of an image with channels last."""
    if name == "kernel" and array.ndim > 2:
        return _convolution(slot, array)
    if name == "kernel_scale" and array.size in (1, *array.shape[slot.transposed :][:1]):  # one length for each output
        array = array.reshape(-1)
    if array.size == 1 and np.shape(slot.params.get(name, array)) == ():  # the one slope of a PReLU
        return array.reshape(())
    rows, columns, lost = slot.order
    if lost:
        raise ValueError(
            f"{slot.text}: its inputs, or the outputs after it, are entries of an image that was flattened before "
            "branches or a selection, behind which torch has them in another order; flatten behind these"
        )
    if name == "kernel" and array.ndim == 2:
        return _reorder(_reorder(array.T, 0, rows), 1, columns)
    if array.ndim != 1:  # a norm over all axes of an image; of an embedding nothing changes
        return np.moveaxis(array, 0, -1) if name in ("scale", "bias") and array.ndim > 2 else array
    # The bias of a kernel has the order of what comes out; a norm has one order, before and after.
    return _reorder(array, 0, columns if "kernel" in slot.params else rows or columns)


def _reorder(array: np.ndarray, axis: int, shape: tuple[int, ...] | None) -> np.ndarray:
    """Features that torch counts channel by channel, counted position by position."""
    if shape is None or array.shape[axis] != np.prod(shape):
        return array
    first = np.arange(array.shape[axis]).reshape(shape[-1], *shape[:-1])
    return np.take(array, np.moveaxis(first, 0, -1).ravel(), axis)


def _convolution(slot: Slot, weight: np.ndarray) -> np.ndarray:
    """(out, in / groups, *window) of a convolution, (in, out / groups, *window) of a transposed one."""
    if slot.transposed:
        inputs = slot.params["kernel"].shape[-2]
        groups = max(weight.shape[0] // inputs, 1)
        if weight.shape[0] != groups * inputs:
            return weight
        parts = weight.reshape(groups, inputs, *weight.shape[1:])  # (groups, in / groups, out / groups, *window)
        weight = np.moveaxis(parts, 1, 2).reshape(-1, inputs, *weight.shape[2:])
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    return np.flip(kernel, tuple(range(kernel.ndim - 2))) if slot.flipped else kernel


_IGNORED = frozenset({"num_batches_tracked"})
_TORCH = Library(
    "torch",
    {
        "kernel": "weight", "embedding": "weight", "scale": "weight", "alpha": "weight", "kernel_scale": "weight_g",
        "mean": "running_mean", "var": "running_var",
    },
    _arrange,
    lambda module: one_from_torch("from_torch", module.arrays, next(iter(module.arrays)).split("_", 2)[2]),
    # Without a bias it is an RMS norm, or a layer norm that was asked to have none.
    lambda module: (1e-5,) if "bias" in module.arrays else (1e-5, float(np.finfo(np.float32).eps)),
    _IGNORED,
)  # fmt: skip
