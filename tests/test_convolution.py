"""Convolutions against loops, XLA's own convolution and finite differences."""

from __future__ import annotations

import convolution_references as references
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from fnn.kernels import (
    conv,
    conv_output_size,
    conv_transpose,
    max_pool,
    placement,
)
from fnn.kernels.convolution import dense, depthwise, forms, plain, winograd
from fnn.kernels.sliding_windows import Windows

# rank, spatial, kernel size, stride, padding, dilation, channels, features, groups
CASES = [
    (1, (9,), (3,), 1, "SAME", 1, 5, 4, 1),
    (1, (9,), (4,), 2, "VALID", 1, 3, 2, 1),
    (1, (11,), (3,), 3, [(3, 1)], 2, 4, 6, 2),
    (1, (8,), (3,), 2, 1, 1, 4, 4, 4),
    (2, (7, 6), (3, 2), 1, "SAME", 1, 6, 3, 1),
    (2, (7, 6), (3, 3), 2, "SAME", 1, 5, 20, 1),
    (2, (8, 5), (2, 3), (1, 3), "VALID", 1, 3, 20, 1),
    (2, (9, 7), (3, 2), (3, 2), [(1, 2), (0, 3)], (2, 3), 6, 2, 1),
    (2, (6, 6), (1, 1), 2, "VALID", 1, 5, 3, 1),
    (2, (5, 6), (3, 3), 1, "SAME", 2, 4, 6, 2),
    (2, (5, 6), (3, 3), 2, "SAME", 1, 3, 6, 3),
    (2, (6, 5), (2, 2), 3, [(-1, 0), (2, -1)], 1, 2, 3, 1),
    (2, (4, 4), (3, 3), 1, [(4, 5), (3, 3)], 1, 5, 3, 1),
    (3, (4, 5, 3), (2, 3, 2), 1, "SAME", 1, 5, 3, 1),
    (3, (5, 4, 4), (2, 2, 3), 2, "SAME", (2, 1, 1), 5, 4, 1),
    (4, (3, 3, 2, 3), (2, 2, 1, 2), 1, "VALID", 1, 5, 2, 1),
]


@pytest.fixture(params=CASES, ids=lambda c: f"{c[0]}d-{c[2]}-s{c[3]}-d{c[5]}-g{c[8]}".replace(" ", ""))
def case(request, x64):
    rank, spatial, size, stride, padding, dilation, channels, features, groups = request.param
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *spatial, channels))
    w = rng.normal(size=(*size, channels // groups, features))
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)

    def each(v):
        return v if isinstance(v, tuple) else (v,) * rank

    pads = padding
    if padding == "SAME":
        pads = references.same(spatial, size, each(stride), each(dilation))
    elif padding == "VALID":
        pads = [(0, 0)] * rank
    elif isinstance(padding, int):
        pads = [(padding, padding)] * rank
    return x, w, options, (each(stride), pads, each(dilation), groups)


def xla(x, w, strides, padding, dilation, groups):
    spatial = "TDHW"[-(x.ndim - 2) :]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    return lax.conv_general_dilated(
        x, w, strides, padding, rhs_dilation=dilation, dimension_numbers=numbers, feature_group_count=groups
    )


def test_value_and_every_derivative(case):
    """Loops for the value; XLA's form for gradients and for products with the Hessian, forward and reverse."""
    x, w, options, explicit = case
    np.testing.assert_allclose(conv(x, w, **options), references.conv(x, w, *explicit), atol=1e-12)
    rng = np.random.default_rng(1)
    g, dx, dw = (rng.normal(size=s) for s in (references.conv(x, w, *explicit).shape, x.shape, w.shape))

    def derivatives(form):
        def energy(x, w):
            return jnp.sum(g * jnp.sin(form(x, w)))

        def all_of(x, w):
            gradient = jax.grad(energy, (0, 1))
            hvp = jax.jvp(gradient, (x, w), (dx, dw))[1]
            reverse = jax.grad(lambda a: sum(jnp.vdot(d, b) for d, b in zip(gradient(*a), (dx, dw), strict=True)))
            return gradient(x, w), hvp, reverse((x, w))

        return jax.jit(all_of)(x, w)

    ours = derivatives(lambda x, w: conv(x, w, **options))
    theirs = derivatives(lambda x, w: xla(x, w, *explicit))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), ours, theirs)


@pytest.mark.thorough
def test_transposed(case):
    """Painting loops, and the inner products: <conv(x), g> = <x, conv_transpose(g)>."""
    x, w, options, (strides, pads, dilation, groups) = case
    cut = pads
    if options["padding"] == "SAME":
        spans = [
            d * (k - 1) + 1 - s for k, s, d in zip(w.shape[:-2], strides, dilation, strict=True)
        ]  # (n - 1) s + span = n s + span - s
        cut = [(max(c, 0) // 2, c - max(c, 0) // 2) for c in spans]
    full = [
        (n - 1) * s + d * (k - 1) + 1 for n, s, k, d in zip(x.shape[1:-1], strides, w.shape, dilation, strict=False)
    ]
    if min(n - lo - hi for n, (lo, hi) in zip(full, cut, strict=True)) < 1:
        with pytest.raises(ValueError, match="leave an output"):
            conv_transpose(x, w, **options)
        return
    y = conv_transpose(x, w, **options)
    np.testing.assert_allclose(y, references.conv_transpose(x, w, strides, cut, dilation, groups), atol=1e-12)
    g = np.random.default_rng(1).normal(size=y.shape)
    back = jax.vjp(lambda x: conv_transpose(x, w, **options), x)[1](g)[0]
    np.testing.assert_allclose(jnp.vdot(back, x), jnp.vdot(g, y), rtol=1e-10)
    if options["padding"] == "SAME":
        assert y.shape[1:-1] == tuple(n * s for n, s in zip(x.shape[1:-1], strides, strict=True))


def as_keras(x, w, stride, dilation):
    """Keras' padding="same" on JAX, from its `_convert_conv_transpose_padding_args_from_keras_to_jax`."""
    reach = dilation * (w.shape[0] - 1) + 1
    total = stride + reach - 2
    low = reach - 1 if stride > reach - 1 else -(-total // 2)
    padding = [(low, total - low)] * (x.ndim - 2)
    w = jnp.flip(w, range(w.ndim - 2))  # Keras' kernel is painted as ours is; lax's is turned around
    strides, dilations = (stride,) * (x.ndim - 2), (dilation,) * (x.ndim - 2)
    return lax.conv_transpose(x, w, strides, padding, dilations, ("NWC", "WIO", "NWC") if x.ndim == 3 else None)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_same_is_the_transpose_for_windows_smaller_than_the_stride_too(x64, size, stride, dilation):
    w = np.random.default_rng(0).normal(size=(size, 1, 1))
    for n in (1, 3):
        y = conv_transpose(np.eye(n)[..., None], w, stride=stride, dilation=dilation)
        pads = references.same((n * stride,), (size,), (stride,), (dilation,))
        forward = references.conv(np.eye(n * stride)[..., None], w, (stride,), pads, (dilation,), 1)
        np.testing.assert_allclose(y[..., 0], forward[..., 0].T, atol=1e-14)
        np.testing.assert_allclose(y, as_keras(np.eye(n)[..., None], w, stride, dilation), atol=1e-14)


@pytest.mark.parametrize(
    ("spatial", "size", "stride"), [((2, 3), (1, 2), (2, 3)), ((3, 2), (3, 1), 2), ((2, 1, 2), (2, 1, 3), (3, 2, 2))]
)
def test_same_is_jaxs_linear_transpose_at_any_rank(x64, spatial, size, stride):
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(*size, 3, 2)), rng.normal(size=(2, *spatial, 2))
    strides = stride if isinstance(stride, tuple) else (stride,) * len(spatial)
    larger = tuple(n * s for n, s in zip(spatial, strides, strict=True))
    back = jax.linear_transpose(lambda x: conv(x, w, stride=stride), jnp.zeros((2, *larger, 3)))(g)[0]
    np.testing.assert_allclose(conv_transpose(g, np.swapaxes(w, -1, -2), stride=stride), back, atol=1e-13)


@pytest.mark.thorough
@pytest.mark.parametrize("mapped", [(0, 0), (0, None), (None, 0), (1, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_vmap_is_a_loop(x64, mapped, groups):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 2, 5, 6, 4)), rng.normal(size=(3, 3, 2, 4 // groups, 6))

    def all_of(x, w):
        y, back = jax.vjp(lambda x, w: conv(x, w, stride=2, groups=groups), x, w)
        return y, *back(jnp.cos(y)), *back(jnp.ones_like(y))

    x, w = (a if m is not None else a[0] for a, m in zip((x, w), mapped, strict=True))
    x, w = (np.moveaxis(a, 0, m) if m else a for a, m in zip((x, w), mapped, strict=True))
    together = jax.jit(jax.vmap(all_of, mapped))(x, w)
    one = jax.jit(all_of)
    for i in range(3):
        alone = one(*(a if m is None else np.take(a, i, m) for a, m in zip((x, w), mapped, strict=True)))
        jax.tree.map(lambda t, a: np.testing.assert_allclose(t[i], a, atol=1e-12), together, alone)


@pytest.mark.parametrize("which", [0, 1])
def test_vmap_of_one_cotangent(x64, which):
    """Jacobians map over cotangents alone, where the other operand of each gradient is shared."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 4, 3)), rng.normal(size=(2, 3, 2))

    def ours(*a):
        return conv(*a, padding="VALID")

    def theirs(*a):
        return xla(*a, (1,), [(0, 0)], (1,), 1)

    np.testing.assert_allclose(jax.jacrev(ours, which)(x, w), jax.jacrev(theirs, which)(x, w), atol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(ours, which)(x, w), jax.jacfwd(theirs, which)(x, w), atol=1e-12)


def test_remat_linearize_and_eager(x64):
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=(2, 6, 5))), jnp.asarray(rng.normal(size=(3, 5, 4)))

    def f(x, w):
        return jnp.sum(conv(x, w) ** 2)

    expected = jax.jit(jax.grad(f, (0, 1)))(x, w)
    for gradient in (jax.grad(f, (0, 1)), jax.grad(jax.checkpoint(f), (0, 1))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), gradient(x, w), expected)
    with jax.disable_jit():
        np.testing.assert_allclose(f(x, w), jax.jit(f)(x, w), rtol=1e-12)
    linear = jax.linearize(f, x, w)[1](x, w)
    np.testing.assert_allclose(linear, sum(map(jnp.vdot, expected, (x, w))), rtol=1e-12)


def test_finite_differences(x64):
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=(1, 4, 4, 2))), jnp.asarray(rng.normal(size=(3, 3, 2, 2)))
    check_grads(lambda x, w: jnp.sin(conv(x, w, stride=2)), (x, w), order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("size", [3, 4])
def test_padding_that_is_not_zeros(x64, size):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 7, 2)), rng.normal(size=(size, 2, 3))
    low, high = (size - 1) // 2, size // 2
    valid = ((1,), [(0, 0)], (1,), 1)
    for name, mode in (("CIRCULAR", "wrap"), ("reflect", "reflect")):
        padded = np.pad(x, ((0, 0), (low, high), (0, 0)), mode)
        np.testing.assert_allclose(conv(x, w, padding=name), references.conv(padded, w, *valid), atol=1e-12)
    causal = conv(x, w, padding="CAUSAL", dilation=2)
    np.testing.assert_allclose(causal, references.conv(x, w, (1,), [(2 * size - 2, 0)], (2,), 1), atol=1e-12)
    changed = conv(np.concatenate([x[:, :4], -x[:, 4:]], 1), w, padding="CAUSAL", dilation=2)
    np.testing.assert_array_equal(causal[:, :4], changed[:, :4])


def test_circular_shift_is_equivariance(x64):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 6, 5, 2)), rng.normal(size=(3, 3, 2, 4))
    shifted = conv(np.roll(x, (2, 1), (1, 2)), w, padding="CIRCULAR")
    np.testing.assert_allclose(shifted, np.roll(conv(x, w, padding="CIRCULAR"), (2, 1), (1, 2)), atol=1e-12)


def test_true_convolution_is_numpys(x64):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=8), rng.normal(size=3)
    y = conv(x[None, :, None], w[:, None, None], padding=2, flip=True).ravel()
    np.testing.assert_allclose(y, np.convolve(x, w), atol=1e-12)


def test_input_dilation_is_the_transposed_form(x64):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 5, 3)), rng.normal(size=(4, 3, 2))
    spread = np.zeros((2, 9, 3))
    spread[:, ::2] = x
    np.testing.assert_allclose(
        conv(x, w, input_dilation=2, padding="VALID"), conv(spread, w, padding="VALID"), atol=1e-12
    )
    np.testing.assert_allclose(
        conv(x, w, input_dilation=2, padding=3, flip=True),
        conv_transpose(x, w, stride=2, padding="VALID"),
        atol=1e-12,
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_is_kept_and_sums_are_float32(dtype):
    x, w = jnp.ones((1, 4, 4, 600), dtype), jnp.ones((3, 3, 600, 20), dtype)
    y, back = jax.vjp(lambda x, w: conv(x, w, padding="VALID"), x, w)
    assert y.dtype == dtype
    assert [g.dtype for g in back(y)] == [dtype, dtype]
    np.testing.assert_array_equal(y, jnp.full(y.shape, 5400, dtype))  # bfloat16 alone would stop at 256


@pytest.mark.parametrize("threaded", [False, True], ids=["one core a convolution", "all cores"])
def test_parts_and_forms_agree(monkeypatch, x64, threaded):
    """The batch is cut only where it pays; here it is cut anyway."""
    monkeypatch.setattr(placement, "threads_convolutions", lambda: threaded)
    monkeypatch.setattr(dense, "batch_parts", lambda batch, products: 2)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(8 if threaded else 4, 6, 6, 20)), rng.normal(size=(3, 3, 20, 18))

    def all_of(form):
        y, back = jax.vjp(form, x, w)
        return y, *back(np.cos(y))

    explicit = ((1, 1), [(1, 1)] * 2, (1, 1), 1)
    ours, theirs = all_of(conv), all_of(lambda x, w: xla(x, w, *explicit))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), ours, theirs)


@pytest.mark.parametrize("part_bytes", [33_000, 2**24], ids=["parts", "whole"])
@pytest.mark.parametrize(
    ("shape", "features", "padding"),
    [((4, 7, 9, 3), 5, ((1, 1), (1, 1))), ((6, 8, 6, 4), 2, ((0, 0), (2, 1))), ((20, 5, 4, 2), 3, ((-1, 2), (1, 0)))],
)
def test_winograds_form_is_the_convolution(monkeypatch, x64, part_bytes, shape, features, padding):
    monkeypatch.setattr(winograd, "BYTES", part_bytes)
    rng, windows = np.random.default_rng(0), Windows((3, 3), (1, 1), padding, (1, 1))
    x, w = rng.normal(size=shape), rng.normal(size=(3, 3, shape[-1], features))
    expected = references.conv(x, w, (1, 1), padding, (1, 1), 1)
    np.testing.assert_allclose(winograd.convolve(jnp.asarray(x), jnp.asarray(w), windows), expected, atol=1e-12)


@pytest.fixture
def winograds(monkeypatch):
    """Winograd's form wherever it is right, not only where it saves; how often it was taken."""
    for name in ("MULTIPLICATIONS", "TILES"):
        monkeypatch.setattr(winograd, name, 0)
    monkeypatch.setattr(winograd, "CHANNELS", dict.fromkeys(winograd.CHANNELS, 0))
    monkeypatch.setattr(placement, "devices", lambda platform=None: 1)
    taken, form = [], winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *given, **options: taken.append(1) or form(*given, **options))
    jax.clear_caches()
    yield taken
    jax.clear_caches()


def test_winograds_form_is_taken_with_every_derivative(winograds):
    rng = np.random.default_rng(0)
    x, dx = rng.normal(size=(2, 3, 7, 6, 5)).astype(np.float32)
    w, dw = rng.normal(size=(2, 3, 3, 5, 4)).astype(np.float32)

    def derivatives(form):
        def gradients(x, w):
            return jax.grad(lambda x, w: jnp.sum(jnp.sin(form(x, w))), (0, 1))(x, w)

        return *gradients(x, w), *jax.jvp(gradients, (x, w), (dx, dw))[1]

    ours = jax.jit(lambda: derivatives(conv))()
    assert len(winograds) >= 2
    theirs = derivatives(lambda x, w: xla(x, w, (1, 1), [(1, 1)] * 2, (1, 1), 1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max()), ours, theirs)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_winograds_form_keeps_the_dtype_and_loses_no_digit(winograds, dtype):
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=s), dtype) for s in ((4, 8, 8, 32), (3, 3, 32, 16)))
    y = jax.jit(conv)(x, w)
    assert (y.dtype, bool(winograds)) == (dtype, True)
    exact = references.conv(np.float64(x), np.float64(w), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    np.testing.assert_allclose(np.float64(y), exact, atol=np.abs(exact).max() * max(jnp.finfo(dtype).eps, 1e-6))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_winograds_form_leaves_alone_what_does_not_see_a_number_that_is_not_finite(winograds, wrong, padding):
    """A tile shares its inputs, and would share this one."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 7, 8, 4)).astype(np.float32), rng.normal(size=(3, 3, 4, 4)).astype(np.float32)
    x[0, 3, 4, 0] = x[1, 0, 0, 3] = x[1, 6, 7, 1] = wrong
    y = jax.jit(lambda x, w: conv(x, w, padding=padding))(x, w)
    assert winograds
    expected = xla(x, w, (1, 1), padding, (1, 1), 1)
    seen = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(y), seen)
    np.testing.assert_allclose(np.where(seen, y, 0), np.where(seen, expected, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e35])
def test_winograds_form_of_the_smallest_and_the_largest_numbers(winograds, scale):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 6, 6, 4)).astype(np.float32), rng.normal(size=(3, 3, 4, 4)).astype(np.float32)
    exact = references.conv(np.float64(np.float32(scale) * x), np.float64(w), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    y = jax.jit(conv)(np.float32(scale) * x, w)
    assert winograds
    np.testing.assert_allclose(np.float64(y), exact, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize("groups", [1, 2])
def test_groups_that_are_compiled_side_by_side_take_the_direct_form(winograds, groups):
    """Also in planes: each would be compiled, a third of a second."""
    for spatial in ((6, 6), (3, 6, 6)):
        size = (3,) * len(spatial)
        jax.jit(lambda x, w: conv(x, w, groups=groups)).lower(
            jnp.ones((2, *spatial, 8)), jnp.ones((*size, 8 // groups, 8))
        )
    assert bool(winograds) == (groups == 1)


def test_winograds_form_is_taken_where_it_saves(monkeypatch):
    """By size, kernel, stride, dtype, devices: never for symbols, which may be any size."""
    monkeypatch.setattr(placement, "devices", lambda platform=None: 1)
    same, valid = Windows((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), ((0, 0), (0, 0))

    def saves(batch, places, channels, features, windows=same, dtype=jnp.float32):
        x = jax.ShapeDtypeStruct((batch, places, places, channels), dtype)
        return winograd.saves(x, jax.ShapeDtypeStruct((3, 3, channels, features), dtype), windows)

    large = (32, 32, 64, 64)
    symbol = jax.export.symbolic_shape("n")[0]
    taken = [large, (32, 32, 64, 64, same._replace(padding=valid)), (128, 7, 64, 128), (32, 4, 512, 512)]
    not_worth_it = [(1, 8, 64, 64), (128, 28, 1, 512), (*large, same, jnp.float64), (symbol, 32, 64, 64)]
    others = [same._replace(strides=(2, 2)), same._replace(dilation=(2, 2)), same._replace(size=(5, 5))]
    assert all(saves(*each) for each in taken)
    assert not any(saves(*each) for each in (*not_worth_it, *((*large, windows) for windows in others)))
    assert saves(128, 14, 32, 64) == placement.threads_convolutions()
    monkeypatch.setattr(placement, "devices", lambda platform=None: 2)
    assert not saves(*large)


@pytest.mark.thorough
@pytest.mark.devices(1, 2)
@pytest.mark.parametrize("row_bytes", [1, 20_000, 2**30])
@pytest.mark.parametrize(
    ("shape", "windows", "groups"),
    [
        ((5, 6, 7, 6), Windows((3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1)), 1),
        ((5, 9, 8, 8), Windows((3, 3), (2, 1), ((1, 0), (2, 2)), (1, 2)), 1),
        ((5, 6, 7, 12), Windows((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), 2),
        ((5, 20, 6), Windows((4,), (2,), ((1, 2),), (1,)), 1),
        ((5, 4, 5, 4, 6), Windows((2, 2, 3), (1, 1, 1), ((0, 0), (1, 0), (1, 1)), (1, 1, 1)), 1),
    ],
    ids=["plain", "strides", "groups", "one axis", "three axes"],
)
def test_kernel_gradient_over_rows(monkeypatch, x64, shape, windows, groups, row_bytes):
    """On one device all examples at once, some at a time with a rest, one at a time; on several another form."""
    monkeypatch.setattr(placement, "threads_convolutions", lambda: False)
    monkeypatch.setattr(dense, "ROW_BYTES", row_bytes)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape), jnp.zeros((*windows.size, shape[-1] // groups, 10))
    y, back = jax.vjp(lambda w: plain.convolve(x, w, windows, groups), w)
    g = rng.normal(size=y.shape)
    ours = forms.kernel_gradient(x, g, windows=windows, groups=groups)
    np.testing.assert_allclose(ours, back(g)[0], atol=1e-10)


@pytest.mark.devices(1, 2)
@pytest.mark.parametrize("example_bytes", [1, 2**20], ids=["summed one by one", "summed at the end"])
def test_depthwise_gradient(monkeypatch, x64, example_bytes):
    monkeypatch.setattr(depthwise, "EXAMPLE_BYTES", example_bytes)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 6, 5, 4)), jnp.asarray(rng.normal(size=(3, 2, 1, 8)))
    windows = Windows((3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2))
    y, back = jax.vjp(lambda w: plain.convolve(x, w, windows, 4), w)
    np.testing.assert_allclose(forms.convolve(x, w, windows=windows, groups=4), y, atol=1e-10)
    g = rng.normal(size=y.shape)
    ours = forms.kernel_gradient(x, g, windows=windows, groups=4)
    np.testing.assert_allclose(ours, back(g)[0], atol=1e-10)


@pytest.mark.parametrize("batch", [3, 8])
@pytest.mark.parametrize(
    ("features", "windows"),
    [
        (4, Windows((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))),
        (8, Windows((2, 3), (2, 1), ((-1, 2), (4, -1)), (1, 2))),
        (4, Windows((4, 2), (1, 3), ((0, 3), (7, 0)), (1, 1))),
    ],
    ids=["same", "two features a channel, cut off", "windows of padding alone"],
)
def test_depthwise_is_the_grouped_convolution(x64, batch, features, windows):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(batch, 6, 5, 4)), jnp.asarray(rng.normal(size=(*windows.size, 1, features)))
    y, back = jax.vjp(lambda w: plain.convolve(x, w, windows, 4), w)
    g = rng.normal(size=y.shape)
    np.testing.assert_allclose(forms.convolve(x, w, windows=windows, groups=4), y, atol=1e-10)
    np.testing.assert_allclose(forms.kernel_gradient(x, g, windows=windows, groups=4), back(g)[0], atol=1e-10)


def test_a_weight_that_is_nan_reaches_its_own_channel_alone():
    kernel = jnp.ones((3, 3, 1, 4)).at[0, 0, 0, 1].set(jnp.nan).at[2, 2, 0, 3].set(jnp.nan)
    y = conv(jnp.ones((2, 5, 5, 4)), kernel, groups=4)
    assert jnp.isnan(y).any((0, 1, 2)).tolist() == [False, True, False, True]
    assert jnp.isnan(y[..., 1]).all()


def test_a_mean_over_a_depthwise_convolution_writes_no_product():
    x, kernel = jax.ShapeDtypeStruct((8, 16, 16, 32), jnp.float32), jax.ShapeDtypeStruct((3, 3, 1, 32), jnp.float32)
    mean = jax.jit(lambda x, kernel: conv(x, kernel, groups=32).mean((0, 1, 2)))
    used = mean.lower(x, kernel).compile().memory_analysis()
    assert used.temp_size_in_bytes < 4 * (8 * 16 * 16 * 32 * 4)  # the padded input and the output; nine products else


@pytest.mark.parametrize("unrolled", [1, 32], ids=["in a loop", "side by side"])
@pytest.mark.parametrize(("channels", "features", "groups"), [(2, 3, 6), (5, 2, 4), (16, 4, 2)])
def test_groups_are_convolutions_of_their_own(monkeypatch, x64, channels, features, groups, unrolled):
    monkeypatch.setattr(forms, "UNROLLED", unrolled)
    rng, windows = np.random.default_rng(0), Windows((3, 2), (2, 1), ((1, 1), (0, 1)), (1, 1))
    x, w = rng.normal(size=(3, 6, 5, channels * groups)), rng.normal(size=(3, 2, channels, features * groups))
    y, back = jax.vjp(lambda x, w: plain.convolve(x, w, windows, groups), x, jnp.asarray(w))
    g = rng.normal(size=y.shape)
    dx, dw = back(g)
    np.testing.assert_allclose(forms.convolve(x, w, windows=windows, groups=groups), y, atol=1e-10)
    np.testing.assert_allclose(forms.kernel_gradient(x, g, windows=windows, groups=groups), dw, atol=1e-10)
    ours = forms.input_gradient(g, w, windows=windows, groups=groups, spatial=(6, 5))
    np.testing.assert_allclose(ours, dx, atol=1e-10)


@pytest.mark.parametrize("wrong", [jnp.nan, jnp.inf])
def test_a_member_that_diverges_leaves_the_others_alone(wrong):
    x, w = jnp.ones((4, 2, 5, 5, 8)), jnp.ones((4, 3, 3, 8, 8))

    def loss_and_gradients(x, w):
        return jax.value_and_grad(lambda x, w: conv(x, w).sum(), (0, 1))(x, w)

    for found in jax.tree.leaves(jax.jit(jax.vmap(loss_and_gradients))(x.at[1].set(wrong), w.at[1].set(wrong))):
        assert jnp.isfinite(found.reshape(4, -1)).all(-1).tolist() == [True, False, True, True]


# spatial, kernel size, channels, features, groups: every form that a convolution takes
FORMS = {
    "dense": ((8, 8), (3, 3), 8, 20, 1),
    "first layer, 1 channel": ((8, 8), (3, 3), 1, 32, 1),
    "first layer, 3 channels": ((8, 8), (3, 3), 3, 32, 1),
    "first layer, 3 channels, many features": ((8, 8), (3, 3), 3, 40, 1),
    "6 channels": ((8, 8), (3, 3), 6, 16, 1),
    "few features": ((8, 8), (3, 3), 32, 3, 1),
    "one place": ((8, 8), (1, 1), 3, 5, 1),
    "grouped": ((8, 8), (3, 3), 16, 16, 2),
    "depthwise": ((8, 8), (3, 3), 4, 8, 4),
    "1-D": ((9,), (4,), 3, 20, 1),
    "3-D": ((4, 6, 8), (3, 3, 3), 1, 32, 1),
}


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finite_reaches_the_outputs_that_see_it_and_no_other(form, wrong):
    spatial, size, channels, features, groups = FORMS[form]
    rng = np.random.default_rng(0)
    w = rng.normal(size=(*size, channels // groups, features)).astype(np.float32)
    widths, once = [((k - 1) // 2, k // 2) for k in size], (1,) * len(size)

    def check(ours, reference, kernel_shape, channels):
        x, one = rng.normal(size=(2, *spatial, channels)).astype(np.float32), np.zeros((2, *spatial, channels))
        at = (0, *(n // 2 for n in spatial), 0)
        x[at], one[at] = wrong, 1
        reached = reference(one, np.ones(kernel_shape), once, widths, once, groups) != 0
        np.testing.assert_array_equal(~np.isfinite(ours(x)), reached)

    swapped = (*size, features // groups, channels)
    back = jax.vjp(lambda x: conv(x, w, padding=widths, groups=groups), jnp.zeros((2, *spatial, channels)))[1]
    check(lambda x: conv(x, w, padding=widths, groups=groups), references.conv, w.shape, channels)
    check(lambda x: conv_transpose(x, w, padding=widths, groups=groups), references.conv_transpose, w.shape, channels)
    check(lambda g: back(g)[0], references.conv_transpose, swapped, features)


def test_parts_divide_the_batch_and_leave_sharded_ones_whole(monkeypatch):
    monkeypatch.setattr(placement, "cores", lambda: 2)
    monkeypatch.setattr(placement, "devices", lambda platform=None: 2)
    assert dense.batch_parts(128, 10**9) == 1
    monkeypatch.setattr(placement, "devices", lambda platform=None: 1)
    assert dense.batch_parts(128, 10**9) == 4
    assert dense.batch_parts(6, 10**9) == 3
    assert dense.batch_parts(7, 10**9) == 1
    assert dense.batch_parts(128, 10**6) == 1


def test_output_size(x64):
    assert conv_output_size(4, 3, padding=1) == 4
    assert conv_output_size(28, 5) == 24
    assert conv_output_size(10, 3, 3) == 3
    assert conv_output_size((7, 8), (3, 2), 2, "SAME") == (4, 4)
    for n, k, s, d, p in [(9, 3, 2, 1, 0), (9, 2, 3, 3, 1), (5, 5, 1, 1, 0), (6, 3, 4, 2, 2)]:
        expected = references.output_shape((n,), (k,), (s,), [(p, p)], (d,))[0]
        assert conv_output_size(n, k, s, p, d) == expected
        assert conv(np.ones((1, n, 1)), np.ones((k, 1, 1)), stride=s, padding=p, dilation=d).shape[1] == expected


def test_torch(x64):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 4, 7, 6)), rng.normal(size=(6, 2, 3, 3))
    options = dict(stride=2, padding=1, dilation=1, groups=2)
    y = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), **options).numpy()
    ours = conv(np.moveaxis(x, 1, -1), w.transpose(2, 3, 1, 0), **options)
    np.testing.assert_allclose(np.moveaxis(ours, -1, 1), y, atol=1e-12)
    w = rng.normal(size=(4, 3, 3, 3))  # torch: (in, out / groups, *window)
    y = torch.nn.functional.conv_transpose2d(
        torch.tensor(x), torch.tensor(w), output_padding=1, stride=2, padding=1, groups=2
    ).numpy()
    kernel = w.reshape(2, 2, 3, 3, 3).transpose(3, 4, 1, 0, 2).reshape(3, 3, 2, 6)
    ours = conv_transpose(np.moveaxis(x, 1, -1), kernel, stride=2, padding=[(1, 0)] * 2, groups=2)
    np.testing.assert_allclose(np.moveaxis(ours, -1, 1), y, atol=1e-12)


def test_empty_batch():
    y, back = jax.vjp(conv, jnp.ones((0, 5, 5, 20)), jnp.ones((3, 3, 20, 18)))
    dx, dw = back(y)
    assert y.shape == (0, 5, 5, 18)
    assert dx.shape == (0, 5, 5, 20)
    np.testing.assert_array_equal(dw, jnp.zeros((3, 3, 20, 18)))


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((2, 3, 28, 28), (3, 3, 3, 8), {}, r"moveaxis\(x, 1, -1\)"),
        ((2, 5), (3, 5, 1), {}, "of equal rank"),
        ((5, 3), (3, 1), {}, r"x\[None\]"),
        ((2, 5, 3), (3, 2, 4), dict(groups=2), "expected 4 channels"),
        ((2, 5, 4), (3, 2, 3), dict(groups=2), "features divisible by groups=2"),
        ((2, 5, 3), (7, 3, 4), dict(padding="VALID"), "no larger than the padded input"),
        ((2, 5, 5, 3), (3, 3, 3, 4), dict(stride=(1, 2, 3)), "one per spatial axis"),
        ((2, 5, 5, 3), (3, 3, 3, 4), dict(padding="CAUSAL"), "one spatial axis"),
        ((2, 5, 5, 3), (3, 3, 3, 4), dict(padding="FULL"), "'CIRCULAR'"),
        ((2, 5, 5, 3), (3, 3, 3, 4), dict(padding=[(1, 1)]), "padding with 2 entries"),
        ((2, 5, 5, 3), (3, 3, 3, 4), dict(stride=0), "stride >= 1"),
        ((2, 5, 3), (3, 3, 0), {}, "without empty axes"),
        ((2, 5, 3), (0, 3, 4), {}, "without empty axes"),
    ],
)
def test_misuse(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        conv(jnp.ones(x), jnp.ones(kernel), **options)


def test_misuse_of_dtypes_and_of_the_transpose():
    with pytest.raises(TypeError, match="astype"):
        conv(jnp.ones((1, 5, 1), jnp.int32), jnp.ones((3, 1, 1)))
    with pytest.raises(TypeError, match="dtype float32 as x"):
        conv(jnp.ones((1, 5, 1)), jnp.ones((3, 1, 1), jnp.bfloat16))
    with pytest.raises(ValueError, match="leave an output"):
        conv_transpose(jnp.ones((1, 2, 1)), jnp.ones((3, 1, 1)), padding=2)


@pytest.mark.devices(2)
def test_sharded_batch(x64):
    """Under jit nothing but the sum of gradients travels; inside shard_map gradients of what is common are summed."""
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=(4, 8, 8, 18))), jnp.asarray(rng.normal(size=(3, 3, 18, 20)))

    def gradient(w, x):
        return jax.grad(lambda w: jnp.sum(max_pool(conv(x, w), 3, stride=2) ** 2))(w)

    expected = jax.jit(gradient)(w, x)
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    compiled = jax.jit(gradient).lower(w, spread).compile()
    np.testing.assert_allclose(jax.device_get(compiled(w, spread)), expected, rtol=1e-10)
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-to-all", "collective-permute"))

    specs = (PartitionSpec(), PartitionSpec("batch"))
    mapped = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=specs, out_specs=PartitionSpec()))
    np.testing.assert_allclose(jax.device_get(mapped(w, spread)), expected, rtol=1e-10)
