"""check_transform finds what is wrong and says where; the strategies draw what they promise."""

import sys
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import optax
import pytest

from fnn import optim
from fnn.testing import check_transform, strategies

FEW = {"steps": 4, "examples": 2}


def _stateless(change):
    return optim.Transform(
        lambda params: optim.EmptyState(),
        lambda updates, state, params=None: (jax.tree.map(change, updates), state),
    )


def test_equal_rules_pass_and_the_difference_is_returned():
    assert check_transform(optim.adam, optax.adam, **FEW) < 1e-12
    assert check_transform(optim.sgd(0.1), optax.sgd(0.1), **FEW) == 0
    assert check_transform(optim.sgd, optax.sgd, params=[jnp.ones((2, 2))], dtype="float32", **FEW) < 1e-6


@pytest.mark.parametrize(
    ("mine", "reference", "message"),
    [
        (optim.sgd(0.1), optax.sgd(0.2), r"update \['bias'\] at step 1, example 0: .* instead of .*difference 0.5"),
        (optim.adam(0.1), optax.adamw(0.1), r"update \['bias'\] at step 1"),
        (optim.adam(0.1, mu_dtype="float32"), optax.adam(0.1), r"float32\(4,\) instead of float64\(4,\)"),
        (optim.adagrad(0.1), optax.rmsprop(0.1), r"state: leaves \[0\].sum_of_squares\['bias'\].* instead of \[0\].nu"),
        (optim.sgd(0.1), optax.sgd(0.1, momentum=0.0), r"state: leaves none instead of .*\[0\].trace\['bias'\]"),
    ],
)
def test_differences_are_located(mine, reference, message):
    with pytest.raises(AssertionError, match=message):
        check_transform(mine, reference, **FEW)


def test_a_late_difference_names_its_step():
    late = optim.scale_by_schedule(lambda count: jnp.where(count < 2, 1.0, 2.0))
    same = optim.scale_by_schedule(lambda count: jnp.ones([]))
    with pytest.raises(AssertionError, match=r"update \['bias'\] at step 3, example 0"):
        check_transform(late, same, **FEW)
    assert check_transform(late, same, steps=2, examples=2) == 0


def test_nan_is_a_difference():
    broken, whole = _stateless(lambda g: jnp.where(g == 0, jnp.nan, g)), _stateless(lambda g: g)
    with pytest.raises(AssertionError, match=r"nan.* instead of"):
        check_transform(broken, whole, steps=20, examples=2)


class _Pair(NamedTuple):
    first: object
    second: object


def test_shared_buffers_are_found():
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _Pair(zeros, zeros)

    shared = optim.Transform(init, lambda updates, state, params=None: (updates, state))
    with pytest.raises(AssertionError, match="share one buffer"):
        check_transform(shared, shared, **FEW)


def test_recompilation_is_found():
    changing = optim.Transform(
        lambda params: jnp.zeros((), jnp.int32),
        lambda updates, state, params=None: (updates, state.astype(float)),
    )
    steady = optim.Transform(lambda params: jnp.zeros(()), lambda updates, state, params=None: (updates, state))
    with pytest.raises((AssertionError, TypeError)):
        check_transform(changing, steady, compare_state=False, **FEW)


def test_a_learning_rate_that_is_compared_inside_jit_is_found():
    def careless(rate):
        if rate < 0:
            raise ValueError
        return optim.sgd(rate)

    with pytest.raises((AssertionError, jax.errors.TracerBoolConversionError)):
        check_transform(careless, optim.sgd, **FEW)

    def compares_arrays_only(rate):
        traced = isinstance(rate, jax.core.Tracer)
        return optim.sgd(rate if traced or not isinstance(rate, jax.Array) or rate >= 0 else 0.0)

    with pytest.raises(AssertionError, match="a learning rate given as an array fails inside jit"):
        check_transform(compares_arrays_only, optim.sgd, **FEW)


def test_extra_arguments_that_are_refused_are_found():
    narrow = optim.Transform(lambda params: optim.EmptyState(), lambda updates, state, params=None: (updates, state))
    with pytest.raises(AssertionError, match="refuses extra keyword arguments"):
        check_transform(narrow, optim.identity(), **FEW)


def test_a_state_whose_parameters_optax_does_not_find_is_found():
    def flat(rate):
        rule = optim.sgd(rate, momentum=0.9)
        return optim.Transform(
            lambda params: jax.tree.leaves(rule.init(params)),
            lambda updates, state, params=None, **extra: (updates, state),
        )

    nothing = optim.Transform(lambda params: params, lambda updates, state, params=None, **extra: (updates, state))
    with pytest.raises(AssertionError, match=r"map_params finds the parameters in"):
        check_transform(flat, nothing, compare_state=False, **FEW)


@jax.tree_util.register_pytree_node_class
class _Module(_Pair):
    """A tree that can be called."""

    def __call__(self, x):
        raise AssertionError("a mask was called")

    def tree_flatten(self):
        return tuple(self), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


def test_a_mask_that_is_called_instead_of_read_is_found():
    params, mask = _Module(jnp.ones(2), jnp.ones(3)), _Module(True, False)
    reference = optim.masked(optim.scale(2.0), mask)

    def calling(inner, mask):
        return optim.masked(inner, lambda tree: mask(tree) if callable(mask) else mask)

    with pytest.raises(AssertionError, match="a mask was called"):
        check_transform(calling(optim.scale(2.0), mask), reference, params=params, **FEW)


@hypothesis.given(tree=strategies.pytrees(leaves=strategies.arrays("float16", shapes=((), (2,)), size=10.0)))
def test_strategies_keep_dtype_shapes_and_size(tree):
    for leaf in jax.tree.leaves(tree):
        assert leaf.dtype == jnp.float16
        assert leaf.shape in ((), (2,))
        assert (abs(leaf) <= 10).all()


@pytest.mark.thorough
def test_strategies_reach_every_kind_of_tree():
    find = hypothesis.find
    assert find(strategies.pytrees(), lambda tree: tree is None) is None
    find(strategies.pytrees(), lambda tree: len(jax.tree.leaves(tree)) > 2 and isinstance(tree, dict))
    find(strategies.pytrees(), lambda tree: any(leaf.size == 0 for leaf in jax.tree.leaves(tree)))
    find(strategies.pytrees(), lambda tree: isinstance(tree, tuple) and not tree)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis.strategies", None)
    with pytest.raises(ImportError, match=r'pip install "fnn\[test\]"'):
        strategies.arrays()
