"""Real work from end to end, each step in a process of its own, as a new user would: killed, resumed, carried away."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.thorough
ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
WITHOUT_FNN = """
import sys
sys.modules["fnn"] = None  # as where it is not installed
import jax.export, numpy as np
program = jax.export.deserialize(bytearray(open("model.jax", "rb").read()))
np.save("exported.npy", program.call(np.load("x.npy")))
"""


def process(*command, folder):
    done = subprocess.run([sys.executable, *command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def killed_after_an_epoch(*command, kept):
    """Kill -9 as soon as the first checkpoint is there, in the middle of a later epoch."""
    with subprocess.Popen([sys.executable, *command], env=ENVIRONMENT, stderr=subprocess.DEVNULL) as running:
        while not list(kept.glob("checkpoints/epoch-*.npz")):
            assert running.poll() is None, "it ended before its first epoch did"
            time.sleep(0.01)
        running.kill()
    assert running.returncode == -9


IMAGES = """
import jax, numpy as np, fnn
photos = fnn.data.images("digits", 8, channels=1)
about = fnn.read_metadata("model.safetensors")
task = fnn.tasks.multiclass(10)
model = fnn.serial(
    fnn.conv(32, 3, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.max_pool(2),
    fnn.conv(64, 3, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.max_pool(2),
    fnn.flatten(), fnn.dropout(0.3), fnn.dense(10),
)
x, y = photos[::10].arrays()
trained = fnn.load("model.safetensors", like=(model, x))
np.save("x.npy", x)
np.save("loaded.npy", fnn.predict(model, trained, x, task))
print(about.classes == photos.classes, fnn.evaluate(model, trained, photos.batches(256), task)["accuracy"] > 0.8)
"""


@pytest.mark.thorough
def test_images_streamed_from_disk_killed_resumed_saved_loaded_exported(tmp_path):
    """A run that is killed and goes on ends with the file of the unbroken run; other processes predict what it does."""
    for package in ("PIL", "sklearn", "flatbuffers"):
        pytest.importorskip(package)
    safetensors = pytest.importorskip("safetensors.numpy")
    script = (str(ROOT / "examples" / "image_folder.py"), "--epochs", "8", "--run")
    unbroken, kept = tmp_path / "unbroken", tmp_path / "killed"
    process(*script, str(unbroken), folder=tmp_path)
    killed_after_an_epoch(*script, str(kept), kept=kept)
    first = {path.name for path in kept.glob("checkpoints/*.npz")}
    assert not (kept / "model.safetensors").exists()
    process(*script, str(kept), folder=tmp_path)
    assert {path.name for path in kept.glob("checkpoints/*.npz")} != first
    ours, theirs = (safetensors.load_file(place / "model.safetensors") for place in (kept, unbroken))
    assert {name: array.tobytes() for name, array in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}
    assert process("-c", IMAGES, folder=kept) == "True True\n"
    process("-c", WITHOUT_FNN, folder=kept)
    np.testing.assert_array_equal(np.load(kept / "exported.npy"), np.load(kept / "loaded.npy"))


TORCH = """
import numpy as np, torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                      nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 4))
x = np.random.default_rng(0).normal(size=(128, 1, 8, 8)).astype(np.float32)
y = (x[:, 0, :4].mean((1, 2)) > 0) * 2 + (x[:, 0, :, :4].mean((1, 2)) > 0)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(40):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y.astype(int))).backward()
    optimizer.step()
torch.save(model.state_dict(), "theirs.pt")
np.savez("data.npz", x=x.transpose(0, 2, 3, 1), y=y, outputs=model.eval()(torch.tensor(x)).detach().numpy())
"""
TRANSFER = """
import jax, jax.numpy as jnp, numpy as np, torch, fnn
data = np.load("data.npz")
x, upper = data["x"], (data["y"] > 1).astype(int)
model = fnn.serial(fnn.conv(8, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2), fnn.flatten(), fnn.dense(16), fnn.relu,
                   fnn.dense(4))
brought = fnn.interop.from_torch(torch.load("theirs.pt", weights_only=True), model, x)
assert abs(fnn.predict(model, brought, x) - data["outputs"]).max() < 1e-4
*body, _ = model.parts
head, task = fnn.serial(*map(fnn.frozen, body), fnn.dense(2)), fnn.tasks.multiclass(2)
begin = fnn.transfer(jax.random.key(0), head, x, brought)
learned, history = fnn.fit(head, fnn.optim.adam(1e-2), task, (x, upper), key=jax.random.key(1), epochs=30,
                           start=begin.start, compute_dtype=jnp.bfloat16, progress=False)
assert jax.tree.all(jax.tree.map(np.array_equal, learned.state, begin.start.state))  # frozen: statistics too
assert {str(leaf.dtype) for leaf in jax.tree.leaves(learned)} == {"float32"}
assert history["accuracy"][-1] > 0.8 and history["loss"][-1] < history["loss"][0]
fnn.save("head.safetensors", learned, model=head, x=x)
fnn.export(head, learned, x, task, path="model.jax")
np.save("x.npy", x)
np.save("here.npy", fnn.predict(head, learned, x, task))
"""


def test_a_torch_network_brought_here_frozen_given_a_head_trained_in_bfloat16(tmp_path):
    for package in ("torch", "safetensors", "flatbuffers"):
        pytest.importorskip(package)
    for script in (TORCH, TRANSFER, WITHOUT_FNN):
        process("-c", script, folder=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "exported.npy"), np.load(tmp_path / "here.npy"))
