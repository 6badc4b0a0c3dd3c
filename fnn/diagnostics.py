"""Looking into a model: the table of its layers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import checks
from fnn.layer import Layer
from fnn.layer.protocol import within
from fnn.typing import PyTree

__all__ = ["LayerRow", "Summary", "summary"]


class LayerRow(NamedTuple):
    """One elementary layer: name, output shape, parameters, bytes of parameters, floating-point operations."""

    name: str
    output: str
    parameters: int
    bytes: int
    flops: int


class Summary(NamedTuple):
    """The layers of a model; prints as a table."""

    rows: tuple[LayerRow, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    def __str__(self) -> str:
        head = ("", "layer", "output", "parameters", "bytes", "FLOPs")
        body = [
            (str(place), row.name, row.output, f"{row.parameters:,}", f"{row.bytes:,}", f"{row.flops:,}")
            for place, row in enumerate(self.rows)
        ]
        total = sum(row.bytes for row in self.rows)
        foot = ("", "total", "", f"{self.parameters:,}", f"{total:,}", f"{self.flops:,}")
        widths = [max(len(line[column]) for line in (head, *body, foot)) for column in range(6)]

        def text(line: tuple[str, ...]) -> str:
            cells = [
                cell.ljust(w) if i in (1, 2) else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ]
            return "  ".join(cells).rstrip()

        rule = "─" * len("  ".join("x" * w for w in widths))
        return "\n".join([text(head), rule, *map(text, body), rule, text(foot)])


def summary(model: Layer, x: Any = None) -> Summary:
    """Table of a model's layers: output shapes, parameters, floating-point operations of one inference call.

    Nothing is computed: shapes are traced, operations are counted in the lowered program of each layer.

    Args:
        model: any layer.
        x: an input, a `jax.ShapeDtypeStruct`, or a shape (then float32), batch axis included.

    Returns:
        A `Summary`; print it.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> table = fnn.summary(fnn.serial(fnn.dense(3), fnn.relu), jnp.ones((1, 2)))
        >>> table.parameters, [row.output for row in table.rows]
        (9, ['float32[1,3]', 'float32[1,3]'])
    """
    if x is None:
        raise TypeError(
            "summary: expected an input or its shape, batch axis first; write fnn.summary(model, (1, features))"
        )
    if isinstance(x, list | tuple) and x and all(isinstance(size, int) for size in x):
        x = jax.ShapeDtypeStruct(tuple(x), jnp.float32)
    rows: list[LayerRow] = []

    def watched(layer: Layer) -> Layer:
        again: list[bool] = []

        def apply(params: PyTree, state: PyTree, x: Any, /, **options: Any) -> tuple[Any, PyTree]:
            y, state = layer.apply(params, state, x, **options)
            row = _row(layer, params, state, x, y)
            # One layer in several places has its parameters once.
            rows.append(row._replace(parameters=0, bytes=0) if again else row)
            again.append(True)
            return y, state

        return layer._replace(apply=apply)

    def watched_within(layer: Layer, params: PyTree, state: PyTree) -> Layer:
        inside = within(layer, params, state)
        if layer.rebuild is None or inside is None:
            return layer if layer.rebuild is not None and not layer.parts else watched(layer)
        return layer.rebuild(tuple(watched_within(*part) for part in inside))

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x)
    # The model is built as it is, so that building it adds no rows.
    params, state = jax.eval_shape(lambda: model.init(jax.random.key(0), shapes))
    jax.eval_shape(lambda p, s, v: watched_within(model, p, s).apply(p, s, v)[0], params, state, shapes)
    return Summary(tuple(rows))


def _row(layer: Layer, params: PyTree, state: PyTree, x: Any, y: Any) -> LayerRow:
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, state, x))
    cost = jax.jit(lambda p, s, v: layer.apply(p, s, v)[0]).lower(*like).cost_analysis() or {}
    leaves = jax.tree.leaves(like[0])
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    outputs = y if not isinstance(y, tuple) else list(y)
    return LayerRow(
        layer.name,
        checks.describe(outputs),
        sum(math.prod(leaf.shape) for leaf in leaves),
        size,
        int(cost.get("flops", 0)),
    )
