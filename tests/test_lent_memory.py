"""What is made of an array of NumPy's stays as it is where that array changes later."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import checks

SIZE = 4096


def aligned(dtype, fill):
    """An array that JAX would lend without a copy: it begins at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    raw = np.zeros(SIZE * dtype.itemsize + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    array = raw[offset : offset + SIZE * dtype.itemsize].view(dtype)
    array[:] = fill
    return array


def of_torch(bias):
    x, weight = jnp.ones((1, 1)), np.ones((SIZE, 1), np.float32)
    return fnn.interop.from_torch({"weight": weight, "bias": bias}, fnn.dense(SIZE), x).params["bias"]


MADE = {
    "cast": ("float32", lambda array: checks.cast("here", "x", array)),
    "cast to its dtype": ("int32", lambda array: checks.cast("here", "x", array, jnp.int32)),
    "values": ("float32", fnn.tasks.regression().encode),
    "classes": ("int32", fnn.tasks.multiclass(2).encode),
    "weights of torch": ("float32", of_torch),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_of_an_array_does_not_change_with_it(name):
    dtype, make = MADE[name]
    given = aligned(dtype, 1)
    made = jax.block_until_ready(make(given))
    before = np.array(made)
    given[:] = 0
    np.testing.assert_array_equal(np.array(made), before)
    assert before.any()


def test_predictions_from_a_buffer_that_is_filled_again_are_of_what_it_held():
    model = fnn.models.mlp((256, 256, 256), 4)
    buffer = aligned("float32", 0).reshape(-1, 2)
    trained = fnn.Trained(*model.init(jax.random.key(0), buffer))
    expected = [fnn.predict(model, trained, jnp.full(buffer.shape, float(fill))) for fill in range(10)]
    found = []
    for fill in range(10):
        buffer[:] = fill
        found.append(fnn.predict(model, trained, buffer))
    np.testing.assert_array_equal(found, expected)
