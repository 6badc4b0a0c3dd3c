"""Members in groups and slices of time: memory, Ctrl-C between two slices, the estimate beside what XLA allocates."""

import contextlib
import functools
import signal
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.selection import members
from fnn.selection.chunk import ChunkProgram, advance_chunk, begin_chunk
from fnn.selection.plan import make_plan, member_of
from fnn.selection.training import Member, Running
from fnn.train.options import Options

KEY = jax.random.key(0)
STEPS = 5


class Count(NamedTuple):
    value: Any
    epochs: Any
    over: Any


def counting(description):
    """A member that adds its `x` at every step, and stops after epochs of its own; `description` changes nothing."""

    def begin(one, shared):
        return Running((), Count(jnp.zeros(()), jnp.zeros((), jnp.int32), one["epochs"] < 0))

    def advance(one, shared, running, epoch, first, last):
        value, _, over = running.carry
        more = value + (last - first).astype(jnp.float32) * one["x"] * shared
        return running._replace(carry=running.carry._replace(value=jnp.where(over, value, more)))

    def close(one, shared, running, epoch):
        value, epochs, over = running.carry
        epochs = jnp.where(over, epochs, epochs + 1)
        return running._replace(carry=Count(value, epochs, epochs >= one["epochs"]))

    def finish(one, shared, running):
        return {"value": running.carry.value, "place": one["place"], "epochs": running.carry.epochs}

    return Member(begin, lambda one, shared: STEPS, advance, close, finish)


def arguments(count):
    place = np.arange(count)
    return {"x": place.astype(np.float32), "place": place, "epochs": 1 + place % 3}


@pytest.fixture
def interrupt(monkeypatch):
    """Ctrl-C as a person presses it, once so many members are shown; slices of 1, 4, 16, … steps on a clock at rest."""
    monkeypatch.setattr(members, "clock", lambda: 0.0)

    def after(count):
        shown = [0]

        @contextlib.contextmanager
        def bar(progress, total, unit):
            def show(done, row):
                before, shown[0] = shown[0], shown[0] + done
                if before < count <= shown[0] or count == 0:
                    signal.raise_signal(signal.SIGINT)

            yield show

        monkeypatch.setattr(members, "progress_bar", bar)

    return after


def run(count, description="", **options):
    mesh = fnn.devices.data_mesh(jax.devices()[:1])
    options = {"last": 3, "together": False, "mesh": mesh} | options
    return members.run_members(counting, description, arguments(count), jnp.ones(()), progress=False, **options)


@pytest.mark.parametrize("options", [{}, {"chunk": 3}, {"chunk": 3, "together": True}, {"together": True}])
def test_every_member_once_in_order_however_members_and_time_are_cut(options):
    found, finished = run(7, **options)
    assert finished.all()
    np.testing.assert_array_equal(found["place"], np.arange(7))
    np.testing.assert_array_equal(found["epochs"], 1 + np.arange(7) % 3)
    np.testing.assert_array_equal(found["value"], STEPS * np.arange(7) * (1 + np.arange(7) % 3))


def test_a_slice_of_time_is_no_longer_than_its_share_of_a_second(monkeypatch):
    """A clock on which every step takes a tenth of a second: two steps are a slice, whatever the epochs and members."""
    slices, compiled = [], members.programs.compile

    def watched(function, description, **options):
        program = compiled(function, description, **options)
        if function is not advance_chunk:
            return program
        return lambda *given: slices.append(int(given[-1])) or program(*given)

    monkeypatch.setattr(members.programs, "compile", watched)
    monkeypatch.setattr(members, "clock", lambda: sum(slices) / 10)
    found, finished = run(4)
    assert finished.all()
    assert set(slices) == {1, 2}
    np.testing.assert_array_equal(found["value"], STEPS * np.arange(4) * (1 + np.arange(4) % 3))


def test_ctrl_c_keeps_the_finished_members(interrupt):
    interrupt(2)
    found, finished = run(7)
    assert finished.tolist() == [True] * 2 + [False] * 5
    assert found["place"].tolist() == [0, 1, -1, -1, -1, -1, -1]
    np.testing.assert_array_equal(found["value"], [0, 10, *[np.nan] * 5])


def test_ctrl_c_keeps_the_finished_chunks(interrupt):
    interrupt(4)
    found, finished = run(7, chunk=2, together=True)
    assert finished.tolist() == [True] * 4 + [False] * 3
    assert found["place"].tolist() == [0, 1, 2, 3, -1, -1, -1]


def test_ctrl_c_before_the_first_member_is_finished_ends_the_call(interrupt):
    interrupt(0)
    with pytest.raises(KeyboardInterrupt):
        run(7, together=True)


def test_ctrl_c_when_all_finished_members_of_an_ensemble_diverged_ends_the_call_and_says_so(interrupt):
    interrupt(2)
    data = np.full((20, 1), 1e25, np.float32), np.ones(20, np.float32)  # its square overflows
    with pytest.raises(KeyboardInterrupt, match=r"ensemble: Ctrl-C was .*every member finished until then diverged\. "):
        fnn.selection.ensemble(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), data, key=KEY, members=6, epochs=2, chunk=2,
            bootstrap=False, progress=False,
        )  # fmt: skip


def test_ctrl_c_in_cross_validation_and_in_a_sweep(interrupt):
    interrupt(8)
    x = jnp.linspace(-1, 1, 20).reshape(20, 1)
    options = {"folds": 2, "batch_size": 5, "chunk": 4, "progress": False, "epochs": 4}
    given = (fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]))
    rates = {"learning_rate": [0.01, 0.3, 0.1, 0.2, 0.02, 0.03]}
    found = fnn.selection.cross_validate(*given, key=KEY, over=rates, **options)
    assert found.finished[:, :, 0].sum(axis=1).tolist() == [2, 2, 2, 2, 0, 0]
    assert np.isfinite(found.scores["mse"][:4]).all()
    assert np.isnan(found.scores["mse"][4:]).all()
    assert found.best("mse") == {"learning_rate": 0.3}
    interrupt(8)
    raced = fnn.selection.sweep(*given, key=KEY, over=rates, how="halving", factor=2, **options)
    assert raced.finished[:, :, 0].sum(axis=1).tolist() == [2, 2, 2, 2, 0, 0]
    assert (raced.epochs[:4] == 1).all()
    assert (raced.epochs[4:] == 0).all()


@pytest.mark.thorough
def test_sequences_that_no_network_has_seen_before_ctrl_c_have_no_length(interrupt):
    interrupt(1)
    x = np.linspace(-1, 1, 36, dtype=np.float32).reshape(6, 3, 2)
    model, loss = fnn.time_distributed(fnn.dense(1)), fnn.losses.squared_error
    found = fnn.selection.cross_validate(
        model, fnn.optim.sgd(0.1), loss, (fnn.Padded(x, np.array([1, 2, 3] * 2)), x[..., :1]), key=KEY, chunk=1,
        folds=fnn.selection.k_fold(6, 3), epochs=2, batch_size=None, progress=False,
    )  # fmt: skip
    assert found.finished.ravel().tolist() == [True, False, False]
    assert found.outputs.lengths[0, 0].tolist() == [1, 2, 0, 0, 0, 0]
    assert np.isnan(found.outputs.values[0, 0, :, 0, 0]).tolist() == [False, False, True, True, True, True]


@pytest.mark.thorough
def test_ctrl_c_in_a_later_rung_keeps_the_earlier_ones(interrupt):
    interrupt(12)
    x = jnp.linspace(-1, 1, 20).reshape(20, 1)
    found = fnn.selection.sweep(
        fnn.dense(1), fnn.optim.sgd, fnn.tasks.regression(), (x, 3 * x[:, 0]), key=KEY, how="halving", factor=2,
        over={"learning_rate": [0.01, 0.3, 0.1, 0.2]}, folds=2, batch_size=5, progress=False, epochs=4,
    )  # fmt: skip
    # Two rungs were run; the last one, of the winner, was not begun.
    assert found.epochs[:, 0, 0].tolist() == [1, 2, 1, 2]
    assert np.isfinite(found.scores["mse"]).all()
    assert found.best("mse") == {"learning_rate": 0.3}


def test_members_run_as_measured_to_be_faster(monkeypatch):
    rows, pictures, series = jnp.zeros((5, 64)), jnp.zeros((5, 28, 28, 1)), jnp.zeros((5, 7, 3))
    monkeypatch.setattr(members.placement, "platform", lambda: "gpu")
    assert members.batched_is_faster(fnn.models.lenet5(2), pictures)
    monkeypatch.setattr(members.placement, "platform", lambda: "cpu")
    assert members.batched_is_faster(fnn.models.mlp((8,), 2), rows)
    assert members.batched_is_faster(fnn.models.mlp((256, 256), 10), rows)  # 85,000 parameters
    assert not members.batched_is_faster(fnn.models.mlp((512, 512), 10), rows)  # 300,000
    assert not members.batched_is_faster(fnn.models.mlp((256,), 10), pictures)  # 203,530, by their columns
    assert not members.batched_is_faster(fnn.models.lenet5(2), pictures)
    assert not members.batched_is_faster(fnn.models.sequence_classifier(2, (3,)), series)
    assert not members.batched_is_faster(fnn.serial(fnn.bidirectional(fnn.gru(3)), fnn.dense(2)), series)


def test_chunks_follow_the_memory(monkeypatch):
    sizes = []
    watched = members._run_chunk
    monkeypatch.setattr(members, "_run_chunk", lambda given, *rest: sizes.append(given.group) or watched(given, *rest))
    monkeypatch.setattr(members, "bytes_per_member", lambda *given: 100)
    monkeypatch.setattr(members.placement, "available_bytes", lambda: 1200)
    assert run(7, together=True)[1].all()
    assert sizes == [3, 3, 3]  # a quarter of 1,200 bytes


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (fnn.models.mlp((64,), 2), (8,)),
        (fnn.serial(fnn.conv(8, 3), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(2)), (12, 12, 1)),
        (fnn.serial(fnn.lstm(16), fnn.dense(2)), (10, 4)),
    ],
    ids=["mlp", "cnn", "lstm"],
)
def test_the_estimate_is_near_enough_to_what_xla_allocates(model, shape):
    x, y = jnp.zeros((200, *shape)), jnp.arange(200) % 2
    plan = make_plan(
        "test", model, fnn.optim.adam(0.1), fnn.tasks.multiclass(2), (x, y), key=KEY, folds=5, seeds=8, over=None,
        scaler=None, groups=None, class_weight=None, together=True, options=Options(1),
    )  # fmt: skip
    rows, zero = plan.arguments(), jnp.zeros((), jnp.int32)
    estimate = members.bytes_per_member(member_of, plan.makers, rows, plan.shared)
    given = ChunkProgram(member_of, plan.makers, True, len(rows["fold"]), None)
    state = jax.eval_shape(functools.partial(begin_chunk, given), rows, plan.shared, zero)
    advance = jax.jit(functools.partial(advance_chunk, given), donate_argnums=0)
    compiled = advance.lower(state, rows, plan.shared, (zero, zero), jnp.zeros(1, jnp.int32), zero).compile()
    analysis = compiled.memory_analysis()
    allocated = (analysis.temp_size_in_bytes + analysis.output_size_in_bytes) / len(rows["fold"])
    # A chunk is given a quarter of the memory, so the estimate may be that far off before anything is lost.
    assert members.MEMORY_SHARE * allocated < estimate < 10 * allocated
