"""The image recipes: each builds, trains and is evaluated at a tiny size, on small sheets and files."""

import json

import numpy as np
import pytest
import torch
from problems import close, rng

from dpm_lib.data import image_datasets
from dpm_lib.data.dataset import Data
from dpm_lib.data.images import Images
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.dequantised_kernel import LevelReverse
from dpm_lib.diffusion.reverse_kernels import PaperReverse
from dpm_lib.networks.unet import UNet
from dpm_lib.training import build, checkpoints, evaluation, loop
from dpm_lib.training.catalogue import RECIPES, get
from dpm_lib.training.recipe import Recipe

IMAGE_RECIPES = [name for name, r in RECIPES.items() if r.side]


def little(name: str, **settings: object) -> Recipe:
    """The recipe with a chain, a network and a training that take a moment."""
    tiny = {"T": 4, "width": 4, "depth": 1, "steps": 2, "batch": 6, "knots": 0}
    return get(name).override(**tiny | settings)


def some_images(r: Recipe, n: int = 12) -> Images:
    shape = (r.channels, r.side, r.side)
    levels = 17 if r.data == "digits" else 256
    values = torch.randint(levels, (n, r.channels * r.side**2), generator=rng(), dtype=torch.uint8)
    values[:, ::2] = 0
    return Images(r.data, train=values[:8], test=values[8:], shape=shape, levels=levels, split="the last four")


@pytest.mark.parametrize("name", IMAGE_RECIPES)
def test_every_image_recipe_survives_json_builds_and_has_a_bound(name, monkeypatch):
    assert Recipe.from_dict(json.loads(json.dumps(get(name).to_dict()))) == get(name)
    r = little(name)
    data = some_images(r)
    monkeypatch.setattr(build.image_datasets, "load", lambda *_: data)
    model = build.build(r, dim=data.dim)
    kinds = {"levels": LevelReverse, "paper": PaperReverse}
    assert isinstance(model.reverse, kinds.get(r.covariance, object)) and r.T == model.T
    x0 = data.batch(2, rng())
    assert bool(torch.isfinite(model.trajectory_weights(x0, 1, rng()).log_weights).all())
    assert bool(torch.isfinite(bound.terms(model, x0, rng()).K).all())
    assert bool(torch.isfinite(model.score(x0, 2)).all())


def test_the_first_steps_noise_is_a_small_part_of_a_level():
    """0.001 to 0.003 of one, whatever the data and the network: a pixel of known level loses 2.6 bits times that.

    DDPM's own first step, 1e-4, is 0.06 of one: its paper gives the last step to a decoder of levels.

    Each set also has as many images to train on as is said: asked here, for some take long to make.
    """
    stds = {"mnist": 78.6, "cifar10": 64.1}  # of data that are downloaded
    for name in IMAGE_RECIPES:
        r = get(name)
        if not r.data.startswith("folder:"):
            data = None if r.data in stds else image_datasets.load(r.data, r.side)
            std = stds[r.data] if data is None else data.std
            assert data is None or len(data.train) == image_datasets.TRAINING[r.data], name
            least, most = (0.05, 0.07) if r.objective == "simple" else (0.001, 0.003)
            assert least < std * (r.beta_1 / (1 - r.beta_1)) ** 0.5 < most, name
    for one, other in (("dead-leaves", "dead-leaves-paper"), ("dead-leaves-small", "dead-leaves-paper-small")):
        assert get(one).beta_1 == get(other).beta_1


def test_digits_train_save_load_and_evaluate(tmp_path):
    _, metrics = loop.fit(little("digits"), folder=tmp_path, device="cpu", progress=False)
    assert metrics["held_out"] == 297 and 0 < metrics["bits_per_dimension"] < 20
    loaded, r = checkpoints.load_model(tmp_path / "model.safetensors")
    assert r == little("digits")
    data = image_datasets.load("digits")
    again = evaluation.evaluate(loaded, data)
    assert again["bits_per_dimension"] == metrics["bits_per_dimension"]
    close(again["bound_bits"] / 64 + again["bits_per_dimension"], np.log2(data.std))
    close(again["bound_bits_stderr"] / 64, again["bits_per_dimension_stderr"])
    close(again["gain_bits_per_dimension"], again["null_bits_per_dimension"] - again["bits_per_dimension"])
    assert evaluation.evaluate(loaded, data, n=20)["held_out"] == 20
    with pytest.raises(ValueError, match="n: 1: need at least 2 held-out images"):
        evaluation.evaluate(loaded, data, n=1)
    from dpm_lib.figures import plots  # here, so that the tests for a GPU, which use this file, do without its packages

    plots.save_run_summary(tmp_path / "summary.png", loaded, data)
    assert (tmp_path / "summary.png").stat().st_size > 1000


def test_training_images_lowers_the_bits():
    r = little("digits", T=10, width=8, steps=40, batch=64, lr=0.05)
    _, metrics = loop.fit(r, device="cpu", progress=False)
    _, before = loop.fit(little("digits", T=10, width=8, steps=1), device="cpu", progress=False)
    assert metrics["bits_per_dimension"] < before["bits_per_dimension"] - 0.3


def test_an_untrained_paper_model_is_the_equilibrium():
    """Its readout starts as the forward kernel, so that p is pi, and K is L_null exactly, at every image."""
    r = little("dead-leaves-paper-small", T=30, side=8)
    data = some_images(r)
    model = build.build(r, dim=64)
    x0 = data.held_out()
    weights = model.trajectory_weights(x0, 3, rng())
    close(weights.log_weights, model.kernel.prior.log_prob(x0).unsqueeze(1), rtol=1e-6)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"side: images of shape \(1, 8, 8\) have 64 entries, and the data 65"):
        build.build(get("digits"), dim=65)
    with pytest.raises(ValueError, match="covariance: 'levels' does not fit the network 'multi-scale'"):
        build.build(get("digits").override(network="multi-scale"), dim=64)
    with pytest.raises(ValueError, match="covariance: 'full' is not for images"):
        build.build(get("digits").override(covariance="full"), dim=64)
    with pytest.raises(ValueError, match="scales: 8 x 8 pixels cannot be halved 4 times"):
        UNet((1, 8, 8), 2, scales=5)
    with pytest.raises(ValueError, match="width: 6 is not a multiple of 4"):
        UNet((1, 8, 8), 2, width=6)
    with pytest.raises(ValueError, match="side: digits has images of 8 pixels a side, not 9"):
        image_datasets.load("digits", 9)
    with pytest.raises(ValueError, match="data: 'faces' is not known; there are: digits, mnist-5k"):
        image_datasets.load("faces")
    assert isinstance(image_datasets.load("digits"), Data)


@pytest.mark.parametrize("name", ["textures", "cifar10", "dead-leaves-paper"])
def test_a_recipe_for_a_gpu_takes_its_steps_anywhere(name):
    """Two steps at a tiny size with the recipe's own precision and clipping."""
    r = little(name)
    _, metrics = loop.fit(r, device="cpu", progress=False, data=some_images(r))
    assert metrics["steps"] == 2 and np.isfinite(metrics["bits_per_dimension"]) and metrics["held_out"] == 4


def test_levels_are_those_of_the_data_that_are_passed(tmp_path):
    """Not those of the recipe's own: digits have 17 levels, these 256. And the file needs no pictures to be loaded."""
    data = some_images(get("textures").override(side=8))
    model, metrics = loop.fit(little("digits"), 0, tmp_path, "cpu", progress=False, data=data)
    close(model.reverse.edges, data.edges())
    assert len(model.reverse.edges) == 257 and 0 < metrics["bits_per_dimension"] < 20
    again, _ = checkpoints.load_model(tmp_path / "model.safetensors")
    close(again.reverse.edges, data.edges())
