"""Recipes: every field is checked, text becomes the field's type, and what is built is what was asked for."""

import json

import numpy as np
import pytest
import torch
from problems import close, randn

from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.forward_kernels import BinomialKernel
from dpm_lib.diffusion.schedules import LearnedSchedule
from dpm_lib.networks.mlp import MLP
from dpm_lib.networks.rbf import RBF
from dpm_lib.training.build import build, load_data
from dpm_lib.training.catalogue import RECIPES, get
from dpm_lib.training.recipe import APPLIES, DEFAULTS, Recipe, parse


def recipe(**settings: object) -> Recipe:
    small = {"T": 6} if settings.get("network") == "rbf" else {"width": 8, "depth": 1, "T": 6}
    return get("swiss-roll").override(**small | settings)


def test_the_recipes_of_the_book():
    """What is asked of each; how they are trained is free."""
    asked = {
        "swiss-roll": (0.25, 40, "full", "mlp"),
        "swiss-roll-paper": (0.02, 40, "diagonal", "rbf"),
        "swiss-roll-thin": (0.02, 100, "full", "mlp"),
    }
    for name, fields in asked.items():
        r = get(name)
        assert (r.noise, r.T, r.covariance, r.network) == fields and r.name == name and r.about
    assert set(asked) <= set(RECIPES) and all(name == r.name for name, r in RECIPES.items())


@pytest.mark.parametrize("name", [name for name, r in RECIPES.items() if not r.side])
def test_every_recipe_survives_json_and_builds(name):
    r = get(name)
    assert Recipe.from_dict(json.loads(json.dumps(r.to_dict()))) == r
    model = build(r, dim=load_data(r).dim)
    assert r.T == model.T
    close(model.schedule.beta[1], r.beta_1, rtol=1e-9, atol=0)
    x0 = load_data(r).batch(3, torch.Generator().manual_seed(0))
    assert bool(torch.isfinite(model.trajectory_weights(x0, 2, torch.Generator().manual_seed(0)).log_weights).all())


def test_text_becomes_the_type_of_the_field():
    r = recipe(**parse(["noise=0.1", "steps=7", "learn_schedule=False", "covariance=isotropic", "lr=1"]))
    assert (r.noise, r.steps, r.learn_schedule, r.covariance, r.lr) == (0.1, 7, False, "isotropic", 1.0)
    assert parse(["learn_schedule=TRUE", "data=folder:a=b"]) == {"learn_schedule": True, "data": "folder:a=b"}
    assert get("swiss-roll").override() == get("swiss-roll")


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("nose", "0.1", "--set nose: no such setting; there are: data, noise, T"),
        ("name", "x", "--set name: no such setting"),
        ("noise", "lots", "--set noise: 'lots': need float"),
        ("T", "4.5", "--set T: '4.5': need int"),
        ("T", "1", "T: 1 is less than 2"),
        ("T", "2000", "batch: 1024 is less than T - 1 = 1999"),
        ("side", "8", "side: 8 is for pictures, and the data 'swiss-roll' are none"),
        ("data", "folder:a", "side: 0 is less than 1: say how many pixels the pictures of folder:a are to have"),
        ("covariance", "levels", "covariance: 'levels' is not one of posterior"),
        ("channels", "0", "channels: 0 is less than 1"),
        ("cells", "-1", "cells: -1 does nothing here: it applies to covariance=levels"),
        ("learn_schedule", "yes", "--set learn_schedule: 'yes': need true or false"),
        ("covariance", "banded", "covariance: 'banded' is not one of posterior"),
        ("network", "cnn", "network: 'cnn' is not one of mlp, rbf"),
        ("kernel", "poisson", "kernel: 'poisson' is not one of gaussian, binomial"),
        ("knots", "1", "knots: 1 is not 0, nor between 2 and T - 1 = 39"),
        ("knots", "40", "knots: 40 is not 0"),
        ("frequencies", "-1", "frequencies: -1 is less than 0"),
        ("schedule", "square", "schedule: 'square' is not one of geometric"),
        ("noise", "0", r"noise: 0\.0 is not positive"),
        ("noise", "nan", "noise: nan is not finite"),
        ("lr", "inf", "lr: inf is not finite"),
        ("lr", "-1", r"lr: -1\.0 is not positive"),
        ("tau_T", "0", r"tau_T: 0\.0 is not positive"),
        ("beta_1", "1", r"beta_1: 1\.0 is outside"),
        ("beta_1", "0", r"beta_1: 0\.0 is outside"),
        ("ema", "1", r"ema: 1\.0 is outside"),
        ("ema", "-0.1", r"ema: -0\.1 is outside"),
        ("steps", "0", "steps: 0 is less than 1"),
        ("width", "0", "width: 0 is less than 1"),
        ("batch", "-5", "batch: -5 is less than"),
        ("checkpoint_every", "0", "checkpoint_every: 0 is less than 1"),
        ("sample_every", "-1", "sample_every: -1 is less than 0"),
        ("clip", "-0.5", r"clip: -0\.5 is less than 0"),
        ("precision", "fp16", "precision: 'fp16' is not one of fp32, bf16"),
        ("compile", "1", "--set compile: '1': need true or false"),
    ],
)
def test_a_bad_setting_is_named(key, text, message):
    with pytest.raises(ValueError, match=message):
        get("swiss-roll").override(**parse([f"{key}={text}"]))


IDLE = {
    "swiss-roll": {"units": 64, "channels": 3, "scales": 3, "cells": 4, "dropout": 0.1, "validate_every": 5},
    "swiss-roll-paper": {"width": 8, "depth": 2, "frequencies": 4, "scale": 2.0, "knots": 5},
    "heartbeat": {"noise": 0.1, "covariance": "diagonal", "objective": "simple", "scale": 2.0},
    "heartbeat-paper": {"tau_T": 10.0, "knots": 5},
    "digits": {"noise": 0.1, "units": 64, "scale": 2.0, "knots": 5, "label_dropout": 0.2},
    "textures": {"cells": 4, "tokens": 3, "length": 64},
    "dead-leaves-paper": {"frequencies": 4, "dropout": 0.1, "classes": 2},
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, settings in IDLE.items() for key in settings])
def test_a_setting_that_does_nothing_is_refused(name, key):
    """By keyword, in a record of one's own, and with its default value: all were recorded, and ignored."""
    for value in (IDLE[name][key], DEFAULTS[key]):
        if value != 0:
            with pytest.raises(ValueError, match=f"{key}: .* does nothing here: it applies to "):
                get(name).override(**{key: value})
    with pytest.raises(ValueError, match=f"{key}: .* does nothing here"):
        Recipe(**get(name).to_dict() | {key: IDLE[name][key]})
    old = Recipe.from_dict(get(name).to_dict() | {key: IDLE[name][key]})  # an old record, that says what it was told
    assert getattr(old, key) in (DEFAULTS[key], 0)


def test_the_table_of_settings_has_a_case_for_each():
    assert {key for settings in IDLE.values() for key in settings} == set(APPLIES)
    assert get("digits").override(knots=0) == get("digits")  # zero says that there are none


def test_the_settings_that_apply_can_all_be_set():
    """So a line of `list` may be copied; the whole record may not, for some of it would do nothing."""
    for r in RECIPES.values():
        assert r.override(**r.settings()) == r
        assert r.override(**parse(f"{key}={value}" for key, value in r.settings().items())) == r
    assert "units" not in get("swiss-roll").settings() and "noise" in get("swiss-roll").settings()


def test_what_no_longer_applies_goes_back_to_its_default():
    r = get("swiss-roll-thin").override(network="rbf")
    assert (r.width, r.frequencies, r.scale) == (DEFAULTS["width"], DEFAULTS["frequencies"], DEFAULTS["scale"])
    assert r.units == 16 and r.noise == 0.02


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("digits", {"kernel": "binomial"}, "kernel: 'binomial' does not fit the data 'digits', which need 'gaussian'"),
        ("swiss-roll", {"data": "digits", "kernel": "binomial"}, "kernel: 'binomial' does not fit the data 'digits'"),
        ("textures", {"kernel": "binomial"}, "kernel: 'binomial' does not fit"),
        ("heartbeat", {"kernel": "gaussian", "covariance": "full"}, "kernel: 'gaussian' does not fit"),
        ("mnist", {"side": 32}, "side: mnist has images of 28 pixels a side, not 32"),
        ("digits", {"channels": 3}, "channels: digits has 1, not 3"),
        ("folder", {"side": 0, "network": "mlp"}, "side: 0 is less than 1: say how many pixels the pictures"),
        ("swiss-roll", {"steps": 5.7}, r"steps: 5\.7: need int"),
        ("swiss-roll", {"steps": "5"}, "steps: '5': need int"),
        ("swiss-roll", {"compile": 1}, "compile: 1: need bool"),
        ("swiss-roll", {"nose": 1}, "nose: no such setting; there are: data, noise"),
    ],
)  # fmt: skip
def test_a_change_that_does_not_fit_is_named(name, settings, message):
    with pytest.raises(ValueError, match=message):
        get(name).override(**settings)


def test_changes_keep_their_types():
    r = get("swiss-roll").override(steps=np.int64(5), lr=np.float64(0.5), compile=True)
    assert (r.steps, r.lr, r.compile) == (5, 0.5, True) and type(r.steps) is int


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"name": "a"}, "recipe: missing fields about"),
        ({"name": "a", "about": "b", "colour": 1, "size": 2}, "recipe: unknown fields colour, size"),
        ({"name": "a", "about": "b", "T": 4.0}, r"T: 4\.0: need int"),
        ({"name": "a", "about": "b", "T": "40"}, "T: '40': need int"),
        ({"name": "a", "about": "b", "noise": True}, "noise: True: need float"),
        ({"name": "a", "about": "b", "T": True}, "T: True: need int"),
        ({"name": "a", "about": "b", "learn_schedule": 1}, "learn_schedule: 1: need bool"),
        ({"name": 3, "about": "b"}, "name: 3: need str"),
    ],
)
def test_a_bad_record_is_named(record, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(record)


def test_a_whole_number_will_do_for_a_float():
    assert Recipe.from_dict({"name": "a", "about": "b", "noise": 1}).noise == 1


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="recipe: 'roll' is not known; there are: swiss-roll, "):
        get("roll")
    with pytest.raises(ValueError, match="data: 'faces' is not known"):
        load_data(recipe(data="faces"))


def test_the_schedule_is_the_one_asked_for():
    learned = build(recipe(T=9, beta_1=1e-3, tau_T=30.0)).schedule
    assert isinstance(learned, LearnedSchedule)
    close(learned.tau, schedules.geometric(9, 1e-3, 30.0).tau, rtol=1e-9)
    for name, made in (
        ("geometric", schedules.geometric(9, 1e-3, 30.0)),
        ("cosine", schedules.cosine(9, 1e-3, 30.0)),
        ("linear", schedules.linear(9, 1e-3)),
    ):
        fixed = build(
            recipe(
                T=9, beta_1=1e-3, schedule=name, learn_schedule=False, **({} if name == "linear" else {"tau_T": 30.0})
            )
        ).schedule
        assert not isinstance(fixed, LearnedSchedule) and not list(fixed.parameters())
        close(fixed.tau, made.tau)


def test_the_network_is_the_one_asked_for():
    mlp = build(recipe(width=12, depth=4, frequencies=3)).reverse.network
    assert isinstance(mlp, MLP) and mlp.projection.shape == (2, 3)
    assert [layer.out_features for layer in mlp.layers] == [12] * 4 + [5]
    rbf = build(recipe(network="rbf", units=7, covariance="diagonal")).reverse.network
    assert isinstance(rbf, RBF) and rbf.readout.shape == (7, 7, 4)
    assert build(recipe(), dim=3).reverse.network.layers[-1].out_features == 9


def test_the_seed_decides_the_weights():
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.double().flatten() for p in build(recipe(), seed).parameters()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_an_untrained_model_predicts_the_shrunk_point():
    """The networks start at zero: E[x_0 | x_t] = sqrt(alpha_bar) x_t, with the spread of unit-variance data."""
    model, x = build(recipe()), randn(5, 2)
    with torch.no_grad():
        x0_hat, factor = model.reverse.moments(x, 3, model.kernel)
    alpha_bar = model.schedule.alpha_bar[3].detach()
    close(x0_hat, alpha_bar.sqrt() * x)
    close(factor, (1 - alpha_bar).sqrt() * torch.eye(2, dtype=torch.float64))


def test_bits_get_the_binomial_kernel():
    model = build(get("heartbeat"), dim=20)
    assert isinstance(model.kernel, BinomialKernel) and isinstance(model.schedule, LearnedSchedule)
    assert model.reverse.network.layers[-1].out_features == 20
    paper = build(get("heartbeat-paper"), dim=20).schedule
    close(paper.beta[1:], [1 / (2000 - t + 1) for t in range(1, 2001)], rtol=1e-9)
