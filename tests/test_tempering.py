"""The path and its moves."""

import math

import pytest
import torch
from problems import close, rng
from scipy.stats import kstest

from dpm_lib import annealing, tempering
from dpm_lib.annealing import Normal
from dpm_lib.targets import TwoClumps


def test_metropolis_leaves_the_target_alone():
    target = TwoClumps(1, distance=2.0)
    path = tempering.Path(target.log_prob, Normal(1))
    x = target.sample(4000, rng(0))
    ends = path.ends(x)
    for step in range(20):
        x, ends, moved = tempering.metropolis_step(x, path.ends, ends, 1.0, 1.0, rng(step + 1))
    assert 0.2 < float(moved.double().mean()) < 0.95
    close(ends, path.ends(x))
    assert kstest(x[:, 0].numpy(), target.sample(50_000, rng(50))[:, 0].numpy()).pvalue > 1e-3


def test_noise_of_the_walk_is_standard_normal():
    x, flat = torch.zeros(50_000, 2, dtype=torch.float64), lambda x: torch.zeros(2, len(x), dtype=torch.float64)
    y, _, moved = tempering.metropolis_step(x, flat, flat(x), 1.0, 1.0, rng(0))
    assert y.dtype == torch.float64 and bool(moved.all())
    for column in (y[:, 0], -y[:, 1], (y[:, 0] + y[:, 1]) / math.sqrt(2)):
        assert kstest(column.numpy(), "norm").pvalue > 1e-3


def test_next_temperature_keeps_the_share_it_should():
    gain = 3 * Normal(1).sample(1000, rng(0))[:, 0]
    log_w = Normal(1).sample(1000, rng(1))[:, 0]
    b = tempering.next_temperature(log_w, gain, 0.2, keep=0.9)
    share, v = torch.softmax(log_w, 0), ((b - 0.2) * gain).exp()
    assert float((share * v).sum() ** 2 / (share * v * v).sum()) == pytest.approx(0.9, abs=2e-3)
    assert tempering.next_temperature(log_w, 1e-3 * gain, 0.2) == 1.0


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ([0.1, 1.0], "temperatures: 0.1 at index 0: they must run from 0 to 1"),
        ([0.0, 0.5, 0.9], "temperatures: 0.9 at index 2: they must run from 0 to 1"),
        ([0.0, 0.5, 0.5, 1.0], "temperatures: 0.5 at index 2 after 0.5: they must increase"),
        ([0.0], r"temperatures: shape \(1,\)"),
        ([0.0, math.nan, 1.0], "temperatures: nan at index 1"),
    ],
)
def test_bad_temperatures_are_named(b, message):
    with pytest.raises(ValueError, match=message):
        annealing.annealed_importance_sampling(
            TwoClumps(1).log_prob, Normal(1), torch.tensor(b, dtype=torch.float64), 5, rng(0)
        )
