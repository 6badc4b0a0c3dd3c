"""A layer that training leaves as it is."""

from __future__ import annotations

from typing import Any, NamedTuple

from jax.export import register_namedtuple_serialization

from fnn.layer.arguments import MISSING, output_and_state, params_and_state, require_apply, require_init
from fnn.layer.protocol import Facts, Layer, LayerLike, as_layer
from fnn.typing import Key, PyTree

__all__ = ["Frozen", "frozen"]


class Frozen(NamedTuple):
    """Parameters and state of a frozen layer, both of them state of the model that it stands in.

    Example:
        >>> import fnn, jax, jax.numpy as jnp
        >>> params, state = fnn.frozen(fnn.dense(2)).init(jax.random.key(0), jnp.ones((1, 3)))
        >>> params, state.params["kernel"].shape
        ((), (3, 2))
    """

    params: PyTree
    state: PyTree


register_namedtuple_serialization(Frozen, serialized_name="fnn.Frozen")


def frozen(layer: LayerLike) -> Layer:
    """A layer that training leaves as it is: neither weights nor running statistics move, and dropout is off.

    Its parameters are no parameters of the model but state, `fnn.Frozen(params, state)`: no gradient is computed for
    them, no optimizer, weight decay or penalty sees them, and none keeps moments for them. In training it computes what
    it does at inference. Gradients pass through it to what stands before.

    `fnn.transfer` brings what was trained into a model with frozen layers, and back into one without.

    Args:
        layer: a layer, or a whole model.

    Example:
        >>> import jax, jax.numpy as jnp, fnn
        >>> model = fnn.serial(fnn.frozen(fnn.dense(4)), fnn.relu, fnn.dense(2))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((8, 3)))
        >>> jax.tree.map(jnp.shape, params)
        ((), (), {'bias': (2,), 'kernel': (4, 2)})

    References:
        Yosinski et al., How transferable are features in deep neural networks?, 2014.
    """
    layer = as_layer(layer)

    def init(key: Key, x: Any = MISSING, /) -> tuple[PyTree, PyTree]:
        require_init(key, x)
        return (), Frozen(*params_and_state(layer.init(key, x)))

    def apply(
        params: PyTree, state: PyTree, x: Any = MISSING, /, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        require_apply(x)
        y, inner = output_and_state(layer.apply(state.params, state.state, x, key=key))
        return y, Frozen(state.params, inner)

    facts = Facts(ends_in=layer.facts.ends_in)
    return Layer(init, apply, f"frozen({layer.name})", (layer,), lambda new: frozen(*new), facts)
