"""The still figures: what is drawn is what was given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image
from problems import affine_model, blob_data, randn, rng, short_schedule

from dpm_lib.core.constants import LN2
from dpm_lib.diffusion import bound
from dpm_lib.figures import palette, plots


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_scatter_shows_every_point_in_its_colour(ax):
    x = randn(30, 2)
    plots.scatter(ax, x, "drift", "title", reach=5.0)
    (dots,) = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), x)
    assert to_hex(dots.get_facecolor()[0]) == palette.PALETTE["drift"]
    assert ax.get_xlim() == ax.get_ylim() == (-5, 5) and ax.get_title() == "title" and not len(ax.get_xticks())


def test_bars_are_the_mean_costs_in_bits(ax):
    terms = bound.terms(affine_model(short_schedule()), randn(40, 2), rng())
    plots.kl_bars(ax, terms)
    centres = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
    np.testing.assert_allclose(centres, [2, 3, 4])
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], terms.kl.mean(1)[2:] / LN2)
    assert f"{float(terms.kl.mean(1).sum()) / LN2:.2f} bits" in ax.get_title()


def test_the_summary_of_a_run(tmp_path):
    model, data = affine_model(short_schedule()), blob_data()
    figure = plots.run_summary(model, data, seed=3)
    held_out, samples, bars = figure.axes
    np.testing.assert_allclose(held_out.collections[0].get_offsets(), data.held_out(2000, 3))
    np.testing.assert_allclose(samples.collections[0].get_offsets(), model.sample(2000, rng(3)))
    assert len(bars.patches) == 3
    plt.close(figure)
    open_before = plt.get_fignums()
    plots.save_run_summary(tmp_path / "summary.png", model, data)
    assert plt.get_fignums() == open_before
    pixels = np.asarray(Image.open(tmp_path / "summary.png").convert("RGB"))
    assert pixels.shape[1] > 2.5 * pixels.shape[0] and (pixels != 255).any(-1).mean() > 0.02


def test_no_global_randomness():
    state = torch.get_rng_state()
    plt.close(plots.run_summary(affine_model(short_schedule()), blob_data()))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_raster_shows_every_bit(ax):
    x = (randn(6, 4) > 0).double()
    plots.raster(ax, x, "model", "strings")
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), x)
    assert ax.get_title() == "strings" and not len(ax.get_xticks())


def test_a_table_is_shown_escaped_and_as_plain_text(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda bundle, raw: shown.append((bundle, raw)))
    plots.table(["row", "K"], [["<b>", 1.5], ["long & name", "not run"]], 'A "table"')
    (bundle, raw), = shown  # fmt: skip
    assert raw and bundle["text/plain"].splitlines() == [
        'A "table"', "", "row          K", "<b>          1.5", "long & name  not run",
    ]  # fmt: skip
    page = bundle["text/html"]
    assert "<b>" not in page and '<th scope="row">long &amp; name</th><td>not run</td>' in page
    assert "<td class=number>1.5</td>" in page and 'aria-label="A &quot;table&quot;"' in page and "tabindex" in page
    with pytest.raises(ValueError, match="rows: 1 cells at index 1, and the header has 2"):
        plots.table(["row", "K"], [["a", "b"], ["c"]], "")
