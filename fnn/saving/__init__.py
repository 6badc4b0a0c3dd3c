"""Trained models that leave the process: files of their arrays, and programs that run without fnn."""

from fnn.saving.exported import Exported, export, load_exported
from fnn.saving.model import Metadata, load, read_metadata, save

__all__ = ["Exported", "Metadata", "export", "load", "load_exported", "read_metadata", "save"]
