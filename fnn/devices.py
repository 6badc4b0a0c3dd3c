"""Several devices: CPU cores as JAX devices, and meshes to shard a batch over.

On a CPU, XLA runs a convolution on one core. One JAX device per core and a batch sharded over them use all cores:

    import fnn
    fnn.devices.use_cpu_cores()            # before anything is computed; or set JAX_NUM_CPU_DEVICES=2
    mesh = fnn.devices.data_mesh()
    trained, history = fnn.fit(model, optimizer, task, data, key=key, epochs=10, mesh=mesh)
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from fnn import checks
from fnn.kernels import placement

__all__ = ["data_mesh", "use_cpu_cores"]


def use_cpu_cores(count: int | None = None) -> int:
    """Make every CPU core a JAX device. Call it before anything is computed.

    The environment variable `JAX_NUM_CPU_DEVICES` does the same without a line of code.

    Args:
        count: devices; by default the cores this process may use.

    Returns:
        The number of devices.

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

    Returns:
        A `jax.sharding.Mesh`.

    Example:
        >>> import fnn
        >>> fnn.devices.data_mesh().axis_names
        ('batch',)
    """
    devices = jax.devices() if devices is None else list(devices)
    if not devices:
        raise ValueError("data_mesh: expected at least one device, got none")
    return Mesh(np.asarray(devices), ("batch",))
