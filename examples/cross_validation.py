"""Cross-validation of a learning rate: 5 folds × 5 seeds × 6 rates, 150 networks, in one compiled program.

Claim: 97.6 % ± 0.8 % at the best of six rates; 150 networks in about 4 s with compilation.
Run:   python examples/cross_validation.py [--epochs N] [--seeds N] [--plot heat.png]
"""

import argparse
import time

import jax
import numpy as np
from sklearn.datasets import load_breast_cancer

import fnn
import fnn.plot

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--plot", metavar="PNG", help="save the heat map of accuracy by fold and rate")
options = parser.parse_args()

x, y = load_breast_cancer(return_X_y=True)
x = x.astype(np.float32)
rates = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]

began = time.perf_counter()
found = fnn.selection.cross_validate(
    fnn.models.mlp((16,), 2),
    fnn.optim.adam,
    fnn.tasks.multiclass(2),
    (x, y),
    key=jax.random.key(0),
    folds=5,
    seeds=options.seeds,
    over={"learning_rate": rates},
    epochs=options.epochs,
    scaler=fnn.data.standard_scaler(),  # fitted on the training rows of each fold
)
seconds = time.perf_counter() - began

best = found.best("accuracy")
place = found.settings.index(best)
print(found)
print(
    f"\nbest: learning rate {best['learning_rate']:g}, accuracy {found.mean('accuracy')[place]:.2%} ± "
    f"{found.standard_error('accuracy')[place]:.2%}; {found.diverged.size} networks in {seconds:.1f} s with compilation"
)
if options.plot:
    by_fold = found.scores["accuracy"].mean(axis=2).T  # (folds, rates)
    figure = fnn.plot.heat_map(by_fold, ("fold", range(1, 6)), ("learning rate", rates), "accuracy, mean over seeds")
    figure.savefig(options.plot, dpi=150)
    print(f"heat map in {options.plot}")
