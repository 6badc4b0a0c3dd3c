"""Descriptions are values: equal where they are built alike, other ones where anything they read has changed."""

import abc
import dataclasses
import enum
import functools
import gc
import os
import threading
import types
import weakref
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.programs import Unknown, fingerprint

BUILT = {
    "mlp": lambda: fnn.models.mlp((16,), 3),
    "lenet": lambda: fnn.models.lenet5(10),
    "serial": lambda: fnn.serial(fnn.dense(8), fnn.batch_norm(), fnn.dropout(0.2), lambda x: x * 2, fnn.dense(3)),
    "lstm": lambda: fnn.serial(fnn.bidirectional(fnn.lstm(8)), fnn.dense(3)),
    "residual": lambda: fnn.residual(fnn.serial(fnn.dense(4), fnn.relu)),
    "shared": lambda: fnn.shared(fnn.dense(4), lambda use: fnn.serial(use, fnn.tanh, use)),
    "adam": lambda: fnn.optim.adam(1e-3),
    "chain": lambda: fnn.optim.chain(
        fnn.optim.clip_by_global_norm(1.0), fnn.optim.adamw(fnn.schedules.cosine_decay_schedule(1e-3, 100))
    ),
    "optax": lambda: optax.chain(optax.clip(1.0), optax.adamw(optax.cosine_decay_schedule(1e-3, 10))),
    "multiclass": lambda: fnn.tasks.multiclass(3),
    "regression": lambda: fnn.tasks.regression(),
    "scaler": lambda: fnn.data.standard_scaler(),
    "augmentation": lambda: fnn.data.random_flip(),
    "penalty": lambda: fnn.optim.l2(1e-4),
    "partial": lambda: functools.partial(jnp.clip, min=0.0),
    "jitted": lambda: jax.jit(lambda x: x + 1),
    "checkpointed": lambda: jax.checkpoint(lambda x: x + 1),
    "array": lambda: {"table": jnp.arange(5.0), "host": np.arange(3)},
    "key": lambda: jax.random.key(3),
}


@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT)
def test_what_is_built_twice_is_the_same(build):
    first, second = fingerprint(build()), fingerprint(build())
    assert first == second
    assert hash(first) == hash(second)


def test_every_description_is_another_one():
    prints = [fingerprint(build()) for build in BUILT.values()]
    assert len(set(prints)) == len(prints)


class Names(enum.Enum):
    TWO = 2.0
    THREE = 3.0


class Config(NamedTuple):
    rate: float = 1.0


@dataclasses.dataclass(frozen=True)
class Frozen:
    rate: float = 1.0

    def __call__(self, x):
        return x * self.rate


@dataclasses.dataclass
class Mutable:
    rate: float = 1.0
    more: list = dataclasses.field(default_factory=list)


class Rule(abc.ABC):
    @abc.abstractmethod
    def __call__(self, x): ...


class Slotted(Rule):
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x):
        return x * self.rate


class Scale:
    by = 2.0

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x):
        return x * self.rate * self.by


def numbered(value):
    """A function that captured `value`."""
    return lambda x: x * value


def defaulted(value):
    return lambda x, rate=value: x * rate


def keyword_defaulted(value):
    return lambda x, *, rate=value: x * rate


def through_jvp(value):
    double = jax.custom_jvp(lambda x: x)
    double.defjvp(lambda primals, tangents: (primals[0], tangents[0] * value))
    return double


def through_vjp(value):
    double = jax.custom_vjp(lambda x: x)
    double.defvjp(lambda x: (x, None), lambda _, g: (g * value,))
    return double


def attributed(value):
    def scale(x):
        return x * scale.rate

    scale.rate = value
    return scale


def recursive(value):
    def power(x, n):
        return value if n == 0 else x * power(x, n - 1)

    return power


def module(value):
    made = types.ModuleType("settings_of_a_user")
    made.rate = value
    return lambda x: x * made.rate


CAPTURED = {
    "a closure": numbered,
    "a default": defaulted,
    "a keyword default": keyword_defaulted,
    "a partial": lambda value: functools.partial(numbered, value),
    "a keyword of a partial": lambda value: functools.partial(numbered, value=value),
    "a bound method": lambda value: Scale(value).__call__,
    "an instance": Scale,
    "a frozen dataclass": Frozen,
    "a dataclass": Mutable,
    "an instance with slots": Slotted,
    "a named tuple": Config,
    "an enumeration": lambda value: numbered(Names(value)),
    "a function in a dict": lambda value: {"loss": [numbered(value)]},
    "a closure in a closure": lambda value: numbered(numbered(value)),
    "a wrapped function": lambda value: functools.wraps(jnp.tanh)(numbered(value)),
    "a jitted function": lambda value: jax.jit(numbered(value)),
    "a vmapped function": lambda value: jax.vmap(numbered(value)),
    "a rule of a custom_jvp": through_jvp,
    "a rule of a custom_vjp": through_vjp,
    "an attribute of a function": attributed,
    "a function that calls itself": recursive,
    "an attribute of a module": module,
    "a small array": lambda value: numbered(jnp.full(3, value)),
    "a NumPy array": lambda value: numbered(np.full(10**6, value)),
    "a namespace": lambda value: numbered(types.SimpleNamespace(rate=value)),
    "a layer": lambda value: fnn.as_layer(numbered(value)),
    "a layer in a model": lambda value: fnn.residual(fnn.serial(fnn.dense(2), numbered(value))),
}


@pytest.mark.parametrize("make", CAPTURED.values(), ids=CAPTURED)
def test_a_captured_value_is_compared_by_value(make):
    assert fingerprint(make(2.0)) == fingerprint(make(2.0))
    assert fingerprint(make(2.0)) != fingerprint(make(3.0))


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0.0, -0.0), (1.0, np.float32(1)), ("1", 1)])
def test_values_that_python_calls_equal_are_told_apart(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(numbered(one)) != fingerprint(numbered(other))
    assert fingerprint((one,)) != fingerprint((other,))


def test_constants_of_code_are_told_apart_by_kind_and_sign():
    functions = [lambda x: x * 0.0, lambda x: x * -0.0, lambda x: x * 0, lambda x: x * False]
    assert len({fingerprint(function) for function in functions}) == 4


def test_nan_equals_itself():
    assert fingerprint(numbered(float("nan"))) == fingerprint(numbered(float("nan")))


def test_where_code_stands_in_its_file_does_not_matter():
    source = "def scale(x):\n    return 2 * x\n"
    first, moved, other = {}, {}, {}
    exec(compile(source, "a.py", "exec"), first)
    exec(compile("\n\n" + source, "b.py", "exec"), moved)
    exec(compile(source.replace("2", "3"), "a.py", "exec"), other)
    assert fingerprint(first["scale"]) == fingerprint(moved["scale"])
    assert fingerprint(first["scale"]) != fingerprint(other["scale"])


strength = 1.0
settings = types.SimpleNamespace(rate=1.0)
data = locked = threading.Lock()


def penalty(params):
    return strength * sum(map(jnp.sum, params))


def helper(x):
    return x * strength


def by_helper(x):
    return helper(x)


def in_a_comprehension(x):
    return [strength * value for value in x]


def in_a_namespace(x):
    return settings.rate * x


def in_a_method(x):
    return Reader().read(x)


class Reader:
    def read(self, x):
        return strength * x


@pytest.mark.parametrize("function", [penalty, by_helper, in_a_comprehension, in_a_namespace, in_a_method])
def test_a_changed_global_is_noticed(monkeypatch, function):
    before = fingerprint(function)
    monkeypatch.setitem(globals(), "strength", 2.0)
    monkeypatch.setattr(settings, "rate", 2.0)
    assert fingerprint(function) != before
    monkeypatch.undo()
    assert fingerprint(function) == before


def test_a_changed_option_of_a_library_is_noticed(monkeypatch):
    options = threading.local()  # an object of which nothing can be said but what is read of it
    monkeypatch.setattr(jnp, "options_of_tests", options, raising=False)
    options.rate = 1.0
    scale = lambda x: x * jnp.options_of_tests.rate  # noqa: E731
    before = fingerprint(scale)
    assert fingerprint(scale) == before
    options.rate = 2.0
    assert fingerprint(scale) != before


def test_a_changed_attribute_of_a_class_is_noticed(monkeypatch):
    before = fingerprint(Scale(1.0))
    monkeypatch.setattr(Scale, "by", 3.0)
    assert fingerprint(Scale(1.0)) != before


def test_a_changed_method_is_noticed(monkeypatch):
    before = fingerprint(Frozen())
    monkeypatch.setattr(Frozen, "__call__", lambda self, x: x)
    assert fingerprint(Frozen()) != before


def test_an_attribute_with_the_name_of_a_global_is_not_that_global():
    assert fingerprint(lambda x: x.data) is not None  # the global `data` is a lock nothing can be said of


def test_a_rebound_cell_is_noticed():
    value = 1.0

    def scale(x):
        return x * value

    before = fingerprint(scale)
    value = 2.0
    assert fingerprint(scale) != before


def test_functions_that_call_each_other_are_compared():
    def pair(value):
        def even(n):
            return value if n == 0 else odd(n - 1)

        def odd(n):
            return 0 if n == 0 else even(n - 1)

        return even, odd

    assert fingerprint(pair(1)) == fingerprint(pair(1))
    assert fingerprint(pair(1)) != fingerprint(pair(2))
    first, second = pair(1), pair(2)
    assert fingerprint((first[0], second[0], first[1])) != fingerprint((first[0], second[0], second[1]))


def test_a_large_array_is_itself_and_is_not_kept_alive():
    table = jnp.zeros((600, 600))
    kept = fingerprint(numbered(table))
    assert kept == fingerprint(numbered(table))
    assert kept != fingerprint(numbered(jnp.zeros((600, 600))))
    del table
    assert all(same.of() is None for entry in kept.table for same in entry if hasattr(same, "of"))


def handed_on(x):
    return vars(outside)["rate"] * x


outside = types.ModuleType("settings_handed_on")


def imports_when_called(x):
    import conftest  # a module beside the tests

    return x * conftest.rate


def evaluates(x):
    return eval("strength") * x


def by_environment(x):
    return x * float(os.environ.get("RATE_OF_A_TEST", "2"))


UNKNOWN = {
    "the environment": lambda: by_environment,
    "a lock": lambda: numbered(threading.Lock()),
    "a generator": lambda: numbered(np.random.default_rng(0)),
    "an iterator": lambda: numbered(iter([1])),
    "a module handed on": lambda: handed_on,
    "a module imported when called": lambda: imports_when_called,
    "evaluated text": lambda: evaluates,
    "an array of objects": lambda: numbered(np.array([threading.Lock()])),
    "a kind of dict": lambda: numbered(type("Kind", (dict,), {})()),
}


@pytest.mark.parametrize("make", UNKNOWN.values(), ids=UNKNOWN)
def test_what_nothing_can_be_said_of_is_unknown(make):
    with pytest.raises(Unknown):
        fingerprint(make())


def test_a_traced_value_is_unknown():
    def traced(rate):
        with pytest.raises(Unknown, match="traced"):
            fingerprint(fnn.optim.adam(rate))
        return rate

    jax.jit(traced)(1.0)


def apply(model, x):
    return model(x)


@pytest.fixture
def programs():
    fnn.programs.clear()
    yield fnn.programs
    fnn.programs.clear()


def test_a_program_is_found_again_and_counted(programs):
    assert programs.compile(apply, numbered(2.0))(jnp.ones(())) == 2
    assert programs.compile(apply, numbered(2.0))(jnp.ones(())) == 2
    assert programs.compile(apply, numbered(3.0))(jnp.ones(())) == 3
    assert programs.info()[:5] == (2, programs.LIMIT, 1, 2, 0)
    assert programs.compile(apply, lambda x: x if locked else 0)(jnp.ones(())) == 1
    assert programs.info().unknown == 1
    assert programs.info().reason == "a _thread.lock"


def test_other_shapes_are_traced_with_what_is_described_now(programs):
    rates = [{"rate": 2.0}, {"rate": 2.0}]
    first, second = (lambda x, rate=rate: x * rate["rate"] for rate in rates)
    assert programs.compile(apply, first)(jnp.ones(())) == 2
    rates[0]["rate"] = 5.0
    assert programs.compile(apply, second)(jnp.ones(3)).tolist() == [2, 2, 2]
    assert programs.compile(apply, first)(jnp.ones(3)).tolist() == [5, 5, 5]


def test_the_least_recently_used_program_goes_first(programs, monkeypatch):
    monkeypatch.setattr(fnn.programs.store, "LIMIT", 2)
    for value in (1.0, 2.0, 1.0, 3.0):
        programs.compile(apply, numbered(value))
    assert programs.info().kept == 2
    programs.compile(apply, numbered(1.0))
    assert programs.info().found == 2
    programs.compile(apply, numbered(2.0))
    assert programs.info().new == 4


def test_a_program_that_is_dropped_takes_everything_with_it(programs):
    table = jnp.arange(3.0)
    kept = weakref.ref(table)
    programs.compile(apply, numbered(table))(jnp.ones(()))
    del table
    gc.collect()
    assert kept() is not None
    programs.clear()
    gc.collect()
    assert kept() is None
