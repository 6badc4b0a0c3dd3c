"""A character language model: an LSTM reads a text symbol by symbol and learns to write in its manner.

Claim: at most 1.60 nats per character on the last tenth of Tiny Shakespeare, in windows that begin without memory;
       1.523 measured (one run, key 0, 512 units, 10 epochs), 800 s on two cores shared with other work.
Run:   python examples/char_lm.py [--text FILE] [--features 512] [--epochs 10] [--plot curves.png]
"""

import argparse
import codecs
import contextlib
import io
import math
import time
from pathlib import Path

import jax
import numpy as np

import fnn
import fnn.plot

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--text", metavar="FILE", help="what to learn from; the Zen of Python by default")
parser.add_argument("--features", type=int, default=512, help="hidden units of the LSTM")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--window", type=int, default=128, help="steps of back-propagation through time")
parser.add_argument("--temperature", type=float, default=0.8, help="of the samples: 0 always the likeliest symbol")
parser.add_argument("--plot", metavar="PNG", help="save the learning curves")
options = parser.parse_args()

if options.text:
    text = Path(options.text).read_text()
else:
    with contextlib.redirect_stdout(io.StringIO()):
        import this  # Python's own text, in rot13; importing it prints it
    text = 30 * (codecs.decode(this.s, "rot13") + "\n")

symbols = sorted(set(text))
numbers = np.searchsorted(symbols, list(text)).astype(np.int32)


def windows(part):
    """Rows of text, and the same rows one symbol later."""
    count = (len(part) - 1) // options.window
    end = count * options.window
    return part[:end].reshape(count, -1), part[1 : end + 1].reshape(count, -1)


cut = int(0.9 * len(numbers))
train, validation = windows(numbers[:cut]), windows(numbers[cut:])
sizes = dict(features=(options.features,), dropout=0.3)
model = fnn.models.language_model(len(symbols), **sizes)
writer = fnn.models.language_model(len(symbols), **sizes, stateful=True)  # the same parameters, with a memory
batch = min(64, len(train[0]))
steps = options.epochs * math.ceil(len(train[0]) / batch)
prompt = np.searchsorted(symbols, list("\n"))[None]


def show(end):
    """A sample after every epoch."""
    written = fnn.models.generate(
        writer, end.train_state.params, jax.random.key(end.epoch), prompt, 200, temperature=options.temperature
    )
    loss = end.row["validation_loss"]
    print(f"\n--- epoch {end.epoch + 1}: validation {loss:.3f} nats per character, perplexity {math.exp(loss):.2f}")
    print("".join(symbols[number] for number in np.asarray(written[0])), flush=True)


began = time.perf_counter()
trained, history = fnn.fit(
    model,
    fnn.optim.chain(
        fnn.optim.clip_by_global_norm(1.0), fnn.optim.adam(fnn.schedules.cosine_decay_schedule(3e-3, steps))
    ),
    fnn.losses.softmax_cross_entropy,
    train,
    key=jax.random.key(0),
    epochs=options.epochs,
    batch_size=batch,
    validation=validation,
    callbacks=[show],
)
best = min(history["validation_loss"])
print(
    f"\n{len(symbols)} symbols, {len(train[0]):,} windows of {options.window}: validation {best:.3f} nats per character"
)
print(f"{time.perf_counter() - began:.0f} s with compilation and samples")
if options.plot:
    fnn.plot.learning_curves(history).savefig(options.plot, dpi=150)
    print(f"learning curves in {options.plot}")
