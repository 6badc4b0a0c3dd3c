"""What a call of a jitted function costs in Python beyond the same network written by hand, at any depth."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import networks
from benchmarks.contender import Contender, Job, Workload

WIDTH, BATCH, RATE = 8, 4, 1e-3
DEPTHS = (2, 10, 100)

Calls = tuple[Callable[[Any], Any], Callable[[Any], Any], Any]
"""apply(trained), step(trained) -> trained, trained."""


def _contender(calls: Callable[[int, Any], Calls], *needs: str) -> Contender:
    def build(case: str, quick: bool) -> Job:
        import jax
        import jax.numpy as jnp

        what, depth = case.split(", depth ")
        apply, step, kept = calls(int(depth), jnp.ones((BATCH, WIDTH)))
        repetitions = 3 if quick else 2000 // int(depth) ** 0.5

        def applied() -> None:
            for _ in range(int(repetitions)):
                jax.block_until_ready(apply(kept))

        def stepped() -> None:
            nonlocal kept
            for _ in range(int(repetitions)):
                kept = step(kept)
                jax.block_until_ready(jax.tree.leaves(kept)[0])

        return Job(applied if what == "apply" else stepped, calls=int(repetitions))

    return Contender(build, needs=needs)


def _hidden(depth: int) -> tuple[int, ...]:
    return (WIDTH,) * (depth - 1)


def _squares(outputs: Any) -> Any:
    return (outputs**2).mean()


def _by_hand(depth: int, x: Any) -> Calls:
    import jax
    import jax.numpy as jnp

    params = [{"kernel": jnp.eye(WIDTH), "bias": jnp.zeros(WIDTH)} for _ in range(depth)]

    def network(params: Any, x: Any) -> Any:
        for layer in params[:-1]:
            x = jnp.maximum(x @ layer["kernel"] + layer["bias"], 0)
        return x @ params[-1]["kernel"] + params[-1]["bias"]

    @partial(jax.jit, donate_argnums=0)
    def step(params: Any, x: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda params: _squares(network(params, x)))(params)
        return jax.tree.map(lambda p, g: p - RATE * g, params, gradients), loss

    apply = jax.jit(network)
    return lambda params: apply(params, x), lambda params: step(params, x)[0], params


def _fnn(depth: int, x: Any) -> Calls:
    import jax

    import fnn

    model = networks.fnn_mlp(_hidden(depth), WIDTH)
    task = fnn.tasks.regression(WIDTH, loss=fnn.losses.squared_error)
    step = fnn.train_step(model, fnn.optim.sgd(RATE), task)
    apply, update = jax.jit(model.apply), jax.jit(step.update, donate_argnums=0)
    key, batch = jax.random.key(0), (x, jax.numpy.zeros_like(x))
    return (
        lambda kept: apply(kept.params, kept.state, x),
        lambda kept: update(kept, key, batch)[0],
        step.init(key, x),
    )


def _linen(depth: int, x: Any) -> Calls:
    import jax
    import optax
    from flax.training.train_state import TrainState

    model = networks.linen_mlp(_hidden(depth), WIDTH)
    params = model.init(jax.random.key(0), x)
    apply = jax.jit(model.apply)

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, x: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda params: _squares(state.apply_fn(params, x)))(state.params)
        return state.apply_gradients(grads=gradients), loss

    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.sgd(RATE))
    return lambda state: apply(state.params, x), lambda state: step(state, x)[0], state


def _nnx(depth: int, x: Any) -> Calls:
    import optax
    from flax import nnx

    model = networks.nnx_mlp(WIDTH, _hidden(depth), WIDTH)
    optimizer = nnx.Optimizer(model, optax.sgd(RATE), wrt=nnx.Param)
    apply = nnx.jit(lambda model, x: model(x))

    @nnx.jit
    def step(model: Any, optimizer: Any, x: Any) -> Any:
        loss, gradients = nnx.value_and_grad(lambda model: _squares(model(x)))(model)
        optimizer.update(model, gradients)
        return loss

    # Its step changes the model in place; the loss is what can be waited for.
    return lambda _: apply(model, x), lambda _: step(model, optimizer, x), model


def _equinox(depth: int, x: Any) -> Calls:
    import equinox as eqx
    import jax
    import optax

    model, rule = networks.equinox_mlp(jax.random.key(0), WIDTH, _hidden(depth), WIDTH), optax.sgd(RATE)
    apply = eqx.filter_jit(lambda model, x: jax.vmap(model)(x))

    @eqx.filter_jit(donate="all-except-first")
    def step(x: Any, model: Any, state: Any) -> Any:
        loss, gradients = eqx.filter_value_and_grad(lambda model: _squares(jax.vmap(model)(x)))(model)
        updates, state = rule.update(gradients, state, model)
        return eqx.apply_updates(model, updates), state, loss

    kept = (model, rule.init(eqx.filter(model, eqx.is_inexact_array)))
    return lambda kept: apply(kept[0], x), lambda kept: step(x, *kept)[:2], kept


WORKLOAD = Workload(
    title=f"one call of a jitted network, {WIDTH} units a layer, batch {BATCH}: apply, and a training step by descent",
    cases=tuple(f"{what}, depth {depth}" for what in ("apply", "step") for depth in DEPTHS),
    quick_cases=("apply, depth 2", "step, depth 2"),
    contenders={
        "fnn": _contender(_fnn),
        "by hand": _contender(_by_hand),
        "flax linen": _contender(_linen, "flax", "optax"),
        "flax nnx": _contender(_nnx, "flax", "optax"),
        "equinox": _contender(_equinox, "equinox", "optax"),
    },
    unit="µs",
    repeats=15,
    compare=(("beyond by hand, µs", "difference", "by hand"),),
    notes=(
        "Every call is waited for. by hand: the same network as a function of a list of dicts of arrays, as JAX's "
        "tutorial\nwrites it, `jax.jit` and nothing else. 'beyond by hand' is the difference within a round."
    ),
)
