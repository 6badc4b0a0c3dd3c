"""Argument checks: what was expected, what came, what to write instead.

Every check names the function it speaks for (`where`). A value that is being traced by JAX cannot be
compared and passes unchecked, so that rates, decays and learning rates may be `vmap`ped or differentiated.
"""
# ruff: noqa: F401

from fnn.checks.arrays import (
    CHANNELS_LAST,
    divisible,
    floating,
    halves,
    images,
    integers,
    least_rank,
    looks_channels_first,
    mask,
    rank,
    reshape,
    same_features,
    same_shape,
    wrong_shape,
)
from fnn.checks.files import not_as_written, not_readable, not_written_by, package
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
)
from fnn.checks.pickling import BY_THE_SAME_CALL, refuse_pickling
from fnn.checks.rows import (
    AS_NUMBERS,
    IN_FLOAT64,
    WITHOUT_IT,
    at_least_one,
    every_value,
    no_class,
    no_weight,
    one_array,
    one_per_row,
    one_weight_per_row,
    parts_of_data,
    place_of,
    row_numbers,
)
from fnn.checks.settings import (
    function,
    in_range,
    instance,
    integer,
    keeps_some,
    not_one,
    number_or_schedule,
    one_of,
    random_key,
    require_key,
    schedule,
    sequence,
)
from fnn.checks.words import are_known, describe, is_concrete, name_of, not_an_array, to_host, warn
