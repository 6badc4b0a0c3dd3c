"""Optimizers: transforms from gradients to updates."""

from fnn.optim.transform import EmptyState, Transform, apply_updates, chain, identity

__all__ = ["EmptyState", "Transform", "apply_updates", "chain", "identity"]
