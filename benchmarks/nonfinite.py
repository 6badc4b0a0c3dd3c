"""Values, JVPs and VJPs that are not finite where mathematics is: every activation, loss, norm and optimizer.

Asked at ±inf, ±1e4, ±1, 0, the smallest subnormal and fully masked, in float16, bfloat16, float32 and float64, each
library the same questions. A point counts where the limit exists and fits the dtype, a derivative where its value does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from benchmarks.contender import Contender, Job, Workload

DTYPES = ("float16", "bfloat16", "float32", "float64")
RULES = (
    "sgd", "momentum", "adam", "adamw", "nadam", "nadamw", "amsgrad", "adamax", "adamaxw", "radam", "yogi", "adabelief",
    "adagrad", "rmsprop", "adadelta", "sign_sgd", "signum", "lion", "lamb", "lars", "adafactor", "muon",
)  # fmt: skip
NORMS = ("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm")
STEPS = 20


class Counted(NamedTuple):
    """What was asked, and how many answers were not finite, of values, JVPs and VJPs."""

    name: str
    asked: int
    values: int
    jvps: int
    vjps: int


def _count(name: str, function: Callable[..., Any], x: Any, finite: Any, slopes: Any, jvps: Any) -> Counted:
    """Evaluate at x; `finite`, `slopes` and `jvps` say where value, VJP and JVP are to be finite."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    weights = jnp.linspace(0.5, 1.5, x.size).reshape(x.shape).astype(x.dtype)

    @jax.jit
    def answers(x: Any) -> Any:
        value, tangent = jax.jvp(function, (x,), (weights,))
        value, back = jax.vjp(function, x)
        return value, tangent, back(jnp.linspace(0.5, 1.5, value.size).reshape(value.shape).astype(value.dtype))[0]

    value, jvp, vjp = (~np.isfinite(np.asarray(one, np.float64)) for one in answers(x))
    asked = sum(int(np.broadcast_to(a, b.shape).sum()) for a, b in ((finite, value), (jvps, jvp), (slopes, vjp)))
    return Counted(name, asked, int((value & finite).sum()), int((jvp & jvps).sum()), int((vjp & slopes).sum()))


def _fits(x: Any, dtype: Any) -> Any:
    """Whether a number has room in the dtype, and a factor of 2 to spare for the weights of the derivatives."""
    import jax.numpy as jnp
    import numpy as np

    return np.isfinite(x) & (abs(np.where(np.isfinite(x), x, 0)) <= float(jnp.finfo(dtype).max) / 2)


def _ask(question: Any, function: Callable[..., Any], dtype: Any) -> Counted:
    import jax.numpy as jnp
    import numpy as np

    given = question.inputs(float(jnp.finfo(dtype).smallest_subnormal))
    given = [jnp.asarray(one) if one.dtype.kind == "i" else jnp.asarray(one).astype(dtype) for one in given]
    exact = [np.asarray(one) if one.dtype.kind == "i" else np.asarray(one, np.float64) for one in given]
    with np.errstate(all="ignore"):
        value, slope = question.value(*exact), question.slope(*exact)
    finite, slopes = _fits(value, dtype), _fits(slope, dtype)
    if finite.shape == slopes.shape and value.ndim == 1:
        jvps = slopes = slopes & finite
    else:  # a row has one value, or values that depend on the whole row
        along = tuple(range(finite.ndim, slopes.ndim)) or (-1,)
        every = finite if finite.ndim < slopes.ndim else finite.all(-1, keepdims=True)
        slopes = slopes & (np.expand_dims(finite, along) if finite.ndim < slopes.ndim else every)
        jvps = finite & slopes.all(along, keepdims=finite.ndim == slopes.ndim)
    return _count(question.name, lambda x: function(x, *given[1:], **question.options), given[0], finite, slopes, jvps)


def _of_questions(questions: list[Any], library: Any, dtype: Any, names: set[str] | None) -> Iterator[Counted]:
    for question in questions:
        function = getattr(library, question.name, None)
        if function is not None and (names is None or question.name in names):
            yield _ask(question, function, dtype)


def _norms(layers: dict[str, Callable[[Any], Callable[[Any], Any]]], dtype: Any, names: set[str] | None) -> Iterator[Counted]:
    """With epsilon in the root, values are bounded by the number of elements and slopes by 1/sqrt(epsilon) <= 1,000."""
    import jax.numpy as jnp

    from benchmarks.nonfinite_points import norms

    for name, layer in layers.items():
        if names is None or name in names:
            for x in norms(float(jnp.finfo(dtype).smallest_subnormal)):
                x = jnp.asarray(x).astype(dtype)
                yield _count(name, layer(x), x, True, True, True)


def _fnn_norms() -> dict[str, Any]:
    import jax

    import fnn

    def of(make: Callable[[], Any]) -> Callable[[Any], Callable[[Any], Any]]:
        def at(x: Any) -> Callable[[Any], Any]:
            params, state = make().init(jax.random.key(0), x)
            return lambda x: make().apply(params, state, x, train=True)[0]

        return at

    made = {name: getattr(fnn, name) for name in NORMS} | {"group_norm": partial(fnn.group_norm, 2)}
    return {name: of(make) for name, make in made.items()}


def _flax_norms() -> dict[str, Any]:
    import jax
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
    made = {name: getattr(optim, name, None) or getattr(contrib, name, None) for name in RULES if name != "momentum"}
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
    import jax
    import jax.numpy as jnp
    import numpy as np

    from benchmarks.nonfinite_points import gradients

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
        slopes = _fits(abs(quotients).sum(tuple(range(1, one.ndim))).reshape(g.shape), dtype)
        yield _count(name, first, g, True, slopes, slopes.all())
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


def _names(room: str) -> set[str]:
    """What the peer of a room has of the questions: the row in which fnn is asked no more than it."""
    import jax
    import optax

    if room == "optimizers":
        return set(_rules(optax))
    if room == "norms":
        return set(NORMS)
    from benchmarks import nonfinite_losses, nonfinite_points

    library, questions = (jax.nn, nonfinite_points.activations()) if room == "activations" else (optax.losses, nonfinite_losses.losses())
    return {question.name for question in questions if hasattr(library, question.name)}


def _counts(room: str, library: str, dtype: Any, names: set[str] | None) -> Iterator[Counted]:
    from benchmarks import nonfinite_losses, nonfinite_points

    functions = importlib.import_module(_HOME[library, room]) if (library, room) in _HOME else None
    if room == "activations":
        yield from _of_questions(nonfinite_points.activations(), functions, dtype, names)
    elif room == "losses":
        yield from _of_questions(nonfinite_losses.losses(), functions, dtype, names)
    elif room == "norms":
        yield from _norms(_flax_norms() if library == "flax" else _fnn_norms(), dtype, names)
    else:
        yield from _optimizers(functions, dtype, names)


_HOME = {
    ("fnn", "activations"): "fnn",
    ("fnn", "losses"): "fnn.losses",
    ("fnn", "optimizers"): "fnn.optim",
    ("jax.nn", "activations"): "jax.nn",
    ("optax", "losses"): "optax.losses",
    ("optax", "optimizers"): "optax",
}


def _contender(library: str, rooms: tuple[str, ...], shared: bool, *needs: str) -> Contender:
    def build(room: str, quick: bool) -> Job | None:
        if room not in rooms:
            return None
        import jax

        def run() -> list[Counted]:
            names = _names(room) if shared else None
            if quick:
                names = {"relu", "huber_loss", "layer_norm", "sgd"}
            with jax.enable_x64(True):
                return [one for name in DTYPES[2 * quick :] for one in _counts(room, library, jax.numpy.dtype(name), names)]

        return Job(run, report=_summary)

    return Contender(build, needs=("optax", "scipy", *needs))


def _summary(counted: list[Counted]) -> dict[str, Any]:
    worst: dict[str, int] = {}
    for one in counted:
        worst[one.name] = worst.get(one.name, 0) + one.values + one.jvps + one.vjps
    return {
        "functions": len(worst),
        "asked": sum(one.asked for one in counted),
        "values": sum(one.values for one in counted),
        "jvps": sum(one.jvps for one in counted),
        "vjps": sum(one.vjps for one in counted),
        "where": ", ".join(f"{name} {times}" for name, times in sorted(worst.items()) if times) or "–",
    }


ROOMS = ("activations", "losses", "norms", "optimizers")
WORKLOAD = Workload(
    title="numbers that are not finite where mathematics is",
    cases=ROOMS,
    contenders={
        "fnn": _contender("fnn", ROOMS, False),
        "fnn, what the peer has": _contender("fnn", ROOMS, True),
        "jax.nn": _contender("jax.nn", ("activations",), False),
        "optax": _contender("optax", ("losses", "optimizers"), False),
        "flax": _contender("flax", ("norms",), False, "flax"),
    },
    timed=False,
    columns=(
        ("functions", "functions", "d"), ("numbers asked", "asked", ",d"), ("values", "values", "d"), ("JVPs", "jvps", "d"),
        ("VJPs", "vjps", "d"), ("where", "where", ""),
    ),
    notes=(
        "Not finite of the numbers asked, in four dtypes. A number is asked for where its limit is finite and fits the dtype; "
        "the limits are\nclosed forms in float64 (benchmarks/nonfinite_points.py, nonfinite_losses.py)."
    ),
)  # fmt: skip
