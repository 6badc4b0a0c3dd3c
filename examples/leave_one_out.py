"""Leave-one-out: as many networks as rows, each tested on the row it did not see, all in one compiled program.

Claim: iris 95.3 %, wine 98.3 %, breast cancer 97.5 %; 150 to 569 networks in 3 to 7 s with compilation.
Run:   python examples/leave_one_out.py [--data iris wine breast_cancer] [--epochs N]
"""

import argparse
import time
import warnings

import jax
import numpy as np
import sklearn.datasets
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fnn

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", nargs="+", default=["iris", "wine", "breast_cancer"], help="data sets of scikit-learn")
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--peer-rows", type=int, default=40, help="rows scikit-learn is timed on; its time is scaled up")
options = parser.parse_args()

print("data set       networks  accuracy     fnn  scikit-learn, all cores (scaled up)")
for name in options.data:
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    x, classes = x.astype(np.float32), int(y.max()) + 1
    began = time.perf_counter()
    found = fnn.selection.cross_validate(
        fnn.models.mlp((16,), classes),
        fnn.optim.adam(1e-2),
        fnn.tasks.multiclass(classes),
        (x, y),
        key=jax.random.key(0),
        folds=fnn.selection.leave_one_out(len(x)),
        epochs=options.epochs,
        scaler=fnn.data.standard_scaler(),
        progress=False,
    )
    seconds = time.perf_counter() - began

    peer = MLPClassifier((16,), learning_rate_init=1e-2, batch_size=32, max_iter=options.epochs, alpha=0, tol=0)
    splits = list(LeaveOneOut().split(x))[:: max(1, len(x) // options.peer_rows)]
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it has not converged in so few epochs
        cross_val_score(make_pipeline(StandardScaler(), peer), x, y, cv=splits, n_jobs=-1)
    peer_seconds = (time.perf_counter() - began) * len(x) / len(splits)
    accuracy = found.mean("accuracy")[0]
    print(f"{name:13}  {len(x):8d}  {accuracy:8.2%}  {seconds:4.1f} s  {peer_seconds:6.1f} s", flush=True)
