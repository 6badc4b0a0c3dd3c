"""Random bits of a key, the same as `jax.random.bits`, in one pass over memory.

On a CPU JAX goes through Threefry's twenty rounds in a loop of five, which reads and writes every word five times and
compiles to ten kernels. Written out they are one: 3.2 million words took 5 ms and not 36 to 48 (two cores, AVX-512),
their program half to a third of the time to compile. Where this JAX takes no generators, its own is used.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.typing import Array, Key, Shape

__all__ = ["in_one_pass"]

THREEFRY = "threefry2x32"
ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = 0x1BD11BDA


def in_one_pass(key: Key) -> Key:
    """A key for `jax.random`'s draws that gives the numbers of `key`; not to be handed on to functions of users.

    Keys of other generators, old ones of raw numbers and Threefry as it was before JAX 0.5 stay as they are.

    References:
        Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011.
    """
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and jax.random.key_impl(key) == THREEFRY
    options: Any = jax.config
    # Where keys used twice are looked for, a key made of the words of another would hide its uses.
    if not typed or not options.jax_threefry_partitionable or options.jax_debug_key_reuse:
        return key
    generator = _generator()
    return key if generator is None else jax.random.wrap_key_data(jax.random.key_data(key), impl=generator)


@functools.cache
def _generator() -> Any:
    """Threefry with its bits in one pass, for `jax.random`; None where there is no such thing."""
    try:
        from jax.extend.random import define_prng_impl

        return define_prng_impl(
            key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name=f"fnn_{THREEFRY}"
        )
    except (ImportError, TypeError):
        return None


def _words(key: Array, counts: Array) -> Array:
    """Threefry of the counts, both its words in one; the upper word of each count is 0."""
    schedule = key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY)
    x, y = jnp.broadcast_to(schedule[0], counts.shape), counts + schedule[1]
    for step in range(5):
        for distance in ROTATIONS[step % 2]:
            x = x + y
            y = x ^ (y << np.uint32(distance) | y >> np.uint32(32 - distance))
        x = x + schedule[(step + 1) % 3]
        y = y + schedule[(step + 2) % 3] + np.uint32(step + 1)
    return x ^ y


def _plain(key: Array) -> Key:
    return jax.random.wrap_key_data(key, impl=THREEFRY)


def _seed(seed: Array) -> Array:
    return jax.random.key_data(jax.random.key(seed, impl=THREEFRY))


def _split(key: Array, shape: Shape) -> Array:
    return jax.random.key_data(jax.random.split(_plain(key), shape))


def _fold_in(key: Array, data: Any) -> Array:
    return jax.random.key_data(jax.random.fold_in(_plain(key), data))


def _random_bits(key: Array, width: int, shape: Shape) -> Array:
    dtype: Any = jnp.dtype(f"uint{width}")
    if width == 64 or not all(isinstance(size, int) for size in shape) or math.prod(shape) >= 2**32:
        return jax.random.bits(_plain(key), shape, dtype)
    counts = jax.lax.iota(np.uint32, math.prod(shape)).reshape(shape)
    # Fused into what uses them the rounds are computed again for each use, and compile for twice as long.
    return jax.lax.optimization_barrier(_words(key, counts)).astype(dtype)
