"""Argument checks: what was expected, what came, what to write instead.

Every check names the function it speaks for (`where`). A value that is being traced by JAX cannot be
compared and passes unchecked, so that rates, decays and learning rates may be `vmap`ped or differentiated.
"""

from fnn.checks.arrays import floating, images, looks_channels_first, rank, same_features, same_shape
from fnn.checks.host import (
    LostDigits,
    allocate,
    as_numbers,
    cast,
    describe_lost_digits,
    find_lost_digits,
    host_cast,
    is_coarse,
    own,
    place_of,
)
from fnn.checks.pickling import refuse_pickling
from fnn.checks.settings import (
    function,
    in_range,
    integer,
    keeps_some,
    number_or_schedule,
    one_of,
    random_key,
    require_key,
    schedule,
)
from fnn.checks.words import describe, is_concrete, name_of, not_an_array, to_host, warn

__all__ = [
    "LostDigits",
    "allocate",
    "as_numbers",
    "cast",
    "describe",
    "describe_lost_digits",
    "find_lost_digits",
    "floating",
    "function",
    "host_cast",
    "images",
    "in_range",
    "integer",
    "is_coarse",
    "is_concrete",
    "keeps_some",
    "looks_channels_first",
    "name_of",
    "not_an_array",
    "number_or_schedule",
    "one_of",
    "own",
    "place_of",
    "random_key",
    "rank",
    "refuse_pickling",
    "require_key",
    "same_features",
    "same_shape",
    "schedule",
    "to_host",
    "warn",
]
