"""Packages that are not installed, and files that are not what they should be."""

from __future__ import annotations

import importlib
from typing import Any


def package(module: str, needs: str, name: str, extra: str) -> Any:
    """A module of a package that one of fnn's extras brings, imported where it is used."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{needs} needs {name}; run pip install "fnn[{extra}]"') from error


def not_readable(where: str, path: object, kind: str, why: object) -> ValueError:
    """The error about a file that cannot be read as a `kind`, with what its reader makes of it."""
    return ValueError(f"{where}: {path} is damaged or no {kind}: {str(why)[:200]}")


def not_as_written(where: str, path: object) -> ValueError:
    """The error about a file whose digest is another."""
    return ValueError(f"{where}: {path} is damaged: its content is not what was written; take another copy of the file")


def not_written_by(where: str, path: object, writer: str, why: str) -> ValueError:
    return ValueError(f"{where}: {path} was not written by {writer}: {why}")
