"""Which descriptions are the same program: compiled once, found again by value, bounded in number."""

from fnn.programs.fingerprint import fingerprint
from fnn.programs.store import LIMIT, Info, clear, compile, info, remember
from fnn.programs.walk import Unknown

__all__ = ["LIMIT", "Info", "Unknown", "clear", "compile", "fingerprint", "info", "remember"]
