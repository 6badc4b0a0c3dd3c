"""Every name shared with jax.nn, its initializers and optax: the same parameters, defaults, dtypes, states, values."""

from __future__ import annotations

import functools
import inspect
import re
import types
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import optax.contrib
import pytest

import fnn
from fnn.testing import check_swap

X = jnp.linspace(-4.0, 4.0, 24).reshape(4, 6)
PARAMS = {"kernel": jnp.ones((3, 4)), "bias": jnp.arange(4.0)}
GRADIENTS = {"kernel": jnp.linspace(-1, 1, 12).reshape(3, 4), "bias": jnp.array([0.5, -1.0, 0.0, 2.0])}


def promoting(function):
    """The references promote dtypes, which the suite forbids to fnn, and warn of their own deprecations."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return run


def test_activations_are_those_of_jax_nn():
    options = {"glu": {}, "standardize": {}}

    def call(name, f):
        return f(X, **options.get(name, {}))

    differs = {"one_hot": "", "standardize": ""}
    shared = fnn.testing.swap.shared_names(fnn.activations, jax.nn)
    names = sorted(shared - set(differs))
    assert len(names) >= 20
    table = check_swap(fnn.activations, jax.nn, names=names, call=promoting(call))
    assert set(table.values()) == {"equal"}


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16, jnp.complex64], ids=str)
def test_initializers_are_those_of_jax_nn(dtype):
    def call(name, f):
        key, shape = jax.random.key(1), (3, 4, 5)
        if name in ("zeros", "ones"):
            return f(key, shape, dtype)
        made = f(2.0) if name == "constant" else f(1.5, "fan_avg", "normal") if name == "variance_scaling" else f()
        return made(key, shape, dtype)

    names = fnn.testing.swap.shared_names(fnn.initializers, jax.nn.initializers)
    assert len(names) >= 18
    if dtype == jnp.bfloat16:
        names -= {"orthogonal", "delta_orthogonal"}  # jax has no such matrices in half precision
    if dtype == jnp.complex64:
        names -= {"uniform", "truncated_normal"}  # nor these in complex dtypes
    rtol = 1e-2 if dtype == jnp.bfloat16 else 1e-5
    check_swap(fnn.initializers, jax.nn.initializers, names=names, call=promoting(call), rtol=rtol)


def test_schedules_are_those_of_optax():
    arguments = {
        "constant_schedule": (0.1,),
        "polynomial_schedule": (1.0, 0.1, 2.0, 10),
        "piecewise_constant_schedule": (1.0, {3: 0.5, 6: 0.1}),
        "exponential_decay": (1.0, 4, 0.5),
        "cosine_decay_schedule": (1.0, 10),
        "linear_schedule": (1.0, 0.1, 10),
        "piecewise_interpolate_schedule": ("cosine", 1.0, {3: 0.5, 6: 0.1}),
        "linear_onecycle_schedule": (20, 1.0),
        "cosine_onecycle_schedule": (20, 1.0),
        "warmup_cosine_decay_schedule": (0.0, 1.0, 3, 10),
        "warmup_exponential_decay_schedule": (0.0, 1.0, 3, 4, 0.5),
        "warmup_constant_schedule": (0.0, 1.0, 3),
        "sgdr_schedule": ([{"init_value": 0.0, "peak_value": 1.0, "decay_steps": 10, "warmup_steps": 3}],),
        "join_schedules": ([optax.constant_schedule(1.0), optax.constant_schedule(0.5)], [4]),
    }

    def call(name, f):
        schedule = f(*arguments[name])
        return [jnp.asarray(schedule(step), jnp.float32) for step in (0, 2, 5, 9, 15)]

    names = fnn.testing.swap.shared_names(fnn.schedules, optax.schedules)
    assert names <= set(arguments)
    assert len(names) >= 12
    check_swap(fnn.schedules, optax.schedules, names=names, call=promoting(call))


P = jax.nn.softmax(X)
Q = jax.nn.softmax(-X)
BITS = (X > 0).astype(jnp.float32)
LABELS = jnp.array([0, 2, 5, 1])
LOSSES = {
    "binary_dice_loss": (X, BITS),
    "contrastive_loss": None,
    "cosine_distance": (X, Q),
    "cosine_similarity": (X, Q),
    "ctc_loss": None,
    "dice_loss": (X[:, None], jax.nn.one_hot(LABELS, 6)[:, None]),
    "generalized_kl_divergence": (jnp.log(P), Q),
    "hinge_loss": (X, 2 * BITS - 1),
    "huber_loss": (X, Q),
    "kl_divergence": (jnp.log(P), Q),
    "kl_divergence_with_log_targets": (jnp.log(P), jnp.log(Q)),
    "l2_loss": (X, Q),
    "log_cosh": (X, Q),
    "multiclass_hinge_loss": (X, LABELS),
    "multiclass_perceptron_loss": (X, LABELS),
    "perceptron_loss": (X, 2 * BITS - 1),
    "poly_loss_cross_entropy": (X, jax.nn.one_hot(LABELS, 6)),
    "sigmoid_binary_cross_entropy": (X, BITS),
    "sigmoid_focal_loss": (X, BITS),
    "smooth_labels": (jax.nn.one_hot(LABELS, 6), 0.1),
    "softmax_cross_entropy": (X, Q),
    "softmax_cross_entropy_with_integer_labels": (X, LABELS),
    "squared_error": (X, Q),
    "triplet_margin_loss": (X, Q, P),
}


def test_losses_are_those_of_optax():
    names = fnn.testing.swap.shared_names(fnn.losses, optax.losses)
    assert names <= set(LOSSES)
    assert len(names) >= 18

    def call(name, f):
        return f(*LOSSES[name])

    with_values = {name for name in names if LOSSES[name] is not None}
    check_swap(fnn.losses, optax.losses, names=with_values, call=promoting(call))
    check_swap(fnn.losses, optax.losses, names=names - with_values)


def optax_names():
    """What optax and its contributions offer, in one namespace."""
    return types.SimpleNamespace(**vars(optax.contrib) | vars(optax))


REQUIRED = {
    "learning_rate": 0.1,
    "decay": 0.9,
    "max_delta": 1.0,
    "max_norm": 1.0,
    "threshold": 1.0,
    "step_size": 0.5,
    "step_size_fn": lambda count: 0.5,
    "weight_decay": 0.1,
    "every_k_schedule": 2,
    "max_consecutive_errors": 3,
    "max_linesearch_steps": 5,
    "k_steps": 2,
    "sync_period": 2,
    "slow_step_size": 0.5,
    "mask": {"kernel": True, "bias": False},
    "param_labels": {"kernel": "a", "bias": "b"},
}


def built(lib, f):
    """The rule of `f` with its required settings, the inner rules being the library's own."""
    inner = {
        "inner": lib.sgd(0.1),
        "base_optimizer": lib.sgd(0.1),
        "opt": lib.sgd(0.1),
        "optimizer": lib.sgd(0.1),
        "fast_optimizer": lib.sgd(0.1),
        "transforms": {"a": lib.sgd(0.1), "b": lib.adam(0.1)},
    }
    needed = [
        p
        for p in inspect.signature(f).parameters.values()
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    known = REQUIRED | inner
    return f(**{p.name: known[p.name] for p in needed})


OTHER = {"apply_updates", "global_norm", "schedule_free_eval_params", "skip_large_updates", "skip_not_finite"}
"""Functions of trees, not rules: compared by signature here, by value in the tests of their files."""


def bowl(params):
    return sum(jnp.sum((leaf - 0.3) ** 2) for leaf in jax.tree.leaves(params))


LATE = "optax makes the step of the gradient before"
UPHILL = "optax takes no rate for a step of 1 up the gradient"


@pytest.mark.thorough
def test_rules_and_wrappers_are_those_of_optax():
    reference = optax_names()
    names = {n for n in fnn.testing.swap.shared_names(fnn.optim, reference) if not n.startswith("_")} - {"chain"}
    assert len(names) >= 50

    def steps(name, f):
        lib = optax if f.__module__.startswith("optax") else fnn.optim
        rule = built(lib, f)
        if name == "scale_by_muon":
            rule = f(weight_dimension_numbers=[(optax.contrib if lib is optax else lib).MuonDimensionNumbers()])
        if not hasattr(rule, "init"):
            return rule(PARAMS) if callable(rule) else rule
        params, gradients = PARAMS, GRADIENTS
        if name == "scale_by_muon":
            params, gradients = ([tree["kernel"]] for tree in (PARAMS, GRADIENTS))
        if name == "lookahead":
            params = lib.LookaheadParams.init_synced(PARAMS)
        told = {"value": 1.0} if name == "reduce_on_plateau" else {}
        if name in ("lbfgs", "scale_by_zoom_linesearch"):
            value, gradients = jax.value_and_grad(bowl)(PARAMS)
            told = {"value": value, "grad": gradients, "value_fn": bowl}
        state, seen = rule.init(params), []
        for _ in range(3):
            updates, state = rule.update(gradients, state, params, **told)
            seen.append(updates)
        return seen, state

    differs = {"rprop": LATE, "scale_by_rprop": LATE, "scale_by_learning_rate": UPHILL}
    check_swap(fnn.optim, reference, names=names - OTHER, call=promoting(steps), differs=differs, rtol=1e-4, atol=1e-5)
    check_swap(fnn.optim, reference, names=names & OTHER)


def test_planted_differences_are_found():
    def f(x, alpha=1.0, *, extra=0):
        return alpha * x

    reference = types.SimpleNamespace(f=f)

    def check(other, call=lambda name, f: f(X)):
        return check_swap(types.SimpleNamespace(f=other), reference, names=["f"], call=call)

    assert check(lambda x, alpha=1.0, *, extra=0, more=None: x) == {"f": "equal"}
    for other, text in [
        (lambda y, alpha=1.0, *, extra=0: y, r"parameters \(y, alpha, extra\) instead of \(x, alpha, extra\)"),
        (lambda x, alpha=2.0, *, extra=0: x, "alpha=2.0 instead of 1.0"),
        (lambda x, alpha=1.0: x, "no parameter extra"),
        (lambda x, alpha=1.0, *, extra=0, more: x, "requires more"),
        (lambda x, alpha=1.0, *, extra=0: x.astype(jnp.bfloat16), r"bfloat16\[4, 6\] instead of float32\[4, 6\]"),
        (lambda x, alpha=1.0, *, extra=0: (x,), "leaves"),
        (lambda x, alpha=1.0, *, extra=0: x + 1, "instead of"),
    ]:
        with pytest.raises(AssertionError, match=text):
            check(other)
    with pytest.raises(AssertionError, match="said to differ"):
        check_swap(reference, reference, names=["f"], differs={"f": "a reason"})


def test_the_page_lists_every_shared_name():
    page = (Path(__file__).parents[1] / "docs" / "swapping.md").read_text(encoding="utf-8")
    shared = fnn.testing.swap.shared_names
    pairs = {
        "fnn": shared(fnn.activations, jax.nn),
        "fnn.initializers": shared(fnn.initializers, jax.nn.initializers),
        "fnn.schedules": shared(fnn.schedules, optax.schedules),
        "fnn.losses": shared(fnn.losses, optax.losses),
        "fnn.optim": {name for name in shared(fnn.optim, optax_names()) if not name.startswith("_")},
    }
    listed = dict(re.findall(r"\*\*([\w.]+)\*\* for [^:]*: (.*?)\.\n\n", page, re.S))
    assert {room: set(re.findall(r"`(\w+)`", names)) for room, names in listed.items()} == pairs
    for room, names in pairs.items():
        assert re.search(rf"\| `{re.escape(room)}` \| {len(names)} \|", page)
