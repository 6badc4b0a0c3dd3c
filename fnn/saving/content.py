"""What a file of fnn holds: named arrays, a description in JSON, and a digest of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.files import write_whole

NamedArrays = dict[str, np.ndarray]
HEADER_BYTES = 2**24
"""Names, shapes and metadata of a file; a hundred thousand arrays take less."""

_DTYPES = {
    "BOOL": "bool", "BF16": "bfloat16", "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    **{f"{kind[0].upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
}  # fmt: skip


def canonical(where: str, name: str, leaf: Any) -> Any:
    """A number or NumPy array of the host in the dtype in which JAX computes with it; one that does not fit is named,
    and one that loses digits. `jnp.asarray` would let integers wrap around.
    """
    if hasattr(leaf, "dtype") and not isinstance(leaf, np.ndarray | np.generic):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind not in "iuf":
        return array
    written = checks.host_cast(where, name, leaf, array)
    if isinstance(leaf, np.ndarray) and array.dtype.kind == "f" and not np.array_equal(written, array, equal_nan=True):
        checks.warn(
            f"{where}: {name} is {array.dtype} and is written as {written.dtype}, in which JAX computes with it; write "
            f".astype(numpy.{written.dtype}), or {checks.IN_FLOAT64} to keep its digits",
            UserWarning,
        )
    return written


def storable(name: str, leaf: Any) -> np.ndarray:
    """An array of the model on the host, in a dtype that the format has."""
    array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    if not checks.is_concrete(array):
        raise TypeError(f"save: {name} is traced; call save outside of jit, vmap and grad")
    if str(array.dtype) not in _DTYPES.values():
        raise TypeError(
            f"save: {name} is {checks.describe(array)}, and safetensors has no {array.dtype}; cast it first"
        )
    return np.asarray(array, order="C")


def write(path: str | Path, arrays: NamedArrays, about: dict[str, Any]) -> None:
    """One safetensors file; of several processes the first writes it."""
    text = json.dumps(about)
    save = checks.package("safetensors.numpy", "fnn.save", "safetensors", "save").save
    content = b"" if len(text) > HEADER_BYTES else save(arrays, metadata={"fnn": text, "digest": _digest(text, arrays)})
    if (size := int.from_bytes(content[:8], "little") or len(text)) > HEADER_BYTES:
        raise ValueError(
            f"save: names of arrays and classes, notes and the description take {size:,} bytes, and fnn.load reads at "
            f"most {HEADER_BYTES:,}; keep what is long in a file of its own"
        )
    if jax.process_index() == 0:
        write_whole(path, lambda file: file.writelines(_sort_metadata(content)))


def _sort_metadata(content: bytes) -> tuple[bytes, memoryview]:
    """The head of a safetensors file, and its arrays; the library gives metadata another order in each process."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, memoryview(content)[end:]


def read(path: Path) -> tuple[NamedArrays, dict[str, Any]]:
    """The arrays and the description of a file that is as it was written."""
    deserialize = checks.package("safetensors", "fnn.load", "safetensors", "save").deserialize
    if path.is_dir():
        raise IsADirectoryError(
            f"load: {path} is a directory; fnn.load(directory, like=) reads the checkpoints of a run"
        )
    with path.open("rb") as file:  # another kind of file may be too large to be read
        start = file.read(8)
        if start.startswith(b"PK"):
            raise ValueError(
                f"load: {path} is a NumPy archive; of a run's checkpoints give the directory, {path.parent}, and read "
                "others by numpy.load"
            )
        size = int.from_bytes(start, "little")
        if size > HEADER_BYTES:
            why = f"its first 8 bytes announce a header of {size:,} bytes, and fnn.save writes at most {HEADER_BYTES:,}"
            raise checks.not_readable("load", path, "safetensors file", why)
        file.seek(0)
        content = file.read()
    try:
        header = json.loads(content[8 : 8 + size])
        said = header.get("__metadata__", {})
        found = deserialize(content)
        arrays = {
            name: np.frombuffer(part["data"], jnp.dtype(_DTYPES[part["dtype"]])).reshape(part["shape"])
            for name, part in found
        }
    except Exception as error:  # whatever a damaged file makes of its reader
        raise checks.not_readable("load", path, "safetensors file", error) from error
    if "fnn" not in said or "digest" not in said:
        why = f"it holds {len(arrays)} arrays and no description of fnn's; read it by safetensors.numpy.load_file, and "
        raise checks.not_written_by("load", path, "fnn.save", why + "for weights of torch or flax see fnn.interop")
    if _digest(said["fnn"], arrays) != said["digest"]:
        raise checks.not_as_written("load", path)
    return arrays, json.loads(said["fnn"])


def _digest(text: str, arrays: NamedArrays) -> str:
    """Of the description, and of every array its name, dtype, shape and bytes."""
    found = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(arrays):
        found.update(f"\0{name}\0{arrays[name].dtype}\0{arrays[name].shape}\0".encode())
        found.update(np.ascontiguousarray(arrays[name]).view(np.uint8).data if arrays[name].size else b"")
    return found.hexdigest()
