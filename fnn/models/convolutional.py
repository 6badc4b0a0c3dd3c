"""Convolutional networks for images (batch, height, width, channels)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fnn import checks
from fnn.activations import relu, tanh
from fnn.layer import Layer, constructor, residual, serial
from fnn.layer.protocol import LayerLike
from fnn.layers.batch_norm import batch_norm
from fnn.layers.conv import conv
from fnn.layers.dense import dense, flatten
from fnn.layers.depthwise_conv import separable_conv
from fnn.layers.dropout import dropout as dropout_layer
from fnn.layers.pool import avg_pool, global_avg_pool, max_pool
from fnn.typing import ArrayLike, Key, PyTree

__all__ = ["lenet5", "resnet", "small_cnn", "vgg"]


def _of_images(where: str, classes: int, *layers: LayerLike) -> Layer:
    """These layers and one of logits, which look at the axes of the images before they are taken for others."""
    net = serial(*layers, dense(checks.integer(where, "classes", classes)))

    def init(key: Key, x: Any, /) -> tuple[PyTree, PyTree]:
        checks.images(where, x)
        return net.init(key, x)

    def apply(
        params: PyTree, state: PyTree, x: Any, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        checks.images(where, x)
        return net.apply(params, state, x, key=key, train=train)

    return net._replace(init=init, apply=apply)


@constructor
def lenet5(classes: int = 10) -> Layer:
    """LeNet-5: two convolutions with average pooling and three dense layers, with tanh; 61,706 parameters.

    The first convolution pads, so that 28 × 28 images do what 32 × 32 did in the paper; all sizes of at least 12 do.

    Args:
        classes: number of outputs.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> params, state = fnn.models.lenet5().init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        61706

    References:
        LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    convolutions = conv(6, 5), tanh, avg_pool(2), conv(16, 5, padding="VALID"), tanh, avg_pool(2)
    return _of_images("lenet5", classes, *convolutions, flatten(), dense(120), tanh, dense(84), tanh)


def _conv_norm(features: int, kernel_size: int = 3, stride: int = 1) -> tuple[Layer, Layer]:
    """A convolution whose bias would be lost in the batch norm after it."""
    return conv(features, kernel_size, stride=stride, use_bias=False), batch_norm()


@constructor
def small_cnn(classes: int = 10, *, dropout: ArrayLike = 0.2) -> Layer:
    """A net of under 100,000 parameters for small images: four 3×3 convolutions, a separable one, and a mean.

    Args:
        classes: number of outputs.
        dropout: rate dropped before the last layer.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> params, state = fnn.models.small_cnn().init(jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params)) < 100_000
        True
    """
    stages = [(*_conv_norm(width), relu, *_conv_norm(width), relu, max_pool(2)) for width in (32, 64)]
    last = separable_conv(128, 3, use_bias=False), batch_norm(), relu, global_avg_pool(), dropout_layer(dropout)
    return _of_images("small_cnn", classes, *stages[0], *stages[1], *last)


@constructor
def vgg(
    classes: int = 10,
    *,
    stages: Sequence[tuple[int, int]] = ((64, 2), (128, 2), (256, 3)),
    dropout: ArrayLike = 0.5,
) -> Layer:
    """Stages of 3×3 convolutions with batch norm, each ended by a maximum over 2×2; a mean in place of dense layers.

    Args:
        classes: number of outputs.
        stages: (features, number of convolutions) of each stage; VGG-16 has
            ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), for images of at least 32 × 32.
        dropout: rate dropped before the last layer.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.vgg(10, stages=((8, 1), (16, 2)))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((2, 8, 8, 3)))
        >>> model.apply(params, state, jnp.ones((2, 8, 8, 3)))[0].shape
        (2, 10)

    References:
        Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015.
    """
    layers: list = []
    for stage in checks.sequence("vgg", "stages", stages, "pairs (features, number of convolutions)"):
        features, depth = checks.pair("vgg", "every stage", stage, "(features, number of convolutions)")
        for _ in range(checks.integer("vgg", "number of convolutions", depth)):
            layers += [*_conv_norm(features), relu]
        layers.append(max_pool(2))
    return _of_images("vgg", classes, *layers, global_avg_pool(), dropout_layer(dropout))


def _block(features: int, stride: int, widens: bool) -> Layer:
    """Two 3×3 convolutions around which the input passes, projected where the shape changes."""
    body = serial(*_conv_norm(features, stride=stride), relu, *_conv_norm(features))
    shortcut = serial(*_conv_norm(features, 1, stride)) if widens else None
    return serial(residual(body, shortcut), relu)


@constructor
def resnet(classes: int = 10, *, blocks: Sequence[int] = (2, 2, 2, 2), width: int = 64) -> Layer:
    """Residual network for small images; the default is ResNet-18 with a 3×3 first convolution and no first pooling.

    Args:
        classes: number of outputs.
        blocks: number of residual blocks of each stage; every stage but the first halves the image and doubles
            the features.
        width: features of the first stage.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.models.resnet(10)
        >>> params, state = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        11173962

    References:
        He et al., Deep Residual Learning for Image Recognition, 2016.
    """
    width = checks.integer("resnet", "width", width)
    layers: list = [*_conv_norm(width), relu]
    for stage, depth in enumerate(checks.sequence("resnet", "blocks", blocks, "numbers of blocks")):
        for place in range(checks.integer("resnet", "number of blocks", depth)):
            first = place == 0 and stage > 0
            layers.append(_block(width * 2**stage, 2 if first else 1, first))
    return _of_images("resnet", classes, *layers, global_avg_pool())
