"""The Python side of the figures: shapes, errors, fixed point, bundling, posters."""

import html
import io
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import sheet
from dpm_lib.figures.widgets import LiveSampler, ScheduleBars, TrajectoryPlayer
from dpm_lib.figures.widgets.base import Figure, fixed_point, fixed_point_scale

T, N, G = 6, 30, 9


def player(**changes):
    rng = np.random.default_rng(0)
    arguments = {
        "forward": rng.normal(size=(T + 1, N, 2)),
        "reverse": rng.normal(size=(T + 1, N, 2)),
        "drift_at": rng.normal(size=(G, 2)),
        "drift": rng.normal(size=(T + 1, G, 2)) * np.arange(T + 1)[:, None, None],
    }
    return TrajectoryPlayer(**(arguments | changes))


def schedule(**changes):
    rng = np.random.default_rng(0)
    beta = np.geomspace(1e-4, 0.9, T)
    arguments = {
        "log_tau_grid": np.linspace(-9, 3, 12),
        "log_c": {"full": rng.normal(size=(12, 5, 2)), "constant": rng.normal(size=(12, 1, 2))},
        "beta": beta,
        "limit_bits": -0.9,
        "presets": {"log": beta, "linear": np.linspace(1e-4, 0.9, T)},
    }
    return ScheduleBars(**(arguments | changes))


def sampler(**changes):
    rng = np.random.default_rng(0)
    arguments = {
        "frequencies": rng.normal(size=(2, 3)),
        "time_frequencies": rng.normal(size=2),
        "layers": [
            (rng.normal(size=(8, 12)), rng.normal(size=8)),
            (rng.normal(size=(5, 8)), rng.normal(size=5)),
        ],
        "covariance": "full",
        "log_tau": np.concatenate([[-np.inf], np.linspace(-9, 5, T)]),
        "target": rng.normal(size=(20, 2)),
    }
    return LiveSampler(**(arguments | changes))


FIGURES = [player, schedule, sampler]


def holed(shape):
    values = np.zeros(shape)
    values.flat[-1] = np.nan
    return values


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (
            player,
            {"forward": np.zeros((T + 1, N, 3))},
            r"forward: need shape \(T \+ 1, n, 2\), got \(7, 30, 3\)",
        ),
        (player, {"forward": np.zeros((1, N, 2))}, "forward: need at least the times 0 and 1"),
        (player, {"reverse": np.zeros((T, N, 2))}, r"reverse: need shape \(7, 30, 2\), got \(6, 30, 2\)"),
        (player, {"reverse": holed((T + 1, N, 2))}, r"reverse: nan at index \(6, 29, 1\): need finite numbers"),
        (player, {"drift_at": np.zeros((0, 2))}, "drift_at: need one number or more"),
        (player, {"drift": np.zeros((T + 1, G + 1, 2))}, r"drift: need shape \(7, 9, 2\)"),
        (
            schedule,
            {"log_tau_grid": np.array([0.0, 1, 3] * 4)},
            "log_tau_grid: need two or more, increasing and evenly spaced",
        ),
        (schedule, {"log_c": {}}, "log_c: need at least one"),
        (
            schedule,
            {"log_c": {"full": np.zeros((11, 5, 2))}},
            r"log_c\['full'\]: need shape \(12, S, d\)",
        ),
        (
            schedule,
            {"log_c": {"full": np.zeros((12, 5, 2)), "x": np.zeros((12, 5, 3))}},
            "same d for every form",
        ),
        (schedule, {"beta": np.array([0.1, 0.0, 0.2])}, r"beta: 0.0: need rates in \(0, 1\]"),
        (schedule, {"beta": np.array([0.1])}, "beta: 1 steps: need at least two"),
        (schedule, {"presets": {"bad": np.full(T, 1.5)}}, r"presets\['bad'\]: 1.5: need rates in \(0, 1\]"),
        (
            schedule,
            {"presets": {"bad": np.full(3, 0.5)}},
            r"presets\['bad'\]: need shape \(6\), got \(3,\)",
        ),
        (schedule, {"limit_bits": np.inf}, "limit_bits: inf: need a finite number"),
        (sampler, {"samples": np.zeros((5, 3))}, r"samples: need shape \(k, 2\), got \(5, 3\)"),
        (sampler, {"covariance": "isotropic"}, "covariance: 'isotropic': need one of 'full', 'diagonal'"),
        (sampler, {"covariance": "diagonal"}, "layers: 5 outputs: need 4 at the end for diagonal covariance"),
        (sampler, {"layers": []}, "layers: need at least one, got none"),
        (
            sampler,
            {"layers": [(np.zeros((5, 11)), np.zeros(5))]},
            r"layers\[0\]\[0\]: need shape \(out, 12\)",
        ),
        (sampler, {"layers": [(np.zeros((5, 12)), np.zeros(4))]}, r"layers\[0\]\[1\]: need shape \(5\)"),
        (sampler, {"log_tau": np.array([-9.0, 1.0])}, r"log_tau\[0\]: -9.0: need minus infinity"),
        (
            sampler,
            {"log_tau": np.array([-np.inf, 1.0, 0.5])},
            r"log_tau\[2\]: 0.5: need more than 1.0 before",
        ),
        (sampler, {"log_tau": np.array([-np.inf, np.nan])}, r"log_tau\[1:\]: nan at index \(0,\): need finite numbers"),
    ],
)
def test_bad_input_is_named(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_fixed_point_error_is_half_a_unit(scale):
    values = scale * np.random.default_rng(0).normal(size=(50, 2))
    unit = fixed_point_scale(values)
    back = np.frombuffer(fixed_point(values, unit), dtype="<i2").reshape(50, 2) * unit
    assert np.abs(back - values).max() <= 0.5001 * unit
    assert unit == pytest.approx(np.abs(values).max() / 32767)


def test_fixed_point_of_zeros():
    assert fixed_point_scale(np.zeros(3)) == 1.0
    assert not any(fixed_point(np.zeros(3), 1.0))


def test_player_keeps_its_points_and_drift():
    rng = np.random.default_rng(1)
    forward, drift = 3 * rng.normal(size=(T + 1, N, 2)), rng.normal(size=(T + 1, G, 2))
    drift *= 10.0 ** -np.arange(T + 1)[:, None, None]  # each time has its own scale, so small drifts survive
    figure = player(forward=forward, drift=drift)
    points = np.frombuffer(figure.forward, "<i2").reshape(forward.shape) * figure.scale
    arrows = np.frombuffer(figure.drift, "<i2").reshape(drift.shape) * np.array(figure.drift_scale)[:, None, None]
    assert (figure.T, figure.n) == (T, N)
    assert np.abs(points - forward).max() <= 0.51 * figure.scale
    assert (np.abs(arrows - drift).max(axis=(1, 2)) <= 2e-5 * np.abs(drift).max(axis=(1, 2))).all()


def test_torch_tensors_are_accepted():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(T + 1, N, 2, requires_grad=True) + 1.0
    assert player(forward=tensor).forward == player(forward=np.ones((T + 1, N, 2))).forward


@pytest.mark.parametrize("make", FIGURES)
def test_script_and_style_reach_the_page(make):
    state = make().get_state()
    assert "export default" in state["_esm"]
    assert state["_css"] == sheet("figure.css")


@pytest.mark.parametrize("make", FIGURES)
def test_repr_is_stable(make):
    figure = make(label="A roll")
    assert repr(figure) == f"{type(figure).__name__}('A roll')"
    assert figure._repr_mimebundle_()[0]["text/plain"] == repr(figure)


class ImageTags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("make", FIGURES)
def test_poster_is_small_and_escaped(make):
    label = 'a "roll" & <script>alert(1)</script>'
    figure = make(label=label)
    image = Image.open(io.BytesIO(figure.poster()))
    assert image.format == "PNG" and min(image.size) > 200
    assert image.convert("RGBA").getpixel((0, 0))[3] == 0, "a poster is transparent, so that it is not white at night"
    assert len(figure.poster()) < 60_000
    tags = ImageTags()
    tags.feed(figure.poster_html())
    assert [tag for tag, _ in tags.found] == ["div", "style", "img"]
    assert tags.found[2][1]["alt"] == label
    assert html.escape(label) in figure.poster_html()


@pytest.mark.parametrize("make", FIGURES)
def test_display_shows_poster_then_figure(make, monkeypatch):
    shown = []
    monkeypatch.setattr("dpm_lib.figures.widgets.base.display", lambda *data, **_: shown.extend(data))
    figure = make()
    figure._ipython_display_()
    assert shown[0] == {"text/html": figure.poster_html(), "text/plain": repr(figure)}
    assert shown[1]["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.model_id
    assert "text/plain" not in shown[1], "else GitHub shows it under the poster"


def test_a_figure_needs_a_poster():
    with pytest.raises(NotImplementedError):
        Figure(label="nothing").poster()


def test_palette_is_that_of_the_stylesheet():
    for name, colour in PALETTE.items():
        assert f"--dpm-{name}: {colour};" in sheet("figure.css")


def test_no_pyplot_window_is_opened():
    code = "import dpm_lib.figures.widgets, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
