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


def _bind(primitive: Any, a: Array, b: Array, **static: Any) -> Array:
    """As the module `plain` has it, and its arguments by name."""
    if 0 in a.shape or 0 in b.shape:  # sums of nothing, which no form is asked for
        return jnp.zeros(_SHAPES[primitive](a, b, **static), a.dtype)
    return primitive.bind(*alike((a, b)), **static)


_SHAPES: dict[Any, Callable[..., Shape]] = {}

PLAIN: dict[Any, Callable[..., Array]] = {}
"""XLA's own form of each primitive."""


def _primitive(name: str, shape: Callable[..., Shape]) -> Any:
    """The primitive of a product that has this name in `plain` and in `forms`."""
    primitive, plain_form, cpu_form = Primitive(f"fnn_{name}"), getattr(plain, name), getattr(forms, name)
    _SHAPES[primitive], PLAIN[primitive] = shape, plain_form

    def abstract(a: Any, b: Any, **static: Any) -> Any:
        return a.update(shape=shape(a, b, **static), weak_type=False)

    primitive.def_abstract_eval(abstract)

    def eagerly(a: Array, b: Array, **static: Any) -> Array:
        with jax.disable_jit(False):  # compiled on its own even where nothing else is
            return _compile(primitive, tuple(sorted(static.items())))(a, b)

    primitive.def_impl(eagerly)
    mlir.register_lowering(primitive, mlir.lower_fun(plain_form, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(cpu_form, multiple_results=False), platform="cpu")
    return primitive


@functools.lru_cache(maxsize=128)
def _compile(primitive: Any, static: tuple[tuple[str, Any], ...]) -> Callable[[Array, Array], Array]:
    return jax.jit(lambda a, b: primitive.bind(a, b, **dict(static)))


convolve_p = _primitive(
    "convolve", lambda x, w, *, windows, groups: (x.shape[0], *windows.counts(x.shape[1:-1]), w.shape[-1])
)
input_gradient_p = _primitive(
    "input_gradient", lambda g, w, *, windows, groups, spatial: (g.shape[0], *spatial, w.shape[-2] * groups)
)
kernel_gradient_p = _primitive(
    "kernel_gradient", lambda x, g, *, windows, groups: (*windows.size, x.shape[-1] // groups, g.shape[-1])
)

convolve = functools.partial(_bind, convolve_p)
input_gradient = functools.partial(_bind, input_gradient_p)
kernel_gradient = functools.partial(_bind, kernel_gradient_p)

ad.defbilinear(
    convolve_p,
    lambda g, x, w, **static: input_gradient(g, w, spatial=x.aval.shape[1:-1], **static),
    lambda g, x, w, **static: kernel_gradient(x, g, **static),
)
ad.defbilinear(
    input_gradient_p,
    lambda x, g, w, *, spatial, **static: convolve(x, w, **static),
    lambda x, g, w, *, spatial, **static: kernel_gradient(x, g, **static),
)
ad.defbilinear(
    kernel_gradient_p,
    lambda w, x, g, **static: input_gradient(g, w, spatial=x.aval.shape[1:-1], **static),
    lambda w, x, g, **static: convolve(x, w, **static),
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


def _batch(product: Callable[..., Array], rows: bool, channels: bool) -> Callable[..., tuple[Array, int]]:
    """The rule of a product that takes members of its first operand as more `rows`, of its second as more `channels`;
    where it does not, the operand that is shared is repeated."""

    def batch(operands: Any, axes: Any, *, groups: int, **static: Any) -> tuple[Array, int]:
        (a, b), (i, j) = operands, axes
        members = b.shape[j] if i is None else a.shape[i]
        if j is None and rows:
            return _from_rows(product(_in_rows(a, i), b, groups=groups, **static), members), 0
        if i is None and channels:
            return _from_channels(product(a, _in_channels(b, j, groups), groups=groups, **static), members, groups), 0
        if i is None:
            a, i = jnp.broadcast_to(a, (members, *a.shape)), 0
        if j is None:
            b, j = jnp.broadcast_to(b, (members, *b.shape)), 0
        y = product(forms.join_groups(a, i), forms.join_groups(b, j), groups=groups * members, **static)
        return forms.split_groups(y, members), 0

    return batch


batching.primitive_batchers[convolve_p] = _batch(convolve, rows=True, channels=True)
batching.primitive_batchers[input_gradient_p] = _batch(input_gradient, rows=True, channels=False)
batching.primitive_batchers[kernel_gradient_p] = _batch(kernel_gradient, rows=False, channels=True)


def _try() -> None:
    """Use each rule above once, so that what jax no longer has is missed here and not in the middle of a model."""
    point = Windows((1,), (1,), ((0, 0),), (1,))

    def gradients(x: Array, w: Array) -> Any:
        y, back = jax.vjp(lambda x, w: convolve(x, w, windows=point, groups=1), x, w)
        return back(y)

    one = jax.ShapeDtypeStruct((2, 1, 1, 1), jnp.float32)
    used = jax.vmap(lambda x, w: jax.jvp(gradients, (x, w), (x, w)))
    jax.jit(used).trace(one, one).lower(lowering_platforms=("cpu",))


_try()
