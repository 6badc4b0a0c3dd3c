"""Handwritten digits, 8×8 pixels: a convolutional network learns 1,437 images and reads the other 360.

Claim: test accuracy at least 98.5 % in under a minute; 98.9 to 100 % measured, 99.6 % on average (five runs, each
       with its own split and key; 25,978 parameters), 10 to 22 s with compilation on two cores shared with other work.
Run:   python examples/digits_cnn.py [--epochs N] [--plot PREFIX]
"""

import argparse
import time

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fnn
import fnn.plot

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--plot", metavar="PREFIX", help="save PREFIX_confusion.png, _filters.png, _misclassified.png")
options = parser.parse_args()

digits = load_digits()
x = (digits.images[..., None] / 16).astype(np.float32)  # pixels 0 … 16 -> 0 … 1, one channel
x_train, x_test, y_train, y_test = train_test_split(
    x, digits.target, test_size=0.2, stratify=digits.target, random_state=0
)

task = fnn.tasks.multiclass(10)
model = fnn.serial(
    fnn.conv(16, 3, use_bias=False), fnn.batch_norm(), fnn.relu,
    fnn.conv(32, 3, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.max_pool(2),
    fnn.conv(64, 3, use_bias=False), fnn.batch_norm(), fnn.relu, fnn.max_pool(2),
    fnn.flatten(), fnn.dropout(0.3), fnn.dense(10),
)  # fmt: skip

steps = -(-len(x_train) // 32) * options.epochs
began = time.perf_counter()
trained, history = fnn.fit(
    model, fnn.optim.adam(fnn.schedules.cosine_decay_schedule(3e-3, steps)), task, (x_train, y_train),
    key=jax.random.key(0), epochs=options.epochs, batch_size=32, augment=fnn.data.random_shift(0.5),
)  # fmt: skip
seconds = time.perf_counter() - began

predicted = np.asarray(fnn.predict(model, trained, x_test, task))
wrong = np.flatnonzero(predicted != y_test)
print(f"{sum(leaf.size for leaf in jax.tree.leaves(trained.params)):,} parameters, {len(wrong)} of {len(y_test)} wrong")
print(f"test accuracy {np.mean(predicted == y_test):.2%} after {history['epochs']} epochs, {seconds:.1f} s")

if options.plot:
    matrix = fnn.metrics.confusion_matrix(predicted, y_test, 10)
    fnn.plot.confusion_matrix(matrix).savefig(f"{options.plot}_confusion.png", dpi=150)
    fnn.plot.filters(trained.params[0]["kernel"]).savefig(f"{options.plot}_filters.png", dpi=150)
    if len(wrong):  # a good run may leave none to show
        fnn.plot.misclassified(x_test, y_test, predicted).savefig(f"{options.plot}_misclassified.png", dpi=150)
