"""The trilinear form of a convolution as three primitives, each the transpose of the others.

With $T(x, w, g) = \\sum_{n,o,t,c,f} x[n, o s + t d - p, c]\\, w[t, c, f]\\, g[n, o, f]$ the three are its gradients:

- `convolve(x, w)` $= \\partial T / \\partial g$, the convolution;
- `input_gradient(g, w)` $= \\partial T / \\partial x$, the transposed convolution;
- `kernel_gradient(x, g)` $= \\partial T / \\partial w$.

Every derivative of one of them is one of the others, so jvp, vjp, Hessian-vector products, `vmap`, `remat` and
`linearize` all meet only these three, and each platform says once how to compute them.

This module uses jax's interior (`jax.extend`, `jax.interpreters`), which may change with any release: it is loaded
when the first convolution is traced, tries what it has built, and if that fails `plain` is right without it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fnn.kernels.convolution import forms, plain
from fnn.kernels.mesh_axes import alike
from fnn.kernels.sliding_windows import Windows
from fnn.typing import Array, Shape


def convolve(x: Array, w: Array, windows: Windows, groups: int = 1) -> Array:
    """Cross-correlation of x (N, *spatial, C) with w (*window, C/groups, F): (N, *windows, F)."""
    return _bind(convolve_p, x, w, windows=windows, groups=groups)


def input_gradient(g: Array, w: Array, windows: Windows, groups: int, spatial: Shape) -> Array:
    """What `convolve` sends back to x: g (N, *windows, F) and w (*window, C/groups, F) to (N, *spatial, C)."""
    return _bind(input_gradient_p, g, w, windows=windows, groups=groups, spatial=spatial)


def kernel_gradient(x: Array, g: Array, windows: Windows, groups: int) -> Array:
    """What `convolve` sends back to w: x (N, *spatial, C) and g (N, *windows, F) to (*window, C/groups, F)."""
    return _bind(kernel_gradient_p, x, g, windows=windows, groups=groups)


def _bind(primitive: Any, a: Array, b: Array, **static: Any) -> Array:
    if 0 in a.shape or 0 in b.shape:  # sums of nothing, which no form is asked for
        return jnp.zeros(_SHAPES[primitive](a, b, **static), a.dtype)
    return primitive.bind(*alike((a, b)), **static)


_SHAPES: dict[Any, Callable[..., Shape]] = {}

PLAIN: dict[Any, Callable[..., Array]] = {}
"""XLA's own form of each primitive."""


def _primitive(name: str, shape: Callable[..., Shape], plain: Callable[..., Array], cpu: Callable[..., Array]) -> Any:
    primitive = Primitive(f"fnn_{name}")
    _SHAPES[primitive], PLAIN[primitive] = shape, plain

    def abstract(a: Any, b: Any, **static: Any) -> Any:
        return a.update(shape=shape(a, b, **static), weak_type=False)

    primitive.def_abstract_eval(abstract)

    def eagerly(a: Array, b: Array, **static: Any) -> Array:
        with jax.disable_jit(False):  # compiled on its own even where nothing else is
            return _compile(primitive, tuple(static.items()))(a, b)

    primitive.def_impl(eagerly)
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
    return primitive


@functools.lru_cache(maxsize=128)
def _compile(primitive: Any, static: tuple[tuple[str, Any], ...]) -> Callable[[Array, Array], Array]:
    return jax.jit(lambda a, b: primitive.bind(a, b, **dict(static)))


convolve_p = _primitive(
    "convolve",
    lambda x, w, *, windows, groups: (x.shape[0], *windows.counts(x.shape[1:-1]), w.shape[-1]),
    plain.convolve,
    forms.convolve,
)
input_gradient_p = _primitive(
    "input_gradient",
    lambda g, w, *, windows, groups, spatial: (g.shape[0], *spatial, w.shape[-2] * groups),
    plain.input_gradient,
    forms.input_gradient,
)
kernel_gradient_p = _primitive(
    "kernel_gradient",
    lambda x, g, *, windows, groups: (*windows.size, x.shape[-1] // groups, g.shape[-1]),
    plain.kernel_gradient,
    forms.kernel_gradient,
)

ad.defbilinear(
    convolve_p,
    lambda g, x, w, *, windows, groups: input_gradient(g, w, windows, groups, x.aval.shape[1:-1]),
    lambda g, x, w, *, windows, groups: kernel_gradient(x, g, windows, groups),
)
ad.defbilinear(
    input_gradient_p,
    lambda x, g, w, *, windows, groups, spatial: convolve(x, w, windows, groups),
    lambda x, g, w, *, windows, groups, spatial: kernel_gradient(x, g, windows, groups),
)
ad.defbilinear(
    kernel_gradient_p,
    lambda w, x, g, *, windows, groups: input_gradient(g, w, windows, groups, x.aval.shape[1:-1]),
    lambda w, x, g, *, windows, groups: convolve(x, w, windows, groups),
)


# Batching. Members that share one operand are more rows or more features of one product; members that share
# neither are more groups. `_in_rows` puts the member axis b before the batch, `_in_channels` inside the channels.


def _in_rows(a: Array, axis: int) -> Array:
    a = jnp.moveaxis(a, axis, 0)
    return a.reshape(-1, *a.shape[2:])


def _from_rows(a: Array, members: int) -> Array:
    return a.reshape(members, -1, *a.shape[1:])


def _in_channels(a: Array, axis: int, groups: int) -> Array:
    """(…, groups · c) with members on `axis` -> (…, groups · members · c)."""
    a = jnp.moveaxis(a, axis, -2)
    a = a.reshape(*a.shape[:-1], groups, -1)
    return jnp.moveaxis(a, -3, -2).reshape(*a.shape[:-3], -1)


def _from_channels(a: Array, members: int, groups: int) -> Array:
    a = a.reshape(*a.shape[:-1], groups, members, -1)
    return jnp.moveaxis(a, -2, 0).reshape(members, *a.shape[:-3], -1)


def _batch_convolve(operands: Any, axes: Any, *, windows: Windows, groups: int) -> tuple[Array, int]:
    (x, w), (i, j) = operands, axes
    if j is None:
        return _from_rows(convolve(_in_rows(x, i), w, windows, groups), x.shape[i]), 0
    members = w.shape[j]
    if i is None:
        return _from_channels(convolve(x, _in_channels(w, j, groups), windows, groups), members, groups), 0
    y = convolve(forms.join_groups(x, i), forms.join_groups(w, j), windows, groups * members)
    return forms.split_groups(y, members), 0


def _batch_input_gradient(
    operands: Any, axes: Any, *, windows: Windows, groups: int, spatial: Shape
) -> tuple[Array, int]:
    (g, w), (i, j) = operands, axes
    if j is None:
        return _from_rows(input_gradient(_in_rows(g, i), w, windows, groups, spatial), g.shape[i]), 0
    members = w.shape[j]
    if i is None:
        g, i = jnp.broadcast_to(g, (members, *g.shape)), 0
    x = input_gradient(forms.join_groups(g, i), forms.join_groups(w, j), windows, groups * members, spatial)
    return forms.split_groups(x, members), 0


def _batch_kernel_gradient(operands: Any, axes: Any, *, windows: Windows, groups: int) -> tuple[Array, int]:
    (x, g), (i, j) = operands, axes
    if i is None:
        members = g.shape[j]
        return _from_channels(kernel_gradient(x, _in_channels(g, j, groups), windows, groups), members, groups), 0
    members = x.shape[i]
    if j is None:
        g, j = jnp.broadcast_to(g, (members, *g.shape)), 0
    w = kernel_gradient(forms.join_groups(x, i), forms.join_groups(g, j), windows, groups * members)
    return forms.split_groups(w, members), 0


batching.primitive_batchers[convolve_p] = _batch_convolve
batching.primitive_batchers[input_gradient_p] = _batch_input_gradient
batching.primitive_batchers[kernel_gradient_p] = _batch_kernel_gradient


def _try() -> None:
    """Use each rule above once, so that what jax no longer has is missed here and not in the middle of a model."""
    point = Windows((1,), (1,), ((0, 0),), (1,))

    def gradients(x: Array, w: Array) -> Any:
        y, back = jax.vjp(lambda x, w: convolve(x, w, point), x, w)
        return back(y)

    one = jax.ShapeDtypeStruct((2, 1, 1, 1), jnp.float32)
    used = jax.vmap(lambda x, w: jax.jvp(gradients, (x, w), (x, w)))
    jax.jit(used).trace(one, one).lower(lowering_platforms=("cpu",))


_try()
