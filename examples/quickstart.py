"""Handwritten digits: a small network learns 1,437 images and reads the other 360.

Claim: test accuracy at least 97 %; 98.1 % measured (one run, key 0), 8 s on two busy cores, compilation included.
Run:   python examples/quickstart.py [--plot curves.png]
"""

import argparse
import time

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fnn
import fnn.plot

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--plot", metavar="PNG", help="save the learning curves and the confusion matrix")
arguments.add_argument("--epochs", type=int, default=40)
options = arguments.parse_args()

x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)  # pixels 0 … 16 -> 0 … 1
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)

task = fnn.tasks.multiclass(10)
model = fnn.serial(
    fnn.dense(128), fnn.batch_norm(), fnn.relu, fnn.dropout(0.3),
    fnn.dense(64), fnn.batch_norm(), fnn.relu, fnn.dropout(0.3),
    fnn.dense(10),
)  # fmt: skip
print(fnn.summary(model, x_train[:1]), end="\n\n")

steps = -(-len(x_train) // 32) * options.epochs
began = time.perf_counter()
trained, history = fnn.fit(
    model,
    fnn.optim.adam(fnn.schedules.cosine_decay_schedule(3e-3, steps)),
    task,
    (x_train, y_train),
    key=jax.random.key(0),
    epochs=options.epochs,
    batch_size=32,
    validation=(x_test, y_test),
)
seconds = time.perf_counter() - began

predicted = fnn.predict(model, trained, x_test, task)
matrix = np.asarray(fnn.metrics.confusion_matrix(predicted, y_test, 10))
print("\ndigit  images  right")
for digit in range(10):
    print(f"{digit:5d}  {matrix[digit].sum():6d}  {matrix[digit, digit] / matrix[digit].sum():6.1%}")
accuracy = float(fnn.evaluate(model, trained, (x_test, y_test), task)["accuracy"])
print(f"test accuracy {accuracy:.2%} after {history['epochs']} epochs, {seconds:.1f} s with compilation")

if options.plot:
    fnn.plot.learning_curves(history).savefig(options.plot, dpi=150)
    fnn.plot.confusion_matrix(matrix).savefig(options.plot.removesuffix(".png") + "_confusion.png", dpi=150)
    print(f"learning curves in {options.plot}")
