"""Layers put together: one after another, side by side, with a way around."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from fnn import checks
from fnn.layer.arguments import MISSING, mirror, output_and_state, params_and_state, require_apply, require_init
from fnn.layer.naming import locate_errors
from fnn.layer.padded import Padded, values_and_lengths, with_lengths_of
from fnn.layer.parts import join_states, output_shape, states_of
from fnn.layer.protocol import IDENTITY, Apply, Facts, Init, Layer, LayerLike, as_layer
from fnn.random_bits import split
from fnn.typing import Key, PyTree

__all__ = ["concatenate", "parallel", "residual", "serial"]

Merge: TypeAlias = Callable[[tuple[Any, ...]], Any]
MERGE = "a function of the tuple of outputs"


def _split(key: Key | None, count: int) -> Any:
    """One key per layer. All come from one call, because each of a traced key is a twentieth of a second to compile."""
    return [None] * count if key is None else split(key, count)


def _combine(where: str, parts: tuple[Layer, ...], chained: bool, merge: Merge | None = None) -> tuple[Init, Apply]:
    """`init` and `apply` of layers one after another, or side by side, their outputs merged."""

    def init(key: Key, x: Any = MISSING, /) -> tuple[PyTree, PyTree]:
        require_init(key, x)
        built, outputs, x, keys = [], [], mirror(x), _split(key, len(parts))
        for place, layer in enumerate(parts):
            with locate_errors(place, layer, x):
                params, state = params_and_state(layer.init(keys[place], x))
                built.append((params, state))
                outputs.append(output_shape(layer, params, state, x))
            x = outputs[-1] if chained else x
        if merge is not None:
            jax.eval_shape(merge, tuple(outputs))
        return tuple(p for p, _ in built), join_states([s for _, s in built])

    def apply(
        params: PyTree, state: PyTree, x: Any = MISSING, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        require_apply(x)
        same_length(where, parts, params)
        outputs: list[Any] = []
        states, keys = [], _split(key, len(parts))
        for place, (layer, p, s) in enumerate(zip(parts, params, states_of(parts, state), strict=True)):
            with locate_errors(place, layer, x):
                y, s = output_and_state(layer.apply(p, s, x, key=keys[place], train=train))
            x, outputs = (y, []) if chained else (x, [*outputs, y])
            states.append(s)
        y = x if chained else tuple(outputs)
        return (y if merge is None else merge(y)), join_states(states)

    return init, apply


def serial(*layers: LayerLike) -> Layer:
    """Layers one after another: $y = f_n(… f_2(f_1(x)))$.

    `params` and `state` are tuples with one entry per layer; `state` is () if no layer keeps any. Layer i gets the key
    `split(key, n)[i]`.

    Args:
        *layers: layers, or bare functions of arrays (`fnn.relu`).

    Raises:
        ValueError, TypeError: at `init`, naming the layer by its place and kind, and the shape that came.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.serial(fnn.dense(16), fnn.relu, fnn.dense(10))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 4)))
        >>> model.apply(params, state, jnp.ones((8, 4)))[0].shape
        (8, 10)
    """
    parts = tuple(as_layer(layer) for layer in layers)

    init, apply = _combine("serial", parts, chained=True)
    facts = Facts(ends_in=parts[-1].facts.ends_in if parts else None, sequential=True)
    return Layer(init, apply, f"serial({len(parts)} layers)", parts, lambda new: serial(*new), facts)


def same_length(where: str, parts: tuple[Layer, ...], params: PyTree) -> None:
    if not isinstance(params, tuple) or len(params) != len(parts):
        came = f"a tuple of {len(params)}" if isinstance(params, tuple) else type(params).__name__
        raise ValueError(f"{where}: expected the parameters of {len(parts)} layers, got {came}; use this model's init")


def parallel(*branches: LayerLike, merge: Merge | None = None) -> Layer:
    """Layers side by side on the same input: $y = (f_1(x), …, f_n(x))$, or `merge` of that tuple.

    Args:
        *branches: layers or bare functions; `params` and `state` are tuples with one entry per branch.
        merge: tuple of outputs -> output; `sum` adds, `fnn.concatenate` joins along the last axis.
            None returns the tuple (several heads on one trunk).

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> heads = fnn.parallel(fnn.dense(1), fnn.dense(4))
        >>> params, state = heads.init(jax.random.key(0), jnp.ones((8, 2)))
        >>> price, color = heads.apply(params, state, jnp.ones((8, 2)))[0]
        >>> price.shape, color.shape
        ((8, 1), (8, 4))
    """
    if merge is not None:
        checks.instance("parallel", "merge", merge, Callable, MERGE, "write fnn.concatenate")
    parts = tuple(as_layer(branch) for branch in branches)

    init, apply = _combine("parallel", parts, chained=False, merge=merge)
    return Layer(init, apply, f"parallel({len(parts)} branches)", parts, lambda new: parallel(*new, merge=merge))


def concatenate(outputs: tuple[Any, ...]) -> Any:
    """Join the outputs of `parallel` branches along the last axis (features, channels).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.concatenate((jnp.ones((2, 3)), jnp.zeros((2, 1)))).shape
        (2, 4)
    """
    if all(isinstance(output, Padded) for output in outputs):
        return with_lengths_of(outputs[0], concatenate(tuple(values_and_lengths(output)[0] for output in outputs)))
    return jax.numpy.concatenate(outputs, axis=-1)


def _add(outputs: tuple[Any, Any]) -> Any:
    y, skip = outputs
    if isinstance(y, Padded) and isinstance(skip, Padded):
        return with_lengths_of(y, _add((y.values, skip.values)))
    checks.same_shape("residual", "layer(x)", y, "shortcut(x)", skip)
    return y + skip


def residual(layer: LayerLike, shortcut: LayerLike | None = None) -> Layer:
    """A layer with a way around it: $y = f(x) + s(x)$, with $s(x) = x$ unless `shortcut` is given.

    Args:
        layer: $f$.
        shortcut: $s$, a projection where `layer` changes the shape.

    Raises:
        ValueError: at `init`, if $f(x)$ and $s(x)$ differ in shape; nothing is broadcast.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> block = fnn.residual(fnn.serial(fnn.dense(4), fnn.relu))
        >>> params, state = block.init(jax.random.key(0), jnp.ones((8, 4)))
        >>> block.apply(params, state, jnp.ones((8, 4)))[0].shape
        (8, 4)

    References:
        He et al., Deep Residual Learning for Image Recognition, 2016.
    """
    both = parallel(layer, IDENTITY if shortcut is None else shortcut, merge=_add)
    return both._replace(name="residual", rebuild=lambda new: residual(*new))
