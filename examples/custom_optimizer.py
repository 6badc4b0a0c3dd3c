"""An optimizer of your own: one rule for one leaf, checked against another in one line, then used like any other.

Claim: sign descent with momentum in six lines takes the steps of `fnn.optim.signum` and trains a network.
Run:   python examples/custom_optimizer.py
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_iris

import fnn
from fnn.testing import check_transform


class SignState(NamedTuple):
    trace: Any


def sign_descent(learning_rate, decay=0.9):
    """v ← decay·v + g, θ ← θ − α·sign(v)."""

    def init(params):
        return SignState(jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None, **extra):
        trace = jax.tree.map(lambda v, g: decay * v + g, state.trace, updates)
        return jax.tree.map(lambda v: -learning_rate * jnp.sign(v), trace), SignState(trace)

    return fnn.optim.Transform(init, update)


# Any optax transformation may stand in place of the second; here the states have different fields.
check_transform(sign_descent(0.01), fnn.optim.signum(0.01), compare_state=False)
print("check_transform: updates agree with signum's over random pytrees, under jit, scan and vmap")

x, y = load_iris(return_X_y=True)
x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
task, model = fnn.tasks.multiclass(3), fnn.models.mlp((16,), 3)
for name, optimizer in {"sign descent": sign_descent(0.003), "clipped": fnn.optim.chain(
    fnn.optim.clip_by_global_norm(1.0), sign_descent(0.003)), "Adam": fnn.optim.adam(0.003)}.items():  # fmt: skip
    trained, history = fnn.trainer(model, optimizer, task, epochs=60, batch_size=16)(jax.random.key(0), (x, y))
    scores = fnn.evaluate(model, trained, (x, y), task)
    print(f"{name:<14} loss {scores['loss']:.3f}  accuracy {scores['accuracy']:.1%}")
