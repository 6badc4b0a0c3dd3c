"""What compiles: the table in docs/compilations.md; other answers where anything changed; memory that stays flat."""

import functools
import gc
import itertools
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.programs import walk

ROWS = 20
X = np.linspace(-1, 1, 2 * ROWS, dtype=np.float32).reshape(ROWS, 2)
Y = np.arange(ROWS) % 2
FIRST = {"key": 0, "rows": 0, "rate": 0.1, "shift": 0.0}
CHANGES: dict[str, dict[str, Any]] = {
    "again": {}, "built anew": {}, "other key": {"key": 1}, "other rows": {"rows": 1}, "other rate": {"rate": 0.2},
    "other data": {"shift": 1.0},
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh():
    fnn.programs.clear()
    yield
    fnn.programs.clear()


class Description(NamedTuple):
    model: Any
    task: Any


def build():
    layers = fnn.dense(3), fnn.dropout(0.1), lambda x: x * 2, fnn.dense(2)
    return Description(fnn.serial(*layers), fnn.tasks.multiclass(2))


def optimizer(rate):
    return fnn.optim.chain(fnn.optim.clip_by_global_norm(1.0), fnn.optim.sgd(rate))


def key_of(of):
    return jax.random.key(of["key"])


def data(of):
    return X + np.float32(of["shift"]), Y


def rows(of):
    return np.arange(of["rows"], ROWS - 1 + of["rows"])


def fit(given, of):
    return fnn.fit(
        given.model, optimizer(of["rate"]), given.task, data(of), key=key_of(of), rows=rows(of), epochs=2, batch_size=5,
        penalty=fnn.optim.l2(1e-3), early_stopping=fnn.early_stopping("loss", patience=5), progress=False,
    )  # fmt: skip


def trainer(given, of):
    run = fnn.trainer(given.model, optimizer(of["rate"]), given.task, epochs=2, batch_size=5)
    return run(key_of(of), data(of), rows(of))


@functools.cache
def trained():
    model = build().model
    return fnn.Trained(*jax.jit(model.init)(jax.random.key(0), X))


def predict(given, of):
    return fnn.predict(given.model, trained(), data(of)[0][rows(of)], given.task)


def evaluate(given, of):
    return fnn.evaluate(given.model, trained(), data(of), given.task, rows(of))


def mc_dropout(given, of):
    model = fnn.mc_dropout(given.model)
    draw = lambda key: model.apply(*trained(), data(of)[0][rows(of)], key=key)[0]  # noqa: E731
    return jax.vmap(draw)(jax.random.split(key_of(of), 3))


def cross_validate(given, of, verb=fnn.selection.cross_validate, **options):
    folds = fnn.selection.k_fold(ROWS, 2, seed=of["rows"])
    over = {"rate": [of["rate"], 0.3, 0.4]}
    options = {"over": over, "folds": folds} | options
    return verb(
        given.model, optimizer, given.task, data(of), key=key_of(of), epochs=2, batch_size=5, progress=False,
        **options,
    )  # fmt: skip


def sweep(given, of):
    return cross_validate(given, of, fnn.selection.sweep, how="halving", factor=2)


def fixed(given, of, verb, **options):
    """A verb whose learning rate is part of the optimizer."""
    kept = rows(of)
    x, y = data(of)
    return verb(
        given.model, options.pop("optimizer", optimizer(of["rate"])), given.task, (x[kept], y[kept]), key=key_of(of),
        epochs=2, batch_size=5, **options,
    )  # fmt: skip


def ensemble(given, of):
    return fixed(given, of, fnn.selection.ensemble, members=2, progress=False)


def snapshots(given, of):
    return fixed(given, of, fnn.selection.snapshots, members=2, optimizer=optimizer, learning_rate=of["rate"])


def learning_curve(given, of):
    return fixed(given, of, fnn.selection.learning_curve, folds=2, sizes=[0.5, 1.0], progress=False)


def estimator(of, kind, dtype):
    estimators = pytest.importorskip("fnn.estimators")
    x, y = (part[rows(of)] for part in data(of))
    fitted = getattr(estimators, kind)(
        model=lambda outputs: fnn.serial(fnn.dense(3), fnn.dense(outputs)), optimizer=optimizer,
        learning_rate=of["rate"], epochs=2, random_state=of["key"],
    ).fit(x, y.astype(dtype))  # fmt: skip
    return fitted.predict(x)


def classifier(given, of):
    return estimator(of, "Classifier", int)


def regressor(given, of):
    return estimator(of, "Regressor", np.float32)


def rate_range(given, of):
    x, y = (part[rows(of)] for part in data(of))
    with pytest.warns(RuntimeWarning, match="the best rate is the"):
        return fnn.selection.rate_range(
            given.model, fnn.optim.sgd, given.task, (x, y), key=key_of(of), low=of["rate"] / 10, high=of["rate"],
            rates=3, seeds=2, steps=4, batch_size=5,
        )  # fmt: skip


def batches(of):
    x, y = (part[rows(of)] for part in data(of))
    return [(x[first : first + 5], y[first : first + 5]) for first in range(0, len(x), 5)]


def stream_fit(given, of):
    validation = batches(of)[1:3]
    return fnn.fit(
        given.model, optimizer(of["rate"]), given.task, batches(of), key=key_of(of), epochs=2, validation=validation,
        progress=False,
    )  # fmt: skip


def stream_evaluate(given, of):
    return fnn.evaluate(given.model, trained(), batches(of), given.task)


def stream_predict(given, of):
    return fnn.predict(given.model, trained(), lambda: (x for x, _ in batches(of)), given.task)


def map_fit(given, of):
    with tempfile.TemporaryDirectory() as folder:
        x, y = data(of)
        held = np.memmap(Path(folder) / "x", np.float32, "w+", shape=x.shape)
        held[:] = x
        return fnn.fit(
            given.model, optimizer(of["rate"]), given.task, (held, y), key=key_of(of), rows=rows(of), epochs=2,
            batch_size=5, progress=False,
        )  # fmt: skip


VERBS = {
    "fit": fit, "trainer": trainer, "predict": predict, "evaluate": evaluate, "mc_dropout": mc_dropout,
    "selection.cross_validate": cross_validate, "selection.sweep": sweep, "selection.ensemble": ensemble,
    "selection.snapshots": snapshots, "selection.learning_curve": learning_curve, "estimators.Classifier": classifier,
    "estimators.Regressor": regressor, "selection.rate_range": rate_range, "fit, a stream": stream_fit,
    "fit, a memory map": map_fit, "evaluate, a stream": stream_evaluate, "predict, a stream": stream_predict,
}  # fmt: skip


QUICK = ("fit", "trainer", "predict", "evaluate", "predict, a stream")
"""What compiles for seconds each is thorough."""


def table():
    """docs/compilations.md: verb -> change -> "0", "some" or "–"."""
    text = (Path(__file__).parents[1] / "docs" / "compilations.md").read_text(encoding="utf-8")
    first = itertools.dropwhile(lambda line: line[:1] != "|", text.splitlines())
    lines = [
        [cell.replace("`", "").strip() for cell in line.strip("|").split("|")]
        for line in itertools.takewhile(lambda line: line[:1] == "|", first)
    ]
    return {line[0]: dict(zip(lines[0][1:], line[1:], strict=True)) for line in lines[2:]}


def test_the_table_has_every_verb_and_every_change():
    assert list(table()) == list(VERBS)
    assert all(list(line) == ["first", *CHANGES] for line in table().values())


@pytest.mark.parametrize(
    "verb", [verb if verb in QUICK else pytest.param(verb, marks=pytest.mark.thorough) for verb in VERBS]
)
def test_the_table_says_what_compiles(verb, compilations):
    trained()
    given, found = build(), {}
    before = compilations()
    for name, change in {"first": {}, **CHANGES}.items():
        VERBS[verb](build() if name == "built anew" else given, FIRST | change)
        found[name] = "some" if compilations() > before else "0"
        before = compilations()
    said = table()[verb]
    assert found == {name: "0" if cell == "–" else cell for name, cell in said.items()}


strength = 0.0


def scaled(x):
    return x * (1 + strength)


def penalty(params):
    return strength * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def test_a_changed_constant_in_a_layer_answers_anew(monkeypatch):
    model, task = fnn.serial(fnn.dense(2), scaled), fnn.tasks.multiclass(2)
    start = fnn.Trained(*model.init(jax.random.key(0), X))
    before = fnn.predict(model, start, X), fnn.evaluate(model, start, (X, Y), task)["loss"]
    monkeypatch.setitem(globals(), "strength", 1.0)
    np.testing.assert_allclose(fnn.predict(model, start, X), 2 * before[0], rtol=1e-6)
    assert fnn.evaluate(model, start, (X, Y), task)["loss"] != before[1]


def by_fit():
    return fnn.fit(*short(), key=jax.random.key(0), epochs=1, penalty=penalty, progress=False)[1]["loss"][0]


def by_trainer():
    run = fnn.trainer(*short()[:3], epochs=1, penalty=penalty)
    return float(run(jax.random.key(0), (X, Y))[1]["loss"][0])


def by_cross_validation():
    found = fnn.selection.cross_validate(
        *short(), key=jax.random.key(0), epochs=1, folds=2, penalty=penalty, progress=False
    )
    return found.scores["loss"][0, 0, 0]


def short():
    return fnn.dense(2), fnn.optim.sgd(0.1), fnn.tasks.multiclass(2), (X, Y)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", [by_fit, by_trainer, by_cross_validation])
def test_a_changed_global_of_a_penalty_answers_anew(loss, monkeypatch):
    before = loss()
    monkeypatch.setitem(globals(), "strength", 100.0)
    assert loss() != before
    monkeypatch.undo()
    assert loss() == before


def test_a_run_that_was_configured_before_a_global_changed_answers_anew(monkeypatch):
    run = fnn.trainer(*short()[:3], epochs=1, penalty=penalty)
    before = float(run(jax.random.key(0), (X, Y))[1]["loss"][0])
    monkeypatch.setitem(globals(), "strength", 100.0)
    assert float(run(jax.random.key(0), (X, Y))[1]["loss"][0]) != before


def test_a_run_of_what_cannot_be_compared_keeps_a_program_of_its_own(compilations):
    lock = threading.Lock()
    run = fnn.trainer(fnn.serial(fnn.dense(2), lambda x: x if lock else 0 * x), *short()[1:3], epochs=1)
    key = jax.random.key(0)
    run(key, (X, Y))
    assert fnn.programs.info().unknown == 1
    before = compilations()
    run(key, (X + 1, Y))
    assert compilations() == before


def test_models_that_are_dropped_leave_no_more_than_the_store_holds(monkeypatch):
    monkeypatch.setattr(fnn.programs.store, "LIMIT", 3)
    start, kept = fnn.Trained(((), {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}), ()), []
    for size in range(8):
        table = jnp.full((1, 2), float(size))
        model = fnn.serial(lambda x, table=table: x * table, fnn.dense(2))
        fnn.predict(model, start, X)
        kept.append(weakref.ref(table))
        del table, model
    gc.collect()
    assert fnn.programs.info().kept == 3
    assert sum(one() is not None for one in kept) <= 3


def test_what_jax_keeps_of_a_dropped_program_is_small():
    """JAX keeps static arguments beyond their program: a fingerprint in one was kept for every model of a process."""
    model, parts = fnn.serial(fnn.dense(2), fnn.relu), ({"kernel": jnp.eye(2), "bias": jnp.zeros(2)}, ())
    identities = lambda: sum(type(one) is walk.Same for one in gc.get_objects())  # noqa: E731
    fnn.programs.clear()
    gc.collect()
    before = identities()
    fnn.predict(model, fnn.Trained(parts, ()), X)
    assert identities() > before
    fnn.programs.clear()
    gc.collect()
    assert identities() == before


@pytest.mark.parametrize("rule", [None, fnn.early_stopping("loss", patience=2)], ids=["scan", "while"])
def test_runs_at_once_batch_each_step_once(rule):
    seen = []

    @jax.custom_batching.custom_vmap
    def batched(x):
        return x

    @batched.def_vmap
    def _(size, is_batched, x):
        seen.append(size)
        return x, is_batched[0]

    model = fnn.serial(fnn.dense(1), lambda x: x + jax.lax.stop_gradient(batched(jax.lax.stop_gradient(x))))
    run = fnn.trainer(model, fnn.optim.adam(0.1), fnn.tasks.regression(), epochs=2, batch_size=4, early_stopping=rule)
    x = jnp.linspace(-1, 1, 8)[:, None]
    jax.eval_shape(jax.vmap(lambda key: run(key, (x, x))), jax.random.split(jax.random.key(0), 3))
    assert seen == [3]
