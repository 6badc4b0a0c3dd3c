"""A model whose elementary layers are watched while it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fnn.layer.arguments import output_and_state
from fnn.layer.parts import within
from fnn.layer.protocol import Layer
from fnn.typing import PyTree


class Call(NamedTuple):
    """One call of an elementary layer: the way down to it, the layer, what it was given, and what it returned."""

    path: tuple[int, ...]
    layer: Layer
    params: PyTree
    state: PyTree
    x: Any
    options: dict[str, Any]
    y: Any

    @property
    def name(self) -> str:
        """Place and name, as errors write them."""
        return f"{' > '.join(map(str, self.path))}, {self.layer.name}" if self.path else self.layer.name


def watch(model: Layer, params: PyTree, state: PyTree, see: Callable[[Call], Any]) -> Layer:
    """The same model, that tells `see` of every call and goes on with what it returns, `call.y` or another output.

    Args:
        model: any layer; a part that it hides is seen as a whole.
        params, state: the model's arrays, or their shapes.
        see: `see(call) -> y`. Inside a transformation of JAX the arrays are that transformation's tracers.
    """

    def visit(layer: Layer, params: PyTree, state: PyTree, path: tuple[int, ...]) -> Layer:
        inside = within(layer, params, state)
        if layer.rebuild is not None and not layer.parts:
            return layer  # where a shared layer stands
        if inside is None or layer.rebuild is None:
            return _report(layer, path, see)
        return layer.rebuild(tuple(visit(*part, (*path, place)) for place, part in enumerate(inside)))

    return visit(model, params, state, ())


def _report(layer: Layer, path: tuple[int, ...], see: Callable[[Call], Any]) -> Layer:
    def apply(params: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
        y, new_state = output_and_state(layer.apply(params, state, x, **options))
        return see(Call(path, layer, params, state, x, options, y)), new_state

    over_rows = layer.facts.over_rows
    own = over_rows and (lambda where: _report(over_rows(where)._replace(name=layer.name), path, see))
    return layer._replace(apply=apply, facts=layer.facts._replace(over_rows=own))


def elementary(
    model: Layer, params: PyTree, state: PyTree, path: tuple[int, ...] = ()
) -> list[tuple[tuple[int, ...], Layer, PyTree]]:
    """Place, layer and parameters of every elementary layer, in the order of the model's structure."""
    inside = within(model, params, state)
    if inside is None or model.rebuild is None:
        return [(path, model, params)]
    return [found for place, part in enumerate(inside) for found in elementary(*part, (*path, place))]
