"""What a saved run belongs to: its programs, data, key and settings, in parts that can be named where one differs.

A program is known by what it computes, its jaxpr: whatever a changed constant, global or captured value changes is seen
there, and a description that was only written differently is the same run.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks
from fnn.kernels import placement
from fnn.metrics.protocol import measure_all
from fnn.train.epochs import sizes
from fnn.train.inputs import Inputs
from fnn.train.loop import Carry, Recipe, evaluation_model, step_of
from fnn.train.step import augment_batch
from fnn.train.trained import Trained, TrainState, shapes_of
from fnn.typing import Array, Key, PyTree
from fnn.versions import __version__

Identity = dict[str, Any]
"""Name of a part -> what JSON can hold."""

PROGRAMS = ("model", "task", "scoring", "penalty", "augment")
"""Parts of the training step, which differs by its optimizer if none of them does."""


def describe_data(inputs: Inputs) -> dict[str, str]:
    """Name -> dtype, shape and digest of every array that is trained or validated on."""
    own = inputs.validation if inputs.validation_rows is None else None
    named = {"rows": inputs.rows, "validation rows": inputs.validation_rows, "validation": own}
    return {name: digest_of(tree) for name, tree in ({"x, targets and weights": inputs.data} | named).items()}


def digest_of(tree: PyTree) -> str:
    """Shapes, dtypes and contents of arrays, as one short text."""
    found = hashlib.blake2b(digest_size=8)
    for leaf in jax.tree.leaves(tree):
        keys = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        found.update(checks.describe(leaf).encode())
        array = np.ascontiguousarray(jax.random.key_data(leaf) if keys else leaf)
        found.update(array.reshape(-1).view(np.uint8).data)  # no copy: they may be as large as memory allows
    return found.hexdigest()


def describe_programs(recipe: Recipe, train_state: TrainState, key: Key, inputs: Inputs) -> Identity:
    """The parts of a training step traced over a batch of the data."""
    task, options = recipe.task, recipe.options
    penalty, step = options.penalty, step_of(recipe)

    def apply(params: PyTree, state: PyTree, key: Key, x: PyTree) -> PyTree:
        return evaluation_model(recipe).apply(params, state, x, key=key, train=True)[0]

    def augment(*given: Any) -> tuple[Any, ...]:
        return augment_batch(options.augment, given[0], given[1:])  # type: ignore[arg-type]

    def score(outputs: PyTree, targets: PyTree, weights: Array) -> list[Any]:
        return list(measure_all(task.metrics, outputs, targets, weights).values())

    size = sizes(options.batch_size, inputs.slots)[0]
    x, targets = shapes_of(inputs.data[:2], size)
    batch = x, targets, jax.ShapeDtypeStruct((size,), jnp.float32)
    outputs = jax.eval_shape(apply, train_state.params, train_state.state, key, x)
    return {
        "model": program(apply, train_state.params, train_state.state, key, x),
        "task": program(task.loss, outputs, targets),
        "scoring": None if inputs.validation is None else program(score, outputs, targets, batch[2]),
        "penalty": penalty and program(penalty, train_state.params),
        "augment": options.augment and program(augment, key, x, targets),
        "initialization": program(step.init, key, x),
        "optimizer": program(step.update, train_state, key, batch),
    }


def program(function: Callable[..., Any], *like: Any) -> dict[str, Any]:
    """What a function computes: a digest of its form, and the numbers that stand in it."""
    found, numbers = hashlib.blake2b(digest_size=16), []
    # Where arrays are is no part of what is computed.
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), like)
    # A function of its own: JAX would answer for the same one what it traced before, whatever changed around it.
    for word in _words(jax.make_jaxpr(lambda *given: function(*given))(*like)):
        if isinstance(word, float) and not math.isnan(word):  # NaN equals no number, but is the same form
            numbers.append(word)
            word = "number"
        found.update(str(word).encode() + b"\n")
    return {"form": found.hexdigest(), "numbers": numbers}


def _words(jaxpr: Any) -> Iterator[str | float]:
    """A traced program read aloud: names of variables and of functions do not count, numbers are numbers."""
    consts = getattr(jaxpr, "consts", ())
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    places: dict[int, str] = {}
    for var in (*jaxpr.constvars, *jaxpr.invars):
        places[id(var)] = f"{len(places)}:{var.aval}"
    for const in consts:
        yield from _value(const)
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for name, parameter in sorted(equation.params.items()):
            if name != "name":
                yield name
                yield from _value(parameter)
        for var in equation.invars:
            yield from _value(var.val) if hasattr(var, "val") else (places[id(var)],)
        for var in equation.outvars:
            places[id(var)] = f"{len(places)}:{var.aval}"
            yield places[id(var)]
    for var in jaxpr.outvars:
        yield from _value(var.val) if hasattr(var, "val") else (places[id(var)],)


def _value(value: Any) -> Iterator[str | float]:
    if hasattr(getattr(value, "jaxpr", value), "eqns"):
        yield from _words(value)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _value(part)
    elif isinstance(value, (np.ndarray, np.generic, jax.Array)):
        yield digest_of(value) if np.ndim(value) or not jnp.issubdtype(value.dtype, jnp.floating) else float(value)
    elif isinstance(value, float):
        yield value
    elif callable(value):
        yield type(value).__name__
    else:
        yield re.sub(r"0x[0-9a-f]+", "", repr(value))


def holds_other_parts(saved: Identity, now: Identity) -> bool:
    """Whether another version of fnn has saved it: it says other things of a run, or a run of the same metrics carries
    other arrays beside those of its model, its optimizer and its best epoch."""

    def beside(identity: Identity) -> dict[str, str]:
        return {name: what for name, what in identity["arrays"].items() if not name.startswith(("train_state", "best"))}

    return saved.keys() != now.keys() or (saved["metrics"] == now["metrics"] and beside(saved) != beside(now))


def differences(saved: Identity, now: Identity) -> list[str]:
    """What is not as it was saved, one sentence each; programs are compared where one environment traced them."""
    settings = [name for name in now if name not in ("environment", "arrays", "data", "programs")]
    said = [f"{n} is {_short(now[n])}, was {_short(saved.get(n))}" for n in settings if saved.get(n) != now[n]]
    for name in sorted({*saved["arrays"], *now["arrays"]}):
        here, there = (arrays.get(name, "not there") for arrays in (now["arrays"], saved["arrays"]))
        if here != there:
            said.append(f"{name} is {here}, was {there}")
    said += [f"other {name}" for name in now["data"] if now["data"][name] != saved["data"].get(name)]
    if said or saved["environment"] != now["environment"]:
        return said
    other = [name for name in PROGRAMS if saved["programs"].get(name) != now["programs"][name]]
    for name in other or ("optimizer", "initialization"):
        there, here = saved["programs"].get(name), now["programs"][name]
        said += [] if there == here else [_other_program(name, there, here)]
    return said


def warn_of_environment(saved: Identity, now: Identity) -> None:
    """Say what compiles the programs now and did not when the run was saved."""
    before, here = saved["environment"], now["environment"]
    if other := [f"{name} {here[name]}, was {before.get(name)}" for name in here if here[name] != before.get(name)]:
        checks.warn(
            f"fit: the checkpoint was written in another environment: {'; '.join(other)}. The run goes on, but its "
            "numbers are not to the last digit those of an unbroken one, and its programs are not compared"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "…"


def _other_program(name: str, saved: Any, now: Any) -> str:
    if saved is None or now is None:
        here, there = ("not given" if part is None else "given" for part in (now, saved))
        return f"the {name} is {here}, was {there}"
    changed = [(a, b) for a, b in zip(now["numbers"], saved["numbers"], strict=False) if a != b]
    if now["form"] != saved["form"] or not changed:
        return f"the {name} computes something else"
    here, there = changed[0]
    return f"the {name} computes with {here:.7g}, not with {there:.7g}"


def describe_settings(recipe: Recipe, inputs: Inputs) -> Identity:
    """Numbers of the options that change what is computed, the epochs apart: more of them go on."""
    options = recipe.options
    return {
        "batch_size": sizes(options.batch_size, inputs.slots)[0],
        "shuffle": options.shuffle,
        "compute_dtype": options.compute_dtype and jnp.dtype(options.compute_dtype).name,
        "early_stopping": options.early_stopping and repr(options.early_stopping),
    }


def identity_of(
    recipe: Recipe, key: Key, inputs: Inputs, described: Callable[[Inputs], dict[str, str]], carry: Carry,
    start: Trained | None, columns: list[str],
) -> Identity:  # fmt: skip
    """All of it, for what is said of the data, what a run carries and the columns of its history."""
    return describe_settings(recipe, inputs) | {
        "metrics": columns,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "start": None if start is None else digest_of(start),
        # What compiles the programs: with another one the same run has other last digits.
        "environment": {
            "fnn": __version__,
            "jax": jax.__version__,
            "devices": f"{placement.devices()} of kind {placement.platform()}",
        },
        "arrays": {
            jax.tree_util.keystr(path).removeprefix("."): checks.describe(leaf)
            for path, leaf in jax.tree.leaves_with_path(carry)
        },
        "data": described(inputs),
        "programs": describe_programs(recipe, carry.train_state, key, inputs),
    }
