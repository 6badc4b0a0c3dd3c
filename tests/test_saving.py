"""Trained models in files: equal when read, refused when damaged, foreign or of another model."""

import contextlib
import copy
import io
import os
import pickle
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS

import fnn
from fnn.saving.content import write

safetensors = pytest.importorskip("safetensors.numpy")
KEY = jax.random.key(0)
MODEL = fnn.serial(
    fnn.conv(4, 3), fnn.batch_norm(), fnn.residual(fnn.serial(fnn.relu, fnn.conv(4, 1))), fnn.flatten(), fnn.dense(3)
)
X = jax.ShapeDtypeStruct((2, 5, 5, 1), jnp.float32)


def trained_of(model, x, seed=0):
    """Parameters and state of a model without anything left at 0, of the dtypes that it has."""
    shapes = jax.eval_shape(model.init, KEY, x)
    rng = np.random.default_rng(seed)
    return fnn.Trained(*jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), shapes))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("name", LAYERS | MODELS)
def test_every_layer_and_model_comes_back_as_it_was(name, tmp_path):
    case = (LAYERS | MODELS)[name]
    x = case.x(2, [case.shape[axis] for axis in case.free])
    trained = trained_of(case.layer, x)
    fnn.save(tmp_path / "m.safetensors", trained, model=case.layer)
    same(fnn.load(tmp_path / "m.safetensors", like=(case.layer, x)), trained)
    same(fnn.load(tmp_path / "m.safetensors", like=trained), trained)


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "float32", "complex64", "int8", "uint32", "bool", "float8_e4m3fn", "float8_e5m2"]
)
def test_dtypes_are_kept(dtype, tmp_path):
    given = {"a": jnp.asarray([[0, 1, 1]], dtype), "b": jnp.zeros((0, 2), dtype), "c": jnp.ones((), dtype)}
    fnn.save(tmp_path / "m", fnn.Trained(given, ()))
    same(fnn.load(tmp_path / "m", like=jax.eval_shape(lambda: fnn.Trained(given, ()))).params, given)


def test_names_are_flat_and_can_be_read_by_others(tmp_path):
    trained = trained_of(MODEL, X)
    fnn.save(tmp_path / "m", trained, model=MODEL)
    found = safetensors.load_file(tmp_path / "m")
    assert sorted(found) == [
        "params.0.conv.bias", "params.0.conv.kernel", "params.1.batch_norm.bias", "params.1.batch_norm.scale",
        "params.2.0.1.conv.bias", "params.2.0.1.conv.kernel", "params.4.dense.bias", "params.4.dense.kernel",
        "state.1.batch_norm.mean", "state.1.batch_norm.var",
    ]  # fmt: skip
    np.testing.assert_array_equal(found["params.4.dense.kernel"], trained.params[4]["kernel"])


def test_names_that_read_alike_stay_apart(tmp_path):
    given = fnn.Trained({"a.b": jnp.ones(1), "a": {"b": jnp.zeros(1)}}, ())
    fnn.save(tmp_path / "m", given)
    same(fnn.load(tmp_path / "m", like=given), given)


def test_arrays_that_are_views_are_written_in_their_order(tmp_path):
    given = fnn.Trained({"a": np.arange(6, dtype=np.float32).reshape(2, 3).T}, ())
    fnn.save(tmp_path / "m", given)
    same(fnn.load(tmp_path / "m", like=given).params, given.params)


def test_the_file_says_what_it_holds(tmp_path):
    scaler = fnn.data.min_max_scaler((-0.1, 1.0))
    seconds = np.array([[1.7e9, 0.0], [1.7e9 + 5, 2.0]])  # float64 stays on the host
    fnn.save(
        tmp_path / "m",
        trained_of(MODEL, X),
        model=MODEL,
        x=X,
        scaler=(scaler, scaler.fit(seconds)),
        classes=["a", "é", *np.unique([3])],
    )
    about = fnn.read_metadata(tmp_path / "m")
    assert about.classes == ("a", "é", 3)
    assert about.fnn == fnn.__version__
    assert about.jax == jax.__version__
    assert about.description == str(fnn.summary(MODEL, X))
    again, statistics = about.scaler
    np.testing.assert_array_equal(again.transform(statistics, seconds), scaler.transform(scaler.fit(seconds), seconds))
    assert statistics.minimum.dtype == np.float64
    standard = fnn.data.standard_scaler()
    fnn.save(tmp_path / "m", fnn.Trained((), ()), scaler=(standard, standard.fit(seconds)))
    again, statistics = fnn.read_metadata(tmp_path / "m").scaler
    np.testing.assert_array_equal(again.transform(statistics, seconds), [[-1, -1], [1, 1]])


def test_a_scaler_of_a_table_comes_back_with_its_columns(tmp_path):
    frame = pytest.importorskip("pandas").DataFrame({"a": [1.0, 2.0], "b": [10.0, 30.0]})
    scaler = fnn.data.standard_scaler()
    fnn.save(tmp_path / "m", fnn.Trained((), ()), scaler=(scaler, scaler.fit(frame)))
    again, statistics = fnn.read_metadata(tmp_path / "m").scaler
    assert statistics.columns == ("a", "b")
    with pytest.raises(ValueError, match="expected column 'a' at place 0, as in fit, got 'b'"):
        again.transform(statistics, frame[["b", "a"]])


def test_notes_come_back_as_they_were_given(tmp_path):
    notes = {"columns": ["age", "height"], "scores": {"accuracy": 0.98, "rows": 2**60}, "seen": None, "final": True}
    fnn.save(tmp_path / "m", fnn.Trained((), ()), notes=notes)
    assert fnn.read_metadata(tmp_path / "m").notes == notes
    fnn.save(tmp_path / "m", fnn.Trained((), ()))
    assert fnn.read_metadata(tmp_path / "m").notes is None


@pytest.mark.parametrize(
    "note", [np.float32(1), np.ones(2), (1, 2), {1: "a"}, {"a": {1: 2}}, float("nan"), print, b"a", [(1,)]], ids=repr
)
def test_a_note_that_would_come_back_as_something_else_is_refused(note, tmp_path):
    with pytest.raises(TypeError, match=r"notes that JSON gives back as they were.* at 'own'"):
        fnn.save(tmp_path / "m", fnn.Trained((), ()), notes={"own": note})
    assert not (tmp_path / "m").exists()
    with pytest.raises(TypeError, match="notes"):
        fnn.save(tmp_path / "m", fnn.Trained((), ()), notes=["a"])
    with pytest.raises(TypeError, match="at 1"):
        fnn.save(tmp_path / "m", fnn.Trained((), ()), notes={1: "a"})


def test_what_is_written_can_be_read(tmp_path):
    with pytest.raises(ValueError, match="reads at most 16,777,216"):
        fnn.save(tmp_path / "m", fnn.Trained((), ()), notes={"text": "a" * 2**24})
    with pytest.raises(ValueError, match="reads at most 16,777,216"):
        fnn.save(tmp_path / "m", fnn.Trained((), ()), notes={"text": ["a" * 100] * 2_000_000})


def test_a_state_of_training_is_saved_as_it_is_evaluated(tmp_path):
    rule = fnn.optim.ema_params(fnn.optim.sgd(1.0), decay=0.5)
    params = jnp.array([2.0])
    updates, state = rule.update(jnp.array([1.0]), rule.init(params), params)
    fnn.save(tmp_path / "m", fnn.TrainState(fnn.optim.apply_updates(params, updates), (), state))
    assert fnn.load(tmp_path / "m", like=fnn.Trained(params, ())).params.tolist() == [1.5]


OTHERS = {
    "another size": (fnn.serial(*MODEL.parts[:4], fnn.dense(7)), X),
    "a layer more": (fnn.serial(*MODEL.parts, fnn.dense(2)), X),
    "a layer less": (fnn.serial(*MODEL.parts[:4]), X),
    "another dtype": (MODEL, jax.ShapeDtypeStruct((2, 5, 5, 1), jnp.bfloat16)),
    "another kernel": (fnn.serial(MODEL.parts[0], fnn.residual(fnn.conv(4, 5))), X),
}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("another size", r"layer 4, dense\(7\): kernel is float32\[100,7\], float32\[100,3\] in the file"),
        ("a layer more", r"layer 5, dense\(2\): kernel is float32\[3,2\], not in the file"),
        ("a layer less", r"params.4.dense.kernel is float32\[100,3\] there, not in the model"),
        ("another dtype", r"layer 0, conv\(4, 3\): kernel is bfloat16.*float32.*give like= in the dtype"),
        ("another kernel", r"layer 1 > 0, conv\(4, 5\): .*; and \d+ more"),
    ],
)
def test_another_model_is_named_by_its_layers(other, message, tmp_path):
    model, x = OTHERS[other]
    fnn.save(tmp_path / "m", trained_of(MODEL, X), model=MODEL)
    with pytest.raises(ValueError, match=message):
        fnn.load(tmp_path / "m", like=(model, x))
    with pytest.raises(ValueError, match=r"is of another model"):
        fnn.load(tmp_path / "m", like=fnn.Trained(*jax.eval_shape(model.init, KEY, x)))


def test_numbers_wider_than_jax_computes_with_are_not_cut(tmp_path, x64):
    given = fnn.Trained({"a": jnp.array([0.1], jnp.float64)}, ())
    fnn.save(tmp_path / "m", given)
    same(fnn.load(tmp_path / "m", like=given), given)
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"float64\[1\] in the file; .*jax_enable_x64"):
        fnn.load(tmp_path / "m", like=given)


def test_numbers_of_the_host_are_written_in_the_dtype_that_jax_computes_with(tmp_path):
    given = fnn.Trained({"a": 0.1, "b": 3, "c": np.array([[0.1, 2.0]]), "d": np.int64(7), "e": np.float64(0.1)}, True)
    with pytest.warns(
        UserWarning, match=r"save: params.c is float64 and is written as float32.*jax_enable_x64"
    ) as said:
        fnn.save(tmp_path / "m", given)
    assert len(said) == 1
    same(fnn.load(tmp_path / "m", like=given), jax.tree.map(jnp.asarray, given))
    exact = fnn.Trained({"c": np.array([0.5, np.nan])}, ())
    fnn.save(tmp_path / "m", exact)
    same(fnn.load(tmp_path / "m", like=exact), jax.tree.map(jnp.asarray, exact))


@pytest.mark.parametrize("leaf", [2**40, np.array([1, 2**40]), np.uint64(2**40), np.array(-(2**40)), 1e300])
def test_numbers_of_the_host_that_do_not_fit_are_refused(leaf, tmp_path):
    with pytest.raises(ValueError, match=r"save: expected params.a that fit (u?int|float)32, got"):
        fnn.save(tmp_path / "m", fnn.Trained({"a": leaf}, ()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaler": fnn.data.standard_scaler()}, r"a scaler without its statistics"),
        ({"scaler": (fnn.data.Scaler(min, max, max), ())}, "a scaler of fnn.data"),
        (
            {"scaler": (fnn.data.standard_scaler(), fnn.data.min_max_scaler().fit(np.eye(2)))},
            "save: .*StandardStatistics of a standard scaler, got MinMaxStatistics",
        ),
        (
            {"scaler": (fnn.data.min_max_scaler(), (np.zeros(2), np.ones(2)))},
            r"save: .*MinMaxStatistics of a min_max scaler, got tuple; .* MinMaxStatistics\(minimum, maximum\)",
        ),
        ({"classes": "cat"}, "a list of texts or numbers"),
        ({"classes": [None]}, "expected each of classes to be a text or a number, got None"),
        ({"classes": [(1, 2)]}, r"got \(1, 2\)"),
        ({"classes": [1j]}, "got 1j"),
    ],
)
def test_what_cannot_be_written_is_named_and_the_old_file_stays(options, message, tmp_path):
    (tmp_path / "m").write_bytes(b"before")
    with pytest.raises(TypeError, match=message):
        fnn.save(tmp_path / "m", fnn.Trained((), ()), **options)
    with pytest.raises(TypeError, match=r"params.a is complex128\[1\].*cast it first"):
        fnn.save(tmp_path / "m", fnn.Trained({"a": np.ones(1, np.complex128)}, ()))
    assert (tmp_path / "m").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.parametrize("outputs", [1, 3])
def test_more_class_names_than_outputs_are_refused(outputs, tmp_path):
    model, x = fnn.dense(outputs), (1, 2)
    trained = trained_of(model, jax.ShapeDtypeStruct(x, jnp.float32))
    given = dict(model=model, x=x)
    for number in range(1, max(outputs, 2) + 1):
        fnn.save(tmp_path / "m", trained, classes=list("abcd"[:number]), **given)
    with pytest.raises(ValueError, match=rf"names of at most {max(outputs, 2)} classes .*got 4"):
        fnn.save(tmp_path / "m", trained, classes=list("abcd"), **given)
    with pytest.raises(ValueError, match=rf"export: expected the names of at most {max(outputs, 2)} classes .*got 4"):
        fnn.export(model, trained, jnp.ones(x), path=tmp_path / "e", classes=list("abcd"))


def test_a_model_of_one_number_for_each_row_has_names_of_classes(tmp_path):
    model, x = fnn.serial(fnn.dense(5), lambda x: x.argmax(-1)), jnp.ones((1, 2))
    trained = trained_of(model, jax.ShapeDtypeStruct(x.shape, x.dtype))
    fnn.save(tmp_path / "m", trained, model=model, x=x, classes=list("abcde"))
    fnn.export(model, trained, x, path=tmp_path / "e", classes=list("abcde"))
    assert fnn.load_exported(tmp_path / "e").classes == fnn.read_metadata(tmp_path / "m").classes == tuple("abcde")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    given = fnn.Trained(jnp.ones(3), ())
    fnn.save(tmp_path / "m", given)
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        fnn.save(tmp_path / "m", fnn.Trained(jnp.zeros(3), ()))
    same(fnn.load(tmp_path / "m", like=given), given)
    assert os.listdir(tmp_path) == ["m"]


def corrupted(whole, number, rng):
    """The bytes with one fault: flipped bits, cut, lengthened, swapped pieces, or another file's beginning."""
    kind, data = number % 5, bytearray(whole)
    place = int(rng.integers(len(data)))
    if kind == 0:
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:  # in the header, where names and places stand
        data[int(rng.integers(8 + int.from_bytes(whole[:8], "little")))] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del data[place:]
    elif kind == 3:
        data[place:place] = rng.bytes(int(rng.integers(1, 9)))
    else:
        data[place : place + 16] = rng.bytes(16)
    return bytes(data)


def test_the_same_model_is_the_same_bytes(tmp_path):
    """In another process too: the library orders metadata as the seed of its hashes has it."""
    trained = trained_of(MODEL, X)
    for number in range(8):
        fnn.save(tmp_path / str(number), trained, model=MODEL, classes=["Grün", "b", "c"])
    whole = (tmp_path / "0").read_bytes()
    assert all((tmp_path / str(number)).read_bytes() == whole for number in range(8))
    assert (8 + int.from_bytes(whole[:8], "little")) % 8 == 0
    assert set(safetensors.load(whole)) == set(safetensors.load_file(tmp_path / "1"))


def test_of_100_random_corruptions_none_is_read_as_something_else(tmp_path):
    trained, whole, damaged = trained_of(MODEL, X), tmp_path / "m", tmp_path / "damaged"
    fnn.save(whole, trained, model=MODEL, classes=["a", "b"])
    content, rng = whole.read_bytes(), np.random.default_rng(0)
    refused = 0  # or read as it was
    for number in range(100):
        damaged.write_bytes(corrupted(content, number, rng))
        try:
            found, about = fnn.load(damaged, like=trained), fnn.read_metadata(damaged)
        except ValueError as error:
            refused += bool(re.search(r"load: .*/damaged (is damaged|was not written)", str(error)))
        else:
            same(found, trained)
            assert about == fnn.read_metadata(whole)
            refused += 1
    assert refused == 100
    same(fnn.load(whole, like=trained), trained)


def foreign(tmp_path):
    safetensors.save_file({"weight": np.ones(3, np.float32)}, tmp_path / "foreign")
    np.savez(tmp_path / "archive.npz", a=np.ones(3))
    yield tmp_path / "foreign", r"holds 1 arrays and no description of fnn's; .*fnn.interop"
    yield tmp_path / "archive.npz", r"is a NumPy archive; of a run's checkpoints give the directory"
    for name, damaged, message in (
        ("empty", b"", "no safetensors file"),
        ("short", b"\x02", "no safetensors file"),
        ("braces", (2).to_bytes(8, "little") + b"{}", "no description"),
        ("list", (2).to_bytes(8, "little") + b"[]", "no safetensors file"),
        ("bomb", (2**40).to_bytes(8, "little") + b"{" * 64, r"a header of 1,099,511,627,776 bytes"),
        ("pickle", pickle.dumps(os.getcwd), "announce a header"),
    ):
        (tmp_path / name).write_bytes(damaged)
        yield tmp_path / name, message


def test_foreign_files_are_refused_with_what_they_are(tmp_path):
    for path, message in foreign(tmp_path):
        with pytest.raises(ValueError, match=message):
            fnn.load(path, like=fnn.Trained((), ()))


def test_a_model_in_the_wrong_place_is_called_by_its_name(tmp_path):
    model = fnn.serial(fnn.dense(2), fnn.relu)
    with pytest.raises(TypeError, match=r"like to be \(model, x\), got Layer serial\(2 layers\) alone"):
        fnn.load(tmp_path / "m", model)
    with pytest.raises(TypeError, match=r"expected Trained\(params, state\), got Layer serial\(2 layers\)$"):
        fnn.save(tmp_path / "m", model)
    with pytest.raises(IsADirectoryError, match=r"fnn\.load\(directory, like=\) reads the checkpoints"):
        fnn.read_metadata(tmp_path)


def test_of_a_run_that_keeps_its_best_epoch_that_one_is_read(tmp_path):
    """Without early stopping: the validation loss says which."""
    x, y = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.arange(40) % 2
    model, kept = fnn.dense(2), []
    _, history = fnn.fit(
        model, fnn.optim.sgd(lambda step: jnp.where(step < 6, 0.1, -0.1)), fnn.tasks.multiclass(2), (x, y), epochs=4,
        batch_size=16, key=jax.random.key(0), validation=(x, y), progress=False,
        checkpoint=fnn.checkpoints(tmp_path, keep=1, best=True),
        callbacks=[lambda end: kept.append(end.train_state.params)],
    )  # fmt: skip
    best = int(np.argmin(history["validation_loss"]))
    assert best < 3
    found = fnn.load(tmp_path, like=(model, x))
    jax.tree.map(np.testing.assert_array_equal, found.params, kept[best])
    jax.tree.map(np.testing.assert_array_equal, fnn.load(tmp_path, like=(model, x), which="last").params, kept[3])


@pytest.mark.parametrize(
    ("module", "said", "call"),
    [
        ("safetensors.numpy", "fnn.save needs safetensors", lambda path: fnn.save(path, fnn.Trained((), ()))),
        ("safetensors", "fnn.load needs safetensors", lambda path: fnn.load(path, like=fnn.Trained((), ()))),
    ],
)
def test_who_needs_the_package_is_said(module, said, call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'^{said}; run pip install "fnn\[save\]"$'):
        call(tmp_path / "m")


@pytest.mark.parametrize("about", [[], {}, {"paths": []}, {"paths": {"other": ""}}])
def test_a_description_of_something_else_is_refused(about, tmp_path):
    fields = ("format", "fnn", "jax", "description", "paths", "scaler", "classes")
    about = dict.fromkeys(fields) | about if about else about
    write(tmp_path / "m", {"a": np.ones(1)}, about)
    with pytest.raises(ValueError, match=r"was not written by fnn.save: its description is another one"):
        fnn.load(tmp_path / "m", like=fnn.Trained((), ()))


def test_a_file_of_a_hundred_thousand_names_is_not_even_parsed(tmp_path):
    names = ",".join(f'"{n:0200d}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(100_000))
    header = f"{{{names}}}".encode()
    (tmp_path / "bomb").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"announce a header of 2\d,\d+,\d+ bytes"):
        fnn.load(tmp_path / "bomb", like=fnn.Trained((), ()))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (MODEL, r"Layer serial.*fnn.save.*fnn.load"),
        (fnn.tasks.multiclass(3), r"Task multiclass.*build the task by the same call"),
        (fnn.tasks.as_task(lambda outputs, targets: outputs), r"Task .*build the task by the same call"),
        (fnn.optim.adam(0.1), r"Transform.*keep its state.*build the rule by the same call"),
        (fnn.data.standard_scaler(), r"Scaler.*keep its statistics.*fnn.save"),
        (fnn.Exported(lambda x: x, "float32[batch]", "double"), r"Exported.*fnn.load_exported"),
    ],
    ids=["model", "task", "loss", "optimizer", "scaler", "exported"],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_what_is_made_of_functions_is_not_pickled_but_copied_and_cloudpickled(value, words, protocol):
    with pytest.raises(TypeError, match=rf"pickle: {words}"):
        pickle.dumps({"inside": [value]}, protocol)
    assert copy.deepcopy({"inside": value})["inside"] is value
    assert copy.copy(value) is value
    cloudpickle = pytest.importorskip("cloudpickle")
    again = cloudpickle.loads(cloudpickle.dumps(value, protocol))
    assert type(again) is type(value)
    assert repr(again).partition(" at ")[0] == repr(value).partition(" at ")[0]


class ByValue(pickle.Pickler):
    """Writes any function as None: what matters is that it begins in Python, as cloudpickle's."""

    def dump(self, value):
        return super().dump(value)

    def reducer_override(self, value):
        return (type(None), ()) if isinstance(value, types.FunctionType) else NotImplemented


class WithATable(pickle._Pickler):
    dispatch = pickle._Pickler.dispatch | {types.FunctionType: lambda self, value: self.save(None)}


class cloudpickle(pickle._Pickler):
    """Writes functions no better than pickle does, whatever it is called."""


@pytest.mark.parametrize("pickler", [ByValue, WithATable, cloudpickle])
def test_a_pickler_takes_what_is_made_of_functions_if_it_writes_functions(pickler):
    file = io.BytesIO()
    writes = contextlib.nullcontext() if pickler is not cloudpickle else pytest.raises(TypeError, match="pickle: Task")
    with writes:
        writer = pickler(file)
        writer.dump(fnn.tasks.regression())
        assert pickle.loads(file.getvalue()).loss is None


def test_a_table_differs_from_python_s_also_where_that_has_an_entry_of_another_pickler(monkeypatch):
    """Importing dill gives it one."""
    monkeypatch.setitem(pickle._Pickler.dispatch, types.FunctionType, WithATable.dispatch[types.FunctionType])
    test_a_pickler_takes_what_is_made_of_functions_if_it_writes_functions(WithATable)


@pytest.mark.parametrize("argument", [False, True], ids=["local", "first argument"])
def test_a_pickler_that_only_stands_by_is_not_taken_for_the_one_at_work(argument):
    def write(given, value):
        held = given or ByValue(io.BytesIO())
        return pickle.dumps(value), held

    with pytest.raises(TypeError, match=r"pickle: Layer dense.*fnn\.save"):
        write(ByValue(io.BytesIO()) if argument else None, fnn.dense(2))


class Nested:
    def __reduce__(self):
        return bytes, (pickle.dumps(fnn.dense(2)),)


def test_a_pickle_inside_another_pickler_s_is_its_own():
    with pytest.raises(TypeError, match=r"pickle: Layer dense.*fnn\.save"):
        ByValue(io.BytesIO()).dump(Nested())


def test_another_process_reads_and_predicts_the_same(tmp_path):
    trained = trained_of(MODEL, X)
    fnn.save(tmp_path / "m", trained, model=MODEL)
    x = np.random.default_rng(0).normal(size=(3, 5, 5, 1)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    script = """
import sys, jax, numpy as np, fnn
folder = sys.argv[1]
around = fnn.residual(fnn.serial(fnn.relu, fnn.conv(4, 1)))
model = fnn.serial(fnn.conv(4, 3), fnn.batch_norm(), around, fnn.flatten(), fnn.dense(3))
x = np.load(folder + "/x.npy")
trained = fnn.load(folder + "/m", like=(model, x))
np.save(folder + "/y.npy", fnn.predict(model, trained, x))
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fnn.predict(MODEL, trained, x))


def test_the_checkpoints_of_a_run_are_read_for_prediction(tmp_path):
    """The best epoch and the last one, of an optimizer that evaluates with an average; not from a damaged file."""
    model, x = fnn.serial(fnn.dense(4), fnn.batch_norm(), fnn.dense(2)), np.eye(6, dtype=np.float32)
    y = np.arange(6, dtype=np.int32) % 2
    ends, folder = [], tmp_path / "run"
    optimizer = fnn.optim.ema_params(fnn.optim.sgd(1.0), decay=0.5)
    stopping = fnn.early_stopping("validation_loss", patience=9, mode="max")
    keep = [lambda end: ends.append(end.train_state)]
    best, history = fnn.fit(
        model, optimizer, fnn.tasks.multiclass(2), (x, y), key=KEY, epochs=3, batch_size=3, validation=(x, y),
        early_stopping=stopping, checkpoint=folder, progress=False, callbacks=keep,
    )  # fmt: skip
    assert history["best_epoch"] < 2
    same(fnn.load(folder, like=(model, x)), best)
    same(fnn.load(folder, like=(model, x), which="last"), ends[-1].trained)
    with pytest.raises(ValueError, match=r"layer 2, dense\(3\): kernel is float32\[4,3\], float32\[4,2\] in the file"):
        fnn.load(folder, like=(fnn.serial(*model.parts[:2], fnn.dense(3)), x))
    newest = sorted(folder.glob("*.npz"))[-1]
    newest.write_bytes(newest.read_bytes()[:-200])
    with pytest.warns(RuntimeWarning, match="epoch-000003.npz is damaged; another one is read"):
        same(fnn.load(folder, like=(model, x), which="last"), ends[-2].trained)
    with pytest.raises(ValueError, match=r"holds no checkpoint"):
        fnn.load(tmp_path, like=(model, x))


def test_without_early_stopping_the_best_of_the_epochs_kept_is_read(tmp_path):
    model, x, folder = fnn.dense(1), np.ones((4, 1), np.float32), tmp_path / "run"
    ends = []
    fnn.fit(
        model, fnn.optim.sgd(0.9), fnn.tasks.regression(), (x, np.zeros(4, np.float32)), key=KEY, epochs=3,
        batch_size=4, validation=(x, np.full(4, 1e3, np.float32)), progress=False,
        checkpoint=fnn.checkpoints(folder, keep=3), callbacks=[lambda end: ends.append(end)],
    )  # fmt: skip
    best = min(ends, key=lambda end: end.row["validation_loss"])
    assert best.epoch != 2
    same(fnn.load(folder, like=(model, x)), best.train_state.trained)
    same(fnn.load(folder, like=(model, x), which="last"), ends[-1].train_state.trained)
