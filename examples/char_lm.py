"""A character language model: an LSTM reads a text symbol by symbol and learns to write in its manner.

Claim: at most 1.60 nats per character on the last tenth of Tiny Shakespeare, in windows that begin without memory;
       1.523 measured (one run, key 0, 512 units, 10 epochs), 800 s on two cores shared with other work.
Run:   python examples/char_lm.py --text FILE [--features 512] [--epochs 10] [--plot curves.png]
"""

import argparse
import math
import time
from pathlib import Path

import jax
import numpy as np

import fnn
import fnn.plot

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--text", required=True, type=Path, metavar="FILE", help="what to learn from")
parser.add_argument("--features", type=int, default=512, help="hidden units of the LSTM")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--window", type=int, default=128, help="steps of back-propagation through time")
parser.add_argument("--plot", metavar="PNG", help="save the learning curves")
options, began = parser.parse_args(), time.perf_counter()

text = list(options.text.read_text())
symbols, cut = sorted(set(text)), int(0.9 * len(text))
numbers = np.searchsorted(symbols, text).astype(np.int32)


def windows(part):
    """Rows of text, and the same rows one symbol later."""
    end = (len(part) - 1) // options.window * options.window
    return part[:end].reshape(-1, options.window), part[1 : end + 1].reshape(-1, options.window)


train, validation = windows(numbers[:cut]), windows(numbers[cut:])
sizes = {"features": (options.features,), "dropout": 0.3}
model = fnn.models.language_model(len(symbols), **sizes)
writer = fnn.models.language_model(len(symbols), **sizes, stateful=True)  # the same parameters, with a memory
batch = min(64, len(train[0]))
rate = fnn.schedules.cosine_decay_schedule(3e-3, options.epochs * math.ceil(len(train[0]) / batch))
rule = fnn.optim.chain(fnn.optim.clip_by_global_norm(1.0), fnn.optim.adam(rate))


def show(end):
    """A sample after every epoch."""
    loss, key = end.row["validation_loss"], jax.random.key(end.epoch)
    written = fnn.models.generate(writer, end.train_state.params, key, numbers[None, :1], 200, temperature=0.8)
    print(f"\n--- epoch {end.epoch + 1}: validation {loss:.3f} nats per character, perplexity {math.exp(loss):.2f}")
    print("".join(symbols[number] for number in np.asarray(written[0])), flush=True)


given = {"key": jax.random.key(0), "epochs": options.epochs, "batch_size": batch, "callbacks": [show]}
_, history = fnn.fit(model, rule, fnn.losses.softmax_cross_entropy, train, validation=validation, **given)
print(f"\n{len(symbols)} symbols: validation {min(history['validation_loss']):.3f} nats per character")
print(f"{time.perf_counter() - began:.0f} s with compilation and samples")
if options.plot:
    fnn.plot.learning_curves(history).savefig(options.plot, dpi=150)
