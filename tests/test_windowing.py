"""Windows of a series: every step in its place, none from the future."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fnn


@given(
    time=st.integers(4, 30),
    features=st.sampled_from([None, 1, 3]),
    length=st.integers(1, 6),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 5),
)
def test_windows_are_the_loop(time, features, length, horizon, stride):
    series = np.arange(time) if features is None else np.arange(time * features).reshape(time, features)
    if time < length + horizon:
        with pytest.raises(ValueError, match="length \\+ horizon"):
            fnn.data.windows(series, length, horizon=horizon, stride=stride)
        return
    x, y = fnn.data.windows(series, length, horizon=horizon, stride=stride)
    begins = [b for b in range(0, time, stride) if b + length + horizon <= time]
    assert x.shape == (len(begins), length, features or 1)
    for row, begin in enumerate(begins):
        np.testing.assert_array_equal(x[row], series[begin : begin + length].reshape(length, -1))
        np.testing.assert_array_equal(y[row], series[begin + length : begin + length + horizon])


def test_windows_keep_the_dtype_and_copy():
    series = np.arange(6, dtype=np.float16)
    x, y = fnn.data.windows(series, 2)
    assert (x.dtype, y.dtype) == (np.float16, np.float16)
    series[:] = -1
    assert x.min() >= 0


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        (np.zeros((2, 2, 2)), {"length": 1}, "expected a series"),
        (5.0, {"length": 1}, "expected a series"),
        ([1, 2, 3], {"length": 0}, "length"),
        ([1, 2, 3], {"length": 1, "stride": 0}, "stride"),
        ([1, 2, 3], {"length": 1, "horizon": 0}, "horizon"),
        ([], {"length": 1}, "at least length"),
    ],
)
def test_misuse(series, options, message):
    with pytest.raises(ValueError, match=message):
        fnn.data.windows(series, **options)
