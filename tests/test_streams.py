"""Data read batch by batch: the numbers of arrays, one compilation, errors that name the batch."""

import collections
import contextlib
import copy
import functools
import itertools
import json
import pickle
import re
import threading
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.kernels import placement
from fnn.train.feeding import Feed
from fnn.train.process_batches import Part, _fill_up
from fnn.train.stream import Stream
from fnn.train.stream_outputs import Application, Scoring
from fnn.train.stream_place import come_to
from fnn.train.stream_state import decode_state, encode_state

KEY = jax.random.key(0)
TASK = fnn.tasks.multiclass(2)
OPTIMIZER = fnn.optim.adam(0.01)
MODEL = fnn.serial(fnn.dense(4, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.dropout(0.3), fnn.dense(2))
ROWS, SIZE = 22, 8
X = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int32)
WEIGHTS = np.linspace(0.5, 2, ROWS, dtype=np.float32)
HELD_X, HELD_Y = X[::2] + 0.5, Y[::2]


def cut(*arrays, size=SIZE):
    return [tuple(array[first : first + size] for array in arrays) for first in range(0, len(arrays[0]), size)]


def batches():
    yield from cut(X, Y)


def fit(data, **options):
    options = dict(key=KEY, epochs=3, progress=False) | options
    return fnn.fit(MODEL, OPTIMIZER, TASK, data, **options)


@functools.cache
def of_arrays(weighted=False):
    data = (X, Y, WEIGHTS) if weighted else (X, Y)
    return fit(data, batch_size=SIZE, shuffle=False, validation=(HELD_X, HELD_Y))


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def close(one, other):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), one, other)


def same_run(one, other):
    """The bits of all that is trained; a GPU may sum the means of an epoch in another order."""
    same(one[0], other[0])
    (same if placement.platform() == "cpu" else close)(one[1], other[1])


class Again:
    """What can be iterated again and knows its length."""

    def __init__(self, given):
        self.given = given

    def __len__(self):
        return len(self.given)

    def __iter__(self):
        return iter(self.given)


class Tensor:
    """What tf.data gives: an array to NumPy, and nothing else."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


def of_torch():
    torch = pytest.importorskip("torch")
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X.copy()), torch.from_numpy(Y.astype(np.int64)))
    return torch.utils.data.DataLoader(rows, batch_size=SIZE)


def over_one_buffer():
    x, y = np.empty((SIZE, 3), np.float32), np.empty(SIZE, np.int32)
    for part, targets in batches():
        x[: len(part)], y[: len(part)] = part, targets
        yield x[: len(part)], y[: len(part)]


SOURCES = {
    "generator function": lambda: batches,
    "of the epoch": lambda: lambda epoch: batches(),
    "list": lambda: cut(X, Y),
    "re-iterable": lambda: Again(cut(X, Y)),
    "lists": lambda: Again([list(batch) for batch in cut(X, Y)]),
    "jax arrays": lambda: Again([tuple(map(jnp.asarray, batch)) for batch in cut(X, Y)]),
    "tensors": lambda: Again([tuple(map(Tensor, batch)) for batch in cut(X, Y)]),
    "one buffer": lambda: over_one_buffer,
    "torch": of_torch,
    "float64 targets": lambda: Again(cut(X, Y.astype(float))),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_stream_gives_the_bits_of_arrays_in_its_order(name):
    same_run(fit(SOURCES[name](), validation=(HELD_X, HELD_Y)), of_arrays())


def test_weights_of_a_stream_are_weights_of_arrays():
    same_run(fit(Again(cut(X, Y, WEIGHTS)), validation=(HELD_X, HELD_Y)), of_arrays(weighted=True))


@pytest.mark.parametrize("size", [4, 11, 64])
def test_a_validation_stream_scores_as_arrays_do(size):
    close(fit((X, Y), batch_size=SIZE, shuffle=False, validation=Again(cut(HELD_X, HELD_Y, size=size))), of_arrays())


def test_early_stopping_and_callbacks_see_what_they_see_of_arrays():
    def run(data, validation, **options):
        seen = []
        note = fnn.every(2, lambda end: seen.append((end.epoch, end.step, end.row["loss"])))
        rule = fnn.early_stopping("validation_accuracy", patience=1)
        found = fit(
            data, validation=validation, epochs=9, early_stopping=rule,
            callbacks=[note, lambda end: seen.append((end.epoch, end.row["loss"]))], **options,
        )  # fmt: skip
        return found, seen

    one = run(batches, Again(cut(HELD_X, HELD_Y)))
    close(one, run((X, Y), (HELD_X, HELD_Y), batch_size=SIZE, shuffle=False))
    assert one[0][1]["epochs"] < 9


def sizes(*each):
    ends = np.cumsum(each)
    return [(X[end - n : end], Y[end - n : end]) for n, end in zip(each, ends, strict=True)]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
def test_sizes_that_vary_are_one_program(compilations, dtype):
    fit(Again(sizes(3, 8, 1, 8, 2)))
    before = compilations()
    fit(Again([(x, y.astype(dtype)) for x, y in sizes(1, 8, 5, 3, 5)]))
    assert compilations() == before


@pytest.mark.thorough
def test_steps_of_other_sizes_are_those_written_by_hand():
    each = sizes(8, 3, 8, 1)
    model = fnn.dense(2)  # nothing that sees the rows which fill a batch up
    step, keys = fnn.train_step(model, OPTIMIZER, TASK), jax.random.split(KEY, 3)
    state = step.init(keys[0], X[:1])
    update = jax.jit(step.update)
    for number, (x, y) in enumerate(each * 2):
        state, _ = update(state, jax.random.fold_in(keys[2], number), (x, y))
    trained, history = fnn.fit(model, OPTIMIZER, TASK, Again(each), key=KEY, epochs=2, progress=False)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), trained, state.trained)


@pytest.mark.thorough
def test_batches_that_outgrow_the_first_ones_are_trained_on(monkeypatch):
    monkeypatch.setattr("fnn.train.feeding.BATCHES_LOOKED_AT", 1)
    each, model = sizes(2, 3, 8, 1), fnn.dense(2)
    small = fnn.fit(model, OPTIMIZER, TASK, Again(each), key=KEY, epochs=2, progress=False)
    monkeypatch.undo()
    large = fnn.fit(model, OPTIMIZER, TASK, Again(each), key=KEY, epochs=2, progress=False)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), small, large)


@pytest.mark.parametrize("bytes_at_once", [1, 300])
def test_the_size_of_a_super_batch_changes_nothing_but_rounding(monkeypatch, bytes_at_once):
    # A bias before a norm has no gradient but rounding.
    model = fnn.serial(fnn.dense(4, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.dense(2))
    fit = functools.partial(fnn.fit, model, fnn.optim.sgd(0.1), TASK, key=KEY, epochs=3, progress=False)
    monkeypatch.setattr("fnn.train.feeding.CHUNK_BYTES", bytes_at_once)
    expected = fit((X, Y), batch_size=SIZE, shuffle=False)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), fit(batches), expected)


def small_chunks(monkeypatch, batches_each):
    """As many batches of X and Y in a super-batch."""
    each = X[:SIZE].nbytes + Y[:SIZE].nbytes + WEIGHTS[:SIZE].nbytes
    monkeypatch.setattr("fnn.train.feeding.CHUNK_BYTES", batches_each * each)


def test_what_a_run_computes_with_is_not_written_over_while_the_next_is_read(monkeypatch):
    small_chunks(monkeypatch, 1)
    close(fit(cut(X, Y), epochs=3), fit((X, Y), epochs=3, batch_size=SIZE, shuffle=False))


def test_the_memory_of_a_super_batch_is_filled_anew(monkeypatch):
    small_chunks(monkeypatch, 1)
    feed = Feed(Stream("fit", cut(X, Y), TASK.encode))
    seen = set()
    for epoch in range(3):
        feed.begin(epoch)
        while (chunk := feed.next()) is not None:
            seen.add(chunk.memory.ctypes.data)
            feed.reuse(chunk)
    assert len(seen) <= 4


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_batch_that_diverges_is_explained_by_its_own_rows_while_later_ones_are_read(batch, monkeypatch):
    small_chunks(monkeypatch, 1)
    x = X.copy()
    x[batch * SIZE] = 3e38  # its square is infinite
    squares = fnn.serial(lambda x: x * x, fnn.dense(2))
    with pytest.warns(RuntimeWarning, match=f"epoch 1, step {batch + 1};.*output: 3 of 24") as said:
        history = fnn.fit(squares, OPTIMIZER, TASK, cut(x, Y), key=KEY, epochs=2, progress=False)[1]
    assert history["diverged_at"] == batch
    assert len(said) == 1


@pytest.mark.parametrize("task", [TASK, fnn.tasks.regression()], ids=["classes", "values"])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_run_that_diverged_is_resumed_without_a_replay_of_another_batch(bad, task, tmp_path):
    def stream(epoch):
        x = X.copy()
        x[SIZE] = 3e38 if epoch == bad else x[SIZE]  # its square is infinite
        return iter(cut(x, Y))

    def run(epochs):
        model = fnn.serial(lambda x: x * x, fnn.dense(2 if task is TASK else 1))
        with pytest.warns(RuntimeWarning, match=f"epoch {bad + 1}, step 2; ") as said:
            _, history = fnn.fit(
                model, OPTIMIZER, task, stream, key=KEY, epochs=epochs, progress=False, checkpoint=tmp_path
            )
        assert (history["diverged_at"], len(said)) == (3 * bad + 1, 1)
        return str(said[0].message)

    assert "output: 3 of 24" in run(3)
    for epochs in (3, 4):
        assert "that batch of the stream is not read again" in (said := run(epochs))
        assert "eplayed" not in said


def test_an_epoch_may_have_more_batches_than_the_first():
    def growing(epoch):
        yield from cut(X, Y)[: epoch + 1]

    steps = []
    _, history = fit(growing, epochs=3, callbacks=[fnn.every(1, lambda end: steps.append((end.epoch, end.step)))])
    assert steps == [(0, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]
    assert len(history["loss"]) == 3


def test_a_tree_of_inputs_is_streamed():
    model = fnn.stateless(lambda key, x: fnn.dense(2).init(key, x["a"])[0], lambda p, x: x["a"] @ p["kernel"] + x["b"])
    each = Again([({"a": x, "b": x[:, :2]}, y) for x, y in cut(X, Y)])
    one = fnn.fit(model, OPTIMIZER, TASK, each, key=KEY, epochs=2, progress=False)
    two = fnn.fit(
        model, OPTIMIZER, TASK, ({"a": X, "b": X[:, :2]}, Y), key=KEY, epochs=2, batch_size=SIZE, shuffle=False,
        progress=False,
    )  # fmt: skip
    same(one, two)


def changed(batch, change):
    """The second of three batches is another one."""
    each = cut(X, Y)
    each[batch] = change(*each[batch])
    return Again(each)


def with_nan(x, y):
    x = x.copy()
    x[3, 1] = np.nan
    return x, y


BAD = {
    "y missing": (lambda x, y: (x,), r"expected \(x, targets\) or \(x, targets, weights\), got \(float32\[8,3\]\)"),
    "only x": (lambda x, y: x, r"expected \(x, targets\) or \(x, targets, weights\), got float32\[8,3\]"),
    "nan": (with_nan, "x contains nan at row 3, column 1; remove the row"),
    "columns": (lambda x, y: (x[:, :2], y), r"expected float32\[rows,3\], int32\[rows\] as in the first batch, got"),
    "dtype": (lambda x, y: (x.astype(float), y), r"as in the first batch, got float64\[rows,3\], int32\[rows\]"),
    "objects": (lambda x, y: (x.astype(str).astype(object), y), "expected numeric x, got object"),
    "empty": (lambda x, y: (x[:0], y[:0]), "expected at least one row"),
    "targets": (lambda x, y: (x, y[:3]), "expected one target per row of x, got 8 rows"),
    "classes": (lambda x, y: (x, y + 7), r"expected classes 0 … 1, got [78] at row 0"),
    "weights": (lambda x, y: (x, y, WEIGHTS[:8]), "as in the first batch"),
    "no axis": (lambda x, y: (x[0], y[0]), "expected"),
}


# The first batch says what the others have to be.
BAD_FIRST = [kind for kind in BAD if kind not in ("columns", "dtype", "weights")]


@pytest.mark.parametrize(("kind", "first"), [*((kind, True) for kind in BAD_FIRST), *((kind, False) for kind in BAD)])
def test_a_bad_batch_is_named(kind, first):
    change, words = BAD[kind]
    with pytest.raises(fnn.StreamError, match=f"fit, batch {1 if first else 2} of epoch 1: .*{words}") as caught:
        fit(changed(0 if first else 1, change))
    assert (caught.value.trained is None) == first


def test_what_is_finite_is_no_error_where_its_sum_is_none():
    model = fnn.serial(lambda x: jnp.sign(x), fnn.dense(2))
    huge, ones = (
        fnn.fit(model, OPTIMIZER, TASK, cut(x, Y), key=KEY, epochs=1, progress=False)
        for x in (np.full_like(X, np.finfo(np.float32).max), np.ones_like(X))
    )
    same(huge, ones)


@pytest.mark.parametrize("mask", [False, True])
def test_a_masked_batch_after_plain_ones_is_looked_at(mask):
    each = cut(X, Y)
    x, y = each[1]
    each[1] = np.ma.array(x, mask=np.arange(x.size).reshape(x.shape) == 4 if mask else False), y
    if not mask:
        return same(fit(each), fit(cut(X, Y)))
    with pytest.raises(fnn.StreamError, match=r"fit, batch 2 of epoch 1: .*row 1, column 1"):
        fit(each)


def test_every_batch_has_a_weight_for_each_row_also_where_all_of_them_together_would_be_enough():
    each = [(x, y, np.ones(count, np.float32)) for (x, y), count in zip(cut(X, Y), (8, 7, 7), strict=True)]
    with pytest.raises(fnn.StreamError, match=r"fit, batch 2 of epoch 1: expected weights of shape \(8,\), got \(7,\)"):
        fit(Again(each))


def test_what_is_right_before_a_bad_class_is_trained_on():
    words = r"fit, batch 3 of epoch 1: .*expected classes 0 … 1, got 9 at row 4"
    with pytest.raises(fnn.StreamError, match=words) as caught:
        fit(changed(2, lambda x, y: (x, np.where(np.arange(len(y)) == 4, 9, y))))
    same(caught.value.trained, fit(Again(cut(X, Y)[:2]), epochs=1)[0])


def seconds(rows, size):
    """Times in seconds, of which float32 resolves 128: equal within a batch, but not in a range that is long enough."""
    y = 1.7e9 + np.linspace(0, rows, ROWS)
    return Again([(x, part) for x, part in cut(X, y, size=size)])


@pytest.mark.parametrize("size", [1, 8, 22])
def test_digits_of_targets_are_judged_over_the_whole_epoch_as_of_arrays(size):
    run = functools.partial(fnn.fit, fnn.dense(1), fnn.optim.sgd(0.0), fnn.tasks.regression(), key=KEY, progress=False)
    _, history = run(seconds(3e7, size), epochs=1)
    assert len(history["loss"]) == 1
    with pytest.raises(ValueError, match=r"distinct values, of which float32 keeps \d; centre and scale it"):
        run((X, np.concatenate([y for _, y in seconds(30, size)])), epochs=1)
    with pytest.raises(fnn.StreamError, match=r"distinct values, of which float32 keeps \d; centre and scale it"):
        run(seconds(30, size), epochs=1)


def test_int64_classes_that_wrap_around_are_an_error():
    with pytest.raises(fnn.StreamError, match=r"batch 1 of epoch 1: .*4294967297"):
        fit(Again([(X, np.full(ROWS, 2**32 + 1))]))


def test_float64_inputs_are_said_once_and_computed_in_float32():
    with pytest.warns(UserWarning, match="fit: x is float64 and is computed in float32") as said:
        found = fit(Again(cut(X.astype(float), Y)), validation=(HELD_X, HELD_Y))
    assert len(said) == 1
    same_run(found, of_arrays())
    with pytest.warns(UserWarning, match="x is float64 and is computed in float32") as said:
        fit(Again(cut(X, Y)), validation=Again(cut(HELD_X.astype(float), HELD_Y)))
    assert len(said) == 1


def fails_at(epoch, batch, error):
    passes = iter(range(9))

    def failing():
        now = next(passes)
        for number, one in enumerate(cut(X, Y)):
            if (now, number) == (epoch, batch):
                raise error
            yield one

    return failing


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (1, 0), (1, 2)])
def test_a_stream_that_fails_says_where_and_what_was_trained_is_kept(epoch, batch, apart, monkeypatch):
    if apart:  # what fails is found while the batch before is being computed with
        small_chunks(monkeypatch, 1)
    words = f"fit: the stream failed at batch {batch + 1} of epoch {epoch + 1} with OSError: no such shard"
    with pytest.raises(fnn.StreamError, match=re.escape(words)) as caught:
        fit(fails_at(epoch, batch, OSError("no such shard")))
    assert isinstance(caught.value.__cause__, OSError)
    assert len(caught.value.history["loss"]) == caught.value.history["epochs"] == epoch
    kept = []
    stop = lambda end: kept.append(end.train_state.trained) or end.step == 3 * epoch + batch  # noqa: E731
    fit(batches, callbacks=[fnn.every(1, stop)])
    same(caught.value.trained, kept[-1])


def test_a_validation_stream_that_fails_keeps_what_was_trained():
    held = functools.partial(fails_at, 1, 1)

    def validation(epoch):
        yield from held(epoch) if epoch == 1 else batches()

    with pytest.raises(fnn.StreamError, match="fit, validation: the stream failed at batch") as caught:
        fit(batches, epochs=3, validation=validation)
    assert caught.value.trained is not None
    assert len(caught.value.history["loss"]) == 1


USES = {
    "fit": lambda given: fit(given),
    "validation": lambda given: fit(batches, validation=given),
    "evaluate": lambda given: fnn.evaluate(MODEL, trained(), given, TASK),
}


@pytest.mark.parametrize("use", USES)
def test_weights_that_are_all_zero_are_an_error(use):
    nothing = Again([(x, y, 0 * y.astype(np.float32)) for x, y in cut(X, Y)])
    with pytest.raises(fnn.StreamError, match=r"every weight.* is 0, so no row counts"):
        USES[use](nothing)


def test_a_stream_that_fails_at_once_has_trained_nothing():
    with pytest.raises(fnn.StreamError, match="batch 1 of epoch 1 with OSError") as caught:
        fit(fails_at(0, 0, OSError("gone")))
    assert caught.value.trained is None


def test_a_stream_that_ends_before_its_len_is_an_error():
    class Short(Again):
        def __len__(self):
            return 5

    with pytest.raises(fnn.StreamError, match="the stream ended after 3 of the 5 batches of its len in epoch 1"):
        fit(Short(cut(X, Y)))


def test_a_stream_that_is_read_once_is_refused_for_several_epochs():
    with pytest.raises(ValueError, match=r"fit: generator 'batches' can be read once, and 3 epochs .* without calling"):
        fit(batches())
    fit(batches(), epochs=1)
    with pytest.raises(ValueError, match="fit, validation: generator"):
        fit((X, Y), validation=batches())
    once = batches()
    with pytest.raises(fnn.StreamError, match="expected batches in epoch 2, the stream gave none; each call has to"):
        fit(lambda: once)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 16}, "makes its own batches, got batch_size=16"),
        ({"batch_size": None}, "makes its own batches, got batch_size=None"),
        ({"rows": [1, 2]}, "has no row numbers; leave rows out"),
        ({"validation": 0.2}, "no rows can be held out, got validation=float; give another stream, or arrays"),
        ({"validation": np.arange(4)}, "no rows can be held out"),
    ],
)
def test_what_belongs_to_arrays_is_refused_for_a_stream(options, words):
    with pytest.raises(ValueError, match=words):
        fit(batches, **options)


def test_a_function_of_other_arguments_is_refused():
    with pytest.raises(TypeError, match=r"takes folder; write functools.partial, or lambda epoch"):
        fit(lambda folder: batches())


@pytest.mark.parametrize("given", [None, 3, "folder", {"x": X}])
def test_what_is_no_data_is_refused(given):
    with pytest.raises(TypeError, match="expected data"):
        fit(given)


@pytest.mark.parametrize("given", [("a.npz", "b.npz"), ["a.npz", (X, Y)]])
def test_names_of_files_that_are_no_list_of_them_are_refused(given):
    with pytest.raises(TypeError, match=r"fit: expected arrays, got the name of a file, 'a\.npz'; .* a list of names"):
        fit(given)


class Order(Again):
    """A new order each time, by a generator of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(5)

    def __iter__(self):
        rows = self.rng.permutation(ROWS)
        yield from cut(X[rows], Y[rows])

    __len__ = None


class Knowing(Order):
    """It knows its state, and how often it was read."""

    def __init__(self):
        super().__init__()
        self.read = 0

    def __iter__(self):
        self.read += 1
        yield from super().__iter__()

    def state_dict(self):
        return {"rng": self.rng.bit_generator.state, "order": [(1, 2.0), None, b"x"], "last": np.arange(3)}

    def load_state_dict(self, state):
        assert state["order"] == [(1, 2.0), None, b"x"]
        np.testing.assert_array_equal(state["last"], np.arange(3))
        self.rng.bit_generator.state = state["rng"]


class Grain:
    """What grain gives: the iterator knows its state."""

    def __init__(self):
        self.places = []

    def __iter__(self):
        return Grain.Iterator(self)

    class Iterator:
        def __init__(self, of):
            self.of, self.place = of, 0

        def __iter__(self):
            return self

        def __next__(self):
            if self.place == 3:
                raise StopIteration
            self.of.places.append(self.place)
            self.place += 1
            return cut(X, Y)[self.place - 1]

        def get_state(self):
            return f"{self.place}".encode()

        def set_state(self, state):
            self.place = int(state)


def shuffled(epoch):
    rows = np.random.default_rng(epoch).permutation(ROWS)
    yield from cut(X[rows], Y[rows])


RESUMED = {"own state": Knowing, "its iterator's": Grain, "of the epoch": lambda: shuffled, "list": lambda: cut(X, Y)}


@pytest.mark.parametrize("name", [*RESUMED, "none"])
def test_a_run_of_a_stream_goes_on_where_it_stopped(tmp_path, name, recwarn):
    make = RESUMED.get(name, Order)
    whole = fit(make(), epochs=4, validation=(HELD_X, HELD_Y))
    fit(make(), epochs=2, validation=(HELD_X, HELD_Y), checkpoint=tmp_path)
    assert not recwarn.list
    again = make()
    if name == "none":
        with pytest.warns(UserWarning, match="no state of its own, so 2 epochs of it were read again to go on with ep"):
            resumed = fit(again, epochs=4, validation=(HELD_X, HELD_Y), checkpoint=tmp_path)
    else:
        resumed = fit(again, epochs=4, validation=(HELD_X, HELD_Y), checkpoint=tmp_path)
    same(resumed, whole)
    if name == "own state":
        assert again.read == 3  # its form is seen, then two epochs
    if name == "its iterator's":
        assert again.places == 3 * [0, 1, 2]


GIVEN_LATER = {
    "rows": lambda epoch: cut(X[::-1], Y[::-1]),
    "size": lambda epoch: cut(X, Y, size=SIZE - 1),
    "targets": lambda epoch: cut(X, 1 - Y),
    "list": cut(X + 1, Y),
}


@pytest.mark.parametrize("change", GIVEN_LATER)
def test_a_run_that_goes_on_with_another_stream_says_so(tmp_path, change):
    fit(cut(X, Y) if change == "list" else lambda epoch: cut(X, Y), epochs=1, checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="the stream gives another first batch than before the run was resumed"):
        fit(GIVEN_LATER[change], checkpoint=tmp_path)


@pytest.mark.parametrize("after", [1, 3, 5, 8])
@pytest.mark.parametrize("name", [*RESUMED, "none", "memory map"])
def test_a_run_of_a_stream_goes_on_in_the_middle_of_an_epoch(tmp_path, files, name, after, recwarn):
    make = {**RESUMED, "none": Order, "memory map": lambda: (files[0], Y)}[name]
    options = {"batch_size": SIZE} if name == "memory map" else {}
    options |= {"validation": (HELD_X, HELD_Y), "epochs": 3}
    whole = fit(make(), **options)
    keeps = fnn.checkpoints(tmp_path / "run", every=100, steps=1)
    fit(make(), **options, checkpoint=keeps, callbacks=[fnn.every(1, lambda end: end.step == after)])
    assert not recwarn.list
    taken = []
    resumed = fit(make(), **options, checkpoint=keeps, callbacks=[fnn.every(1, lambda end: taken.append(end.step))])
    same(resumed, whole)
    assert taken == list(range(after + 1, 10))
    said = [str(one.message) for one in recwarn.list]
    again = f"{(after - 1) % 3 + 1} batches of epoch {(after - 1) // 3 + 1} were read again to go on after them"
    assert any(again in one for one in said) if name == "none" else not said


def begun_and_gone_on(folder, before, after):
    """A run that ended within its first epoch, and went on with another object."""
    keeps = fnn.checkpoints(folder, steps=1)
    fit(before, checkpoint=keeps, callbacks=[fnn.every(1, lambda end: end.step == 2)])
    return fit(after, checkpoint=keeps)


def test_a_state_from_before_the_first_epoch_is_given_back_within_it(tmp_path, recwarn):
    whole, other = fit(Knowing()), Knowing()
    other.rng = np.random.default_rng(6)
    same(begun_and_gone_on(tmp_path, Knowing(), other), whole)
    assert not recwarn.list


class Late(Knowing):
    """It has no state before it was read."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed
        del self.rng

    def __iter__(self):
        self.rng = np.random.default_rng(self.seed)
        yield from super().__iter__()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda: Late(5), lambda: Late(6)),
        (lambda: Again(cut(X, Y)), lambda: Again(cut(X + 1, Y))),
        (lambda: lambda epoch: cut(X, Y), lambda: lambda epoch: cut(X, 1 - Y)),
    ],
    ids=["own state, late", "none", "of the epoch"],
)
@pytest.mark.filterwarnings("ignore:fit. the stream has no state of its own")
def test_a_run_that_goes_on_within_its_first_epoch_with_another_stream_says_so(tmp_path, before, after):
    words = "another first batch than before the run was resumed, so the numbers from epoch 1 on need not be"
    with pytest.warns(UserWarning, match=words):
        begun_and_gone_on(tmp_path / "other", before(), after())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "fit: the stream gives another first batch")
        same(begun_and_gone_on(tmp_path / "same", before(), before()), fit(before()))


def test_an_epoch_with_fewer_batches_than_were_taken_of_it_is_an_error(tmp_path):
    keeps = fnn.checkpoints(tmp_path, steps=1)
    fit(batches, checkpoint=keeps, callbacks=[fnn.every(1, lambda end: end.step == 2)])
    with pytest.raises(fnn.StreamError, match=r"at least 2 batches in epoch 1, as before.*, the stream gave 1"):
        fit(lambda: itertools.islice(batches(), 1), checkpoint=keeps)


def test_who_waits_for_a_feed_to_close_knows_that_nothing_is_read_any_more():
    held, read = threading.Event(), []

    def many():
        for place in range(1000):
            read.append(place)
            if place == 40:
                held.wait(60)
            yield X[:2], Y[:2]

    feed = Feed(Stream("fit", many, TASK.encode))
    feed.begin(0)
    while len(read) <= 40:
        time.sleep(0.001)
    threading.Timer(0.1, held.set).start()
    feed.close(wait=True)
    assert len(read) == 41


def test_a_run_that_early_stopping_ended_reads_no_epoch_again(tmp_path, recwarn):
    stopping = fnn.early_stopping(patience=1, min_delta=10.0)
    options = dict(epochs=9, validation=(HELD_X, HELD_Y), early_stopping=stopping, checkpoint=tmp_path)
    whole = fit(Order(), **options)
    assert len(whole[1]["loss"]) < 9
    same(fit(Order(), **options), whole)
    assert not recwarn.list


def test_a_run_that_is_complete_reads_no_epoch_again(tmp_path):
    whole = fit(Order(), checkpoint=tmp_path)
    same(fit(Order(), checkpoint=tmp_path), whole)


def test_a_checkpoint_of_another_stream_is_refused(tmp_path):
    fit(batches, epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"other x, targets and weights"):
        fit(Again(cut(X, Y, WEIGHTS)), checkpoint=tmp_path)


@pytest.mark.parametrize("state", [np.int64(3), np.bool_(True), np.float32(0.5), {np.int64(1): b"x"}])
def test_scalars_of_a_state_come_back_as_scalars(state):
    assert decode_state(json.loads(json.dumps(encode_state(state)))) == state


def test_a_state_that_only_a_program_could_read_back_is_refused(tmp_path):
    class Odd(Knowing):
        def state_dict(self):
            return {"rng": self.rng}

    with pytest.raises(TypeError, match="the state of the stream holds Generator, which a checkpoint cannot"):
        fit(Odd(), checkpoint=tmp_path)
    fit(Odd(), epochs=1)


@functools.cache
def trained():
    return fnn.Trained(*MODEL.init(KEY, X[:2]))


@pytest.mark.parametrize("size", [5, 64])
def test_a_stream_is_evaluated_and_predicted_as_arrays_are(size):
    data = Again(cut(X, Y, WEIGHTS, size=size))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(
        close, fnn.evaluate(MODEL, trained(), data, TASK), fnn.evaluate(MODEL, trained(), (X, Y, WEIGHTS), TASK)
    )
    expected = fnn.predict(MODEL, trained(), X, TASK)
    for given in (data, Again([(x,) for x, *_ in data]), Again([x for x, *_ in data])):
        np.testing.assert_array_equal(fnn.predict(MODEL, trained(), given, TASK), expected)
    close(fnn.predict(MODEL, trained(), data), fnn.predict(MODEL, trained(), X))


def test_what_is_wrong_with_a_stream_that_is_evaluated_is_said():
    with pytest.raises(ValueError, match="evaluate: a stream makes its own batches, got batch_size=5"):
        fnn.evaluate(MODEL, trained(), batches, TASK, batch_size=5)
    with pytest.raises(ValueError, match="evaluate: data is a stream, which has no row numbers"):
        fnn.evaluate(MODEL, trained(), batches, TASK, [1, 2])
    with pytest.raises(fnn.StreamError, match="evaluate, batch 2: x contains nan at row 3"):
        fnn.evaluate(MODEL, trained(), changed(1, with_nan), TASK)
    with pytest.raises(ValueError, match=r"predict: .*dense.*kernel"):
        fnn.predict(MODEL, trained(), Again([x[:, :2] for x, _ in batches()]))


def thorough(options):
    """Other sizes compile for seconds, and ask what the others ask."""
    return pytest.param(options, marks=pytest.mark.thorough)


@pytest.fixture
def files(tmp_path):
    """The same numbers in files."""
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "held.npy", HELD_X)
    return [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "held")]


@pytest.mark.parametrize(
    "options",
    [
        {}, {"shuffle": False}, thorough({"validation": 0.3}), thorough({"validation": [1, 5, 9], "rows": [2, 4, 7]}),
        thorough({"rows": [3, 1, 8, 20, 5]}), {"validation": "held"}, {"validation": "arrays", "weights": WEIGHTS},
    ],
)  # fmt: skip
def test_memory_maps_give_the_bits_of_arrays_in_memory(files, options):
    """Fewer rows than a batch holds are a smaller batch of arrays, and a filled one of maps: equal to rounding."""
    compare = close if len(options.get("rows", Y)) < SIZE else same
    options = {"batch_size": SIZE} | options
    weights = [options.pop("weights")] if "weights" in options else []
    both = {"held": (files[1], HELD_Y), "arrays": (HELD_X, HELD_Y)}
    given = options.get("validation")
    found = fit(
        (files[0], Y, *weights), **options | {"validation": both.get(given, given) if isinstance(given, str) else given}
    )
    options["validation"] = both["arrays"] if isinstance(given, str) else given
    compare(found, fit((X, Y, *weights), **options))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4", "int64", "uint8"])
def test_a_memory_map_of_any_numbers_is_read_as_their_array_is(tmp_path, dtype):
    numbers = np.arange(ROWS * 3).reshape(ROWS, 3).astype(dtype)
    np.save(tmp_path / "x.npy", numbers)
    model = fnn.serial(lambda x: x.astype(jnp.float32) / 64, MODEL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*float64 and is computed in float32")
        mapped, array = (
            fnn.fit(model, OPTIMIZER, TASK, (x, Y), key=KEY, epochs=2, batch_size=SIZE, progress=False)
            for x in (np.load(tmp_path / "x.npy", mmap_mode="r"), numbers)
        )
    same(mapped, array)


class Asked(np.memmap):
    """A memory map that says how many rows it was asked for at once."""

    def __getitem__(self, place):
        found = super().__getitem__(place)
        if np.ndim(found) == self.ndim:
            self.asked.append(len(found))
        return found


def asked_of(file):
    file = file.view(Asked)
    file.asked = []
    return file


def area(outputs, targets, weights=None):
    return fnn.metrics.roc_auc(outputs.reshape(-1), (targets.reshape(-1) > 0).astype(jnp.int32), weights=weights)


RANKED = fnn.tasks.regression()
RANKED = RANKED._replace(metrics={**RANKED.metrics, "auc": area})
ALL = np.arange(ROWS)


@pytest.mark.parametrize("rows", [None, ALL[::-2], np.r_[3, -1, ALL, 3, -1]], ids=["all", "some", "slots"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_memory_map_is_evaluated_by_the_rows_of_a_batch_with_the_numbers_of_arrays(files, rows, weights):
    file, y = asked_of(files[0]), X[:, 0] + Y
    model, task = fnn.dense(1), RANKED
    own = fnn.Trained(*model.init(KEY, X[:2]))
    data = [y] if weights is None else [y, weights]
    options = {"rows": rows, "batch_size": 8}
    found = fnn.evaluate(model, own, (file, *data), task, **options)
    counted = ROWS if rows is None else int((rows >= 0).sum())
    assert file.asked == [8] * (counted // 8) + [counted % 8] * (counted % 8 > 0)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6),
        found, fnn.evaluate(model, own, (X, *data), task, **options),
    )  # fmt: skip


@pytest.mark.parametrize("task", [None, TASK])
def test_a_memory_map_is_predicted_by_the_rows_of_a_batch_with_the_bits_of_arrays(files, task):
    file = asked_of(files[0])
    found = fnn.predict(MODEL, trained(), file, task, batch_size=8)
    assert file.asked == [8, 8, 6]
    np.testing.assert_array_equal(found, fnn.predict(MODEL, trained(), X, task, batch_size=8))


def test_trees_of_memory_maps_are_read_by_the_rows_of_a_batch(files):
    model = fnn.serial(lambda x: x["a"] + x["b"], MODEL)
    mapped = {"a": asked_of(files[0]), "b": asked_of(files[0])}
    own, arrays = fnn.Trained(*model.init(KEY, {"a": X, "b": X})), {"a": X, "b": X}
    np.testing.assert_array_equal(
        fnn.predict(model, own, mapped, batch_size=8), fnn.predict(model, own, arrays, batch_size=8)
    )
    found, expected = (fnn.evaluate(model, own, (x, Y), TASK, batch_size=8) for x in (mapped, arrays))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)
    assert all(max(file.asked) == 8 and sum(file.asked) == 2 * ROWS for file in mapped.values())


def test_what_is_wrong_with_a_memory_map_is_said(files):
    with pytest.raises(ValueError, match=f"evaluate: expected one target per row of x, got {ROWS} rows"):
        fnn.evaluate(MODEL, trained(), (files[0], Y[1:]), TASK)
    with pytest.raises(ValueError, match=f"evaluate: expected row numbers below {ROWS}"):
        fnn.evaluate(MODEL, trained(), (files[0], Y), TASK, [ROWS])
    with pytest.raises(ValueError, match="predict: expected at least one row"):
        fnn.predict(MODEL, trained(), files[0][:0])


@pytest.mark.parametrize(
    "read",
    [
        lambda data: fnn.predict(MODEL, trained(), data[0], batch_size=8),
        lambda data: fnn.evaluate(MODEL, trained(), data, TASK, ALL[::-1], batch_size=8),
        lambda data: fit(data, batch_size=SIZE),
        lambda data: fit((X, Y), batch_size=SIZE, validation=data),
    ],
    ids=["predict", "evaluate", "fit", "validation"],
)
def test_what_is_not_finite_in_a_memory_map_is_named_by_its_row_there(tmp_path, read):
    x = X.copy()
    x[13, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(fnn.StreamError, match=r"batch \d.*: x contains nan at .*\. It is row 13 of the memory map"):
        read((np.load(tmp_path / "x.npy", mmap_mode="r"), Y))


def test_a_memory_map_inside_of_a_program_is_an_array(files):
    score, own = lambda own: fnn.evaluate(MODEL, own, (files[0], Y), TASK)["loss"], trained()
    np.testing.assert_allclose(jax.jit(score)(trained()), score(trained()), rtol=1e-6)
    found = jax.jit(lambda own: fnn.predict(MODEL, own, files[0]))(trained())
    np.testing.assert_allclose(found, fnn.predict(MODEL, trained(), files[0]), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda: score(own))(), score(own), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda: fnn.predict(MODEL, own, files[0]))(), found, rtol=1e-6)


def test_a_metric_of_several_numbers_is_an_array_of_a_memory_map_too(files):
    hits = lambda outputs, targets, weights=None: (outputs.argmax(-1) == targets)[:3]  # noqa: E731
    task = TASK._replace(metrics={"hits": hits})
    found, expected = (fnn.evaluate(MODEL, trained(), (x, Y), task) for x in (files[0], X))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found, expected)


def test_targets_that_a_task_encodes_to_a_tree_are_scored_of_a_memory_map_too(files):
    loss = lambda outputs, targets: (outputs[:, 0] - targets["a"]) ** 2 + (outputs[:, 1] - targets["b"]) ** 2  # noqa: E731
    task = fnn.tasks.Task(loss, lambda outputs: outputs, lambda y: {"a": jnp.asarray(y), "b": -jnp.asarray(y)}, {})
    for rows in (None, ALL[::-2]):
        found, expected = (
            fnn.evaluate(MODEL, trained(), (x, Y * 1.0), task, rows, batch_size=8) for x in (files[0], X)
        )
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)


def test_wrong_lengths_beside_a_memory_map_are_named_by_their_row_there(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((ROWS, 4, 2), np.float32))
    lengths = np.where(ALL == 13, 5, 4)
    x = fnn.Padded(np.load(tmp_path / "x.npy", mmap_mode="r"), lengths)
    with pytest.raises(ValueError, match=r"fit: expected lengths from 0 to 4, .* got 5 for sequence 13"):
        fnn.fit(fnn.lstm(2), OPTIMIZER, TASK, (x, Y), key=KEY, epochs=1, batch_size=SIZE, shuffle=False, progress=False)


def test_the_error_of_what_is_not_finite_travels_between_processes():
    with pytest.raises(ValueError, match="x contains nan at row 3") as caught:
        fnn.predict(MODEL, trained(), np.where(np.arange(len(X))[:, None] == 3, np.nan, X))
    for other in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert (type(other), str(other), other.row) == (ValueError, str(caught.value), 3)


@pytest.mark.thorough
def test_a_run_of_memory_maps_goes_on(files, tmp_path):
    data, options = (files[0], Y), {"batch_size": SIZE, "validation": 0.3}
    fit(data, epochs=1, checkpoint=tmp_path / "run", **options)
    same(fit(data, checkpoint=tmp_path / "run", **options), fit((X, Y), **options))
    with pytest.raises(ValueError, match="other x, targets and weights"):
        fit((files[0], 1 - Y), checkpoint=tmp_path / "run", **options)


@pytest.mark.devices(1, 2)
def test_a_stream_over_a_mesh_gives_the_numbers_of_one_device():
    # A bias before a norm has no gradient but rounding.
    model = fnn.serial(fnn.dense(4, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.dense(2))
    held = Again(cut(HELD_X, HELD_Y, size=4))
    one, two = (
        fnn.fit(model, fnn.optim.sgd(0.1), TASK, batches, key=KEY, epochs=2, validation=held, mesh=mesh, progress=False)
        for mesh in (None, fnn.devices.data_mesh())
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), one, two)


@pytest.mark.parametrize("change", ["batch size", "inputs"])
def test_a_run_of_another_memory_map_is_refused(files, tmp_path, change):
    fit((files[0], Y), checkpoint=tmp_path / "run", epochs=1, batch_size=4)
    np.save(tmp_path / "other.npy", X + 5)
    x = np.load(tmp_path / "other.npy", mmap_mode="r") if change == "inputs" else files[0]
    with pytest.raises(ValueError, match="is of another run: other x, targets and weights"):
        fit((x, Y), checkpoint=tmp_path / "run", epochs=2, batch_size=4 if change == "inputs" else 8)


@pytest.mark.parametrize("fields", ["x targets", "x lengths"])
def test_a_batch_is_told_from_padded_sequences_by_its_type_not_by_the_names_of_its_fields(fields):
    batch = collections.namedtuple("Batch", fields)(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    model, task = fnn.dense(1), fnn.tasks.regression()
    trained = fnn.Trained(*model.init(KEY, batch[0]))
    scores = [fnn.evaluate(model, trained, data, task) for data in (batch, [batch])]
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"])


@pytest.mark.parametrize("wrap", [lambda given: given, lambda given: [given]], ids=["arrays", "stream"])
@pytest.mark.parametrize("verb", ["fit", "validation", "evaluate", "trainer"])
def test_padded_sequences_alone_are_no_data(verb, wrap):
    padded = fnn.Padded(np.ones((4, 5, 3), np.float32), np.array([5, 2, 1, 4]))
    model, sgd, task, both = fnn.lstm(1), fnn.optim.sgd(0.1), fnn.tasks.regression(), (padded, np.ones((4, 1)))
    options = dict(key=KEY, epochs=1, progress=False)
    calls = {
        "fit": lambda: fnn.fit(model, sgd, task, wrap(padded), **options),
        "validation": lambda: fnn.fit(model, sgd, task, both, validation=wrap(padded), **options),
        "evaluate": lambda: fnn.evaluate(model, fnn.Trained(*model.init(KEY, padded)), wrap(padded), task),
        "trainer": lambda: fnn.trainer(model, sgd, task, epochs=1)(KEY, wrap(padded)),
    }
    with pytest.raises((TypeError, fnn.StreamError), match=r"expected .*\(x, targets\) or \(x, targets, weights\)"):
        calls[verb]()


def test_a_stream_of_sequences_of_their_own_lengths_is_predicted_as_arrays_are():
    values, lengths = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32), np.array([5, 2, 1, 4])
    padded, model = fnn.Padded(values, lengths), fnn.lstm(2)
    given = fnn.Trained(*model.init(KEY, padded))
    np.testing.assert_array_equal(fnn.predict(model, given, Again([padded])), fnn.predict(model, given, padded))
    with pytest.raises(fnn.StreamError, match=r"expected \(x, targets\)"):
        fit(Again([padded]))


def test_numbers_in_the_other_byte_order_are_the_same_numbers():
    swapped = X.astype(X.dtype.newbyteorder())
    np.testing.assert_array_equal(fnn.predict(MODEL, trained(), swapped), fnn.predict(MODEL, trained(), X))
    same(fit(Again(cut(swapped, Y)), epochs=1), fit(Again(cut(X, Y)), epochs=1))


def test_a_validation_that_is_interrupted_has_no_scores():
    stream, applied = Stream("here", batches, TASK.encode), Application("here", MODEL, lambda y: y, None)
    with contextlib.closing(Scoring(applied, TASK, stream)) as one:
        assert one(trained(), 0, lambda: True) is None


def test_slots_that_one_process_lacks_hold_rows_and_not_zeros():
    first = (X[:2], Y[:2], np.ones(2, np.float32))
    data = tuple(np.stack([part, 0 * part]) for part in first)
    filled = _fill_up(Part(data, 1, False, False, True), first, 2, 2, 2)
    np.testing.assert_array_equal(filled[0], np.stack([X[:2], X[:2]]))
    np.testing.assert_array_equal(filled[2], [[1, 1], [0, 0]])


def in_two_pieces(folder, validation, after):
    """A run over arrays that went on after its second epoch with the second of the validations."""
    fit((X, Y), epochs=2, batch_size=SIZE, validation=validation, checkpoint=folder)
    return fit((X, Y), epochs=4, batch_size=SIZE, validation=after, checkpoint=folder)


@pytest.mark.parametrize("name", [*RESUMED, "the same rows again"])
def test_a_validation_stream_goes_on_where_it_stopped(tmp_path, name, recwarn):
    make = RESUMED.get(name, lambda: batches)
    whole = fit((X, Y), epochs=4, batch_size=SIZE, validation=make())
    same(in_two_pieces(tmp_path, make(), make()), whole)
    assert not recwarn.list


@pytest.mark.parametrize("of", ["data", "validation"])
def test_a_run_that_is_resumed_computes_the_super_batches_of_the_unbroken_one(tmp_path, of, monkeypatch):
    def growing(epoch):
        for size in (*[4] * (3 + epoch), 12, 4):
            yield X[:size], Y[:size]

    shapes, give = [], Feed.next

    def seen(feed, *given):
        chunk = give(feed, *given)
        shapes.extend([chunk.data[2].shape] if chunk and feed.reader.stream.source is growing else [])
        return chunk

    def run(epochs, **options):
        data = {"data": (X, Y), "validation": None} | {of: growing}
        return fit(data.pop("data"), epochs=epochs, **data, **options)

    monkeypatch.setattr("fnn.train.feeding.BATCHES_LOOKED_AT", 2)
    monkeypatch.setattr("fnn.train.feeding.CHUNK_BYTES", 160)
    monkeypatch.setattr(Feed, "next", seen)
    whole = run(3)
    last = shapes[-1]
    run(1, checkpoint=tmp_path)
    shapes.clear()
    resumed = run(3, checkpoint=tmp_path)
    shapes[:] = shapes[of == "data" :]  # its form is seen
    assert {*shapes} == {last}
    same(resumed, whole)


def test_the_room_of_a_batch_does_not_depend_on_how_long_the_run_waited(monkeypatch):
    """A row more in the sum, of weight 0, may change its last digit."""
    rooms, give = [], Feed.next

    def seen(feed, *given):
        chunk = give(feed, *given)
        rooms.extend([chunk.data[2].shape[1]] * len(chunk.rows) if chunk else [])
        return chunk

    def run(seconds):
        def growing():
            for size in (4, 4, 4, 12, 4):
                time.sleep(seconds)
                yield X[:size], Y[:size]

        rooms.clear()
        return fit(growing, epochs=2), list(rooms)

    monkeypatch.setattr("fnn.train.feeding.BATCHES_LOOKED_AT", 2)
    monkeypatch.setattr("fnn.train.feeding.WAIT_SECONDS", 0.01)
    monkeypatch.setattr(Feed, "next", seen)
    (quick, ahead), (slow, waited) = run(0), run(0.03)
    assert ahead == waited == [4, 4, 4, 12, 12] + [12] * 5
    same(quick, slow)


def test_nobody_fills_a_super_batch_while_its_sizes_are_those_of_a_checkpoint(monkeypatch):
    small_chunks(monkeypatch, 1)
    feed = Feed(Stream("fit", lambda epoch: iter(20 * [(X, Y)]), TASK.encode))
    feed.begin(0)
    feed.next()
    come_to(feed, {"room": 2 * ROWS, "slots": 3, "parts": [{"state": None, "seen": ""}]}, 1)
    assert feed.next() is None
    feed.begin(1)
    chunk = feed.next()
    feed.close()
    assert chunk.data[2].shape == (3, 2 * ROWS)


OTHERS = {
    "order without a state": (Order, lambda: Order()),
    "rows": (lambda: Again(cut(X, Y)), lambda: Again(cut(HELD_X, HELD_Y))),
    "inputs": (lambda: Again(cut(X, Y)), lambda: Again(cut(X + 1, Y))),
    "list": (lambda: cut(X, Y), lambda: cut(X, 1 - Y)),
    "of the epoch": (lambda: shuffled, lambda: lambda epoch: shuffled(epoch + 1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_validation_stream_that_gives_other_rows_after_a_resume_is_said_once(tmp_path, name):
    before, after = OTHERS[name]
    with pytest.warns(UserWarning, match="validation: the stream gives other rows than before the run was") as said:
        in_two_pieces(tmp_path, before(), after())
    assert len(said) == 1


@pytest.mark.parametrize("name", ["evaluate", "no checkpoint", *RESUMED])
def test_what_a_validation_gave_is_looked_at_where_a_resumed_run_needs_it_alone(tmp_path, name, monkeypatch):
    looks = []
    monkeypatch.setattr("fnn.train.stream_outputs.digest_of", lambda seen: looks.append(seen) or "seen")
    if name == "evaluate":
        fnn.evaluate(MODEL, trained(), cut(X, Y), TASK)
    else:
        checkpoint = None if name == "no checkpoint" else tmp_path
        given = RESUMED.get(name, lambda: cut(X, Y))()
        fit((X, Y), epochs=2, batch_size=SIZE, validation=given, checkpoint=checkpoint)
    assert len(looks) == 2 * (name in ("list", "of the epoch"))


def test_a_validation_list_of_another_length_and_another_memory_map_are_refused(tmp_path, files):
    for name, before, after in (
        ("list", cut(X, Y), cut(X, Y, size=5)),
        ("map", (files[1], HELD_Y), (files[1], 1 - HELD_Y)),
    ):
        with pytest.raises(ValueError, match="is of another run: other validation"):
            in_two_pieces(tmp_path / name, before, after)


def test_the_error_of_a_run_inside_a_callback_keeps_what_that_run_trained():
    """It was given what the run around it had trained."""
    x, y = np.ones((4, 2), np.float32), np.ones((4, 3), np.float32)

    def broken():
        yield x, y
        raise OSError("gone")

    def inner(end):
        fnn.fit(fnn.dense(3), fnn.optim.sgd(0.1), fnn.losses.mse, broken, key=KEY, epochs=1, progress=False)

    with pytest.raises(fnn.StreamError, match="batch 2 of epoch 1 with OSError: gone") as caught:
        fnn.fit(
            fnn.dense(1), fnn.optim.sgd(0.1), fnn.losses.mse, (x, y[:, :1]), key=KEY, epochs=1, progress=False,
            callbacks=[fnn.every(1, inner)],
        )  # fmt: skip
    assert caught.value.trained.params["bias"].shape == (3,)
