"""Trained models that leave the process: files of their arrays."""

from fnn.saving.model import Metadata, load, read_metadata, save

__all__ = ["Metadata", "load", "read_metadata", "save"]
