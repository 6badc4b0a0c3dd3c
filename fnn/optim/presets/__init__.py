"""The update rules of other frameworks and of the textbooks, step for step.

`presets.torch` and `presets.keras` take the arguments of those frameworks' optimizers under their names, in their order
and with their defaults, so that a call can be copied; `presets.textbook` has the forms that courses write down.
`fnn.optim` itself follows optax.
"""

from fnn.optim.presets import keras, textbook, torch

__all__ = ["keras", "textbook", "torch"]
