"""The path and its moves."""

import math

import pytest
import torch
from problems import close, rng
from scipy.stats import kstest

from dpm_lib.montecarlo import ais, annealing_path, smc
from dpm_lib.probability.target_densities import Normal, TwoClumps


def test_metropolis_leaves_the_target_alone():
    target = TwoClumps(1, distance=2.0)
    path = annealing_path.Path(target.log_prob, Normal(1))
    x = target.sample(4000, rng(0))
    ends = path.ends(x)
    for step in range(20):
        x, ends, moved = annealing_path.metropolis_step(x, path.ends, ends, 1.0, 1.0, rng(step + 1))
    assert 0.2 < float(moved.double().mean()) < 0.95
    close(ends, path.ends(x))
    assert kstest(x[:, 0].numpy(), target.sample(50_000, rng(50))[:, 0].numpy()).pvalue > 1e-3


def test_noise_of_the_walk_is_standard_normal():
    x, flat = torch.zeros(50_000, 2, dtype=torch.float64), lambda x: torch.zeros(2, len(x), dtype=torch.float64)
    y, _, moved = annealing_path.metropolis_step(x, flat, flat(x), 1.0, 1.0, rng(0))
    assert y.dtype == torch.float64 and bool(moved.all())
    for column in (y[:, 0], -y[:, 1], (y[:, 0] + y[:, 1]) / math.sqrt(2)):
        assert kstest(column.numpy(), "norm").pvalue > 1e-3


def test_next_temperature_keeps_the_share_it_should():
    gain = 3 * Normal(1).sample(1000, rng(0))[:, 0]
    log_w = Normal(1).sample(1000, rng(1))[:, 0]
    b = annealing_path.next_temperature(log_w, gain, 0.2, keep=0.9)
    share, v = torch.softmax(log_w, 0), ((b - 0.2) * gain).exp()
    assert float((share * v).sum() ** 2 / (share * v * v).sum()) == pytest.approx(0.9, abs=2e-3)
    assert annealing_path.next_temperature(log_w, 1e-3 * gain, 0.2) == 1.0


@pytest.mark.parametrize("slope", [0.5, 1.0])
def test_next_temperature_heeds_the_weights_so_far(slope):
    """With weights that depend on the gain, equal ones would give another temperature."""
    gain = 3 * Normal(1).sample(1000, rng(0))[:, 0]
    log_w = slope * gain + 0.1 * Normal(1).sample(1000, rng(1))[:, 0]
    b = annealing_path.next_temperature(log_w, gain, 0.2, keep=0.9)
    share, v = torch.softmax(log_w, 0), ((b - 0.2) * gain).exp()
    assert float((share * v).sum() ** 2 / (share * v * v).sum()) == pytest.approx(0.9, abs=2e-3)
    assert abs(annealing_path.next_temperature(torch.zeros_like(log_w), gain, 0.2, keep=0.9) - b) > 0.02


def test_next_temperature_of_a_huge_gain():
    """With gains of -1e30, 2 log sum v and log sum v^2 agree in all their digits, though one particle has it all."""
    x = Normal(1).sample(500, rng(0))[:, 0]
    small = annealing_path.next_temperature(torch.zeros(500).double(), -0.5 * x.square(), 0.0)
    huge = annealing_path.next_temperature(torch.zeros(500).double(), -0.5e30 * x.square(), 0.0)
    assert huge == pytest.approx(1e-30 * small, rel=3e-3)


def test_the_step_is_shaped_like_the_cloud():
    mix = torch.tensor([[1.0, 0.0, 0.0], [0.5, 1e-7, 0.0], [0.0, 0.0, 1e7]], dtype=torch.float64)
    x, log_w = Normal(3).sample(500, rng(0)) @ mix.mT, Normal(1).sample(500, rng(1))[:, 0]
    step = annealing_path.cloud_step(x, log_w)
    wanted = 2.38**2 / 3 * torch.cov(x.mT, correction=0, aweights=torch.softmax(log_w, 0))
    size = wanted.diagonal().sqrt()
    close(step @ step.mT / size.outer(size), wanted / size.outer(size), rtol=1e-7, atol=1e-8)
    assert (step.triu(1) == 0).all()


def test_a_cloud_without_width_does_not_stop_the_run():
    one_place = torch.ones(10, 2, dtype=torch.float64)
    assert (annealing_path.cloud_step(one_place, torch.zeros(10).double()) == 0).all()
    line = Normal(1).sample(10, rng(0)) * torch.tensor([[1.0, 2.0]])
    assert torch.isfinite(annealing_path.cloud_step(line, torch.zeros(10).double())).all()
    assert torch.isfinite(smc.sequential_monte_carlo(TwoClumps(2).log_prob, Normal(2), 1, rng(0)).log_z)


def test_steps_of_a_walk_are_checked():
    with pytest.raises(ValueError, match=r"steps: shape \(3, 2\): need one number"):
        annealing_path.RandomWalk(torch.ones(3, 2))
    with pytest.raises(ValueError, match="moves: 0: need at least 1"):
        annealing_path.RandomWalk(moves=0)
    with pytest.raises(ValueError, match="steps: 3 of them: need one per temperature, for k = 3 too"):
        ais.annealed_importance_sampling(
            TwoClumps(1).log_prob,
            Normal(1),
            torch.linspace(0, 1, 6),
            5,
            rng(0),
            annealing_path.RandomWalk([1.0, 1.0, 1.0]),
        )


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ([0.1, 1.0], "temperatures: 0.1 at index 0: need them to run from 0 to 1"),
        ([0.0, 0.5, 0.9], "temperatures: 0.9 at index 2: need them to run from 0 to 1"),
        ([0.0, 0.5, 0.5, 1.0], "temperatures: 0.5 at index 2 after 0.5: need them to increase"),
        ([0.0], r"temperatures: shape \(1,\)"),
        ([0.0, math.nan, 1.0], "temperatures: nan at index 1"),
    ],
)
def test_bad_temperatures_are_named(b, message):
    with pytest.raises(ValueError, match=message):
        ais.annealed_importance_sampling(
            TwoClumps(1).log_prob, Normal(1), torch.tensor(b, dtype=torch.float64), 5, rng(0)
        )
