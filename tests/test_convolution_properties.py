"""Convolution and pooling at random shapes, strides, paddings, dilations and groups."""

from __future__ import annotations

import convolution_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from fnn.kernels import avg_pool, conv, conv_output_size, conv_transpose, max_pool
from fnn.testing import check_gradients


@st.composite
def placements(draw, low=0):
    """Sizes of one to three spatial axes, with windows that fit: spatial, size, strides, padding, dilation."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 3]))

    def each(*values):
        return tuple(draw(st.lists(st.sampled_from(values), min_size=rank, max_size=rank)))

    size, strides, dilation = each(1, 2, 3), each(1, 2, 3), each(1, 1, 2)
    padding = tuple(draw(st.sampled_from([(0, 0), (1, 1), (2, 0), (low, 1)])) for _ in range(rank))
    extra = each(0, 1, 3)
    spans = zip(extra, size, dilation, padding, strict=True)
    spatial = tuple(max(e + d * (k - 1) + 1 - lo - hi, 1 - min(lo, 0) - min(hi, 0)) for e, k, d, (lo, hi) in spans)
    return spatial, size, strides, padding, dilation


def operands(data, spatial, size):
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    channels, features = groups * data.draw(st.sampled_from([1, 2])), groups * data.draw(st.sampled_from([1, 2]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    batch = data.draw(st.sampled_from([1, 2]))
    return rng.normal(size=(batch, *spatial, channels)), rng.normal(size=(*size, channels // groups, features)), groups


@pytest.mark.usefixtures("x64")
@settings(max_examples=10)
@given(data=st.data(), placement=placements(low=-1))
def test_convolution_is_the_loop_and_its_gradients_are_xlas(data, placement):
    spatial, size, strides, padding, dilation = placement
    x, w, groups = operands(data, spatial, size)
    letters = "TDHW"[-len(size) :]

    def ours(x, w):
        return conv(x, w, stride=strides, padding=padding, dilation=dilation, groups=groups)

    def theirs(x, w):
        numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
        return lax.conv_general_dilated(
            x, w, strides, padding, rhs_dilation=dilation, dimension_numbers=numbers, feature_group_count=groups
        )

    def gradients(form):
        return jax.grad(lambda x, w: jnp.sum(jnp.sin(form(x, w))), (0, 1))

    y, got, want = jax.jit(lambda x, w: (ours(x, w), gradients(ours)(x, w), gradients(theirs)(x, w)))(x, w)
    np.testing.assert_allclose(y, references.conv(x, w, strides, padding, dilation, groups), atol=1e-12)
    assert y.shape[1:-1] == conv_output_size(spatial, size, strides, padding, dilation)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), got, want)


@pytest.mark.usefixtures("x64")
@settings(max_examples=6)
@given(data=st.data(), placement=placements())
def test_transposed_convolution_is_the_loop(data, placement):
    spatial, size, strides, _, dilation = placement
    x, w, groups = operands(data, spatial, size)
    y = conv_transpose(x, w, stride=strides, padding="VALID", dilation=dilation, groups=groups)
    whole = ((0, 0),) * len(size)
    np.testing.assert_allclose(y, references.conv_transpose(x, w, strides, whole, dilation, groups), atol=1e-12)


@pytest.mark.usefixtures("x64")
@settings(max_examples=2)
@given(data=st.data(), placement=placements())
def test_convolution_against_finite_differences(data, placement):
    spatial, size, strides, padding, dilation = placement
    x, w, groups = operands(data, spatial, size)
    options = dict(stride=strides, padding=padding, dilation=dilation, groups=groups)
    check_gradients(lambda x, w: jnp.sin(conv(x, w, **options)), x, w)


@pytest.mark.usefixtures("x64")
@settings(max_examples=12)
@given(data=st.data(), placement=placements())
def test_pooling_is_the_loop(data, placement):
    """Few values, so that there are ties: their gradient is shared."""
    spatial, size, strides, padding, dilation = placement
    seen = references.pool(np.ones((1, *spatial, 1)), lambda v: v.sum(0), *placement[1:], fill=0)
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-2, 3, (2, *spatial, 2)).astype(float)
    options = dict(stride=strides, padding=padding, dilation=dilation)
    if not seen.all():
        with pytest.raises(ValueError, match="see some input"):
            max_pool(x, size, **options)
        return

    def all_of(x):
        y = max_pool(x, size, **options)
        return y, jax.grad(lambda x: jnp.sum(y * max_pool(x, size, **options)))(x), avg_pool(x, size, **options)

    y, gradient, mean = jax.jit(all_of)(x)
    np.testing.assert_array_equal(y, references.pool(x, lambda v: v.max(0), *placement[1:]))
    np.testing.assert_allclose(gradient, references.max_pool_gradient(x, np.asarray(y), *placement[1:]), atol=1e-12)
    np.testing.assert_allclose(mean, references.pool(x, lambda v: v.mean(0), *placement[1:], fill=0), atol=1e-12)
