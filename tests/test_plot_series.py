"""Figures over time: what is drawn, where, and under which names."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import fnn.plot


def test_curves_have_names_labels_and_a_level():
    figure = fnn.plot.curves(
        [1, 2, 3], {"LSTM": [3, 2, 1], "RNN": [3, 3, 3]}, xlabel="step", ylabel="error", level=(2.5, "mean")
    )
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "error")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["LSTM", "RNN", "mean"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3, 2, 1])
    assert set(axes.lines[2].get_ydata()) == {2.5}


def test_a_forecast_begins_where_the_past_ends():
    figure = fnn.plot.forecast([5, 6], [5.5, 6.5], [4, 5], [7, 8], before=[1, 2, 3], interval="80 % interval")
    (axes,) = figure.axes
    median, past = axes.lines
    np.testing.assert_array_equal(past.get_xdata(), [-3, -2, -1, 0, 1])
    np.testing.assert_array_equal(past.get_ydata(), [1, 2, 3, 5, 6])
    np.testing.assert_array_equal(median.get_xdata(), [0, 1])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["80 % interval", "forecast", "what came"]


def test_misuse():
    with pytest.raises(ValueError, match="at least one curve"):
        fnn.plot.curves([1], {}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="expected 2 points in 'a'"):
        fnn.plot.curves([1, 2], {"a": [1]}, xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="one length"):
        fnn.plot.forecast([1, 2], [1], [1], [1])
