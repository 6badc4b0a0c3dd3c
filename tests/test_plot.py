"""Figures: what is drawn, how it is labelled, and what is refused."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
import fnn.plot


def test_image_grid_draws_every_image_with_its_title(tmp_path):
    images = np.arange(5 * 6 * 4, dtype=np.uint8).reshape(5, 6, 4)
    titles = [f"coat: shirt {k}" for k in range(5)]
    figure = fnn.plot.image_grid(images, titles, columns=3)
    assert [axes.get_title() for axes in figure.axes] == titles
    for axes, image in zip(figure.axes, images, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), image / 255)
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 3)
    figure.savefig(tmp_path / "grid.png")


def test_image_grid_shares_one_scale_and_knows_colors():
    floats = np.stack([np.full((2, 2), value) for value in (-1.0, 0.0, 3.0)])
    drawn = [axes.images[0].get_array()[0, 0] for axes in fnn.plot.image_grid(floats).axes]
    np.testing.assert_allclose(drawn, [0, 0.25, 1])
    assert fnn.plot.image_grid(np.ones((2, 4, 4, 3))).axes[0].images[0].get_array().shape == (4, 4, 3)
    assert fnn.plot.image_grid(np.ones((1, 4, 4, 1))).axes[0].images[0].get_array().shape == (4, 4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_scale_of_images_and_filters_is_that_of_finite_values(bad, channels):
    images = np.tile([0.0, 1.0, 2.0, 4.0], (2, 4, channels, 1)).swapaxes(2, 3)
    images[0, 0, 0, 0] = bad
    drawn = fnn.plot.image_grid(images).axes[1].images[0].get_array()
    np.testing.assert_allclose(drawn.reshape(4, 4, -1)[0, :, 0], [0, 0.25, 0.5, 1])
    bars = fnn.plot.filters(images).axes[0].images[0]
    assert bars.get_clim() == (-4, 4)
    assert fnn.plot.image_grid(np.full((1, 2, 2), bad)).axes[0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(("inputs", "geometry"), [(1, (2, 8)), (3, (3, 10))])
def test_filters_draw_every_slice_on_a_symmetric_scale(inputs, geometry, tmp_path):
    kernel = np.random.default_rng(0).normal(size=(3, 5, inputs, 10))
    figure = fnn.plot.filters(kernel)
    *panels, bar = figure.axes
    assert len(panels) == 10 * inputs
    assert bar.get_ylabel() == "weight"
    assert panels[0].get_subplotspec().get_gridspec().get_geometry() == geometry
    for place, axes in enumerate(panels):
        channel, output = divmod(place, 10)
        np.testing.assert_array_equal(axes.images[0].get_array(), kernel[:, :, channel, output])
        assert axes.images[0].get_clim() == (-np.abs(kernel).max(), np.abs(kernel).max())
    assert [axes.get_title() for axes in panels[:10]] == [str(k) for k in range(10)]
    assert panels[0].get_ylabel() == ("input 0" if inputs > 1 else "")
    figure.savefig(tmp_path / "filters.png")


@pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (2, 4, 4, 2), (1, 2, 3, 4, 5)])
def test_image_grid_refuses_what_is_no_list_of_images(shape):
    with pytest.raises(ValueError, match=r"image_grid: expected images \(count, height, width\)"):
        fnn.plot.image_grid(np.ones(shape))


def test_misuse():
    with pytest.raises(ValueError, match="one title per image, got 1 for 2 images"):
        fnn.plot.image_grid(np.ones((2, 4, 4)), ["only one"])
    with pytest.raises(ValueError, match="columns"):
        fnn.plot.image_grid(np.ones((2, 4, 4)), columns=0)
    with pytest.raises(ValueError, match=r"filters: expected a kernel \(height, width, in, out\), got shape \(3, 4\)"):
        fnn.plot.filters(np.ones((3, 4)))
