"""Rosenblatt's perceptron."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import checks, random_bits
from fnn.typing import Array, ArrayLike, Key

__all__ = ["PerceptronFit", "perceptron"]


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
    mistakes; on other data it never does, which is reported.

    Args:
        x: (rows, features).
        y: (rows,), classes 0 and 1, or -1 and +1.
        epochs: at most so many passes over the data.
        learning_rate: η, positive; it scales the weights and changes no decision.
        key: shuffles the examples each epoch; None keeps their order.

    Returns:
        `PerceptronFit(params, converged, epochs, mistakes)`; decide with `fnn.activations.binary_step(x @ w + b)`.

    Raises:
        ValueError: on other labels than two classes.

    Example:
        >>> import jax.numpy as jnp, fnn
        >>> x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> found = fnn.models.perceptron(x, jnp.array([0, 0, 0, 1]))
        >>> bool(found.converged), fnn.dense(1).apply(found.params, (), x)[0][:, 0].tolist()
        (True, [-4.0, -2.0, -1.0, 1.0])

    References:
        Rosenblatt, The Perceptron, 1958. Novikoff, On convergence proofs on perceptrons, 1962.
    """
    x, signs = checks.cast("perceptron", "x", x, distinct=True), _signs(y)
    checks.floating("perceptron", "x", x)
    checks.rank("perceptron", "x", x, 2, "(rows, features)")
    checks.at_least_one("perceptron", "row", x.shape[0], checks.describe(x))
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
        wrong = signs[row] * (x[row] @ w[:-1] + w[-1]) <= 0
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
