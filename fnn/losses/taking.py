"""What a loss takes is stated on the loss itself, for those who pair it with a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Loss = TypeVar("Loss", bound=Callable[..., Any])


def takes(kind: str) -> Callable[[Loss], Loss]:
    """Decorate a loss that takes "logits", "probabilities" or "log_probabilities"."""

    def state(loss: Loss) -> Loss:
        loss.takes = kind  # type: ignore[attr-defined]
        return loss

    return state
