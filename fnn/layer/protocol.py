"""The layer protocol. A layer is two pure functions; a model is a layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeAlias

import jax
from jax.export import register_namedtuple_serialization

from fnn import activations, checks
from fnn.layer.arguments import MISSING, mirror, require_apply, require_init
from fnn.layer.drawing import as_initializer
from fnn.layer.padded import step_by_step
from fnn.typing import Key, PyTree

__all__ = ["Facts", "Layer", "Penalty", "as_layer", "constructor", "stateless"]

P = ParamSpec("P")


class Init(Protocol):
    def __call__(self, key: Key, x: Any, /) -> tuple[PyTree, PyTree]: ...


class Apply(Protocol):
    def __call__(
        self, params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]: ...


class Facts(NamedTuple):
    """What a layer states of itself, for those who must know; it never changes what the layer computes.

    - `convolves`, `recurs`: it is a convolution, or a loop over time.
    - `random`: in training it draws (dropout, noise), its parts aside.
    - `ends_in`: "softmax", "log_softmax", "sigmoid" or "log_sigmoid", if its outputs come from there.
    - `linear`: at inference it is $W x + b$ over the last axis, with `kernel` $W$, its outputs last, and `bias` $b$ or
      none, under these keys of its parameters; () where they stand at the top.
    - `featurewise`: at inference it is a scale and a shift of each feature, the last axis of x.
    - `transposed`, `flipped`: of a convolution, that it is a transposed one, that its kernel is reversed.
    - `eps`: what a norm adds to the variance, if that is one known number.
    - `sequential`: its parts are applied one after another.
    - `places`: for each part, the keys of its parameters and those of its state within those of the whole, None for
      a part that keeps no state. Not needed where parameters and state are tuples with one entry per part.
    - `over_rows`: of a layer that computes over the batch, `over_rows(where) -> layer`: the same layer, to which only
      the rows count where the mask, (batch,), holds. A training step asks for it: rows of weight 0 are no rows.

    Example:
        >>> import fnn
        >>> fnn.lstm(3).facts.recurs, fnn.serial(fnn.dense(3), fnn.softmax).facts.ends_in
        (True, 'softmax')
    """

    convolves: bool = False
    recurs: bool = False
    random: bool = False
    ends_in: str | None = None
    linear: tuple[str, ...] | None = None
    featurewise: bool = False
    sequential: bool = False
    transposed: bool = False
    flipped: bool = False
    eps: float | None = None
    places: tuple[tuple[tuple[Any, ...], tuple[Any, ...] | None], ...] | None = None
    over_rows: Callable[[Any], Layer] | None = None


NOTHING = Facts()


class Penalty(NamedTuple):
    """A scalar in a layer's state that training adds to the loss, whatever stands around the layer.

    Example:
        >>> import fnn, jax.numpy as jnp
        >>> state = {"mean": jnp.zeros(3), "sparsity": fnn.Penalty(jnp.zeros(()))}
    """

    value: Any


register_namedtuple_serialization(Penalty, serialized_name="fnn.Penalty")


@checks.refuse_pickling(
    f"keep what was trained by fnn.save(path, trained), build the model {checks.BY_THE_SAME_CALL}, and write "
    "fnn.load(path, like=(model, x)); or write one program that runs without fnn, fnn.export"
)
class Layer(NamedTuple):
    """A layer: `init` makes its arrays, `apply` computes with them.

    - `init(key, x) -> (params, state)`: `x` is an array or a `jax.ShapeDtypeStruct`, batch axis included;
      only its shape and dtype are read.
    - `apply(params, state, x, *, key=None, train=False) -> (y, state)`: computes in the dtype of `x`.

    The other fields describe the layer and never change what it computes: `name` is the call that built it, for
    people; `parts` are the layers inside it and `rebuild(parts)` makes the same combination of other parts; `facts`
    are what others may rely on.

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
    facts: Facts = NOTHING

    def __repr__(self) -> str:
        inside = "\n".join(f"  {i}: {part!r}".replace("\n", "\n  ") for i, part in enumerate(self.parts))
        return f"{self.name}\n{inside}" if inside else self.name


def constructor(build: Callable[P, Layer]) -> Callable[P, Layer]:
    """Decorate a function that returns a `Layer` so that the layer is named by the call that built it.

    An argument annotated `Initializer` is required to be one when the layer is made, and to draw the shape that it is
    asked for when the layer is initialized; one annotated `bool` is required to be True or False, because "no" is true.

    Example:
        >>> import fnn
        >>> @fnn.constructor
        ... def double(times=1):
        ...     return fnn.as_layer(lambda x: 2**times * x)
        >>> double(times=3)
        double(times=3)
    """

    texts = {name: str(text) for name, text in build.__annotations__.items() if name != "return"}

    @functools.wraps(build)
    def construct(*args: P.args, **kwargs: P.kwargs) -> Layer:
        made_by, options = checks.call_text(build.__name__, args, kwargs), dict(kwargs)
        for name, given in kwargs.items():
            text = texts.get(name)
            if text == "Initializer" or (text == "Initializer | None" and given is not None):
                options[name] = as_initializer(build.__name__, name, given)
            elif text == "bool":
                checks.flags(build.__name__, **{name: given})
        return build(*args, **options)._replace(name=made_by)  # type: ignore[arg-type]

    construct.builds_a_layer = True  # type: ignore[attr-defined]
    return construct


def stateless(
    init: Callable[[Key, Any], PyTree], apply: Callable[[PyTree, Any], Any], *, facts: Facts = NOTHING
) -> Layer:
    """A `Layer` without state of two obvious functions: `init(key, x) -> params` and `apply(params, x) -> y`.

    Args:
        init: makes the parameters from a key and the shape and dtype of `x`.
        apply: computes the output from the parameters and the input.
        facts: what the layer states of itself.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> scale = fnn.stateless(lambda key, x: jnp.ones((1, x.shape[-1]), x.dtype), lambda params, x: params * x)
        >>> params, state = scale.init(jax.random.key(0), jnp.ones((4, 2)))
        >>> scale.apply(params, state, jnp.ones((4, 2)))[0].shape
        (4, 2)
    """
    checks.instance("stateless", "init", init, Callable, "a function (key, x) -> params")
    checks.instance("stateless", "apply", apply, Callable, "a function (params, x) -> y")
    checks.instance("stateless", "facts", facts, Facts, "fnn.Facts")

    def init_both(key: Key, x: Any = MISSING, /) -> tuple[PyTree, PyTree]:
        if x is MISSING:
            require_init(key, x)
        if _adapter_of(getattr(init, "__self__", None)) is not None:  # linen's init computes with its example
            x = jax.tree.map(lambda a: jax.numpy.zeros(a.shape, a.dtype), mirror(x))
        return init(key, x), ()

    def apply_both(
        params: PyTree, state: PyTree, x: Any = MISSING, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        require_apply(x)
        return apply(params, x), state

    return Layer(init_both, apply_both, getattr(apply, "__name__", "stateless"), facts=facts)


_ENDS = {
    function: end
    for end in ("softmax", "log_softmax", "sigmoid", "log_sigmoid")
    for function in (getattr(activations, end), getattr(jax.nn, end))
}
"""The functions themselves, ours and JAX's, that end in probabilities or their logarithms."""


_ACTIVATIONS = {
    getattr(home, name) for home in (activations, jax.nn) for name in activations.__all__ if hasattr(home, name)
}
"""Ours and JAX's: at every step alone, unless they are told of an axis."""


def _is_activation(function: Any) -> bool:
    while isinstance(function, functools.partial) and function.keywords.get("axis", -1) == -1:
        function = function.func
    return isinstance(function, Hashable) and function in _ACTIVATIONS


LayerLike: TypeAlias = Layer | Callable[[Any], Any]
"""A layer, or what `as_layer` makes one of."""

adapters: dict[str, Callable[[Any], Layer]] = {}
"""Package -> how a module of its classes becomes a layer. A room above this one, which knows the package, says so."""


def _adapter_of(given: Any) -> Callable[[Any], Layer] | None:
    packages = (base.__module__.partition(".")[0] for base in type(given).__mro__)
    return next((adapters[package] for package in packages if package in adapters), None)


def as_layer(layer: LayerLike) -> Layer:
    """The layer itself, a bare function of arrays as a layer without parameters, or a module of flax or equinox.

    Example:
        >>> import jax, fnn
        >>> fnn.as_layer(jax.numpy.tanh)
        tanh
    """
    if isinstance(layer, Layer):
        return layer
    if isinstance(layer, list | tuple):
        raise TypeError(f"expected layers one by one, got a {type(layer).__name__} of them; write serial(*layers)")
    if (adapter := _adapter_of(layer)) is not None:
        return adapter(layer)
    if not callable(layer):
        raise TypeError(f"expected a layer or a function of arrays, got {type(layer).__name__} {layer!r}")
    if getattr(maker := checks.bare(layer), "builds_a_layer", False):
        raise TypeError(f"expected a layer, got its constructor; write {maker.__name__}(...)")
    name: str = getattr(layer, "__name__", "") or getattr(getattr(layer, "func", None), "__name__", "function")
    # A function that cannot be hashed ends in none of these.
    facts = Facts(ends_in=_ENDS.get(maker)) if isinstance(maker, Hashable) else NOTHING
    made = stateless(lambda key, x: (), lambda params, x: layer(x), facts=facts)._replace(name=name)
    return step_by_step(name, made) if _is_activation(layer) else made


def require_layer(where: str, model: Any, words: str = "a layer") -> None:
    """Require a layer, and say how one is made of what came."""
    if _adapter_of(model) is not None:
        repair = "write fnn.as_layer(model)"
    elif getattr(maker := checks.bare(model), "builds_a_layer", False):
        repair = f"write {maker.__name__}(...)"
    elif isinstance(model, list | tuple) and not isinstance(model, Layer):
        repair = "write fnn.serial(*layers), and fnn.serial(*model.parts[:2]) for the first two layers of a model"
    else:
        repair = "write fnn.as_layer(function)" if callable(model) else ""
    checks.instance(where, "model", model, Layer, words, repair)


def require_no_module(where: str, model: Any, words: str) -> None:
    """Refuse a module of another library where a function may stand too: it can be called, and makes no layer."""
    if _adapter_of(model) is not None:
        require_layer(where, model, words)


def identity(x: Any) -> Any:
    """What came, whatever it is."""
    return x


IDENTITY = as_layer(identity)._replace(name="identity")
