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
from fnn.typing import Array, Key, PyTree, Shape

__all__ = ["depend_on", "fold_in", "in_one_pass", "split", "split_mapped"]

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


def split_mapped(key: Key, count: int) -> Key:
    """`split` of a key that a caller's `vmap` may trace: of many keys that are known nothing is compiled either."""
    return split(key, count) if checks.is_concrete(key) else _splitter(count)(key)


@functools.cache
def _splitter(count: int) -> Any:
    of_one = functools.partial(jax.random.split, num=count)
    splitter = jax.custom_batching.custom_vmap(of_one)

    @splitter.def_vmap
    def of_many(_: int, __: Any, keys: Key) -> tuple[Key, bool]:
        words = _words_at_hand(keys, 1)
        return (jax.vmap(of_one)(keys) if words is None else _derive(words, np.arange(count))), True

    return splitter


def fold_in(key: Key, number: Any) -> Key:
    """`jax.random.fold_in(key, number)`; of a key and a number that are known nothing is compiled."""
    # Numbers that 32 bits do not hold JAX itself refuses.
    words = _words_at_hand(key) if isinstance(number, (int, np.integer)) and 0 <= number < 2**32 else None
    return jax.random.fold_in(key, number) if words is None else _derive(words, np.asarray([number]))[0]


def depend_on(key: Key, tree: PyTree) -> PyTree:
    """The same numbers, as ones that depend on the key: what a loop carries that is different for every key.

    Of many runs under `vmap` the first steps make them differ. JAX finds that out by batching the body of each loop
    again for the numbers that turned out to; where they differ from the start it batches every body once.
    """
    either = jax.random.key_data(key).ravel()[0] == 0
    return jax.tree.map(lambda leaf: jax.lax.select(either, leaf, leaf), tree)


def _is_known(key: Key) -> bool:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and jax.random.key_impl(key) == THREEFRY
    options: Any = jax.config
    # Where keys used twice are looked for, a key made of the words of another would hide its uses.
    return typed and options.jax_threefry_partitionable and not options.jax_debug_key_reuse


def _words_at_hand(key: Key, rank: int = 0) -> Array | None:
    """The words of one key, or of many, that the host knows: inside `jit` also what is no argument becomes traced."""
    words = jax.random.key_data(key) if _is_known(key) and key.ndim == rank and checks.is_concrete(key) else None
    return words if words is not None and checks.is_concrete(words) and len(words.devices()) == 1 else None


def _derive(words: Array, numbers: np.ndarray) -> Key:
    derived = np.stack(_rounds(jax.device_get(words), numbers.astype(np.uint32)), -1)
    return jax.random.wrap_key_data(jax.device_put(derived, words.sharding if words.committed else None), impl=THREEFRY)


@functools.cache
def _generator() -> Any:
    """Threefry with its bits in one pass, for `jax.random`; None where there is no such thing."""
    try:
        return jax.extend.random.define_prng_impl(
            key_shape=(2,),
            name=f"fnn_{THREEFRY}",
            random_bits=_random_bits,
            seed=lambda seed: jax.random.key_data(jax.random.key(seed, impl=THREEFRY)),
            split=lambda key, shape: jax.random.key_data(jax.random.split(_plain(key), shape)),
            fold_in=lambda key, number: jax.random.key_data(jax.random.fold_in(_plain(key), number)),
        )
    except (AttributeError, TypeError):
        return None


def _rounds(key: Any, counts: Any) -> tuple[Any, Any]:
    """Threefry of the counts, which are the lower words, the upper ones are 0; of one key, or by NumPy of many."""
    first, second = key[..., :1], key[..., 1:]  # arrays, and no numbers: of those NumPy says when they overflow
    schedule = first, second, first ^ second ^ np.uint32(PARITY)
    four = _four_rounds if isinstance(counts, np.ndarray) else _four_rounds_once
    x, y = counts * np.uint32(0) + schedule[0], counts + schedule[1]
    for step in range(5):
        added = schedule[(step + 1) % 3], schedule[(step + 2) % 3] + np.uint32(step + 1)
        x, y = four(x, y, added, tuple(map(np.uint32, ROTATIONS[step % 2])))
    return x, y


def _four_rounds(x: Any, y: Any, added: tuple[Any, Any], distances: tuple[Any, ...]) -> tuple[Any, Any]:
    for distance in distances:
        x = x + y
        y = x ^ (y << distance | y >> np.uint32(32) - distance)
    return x + added[0], y + added[1]


# Traced and written into a program once for all calls of a shape; XLA writes them out.
_four_rounds_once, _rounds_once = jax.jit(_four_rounds), jax.jit(_rounds)


def _plain(key: Array) -> Key:
    return jax.random.wrap_key_data(key, impl=THREEFRY)


def _random_bits(key: Array, width: int, shape: Shape) -> Array:
    dtype: Any = jnp.dtype(f"uint{width}")
    if width == 64 or not all(isinstance(size, int) for size in shape) or math.prod(shape) >= 2**32:
        return jax.random.bits(_plain(key), shape, dtype)
    x, y = _rounds_once(key, jax.lax.iota(np.uint32, math.prod(shape)))
    # Fused into what uses them the rounds are computed again for each use, and compile for twice as long.
    return jax.lax.optimization_barrier(x ^ y).astype(dtype).reshape(shape)
