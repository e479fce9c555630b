"""Your own data: points, bits, pictures and laws go in as they are, and come out in their own units."""

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from PIL import Image
from problems import blobs, close, rng, tiny_recipe

from dpm_lib.cli import main
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import contact_sheet, dataset, registry
from dpm_lib.data.dataset import Points, original
from dpm_lib.data.registry import as_data
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.best_bound_bits import BitBound
from dpm_lib.figures import plots
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.training import catalogue, checkpoints, loop
from dpm_lib.training.evaluation import evaluate
from dpm_lib.training.trainer import Run

LN2 = math.log(2)
SMALL = {"T": 4, "width": 4, "depth": 1, "steps": 3, "batch": 8}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


def points(n: int = 60) -> torch.Tensor:
    """Points of three coordinates whose means and spreads differ by far."""
    return torch.randn(n, 3, generator=rng(5)).double() * torch.tensor([1.0, 10.0, 0.01]) + torch.tensor([0, 50.0, 2.0])


def fit(x, recipe=None, folder=None, **settings):
    recipe = recipe or catalogue.get("swiss-roll").override(**SMALL | {"frequencies": 2} | settings)
    return loop.fit(recipe, 0, folder, "cpu", progress=False, data=x)


# In a notebook


def test_the_lines_of_the_readme(capsys, monkeypatch):
    """As printed, but smaller: points, then pictures. K comes with its error, and a figure is shown."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    first, points, pictures = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(first.replace('recipe("swiss-roll")', 'recipe("swiss-roll").override(steps=3, T=4, width=8, batch=32)'), names)
    assert names["x"].shape == (1000, 2) and len(first.strip().splitlines()) == 6  # one of them empty
    assert names["scores"]["bound_bits"] < names["scores"]["entropy_limit_bits"]
    shown: list[str] = []
    monkeypatch.setattr(plots, "display", lambda page: shown.append(page.data))
    _, first, *rest = points.partition("x = ")[2].splitlines(keepends=True)
    assert first.startswith("recipe = ") and len(rest) == 4  # five lines to a figure, and the draws
    for lines in (points, points.partition("x = ")[0] + pictures + "".join(rest)):
        names = {}
        exec(re.sub(r"steps=\d+", "steps=3, T=4, width=8, batch=32", lines), names)
        scores, x, draws = names["scores"], names["x"], names["draws"]
        kind = "bits_per_dimension" if x.dtype == torch.uint8 else "bound_bits"
        assert scores["steps"] == 3 and math.isfinite(scores[kind]) and scores[f"{kind}_stderr"] > 0
        assert draws.shape == (100, x[0].numel()) and len(shown) == 1 and "<img" in shown.pop()
    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"-?[\d.]+ bits, of at most -0\.946\d+", said[0])
    assert re.fullmatch(r"-?[\d.]+ ± [\d.]+", said[1])


# Points


@pytest.mark.parametrize("kind", [lambda x: x, lambda x: x.numpy(), lambda x: x.float()], ids=["torch", "numpy", "f32"])
def test_points_are_split_and_standardised(kind):
    x = points()
    made = as_data(kind(x))
    assert isinstance(made, Points) and made.dim == 3 and (len(made.train), len(made.test)) == (54, 6)
    both = torch.cat([made.train, made.test])
    close(both.sort(0).values, x.sort(0).values, rtol=1e-5)
    states = made.batch(20_000, rng())
    close(states.mean(0), torch.zeros(3), atol=4 / math.sqrt(20_000))
    close(states.square().mean(0), torch.ones(3), atol=0.1)
    close(original(made.held_out(), made.record()), made.test, rtol=1e-6)
    assert as_data(made) is made and as_data(x).record() == as_data(x.clone()).record()
    assert as_data(x + 1e-9).record()["train_sha256"] != as_data(x).record()["train_sha256"]


def test_the_bound_of_points_does_not_depend_on_their_units():
    """K for x in metres and in feet differs by log2 of the unit, for each coordinate, and by nothing else."""
    x = points()
    _, one = fit(x)
    _, other = fit(x * torch.tensor([8.0, 0.5, 1.0]) + 3)
    close(one["bound_bits"] - other["bound_bits"], 2.0, atol=1e-4)  # log2 8 + log2 0.5
    close(one["gain_bits"], other["gain_bits"], atol=1e-4)
    assert set(one) >= {"bound_bits_stderr", "gain_bits_stderr", "held_out"} and one["held_out"] == 6
    assert not {"entropy_limit_bits", "gap_bits", "ceiling_bits"} & set(one)
    assert one["data_set"]["name"] == "own" and one["data_set"]["held_out"] == 6


def test_null_is_a_gaussian_of_the_training_points_moments():
    made = as_data(points(3000))
    model, metrics = fit(made)
    law = torch.distributions.Normal(made.mean, made.std)
    close(metrics["null_bits"], law.log_prob(made.test).sum(1).mean() / LN2)
    K = bound.terms(model, made.held_out(), rng(1)).K / LN2 - made.std.log2().sum()
    assert abs(float(K.mean()) - metrics["bound_bits"]) < 4 * math.hypot(metrics["bound_bits_stderr"], stderr(K))


def test_a_run_of_points_and_its_files(tmp_path, capsys):
    """The model's file tells the units, sample uses them, and evaluate takes the same points alone."""
    x = points()
    model, metrics = fit(x, folder=tmp_path / "run")
    again, recipe = checkpoints.load_model(tmp_path / "run" / "model.safetensors")
    assert recipe.data == "own" and again.data_set == model.data_set == as_data(x).record()
    run = str(tmp_path / "run")
    assert main(["sample", run, "--n", "9", "--device", "cpu"]) == 0
    rows = np.loadtxt(capsys.readouterr().out.splitlines(), delimiter=",")
    close(rows, original(model.sample(9, rng(0)), model.data_set), rtol=1e-4, atol=1e-4)
    assert abs(rows[:, 1].mean() - 50) < 4 * 10
    np.save(tmp_path / "x.npy", x.numpy())
    assert main(["evaluate", run, "--data", str(tmp_path / "x.npy"), "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {key: metrics[key] for key in found} and "bound_bits" in found
    np.save(tmp_path / "x.npy", x.numpy() + 1)
    changed = ["--data", str(tmp_path / "x.npy")]
    for extra, words in (([], "'own' is not known"), (changed, "data: the model was trained on others")):
        assert main(["evaluate", run, "--device", "cpu", *extra]) == 2
        assert words in capsys.readouterr().err


def test_an_array_in_a_file_is_data(tmp_path, capsys):
    np.save(tmp_path / "x.npy", points().numpy())
    settings = [text for k, v in (SMALL | {"data": tmp_path / "x.npy"}).items() for text in ("--set", f"{k}={v}")]
    assert main(["train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path / "run"), *settings]) == 0
    out, err = capsys.readouterr()
    assert "x.npy: 54 to train, 6 held out" in err and "gain_bits" in json.loads(out)
    assert (tmp_path / "run" / "summary.png").exists()
    (tmp_path / "x.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"x\.npy"):
        registry.load(str(tmp_path / "x.npy"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((9, 2), 3.0), "column 0 is 3 in all training points: it has no density"),
        (torch.full((9, 2), math.nan), "data: nan at index"),
        (torch.randn(3, 2, generator=rng()), "own has 3 rows; at least 4 are needed"),
        (
            torch.ones(9),
            r"data: need floating-point points \(n, d\), integer tokens .*, or uint8 .*, got torch.float32 \(9,\)",
        ),
        (torch.ones(9, 2, dtype=torch.bool), r"data: need floating-point points .* got torch.bool \(9, 2\)"),
        (torch.ones(9, dtype=torch.int64), r"data: need floating-point points .* got torch.int64 \(9,\)"),
        (torch.zeros(9, 5, 5, 3, dtype=torch.uint8), "has 5 planes .*; move the planes to the front"),
        (torch.zeros(9, 5, 6, dtype=torch.uint8), "data: 'own' are 5 x 6 pixels, not square"),
        ([[1.0, 2.0]], "data: need a tensor, a NumPy array, a Codebook, a Mixture or Data, got list"),
    ],
    ids=lambda value: None if isinstance(value, str) else "x",
)
def test_what_cannot_be_trained_on_is_named(x, message):
    recipe = catalogue.get("digits") if isinstance(x, torch.Tensor) and x.dtype == torch.uint8 else tiny_recipe()
    with pytest.raises(ValueError, match=message):
        Run(recipe, 0, "cpu", data=as_data(x))


def test_rows_on_both_sides_of_the_split_are_told():
    x = points(20)
    twice = torch.cat([x, x])
    with pytest.warns(UserWarning, match=r"data: \d of the 4 held-out points are among those to train on, too"):
        made = as_data(twice)
    seen = sum(bool((row == made.train).all(1).any()) for row in made.test)
    assert seen > 0 and f"{seen} of the 4 held-out points" in made.record()["split"]
    pictures = torch.randint(256, (20, 4, 4), generator=rng(), dtype=torch.uint8)
    with pytest.warns(UserWarning, match="held-out pictures are among those"):
        as_data(torch.cat([pictures, pictures]))


# Bits and laws


def test_strings_of_bits(tmp_path):
    """Zeros and ones take the binomial kernel; of a law that is not known K has no limit beside it."""
    x = torch.randint(2, (50, 4), generator=rng()).double()
    recipe = catalogue.get("heartbeat").override(T=4, width=4, depth=1, steps=3, batch=8, knots=0)
    with pytest.warns(UserWarning, match="among those to train on"):  # there are only 16 strings
        model, metrics = fit(x, recipe)
        assert set(model.sample(9, rng()).unique().tolist()) <= {0, 1}
        close(metrics["null_bits"], -4)
        with pytest.raises(ValueError, match=r"kernel: 'gaussian' does not fit .* which are bits: 'binomial'"):
            fit(x)
    with pytest.raises(ValueError, match=r"kernel: 'binomial' does not fit .* which are no bits: 'gaussian'"):
        fit(points(), recipe)
    with pytest.raises(ValueError, match="side: 'digits' is for pictures, and 'own' are points"):
        fit(points(), catalogue.get("digits"))


def test_a_finite_set_and_a_mixture():
    book = Codebook(torch.eye(3, dtype=torch.float64))
    recipe = catalogue.get("heartbeat").override(T=4, width=4, depth=1, steps=3, batch=8, knots=0)
    _, metrics = fit(book, recipe)
    close(metrics["entropy_limit_bits"], -math.log2(3))
    assert metrics["bound_bits_paired"] <= metrics["exact_limit_bits"] < metrics["ceiling_bits"]
    model, metrics = fit(blobs())
    assert metrics["gap_bits"] > 0
    with pytest.raises(ValueError, match="data: the model was trained on others: data law_sha256"):
        evaluate(model, dataset.Data("own", Codebook(torch.eye(2, dtype=torch.float64))))


def test_a_book_of_too_many_kinds_has_a_gap_alone():
    """Exact limits would take a sum over 3^12 kinds of string."""
    rows = torch.cat([torch.eye(12), 1 - torch.eye(12), torch.randint(2, (9, 12), generator=rng()).float()])
    book = Codebook(torch.unique(torch.cat([rows, rows.roll(1, 0)], 1), dim=0))
    if BitBound.countable(book):
        rows = torch.randint(2, (40, 24), generator=rng())
        book = Codebook(torch.unique(rows, dim=0))
    assert not BitBound.countable(book)
    recipe = catalogue.get("heartbeat").override(T=4, width=4, depth=1, steps=3, batch=8, knots=0)
    _, metrics = fit(book, recipe)
    close(metrics["gap_bits"], metrics["entropy_limit_bits"] - metrics["bound_bits"], atol=1e-9)
    assert not {"ceiling_bits", "exact_limit_bits"} & set(metrics)


# Pictures


def test_pictures_of_another_size_than_the_recipes_own(tmp_path, capsys):
    """The recipe takes their side and planes; levels and units are theirs; the file needs no pictures."""
    values = torch.randint(256, (40, 3, 4, 4), generator=rng(), dtype=torch.uint8)
    recipe = catalogue.get("digits").override(**SMALL | {"sample_every": 2})
    model, metrics = fit(values.numpy(), recipe, tmp_path / "run")
    made = as_data(values)
    config = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert (config["data"], config["side"], config["channels"]) == ("own", 4, 3)
    close(model.reverse.edges, made.edges())
    assert 6 < metrics["bits_per_dimension"] < 10 and metrics["held_out"] == 4
    assert (tmp_path / "run" / "samples" / "step-0000002.png").read_bytes().startswith(b"\x89PNG")
    run, out = str(tmp_path / "run"), tmp_path / "x.png"
    assert main(["sample", run, "--n", "5", "--out", str(out), "--device", "cpu"]) == 0
    sheet = np.asarray(Image.open(out))
    drawn = made.pixels(model.sample(5, rng())).floor().clamp(0, 255)
    assert sheet.shape == (4, 24, 3)
    close(sheet[:, :4], drawn[0].permute(1, 2, 0))
    close(sheet[:, 20:], drawn[4].permute(1, 2, 0))
    assert (sheet[:, 4] == 255).all()
    assert main(["sample", run, "--n", "2", "--device", "cpu"]) == 0
    rows = np.loadtxt(capsys.readouterr().out.splitlines(), delimiter=",")
    close(rows.reshape(2, 3, 4, 4), made.pixels(model.sample(2, rng())), rtol=1e-4, atol=1e-2)


def test_any_number_of_pictures_makes_a_sheet():
    """Of 1 to 20: each is where it should be, and the places that are left over are white."""
    for n in range(1, 21):
        values = torch.rand(n, 1, 2, 3, generator=rng(n)) * 0.9
        sheet = contact_sheet.sheet(values, 8)
        columns = min(n, 8)
        assert sheet.shape == (-(-n // 8) * 3 - 1, columns * 4 - 1, 1)
        for i in range(n):
            top, left = i // 8 * 3, i % 8 * 4
            close(sheet[top : top + 2, left : left + 3, 0], values[i, 0])
        assert float(sheet.sum()) == pytest.approx(float(values.sum()) + sheet.numel() - 6 * n, rel=1e-5)


# What fit takes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"recipe": "digits"}, "recipe: need a Recipe, as dpm_lib.recipe"),
        ({"seed": 1.7}, "seed: 1.7 is no whole number"),
        ({"seed": -1}, "seed: -1 is not between 0 and 2"),
        ({"resume": True}, "resume: needs the folder of the run"),
        ({"data": "digits"}, "data: need a tensor, .*, got str"),
    ],
)
def test_what_fit_cannot_take_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        loop.fit(**{"recipe": tiny_recipe(), "device": "cpu", "progress": False} | given)


def test_a_seed_may_be_numpys():
    found = [
        loop.fit(tiny_recipe(steps=2), seed, None, "cpu", progress=False, data=points())[1] for seed in (3, np.int64(3))
    ]
    assert found[0]["bound_bits"] == found[1]["bound_bits"]


def test_a_negative_number_of_held_out_rows_is_refused():
    for made in (as_data(points()), registry.load("digits"), dataset.Data("blobs", blobs())):
        with pytest.raises(ValueError, match="n: -5: need at least 0"):
            made.held_out(-5)


# Tokens


def tokens(n=400):
    """Strings of three tokens of 0..3 whose second is the first, and whose third is 3 in half of them."""
    first = torch.randint(3, (n, 1), generator=rng(5))
    return torch.cat([first, first, torch.where(torch.rand(n, 1, generator=rng(6)) < 0.5, 3, 0)], 1)


def test_integers_are_strings_of_tokens_under_a_mask(tmp_path):
    x = tokens()
    recipe = catalogue.get("heartbeat-mask").override(T=10, beta_1=0.1, steps=300, batch=64, width=16, depth=1)
    with pytest.warns(UserWarning, match="held-out strings are among those to train on"):
        model, metrics = loop.fit(recipe, 0, tmp_path / "run", "cpu", progress=False, data=x)
    assert (model.kernel.tokens, model.kernel.vocabulary, model.kernel.dim) == (5, 4, 3)
    assert checkpoints.load_model(tmp_path / "run" / "model.safetensors")[1].tokens == 4
    drawn = model.sample(500, rng())
    assert int(drawn.max()) == 3 and float((drawn[:, 0] == drawn[:, 1]).double().mean()) > 0.8
    # in bits: log2 3 + 1 by the law, and log2 3 more for independent tokens
    assert -3.1 < metrics["bound_bits"] < -math.log2(3) - 0.9
    assert metrics["null_bits"] == pytest.approx(-2 * math.log2(3) - 1, abs=0.15)
    assert metrics["gain_bits"] == pytest.approx(metrics["bound_bits"] - metrics["null_bits"])


def test_strings_have_only_tokens_of_their_vocabulary():
    x = tokens(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert as_data(x).tokens == as_data(x.to(torch.uint8).numpy()).tokens == 4
        made = as_data(x, tokens=9)
        assert made.tokens == 9 and made.record()["tokens"] == 9 and set(made.batch(99, rng()).unique().tolist()) == {
            0.0, 1.0, 2.0, 3.0,
        }  # fmt: skip
        with pytest.raises(ValueError, match=r"data: 3 at index .* \(that is the mask.*: need tokens 0..2"):
            as_data(x, tokens=3)
        with pytest.raises(ValueError, match=r"data: 3 at index .*: need tokens 0..1"):
            as_data(x, tokens=2)
        with pytest.raises(ValueError, match=r"data: -1 at index .*: need tokens 0..2"):
            as_data(x - 1)
        with pytest.raises(ValueError, match="tokens: 3: is for whole numbers"):
            as_data(x.double(), tokens=3)
        with pytest.raises(ValueError, match="kernel: 'gaussian' does not fit the data 'own', which are 4 tokens: 'm"):
            loop.fit(catalogue.get("swiss-roll"), data=x)
        with pytest.raises(ValueError, match="tokens: 2: need 4, of which 'own' are made"):
            loop.fit(catalogue.get("heartbeat"), data=x)


def test_independent_tokens_have_the_frequencies_of_their_places():
    x = torch.tensor([[0, 1], [0, 0], [2, 1]])
    by_hand = [math.log(3 / 6 * 3 / 6), math.log(3 / 6 * 2 / 6), math.log(2 / 6 * 3 / 6)]
    close(dataset.independent_log_prob(x.double(), x.double(), 3), torch.tensor(by_hand, dtype=torch.float64))


def test_bits_under_a_mask_have_a_null_law_that_is_finite():
    x = (tokens(60) > 0).double()
    recipe = catalogue.get("heartbeat-mask").override(T=4, beta_1=0.25, steps=2, batch=8, width=8)
    with pytest.warns(UserWarning, match="held-out points"):
        _, metrics = loop.fit(recipe, 0, None, "cpu", progress=False, data=x)
    assert math.isfinite(metrics["gain_bits"]) and metrics["null_bits"] < -1
