"""The oldest networks: linear regression by formula and by descent, ridge, lasso, and Rosenblatt's perceptron.

Claim: descent reaches the closed form to three digits; the perceptron ends on separable data and says where it cannot.
Run:   python examples/linear_and_perceptron.py
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import fnn

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 5)).astype(np.float32)
y = (x @ np.array([3, -2, 0, 0, 1]) + 4 + 0.1 * rng.normal(size=200)).astype(np.float32)

exact = fnn.models.least_squares(x, y)
descent = fnn.trainer(
    fnn.models.linear_regression(), fnn.optim.sgd(0.1), fnn.tasks.regression(), epochs=300, batch_size=None
)  # all rows at once: gradient descent
trained, _ = descent(jax.random.key(0), (x, y))
ridge = fnn.models.least_squares(x, y, ridge=100.0)
lasso = fnn.models.lasso(x, y, l1=0.3)

print(f"{'weights':<22}" + "".join(f"{f'w{i}':>9}" for i in range(5)) + f"{'bias':>9}")
for name, params in [
    ("closed form", exact),
    ("gradient descent", trained.params),
    ("ridge, λ = 100", ridge),
    ("lasso, λ = 0.3", lasso.params),
]:
    print(f"{name:<22}" + "".join(f"{float(w):>9.4f}" for w in [*params["kernel"][:, 0], params["bias"][0]]))
largest = jnp.abs(trained.params["kernel"] - exact["kernel"]).max()
print(f"largest difference of descent from the closed form: {largest:.1e}")

gates = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}
corners = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
print(f"\n{'perceptron':<12}{'converged':>10}{'epochs':>8}{'mistakes in the last':>22}")
for name, truth in gates.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # XOR cannot be separated: the table says it
        found = fnn.models.perceptron(corners, jnp.array(truth), epochs=100)
    last = int(found.mistakes[int(found.epochs) - 1])
    print(f"{name:<12}{'yes' if found.converged else 'no':>10}{int(found.epochs):>8}{last:>22}")
