"""The layer protocol and the combinators. A layer is two pure functions; a model is a layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, ParamSpec, Protocol

import jax

from fnn import checks
from fnn.typing import Array, Key, PyTree

__all__ = [
    "Layer",
    "as_layer",
    "concatenate",
    "constructor",
    "map_layers",
    "parallel",
    "residual",
    "serial",
    "shared",
    "stateless",
]

P = ParamSpec("P")


class Init(Protocol):
    def __call__(self, key: Key, x: Any, /) -> tuple[PyTree, PyTree]: ...


class Apply(Protocol):
    def __call__(
        self, params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]: ...


class Layer(NamedTuple):
    """A layer: `init` makes its arrays, `apply` computes with them.

    - `init(key, x) -> (params, state)`: `x` is an array or a `jax.ShapeDtypeStruct`, batch axis included;
      only its shape and dtype are read.
    - `apply(params, state, x, *, key=None, train=False) -> (y, state)`: computes in the dtype of `x`.

    The other fields describe the layer and never change what it computes: `name` is the call that built it,
    `parts` are the layers inside it and `rebuild(parts)` makes the same combination of other parts.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> layer = fnn.dense(3)
        >>> x = jnp.ones((8, 2))
        >>> params, state = layer.init(jax.random.key(0), x)
        >>> y, state = layer.apply(params, state, x)
        >>> y.shape, layer
        ((8, 3), dense(3))
    """

    init: Init
    apply: Apply
    name: str = "layer"
    parts: tuple[Layer, ...] = ()
    rebuild: Callable[[tuple[Layer, ...]], Layer] | None = None

    def __repr__(self) -> str:
        if not self.parts:
            return self.name
        inside = "\n".join(f"  {i}: {part!r}".replace("\n", "\n  ") for i, part in enumerate(self.parts))
        return f"{self.name}\n{inside}"


def _argument_text(value: Any) -> str:
    if isinstance(value, Layer):
        return value.name
    if isinstance(value, (jax.Array, jax.core.Tracer)):
        return checks.describe(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)


def constructor(build: Callable[P, Layer]) -> Callable[P, Layer]:
    """Decorate a function that returns a `Layer` so that the layer is named by the call that built it.

    Example:
        >>> import fnn
        >>> @fnn.constructor
        ... def double(times=1):
        ...     return fnn.as_layer(lambda x: 2**times * x)
        >>> double(times=3)
        double(times=3)
    """

    @functools.wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> Layer:
        given = [_argument_text(v) for v in args] + [f"{k}={_argument_text(v)}" for k, v in kwargs.items()]
        return build(*args, **kwargs)._replace(name=f"{build.__name__}({', '.join(given)})")

    built.builds_a_layer = True  # type: ignore[attr-defined]
    return built


def stateless(init: Callable[[Key, Any], PyTree], apply: Callable[[PyTree, Any], Any]) -> Layer:
    """Lift two obvious functions to a `Layer`: `init(key, x) -> params` and `apply(params, x) -> y`.

    Args:
        init: makes the parameters from a key and the shape and dtype of `x`.
        apply: computes the output from the parameters and the input.

    Returns:
        A layer without state that behaves alike in training and inference.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> scale = fnn.stateless(lambda key, x: jnp.ones(x.shape[-1], x.dtype), lambda params, x: params * x)
        >>> params, state = scale.init(jax.random.key(0), jnp.ones((4, 2)))
        >>> scale.apply(params, state, jnp.ones((4, 2)))[0].shape
        (4, 2)
    """

    def init_both(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        return init(key, x), ()

    def apply_both(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        return apply(params, x), state

    return Layer(init_both, apply_both, getattr(apply, "__name__", "stateless"))


def as_layer(layer: Layer | Callable[[Any], Any]) -> Layer:
    """The layer itself, or a bare function of arrays as a layer without parameters.

    Raises:
        TypeError: if it is neither.

    Example:
        >>> import jax, fnn
        >>> fnn.as_layer(jax.numpy.tanh)
        tanh
    """
    if isinstance(layer, Layer):
        return layer
    if not callable(layer):
        raise TypeError(f"expected a layer or a function of arrays, got {type(layer).__name__} {layer!r}")
    if getattr(layer, "builds_a_layer", False):
        raise TypeError(f"expected a layer, got its constructor; write {layer.__name__}(...)")
    name: str = getattr(layer, "__name__", "") or getattr(getattr(layer, "func", None), "__name__", "function")
    return stateless(lambda key, x: (), lambda params, x: layer(x))._replace(name=name)


def _mirror(x: Any) -> Any:
    """The shapes and dtypes of `x`, so that building a model never computes with the data."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jax.numpy.shape(leaf), jax.numpy.result_type(leaf)), x)


def output_shape(layer: Layer, params: PyTree, state: PyTree, x: Any) -> Any:
    """Shape and dtype of what `layer` returns for `x`, without computing it."""
    return jax.eval_shape(lambda p, s, v: layer.apply(p, s, v)[0], params, state, x)


class _Place(NamedTuple):
    """Where an error comes from: the way down to the layer, the layer and its input, what the error itself says."""

    path: tuple[int, ...]
    layer: str
    came: str
    text: str

    def __str__(self) -> str:
        return f"layer {' > '.join(map(str, self.path))}, {self.layer}"


@contextmanager
def _located(place: int, layer: Layer, x: Any) -> Iterator[None]:
    """Say in any error which layer of a composed model it comes from, and what shape came in.

    The error is amended, not replaced: its kind and its traceback stay. A model inside a model puts its own place
    before the one that is there, "layer 0 > 2 > 1, dense(8): …".
    """
    try:
        yield
    except Exception as error:
        inner = getattr(error, "_place", None) or _Place((), layer.name, f" (input {checks.describe(x)})", str(error))
        _amend(error, inner._replace(path=(place, *inner.path)))
        raise


def _amend(error: Any, place: _Place) -> None:
    if type(error).__str__ is BaseException.__str__ and len(error.args) == 1:
        error.args = (f"{place}: {place.text}{place.came}",)
    else:  # a text that the kind of error makes from other parts (KeyError, OSError) is left to it
        notes = [note for note in getattr(error, "__notes__", ()) if note != getattr(error, "_note", None)]
        error._note = f"in {place}{place.came}"
        error.__notes__ = [*notes, error._note]
    error._place = place


def _split(key: Key | None, count: int) -> Any:
    """One key per layer. All come from one call, because each call is a tenth of a second to compile."""
    return [None] * count if key is None else jax.random.split(key, count)


def serial(*layers: Layer | Callable[[Any], Any]) -> Layer:
    """Layers one after another: $y = f_n(… f_2(f_1(x)))$.

    `params` and `state` are tuples with one entry per layer; `state` is () if no layer keeps any. Layer i gets the key
    `split(key, n)[i]`.

    Args:
        *layers: layers, or bare functions of arrays (`fnn.relu`).

    Returns:
        The composed layer.

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

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        built, x, keys = [], _mirror(x), _split(key, len(parts))
        for place, layer in enumerate(parts):
            with _located(place, layer, x):
                params, state = layer.init(keys[place], x)
                built.append((params, state))
                x = output_shape(layer, params, state, x)
        return tuple(p for p, _ in built), joined([s for _, s in built])

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        _same_length("serial", parts, params)
        states, keys = [], _split(key, len(parts))
        for place, (layer, p, s) in enumerate(zip(parts, params, states_of(parts, state), strict=True)):
            with _located(place, layer, x):
                x, s = layer.apply(p, s, x, key=keys[place], train=train)
            states.append(s)
        return x, joined(states)

    return Layer(init, apply, f"serial({len(parts)} layers)", parts, lambda new: serial(*new))


def joined(states: Sequence[PyTree]) -> PyTree:
    """The states of the parts; () where no part keeps any, because every call from Python pays for every node."""
    return () if all(_is_empty(state) for state in states) else tuple(states)


def _is_empty(state: PyTree) -> bool:
    return isinstance(state, tuple) and not state


def states_of(parts: tuple[Layer, ...], state: PyTree) -> PyTree:
    """One state for every part of a combination."""
    return ((),) * len(parts) if _is_empty(state) else state


def _same_length(where: str, parts: tuple[Layer, ...], params: PyTree) -> None:
    if not isinstance(params, tuple) or len(params) != len(parts):
        came = f"a tuple of {len(params)}" if isinstance(params, tuple) else type(params).__name__
        raise ValueError(f"{where}: expected the parameters of {len(parts)} layers, got {came}; use this model's init")


def parallel(*branches: Layer | Callable[[Any], Any], merge: Callable[[tuple[Any, ...]], Any] | None = None) -> Layer:
    """Layers side by side on the same input: $y = (f_1(x), …, f_n(x))$, or `merge` of that tuple.

    Args:
        *branches: layers or bare functions; `params` and `state` are tuples with one entry per branch.
        merge: tuple of outputs -> output; `sum` adds, `fnn.concatenate` joins along the last axis.
            None returns the tuple (several heads on one trunk).

    Returns:
        The composed layer.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> heads = fnn.parallel(fnn.dense(1), fnn.dense(4))
        >>> params, state = heads.init(jax.random.key(0), jnp.ones((8, 2)))
        >>> price, color = heads.apply(params, state, jnp.ones((8, 2)))[0]
        >>> price.shape, color.shape
        ((8, 1), (8, 4))
    """
    parts = tuple(as_layer(branch) for branch in branches)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        built, outputs, x, keys = [], [], _mirror(x), _split(key, len(parts))
        for place, layer in enumerate(parts):
            with _located(place, layer, x):
                params, state = layer.init(keys[place], x)
                built.append((params, state))
                outputs.append(output_shape(layer, params, state, x))
        if merge is not None:
            jax.eval_shape(merge, tuple(outputs))
        return tuple(p for p, _ in built), joined([s for _, s in built])

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        _same_length("parallel", parts, params)
        outputs, states, keys = [], [], _split(key, len(parts))
        for place, (layer, p, s) in enumerate(zip(parts, params, states_of(parts, state), strict=True)):
            with _located(place, layer, x):
                y, s = layer.apply(p, s, x, key=keys[place], train=train)
            outputs.append(y)
            states.append(s)
        y = tuple(outputs)
        return (y if merge is None else merge(y)), joined(states)

    return Layer(init, apply, f"parallel({len(parts)} branches)", parts, lambda new: parallel(*new, merge=merge))


def concatenate(outputs: tuple[Array, ...]) -> Array:
    """Join the outputs of `parallel` branches along the last axis (features, channels).

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> fnn.concatenate((jnp.ones((2, 3)), jnp.zeros((2, 1)))).shape
        (2, 4)
    """
    return jax.numpy.concatenate(outputs, axis=-1)


def _add(outputs: tuple[Array, Array]) -> Array:
    y, skip = outputs
    checks.same_shape("residual", "layer(x)", y, "shortcut(x)", skip)
    return y + skip


def residual(layer: Layer | Callable[[Any], Any], shortcut: Layer | Callable[[Any], Any] | None = None) -> Layer:
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
    both = parallel(layer, as_layer(_identity)._replace(name="identity") if shortcut is None else shortcut, merge=_add)
    return both._replace(name="residual", rebuild=lambda new: residual(*new))


def _identity(x: Any) -> Any:
    return x


def shared(layer: Layer, body: Callable[[Layer], Layer]) -> Layer:
    """One set of parameters used in several places (tied layers).

    `body(use)` builds a model in which `use` stands wherever the shared layer is wanted, as often as wanted.
    The gradient is the sum over all places.

    Args:
        layer: the layer to share; it may not keep state (a running mean has no single value in two places).
        body: layer -> layer.

    Returns:
        A layer with `params = {"shared": …, "body": …}`.

    Raises:
        ValueError: if `layer` keeps state, or `body` does not use it.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> tied = fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, fnn.tanh, use, fnn.tanh, fnn.dense(1)))
        >>> params, state = tied.init(jax.random.key(0), jnp.ones((8, 4)))
        >>> sorted(params), tied.apply(params, state, jnp.ones((8, 4)))[0].shape
        (['body', 'shared'], (8, 1))
    """
    layer = as_layer(layer)

    def used(params: PyTree) -> Layer:
        def apply(
            _: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
        ) -> tuple[Any, PyTree]:
            return layer.apply(params, (), x, key=key, train=train)

        return Layer(lambda key, x: ((), ()), apply, layer.name)

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        found: list[PyTree] = []

        def first_use(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
            if not found:
                params, state = layer.init(key, x)
                if jax.tree.leaves(state):
                    raise ValueError(f"shared: {layer.name} keeps state, which cannot be shared between places")
                found.append(params)
            return (), ()

        def first_apply(_: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
            return layer.apply(found[0], (), x, **options)

        params, state = body(Layer(first_use, first_apply, layer.name)).init(key, x)
        if not found:
            raise ValueError("shared: body(use) never uses the shared layer")
        return {"shared": found[0], "body": params}, state

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        return body(used(params["shared"])).apply(params["body"], state, x, key=key, train=train)

    return Layer(init, apply, f"shared({layer.name})")


def map_layers(function: Callable[[Layer], Layer], model: Layer) -> Layer:
    """The same model with `function(layer)` in the place of every elementary layer.

    Combinators (`serial`, `parallel`, `residual`, …) are rebuilt around the new layers, so parameters and
    state keep their structure if `function` keeps that of each layer. Summaries and diagnostics are built
    on it.

    Example:
        >>> import fnn
        >>> model = fnn.serial(fnn.dense(2), fnn.relu, fnn.residual(fnn.dense(2)))
        >>> names = []
        >>> _ = fnn.map_layers(lambda layer: names.append(layer.name) or layer, model)
        >>> names
        ['dense(2)', 'relu', 'dense(2)', 'identity']
    """
    if model.rebuild is None:
        return function(model)
    return model.rebuild(tuple(map_layers(function, part) for part in model.parts))
