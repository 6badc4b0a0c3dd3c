"""Do two environments compute the same numbers? One writes what it computed, the other compares.

    python -m benchmarks.versions --write results/here.npz           in each environment
    python -m benchmarks.versions --compare results/here.npz results/there.npz

Everything in float32, as users run it, on fixed inputs. Two versions of a compiler order sums differently: a difference
is counted relative to the largest entry of its array, and may be as large as `TOLERANCES` says. Ends with 1 beyond it.
"""

from __future__ import annotations

import argparse
import inspect
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

import fnn
from benchmarks.worker import ROOT

KEY = jax.random.key(0)
TOLERANCES = {
    "draws": 0.0,
    "initializers": 1e-6,
    "activations": 1e-6,
    "losses": 1e-5,
    "optimizers": 1e-5,
    "layers": 1e-5,
    "training": 1e-4,
}
"""Draws are the same bits. A training run carries its rounding on from step to step.

No bias stands before batch norm: its gradient is 0, and Adam would make steps of the rounding that is left."""


def normal(*shape: int, seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def draws() -> Iterator[tuple[str, Any]]:
    yield "bits", jax.random.bits(KEY, (64, 3))
    yield "uniform", jax.random.uniform(KEY, (64, 3))
    yield "permutation", jax.random.permutation(KEY, 100)
    for layer in (fnn.dropout(0.5), fnn.spatial_dropout(0.5)):
        x = jnp.ones((4, 5, 5, 6))
        yield f"{layer.name}", layer.apply(*layer.init(KEY, x), x, key=KEY, train=True)[0]


def initializers() -> Iterator[tuple[str, Any]]:
    yield "normal", jax.random.normal(KEY, (64, 3))
    for name in ("glorot_uniform", "he_normal", "lecun_normal", "orthogonal", "truncated_normal"):
        yield name, getattr(fnn.initializers, name)()(KEY, (24, 16), jnp.float32)


def activations() -> Iterator[tuple[str, Any]]:
    grid = jnp.linspace(-9, 9, 300)
    for name in fnn.activations.__all__:
        f = getattr(fnn.activations, name)
        required = [one for one in inspect.signature(f).parameters.values() if one.default is one.empty]
        if len(required) == 1 and (value := jax.eval_shape(f, grid)).shape == grid.shape and value.dtype == grid.dtype:
            y, back = jax.jit(lambda x, f=f: jax.vjp(f, x))(grid)
            yield name, jnp.stack([y, back(jnp.cos(grid))[0]])


def losses() -> Iterator[tuple[str, Any]]:
    sys.path.append(str(ROOT / "tests"))
    import loss_references as references

    for pair in [*references.from_optax(), *references.from_scipy()]:
        case = (np.asarray(a) for a in pair.cases(np.random.default_rng(0)))
        first, *rest = [a.astype(np.float32) if a.dtype == np.float64 else a for a in case]
        value, back = jax.vjp(jax.jit(lambda x, f=pair.mine, rest=rest: jnp.sum(f(x, *rest))), jnp.asarray(first))
        yield pair.name, value
        yield f"{pair.name}, gradient", back(jnp.ones(()))[0]


def optimizers() -> Iterator[tuple[str, Any]]:
    """The path of the parameters over 50 gradients."""
    import optim_references as references

    params = {"kernel": normal(6, 4), "bias": normal(4, seed=1)}
    gradients = {"kernel": normal(50, 6, 4, seed=2), "bias": normal(50, 4, seed=3)}
    for entries in references.OPTAX.values():
        for name, build, _ in entries:
            rule = build(0.01)

            def step(carry: Any, g: Any, rule: Any = rule) -> Any:
                p, state = carry
                updates, state = rule.update(g, state, p)
                p = jax.tree.map(jnp.add, p, updates)
                return (p, state), p

            def path(p: Any, g: Any, rule: Any = rule, step: Any = step) -> Any:
                return jax.lax.scan(step, (p, rule.init(p)), g)[1]

            yield name, jax.jit(path)(params, gradients)


LAYERS = {
    "dense": (fnn.dense(5), (8, 7)),
    "conv": (fnn.conv(6, 3, stride=2), (4, 9, 9, 5)),
    "conv, many channels": (fnn.conv(24, 3), (4, 8, 8, 16)),
    "depthwise_conv": (fnn.depthwise_conv(3), (4, 8, 8, 6)),
    "conv_transpose": (fnn.conv_transpose(4, 3, stride=2), (4, 5, 5, 6)),
    "max_pool": (fnn.max_pool(3, 2), (4, 8, 8, 3)),
    "avg_pool": (fnn.avg_pool(2), (4, 8, 8, 3)),
    "batch_norm": (fnn.batch_norm(), (16, 7)),
    "layer_norm": (fnn.layer_norm(), (16, 7)),
    "lstm": (fnn.lstm(8, return_sequences=True), (4, 12, 5)),
    "gru": (fnn.gru(8), (4, 12, 5)),
    "rnn": (fnn.rnn(8), (4, 12, 5)),
}


def layers() -> Iterator[tuple[str, Any]]:
    """Output, and the gradient with respect to parameters and input."""
    for name, (layer, shape) in LAYERS.items():
        x = normal(*shape)
        params, state = layer.init(KEY, x)

        def f(params: Any, x: Any, layer: Any = layer, state: Any = state) -> Any:
            y, _ = layer.apply(params, state, x, train=True)
            return jnp.sum(jnp.sin(y)), y

        (_, y), gradient = jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(params, x)
        yield name, y
        yield f"{name}, gradient", gradient


RUNS = {
    "mlp": (fnn.models.mlp((16,), 2), (8,)),
    "cnn": (
        fnn.serial(
            fnn.conv(4, 3, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(2)
        ),
        (8, 8, 1),
    ),
    "lstm": (fnn.serial(fnn.lstm(8), fnn.dropout(0.2), fnn.dense(2)), (10, 3)),
}


def training() -> Iterator[tuple[str, Any]]:
    """The losses of a short run and the parameters at its end."""
    y = np.arange(64) % 2
    for name, (model, shape) in RUNS.items():
        run = fnn.trainer(model, fnn.optim.adam(3e-3), fnn.tasks.multiclass(2), epochs=5, batch_size=16)
        trained, history = run(KEY, (normal(64, *shape), y))
        yield f"{name}, losses", history["loss"]
        yield f"{name}, parameters", trained.params


FAMILIES = (draws, initializers, activations, losses, optimizers, layers, training)


def computed() -> dict[str, np.ndarray]:
    """Every number, by "family: name leaf"."""
    found = {}
    for family in FAMILIES:
        for name, value in family():
            for path, leaf in jax.tree_util.tree_leaves_with_path(value):
                found[f"{family.__name__}: {name} {jax.tree_util.keystr(path)}".rstrip()] = np.asarray(leaf)
    return found


def describe() -> str:
    return f"Python {platform.python_version()}, jax {jax.__version__}, jaxlib {jaxlib.__version__}"


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference relative to the largest entry; infinite where shape, type or a NaN differs."""
    if a.shape != b.shape or a.dtype != b.dtype or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    a, b = (np.where(np.isfinite(one), one, 0).astype(np.float64) for one in (a, b))
    return float(np.max(np.abs(a - b), initial=0) / max(np.max(np.abs(a), initial=0), 1e-30)) if np.any(a != b) else 0.0


def compare(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> tuple[list[str], bool]:
    """A Markdown table of the largest difference in each family, and whether all are as small as they should be."""
    lines = ["| | numbers | largest difference | where | tolerance |", "|---|---:|---:|---|---:|"]
    fine = one.keys() == other.keys()
    if not fine:
        lines.insert(0, f"only in one of them: {sorted(one.keys() ^ other.keys())}")
    for family, tolerance in TOLERANCES.items():
        names = [name for name in one if name.startswith(f"{family}: ") and name in other]
        worst, where = max((difference(one[name], other[name]), name) for name in names)
        fine &= worst <= tolerance
        size = sum(one[name].size for name in names)
        place = where.removeprefix(f"{family}: ") if worst else "–"
        lines.append(f"| {family} | {size:,} | {worst:.0e} | {place} | {tolerance:.0e} |".replace("0e+00", "0"))
    return lines, bool(fine)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="FILE")
    options = parser.parse_args(given)
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(options.write, versions=np.asarray(describe()), **computed())
        print(f"{describe()}: written to {options.write}")
        return 0
    if not options.compare:
        parser.error("expected --write FILE or --compare FILE FILE")
    one, other = (dict(np.load(path)) for path in options.compare)
    print(f"{one.pop('versions')} beside {other.pop('versions')}\n")
    lines, fine = compare(one, other)
    print("\n".join(lines))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
