"""Linear models solved rather than trained: least squares, ridge, lasso, and Rosenblatt's perceptron."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.precision import wide_dtype, widen
from fnn.typing import Array, ArrayLike, DType, Key

__all__ = ["LassoFit", "PerceptronFit", "lasso", "least_squares", "perceptron"]


def _rows(where: str, x: ArrayLike) -> Array:
    x = checks.cast(where, "x", x, distinct=True)
    checks.floating(where, "x", x)
    checks.rank(where, "x", x, 2, "(rows, features)")
    checks.at_least_one(where, "row", x.shape[0], checks.describe(x))
    return x


def _columns(where: str, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array, DType]:
    """Rows and columns of targets in float32 at least, which a decomposition asks for, and the dtype of the result."""
    x = _rows(where, x)
    y = checks.cast(where, "y", y, wide_dtype(x), distinct=True)
    checks.rank(where, "y", y, (1, 2), "(rows,) or (rows, outputs)")
    checks.one_per_row(where, "target", x.shape[0], y.shape)
    return widen(x), y.reshape(y.shape[0], -1), x.dtype


def _parameters(kernel: Array, mean_x: Array, mean_y: Array, dtype: DType) -> dict[str, Array]:
    """Those of `dense`, by which the mean of the rows gives that of the targets."""
    return {"kernel": kernel.astype(dtype), "bias": (mean_y - mean_x @ kernel).astype(dtype)}


def least_squares(x: ArrayLike, y: ArrayLike, *, ridge: ArrayLike = 0.0) -> dict[str, Array]:
    r"""The minimum of $\tfrac12\sum_i\lVert y_i - Wx_i - b\rVert^2 + \tfrac{λ}{2}\lVert W\rVert^2$ in closed form.

    Solved by a singular value decomposition of the centred data (never by normal equations, which square the
    condition number); of several minima the one with the smallest weights is returned.

    Args:
        x: (rows, features).
        y: (rows,) or (rows, outputs).
        ridge: λ; the bias is not penalized.

    Returns:
        The parameters `{"kernel", "bias"}` of `fnn.models.linear_regression(outputs)`.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> x = jnp.array([[0.0], [1.0], [2.0]])
        >>> params = fnn.models.least_squares(x, 3 * x + 1)
        >>> round(float(params["kernel"][0, 0]), 3), round(float(params["bias"][0]), 3)
        (3.0, 1.0)

    References:
        Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, §3.2 and §3.4.
    """
    x, y, dtype = _columns("least_squares", x, y)
    checks.in_range("least_squares", "ridge", ridge, 0)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    u, s, vt = jnp.linalg.svd(x - mean_x[None], full_matrices=False)
    cutoff = jnp.finfo(x.dtype).eps * max(x.shape) * s[:1]
    kept = s > cutoff
    safe = jnp.where(kept, s, 1)
    shrink = jnp.where(kept, 1 / (safe + jnp.asarray(ridge, x.dtype) / safe), 0)  # no square, which over- or underflows
    kernel = vt.T @ (shrink[:, None] * (u.T @ (y - mean_y[None])))
    return _parameters(kernel, mean_x, mean_y, dtype)


class LassoFit(NamedTuple):
    """The result of `lasso`: `params`, the number of `iterations`, whether it `converged`."""

    params: dict[str, Array]
    iterations: Array
    converged: Array


def lasso(x: ArrayLike, y: ArrayLike, *, l1: ArrayLike, iterations: int = 10_000, tolerance: float = 1e-6) -> LassoFit:
    r"""The minimum of $\tfrac{1}{2n}\sum_i\lVert y_i - Wx_i - b\rVert^2 + λ\lVert W\rVert_1$, with exact zeros.

    Accelerated proximal gradient steps $W \leftarrow S_{λ/L}(V - \nabla/L)$, $S_t(w) = \mathrm{sign}(w)\max(|w|-t, 0)$.

    Args:
        x: (rows, features).
        y: (rows,) or (rows, outputs).
        l1: λ; the bias is not penalized.
        iterations: at most so many steps.
        tolerance: ends when no weight moves by more than this share of the largest.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> x = jax.random.normal(jax.random.key(0), (100, 3))
        >>> found = fnn.models.lasso(x, 2 * x[:, 0], l1=0.1)
        >>> (found.params["kernel"][1:] == 0).all().item(), bool(found.converged)
        (True, True)

    References:
        Tibshirani, Regression shrinkage and selection via the lasso, 1996.
        Beck and Teboulle, A fast iterative shrinkage-thresholding algorithm, 2009.
    """
    x, y, dtype = _columns("lasso", x, y)
    checks.in_range("lasso", "l1", l1, 0)
    checks.whole_number("lasso", "iterations", iterations, 1)
    checks.in_range("lasso", "tolerance", tolerance, 0)
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    a, b = x - mean_x[None], y - mean_y[None]
    gram, moment = a.T @ a / x.shape[0], a.T @ b / x.shape[0]
    step = 1 / jnp.maximum(jnp.linalg.norm(gram, 2), jnp.finfo(x.dtype).tiny)
    threshold = step * jnp.asarray(l1, x.dtype)

    def shrink(w: Array) -> Array:
        return jnp.sign(w) * jnp.maximum(jnp.abs(w) - threshold, 0)

    def one(carry: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        count, w, v, t, _ = carry
        new = shrink(v - step * (gram @ v - moment))
        t_new = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        # Momentum that points uphill is dropped (O'Donoghue and Candès, 2015).
        uphill = jnp.sum((v - new) * (new - w)) > 0
        t_new = jnp.where(uphill, jnp.ones_like(t), t_new)
        v = jnp.where(uphill, new, new + (t - 1) / t_new * (new - w))
        small = jnp.abs(new - w).max() <= tolerance * jnp.maximum(jnp.abs(new).max(), jnp.finfo(x.dtype).tiny)
        return count + 1, new, v, t_new, small

    zero = jnp.zeros((x.shape[1], y.shape[1]), x.dtype)
    count, kernel, _, _, done = jax.lax.while_loop(
        lambda carry: (carry[0] < iterations) & ~carry[4],
        one,
        (jnp.zeros((), jnp.int32), zero, zero, jnp.ones((), x.dtype), jnp.array(False)),
    )
    return LassoFit(_parameters(kernel, mean_x, mean_y, dtype), count, done)


class PerceptronFit(NamedTuple):
    """The result of `perceptron`: `params` of `dense(1)`, `converged`, `epochs` run, `mistakes` per epoch."""

    params: dict[str, Array]
    converged: Array
    epochs: Array
    mistakes: Array


def perceptron(
    x: ArrayLike, y: ArrayLike, *, epochs: int = 1000, learning_rate: ArrayLike = 1.0, key: Key | None = None
) -> PerceptronFit:
    r"""Rosenblatt's rule: after each misclassified example, $w \leftarrow w + η\,y_i x_i$, $b \leftarrow b + η\,y_i$.

    An example is misclassified where $y_i(w^\top x_i + b) \le 0$. On separable data the rule ends after finitely many
    mistakes; on other data it never does, which is reported. Decide with `fnn.activations.binary_step(x @ w + b)`.

    Args:
        x: (rows, features).
        y: (rows,), classes 0 and 1, or -1 and +1.
        epochs: at most so many passes over the data.
        learning_rate: η, positive; it scales the weights and changes no decision.
        key: shuffles the examples each epoch; None keeps their order.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> found = fnn.models.perceptron(x, jnp.array([0, 0, 0, 1]))
        >>> bool(found.converged), fnn.dense(1).apply(found.params, (), x)[0][:, 0].tolist()
        (True, [-4.0, -2.0, -1.0, 1.0])

    References:
        Rosenblatt, The Perceptron, 1958. Novikoff, On convergence proofs on perceptrons, 1962.
    """
    x, signs = _rows("perceptron", x), _signs(y)
    checks.one_per_row("perceptron", "label", x.shape[0], signs.shape)
    epochs = checks.integer("perceptron", "epochs", epochs)
    key = None if key is None else checks.random_key("perceptron", key)
    checks.in_range("perceptron", "learning_rate", learning_rate, 0, open="low")
    found = _rosenblatt(x, signs.astype(x.dtype), jnp.asarray(learning_rate, x.dtype), key, epochs)
    if checks.is_concrete(found.converged) and found.converged.ndim == 0 and not found.converged:
        checks.warn(
            f"perceptron: {int(found.mistakes[-1])} mistakes in epoch {epochs}, the last; the classes may not be "
            "linearly separable. Give more epochs, or use fnn.models.logistic_regression",
        )
    return found


def _signs(y: ArrayLike) -> Array:
    y = checks.cast("perceptron", "y", y)
    checks.rank("perceptron", "y", y, 1, "(rows,)")
    if checks.is_concrete(y):
        seen = set(np.unique(np.asarray(y)).tolist())
        if not (seen <= {0, 1} or seen <= {-1, 1}):
            raise ValueError(f"perceptron: expected labels 0 and 1, or -1 and +1, got {sorted(seen)[:10]}")
    return jnp.where(y > 0, 1, -1)


def _rosenblatt(x: Array, signs: Array, rate: Array, key: Key | None, epochs: int) -> PerceptronFit:
    def example(w: Array, row: Array) -> tuple[Array, Array]:
        wrong = ~(signs[row] * (x[row] @ w[:-1] + w[-1]) > 0)  # NaN is no right answer
        correction = rate * signs[row] * jnp.append(x[row], jnp.ones((), x.dtype))
        return jnp.where(wrong, w + correction, w), wrong

    def epoch(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, w, mistakes = carry
        order = jnp.arange(x.shape[0])
        if key is not None:
            order = jax.random.permutation(random_bits.fold_in(key, number), order)
        w, wrong = jax.lax.scan(example, w, order)
        return number + 1, w, mistakes.at[number].set(wrong.sum())

    def goes_on(carry: tuple[Array, Array, Array]) -> Array:
        number, _, mistakes = carry
        return (number < epochs) & ((number == 0) | (mistakes[number - 1] > 0))

    start = (jnp.zeros((), jnp.int32), jnp.zeros(x.shape[1] + 1, x.dtype), jnp.zeros(epochs, jnp.int32))
    number, w, mistakes = jax.lax.while_loop(goes_on, epoch, start)
    return PerceptronFit({"kernel": w[:-1, None], "bias": w[-1:]}, mistakes[number - 1] == 0, number, mistakes)
