"""Adversarial points, and what mathematics says there: the value and the slope of each function as limits, in float64.

A slope is that of the sum of the outputs in each input. Infinity or NaN stands for "no finite value there".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special

INF = np.inf


class Question(NamedTuple):
    """One function at adversarial points; the first input is differentiated, its first axis counts examples."""

    name: str
    inputs: Callable[[Any], tuple[np.ndarray, ...]]
    """smallest subnormal number of the dtype -> arrays"""
    value: Callable[..., np.ndarray]
    slope: Callable[..., np.ndarray]
    options: Mapping[str, Any] = {}
    """Keyword arguments of the call."""


def points(tiny: float) -> np.ndarray:
    return np.array([-INF, -1e4, -1, -tiny, 0, tiny, 1, 1e4, INF])


def grid(tiny: float, *others: float) -> tuple[np.ndarray, ...]:
    """Every point beside every one of `others`."""
    return tuple(np.concatenate(axis) for axis in zip(*[(points(tiny), np.full(9, t)) for t in others], strict=True))


def product(a: Any, b: Any) -> np.ndarray:
    """a·b as a limit in which the zero wins: exponentials beat polynomials, an empty term counts nothing."""
    a, b = np.broadcast_arrays(a, b)
    zero = (a == 0) | (b == 0)
    return np.where(zero, 0.0, np.where(zero, 1.0, a) * np.where(zero, 1.0, b))


# Elementwise activations: finite at -infinity, at +infinity? Where they are, they are flat. Finite elsewhere.
_ENDS: dict[str, tuple[bool, bool]] = {
    "binary_step": (True, True), "sign": (True, True), "identity": (False, False), "sigmoid": (True, True),
    "tanh": (True, True), "hard_sigmoid": (True, True), "hard_tanh": (True, True), "soft_sign": (True, True),
    "softsign": (True, True), "log_sigmoid": (False, True), "relu": (True, False), "relu6": (True, True),
    "leaky_relu": (False, False), "elu": (True, False), "selu": (True, False), "celu": (True, False),
    "gelu": (True, False), "silu": (True, False), "swish": (True, False), "softplus": (True, False),
    "mish": (True, False), "hard_swish": (True, False), "hard_silu": (True, False), "squareplus": (True, False),
}  # fmt: skip


def _activation(name: str, low: bool, high: bool, **options: Any) -> Question:
    def ends(x: np.ndarray) -> np.ndarray:
        return np.select([x == -INF, x == INF], [0 if low else -INF, 0 if high else INF], 0.0)

    return Question(name, lambda tiny: (points(tiny),), ends, ends, options)


def rows(tiny: float) -> np.ndarray:
    """Logits of four classes; a row of -infinity alone has no limit, and stands in no list."""
    return np.array([
        [0, 0, 0, 0], [1e4, -1e4, 0, 1], [-1e4] * 4, [1e4] * 4, [tiny, -tiny, 0, 1],
        [-INF, 0, 0, 1], [0, -INF, -INF, -INF],
        [INF, 0, 0, 1], [-INF, INF, -1e4, 1e4],
    ])  # fmt: skip


def log_softmax(x: np.ndarray) -> np.ndarray:
    top = x.max(-1, keepdims=True)
    shifted = np.where(x == top, 0.0, x - np.where(np.isinf(top), 0, top) - np.where(top == INF, INF, 0))
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(x))


def flat(x: np.ndarray, *_: Any) -> np.ndarray:
    return np.zeros_like(x)


def nothing(x: np.ndarray, *_: Any) -> np.ndarray:
    """The sum over no classes at all."""
    return np.zeros(x.shape[:-1])


HIDDEN = {"where": np.zeros((9, 4), bool)}


def activations() -> list[Question]:
    def gated(x: np.ndarray) -> np.ndarray:
        return product(x[:, :1], special.expit(x[:, 1:]))

    def gated_slope(x: np.ndarray) -> np.ndarray:
        gate = special.expit(x[:, 1:])
        return np.concatenate([gate, product(x[:, :1], gate * (1 - gate))], -1)

    def gates(tiny: float) -> tuple[np.ndarray]:
        return (np.stack([np.tile([1e4, -1.0, tiny], 9), np.repeat(points(tiny), 3)], -1),)

    return [
        *(_activation(name, *ends) for name, ends in _ENDS.items()),
        _activation("gelu", True, False, approximate=False),
        Question("softmax", lambda tiny: (rows(tiny),), softmax, flat),
        Question("log_softmax", lambda tiny: (rows(tiny),), log_softmax, flat),
        Question("softmax", lambda tiny: (rows(tiny),), flat, flat, HIDDEN),
        Question("glu", gates, gated, gated_slope),
    ]


def batches(tiny: float) -> np.ndarray:
    """Five batches (2, 3, 4): all zero, all equal and large, subnormal, large of both signs, ordinary."""
    signs = np.where(np.arange(24).reshape(2, 3, 4) % 5 < 2, 1.0, -1.0)
    ordinary = np.linspace(-1, 1, 24).reshape(2, 3, 4)
    return np.stack([0 * signs, 1e4 + 0 * signs, tiny * signs, 1e4 * signs, ordinary])


def gradients(tiny: float) -> np.ndarray:
    return np.array([[0, tiny, -tiny], [1e4, -1e4, 0.1]])
