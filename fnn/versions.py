"""Version facts: fnn's own, and the versions of JAX that its tests run with."""

from __future__ import annotations

import jax
import jaxlib

from fnn import checks

__all__ = ["TESTED", "__version__", "check"]

__version__ = "0.1.0"
TESTED = ">=0.10.2,!=0.11.1,<0.13"
"""What pyproject.toml declares of jax and jaxlib."""
_OLDEST, _BELOW = (0, 10, 2), (0, 13)
_FAULTY = {(0, 11, 1): "it copies whole buffers for small updates in loops"}


def check(package: str, version: str) -> None:
    """Warn of a version that the tests do not run with."""
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())
    if numbers in _FAULTY:
        reason = _FAULTY[numbers]
    elif not _OLDEST <= numbers < _BELOW:
        reason = f"it is {'older' if numbers < _OLDEST else 'newer'} than what fnn {__version__} was tested with"
    else:
        return
    checks.warn(
        f"fnn: expected {package}{TESTED}, got {package} {version}: {reason}; calls may fail or give other numbers. "
        f'Install a tested one: pip install "jax{TESTED}" "jaxlib{TESTED}"'
    )


check("jax", jax.__version__)
check("jaxlib", jaxlib.__version__)
