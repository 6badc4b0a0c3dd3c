"""Whether every number of a tree is finite, by a sum where it is small; and what a run keeps of a step that is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import programs
from fnn.optim import acceptance
from fnn.optim.acceptance import all_finite

KEY = jax.random.key(0)


def tree(dtype=jnp.float32):
    largest = jnp.finfo(dtype).max
    tiny = jnp.finfo(dtype).smallest_subnormal
    return {
        "kernel": jnp.full((3, 2), largest, dtype),
        "bias": jnp.asarray([-0.0, tiny, -largest], dtype),
        "scale": jnp.asarray(1, dtype),
        "nothing": jnp.zeros((0, 2), dtype),
        "count": jnp.asarray(3),
    }


@pytest.mark.parametrize("few", [acceptance.FEW, 0], ids=["small", "large"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_one_number_that_is_not_finite_is_seen_wherever_it_stands(monkeypatch, few, dtype):
    monkeypatch.setattr(acceptance, "FEW", few)
    numbers = tree(dtype)
    assert all_finite(numbers)
    for place, at in (("kernel", (2, 1)), ("bias", 0), ("scale", ())):
        for bad in (jnp.inf, -jnp.inf, jnp.nan):
            assert not all_finite(numbers | {place: numbers[place].at[at].set(bad)})


@pytest.mark.parametrize("bad", [complex(0, np.inf), complex(np.nan, 1), complex(-np.inf, np.nan)])
def test_both_parts_of_complex_numbers_are_seen(bad):
    assert all_finite([jnp.asarray([1 + 1j, 2])])
    assert not all_finite([jnp.ones(2), jnp.asarray([1, bad])])


def test_numbers_that_float32_cannot_hold_are_finite():
    with jax.enable_x64(True):
        assert all_finite([jnp.asarray([1e300, -1e300]), jnp.ones(2, jnp.float32)])
        assert not all_finite([jnp.asarray([1e300, jnp.inf]), jnp.ones(2, jnp.float32)])


def test_nothing_and_whole_numbers_are_finite():
    assert all_finite(())
    assert all_finite({"count": jnp.arange(3)})


def test_each_member_is_asked_for_itself():
    members = jnp.asarray([[1.0, 2.0], [jnp.nan, 1.0], [3.0, -jnp.inf]])
    np.testing.assert_array_equal(jax.vmap(lambda one: all_finite([one, one[:1]]))(members), [True, False, False])


def test_each_leaf_of_a_small_tree_is_looked_at_by_one_sum():
    lowered = jax.jit(all_finite).lower([jnp.ones((2, 3)), jnp.ones(4), jnp.ones(())]).as_text()
    assert lowered.count("stablehlo.reduce") == 4  # one each, and one of their sums


@pytest.mark.parametrize("dtype", [jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_numbers_of_eight_bits_are_seen(dtype):
    assert all_finite([jnp.ones(2, dtype), jnp.ones(2)])
    assert not all_finite([jnp.asarray([1, jnp.nan], dtype), jnp.ones(2)])


def test_where_nan_is_looked_for_none_is_made():
    skipping = fnn.optim.apply_if_finite(fnn.optim.sgd(0.1), 3)
    params = {"w": jnp.ones(2)}
    with jax.debug_nans(True):
        updates, _ = skipping.update({"w": jnp.asarray([jnp.inf, 1.0])}, skipping.init(params), params)
    np.testing.assert_array_equal(updates["w"], 0)


@pytest.mark.parametrize("limit", [acceptance.SMALL, 0], ids=["small", "large"])
def test_what_is_kept_has_the_dtype_and_shape_of_both(monkeypatch, limit):
    monkeypatch.setattr(acceptance, "SMALL", limit)
    new, old = (jnp.ones((), jnp.float32), jnp.ones(1, jnp.float16)), (jnp.zeros(1), jnp.zeros(1))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        kept = jax.jit(acceptance.either)(jnp.asarray(True), new, old)
    assert [(leaf.shape, leaf.dtype) for leaf in kept] == [((1,), jnp.float32)] * 2
    np.testing.assert_array_equal(kept, 1)


@pytest.mark.devices(2)
def test_leaves_split_over_an_explicit_mesh_are_looked_at():
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        leaf = jax.device_put(jnp.ones((3, 4)), jax.sharding.PartitionSpec(None, "d"))
        assert jax.jit(all_finite)([leaf, jnp.ones(2)])
        assert not all_finite([leaf * jnp.inf, jnp.ones(2)])


def runs(few_bytes, monkeypatch, rates):
    """Parameters and histories of runs whose gradients stay finite while their parameters may overflow."""
    monkeypatch.setattr(acceptance, "SMALL", few_bytes)
    programs.clear()
    x, y = jnp.linspace(-1, 1, 8).reshape(8, 1), jnp.linspace(-1, 1, 8)

    def one(rate):
        optimizer = fnn.optim.sgd(rate, momentum=0.5)
        return fnn.trainer(fnn.dense(1), optimizer, fnn.tasks.regression(), epochs=3, batch_size=4)(KEY, (x, y))

    try:
        return jax.jit(one)(rates[0]), jax.jit(one)(rates[1]), jax.vmap(one)(jnp.asarray(rates))
    finally:
        programs.clear()


def test_a_step_is_left_out_alike_by_a_branch_and_number_by_number(monkeypatch):
    branch, chosen = (runs(few_bytes, monkeypatch, (0.1, 3e38)) for few_bytes in (2**20, 0))
    for one, other in zip(branch, chosen, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), one, other)
    (_, sound), (trained, overflown), (_, both) = branch
    assert sound["diverged_at"] == -1
    assert overflown["diverged_at"] >= 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained))
    np.testing.assert_array_equal(both["diverged_at"], [sound["diverged_at"], overflown["diverged_at"]])


def test_a_run_that_branches_is_differentiated_in_both_modes():
    x, y = jnp.linspace(-1, 1, 8).reshape(8, 1), jnp.linspace(-1, 1, 8)

    def last(rate):
        run = fnn.trainer(fnn.dense(1), fnn.optim.sgd(rate), fnn.tasks.regression(), epochs=2, batch_size=4)
        return run(KEY, (x, y))[1]["loss"][-1]

    forward, backward = jax.jacfwd(last)(0.1), jax.grad(last)(0.1)
    np.testing.assert_allclose(forward, backward, rtol=1e-4)
    np.testing.assert_allclose(forward, (last(0.101) - last(0.099)) / 0.002, rtol=1e-2)


@pytest.mark.thorough
def test_a_run_that_stops_early_is_differentiated_forward():
    x, y = jnp.linspace(-1, 1, 8).reshape(8, 1), jnp.linspace(-1, 1, 8)

    def last(rate):
        run = fnn.trainer(
            fnn.dense(1), fnn.optim.sgd(rate), fnn.tasks.regression(), epochs=2, batch_size=4,
            early_stopping=fnn.early_stopping("loss", patience=9),
        )  # fmt: skip
        return run(KEY, (x, y))[1]["loss"][-1]

    np.testing.assert_allclose(jax.jacfwd(last)(0.1), (last(0.101) - last(0.099)) / 0.002, rtol=1e-2)
