"""Programs that another process traced: the same numbers, and never those of another description."""

import builtins
import collections
import dataclasses
import enum
import functools
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_layer import LAYERS, MODELS
from test_programs import BUILT, CAPTURED, numbered

import fnn
from fnn.programs import Unknown, disk, fingerprint, words
from fnn.programs.words import words_of

OF_JAX = {"a vmapped function"}
"""Which hold marks of JAX's own, that have no name."""


def apply(model, x):
    return model(x)


@pytest.fixture
def kept(tmp_path):
    """A directory of programs, and how many there are in it."""
    fnn.programs.clear()
    disk.use(tmp_path)
    yield lambda: len(list(tmp_path.iterdir()))
    disk.use(None)
    fnn.programs.clear()


def anew(function, description, *arguments):
    """As another process would: nothing is known but what stands on disk."""
    fnn.programs.clear()
    found = fnn.programs.compile(function, description)(*arguments)
    return found, fnn.programs.info().read


X = jnp.arange(3.0)


def doubled(description, x):
    """A program of its own for every description."""
    return x * 2.0


@pytest.mark.parametrize("name", CAPTURED)
def test_a_program_is_read_for_what_it_captured_and_nothing_else(name, kept):
    reads = []
    for value in (2.0, 3.0, 2.0, 3.0):
        found, read = anew(doubled, CAPTURED[name](value), X)
        np.testing.assert_array_equal(found, X * 2)
        reads.append(read)
    assert reads == ([0, 0, 0, 0] if name in OF_JAX else [0, 0, 1, 1])


@pytest.mark.parametrize("name", [*CAPTURED, *BUILT])
def test_words_are_equal_for_what_is_built_alike(name):
    if name in OF_JAX:
        with pytest.raises(Unknown, match="only this process has"):
            words_of(fingerprint(CAPTURED[name](2.0)))
        return
    make = functools.partial(CAPTURED[name], 2.0) if name in CAPTURED else BUILT[name]
    assert words_of(fingerprint(make())) == words_of(fingerprint(make()))
    if name in CAPTURED:
        assert words_of(fingerprint(CAPTURED[name](3.0))) != words_of(fingerprint(make()))


ELSEWHERE = {
    "of a metaclass": "class M(type):\n  by = VALUE\nclass A(metaclass=M): pass\nf = lambda x: x * A.by",
    "of a field's metadata": "@dataclass\nclass A:\n  a: float = field(default=1, metadata={'by': VALUE})\n"
    "f = lambda x: x * fields(A)[0].metadata['by']",
    "of the order of a pattern": "class A:\n  __match_args__ = ('a', 'b') if VALUE == 2 else ('b', 'a')\n"
    "  a, b = 2.0, 3.0\n"
    "def f(x):\n  match A():\n    case A(by, _): return x * by",
    "beside frozen fields": "@dataclass(frozen=True)\nclass A:\n  a: float = 1\na = A()\n"
    "object.__setattr__(a, 'by', VALUE)\nf = lambda x: x * a.by",
    "of a property of one's own": "class P(property):\n  def __get__(self, *_): return VALUE\nclass A:\n"
    "  @P\n  def by(self): ...\nf = lambda x: x * A().by",
    "of a class's text": "class A:\n  'VALUE'\nf = lambda x: x * float(A.__doc__)",
    "of a class's annotations": "class A:\n  a: 'VALUE'\nf = lambda x: x * float(A.__annotations__['a'])",
    "of a member": "class A(enum.Enum):\n  B = 1\nA.B.by = VALUE\nf = lambda x: x * A.B.by",
    "of a partial": "g = functools.partial(max)\ng.by = VALUE\nf = lambda x: x * g.by",
    "of a named tuple": "class A(collections.namedtuple('A', 'a')): ...\na = A(1)\na.by = VALUE\n"
    "f = lambda x: x * a.by",
    "of the one slot": "class A:\n  __slots__ = 'by'\na = A()\na.by = VALUE\nf = lambda x: x * a.by",
    "of a private slot": "class A:\n  __slots__ = ('__by',)\n  def set(self, by): self.__by = by\n"
    "  def __call__(self, x): return x * self.__by\nf = A()\nf.set(VALUE)",
    "of what was wrapped": "def outer(g):\n  @functools.wraps(g)\n  def call(x): return call.__wrapped__(x)\n"
    "  return call\nf = outer(lambda x: x * VALUE)",
    "of a function": "def f(x): return x * f.__by__\nf.__by__ = VALUE",
    "among a function's globals": "by = VALUE\ndef f(x): return x * f.__globals__['by']",
    "of a library": "jnp.of_tests = VALUE\nf = lambda x: x * jnp.of_tests",
    "among the builtins": "builtins.of_tests = VALUE\nf = lambda x: x * of_tests",
    "of an array": "class A(np.ndarray): ...\na = np.ones(3).view(A)\na.by = VALUE\nf = lambda x: x * a.by",
    "of a slice": "class A:\n  def __init__(self): self.by = VALUE\n  def __repr__(self): return 'A'\n"
    "s = slice(A())\nf = lambda x: x * s.stop.by",
    "of what jit is told": "g = jax.jit(lambda x, n: x * (2 if isinstance(n, int) else 3), "
    "static_argnums=(1,) * (VALUE == 2))\nf = lambda x: g(x, 1)",
    "of a function that remembers": "by = VALUE\n@functools.cache\ndef g(): return by\ng()\nby = 0\n"
    "f = lambda x: x * g()",
    "of a tree": "class A: ...\n"
    "jax.tree_util.register_pytree_node(A, lambda a: ((VALUE,), None), lambda *_: A())\n"
    "f = lambda x: x * jax.tree.leaves(A())[0]",
}
"""Where a value may stand that the code of a function does not name."""
NAMES = {
    "np": np, "jnp": jnp, "jax": jax, "fnn": fnn, "functools": functools, "builtins": builtins, "enum": enum,
    "collections": collections, "dataclass": dataclasses.dataclass, "field": dataclasses.field,
    "fields": dataclasses.fields, "Path": pathlib.Path,
}  # fmt: skip


def written(source):
    """The function `f` of a script."""
    names = {"__name__": "__main__", "__package__": "own", **NAMES}
    exec(compile(source, "script.py", "exec", dont_inherit=True), names)
    return names["f"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_other_value_is_read_wherever_it_stands(name, kept, monkeypatch):
    for place in (jnp, builtins):
        monkeypatch.setattr(place, "of_tests", None, raising=False)
    for value in (2.0, 3.0):
        found, read = anew(apply, written(ELSEWHERE[name].replace("VALUE", str(value))), X)
        np.testing.assert_array_equal(found, X * value)
        assert read == 0


ASKING = {
    "a file": "Path('a').read_text()",
    "a file of numpy": "np.load('a')",
    "a file of jax": "jax.numpy.load('a')",
    "a file of fnn": "fnn.load('a')",
    "what a library imported": "fnn.files.os.environ['a']",
    "a file by builtins": "builtins.open('a')",
    "the place in memory": "id(f)",
    "a hash": "hash('a')",
    "a name at run time": "getattr(np, 'random').rand()",
    "another one's module": "(lambda m=np: m.random.rand())()",
    "something said": "print('a')",
}


@pytest.mark.parametrize("name", ASKING)
def test_a_function_that_asks_more_than_its_arguments_has_no_words(name):
    with pytest.raises(Unknown, match=r"in another process|as a whole|a os\._Environ"):
        words_of(fingerprint(written(f"f = lambda x: x * {ASKING[name]}")))


@pytest.mark.parametrize("line", ["import numpy as n", "from numpy import random", "from .math import pi"])
def test_an_import_inside_a_function_has_no_words(line):
    with pytest.raises(Unknown, match="imports"):
        words_of(fingerprint(written(f"def f(x):\n  {line}\n  return x")))


@pytest.mark.parametrize(
    "source", ["import math\nf = lambda x: x * math.pi", "f = lambda x: jax.nn.relu(x) + jnp.max(x)"]
)
def test_arithmetic_of_libraries_is_kept(source, kept):
    reads = [anew(apply, written(source), X)[1] for _ in range(2)]
    assert reads == [0, 1]


def test_what_the_leaves_of_an_argument_mean_is_part_of_the_program(kept):
    first, other = (collections.namedtuple("Pair", names) for names in ("a b", "b a"))
    for pair in (first, other):
        found, read = anew(apply, lambda pair: pair.a, pair(a=X, b=X + 1))
        np.testing.assert_array_equal(found, X)
        assert read == 0
    assert kept() == 2


def test_settings_of_arithmetic_are_part_of_the_program():
    left_out = {"jax_enable_x64", "jax_use_hlo_logistic_lowering", "jax_threefry_partitionable"}
    assert not left_out.intersection(jax.config.values).difference(words._names_of_settings())


def test_everything_of_fnn_has_words_and_no_two_the_same():
    built = {f"layer {name}": layer for name, layer in {**LAYERS, **MODELS}.items()}
    built |= {f"loss {name}": fnn.tasks.as_task(getattr(fnn.losses, name)) for name in ("mse", "mae", "huber_loss")}
    built |= {f"rule {name}": getattr(fnn.optim, name)(0.1) for name in ("sgd", "adam", "adamw", "lion", "muon")}
    said = {name: words_of(fingerprint(value)) for name, value in built.items()}
    prints = {name: fingerprint(value) for name, value in built.items()}
    assert len(set(said.values())) == len(set(prints.values()))


MODEL = fnn.serial(fnn.dense(4), fnn.batch_norm(), fnn.relu, fnn.dropout(0.3), fnn.dense(2))
DATA = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2), np.arange(12) % 2


def verbs():
    task, rule, how = fnn.tasks.multiclass(2), fnn.optim.adam(1e-2), dict(key=jax.random.key(0), epochs=2)
    trained, history = fnn.fit(MODEL, rule, task, DATA, batch_size=4, validation=0.25, progress=False, **how)
    run = fnn.trainer(MODEL, rule, task, epochs=2, batch_size=4)
    found = fnn.selection.cross_validate(MODEL, rule, task, DATA, folds=3, batch_size=4, progress=False, **how)
    scores = fnn.evaluate(MODEL, trained, DATA, task)
    classes = fnn.predict(MODEL, trained, DATA[0], task)
    return trained, history, run(jax.random.key(1), DATA), found.scores, found.outputs, scores, classes


@pytest.mark.thorough
def test_every_verb_gives_the_same_bits_from_disk(kept):
    fnn.programs.clear()
    first = verbs()
    count, traced = kept(), fnn.programs.info().read
    fnn.programs.clear()
    second = verbs()
    assert (traced, fnn.programs.info().read) == (0, count)
    assert count >= 8
    jax.tree.map(np.testing.assert_array_equal, second, first)
    disk.use(None)
    fnn.programs.clear()
    plain = verbs()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), second, plain)


SCRIPT = """
import json, sys, numpy as np, jax, fnn
fnn.devices.cache_programs(sys.argv[1])
RATE = float(sys.argv[2])
class Scale:
    def __call__(self, x):
        return x * RATE
model = fnn.serial(fnn.dense(3), lambda x: Scale()(x), fnn.dense(2))
x, y = np.linspace(-1, 1, 16, dtype=np.float32).reshape(8, 2), np.arange(8) % 2
trained, history = fnn.fit(
    model, fnn.optim.sgd(0.1), fnn.tasks.multiclass(2), (x, y), key=jax.random.key(0), epochs=2, progress=False
)
print(json.dumps([history["loss"], fnn.programs.info().read]))
"""


@pytest.mark.thorough
def test_another_process_reads_it_and_one_with_another_constant_does_not(tmp_path):
    def losses_and_read(rate, seed):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT, tmp_path, rate], capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-2000:]
        return json.loads(run.stdout)

    first, second, other = losses_and_read("2", "1"), losses_and_read("2", "2"), losses_and_read("3", "1")
    assert first[1] == 0
    assert second[1] >= 3
    assert other[1] < second[1]  # the order of the rows is the same program
    assert second[0] == first[0] != other[0]


OWN = object()


def with_own_mark(x, given=OWN):
    return x if given is OWN else -x


def noisy(x):
    warnings.warn("one should hear this every time", UserWarning, stacklevel=1)
    return x * 2


def by_clock(x):
    return x * (2.0 if time.time() > 0 else 1.0)


def by_environment(x):
    return x * float(os.environ.get("NOT_SET", "2"))


def by_random_numbers(x):
    return x * np.random.uniform(2, 2)


def imports_when_called(x):
    import os as system

    return x * float(system.environ.get("NOT_SET", "2"))


def prints(x):
    jax.debug.callback(lambda x: None, x)
    return x * 2


LARGE = jnp.full(300_000, 2.0)
REFUSED = {
    "a clock": by_clock,
    "the environment": by_environment,
    "an import inside": imports_when_called,
    "numbers of NumPy drawn": by_random_numbers,
    "a mark of one's own": with_own_mark,
    "a large array": lambda x: x * LARGE[0],
    "a callback": prints,
    "a weak result": lambda x: (x * 2, 2.0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_another_process_could_see_otherwise_is_traced_in_each(name, kept):
    expected = REFUSED[name](X)
    for _ in range(2):
        found, read = anew(apply, REFUSED[name], X)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        assert (read, kept()) == (0, 0)


def test_drawing_from_a_key_is_kept(kept):
    draw = lambda key: jax.random.normal(key, (3,))  # noqa: E731
    for times in range(2):
        found, read = anew(apply, draw, jax.random.key(0))
        np.testing.assert_array_equal(found, draw(jax.random.key(0)))
        assert (read, kept()) == (times, 1)


def test_a_warning_while_tracing_is_heard_in_every_process(kept):
    for _ in range(2):
        with pytest.warns(UserWarning, match="hear this every time"):
            anew(apply, noisy, X)
    assert kept() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="hear this"):
            anew(apply, noisy, X)


def test_an_error_while_tracing_is_the_description_s_own(kept):
    with pytest.raises(TypeError, match="incompatible shapes"):
        anew(apply, lambda x: x @ jnp.ones((2, 2)) + jnp.ones(7), X[:2])
    assert kept() == 0


def test_a_damaged_file_is_written_anew_and_a_full_disk_stops_no_run(kept, tmp_path, monkeypatch):
    double = numbered(2.0)
    anew(apply, double, X)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:]
    for damaged in (b"", whole[:100], b"something else", flipped):
        path.write_bytes(damaged)
        found, read = anew(apply, double, X)
        np.testing.assert_array_equal(found, X * 2)
        assert read == 0
        assert len(path.read_bytes()) == len(whole)

    def full(*_):
        raise OSError("no space left")

    path.unlink()
    monkeypatch.setattr(disk, "write_whole", full)
    np.testing.assert_array_equal(anew(apply, double, X)[0], X * 2)


def test_other_shapes_dtypes_and_settings_are_other_programs(kept, tmp_path):
    double = numbered(2.0)
    anew(apply, double, X)
    for other in (X[:2], X.astype(jnp.bfloat16), np.ones((3, 1), np.float32)):
        before = kept()
        found, read = anew(apply, double, other)
        np.testing.assert_array_equal(found, double(other))
        assert (read, kept()) == (0, before + 1)
    with jax.default_matmul_precision("float32"):
        assert anew(apply, double, X)[1] == 0
    with jax.enable_x64(True):
        assert anew(apply, double, X)[1] == 0
    assert anew(apply, double, X)[1] == 1
    disk.use(tmp_path, "other cores")
    assert anew(apply, double, X)[1] == 0


def test_traced_and_mapped_calls_are_those_of_jax(kept):
    double = fnn.programs.compile(apply, numbered(2.0))
    np.testing.assert_array_equal(jax.jit(double)(X), X * 2)
    np.testing.assert_array_equal(jax.vmap(double)(X), X * 2)
    assert jax.grad(lambda x: double(x).sum())(X).tolist() == [2, 2, 2]
    with jax.disable_jit():
        np.testing.assert_array_equal(double(X), X * 2)
    assert kept() == 0


@pytest.mark.parametrize("size", [2, 3])
def test_an_axis_around_it_is_no_other_axis(size, kept):
    double = lambda x: x * jax.lax.axis_size("i")  # noqa: E731
    for count in (size, 5 - size):
        found = jax.vmap(lambda _: anew(apply, double, X), axis_name="i", out_axes=(0, None))(jnp.ones(count))[0]
        np.testing.assert_array_equal(found, np.tile(X * count, (count, 1)))
    assert kept() == 0


def test_where_no_number_comes_from_is_named_as_ever(kept):
    for _ in range(2):
        with jax.debug_nans(True), pytest.raises(FloatingPointError, match="in log"):
            anew(apply, lambda x: jnp.log(-1 - x), X)
    assert kept() == 0


def in_double(x):
    for _ in range(3):
        x = x + jnp.asarray(x, "float64")
    return x


@pytest.mark.parametrize(
    ("action", "module", "count"), [("default", "", 1), ("always", "", 3), ("ignore", __name__, 0)]
)
def test_a_warning_is_filtered_as_without_a_directory(action, module, count, kept):
    globals().pop("__warningregistry__", None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.filterwarnings(action, "Explicitly requested dtype", module=module)
        anew(apply, in_double, X)
    assert len(said) == count
    assert kept() == 0


def test_many_threads_leave_the_filters_as_they_were(kept):
    before = warnings.showwarning
    programs = [fnn.programs.compile(apply, numbered(float(rate))) for rate in range(4)] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda program: program(X), programs))
    np.testing.assert_array_equal(found, [X * rate for rate in range(4)] * 4)
    assert warnings.showwarning is before
    assert kept() == 4


def test_what_is_given_away_is_given_away_also_from_disk(kept):
    for _ in range(2):
        fnn.programs.clear()
        state, other = {"a": jnp.ones(5), "b": jnp.zeros((2, 2))}, jnp.ones(5)
        program = fnn.programs.compile(step, 2.0, donate=(0,))
        found = program(state, other)
        assert state["a"].is_deleted()
        assert not other.is_deleted()
        np.testing.assert_array_equal(found["a"], jnp.full(5, 3.0))
    assert fnn.programs.info().read == 1


def step(rate, state, x):
    return {"a": state["a"] * rate + x, "b": state["b"] + 1}
