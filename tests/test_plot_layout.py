"""Figures are looked at: nothing lies on anything else, labels say what they are, whatever the data are."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from figure_boxes import drawn, faults

import fnn.plot
from fnn.plot.canvas import PALETTE

RNG = np.random.default_rng(0)
FALLING = 1 / np.arange(1, 41)
HISTORY = {"loss": FALLING, "validation_loss": FALLING + 0.1, "validation_accuracy": 1 - FALLING}
NAMES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
WALK = 300 + np.cumsum(RNG.normal(size=200))
SCORES = {"loss": 0.5 + 0.1 * RNG.random((4, 5, 2))}


def searched(values):
    ones = np.ones((4, 5, 2), int)
    settings = tuple({"learning_rate": value} for value in values)
    parts = SCORES, SCORES, {}, ones, ones < 1, ones > 0, ones, ones[:, 0, 0]
    return fnn.selection.CrossValidation(settings, *parts)


def forecast(steps, **labels):
    came = WALK[:steps]
    return fnn.plot.forecast(
        came, came + 1, came - 5, came + 5, before=WALK[-steps:], ylabel="passengers, thousands", **labels
    )


FIGURES = {
    "learning curves": lambda: fnn.plot.learning_curves(HISTORY),
    "a rate that falls": lambda: fnn.plot.learning_curves(HISTORY | {"learning_rate": FALLING * 1e-3}),
    "one loss": lambda: fnn.plot.learning_curves({"loss": FALLING * 1e-5}),
    "four metrics": lambda: fnn.plot.learning_curves(HISTORY | {"f1": FALLING, "validation_precision": FALLING}),
    "confusion, names": lambda: fnn.plot.confusion_matrix(RNG.integers(6000, size=(10, 10)), NAMES),
    "confusion, two": lambda: fnn.plot.confusion_matrix([[50_000, 1], [0, 49_999]]),
    "curves": lambda: fnn.plot.curves(
        np.arange(9), {f"a network of {k} layers": np.arange(9) * k for k in range(9)}, xlabel="step", ylabel="loss",
        level=(20, "always the mean"),
    ),
    "curves, all that can be told apart": lambda: fnn.plot.curves(
        np.arange(9), {f"a network of {k} layers, trained without decay": np.arange(9) * k for k in range(28)},
        xlabel="step", ylabel="loss",
    ),
    "curves, 200": lambda: fnn.plot.curves(
        np.arange(9), {f"run {k}": np.arange(9) * k for k in range(200)}, xlabel="step", ylabel="loss",
        level=(20, "always the mean"),
    ),
    "confusion, millions": lambda: fnn.plot.confusion_matrix(np.full((4, 4), 123_456_789), range(4)),
    "confusion, long names": lambda: fnn.plot.confusion_matrix(
        RNG.integers(60, size=(4, 4)), [f"a class whose name is of fifty letters, number {k}" for k in range(4)]
    ),
    "confusion, two long names": lambda: fnn.plot.confusion_matrix(
        RNG.integers(60, size=(2, 2)), [f"a class whose name is of fifty letters, number {k}" for k in range(2)]
    ),
    "heat map, geometric": lambda: fnn.plot.heat_map(
        1e-5 * RNG.random((5, 7)), ("decay", np.geomspace(1e-6, 1, 5)), ("rate", np.geomspace(1e-5, 0.1, 7)), "loss"
    ),
    "heat map, long names": lambda: fnn.plot.heat_map(
        RNG.random((2, 2)), ("model", [f"a network of long name, with dropout {k}" for k in range(2)]),
        ("data", [f"a data set of long name, augmented {k}" for k in range(2)]), "loss",
    ),
    "one epoch": lambda: fnn.plot.learning_curves({"loss": [0.5], "validation_loss": [0.6]}),
    "forecast": lambda: forecast(36, xlabel="months since the end of the training part", interval="80 % interval"),
    "long forecast": lambda: forecast(180),
    "heat map": lambda: fnn.plot.heat_map(
        RNG.random((5, 6)), ("fold", range(1, 6)), ("learning rate", [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]), "accuracy"
    ),
    "images with names": lambda: fnn.plot.misclassified(
        RNG.random((30, 28, 28)), np.arange(30) % 10, (np.arange(30) + 9) % 10, NAMES
    ),
    "images with long titles": lambda: fnn.plot.image_grid(RNG.random((6, 8, 8)), ["of forty letters " * 3] * 6),
    "one image": lambda: fnn.plot.image_grid(RNG.random((1, 8, 8)), ["7"]),
    "filters": lambda: fnn.plot.filters(RNG.normal(size=(3, 3, 1, 20))),
    "filters of colours": lambda: fnn.plot.filters(RNG.normal(size=(5, 5, 3, 16))),
    "range of rates": lambda: fnn.plot.rate_range(
        fnn.selection.RateRange(np.geomspace(1e-6, 10, 9), 0.5 + RNG.random((9, 3, 40)))
    ),
    "score by size": lambda: fnn.plot.score_by_size(
        fnn.selection.LearningCurve(np.array([100, 200, 400, 800]), SCORES, SCORES)
    ),
    "validation curve": lambda: fnn.plot.validation_curve(searched([1e-4, 1e-3, 1e-2, 1e-1]), "learning_rate"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_overlaps_or_is_cut_off(name):
    figure = FIGURES[name]()
    assert faults(figure) == []
    width, height = figure.get_size_inches()
    assert 1 <= width <= 20, "inches"
    assert 1 <= height <= 20, "inches"


def test_the_boxes_see_what_overlaps():
    figure = fnn.plot.learning_curves(HISTORY)
    figure.axes[0].legend(loc="upper right")
    figure.axes[1].text(0.5, 0.5, "one", transform=figure.axes[1].transAxes)
    figure.axes[1].text(0.5, 0.5, "two", transform=figure.axes[1].transAxes)
    figure.axes[1].text(1.5, 0.5, "out", transform=figure.axes[1].transAxes).set_in_layout(False)
    assert faults(figure) == ["'one' on 'two'", "'out' outside the sheet", "a legend on a panel"]


def test_every_panel_says_which_curve_is_training_and_which_validation():
    figure = fnn.plot.learning_curves(HISTORY)
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy, validation")
    assert [(line.get_label(), line.get_color()) for line in loss.lines] == [
        ("training", PALETTE[0]),
        ("validation", PALETTE[1]),
    ]
    assert [(line.get_label(), line.get_color()) for line in accuracy.lines] == [("validation", PALETTE[1])]
    rate = fnn.plot.learning_curves(HISTORY | {"learning_rate": FALLING}).axes[-1]
    assert (rate.get_ylabel(), rate.get_legend()) == ("learning rate", None)
    lines = fnn.plot.validation_curve(searched([1, 2, 3, 4]), "learning_rate").axes[0].lines
    colors = {line.get_label().split(",")[0]: line.get_color() for line in lines}
    assert colors == {"training": PALETTE[0], "validation": PALETTE[1]}, "the same in every figure"


def test_what_came_lies_over_the_forecast():
    axes = drawn(forecast(36)).axes[0]
    came = next(line for line in axes.lines if line.get_label() == "what came")
    others = [line for line in axes.lines if line is not came]
    assert all(came.get_linewidth() >= line.get_linewidth() for line in others)
    assert axes.lines[-1] is came, "drawn last"


def shown(line):
    """The places of a line at which something is drawn for a point alone."""
    return line.get_markevery() if line.get_marker() == "o" else None


def test_a_point_without_a_neighbour_has_a_marker():
    assert shown(fnn.plot.learning_curves({"loss": [0.5]}).axes[0].lines[0]) == [0]
    assert shown(fnn.plot.learning_curves({"loss": [0.5, 0.4]}).axes[0].lines[0]) is None
    values = [1, np.nan, 2, np.inf, 3, 4, np.nan, 5]
    figure = fnn.plot.curves(range(8), {"a": values}, xlabel="x", ylabel="y", level=(2, "mean"))
    assert [shown(line) for line in figure.axes[0].lines] == [[0, 2, 7], None]
    axes = fnn.plot.forecast([1], [1], [0], [3]).axes[0]
    assert [shown(line) for line in axes.lines] == [[0], [0]]
    np.testing.assert_array_equal(axes.collections[1].get_segments(), [[[0, 0], [0, 3]]])


def test_curves_that_would_look_alike_have_no_names():
    figure = FIGURES["curves, 200"]()
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["always the mean"]
    many = {str(k): [1, 2] for k in range(29)}
    assert fnn.plot.curves([1, 2], many, xlabel="x", ylabel="y").axes[0].get_legend() is None


def test_the_numbers_of_a_heat_map_are_read():
    def written(values, names=(0.1, 0.00046415888336127773)):
        axes = fnn.plot.heat_map(values, ("a", [1]), ("b", names), "loss").axes[0]
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        return [text.get_text() for text in axes.texts], [text.get_color() for text in axes.texts], ticks

    assert written([[1.234e-5, 2e-5]]) == (["1.23e-05", "2e-05"], ["white", "black"], ["0.1", "0.000464"])
    cells = written([[1.0, 2.0, np.inf]], [0.1, 0.10000001, 12345])
    assert cells == (["1.000", "2.000"], ["white", "black"], ["0.1", "0.10000001", "12345"])
    assert written([[0.1, 0.8, 0.9, 0.9, 0.9, 0.9]], range(6))[1] == ["white"] + ["black"] * 5
    assert written([[0.5]], [0])[1] == ["white"]  # one value has the darkest colour


def test_colours_of_a_confusion_matrix_are_shares_of_weights_too():
    drawn = fnn.plot.confusion_matrix([[0.3, 0.1], [0.0, 0.0]]).axes[0].images[0].get_array()
    np.testing.assert_allclose(drawn, [[0.75, 0.25], [0, 0]])


def test_losses_below_0_are_not_cut_off():
    losses = np.array([[[-0.5, -0.5]], [[-0.5, -2.5]]])
    axes = fnn.plot.rate_range(fnn.selection.RateRange(np.array([0.01, 0.1]), losses)).axes[0]
    assert axes.get_ylim()[1] > -0.5


def test_counts_are_written_in_full_and_classes_named_by_numbers():
    for labels in ([0, 1], np.unique([0, 1]), ["0", "1"], None):
        axes = fnn.plot.confusion_matrix([[1_234_567, 0], [0, 0.25]], labels).axes[0]
        assert [text.get_text() for text in axes.texts] == ["1234567", "0", "0", "0.25"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1"]
    with pytest.raises(ValueError, match="expected labels for 2 classes, got 3"):
        fnn.plot.confusion_matrix(np.eye(2), ["a", "b", "c"])


def test_curves_of_many_names_differ_in_colour_or_dashes():
    axes = FIGURES["curves"]().axes[0]
    styles = [(line.get_color(), line.get_linestyle()) for line in axes.lines[:9]]
    assert len(set(styles)) == 9


def test_misclassified_images_say_what_is_true_and_what_was_read():
    images = np.arange(4)[:, None, None] * np.ones((4, 3, 3))
    figure = fnn.plot.misclassified(images, [0, 1, 2, 1], [0, 2, 2, 0], ["cat", "dog", "cow"])
    assert [axes.get_title() for axes in figure.axes] == ["true: dog\nread as: cow", "true: dog\nread as: cat"]
    figure = fnn.plot.misclassified(images[:2], np.array([-1.0, 1.0]), np.array([True, False]), ["cat", "dog"])
    assert [axes.get_title() for axes in figure.axes] == ["true: -1.0\nread as: dog", "true: dog\nread as: cat"]
    np.testing.assert_allclose([axes.images[0].get_array()[0, 0] for axes in figure.axes], [0, 1])
    assert len(fnn.plot.misclassified(images, [0] * 4, [1] * 4, count=2).axes) == 2
    with pytest.raises(ValueError, match="4 images to be read wrongly, all are right"):
        fnn.plot.misclassified(images, [0] * 4, [0] * 4)
    with pytest.raises(ValueError, match="got 4 images, 3 true and 4 predicted"):
        fnn.plot.misclassified(images, [0] * 3, [0] * 4)
    for shape in ((4, 1), (4, 2)):
        with pytest.raises(ValueError, match=r"true of shape \(count,\), got \(4, "):
            fnn.plot.misclassified(images, np.zeros(shape, int), [0] * 4)
        with pytest.raises(ValueError, match=r"predicted of shape \(count,\), got \(4, .*argmax"):
            fnn.plot.misclassified(images, [0] * 4, np.zeros(shape))
