"""The four rooms: which functions a library has in each, and what is asked of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.nonfinite.count import Counted, ask, count, fits
from benchmarks.nonfinite.losses import losses
from benchmarks.nonfinite.points import activations, batches, gradients

QUESTIONS = {"activations": activations, "losses": losses}
NORMS = ("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm")
RULES = (
    "sgd", "adam", "adamw", "nadam", "nadamw", "amsgrad", "adamax", "adamaxw", "radam", "yogi", "adabelief", "adagrad",
    "rmsprop", "adadelta", "sign_sgd", "signum", "lion", "lamb", "lars", "adafactor", "muon",
)  # fmt: skip
STEPS = 20


def _of_questions(questions: list[Any], library: Any, dtype: Any, names: set[str] | None) -> Iterator[Counted]:
    for question in questions:
        function = getattr(library, question.name, None)
        if function is not None and (names is None or question.name in names):
            yield ask(question, function, dtype)


def _norms(
    layers: dict[str, Callable[[Any], Callable[[Any], Any]]], dtype: Any, names: set[str] | None
) -> Iterator[Counted]:
    """With epsilon in the root, values are bounded by the number of elements and slopes by 1/sqrt(epsilon) <= 1,000."""
    for name, layer in layers.items():
        if names is None or name in names:
            for x in batches(float(jnp.finfo(dtype).smallest_subnormal)):
                x = jnp.asarray(x).astype(dtype)
                yield count(name, layer(x), x, True, True, True)


def _fnn_norms() -> dict[str, Any]:
    import fnn

    def of(make: Callable[[], Any]) -> Callable[[Any], Callable[[Any], Any]]:
        def at(x: Any) -> Callable[[Any], Any]:
            params, state = make().init(jax.random.key(0), x)
            return lambda x: make().apply(params, state, x, train=True)[0]

        return at

    made = {name: getattr(fnn, name) for name in NORMS} | {"group_norm": partial(fnn.group_norm, 2)}
    return {name: of(make) for name, make in made.items()}


def _flax_norms() -> dict[str, Any]:
    from flax import linen as nn

    def of(make: Callable[..., Any], **options: Any) -> Callable[[Any], Callable[[Any], Any]]:
        def at(x: Any) -> Callable[[Any], Any]:
            module = make(dtype=x.dtype, param_dtype=x.dtype, **options)
            variables = module.init(jax.random.key(0), x)
            return lambda x: module.apply(variables, x, mutable=["batch_stats"])[0]

        return at

    return {
        "batch_norm": of(nn.BatchNorm, use_running_average=False),
        "layer_norm": of(nn.LayerNorm),
        "rms_norm": of(nn.RMSNorm),
        "group_norm": of(nn.GroupNorm, num_groups=2),
        "instance_norm": of(nn.InstanceNorm),
    }


def _rules(optim: Any) -> dict[str, Callable[[], Any]]:
    contrib = getattr(optim, "contrib", None)
    made = {name: getattr(optim, name, None) or getattr(contrib, name, None) for name in RULES}
    found = {name: partial(make, 1e-3) for name, make in made.items() if make is not None}
    found["momentum"] = partial(optim.sgd, 1e-3, momentum=0.9)
    for decay in (0.9, 0.95, 0.99):
        centered = partial(optim.rmsprop, 1e-3, decay=decay, centered=True, eps_in_sqrt=False)
        found[f"rmsprop (centered, decay {decay})"] = centered
    return found


def _optimizers(optim: Any, dtype: Any, names: set[str] | None) -> Iterator[Counted]:
    """Updates of 20 equal steps (where centered the last of 2,000), and the slope of the first in the gradient.

    No update is infinite. The slope is a difference quotient of the values in float64, by steps far below epsilon.
    """
    for name, make in _rules(optim).items():
        if names is not None and name not in names:
            continue
        rule = make()

        def first(g: Any, rule: Any = rule) -> Any:
            params = jnp.ones_like(g)
            return rule.update(g, rule.init(params), params)[0]

        g = jnp.asarray(gradients(float(jnp.finfo(dtype).smallest_subnormal))).astype(dtype)
        exact, one = np.asarray(g, np.float64), np.eye(g.size).reshape(g.size, *g.shape)
        step = 1e-6 * np.where(abs(exact) < 1e-3, 1e-7, abs(exact))
        value = jax.jit(jax.vmap(first))
        quotients = np.asarray(value(exact + one * step) - value(exact - one * step)) / (2 * step)
        slopes = fits(abs(quotients).sum(tuple(range(1, one.ndim))).reshape(g.shape), dtype)
        yield count(name, first, g, True, slopes, slopes.all())
        long = "centered" in name

        @jax.jit
        def updates(g: Any, rule: Any = rule, steps: int = 2000 if long else STEPS) -> Any:
            params = jnp.ones_like(g)

            def once(state: Any, _: None) -> Any:
                update, state = rule.update(g, state, params)
                return state, update

            return jax.lax.scan(once, rule.init(params), None, steps)[1]

        answers = np.asarray(updates(jnp.full((1,), 0.1, dtype))[-1:] if long else updates(g), np.float64)
        yield Counted(name, answers.size, int((~np.isfinite(answers)).sum()), 0, 0)


def names_of_peer(room: str) -> set[str]:
    """What the peer of a room has of the questions: the row in which fnn is asked no more than it."""
    import optax

    if room == "optimizers":
        return set(_rules(optax))
    if room == "norms":
        return set(NORMS)
    library = jax.nn if room == "activations" else optax.losses
    return {question.name for question in QUESTIONS[room]() if hasattr(library, question.name)}


_HOME = {
    ("fnn", "activations"): "fnn",
    ("fnn", "losses"): "fnn.losses",
    ("fnn", "optimizers"): "fnn.optim",
    ("jax.nn", "activations"): "jax.nn",
    ("optax", "losses"): "optax.losses",
    ("optax", "optimizers"): "optax",
}


def counts(room: str, library: str, dtype: Any, names: set[str] | None) -> Iterator[Counted]:
    """Ask a library everything in a room, or only the functions named."""
    functions = importlib.import_module(_HOME[library, room]) if (library, room) in _HOME else None
    if room in QUESTIONS:
        yield from _of_questions(QUESTIONS[room](), functions, dtype, names)
    elif room == "norms":
        yield from _norms(_flax_norms() if library == "flax" else _fnn_norms(), dtype, names)
    else:
        yield from _optimizers(functions, dtype, names)
