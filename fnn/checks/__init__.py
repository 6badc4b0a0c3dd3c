"""Argument checks: what was expected, what came, what to write instead.

Every check names the function it speaks for (`where`). A value that is being traced by JAX cannot be
compared and passes unchecked, so that rates, decays and learning rates may be `vmap`ped or differentiated.
What a file here defines without an underscore is called `checks.…` in the other rooms.
"""
# ruff: noqa: F403

from fnn.checks.arrays import *
from fnn.checks.files import *
from fnn.checks.host import *
from fnn.checks.pickling import *
from fnn.checks.rows import *
from fnn.checks.settings import *
from fnn.checks.words import *
