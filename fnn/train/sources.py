"""Where the batches of a driven run come from: arrays in memory, or a stream that is read ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.data.statistics import columns_of_parts
from fnn.layer import Padded
from fnn.layer.protocol import identity
from fnn.programs import compile as compiled
from fnn.train import rows as rows_
from fnn.train.epochs import order_of, sizes
from fnn.train.inputs import Inputs, check_run
from fnn.train.loop import EVALUATION_ROWS, Recipe, evaluation_model, keys_of
from fnn.train.memory_maps import MappedFiles, is_mapped, map_files, require_same_kinds, without_inputs
from fnn.train.options import Options
from fnn.train.sharding import check_mesh
from fnn.train.stream import Stream, is_stream, length, refuse_what_belongs_to_arrays, stream_of
from fnn.train.stream_outputs import Application, Scoring
from fnn.train.stream_run import Reading, Source
from fnn.typing import Key


def source_of(
    recipe: Recipe, epochs: int, key: Key, data: Any, rows: Any, validation: Any, interrupted: Callable[[], bool]
) -> Source:
    """Arrays, a stream or memory maps, each with a validation of any kind."""
    checks.require_host("fit", key, data, rows, validation)
    require_same_kinds("fit", recipe.mesh, data=data, validation=validation)
    held = _scoring_of(recipe, epochs, validation)
    validation = validation if held is None else None
    if is_stream(data):
        checked = _check_stream(recipe, data, rows, validation)
        columns = None if checked is None else columns_of_parts("the validation", validation)
        stream = stream_of("fit", data, recipe.task, epochs)._replace(columns=columns)
        return Reading(recipe, key, stream, length(data), checked, held, interrupted)
    if is_mapped(data):
        return _of_files(recipe, key, data, rows, validation, held, interrupted)
    checks.parts_of_data("fit", data, "data ", Padded)
    if held is not None:
        held.feed.reader.columns = columns_of_parts("the data", data)
    data = (rows_.lend(data[0]), *data[1:])  # all is over when `fit` returns
    inputs = check_run("fit", recipe.task, data, rows, validation, key)
    size, steps = sizes(recipe.options.batch_size, inputs.slots)
    check_mesh("fit", recipe.mesh, size)
    return Source(recipe, key, inputs, steps, held)


def _scoring_of(recipe: Recipe, epochs: int, validation: Any) -> Scoring | None:
    """A validation that is read."""
    if is_stream(validation):
        return _scoring(recipe, stream_of("fit, validation", validation, recipe.task, epochs))
    if not is_mapped(validation):
        return None
    checked = rows_.check_data("fit, validation", without_inputs("fit, validation", validation), recipe.task)
    return _scoring_files(recipe, map_files(validation, checked), np.arange(len(checked[1])))


def _scoring(recipe: Recipe, stream: Stream, beside: str = "") -> Scoring:
    applied = Application("fit, validation", evaluation_model(recipe), identity, recipe.mesh)
    return Scoring(applied, recipe.task, stream, beside)


def _scoring_files(recipe: Recipe, files: MappedFiles, rows: np.ndarray) -> Scoring:
    stream = files.stream("fit, validation", lambda epoch: rows, EVALUATION_ROWS, recipe.mesh)
    return _scoring(recipe, stream, files.describe(rows))


def _check_stream(recipe: Recipe, data: Any, rows: Any, validation: Any) -> Any:
    """What is given with a stream; the validation as arrays."""
    refuse_what_belongs_to_arrays("fit", recipe.options.batch_size, Options(1).batch_size, rows)
    check_mesh("fit", recipe.mesh)
    if validation is None:
        return None
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        raise ValueError(
            f"fit: of a stream no rows can be held out, got validation={checks.describe(validation)}; "
            "give another stream, or arrays (x, targets)"
        )
    return rows_.check_data("fit, validation", validation, recipe.task)


def _of_files(
    recipe: Recipe, key: Key, data: Any, rows: Any, validation: Any, held: Scoring | None,
    interrupted: Callable[[], bool],
) -> Source:  # fmt: skip
    """Memory maps: in the order that arrays have, so that the numbers are theirs."""
    inputs = check_run("fit", recipe.task, without_inputs("fit", data), rows, validation, key)
    files, chosen = map_files(data, inputs.data), np.asarray(inputs.training_rows())
    chosen = chosen[chosen >= 0]
    size, steps = sizes(recipe.options.batch_size, len(chosen))
    check_mesh("fit", recipe.mesh, size)
    validation = inputs.validation
    if inputs.validation_rows is not None:
        kept = np.asarray(inputs.validation_rows)
        held, validation = _scoring_files(recipe, files.with_weights(), kept[kept >= 0]), None
    order, keys = compiled(order_of, recipe.options.shuffle), keys_of(key)

    def rows_of(epoch: int) -> np.ndarray:
        inputs = Inputs(((), (), None), chosen, None, None)  # type: ignore[arg-type]
        return np.asarray(order(keys, inputs, jnp.asarray(epoch)).rows)

    stream, beside = files.stream("fit", rows_of, size, recipe.mesh), f"{files.describe(chosen)} in batches of {size}"
    return Reading(recipe, key, stream, steps, validation, held, interrupted, beside)
