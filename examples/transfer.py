"""A network trained in torch, its weights brought here, frozen, and given a new head for a task with few examples.

Claim: a torch CNN tells ten digits apart. Its outputs here differ by less than 1e-4; its features frozen, a new head
       learns odd from even in bfloat16: 86% of 797 images after ten labelled ones (20 draws), from scratch 78%.
Needs: torch, pip install torch
Run:   python examples/transfer.py
"""

import jax
import numpy as np
import torch
from sklearn.datasets import load_digits

import fnn

x, y = load_digits(return_X_y=True)
x = (x.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
test = slice(1000, None)

torch.manual_seed(0)
theirs = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.BatchNorm2d(32), torch.nn.ReLU(), torch.nn.Flatten(),
    torch.nn.Linear(512, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(theirs.parameters(), 3e-3)
images, classes = torch.tensor(x[:1000].transpose(0, 3, 1, 2)), torch.tensor(y[:1000])
for _ in range(120):
    rows = torch.randint(len(images), (64,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(theirs(images[rows]), classes[rows]).backward()
    optimizer.step()

model = fnn.serial(
    fnn.conv(16, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2),
    fnn.conv(32, 3), fnn.batch_norm(), fnn.relu, fnn.flatten(),
    fnn.dense(64), fnn.relu, fnn.dense(10),
)  # fmt: skip
brought = fnn.interop.from_torch(theirs, model, x[:1])
difference = abs(theirs.eval()(images).detach().numpy() - model.apply(*brought, x[:1000])[0]).max()
print(f"largest difference to torch's outputs {difference:.1e}")

frozen = fnn.serial(*map(fnn.frozen, model.parts[:-1]), fnn.dense(1))
found = fnn.transfer(jax.random.key(0), frozen, x[:1], brought)
print("new:", ", ".join(found.fresh))

draw, odd, task = np.random.default_rng(0), y % 2, fnn.tasks.binary()
few = np.array([[draw.choice(np.flatnonzero(y[:1000] == digit)) for digit in range(10)] for _ in range(20)])
scratch = fnn.serial(*model.parts[:-1], fnn.dense(1))
for name, net, start in (("frozen features", frozen, found.start), ("from scratch", scratch, None)):
    run = fnn.trainer(net, fnn.optim.adam(3e-3), task, epochs=200, batch_size=10, compute_dtype=jax.numpy.bfloat16)

    def score(given):
        trained, _ = run(given[0], given[1:], start=start)
        return fnn.evaluate(net, trained, (x[test], odd[test]), task)["accuracy"]

    accuracy = jax.lax.map(score, (jax.random.split(jax.random.key(0), 20), x[few], odd[few]))
    print(
        f"{name}: accuracy {100 * accuracy.mean():.1f}%, from {100 * accuracy.min():.1f} to {100 * accuracy.max():.1f}"
    )
