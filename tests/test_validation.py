"""Looks at validation images: what is trained on and what is not, the best average kept, resuming; and dropout."""

import math

import pytest
import runs
import torch
from problems import close, rng
from runs import interrupt_at, lines, same_runs
from test_image_recipes import little, some_images

from dpm_lib.core.files import load_tensors
from dpm_lib.data import image_datasets
from dpm_lib.data.images import Images
from dpm_lib.diffusion import bound
from dpm_lib.training import objective
from dpm_lib.training.build import build
from dpm_lib.training.catalogue import get
from dpm_lib.training.checkpoints import load_model
from dpm_lib.training.loop import fit
from dpm_lib.training.objective import validation_batch
from dpm_lib.training.trainer import Run


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(objective, "ROWS", 48)
    with runs.quick(monkeypatch):
        yield


def stripes(n: int = 8, seed: int = 0) -> torch.Tensor:
    """Pictures of 4x4 pixels, noise but for their first column."""
    values = torch.randint(256, (n, 16), generator=rng(seed), dtype=torch.uint8)
    values[:, ::4] = 0
    return values


def few() -> Images:
    """Four pictures to train on, and others of their kind."""
    parts = {"train": stripes(4), "test": stripes(8, 1), "validation": stripes(8, 2)}
    return Images("few", **parts, shape=(1, 4, 4), levels=256, split="by hand")


def recipe(**settings):
    small = {"side": 4, "T": 6, "scales": 1, "validate_every": 10, "steps": 30, "checkpoint_every": 1000}
    return little("dead-leaves-small", **small | settings)


def train(folder=None, resume=False, **settings):
    return fit(recipe(**settings), 0, folder, "cpu", resume=resume, progress=False, data=few())


# What is where


def test_validation_pictures_are_apart_from_both_others():
    """Of every set that is at hand and has any. Patches: other sheets, other rows of the photographs."""
    data = image_datasets.load("mnist-5k")
    assert (len(data.train), len(data.validation), len(data.test)) == (4250, 250, 500)
    rows = [{bytes(row.tolist()) for row in part} for part in (data.train, data.validation, data.test)]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 5000
    assert image_datasets.load("digits").validation is None
    leaves = image_datasets.dead_leaves(side=8, sheets=2, sheet=64, n=50)
    assert len(leaves.validation) == 5
    for part in (leaves.train, leaves.test):
        assert not {bytes(row.tolist()) for row in part} & {bytes(row.tolist()) for row in leaves.validation}
    assert set(leaves.record()) >= {"validation", "validation_sha256"}


def test_patches_of_textures_do_not_share_a_pixel(monkeypatch):
    """With pixels that tell where they are: rows below 448 to train, the others for validation, columns to test."""
    import numpy as np

    places = np.arange(512)
    sheet = (places[:, None] // 4 % 128 + 128 * (places[None] >= 384)).astype(np.uint8)
    monkeypatch.setattr(image_datasets.textures, "photographs", lambda: ([sheet[:, :384]], [sheet[:, 384:]]))
    data = image_datasets.photographs(8, n=4000)
    assert int(data.train.max()) == 111 and int(data.train.min()) == 0
    assert (int(data.validation.min()), int(data.validation.max())) == (112, 127) and int(data.test.min()) >= 128


def test_a_folder_of_twenty_sets_a_tenth_aside(monkeypatch):
    for n, aside in ((19, None), (20, 2), (45, 4)):
        both = stripes(n), stripes(2, 5)
        monkeypatch.setattr(image_datasets.image_folder, "read_folder", lambda *_, both=both: both)
        data = image_datasets.folder("somewhere", 4)
        assert (None if data.validation is None else len(data.validation)) == aside
        kept = data.train if aside is None else torch.cat([data.train, data.validation])
        assert sorted(kept.tolist()) == sorted(both[0].tolist())


def test_training_never_draws_them():
    data = few()
    x0 = data.pixels(data.batch(500, rng())).reshape(-1, 16).long()
    assert {tuple(row) for row in x0.tolist()} == {tuple(row) for row in data.train.tolist()}


def test_a_look_is_at_every_time_with_the_same_noise():
    data, r = few(), recipe(T=7)
    x0, t, noise = validation_batch(data, r)
    assert all(torch.equal(a, b) for a, b in zip((x0, t, noise), validation_batch(data, r), strict=True))
    counts = torch.bincount(t)
    assert len(t) == 48 and counts.tolist() == [0, 0, 8, 8, 8, 8, 8, 8]
    shown = data.pixels(x0).reshape(-1, 16).long()
    assert torch.equal(shown, data.validation.long().repeat(6, 1))
    assert not any(torch.equal(t[:8], part) for part in t.split(8)[1:])  # a picture has several times
    assert (
        len(
            validation_batch(
                Images(
                    "many",
                    train=stripes(),
                    test=stripes(),
                    validation=stripes(50),
                    shape=(1, 4, 4),
                    levels=256,
                    split="",
                ),
                r,
            )[1]
        )
        == 50
    )


def test_a_look_is_k_on_those_rows():
    run = Run(recipe(dropout=0.5), 0, "cpu", data=few())
    for _ in range(5):
        run.advance()
    K = bound.estimate(run.averaged_model(), *validation_batch(run.data, run.recipe)).mean() / math.log(2)
    close(run.look()["validation_bits"], K.item(), rtol=1e-6)
    assert run.best_step == 5 and run.look() == {"validation_bits": run.best_bits}


# The best is kept


def test_the_best_average_is_kept_when_the_last_is_worse(tmp_path, monkeypatch):
    """From step 21 on every average is spoiled: the run ends with the one of step 20, in all its files."""
    advance = Run.advance

    def spoiled(run):
        K = advance(run)
        if run.step > 20:
            run.average["reverse.network.bias"] += 1
        return K

    monkeypatch.setattr(Run, "advance", spoiled)
    model, metrics = train(tmp_path, steps=45, lr=0.03)
    looks = {line["step"]: line["validation_bits"] for line in lines(tmp_path) if "validation_bits" in line}
    assert list(looks) == [10, 20, 30, 40, 45] and max(looks, key=looks.get) == metrics["kept_step"] == 20
    loaded, r = load_model(tmp_path / "model.safetensors")
    for kept in (model, loaded):
        close(bound.estimate(kept, *validation_batch(few(), r)).mean() / math.log(2), looks[20], rtol=1e-6)
    tensors, record = load_tensors(tmp_path / "checkpoint.safetensors")
    assert record["best"] == [20, looks[20]]
    name = "reverse.network.bias"
    assert torch.equal(tensors[f"best.{name}"], model.state_dict()[name])
    assert bool((tensors[f"average.{name}"] > tensors[f"best.{name}"] + 3).all())


@pytest.mark.parametrize("step", [5, 10, 23])
def test_looks_and_dropout_resume_bit_for_bit(tmp_path, monkeypatch, step):
    """From before the first look, in the step of a look, and between two."""
    settings = {"dropout": 0.3, "validate_every": 10}
    train(tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", **settings)
    torch.manual_seed(99)  # whatever others draw in between
    train(tmp_path / "broken", resume=True, **settings)
    same_runs(tmp_path / "whole", tmp_path / "broken")


def test_looks_change_nothing_of_the_training(tmp_path):
    for name, every in (("never", 0), ("often", 5)):
        train(tmp_path / name, validate_every=every)
    a, b = (load_tensors(tmp_path / name / "checkpoint.safetensors")[0] for name in ("never", "often"))
    assert all(torch.equal(a[key], b[key]) for key in a) and set(b) - set(a) == {
        key.replace("average", "best") for key in a if key.startswith("average")
    }


def test_without_validation_pictures_the_last_average_is_kept():
    data = some_images(recipe(), 12)
    _, metrics = fit(recipe(steps=3), 0, None, "cpu", progress=False, data=data)
    assert data.validation is None and "kept_step" not in metrics


def test_a_look_that_is_not_finite_stops_the_run():
    run = Run(recipe(), 0, "cpu", data=few())
    run.average["reverse.network.leave.bias"].fill_(math.nan)
    with pytest.raises(FloatingPointError, match="step 0: the bound on validation images is nan; try a smaller lr"):
        run.look()


# Dropout


def test_dropout_is_for_training_alone():
    r = recipe(dropout=0.5)
    x, t = few().held_out(), torch.full((8,), 3)
    run = Run(r, 0, "cpu", data=few())
    for _ in range(3):
        run.advance()
    network = run.model.reverse.network
    log_tau = torch.zeros(8)
    assert network.training and not torch.equal(network(x.float(), t, log_tau), network(x.float(), t, log_tau))
    kept = run.averaged_model().reverse.network
    assert not kept.training and torch.equal(kept(x.float(), t, log_tau), kept(x.float(), t, log_tau))
    assert not build(r, dim=16).training


def test_a_share_of_the_numbers_is_left_out():
    run = Run(recipe(dropout=0.3, width=32), 0, "cpu", data=few())
    seen = []
    run.model.reverse.network.middle[0].drop.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    run.advance()
    given, out = seen[0]
    gone = (out == 0) & (given != 0)
    close(out[~gone], given[~gone] / 0.7, rtol=1e-5, atol=1e-7)
    assert abs(float(gone.double().mean()) - 0.3) < 4 * math.sqrt(0.21 / gone.numel())


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"dropout: 1\.0 is outside \[0, 1\)"):
        get("digits").override(dropout=1.0)
    with pytest.raises(ValueError, match=r"dropout: 0\.1 does nothing here: it applies to network=unet"):
        get("swiss-roll").override(dropout=0.1)
    with pytest.raises(ValueError, match="validate_every: -1 is less than 0"):
        get("digits").override(validate_every=-1)
    with pytest.raises(ValueError, match=r"validate_every: 5 does nothing here: it applies to pictures"):
        get("swiss-roll").override(validate_every=5)
    with pytest.raises(ValueError, match=r"validation: need uint8 \(n, 16\)"):
        Images("x", train=stripes(), test=stripes(), validation=stripes()[:, :3], shape=(1, 4, 4), levels=256, split="")


def test_best_is_what_is_minimised(tmp_path):
    """Of a run by another objective: its loss decides, and K stands in the log beside it."""
    settings = {"objective": "simple", "covariance": "posterior", "learn_schedule": False}
    run = Run(recipe(**settings), 0, "cpu", data=few())
    assert set(run.look()) == {"validation_bits", "validation_loss"}
    assert run.best_bits == -run.look()["validation_loss"]
    batch = validation_batch(run.data, run.recipe)
    K = bound.estimate(run.averaged_model(), *batch).mean() / math.log(2)
    close(run.look()["validation_bits"], K.item(), rtol=1e-6)
    train(tmp_path, **settings)
    looks = [line for line in lines(tmp_path) if "validation_loss" in line]
    best = min(looks, key=lambda line: line["validation_loss"])
    assert load_tensors(tmp_path / "checkpoint.safetensors")[1]["best"] == [best["step"], -best["validation_loss"]]
