"""The table of a model's layers, and tables of text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from fnn import checks
from fnn.kernels.convolution import winograd
from fnn.layer import Layer
from fnn.layer.arguments import example, mirror, params_and_state
from fnn.layer.protocol import require_no_module
from fnn.layer.watching import Call, watch
from fnn.typing import PyTree

__all__ = ["LayerRow", "Summary", "summary"]


class LayerRow(NamedTuple):
    """One elementary layer: name, output, parameters, their bytes and dtypes, bytes of the output, operations."""

    name: str
    output: str
    parameters: int
    bytes: int
    flops: int
    dtype: str = ""
    output_bytes: int = 0


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
        own, outputs = (sum(getattr(row, name) for row in self.rows) for name in ("bytes", "output_bytes"))
        total = LayerRow("total", "", self.parameters, own, self.flops, "", outputs)
        head = ("", "layer", "output", "dtype", "parameters", "memory", "of output", "FLOPs")
        body = [(str(place), *_cells(row)) for place, row in enumerate(self.rows)]
        return table([head], body, [("", *_cells(total))], left=4)


def summary(model: Layer, x: PyTree = None) -> Summary:
    """Table of a model's layers: outputs, parameters, memory, floating-point operations of one inference call.

    Nothing is computed: shapes are traced, operations are counted in the lowered program of each layer. The memory of
    outputs is what training keeps for the backward pass, as far as the compiler does not do without.

    Args:
        model: any layer.
        x: an input, a `jax.ShapeDtypeStruct`, or a shape (then float32), batch axis included.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> table = fnn.summary(fnn.serial(fnn.dense(3), fnn.relu), jnp.ones((1, 2)))
        >>> table.parameters, [row.output for row in table.rows]
        (9, ['float32[1,3]', 'float32[1,3]'])
    """
    require_no_module("summary", model, "a layer")
    checks.instance("summary", "model", model, Layer, "a layer", "write summary(model, x)")
    if x is None:
        raise TypeError(
            "summary: expected an input or its shape, batch axis first; write fnn.summary(model, (1, features))"
        )
    rows: list[LayerRow] = []
    met: set[tuple[int, ...]] = set()

    def see(call: Call) -> Any:
        row = _row(call)
        # One layer in several places has its parameters once.
        again = call.path in met
        met.add(call.path)
        rows.append(row._replace(parameters=0, bytes=0) if again else row)
        return call.y

    shapes = example(x)
    # The model is built as it is, so that building it adds no rows.
    params, state = jax.eval_shape(lambda: params_and_state(model.init(jax.random.key(0), shapes)))
    jax.eval_shape(lambda p, s, v: watch(model, p, s, see).apply(p, s, v)[0], params, state, shapes)
    return Summary(tuple(rows))


def _row(call: Call) -> LayerRow:
    like = mirror((call.params, call.state, call.x))
    with winograd.direct_form():
        cost = jax.jit(lambda p, s, v: call.layer.apply(p, s, v)[0]).lower(*like).cost_analysis() or {}
    leaves = jax.tree.leaves(like[0])
    outputs = call.y if not isinstance(call.y, tuple) else list(call.y)
    return LayerRow(
        call.layer.name,
        checks.describe(outputs),
        sum(math.prod(leaf.shape) for leaf in leaves),
        _bytes(leaves),
        int(cost.get("flops", 0)),
        " ".join(sorted({leaf.dtype.name for leaf in leaves})),
        _bytes(jax.tree.leaves(mirror(call.y))),
    )


def _cells(row: LayerRow) -> tuple[str, ...]:
    memory = of_bytes(row.bytes), of_bytes(row.output_bytes)
    return row.name, row.output, row.dtype, f"{row.parameters:,}", *memory, f"{row.flops:,}"


def _bytes(leaves: list[Any]) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def table(*blocks: Sequence[Sequence[str]], left: int) -> str:
    """Aligned columns, the first `left` to the left, with a rule between the blocks of lines."""
    widths = [max(map(len, column)) for column in zip(*itertools.chain(*blocks), strict=True)]
    ways = [str.ljust] * left + [str.rjust] * (len(widths) - left)

    def text(line: Sequence[str]) -> str:
        return "  ".join(way(cell, width) for way, cell, width in zip(ways, line, widths, strict=True)).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return f"\n{rule}\n".join("\n".join(map(text, lines)) for lines in blocks if lines)


def of_bytes(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
