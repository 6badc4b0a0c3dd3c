"""What a user waits for before anything is computed: the import beyond `import jax`, initializing, the first step."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from benchmarks import networks
from benchmarks.compilation import CompileClock
from benchmarks.contender import Contender, Job, Workload

BATCH = 32

First = tuple[Callable[[], Any], Callable[[Any], Any]]
"""init() -> what is trained, and first_step(that)."""


def _contender(modules: tuple[str, ...], first: Callable[[Any, Any], First]) -> Contender:
    def build(case: str, _: bool) -> Job:
        import jax

        if case == "import":
            return Job(lambda: importlib.import_module(modules[0]) and None)
        x, y = _batch()
        init, step = first(x, y)
        jax.jit(lambda x: x + 1)(x).block_until_ready()  # the backend is up
        clock = CompileClock()
        start = None if case == "init" else jax.block_until_ready(init())
        clock.restart()
        return Job(
            init if start is None else lambda: step(start), report=lambda _: {"compile_ms": 1e3 * clock.seconds()}
        )

    return Contender(build, needs=tuple(dict.fromkeys(module.split(".")[0] for module in modules)))


def _batch() -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    return jax.block_until_ready((jnp.full((BATCH, 64), 0.5), jnp.arange(BATCH, dtype=jnp.int32) % networks.CLASSES))


def _fnn(x: Any, y: Any) -> First:
    import jax

    import fnn

    step = fnn.train_step(networks.fnn_mlp(), fnn.optim.adam(1e-3), fnn.tasks.multiclass(networks.CLASSES))
    key = jax.random.key(0)
    return lambda: step.init(key, x), lambda state: jax.jit(step.update, donate_argnums=0)(state, key, (x, y))


def _with_optax(apply: Callable[..., Any], init: Callable[[Any], Any], x: Any, y: Any) -> First:
    """Loss, gradient and Adam in one jitted step, as the documentation of flax and haiku writes it."""
    import jax
    import optax

    rule, key = optax.adam(1e-3), jax.random.key(0)

    def start() -> Any:
        params = init(key)
        return params, rule.init(params)

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        def loss(params: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    return start, lambda kept: jax.jit(step, donate_argnums=(0, 1))(*kept, x, y)


def _linen(x: Any, y: Any) -> First:
    model = networks.linen_mlp()
    return _with_optax(model.apply, lambda key: model.init(key, x), x, y)


def _haiku(x: Any, y: Any) -> First:
    model = networks.haiku_mlp()
    return _with_optax(model.apply, lambda key: model.init(key, x), x, y)


def _optax_alone(x: Any, y: Any) -> First:
    """A network written by hand: what fnn's layers and flax's cost beyond it."""
    import jax
    import jax.numpy as jnp

    def init(key: Any) -> Any:
        sizes, params = (x.shape[1], *networks.HIDDEN, networks.CLASSES), []
        for n, m in pairwise(sizes):
            key, own = jax.random.split(key)
            params.append((jax.random.normal(own, (n, m)) / n**0.5, jnp.zeros(m)))
        return params

    def apply(params: Any, x: Any) -> Any:
        for kernel, bias in params[:-1]:
            x = jax.nn.relu(x @ kernel + bias)
        return x @ params[-1][0] + params[-1][1]

    return _with_optax(apply, init, x, y)


def _equinox(x: Any, y: Any) -> First:
    import equinox as eqx
    import jax
    import optax

    rule, key = optax.adam(1e-3), jax.random.key(0)

    def start() -> Any:
        model = networks.equinox_mlp(key, x.shape[1])
        return model, rule.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_value_and_grad
    def loss(model: Any, x: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()

    @eqx.filter_jit
    def step(model: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradients = loss(model, x, y)
        updates, state = rule.update(gradients, state, model)
        return eqx.apply_updates(model, updates), state, value

    return start, lambda kept: eqx.filter(step(*kept, x, y), eqx.is_array)


WORKLOAD = Workload(
    title=f"import beyond `import jax`; initializing and first training step of the MLP {networks.WIDTHS}",
    cases=("import", "init", "first step"),
    contenders={
        "fnn": _contender(("fnn",), _fnn),
        "optax": _contender(("optax",), _optax_alone),
        "flax linen": _contender(("flax.linen", "optax"), _linen),
        "equinox": _contender(("equinox", "optax"), _equinox),
        "haiku": _contender(("haiku", "optax"), _haiku),
    },
    repeats=7,
    fresh=True,
    columns=(("of it compiling, ms", "compile_ms", ".0f"),),
    notes=(
        "Every repetition in a new process. import: jax is imported before the clock starts (flax, equinox and haiku "
        "need optax\nbesides, to train). init and first step: everything imported, the backend running; the step with "
        "Adam is jitted and its\nresult waited for. optax: the network by hand."
    ),
)
