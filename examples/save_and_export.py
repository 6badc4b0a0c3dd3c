"""From training to a program that needs neither this code nor fnn, through two other processes.

Claim: a small CNN learns the digits to over 97%; loaded by a second process, and run by a third in which fnn cannot be
       imported, it gives the same class for every one of 360 test images.
Needs: safetensors and flatbuffers, pip install -e ".[train,data,save,export]"
Run:   python examples/save_and_export.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from sklearn.datasets import load_digits

import fnn

task = fnn.tasks.multiclass(10)
model = fnn.serial(
    fnn.conv(16, 3), fnn.batch_norm(), fnn.relu, fnn.max_pool(2),
    fnn.conv(32, 3), fnn.batch_norm(), fnn.relu, fnn.global_avg_pool(), fnn.dense(10),
)  # fmt: skip
WITHOUT_FNN = """
import sys
sys.modules["fnn"] = None  # as where it is not installed
import jax.export, numpy as np
program = jax.export.deserialize(bytearray(open("digits.jax", "rb").read()))
np.save("exported.npy", program.call(np.load("x.npy")))
"""

if len(sys.argv) > 1:  # the second process: these lines build the model, the file brings the rest
    folder = Path(sys.argv[1])
    x, about = np.load(folder / "x.npy"), fnn.read_metadata(folder / "digits.safetensors")
    scaler, statistics = about.scaler
    trained = fnn.load(folder / "digits.safetensors", like=(model, x))
    np.save(folder / "loaded.npy", fnn.predict(model, trained, scaler.transform(statistics, x), task))
    sys.exit()

x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8, 1).astype(np.float32)
train, test = (rows[0] for rows in fnn.selection.hold_out(len(x), 0.2, stratify=y))
scaler = fnn.data.min_max_scaler()
statistics = scaler.fit(x[train])
run = fnn.trainer(model, fnn.optim.adam(3e-3), task, epochs=15, batch_size=64)
trained, _ = run(jax.random.key(0), (scaler.transform(statistics, x[train]), y[train]))
here = fnn.predict(model, trained, scaler.transform(statistics, x[test]), task)
print(f"test accuracy {100 * np.mean(here == y[test]):.1f}%")

folder = Path(tempfile.mkdtemp())
np.save(folder / "x.npy", x[test])
fnn.save(folder / "digits.safetensors", trained, model=model, x=x[:1], scaler=(scaler, statistics))
fnn.export(model, trained, x[:1], task, path=folder / "digits.jax", scaler=(scaler, statistics))
subprocess.run([sys.executable, __file__, folder], check=True)
subprocess.run([sys.executable, "-c", WITHOUT_FNN], cwd=folder, check=True)
for name in ("loaded", "exported"):
    print(f"{name}: {np.sum(np.load(folder / f'{name}.npy') == here)} of {len(here)} classes the same")
