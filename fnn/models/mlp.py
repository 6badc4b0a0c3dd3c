"""Multi-layer perceptron, and its smallest cases: linear, logistic and softmax regression as networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fnn import checks, initializers
from fnn.activations import relu
from fnn.layer import Layer, constructor, serial
from fnn.layer.protocol import LayerLike
from fnn.layers.dense import dense, flatten
from fnn.layers.dropout import dropout as dropout_layer
from fnn.typing import ArrayLike

__all__ = ["linear_regression", "logistic_regression", "mlp", "softmax_regression"]


@constructor
def mlp(
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: LayerLike = relu,
    norm: Callable[[], Layer] | None = None,
    dropout: ArrayLike | None = None,
) -> Layer:
    r"""Multi-layer perceptron: $h_{i+1} = a(W_i h_i + b_i)$, and a last layer without activation.

    With $n_0$ features it has $\sum_i (n_i + 1)\, n_{i+1}$ parameters.

    Args:
        hidden: widths of the hidden layers; may be empty.
        outputs: width of the last layer.
        activation: function or layer after each hidden layer.
        norm: constructor of a normalization layer put before each activation, for instance `fnn.batch_norm`.
        dropout: rate dropped after each activation; None for no dropout.

    Returns:
        A layer (batch, …) -> (batch, outputs); further axes of the input are flattened.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.mlp((64, 32), 10, dropout=0.1)
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 20)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params)) == 21 * 64 + 65 * 32 + 33 * 10
        True

    References:
        Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, 1986.
    """
    hidden = checks.sequence("mlp", "hidden", hidden, "widths")
    checks.function("mlp", "norm", norm, "() -> layer", "norm=fnn.batch_norm")
    layers: list[LayerLike] = [flatten()]
    for width in hidden:
        layers.append(dense(checks.integer("mlp", "hidden width", width)))
        layers.extend([norm()] if norm is not None else [])
        layers.append(activation)
        layers.extend([dropout_layer(dropout)] if dropout is not None else [])
    return serial(*layers, dense(checks.integer("mlp", "outputs", outputs)))


@constructor
def linear_regression(outputs: int = 1) -> Layer:
    r"""Linear regression as a network, $\hat y = Wx + b$, from zero weights; train it with `fnn.tasks.regression`.

    `fnn.models.least_squares` gives the same parameters in closed form.

    Args:
        outputs: values per example.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.linear_regression()
        >>> params, state = model.init(jax.random.key(0), jnp.ones((4, 3)))
        >>> params["kernel"].tolist()
        [[0.0], [0.0], [0.0]]
    """
    return dense(checks.integer("linear_regression", "outputs", outputs), kernel_init=initializers.zeros)


@constructor
def logistic_regression() -> Layer:
    r"""Logistic regression, $p = σ(w^\top x + b)$: one logit from zero weights; train it with `fnn.tasks.binary`.

    Example:
        >>> import fnn
        >>> fnn.models.logistic_regression()
        logistic_regression()

    References:
        Cox, The regression analysis of binary sequences, 1958.
    """
    return dense(1, kernel_init=initializers.zeros)


@constructor
def softmax_regression(classes: int) -> Layer:
    r"""Softmax regression, $p = \mathrm{softmax}(Wx + b)$: logits from zero weights, for `fnn.tasks.multiclass`.

    Args:
        classes: number of classes, at least 2.

    Example:
        >>> import fnn
        >>> fnn.models.softmax_regression(3)
        softmax_regression(3)
    """
    return dense(checks.integer("softmax_regression", "classes", classes, 2), kernel_init=initializers.zeros)
