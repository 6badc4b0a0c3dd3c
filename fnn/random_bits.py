"""Random bits and keys of a key, the same as JAX's, in one pass over memory.

On a CPU JAX goes through Threefry's twenty rounds in a loop of five, which reads and writes every word five times and
compiles to ten kernels. Written out they are one: 3.2 million words took 5 ms and not 36 to 48 (two cores, AVX-512),
their program half to a third of the time to compile. New keys of a key that is known compile nothing: they are computed
with NumPy. Where this JAX takes no generators, its own is used.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax

# Here and not where it is used: JAX 0.12 forgets all that it has traced when `jax.extend` is imported.
import jax.extend.random
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.typing import Array, Key, Shape

__all__ = ["fold_in", "in_one_pass", "split"]

THREEFRY = "threefry2x32"
ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = 0x1BD11BDA


def in_one_pass(key: Key) -> Key:
    """A key for `jax.random`'s draws that gives the numbers of `key`; not to be handed on to functions of users.

    Keys of other generators, old ones of raw numbers and Threefry as it was before JAX 0.5 stay as they are.

    References:
        Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011.
    """
    generator = _generator() if _is_known(key) else None
    return key if generator is None else jax.random.wrap_key_data(jax.random.key_data(key), impl=generator)


def split(key: Key, count: int = 2) -> Key:
    """`jax.random.split(key, count)`; of a key that is known nothing is compiled."""
    words = _words_at_hand(key)
    return jax.random.split(key, count) if words is None else _derive(words, np.arange(count))


def fold_in(key: Key, number: Any) -> Key:
    """`jax.random.fold_in(key, number)`; of a key and a number that are known nothing is compiled."""
    # Numbers that 32 bits do not hold JAX itself refuses.
    words = _words_at_hand(key) if isinstance(number, (int, np.integer)) and 0 <= number < 2**32 else None
    return jax.random.fold_in(key, number) if words is None else _derive(words, np.asarray([number]))[0]


def _is_known(key: Key) -> bool:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and jax.random.key_impl(key) == THREEFRY
    options: Any = jax.config
    # Where keys used twice are looked for, a key made of the words of another would hide its uses.
    return typed and options.jax_threefry_partitionable and not options.jax_debug_key_reuse


def _words_at_hand(key: Key) -> Array | None:
    """The words of one key that the host knows: inside `jit` also what is no argument becomes traced."""
    words = jax.random.key_data(key) if _is_known(key) and not key.ndim and checks.is_concrete(key) else None
    return words if words is not None and checks.is_concrete(words) and len(words.devices()) == 1 else None


def _derive(words: Array, numbers: np.ndarray) -> Key:
    derived = np.stack(_rounds(jax.device_get(words), numbers.astype(np.uint32)), -1)
    return jax.random.wrap_key_data(jax.device_put(derived, words.sharding if words.committed else None), impl=THREEFRY)


@functools.cache
def _generator() -> Any:
    """Threefry with its bits in one pass, for `jax.random`; None where there is no such thing."""
    try:
        return jax.extend.random.define_prng_impl(
            key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in, name=f"fnn_{THREEFRY}"
        )
    except (AttributeError, TypeError):
        return None


def _rounds(key: Any, counts: Any) -> tuple[Any, Any]:
    """Threefry of the counts, which are the lower words: the upper ones are 0."""
    first, second = key[:1], key[1:]  # arrays, and no numbers: of those NumPy says when they overflow
    schedule = first, second, first ^ second ^ np.uint32(PARITY)
    mix = _mix if isinstance(counts, np.ndarray) else _mix_traced
    x, y = counts * np.uint32(0) + schedule[0], counts + schedule[1]
    for step in range(5):
        x, y = mix(x, y, *(np.uint32(distance) for distance in ROTATIONS[step % 2]))
        x = x + schedule[(step + 1) % 3]
        y = y + schedule[(step + 2) % 3] + np.uint32(step + 1)
    return x, y


def _mix(x: Any, y: Any, *distances: Any) -> tuple[Any, Any]:
    for distance in distances:
        x = x + y
        y = x ^ (y << distance | y >> np.uint32(32) - distance)
    return x, y


_mix_traced = jax.jit(_mix)
"""Four rounds, traced and written into a program once for all calls of a shape; XLA writes them out."""


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
    x, y = _rounds(key, jax.lax.iota(np.uint32, math.prod(shape)))
    # Fused into what uses them the rounds are computed again for each use, and compile for twice as long.
    return jax.lax.optimization_barrier(x ^ y).astype(dtype).reshape(shape)
