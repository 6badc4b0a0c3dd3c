"""What the numbers of a diagnosis mean, and what to try: the rules of thumb, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

DEAD, SATURATED = 0.1, 0.5
"""Shares of units and of outputs from which it is worth a word."""
GRADIENT, SPREAD = 100.0, 100.0
"""By how much gradients and outputs may shrink or grow from the first layer to the last."""
STEP = 1e-5, 0.1
"""What a step may be relative to the parameters."""


def advice_on(layers: Sequence[str], seen: Mapping[str, np.ndarray]) -> list[str]:
    """Lines that say what is wrong where, and what to try."""
    numbers = ~np.isnan(seen["zeros"])  # of a layer that gives integers there is neither mean nor gradient
    if not all(np.isfinite(seen[name][numbers]).all() for name in ("mean", "gradient")):
        return ["some numbers are not finite: fnn.diagnostics.explain_divergence says where they first are not"]
    return [*_units(layers, seen), *_depths(layers, seen), *_steps(layers, seen)]


def _units(layers: Sequence[str], seen: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name, dead, saturated in zip(layers, seen["dead"], seen["saturated"], strict=True):
        if dead >= DEAD:
            yield (
                f"{name}: {dead:.0%} of units are dead, flat for all rows: try leaky_relu or elu, a smaller learning "
                "rate, initializers.he_normal"
            )
        elif saturated >= SATURATED:
            yield (
                f"{name}: {saturated:.0%} of outputs are saturated: try a norm before it, initializers.glorot_uniform "
                "(Xavier), scaled inputs, or relu"
            )


def _depths(layers: Sequence[str], seen: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Gradients and outputs, between the first layer that learns and the last."""
    learned = np.flatnonzero(seen["weight"] > 0)
    if len(learned) < 2:
        return
    first, last = learned[0], learned[-1]
    at_first, at_last = seen["gradient"][first], seen["gradient"][last]
    way = f"from {layers[last]} to {layers[first]}"
    if at_last == 0:
        yield "the loss has no gradient on this batch: nothing learns from it"
    elif at_first * GRADIENT < at_last:
        yield (
            f"gradients vanish, {at_first / at_last:.1g}-fold {way}: try tanh or relu for sigmoid, a norm, residual "
            "connections, He's or Glorot's (Xavier) initializer"
        )
    elif at_first > GRADIENT * at_last:
        yield (
            f"gradients explode, {at_first / at_last:.1g}-fold {way}: try He's or Glorot's (Xavier) initializer, a "
            "norm, optim.clip_by_global_norm"
        )
    spread = seen["spread"][learned]
    ratios = spread[1:] / spread[0] if spread[0] else ()
    for place, ratio in zip(learned[1:], ratios, strict=False):
        if not 1 / SPREAD <= ratio <= SPREAD:
            word = "shrink" if ratio < 1 else "grow"
            yield (
                f"outputs {word}, {ratio:.1g}-fold from {layers[first]} to {layers[place]}: try "
                "initializers.he_normal before relu, glorot_uniform (Xavier) before tanh, or a norm"
            )
            return


def _steps(layers: Sequence[str], seen: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name, step in zip(layers, seen["update"], strict=True):
        if step > STEP[1]:
            yield f"{name}: a step changes it by {step:.0%}: try a smaller learning rate"
        elif step < STEP[0]:
            yield f"{name}: a step changes it by {step:.1g} of its size: try a larger learning rate, if it lasts"
