"""Fashion-MNIST: clothes in ten classes, by a small network or a larger one.

Claim: small, 75,498 parameters, at least 92.5 %, the mark published for two convolutions and under 100,000 parameters;
       92.82 % measured (one run, key 0, 14 epochs), 814 s on two cores shared with other work. The settings were chosen
       by 93.16 % on 5,000 training rows held out; one other network had been shown the test set before (90.60 %).
       large, 278,890 parameters: 93.46 % measured (one run, key 0, 14 epochs, its first on the test set), 1,036 s on
       two cores shared with other work. 93.4 % is published for a larger net with augmentation; the difference is
       less than the standard error of 10,000 test images, 0.25 %.
Run:   python examples/fashion_mnist.py --data DIR [--config small|large] [--plot PREFIX]
"""

import argparse
import time

import jax
import numpy as np

import fnn
import fnn.plot

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", required=True, metavar="DIR", help="directory of the four idx files, plain or .gz")
parser.add_argument("--config", choices=("small", "large"), default="small")
parser.add_argument("--epochs", type=int, default=14)
parser.add_argument("--plot", metavar="PREFIX", help="save PREFIX_confusion.png, _filters.png, _misclassified.png")
options = parser.parse_args()
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def block(*features):
    return (part for size in features for part in (fnn.conv(size, 3, use_bias=False), fnn.batch_norm(), fnn.relu))


large = fnn.serial(
    *block(32), fnn.max_pool(2), *block(64, 64), fnn.max_pool(2), *block(128, 128),
    fnn.global_avg_pool(), fnn.dropout(0.2), fnn.dense(len(NAMES)),
)  # fmt: skip
model = fnn.models.small_cnn(len(NAMES), dropout=0.1) if options.config == "small" else large
try:
    images, labels, test_images, test_labels = fnn.data.load_mnist(options.data)
except FileNotFoundError as error:
    parser.error(str(error))
x, x_test = (((part - images.mean()) / images.std()).astype(np.float32) for part in (images, test_images))
task = fnn.tasks.multiclass(len(NAMES))
rate = fnn.schedules.cosine_onecycle_schedule(-(-len(x) // 128) * options.epochs, 5e-3)
began = time.perf_counter()
trained, history = fnn.fit(
    model, fnn.optim.adam(rate), task, (x, labels), key=jax.random.key(0), epochs=options.epochs, batch_size=128,
    augment=fnn.data.compose(fnn.data.random_flip(), fnn.data.random_crop(2)),
)  # fmt: skip
seconds = time.perf_counter() - began
predicted = np.asarray(fnn.predict(model, trained, x_test, task))
print(f"{options.config}: {sum(leaf.size for leaf in jax.tree.leaves(trained.params)):,} parameters")
print(f"test accuracy {np.mean(predicted == test_labels):.2%} after {history['epochs']} epochs, {seconds:.0f} s")
if options.plot:
    matrix = fnn.metrics.confusion_matrix(predicted, test_labels, len(NAMES))
    shown = fnn.plot.misclassified(test_images, test_labels, predicted, NAMES)
    fnn.plot.confusion_matrix(matrix, NAMES).savefig(f"{options.plot}_confusion.png", dpi=150)
    fnn.plot.filters(trained.params[0]["kernel"]).savefig(f"{options.plot}_filters.png", dpi=150)
    shown.savefig(f"{options.plot}_misclassified.png", dpi=150)
