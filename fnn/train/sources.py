"""Where the batches of a driven run come from: arrays in memory, or a stream that is read ahead."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.kernels import placement
from fnn.layer import Padded
from fnn.layer.protocol import identity
from fnn.programs import compile as compiled
from fnn.random_bits import in_one_pass
from fnn.train import rows as rows_
from fnn.train.checkpoint import Record
from fnn.train.divergence import explain
from fnn.train.drive import Take
from fnn.train.epochs import Order, order_of, sizes, take_steps_of_epoch
from fnn.train.feeding import Feed
from fnn.train.identity import describe_data
from fnn.train.inputs import Inputs, check_run
from fnn.train.loop import EVALUATION_ROWS, Carry, Keys, Recipe, evaluation_model, keys_of
from fnn.train.memory_maps import MappedFiles, is_mapped, map_files, require_same_kinds, without_inputs
from fnn.train.options import Options
from fnn.train.sharding import check_mesh
from fnn.train.stream import Stream, is_stream, length, refuse_what_belongs_to_arrays, stream_of
from fnn.train.stream_outputs import Application, Scoring
from fnn.train.stream_run import Reading
from fnn.train.trained import Trained, TrainState
from fnn.typing import Array, Key


class Source(NamedTuple):
    """What a run reads.

    - `inputs`: arrays of the run; of a stream two rows of zeros, which say their shapes.
    - `steps`: how many an epoch has, None where that is not known.
    - `epochs(recipe, keys, inputs, interrupted)`: a function of an epoch and of the steps before it, see `drive.Take`.
    - `explain(recipe, key, inputs, before, step)`: why the step that was just taken diverged.
    - `describe(inputs)`: what is said of the data where runs are compared.
    - `score(trained, epoch, interrupted)`: scores of a validation that is read, None where the run is interrupted; it
      is None where the validation is among the inputs or there is none.
    - `stands(epochs)` and `resume(interrupted, record)`: where what is read stands after so many epochs, and how it
      comes there.
    - `close()`: nothing is read any further.
    """

    inputs: Inputs
    steps: int | None
    epochs: Callable[..., Callable[[int, int], Take]]
    explain: Callable[[Recipe, Key, Inputs, TrainState, int], str]
    describe: Callable[[Inputs], dict[str, str]]
    score: Callable[[Trained, int, Callable[[], bool]], dict[str, Array] | None] | None
    close: Callable[[], None]
    stands: Callable[[int], dict[str, Any]] = lambda epochs: {}
    resume: Callable[[Callable[[], bool], Record], None] = lambda interrupted, record: None


def source_of(recipe: Recipe, key: Key, data: Any, rows: Any, validation: Any) -> Source:
    """Arrays, a stream or memory maps, each with a validation of any kind."""
    held = None
    require_same_kinds("fit", recipe.mesh, data=data, validation=validation)
    if is_stream(validation):
        held = _scoring(recipe, stream_of("fit, validation", validation, recipe.task, recipe.options.epochs))
    elif is_mapped(validation):
        checked = rows_.check_data("fit, validation", without_inputs("fit, validation", validation), recipe.task)
        held = _scoring_files(recipe, map_files(validation, checked), np.arange(len(checked[1])))
    validation = validation if held is None else None
    of = _of_stream if is_stream(data) else _of_files if is_mapped(data) else _of_rows
    source = of(recipe, key, data, rows, validation)
    return source if held is None else _with_scoring(source, held)


def _with_scoring(source: Source, held: Scoring) -> Source:
    """The source with a validation that is read too."""

    def close() -> None:
        held.close()
        source.close()

    def resume(interrupted: Callable[[], bool], record: Record) -> None:
        source.resume(interrupted, record)
        held.resume(record)

    return source._replace(
        score=held, close=close, resume=resume, stands=lambda epochs: source.stands(epochs) | held.stands(epochs),
        describe=lambda inputs: source.describe(inputs) | held.describe(),
    )  # fmt: skip


def _scoring(recipe: Recipe, stream: Stream, beside: str = "") -> Scoring:
    applied = Application("fit, validation", evaluation_model(recipe), identity, recipe.mesh)
    return Scoring(applied, recipe.task, stream, beside)


def _scoring_files(recipe: Recipe, files: MappedFiles, rows: np.ndarray) -> Scoring:
    stream = files.stream("fit, validation", lambda epoch: rows, EVALUATION_ROWS, recipe.mesh)
    return _scoring(recipe, stream, files.describe(rows))


def _of_rows(recipe: Recipe, key: Key, data: Any, rows: Any, validation: Any) -> Source:
    checks.parts_of_data("fit", data, "data ", Padded)
    data = (rows_.lend(data[0]), *data[1:])  # all is over when `fit` returns
    inputs = check_run("fit", recipe.task, data, rows, validation, key)
    size, steps = sizes(recipe.options.batch_size, inputs.slots)
    check_mesh("fit", recipe.mesh, size)
    return Source(inputs, steps, _epochs_of_rows, functools.partial(explain, "fit"), describe_data, None, lambda: None)


def _epochs_of_rows(
    recipe: Recipe, keys: Keys, inputs: Inputs, interrupted: Callable[[], bool]
) -> Callable[[int, int], Take]:
    """Epochs over arrays in memory, by row numbers."""
    order, steps = compiled(order_of, recipe.options.shuffle), compiled(take_steps_of_epoch, recipe, donate=(0,))
    count = sizes(recipe.options.batch_size, inputs.slots)[1]
    on_host = (
        recipe.options.shuffle and recipe.mesh is None and placement.platform() == "cpu" and inputs.slots >= rows_.MANY
    )

    def epoch(number: int, before: int) -> Take:
        epoch = jnp.asarray(number)
        if on_host:
            drawn = compiled(_bits, inputs.slots)
            rows = Order(*jax.device_put(rows_.shuffle_on_host(drawn(keys.shuffle, epoch), inputs.rows)))
        else:
            rows = order(keys, inputs, epoch)

        def take(carry: Carry, place: int, most: int) -> tuple[Carry, int]:
            last = min(place + most, count)
            if last == place:
                return carry, 0
            return steps(carry, keys, inputs, epoch, rows, jnp.asarray(place), jnp.asarray(last)), last - place

        return take

    return epoch


def _bits(rows: int, key: Key, epoch: Array) -> Array:
    return jax.random.bits(in_one_pass(random_bits.fold_in(key, epoch)), (rows,), jnp.uint32)


def _of_stream(recipe: Recipe, key: Key, data: Any, rows: Any, validation: Any) -> Source:
    refuse_what_belongs_to_arrays("fit", recipe.options.batch_size, Options(1).batch_size, rows)
    check_mesh("fit", recipe.mesh)
    if validation is not None:
        if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
            raise ValueError(
                f"fit: of a stream no rows can be held out, got validation={checks.describe(validation)}; "
                "give another stream, or arrays (x, targets)"
            )
        validation = rows_.check_data("fit, validation", validation, recipe.task)
    return _read(recipe, stream_of("fit", data, recipe.task, recipe.options.epochs), length(data), validation)


def _of_files(recipe: Recipe, key: Key, data: Any, rows: Any, validation: Any) -> Source:
    """Memory maps: in the order that arrays have, so that the numbers are theirs."""
    inputs = check_run("fit", recipe.task, without_inputs("fit", data), rows, validation, key)
    files, chosen = map_files(data, inputs.data), np.asarray(inputs.training_rows())
    chosen = chosen[chosen >= 0]
    size, steps = sizes(recipe.options.batch_size, len(chosen))
    check_mesh("fit", recipe.mesh, size)
    validation, held = inputs.validation, None
    if inputs.validation_rows is not None:
        kept = np.asarray(inputs.validation_rows)
        held, validation = _scoring_files(recipe, files.with_weights(), kept[kept >= 0]), None
    order, keys = compiled(order_of, recipe.options.shuffle), keys_of(key)

    def rows_of(epoch: int) -> np.ndarray:
        inputs = Inputs(((), (), None), chosen, None, None)  # type: ignore[arg-type]
        return np.asarray(order(keys, inputs, jnp.asarray(epoch)).rows)

    stream = files.stream("fit", rows_of, size, recipe.mesh)
    source = _read(recipe, stream, steps, validation, f"{files.describe(chosen)} in batches of {size}")
    return source if held is None else _with_scoring(source, held)


def _read(recipe: Recipe, stream: Stream, steps: int | None, validation: Any, beside: str = "") -> Source:
    feed = Feed(stream, recipe.mesh)
    try:
        reading = Reading(stream, feed, beside)
    except BaseException:
        feed.close()
        raise
    return Source(
        Inputs(reading.example, None, validation, None), steps, reading.epochs, reading.explain, reading.describe,
        None, feed.close, reading.stands, reading.resume,
    )  # fmt: skip
