"""Data sets: held-out points are fixed and never drawn in training."""

import pytest
import torch
from problems import close, rng, roll

from dpm_lib.data.dataset import Data
from dpm_lib.data.registry import load
from dpm_lib.probability.swiss_roll import SwissRoll


def test_the_swiss_roll():
    data = load("swiss-roll", noise=0.1)
    assert isinstance(data.target, SwissRoll) and data.target.noise == 0.1 and data.dim == 2
    assert load("swiss-roll").target.noise == 0.25
    x = data.batch(7, rng(3))
    assert x.shape == (7, 2) and x.dtype == torch.float64
    assert torch.equal(x, data.target.sample(7, rng(3)))


def test_batches_follow_their_generator():
    data, generator = Data("roll", roll(0.25)), rng(0)
    first, second = data.batch(5, generator), data.batch(5, generator)
    assert not torch.equal(first, second)
    again = rng(0)
    close(torch.cat([data.batch(5, again), data.batch(5, again)]), torch.cat([first, second]))


def test_held_out_points_are_fixed_by_their_seed_and_apart_from_training():
    data = Data("roll", roll(0.25))
    assert torch.equal(data.held_out(100), data.held_out(100, seed=0))
    assert not torch.equal(data.held_out(100), data.held_out(100, seed=1))
    seen = torch.cat([data.batch(100, rng(seed)) for seed in range(5)])
    assert float(torch.cdist(data.held_out(100), seen).min()) > 0


def test_an_unknown_name_is_refused():
    with pytest.raises(
        ValueError, match="data: 'faces' is not known; there are: swiss-roll, heartbeat, digits, mnist-5k"
    ):
        load("faces")
