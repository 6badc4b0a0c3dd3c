"""Full-batch L-BFGS beside Adam: a small net fitted to a curve, many starts at once, the same number of gradients.

Claim: fitting sin 3x with ten tanh units from 20 starts, the median loss after 300 gradients is 7e-6 by L-BFGS, the
       trials of its line search counted, and 1.5e-3 by Adam at the best of three rates and a cosine schedule.
Run:   python examples/second_order.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import fnn

GRADIENTS, STARTS = 1000, 20
x = jnp.linspace(-1, 1, 100).reshape(100, 1)
data = (x, jnp.sin(3 * x))
model = fnn.serial(fnn.dense(10), fnn.tanh, fnn.dense(1))
keys = jax.random.split(jax.random.key(0), STARTS)


def curve(optimizer, trials=lambda state: 0):
    """The loss of every start after each step, and the losses and gradients computed so far: (starts, steps)."""
    step = fnn.train_step(model, optimizer, fnn.losses.mse)

    def one(carry, _):
        train_state, spent = carry
        train_state, loss = step.update(train_state, keys[0], data)
        spent = spent + 1 + trials(train_state.opt_state)
        return (train_state, spent), (loss, spent)

    begin = lambda key: (step.init(key, x), 0)  # noqa: E731
    return jax.jit(jax.vmap(lambda key: jax.lax.scan(one, begin(key), None, GRADIENTS)[1]))(keys)


def after(losses, spent, gradients):
    """The loss of every start when so many gradients were computed."""
    steps = (np.asarray(spent) <= gradients).sum(axis=1)
    return np.asarray(losses)[np.arange(STARTS), np.maximum(steps - 1, 0)]


curves = {f"Adam, rate {rate}": curve(fnn.optim.adam(rate)) for rate in (1e-3, 1e-2, 3e-2)}
curves["Adam, cosine"] = curve(fnn.optim.adam(fnn.schedules.cosine_decay_schedule(3e-2, GRADIENTS)))
curves["L-BFGS"] = curve(fnn.optim.lbfgs(), lambda state: state[-1].info.num_linesearch_steps)
print("median (and worst)", *(f"{n:>6} gradients" for n in (100, 300, GRADIENTS)))
for name, (losses, spent) in curves.items():
    found = [after(losses, spent, n) for n in (100, 300, GRADIENTS)]
    print(f"{name:<18}", *(f"{np.median(each):9.1e} ({each.max():.0e})" for each in found))
