"""Several devices: CPU cores as JAX devices, and meshes to shard a batch over; a cache of compiled programs.

On a CPU, XLA of jax 0.10 runs a convolution on one core (that of 0.12 on all). One JAX device per core and a batch
sharded over them use all cores:

    import fnn
    fnn.devices.use_cpu_cores()            # before anything is computed; or set JAX_NUM_CPU_DEVICES=2
    mesh = fnn.devices.data_mesh()
    trained, history = fnn.fit(model, optimizer, task, data, key=key, epochs=10, mesh=mesh)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh

from fnn import checks
from fnn.kernels import placement
from fnn.programs import disk

__all__ = ["cache_programs", "data_mesh", "use_cpu_cores"]

HIT = "/jax/compilation_cache/cache_hits"
"""What JAX tells its listeners when a program was read and not compiled."""


def use_cpu_cores(count: int | None = None) -> int:
    """Make every CPU core a JAX device, and say how many there are. Call it before anything is computed.

    The environment variable `JAX_NUM_CPU_DEVICES` does the same without a line of code.

    Args:
        count: devices; by default the cores this process may use.

    Raises:
        RuntimeError: if JAX has started with another number of devices.

    Example:
        >>> import fnn
        >>> devices = fnn.devices.use_cpu_cores  # call it first in the program: use_cpu_cores()
    """
    count = placement.cores() if count is None else checks.integer("use_cpu_cores", "count", count)
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        if len(jax.devices("cpu")) != count:
            raise RuntimeError(
                f"use_cpu_cores: JAX has started with {len(jax.devices('cpu'))} CPU devices; call use_cpu_cores first, "
                f"or set the environment variable JAX_NUM_CPU_DEVICES={count}"
            ) from error
    return count


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with one automatic axis, "batch", over which `trainer` and `fit` shard each batch.

    They take explicit axes too, `jax.make_mesh((n,), ("data",))`.

    Args:
        devices: by default all devices of JAX's default platform, of every process.

    Example:
        >>> import fnn
        >>> fnn.devices.data_mesh().axis_names
        ('batch',)
    """
    devices = jax.devices() if devices is None else list(devices)
    checks.at_least_one("data_mesh", "device", len(devices))
    return Mesh(np.asarray(devices), ("batch",))


def cache_programs(directory: str | Path | None = None) -> Path:
    """Keep programs on disk, so that the next process reads what this one traced and compiled. Write it first.

    Compiled programs stand in JAX's persistent cache, of any size, with a round trip of a small one: where an entry is
    not read back, as on some CPUs, a warning says so. Beside them, in "traced", stand the programs of `fit`, `trainer`,
    `predict`, `evaluate` and the searches as Python described them: where JAX has one device, by everything that
    decides what they compute, with the versions of all packages installed, fnn's files and JAX's settings. A function
    of yours that uses more than arithmetic packages (a clock, a file, the environment), or imports inside, is traced in
    every process.

    The directory may be deleted at any time, and grows until it is; as with JAX's own entries, whoever can write there
    decides what runs.

    Args:
        directory: by default that of `JAX_COMPILATION_CACHE_DIR`, or "fnn" among the caches of this user; returned.

    Example:
        >>> import fnn
        >>> keep = fnn.devices.cache_programs  # call it first in the program: cache_programs()
    """
    set_before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    place = Path(directory or set_before or _user_cache() / "fnn").expanduser().absolute()
    place.mkdir(parents=True, exist_ok=True)
    if not os.access(place, os.W_OK):
        raise PermissionError(f"cache_programs: expected a directory to write in, got {place}; give another")
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # what was compiled before has settled that there is none
    (place / "traced").mkdir(exist_ok=True)
    disk.use(place / "traced" if placement.devices() == 1 else None, f"{placement.cores()} cores")
    if not _round_trip():
        checks.warn(
            f"cache_programs: a program written to {place} was not read back, so each process compiles its own; this "
            "JAX refuses its entries on this CPU, or another process empties the directory"
        )
    return place


def _user_cache() -> Path:
    """Where programs of this system keep what can be made again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    own = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(own) if own else Path.home() / ".cache"


def _round_trip() -> bool:
    """Whether a program that was just compiled is read the second time."""
    hits: list[bool] = []

    def listen(event: str, **_: Any) -> None:
        hits.append(event == HIT)

    jax.monitoring.register_event_listener(listen)
    try:
        for _ in range(2):
            # A function of its own each time: JAX knows the other one already.
            jax.jit(lambda x: x * 3 + 1).lower(jax.ShapeDtypeStruct((3,), np.float32)).compile()
    finally:
        jax.monitoring.unregister_event_listener(listen)
    return any(hits)
