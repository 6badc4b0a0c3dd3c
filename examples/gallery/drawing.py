"""What the pictures of this folder have in common: colours that every eye tells apart, and room for the labels."""

import matplotlib.pyplot as plt

import fnn.plot.canvas

COLORS = fnn.plot.canvas.PALETTE
DASHES = ("-", "--", ":", "-.")

HOUSE = {
    "axes.prop_cycle": plt.cycler(color=COLORS), "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True,
    "font.size": 11, "axes.titlesize": 11, "legend.frameon": False, "figure.dpi": 110, "lines.linewidth": 1.8,
}  # fmt: skip


def sheet(rows=1, columns=1, width=4.0, height=3.0, **shared):
    """A figure of panels, each `width` × `height` inches, and the panels one after another."""
    plt.rcParams.update(HOUSE)
    figure, panels = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), layout="constrained", squeeze=False, **shared
    )
    return figure, list(panels.flat)


def legend(figure, panel, columns=4):
    """The names of one panel's lines, above all panels."""
    handles, names = panel.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=columns)
