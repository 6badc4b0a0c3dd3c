"""Figures of images: a grid of them, those read wrongly, and the filters of a first layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fnn import checks
from fnn.plot.canvas import Figure, blank

__all__ = ["filters", "image_grid", "misclassified"]


def image_grid(images: Any, titles: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Images side by side, one axes and one title for each.

    Args:
        images: (count, height, width) or (count, height, width, channels) with 1 or 3 channels; integers in 0 … 255,
            floats in any range (scaled over all images together, what is not finite apart: NaN stays blank).
        titles: one per image, of one line or several; panels are as wide as the longest line.
        columns: images in a row.

    Example:
        >>> import numpy as np, fnn.plot
        >>> figure = fnn.plot.image_grid(np.zeros((3, 8, 8)), ["one", "two", "seven"], columns=2)
        >>> [axes.get_title() for axes in figure.axes]
        ['one', 'two', 'seven']
    """
    checks.integer("image_grid", "columns", columns)
    pixels = np.asarray(images)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3) or not pixels.size:
        raise ValueError(
            "image_grid: expected images (count, height, width) or (count, height, width, 1 or 3 channels), at least "
            f"one, got shape {np.shape(images)}"
        )
    if titles is not None and len(titles) != len(pixels):
        raise ValueError(f"image_grid: expected one title per image, got {len(titles)} for {len(pixels)} images")
    pixels = pixels.astype(float)
    # One scale for all: a dark image stays darker than a bright one.
    finite = _finite(pixels)
    low, high = (0.0, 255.0) if np.issubdtype(np.asarray(images).dtype, np.integer) else (finite.min(), finite.max())
    shades = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    if shades.shape[-1] == 3:  # matplotlib leaves NaN blank in gray only
        shades = np.nan_to_num(shades, nan=1.0)
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    lines = [line for title in titles or () for line in title.split("\n")]
    width = max([1.4, *(0.15 + 0.06 * len(line) for line in lines)])  # inches; of a letter of 7 points
    height = 1.4 + 0.12 * max([0, *(1 + title.count("\n") for title in titles or ())])
    figure = blank(width * columns, height * rows)
    for place, image in enumerate(shades):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
        if titles is not None:
            axes.set_title(titles[place], fontsize=7)
    return figure


def _finite(values: np.ndarray) -> np.ndarray:
    """The finite values, which make the scale; 0 where there are none."""
    found = values[np.isfinite(values)]
    return found if found.size else np.zeros(1)


def misclassified(
    images: Any, true: Any, predicted: Any, names: Sequence[str] | None = None, count: int = 24
) -> Figure:
    """The first images that a classifier reads wrongly, with what each is and what it was read as.

    Args:
        images: all that were classified, as in `image_grid`.
        true: (count,), their class numbers.
        predicted: (count,), class numbers, as from `fnn.predict(model, trained, images, task)`.
        names: of the classes; their numbers by default.
        count: how many images at most.

    Example:
        >>> import numpy as np, fnn.plot
        >>> figure = fnn.plot.misclassified(np.zeros((2, 8, 8)), [7, 1], [7, 2])
        >>> print(figure.axes[0].get_title())
        true: 1
        read as: 2
    """
    checks.integer("misclassified", "count", count)
    true, predicted = np.asarray(true), np.asarray(predicted)
    for name, numbers in {"true": true, "predicted": predicted}.items():
        if numbers.ndim != 1:
            repair = f"write {name}[:, 0] for a column, {name}.argmax(-1) for probabilities"
            raise checks.wrong_shape("misclassified", name, "(count,)", numbers.shape, repair)
    if not len(images) == len(true) == len(predicted):
        raise ValueError(
            "misclassified: expected a true and a predicted class for each image, got "
            f"{len(images)} images, {len(true)} true and {len(predicted)} predicted classes"
        )
    wrong = np.flatnonzero(true != predicted)[:count]
    if not len(wrong):
        raise ValueError(f"misclassified: expected some of the {len(true)} images to be read wrongly, all are right")

    def title(number: Any) -> str:  # -1 of an image without a class has no name
        return str(number) if names is None or not 0 <= number < len(names) else str(names[int(number)])

    titles = [f"true: {title(true[k])}\nread as: {title(predicted[k])}" for k in wrong]
    return image_grid(np.asarray(images)[wrong], titles)


def filters(kernel: Any) -> Figure:
    """The filters of a convolution, each input channel of each of them one panel: blue negative, red positive.

    A row per input channel, or, of a single one, rows of 8 filters.

    Args:
        kernel: (height, width, in, out), `trained.params[0]["kernel"]` of a network that begins with a convolution.

    Example:
        >>> import numpy as np, fnn.plot
        >>> figure = fnn.plot.filters(np.ones((3, 3, 1, 4)))
        >>> [axes.get_title() for axes in figure.axes[:4]]
        ['0', '1', '2', '3']
    """
    weights = np.asarray(kernel).astype(float)
    if weights.ndim != 4 or not weights.size:
        raise ValueError(f"filters: expected a kernel (height, width, in, out), got shape {weights.shape}")
    inputs, outputs = weights.shape[2:]
    columns = min(outputs, 8) if inputs == 1 else outputs
    rows = -(-outputs // columns) if inputs == 1 else inputs
    limit = np.abs(_finite(weights)).max() or 1.0
    figure = blank(0.7 * columns + 1.2, 0.8 * rows + 0.5)
    panels = []
    for channel in range(inputs):
        for output in range(outputs):
            axes = figure.add_subplot(rows, columns, channel * outputs + output + 1)
            drawn = axes.imshow(weights[:, :, channel, output], cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set(xticks=[], yticks=[])
            axes.set_title(str(output) if channel == 0 else "", fontsize=7)
            if inputs > 1 and output == 0:
                axes.set_ylabel(f"input {channel}", fontsize=7)
            panels.append(axes)
    figure.suptitle("filters of the first layer", fontsize=9)
    figure.colorbar(drawn, ax=panels, label="weight")
    return figure
