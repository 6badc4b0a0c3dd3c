"""Argument checks: what was expected, what came, what to write instead.

Every check names the function it speaks for (`where`). A value that is being traced by JAX cannot be
compared and passes unchecked, so that rates, decays and learning rates may be `vmap`ped or differentiated.
"""

from fnn.checks.arrays import as_initialised, floating, images, looks_channels_first, rank, same_shape
from fnn.checks.host import aligned, arrived, cast, host_cast, lost, own, place_of, said_of_lost
from fnn.checks.settings import (
    function,
    in_range,
    integer,
    keeps_some,
    key_given,
    number_or_schedule,
    one_of,
    random_key,
    schedule,
)
from fnn.checks.words import called, describe, is_concrete, known, not_an_array, warn

__all__ = [
    "aligned",
    "arrived",
    "as_initialised",
    "called",
    "cast",
    "describe",
    "floating",
    "function",
    "host_cast",
    "images",
    "in_range",
    "integer",
    "is_concrete",
    "keeps_some",
    "key_given",
    "known",
    "looks_channels_first",
    "lost",
    "not_an_array",
    "number_or_schedule",
    "one_of",
    "own",
    "place_of",
    "random_key",
    "rank",
    "said_of_lost",
    "same_shape",
    "schedule",
    "warn",
]
