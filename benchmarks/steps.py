"""Training steps in both calling forms, one a call and many in one program, for any library."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import cycle
from typing import Any

from benchmarks.contender import Contender, Job
from benchmarks.peaks import gemm_job, torch_device

ALONE, TOGETHER = "one step a call", "steps in one program"
CASES = (ALONE, TOGETHER)
STEPS, QUICK_STEPS = 10, 2
RATE = 1e-3
CLASSES = 10

Step = Callable[[Any, Any, Any], Any]
"""(what is trained, x, y) -> what is trained"""
Begin = Callable[[Any], tuple[Any, Step]]
"""x -> (what is trained, its step)"""


def data(quick: bool, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """As many batches as there are steps in a repetition: float32 (steps, *shape), int32 (steps, batch)."""
    import numpy as np

    random, steps = np.random.default_rng(0), QUICK_STEPS if quick else STEPS
    x = random.standard_normal((steps, *shape), dtype=np.float32)
    return x, random.integers(0, CLASSES, (steps, shape[0])).astype(np.int32)


def on_jax(
    begin: Begin, shape: Callable[[bool], tuple[int, ...]], *needs: str, devices: int | None = None
) -> Contender:
    """`devices`: CPU devices to split every batch over."""

    def build(case: str, quick: bool) -> Job:
        import jax
        import jax.numpy as jnp

        if devices:
            use_cpu_devices(devices)
        xs, ys = map(jnp.asarray, data(quick, shape(quick)))
        kept, step = begin(xs[0])
        batches = list(zip(xs, ys, strict=True)) if case == ALONE else (xs, ys)
        if devices:
            kept, batches = _over_devices(kept, batches, ("batch",) if case == ALONE else (None, "batch"))
        if case == ALONE:
            one, turn = jax.jit(step, donate_argnums=0), cycle(batches)
            return Job(_keeping(kept, lambda kept: one(kept, *next(turn))))

        @jax.jit
        def program(kept: Any, batches: Any) -> Any:
            return jax.lax.scan(lambda kept, batch: (step(kept, *batch), None), kept, batches)[0]

        return Job(_keeping(kept, lambda kept: program(kept, batches)), calls=len(xs))

    return Contender(build, needs=needs)


def use_cpu_devices(count: int) -> None:
    """Before JAX starts; where it has started already, the devices there are."""
    import jax

    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def _over_devices(kept: Any, batches: Any, axes: tuple[str | None, ...]) -> tuple[Any, Any]:
    """What is trained on every device, every batch split over them: what is cut out of a split array need not be."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.asarray(jax.devices()), ("batch",))
    everywhere, split = (NamedSharding(mesh, PartitionSpec(*names)) for names in ((), axes))
    return jax.device_put(kept, everywhere), jax.device_put(batches, split)


def _keeping(kept: Any, advance: Callable[[Any], Any]) -> Callable[[], Any]:
    def run() -> Any:
        nonlocal kept
        kept = advance(kept)
        return kept

    return run


def fnn_model(make: Callable[[], Any], compute_dtype: Any = None) -> Begin:
    def begin(x: Any) -> tuple[Any, Step]:
        import jax

        import fnn

        step = fnn.train_step(make(), fnn.optim.adam(RATE), fnn.tasks.multiclass(CLASSES), compute_dtype=compute_dtype)
        key = jax.random.key(0)
        return step.init(key, x), lambda state, x, y: step.update(state, key, (x, y))[0]

    return begin


def pure_model(make: Callable[[], Any]) -> Begin:
    """flax linen and haiku: an object with init(key, x) and apply(params, x)."""

    def begin(x: Any) -> tuple[Any, Step]:
        import jax
        import optax

        model, rule = make(), optax.adam(RATE)
        params = model.init(jax.random.key(0), x)

        def step(kept: Any, x: Any, y: Any) -> Any:
            params, state = kept

            def loss(params: Any) -> Any:
                return optax.softmax_cross_entropy_with_integer_labels(model.apply(params, x), y).mean()

            updates, state = rule.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        return (params, rule.init(params)), step

    return begin


def nnx_model(make: Callable[[], Any]) -> Begin:
    """A module that holds its parameters, split into what is static and what a program carries."""

    def begin(x: Any) -> tuple[Any, Step]:
        import jax
        import optax
        from flax import nnx

        static, params, rest = nnx.split(make(), nnx.Param, ...)
        rule = optax.adam(RATE)

        def step(kept: Any, x: Any, y: Any) -> Any:
            params, rest, state = kept

            def loss(params: Any) -> Any:
                model = nnx.merge(static, params, rest, copy=True)
                value = optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()
                return value, nnx.split(model, nnx.Param, ...)[2]

            gradients, rest = jax.grad(loss, has_aux=True)(params)
            updates, state = rule.update(gradients, state, params)
            return optax.apply_updates(params, updates), rest, state

        return (params, rest, rule.init(params)), step

    return begin


def keras_model(make: Callable[[Any], Any]) -> Begin:
    """keras on JAX, by its functions without state; `make` is given the keras module."""

    def begin(x: Any) -> tuple[Any, Step]:
        import os

        os.environ["KERAS_BACKEND"] = "jax"
        import jax
        import keras
        import optax

        model, rule = make(keras), keras.optimizers.Adam(RATE)
        model.build((None, *x.shape[1:]))
        rule.build(model.trainable_variables)
        variables = model.trainable_variables, model.non_trainable_variables, rule.variables

        def step(kept: Any, x: Any, y: Any) -> Any:
            weights, others, state = kept

            def loss(weights: Any) -> Any:
                outputs, changed = model.stateless_call(weights, others, x, training=True)
                return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean(), changed

            gradients, others = jax.grad(loss, has_aux=True)(weights)
            weights, state = rule.stateless_apply(state, gradients, weights)
            return weights, others, state

        return tuple([v.value for v in each] for each in variables), step

    return begin


def equinox_model(make: Callable[[Any], Any]) -> Begin:
    """A module that acts on one example; its arrays are what a program carries."""

    def begin(x: Any) -> tuple[Any, Step]:
        import equinox as eqx
        import jax
        import optax

        arrays, rest = eqx.partition(make(jax.random.key(0)), eqx.is_array)
        rule = optax.adam(RATE)

        def step(kept: Any, x: Any, y: Any) -> Any:
            arrays, state = kept

            @eqx.filter_grad
            def gradient(model: Any) -> Any:
                return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()

            updates, state = rule.update(eqx.filter(gradient(eqx.combine(arrays, rest)), eqx.is_array), state, arrays)
            return eqx.apply_updates(arrays, updates), state

        return (arrays, rule.init(arrays)), step

    return begin


def on_torch(
    make: Callable[[], Any],
    shape: Callable[[bool], tuple[int, ...]],
    prepare: Callable[[Any, Any], tuple[Any, Any]] = lambda model, x: (model, x),
) -> Contender:
    """torch has one form, a loop; a repetition of the second case is as many turns of it. `prepare` sets the layout."""

    def build(case: str, quick: bool) -> Job:
        import torch
        from torch import nn

        device = torch_device()
        xs, ys = (torch.from_numpy(one).to(device) for one in data(quick, shape(quick)))
        model, loss_fn = make().to(device), nn.CrossEntropyLoss()
        pairs = [(prepare(model, x)[1], y.long()) for x, y in zip(xs, ys, strict=True)]
        model, _ = prepare(model, xs[0])
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        turns, batches = 1 if case == ALONE else len(pairs), cycle(pairs)

        def run() -> None:
            for _ in range(turns):
                x, y = next(batches)
                optimizer.zero_grad()
                loss_fn(model(x), y).backward()
                optimizer.step()

        return Job(run, calls=turns)

    return Contender(build, needs=("torch",))


def limit(operations: Callable[[bool], float]) -> Contender:
    """The time of as many operations in large matrix products: nothing that multiplies can be faster."""
    return Contender(lambda case, quick: gemm_job(operations(quick), 64 if quick else 2048))
