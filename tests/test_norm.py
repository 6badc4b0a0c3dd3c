"""Normalization: against loops, torch and flax; statistics, masks, devices, precision and hard inputs."""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.sharding import NamedSharding, PartitionSpec

import fnn

FOUR = ("float32", "bfloat16", "float16", "float64")
BATCH_FREE = (fnn.layer_norm(), fnn.rms_norm(), fnn.group_norm(2), fnn.instance_norm())


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def batch_norm_loop(x, scale, bias, axes, eps, inside, where):
    """One feature at a time; `axes` are those of the features."""
    y, shape = np.empty_like(x), tuple(x.shape[a] for a in axes)
    mean, variance = np.zeros(shape), np.zeros(shape)
    moved = np.moveaxis(x, axes, range(len(axes)))
    counted = np.moveaxis(np.broadcast_to(where, x.shape), axes, range(len(axes)))
    result = np.moveaxis(y, axes, range(len(axes)))
    for feature in np.ndindex(*shape):
        values = moved[feature][counted[feature]]
        mean[feature], variance[feature] = values.mean(), ((values - values.mean()) ** 2).mean()
        deviation = np.sqrt(variance[feature] + eps) if inside else np.sqrt(variance[feature]) + eps
        result[feature] = (moved[feature] - mean[feature]) / deviation * scale[feature] + bias[feature]
    return y, mean, variance


@given(
    shape_axes=st.sampled_from([((5, 3), (1,)), ((4, 2, 3), (2,)), ((4, 2, 3), (1,)), ((3, 2, 2, 3), (1, 3))]),
    eps=st.floats(1e-8, 1.0),
    inside=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_batch_norm_is_the_formula(x64, shape_axes, eps, inside, masked, seed):
    shape, axes = shape_axes
    x, features = draw(*shape, seed=seed) * 3 + 1, tuple(shape[a] for a in axes)
    scale, bias = draw(*features, seed=seed + 1), draw(*features, seed=seed + 2)
    where = np.ones((shape[0],) + (1,) * (len(shape) - 1), bool)
    where[-1] = not masked
    y, moments = fnn.kernels.batch_norm(x, scale, bias, axis=axes, eps=eps, eps_inside_sqrt=inside, where=where)
    expected, mean, variance = batch_norm_loop(x, scale, bias, axes, eps, inside, where)
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-12, atol=1e-12)
    assert np.all(moments.size == where.sum() * x.size / (shape[0] * mean.size))


@pytest.mark.thorough
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_batch_norm_derivatives_of_every_argument(inside, masked):
    where = np.array([True, True, True, not masked])[:, None, None]

    def outputs(x, scale, bias, eps):
        y, moments = fnn.kernels.batch_norm(x, scale, bias, eps=eps, eps_inside_sqrt=inside, where=where)
        return y, moments.mean, moments.variance

    fnn.testing.check_gradients(outputs, draw(4, 2, 3), draw(3), draw(3), np.array(0.3))


@pytest.mark.parametrize("inside", [True, False])
def test_slope_at_a_constant_batch(x64, inside):
    # The mathematics has a value: centering, divided by what stands for the deviation.
    slope = jax.jacobian(lambda x: fnn.kernels.batch_norm(x, eps=0.01, eps_inside_sqrt=inside)[0])(jnp.ones((4, 1)))
    np.testing.assert_allclose(slope[:, 0, :, 0], (np.eye(4) - 0.25) / (0.1 if inside else 0.01), atol=1e-12)


@pytest.mark.parametrize("padding", [0.0, 1e6])
def test_masked_rows_do_not_count(padding):
    x = jnp.asarray(draw(6, 3), jnp.float32).at[4:].set(padding)
    where = jnp.arange(6)[:, None] < 4

    def loss(x, where):
        y, moments = fnn.kernels.batch_norm(x, where=where)
        return jnp.sum(y[:4] ** 3) + jnp.sum(moments.mean), (y[:4], moments)

    slope, (y, moments) = jax.grad(loss, has_aux=True)(x, where)
    expected_slope, (expected, plain) = jax.grad(loss, has_aux=True)(x[:4], None)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(moments.variance, plain.variance, rtol=1e-5)
    np.testing.assert_allclose(slope[:4], expected_slope, rtol=1e-4, atol=1e-5)
    assert not slope[4:].any()


def test_statistics_do_not_see_what_stands_in_masked_rows():
    x = jnp.array([[1.0], [3.0], [jnp.nan]])
    y, moments = fnn.kernels.batch_norm(x, where=jnp.array([[True], [True], [False]]))
    np.testing.assert_allclose(y[:2], [[-1], [1]], rtol=1e-4)
    assert moments.variance.item() == 1


@pytest.mark.parametrize("rows", [0, 1])
def test_training_on_one_value_per_feature_says_what_to_write(rows):
    model, x = fnn.serial(fnn.dense(2), fnn.batch_norm()), jnp.full((rows, 2), 5.0)
    params, state = model.init(jax.random.key(0), x)
    assert model.apply(params, state, x)[0].shape == (rows, 2)
    message = rf"layer 1, batch_norm\(\).*one value per feature \(axis -1\) in training, got {rows}.*layer_norm"
    for apply in (model.apply, jax.jit(model.apply, static_argnames="train")):
        with pytest.raises(ValueError, match=message):
            apply(params, state, x, train=True)
    with pytest.raises(ValueError, match="one value per feature"):
        jax.vmap(lambda x: model.apply(params, state, x, train=True)[0])(jnp.ones((3, rows, 2)))
    with pytest.raises(ValueError, match="one value per feature"):
        jax.grad(lambda p: model.apply(p, state, x, train=True)[0].sum())(params)


def test_values_on_a_mapped_axis_and_positions_count_too():
    layer = fnn.batch_norm(axis_name="devices")
    params, state = layer.init(jax.random.key(0), jnp.ones((1, 2)))
    y = jax.vmap(lambda x: layer.apply(params, state, x, train=True)[0], axis_name="devices")(jnp.ones((2, 1, 2)))
    assert y.shape == (2, 1, 2)
    image = fnn.batch_norm()
    params, state = image.init(jax.random.key(0), jnp.ones((1, 2, 2, 3)))
    assert image.apply(params, state, jnp.ones((1, 2, 2, 3)), train=True)[0].shape == (1, 2, 2, 3)


def test_a_last_batch_of_one_row_is_filled_up_before_it_is_normalized():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    data, model = (x, x[:, :1]), fnn.serial(fnn.batch_norm(), fnn.dense(1))
    options = {"epochs": 4, "progress": False, "key": jax.random.key(0)}
    trained, _ = fnn.fit(model, fnn.optim.sgd(0.1), fnn.losses.mse, data, batch_size=2, **options)
    assert (trained.state[0]["var"] > 0.1).all()
    with pytest.raises(ValueError, match="one value per feature"):
        fnn.fit(model, fnn.optim.sgd(0.1), fnn.losses.mse, data, batch_size=1, **options)


def test_nothing_counts():
    y, moments = fnn.kernels.batch_norm(jnp.ones((3, 2)), where=jnp.zeros((3, 1), bool))
    assert jnp.isfinite(y).all()
    assert (moments.mean == 0).all()
    assert (moments.variance == 0).all()
    assert (moments.size == 0).all()


@pytest.mark.parametrize("function", ["batch_norm", "layer_norm", "group_norm", "instance_norm"])
def test_large_mean_and_small_variance(function):
    x = (1e4 + 0.1 * draw(8, 40, 8)).astype(np.float32)
    options = {"num_groups": 2} if function == "group_norm" else {}
    axes = {"batch_norm": (0, 1), "layer_norm": 2, "group_norm": (1, 3), "instance_norm": 1}[function]
    wide = x.astype(np.float64).reshape(8, 40, 2, 4) if options else x.astype(np.float64)
    expected = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    y = getattr(fnn.kernels, function)(x, **options)
    y = y[0] if function == "batch_norm" else y
    # Half a unit in the last place of 1e4, the error of the mean itself, is 0.005 deviations.
    np.testing.assert_allclose(y, expected.reshape(x.shape), atol=0.02)


# name -> (kernel, axes of the statistics, centered)
OVER = {
    "layer_norm": (fnn.kernels.layer_norm, (2,), True),
    "rms_norm": (fnn.kernels.rms_norm, (2,), False),
    "instance_norm": (fnn.kernels.instance_norm, (1,), True),
    "group_norm": (functools.partial(fnn.kernels.group_norm, num_groups=1), (1, 2), True),
    "batch_norm": (lambda x, eps: fnn.kernels.batch_norm(x, eps=eps)[0], (0, 1), True),
    "batch_norm, eps outside": (
        lambda x, eps: fnn.kernels.batch_norm(x, eps=eps, eps_inside_sqrt=False)[0],
        (0, 1),
        True,
    ),
}


def norm_and_gradient(x, g, axes, eps, centered, inside):
    """In NumPy, float64: the value, and what the gradient `g` of the output is at the input."""
    x = np.asarray(x, np.float64)
    offset = x - centered * x.mean(axes, keepdims=True)
    deviation = np.sqrt((offset**2).mean(axes, keepdims=True))
    divisor = np.sqrt(deviation**2 + eps) if inside else deviation + eps
    direction = offset / (divisor if inside else deviation)
    y = offset / divisor
    return y, (g - centered * g.mean(axes, keepdims=True) - direction * (g * y).mean(axes, keepdims=True)) / divisor


@pytest.mark.parametrize("name", OVER)
def test_value_and_gradient_are_right_from_1e_minus_30_to_1e30(name):
    function, axes, centered = OVER[name]
    g, spread = draw(3, 4, 6, seed=1).astype(np.float32), 10.0 ** np.random.default_rng(2).uniform(-13, 0, (3, 4, 6))
    spread[:, 0] = spread[..., 0] = 1  # something of the size itself in every group

    @jax.jit
    @jax.vmap
    def both(x, eps):
        y, back = jax.vjp(lambda x: function(x, eps=eps), x)
        return y, back(g)[0]

    cases = [
        ((draw(3, 4, 6) * wide + offset) * size, eps)
        for size in (1e-30, 1e-15, 1.0, 1e10, 1e14, 1e30)
        for eps in (1e-5, 0.0)
        for wide, offset in ((1, 0), (1, 3), (spread, 0))
    ]
    xs, epsilons = (np.asarray(values, np.float32) for values in zip(*cases, strict=True))
    for x, eps, y, back in zip(xs, epsilons, *both(xs, epsilons), strict=True):
        expected = norm_and_gradient(x, g, axes, float(eps), centered, "outside" not in name)
        for ours, exact in zip((y, back), expected, strict=True):
            np.testing.assert_allclose(ours, exact, atol=2e-5 * abs(exact).max(), err_msg=f"{abs(x).max()}, {eps}")


# What each channel needs: its sums, one more read around its mean, or a unit of its own.
CHANNELS = {"near 0": (0.5, 1), "far from 0": (1e3, 1), "constant": (7, 0), "huge": (0, 1e15), "tiny": (0, 1e-25)}


@pytest.mark.parametrize("channels", [("near 0",), ("near 0", "far from 0", "constant"), tuple(CHANNELS)], ids=str)
@pytest.mark.parametrize("mapped", [False, True])
def test_statistics_of_a_channel_are_exact_and_do_not_hang_on_the_others(channels, mapped):
    mean, spread = np.array([CHANNELS[name] for name in channels]).T
    x = (mean + spread * draw(3, 500, len(channels))).astype(np.float32)
    where = np.arange(500)[:, None] < 400
    wide = x.astype(np.float64)[:, :400]

    def norm(x):
        return fnn.kernels.batch_norm(x, eps=1e-5, where=where)

    y, moments = jax.vmap(norm)(x) if mapped else jax.tree.map(lambda *leaves: np.stack(leaves), *map(norm, x))
    np.testing.assert_allclose((np.asarray(moments.mean) - wide.mean(1)) / (abs(mean) + spread), 0, atol=1e-6)
    np.testing.assert_allclose(moments.variance, wide.var(1), rtol=2e-5, atol=1e-12)
    deviation = np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y[:, :400], (wide - wide.mean(1, keepdims=True)) / deviation, atol=2e-3)
    beside = np.stack([x[0, :, 0], np.full(500, np.nan, np.float32)], -1)
    np.testing.assert_allclose(norm(beside)[0][:, 0], y[0, :, 0], rtol=1e-5, atol=1e-5)
    assert np.isnan(norm(beside)[0][:, 1]).all()


@pytest.mark.parametrize("mean_in_deviations", [0.9, 2, 2.9, 1e3, 1e4])
@pytest.mark.parametrize("size", [1, 1e12, 1e14])
def test_a_mean_far_from_0_costs_neither_statistics_nor_gradient(mean_in_deviations, size):
    x = ((mean_in_deviations + draw(1024, 16)) * size).astype(np.float32)
    g = draw(1024, 16, seed=1).astype(np.float32)
    (_, moments), back = jax.vjp(lambda x: fnn.kernels.batch_norm(x, eps=1e-5), x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(moments.mean, wide.mean(0), rtol=3e-7)
    np.testing.assert_allclose(moments.variance, wide.var(0), rtol=6e-7)
    _, expected = norm_and_gradient(x, g, 0, 1e-5, True, True)
    ours = back((g, jax.tree.map(jnp.zeros_like, moments)))[0]
    np.testing.assert_allclose(ours, expected, atol=(1e-6 + 2e-7 * mean_in_deviations) * abs(expected).max())


@pytest.mark.parametrize("mean_in_deviations", [3e3, 1e4])
def test_a_variance_that_rounding_made_small_is_not_taken_for_one(mean_in_deviations):
    # The mean of squares, less that of x, is below 0.
    x = ((mean_in_deviations + draw(256, 1)) * 1e14).astype(np.float32)
    g = draw(256, 1, seed=1).astype(np.float32)
    ours = jax.grad(lambda x: jnp.sum(fnn.kernels.batch_norm(x)[0] * g))(x)
    _, expected = norm_and_gradient(x, g, 0, 1e-5, True, True)
    np.testing.assert_allclose(ours, expected, atol=1e-3 * abs(expected).max())


@pytest.mark.parametrize("name", OVER)
def test_members_choose_how_together(name):
    def norm(x):
        return OVER[name][0](x, eps=1e-5)

    def choices(function, *shape):
        return str(jax.make_jaxpr(function)(jnp.ones(shape))).count(" cond[")

    # A condition of each member is not a condition: everything is computed for all, and the results selected.
    assert choices(jax.vmap(jax.vmap(norm)), 2, 2, 3, 4, 6) == choices(norm, 3, 4, 6) > 1


@pytest.mark.parametrize("name", OVER)
def test_the_largest_numbers_do_not_overflow(name):
    function, axes, centered = OVER[name]
    x = (np.sign(draw(3, 4, 6)) * 3.4e38).astype(np.float32)
    expected, _ = norm_and_gradient(x, 0 * x, axes, 1e-5, centered, True)
    np.testing.assert_allclose(function(x, eps=1e-5), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_statistics_are_float32(dtype):
    x = jnp.asarray(3 + 0.5 * draw(20_000, 1), dtype)
    y, moments = fnn.kernels.batch_norm(x)
    wide = np.asarray(x, np.float64)
    assert y.dtype == dtype
    assert moments.mean.dtype == moments.variance.dtype == jnp.float32
    np.testing.assert_allclose(moments.mean, wide.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, wide.var(0), rtol=1e-4)
    big = jnp.asarray([[6e4], [-6e4]], dtype)
    np.testing.assert_allclose(np.asarray(fnn.kernels.batch_norm(big)[0], np.float32), [[1], [-1]], rtol=1e-2)


@pytest.mark.parametrize("eps_inside_sqrt", [True, False])
def test_inference_equals_training_after_one_fixed_batch(eps_inside_sqrt):
    layer, x = fnn.batch_norm(eps_inside_sqrt=eps_inside_sqrt), jnp.asarray(5 + 2 * draw(16, 3), jnp.float32)
    params, state = layer.init(jax.random.key(0), x)
    params = {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.array([0.0, 1.0, -1.0])}
    state, _ = jax.lax.scan(
        lambda state, _: (layer.apply(params, state, x, train=True)[1], None), state, None, length=300
    )
    trained, _ = layer.apply(params, state, x, train=True)
    inference, unchanged = layer.apply(params, state, x)
    np.testing.assert_allclose(inference, trained, atol=2e-5)
    assert unchanged is state


def test_decay_multiplies_the_old_value_and_may_be_traced():
    x = jnp.array([[1.0], [3.0]])

    def running(decay):
        layer = fnn.batch_norm(decay=decay)
        params, state = layer.init(jax.random.key(0), x)
        return layer.apply(params, {"mean": jnp.array([10.0]), "var": jnp.array([5.0])}, x, train=True)[1]

    found = jax.vmap(running)(jnp.array([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(found["mean"][:, 0], [2, 0.25 * 10 + 0.75 * 2, 10], rtol=1e-6)
    np.testing.assert_allclose(found["var"][:, 0], [1, 0.25 * 5 + 0.75 * 1, 5], rtol=1e-6)


def test_batch_norm_over_a_mapped_axis_is_over_the_whole_batch():
    layer, x = fnn.batch_norm(axis_name="shards", unbiased=True), jnp.asarray(draw(4, 3, 2), jnp.float32)
    whole = fnn.batch_norm(unbiased=True)
    params, state = whole.init(jax.random.key(0), x[0])

    def mapped(x):
        y, new = jax.vmap(lambda x: layer.apply(params, state, x, train=True), axis_name="shards")(x)
        return jnp.sum(y**3), (y.reshape(-1, 2), jax.tree.map(lambda leaf: leaf[0], new))

    def at_once(x):
        y, new = whole.apply(params, state, x.reshape(-1, 2), train=True)
        return jnp.sum(y**3), (y, new)

    slope, outputs = jax.grad(mapped, has_aux=True)(x)
    expected_slope, expected = jax.grad(at_once, has_aux=True)(x)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), outputs, expected)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-4, atol=1e-5)


@pytest.mark.devices(2)
def test_batch_norm_on_two_devices():
    mesh = jax.make_mesh((2,), ("data",))
    rows, everywhere = PartitionSpec("data"), PartitionSpec()
    x = jnp.asarray(draw(8, 3), jnp.float32)
    whole, named = fnn.batch_norm(), fnn.batch_norm(axis_name="data")
    params, state = whole.init(jax.random.key(0), x)

    def loss(layer, x):
        y, new = layer.apply(params, state, x, train=True)
        return jnp.sum(y**3), new

    expected = jax.grad(functools.partial(loss, whole), has_aux=True)(x)
    sharded = jax.device_put(x, NamedSharding(mesh, rows))
    by_jit = jax.jit(jax.grad(functools.partial(loss, whole), has_aux=True))(sharded)
    shard = jax.shard_map(
        lambda x: (lambda value, new: (jax.lax.psum(value, "data"), new))(*loss(named, x)),
        mesh=mesh,
        in_specs=rows,
        out_specs=(everywhere, everywhere),
    )
    by_name = jax.jit(jax.grad(shard, has_aux=True))(sharded)
    for found in (by_jit, by_name):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)


def test_batch_norm_as_torch():
    torch = pytest.importorskip("torch")
    x, weight = draw(6, 3, 4).astype(np.float32), draw(6, 3, 4, seed=1).astype(np.float32)
    theirs, layer = torch.nn.BatchNorm1d(4), fnn.batch_norm(unbiased=True)
    tx = torch.tensor(np.moveaxis(x, -1, 1), requires_grad=True)
    ty = theirs(tx)
    (ty * torch.tensor(np.moveaxis(weight, -1, 1))).sum().backward()
    params, state = layer.init(jax.random.key(0), x)

    def loss(params, x):
        y, new = layer.apply(params, state, x, train=True)
        return jnp.sum(y * weight), (y, new)

    (dparams, dx), (y, new) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    close(y, np.moveaxis(ty.detach().numpy(), 1, -1))
    close(dx, np.moveaxis(tx.grad.numpy(), 1, -1))
    close(dparams["scale"], theirs.weight.grad.numpy())
    close(new["mean"], theirs.running_mean.numpy())
    close(new["var"], theirs.running_var.numpy())
    close(
        layer.apply(params, new, x)[0],
        np.moveaxis(theirs.eval()(torch.tensor(np.moveaxis(x, -1, 1))).detach().numpy(), 1, -1),
    )


@pytest.mark.thorough
def test_norms_as_flax():
    nn = pytest.importorskip("flax.linen")
    x = jnp.asarray(draw(3, 4, 5, 6), jnp.float32)
    batch = nn.BatchNorm(use_running_average=False, momentum=0.9)
    variables = batch.init(jax.random.key(0), x)
    y, updated = batch.apply(variables, x, mutable=["batch_stats"])
    params, state = fnn.batch_norm().init(jax.random.key(0), x)
    mine, state = fnn.batch_norm().apply(params, state, x, train=True)
    np.testing.assert_allclose(mine, y, atol=1e-5)
    np.testing.assert_allclose(state["var"], updated["batch_stats"]["var"], rtol=1e-5)
    for mine, theirs in (
        (fnn.layer_norm(), nn.LayerNorm(epsilon=1e-5)),
        (fnn.layer_norm(axis=(1, 2, 3)), nn.LayerNorm(epsilon=1e-5, reduction_axes=(1, 2, 3))),
        (fnn.rms_norm(), nn.RMSNorm()),
        (fnn.group_norm(3), nn.GroupNorm(3, epsilon=1e-5)),
        (fnn.instance_norm(), nn.InstanceNorm(epsilon=1e-5)),
    ):
        params, state = mine.init(jax.random.key(0), x)
        expected, _ = theirs.init_with_output(jax.random.key(0), x)
        np.testing.assert_allclose(mine.apply(params, state, x)[0], expected, atol=1e-5, err_msg=mine.name)


def test_batch_free_norms_as_torch():
    torch = pytest.importorskip("torch")
    x = draw(3, 5, 6).astype(np.float32)
    first = torch.tensor(np.moveaxis(x, -1, 1))
    for mine, theirs, channels_first in (
        (fnn.layer_norm(), torch.nn.LayerNorm(6), False),
        (fnn.rms_norm(), torch.nn.RMSNorm(6, eps=1e-6), False),
        (fnn.group_norm(2), torch.nn.GroupNorm(2, 6), True),
        (fnn.instance_norm(), torch.nn.InstanceNorm1d(6), True),
    ):
        params, state = mine.init(jax.random.key(0), x)
        expected = theirs(first if channels_first else torch.tensor(x)).detach().numpy()
        expected = np.moveaxis(expected, 1, -1) if channels_first else expected
        np.testing.assert_allclose(mine.apply(params, state, x)[0], expected, atol=1e-5, err_msg=mine.name)


@pytest.mark.parametrize("layer", [fnn.batch_norm(), *BATCH_FREE], ids=str)
def test_constant_and_extreme_inputs(layer):
    """Values and slopes are those of float64 for zeros, constants, subnormals and ±1e4."""
    rows = np.stack([np.zeros((3, 4)), np.full((3, 4), 7.0), np.full((3, 4), 1e-40), 1e4 * np.sign(draw(3, 4))])
    params, state = layer.init(jax.random.key(0), jnp.asarray(rows, jnp.float32))

    @jax.jit
    def answers(params, x):
        def loss(params, x):
            y, new = layer.apply(params, state, x, train=True)
            return jnp.sum(y * jnp.asarray(draw(4, 3, 4), y.dtype)), (y, new)

        slopes, (y, new) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
        return y, slopes, new

    with jax.enable_x64(True):
        for dtype in FOUR[:3]:
            x = jnp.asarray(rows, dtype)
            got = answers(jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), dtype), params), x)
            exact = answers(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params), np.asarray(x, np.float64))
            assert got[0].dtype == x.dtype
            for ours, wide in zip(jax.tree.leaves(got), jax.tree.leaves(exact), strict=True):
                size = max(1, np.abs(wide).max())
                np.testing.assert_allclose(
                    np.asarray(ours, np.float64), wide, atol=8 * float(jnp.finfo(dtype).eps) * size, err_msg=dtype
                )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "layer", [fnn.batch_norm(), fnn.batch_norm(axis=1, eps_inside_sqrt=False, unbiased=True), *BATCH_FREE], ids=str
)
def test_norms_keep_the_protocol(layer):
    fnn.testing.check_layer(layer, jnp.asarray(draw(3, 4, 6), jnp.float32))


@pytest.mark.thorough
def test_second_derivatives_of_the_batch_free_norms():
    def outputs(x, scale, bias):
        return (
            fnn.kernels.layer_norm(x, scale, bias),
            fnn.kernels.rms_norm(x, scale),
            fnn.kernels.group_norm(x, scale, bias, num_groups=2),
            fnn.kernels.instance_norm(x, scale, bias),
        )

    fnn.testing.check_gradients(outputs, draw(2, 3, 4), draw(4), draw(4))


def test_eps_may_be_traced():
    x = jnp.asarray(draw(4, 6), jnp.float32)

    def output(eps, make):
        layer = make(eps=eps)
        params, state = layer.init(jax.random.key(0), x)
        return layer.apply(params, state, x, train=True)[0]

    for make in (fnn.batch_norm, fnn.layer_norm, fnn.rms_norm, functools.partial(fnn.group_norm, 2)):
        found = jax.vmap(functools.partial(output, make=make))(jnp.array([0.1, 1.0]))
        np.testing.assert_allclose(found[1], output(1.0, make), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("layer_norm", (3, 4, 1)),
        ("rms_norm", (3, 1, 1)),
        ("instance_norm", (3, 1, 6)),
        ("group_norm", (1,)),
        ("batch_norm", (6,)),
        ("batch_norm, eps outside", (6,)),
    ],
)
def test_eps_may_be_an_array_that_broadcasts(name, shape):
    function, axes, centered = OVER[name]
    x, g = draw(3, 4, 6).astype(np.float32), draw(3, 4, 6, seed=1).astype(np.float32)
    eps = np.linspace(0.1, 1, np.prod(shape), dtype=np.float32).reshape(shape)
    y, back = jax.vjp(lambda x: function(x, eps=eps), x)
    expected = norm_and_gradient(x, g, axes, eps, centered, "outside" not in name)
    for ours, exact in zip((y, back(g)[0]), expected, strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-5)


def test_scale_and_bias_can_be_left_out():
    x = jnp.ones((2, 3, 4))
    for make in (fnn.batch_norm, fnn.layer_norm, fnn.instance_norm, functools.partial(fnn.group_norm, 2)):
        assert make(use_scale=False, use_bias=False).init(jax.random.key(0), x)[0] == ()
        assert set(make(use_scale=False).init(jax.random.key(0), x)[0]) == {"bias"}
        assert set(make(use_bias=False).init(jax.random.key(0), x)[0]) == {"scale"}
    assert fnn.rms_norm(use_scale=False).init(jax.random.key(0), x)[0] == ()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: fnn.batch_norm(decay=1.5), ValueError, r"batch_norm: expected decay in \[0, 1\], got 1.5"),
        (lambda: fnn.batch_norm(eps=-1e-5), ValueError, "batch_norm: expected eps in"),
        (lambda: fnn.batch_norm(axis=1.0), TypeError, "batch_norm: expected axis to be a Python int"),
        (lambda: fnn.layer_norm(eps=-1.0), ValueError, "layer_norm: expected eps in"),
        (lambda: fnn.group_norm(2.5), TypeError, "group_norm: expected num_groups to be a Python int"),
        (lambda: fnn.group_norm(0), ValueError, "group_norm: expected num_groups >= 1, got 0"),
    ],
)
def test_wrong_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("layer", "first", "then", "error", "message"),
    [
        (fnn.batch_norm(), (4, 3), (4, 5), ValueError, "batch_norm: expected 3 features, as initialised, got 5"),
        (fnn.layer_norm(), (4, 3), (4, 5), ValueError, "layer_norm: expected 3 features, as initialised, got 5"),
        (fnn.batch_norm(axis=2), (4, 3, 2), (4, 3), ValueError, "batch_norm: expected axis to name .* rank 2, got 2"),
        (fnn.batch_norm(axis=(1, -1)), (4, 3), (4, 3), ValueError, "batch_norm: expected axis to name distinct axes"),
        (fnn.batch_norm(axis=(0, 0)), (4, 3), (4, 3), ValueError, "batch_norm: expected axis to name distinct axes"),
        (fnn.group_norm(2), (4, 3), (4, 3), ValueError, "channels divisible by num_groups=2"),
        (fnn.instance_norm(), (4, 3), (4, 3), ValueError, "instance_norm: expected x of shape"),
    ],
)
def test_wrong_inputs(layer, first, then, error, message):
    def both():
        params, state = layer.init(jax.random.key(0), jax.ShapeDtypeStruct(first, jnp.float32))
        layer.apply(params, state, jnp.ones(then), train=True)

    with pytest.raises(error, match=message):
        both()


def test_integer_input():
    for layer in (fnn.batch_norm(), *BATCH_FREE):
        with pytest.raises(TypeError, match=r"expected x to be floating-point, got int32.*astype"):
            layer.init(jax.random.key(0), jnp.ones((2, 3, 4), int))


@pytest.mark.parametrize("axis", [[1, -1], np.array([1, -1]), range(1, 3), (np.int32(1), jnp.int32(2))], ids=str)
def test_axes_may_be_any_sequence(axis):
    x, k = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32), fnn.kernels
    mean, variance = x.mean(0), x.var(0)
    for kernel, statistics in (
        (k.batch_norm, ()), (k.layer_norm, ()), (k.rms_norm, ()), (k.normalize, (mean, variance)),
    ):  # fmt: skip
        found, expected = kernel(x, *statistics, axis=axis), kernel(x, *statistics, axis=(1, 2))
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        ahead = kernel.lower(x, *statistics, axis=(1, 2)).compile()(x, *statistics)
        jax.tree.map(np.testing.assert_array_equal, ahead, expected)
    for build in (fnn.batch_norm, fnn.layer_norm, fnn.rms_norm):
        layer, usual = build(axis=axis), build(axis=(1, 2))
        params, state = usual.init(jax.random.key(0), x)
        np.testing.assert_array_equal(layer.apply(params, state, x)[0], usual.apply(params, state, x)[0])
    np.testing.assert_array_equal(fnn.softmax(x, axis), fnn.softmax(x, (1, 2)))


@pytest.mark.parametrize("kernel", [fnn.kernels.batch_norm, fnn.kernels.layer_norm, fnn.kernels.rms_norm])
def test_what_is_no_sequence_of_axes_is_said(kernel):
    for axis, error, message in (
        ([0.5], TypeError, "expected axis to be a Python int, got float 0.5"),
        (np.array([1, 1]), ValueError, "expected axis to name distinct axes"),
        (np.array([[1, 2]]), TypeError, "expected axis to be a Python int"),
        ("1", TypeError, "expected axis to be a Python int"),
    ):
        with pytest.raises(error, match=message):
            kernel(np.ones((2, 3, 4), np.float32), axis=axis)
