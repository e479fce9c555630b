"""Langevin's steps at one level, down a ladder, and with weights: moments that are known, and errors."""

import math

import pytest
import torch
from problems import blobs, close, close_covariance, close_mean, gaussian, randn, rng

from dpm_lib.diffusion import langevin
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.target_densities import Normal
from dpm_lib.sde import chain_law, processes

M = torch.tensor([0.5, -1.2], dtype=torch.float64)


def two_modes(share: float, variance: float = 0.09) -> Mixture:
    return Mixture(
        torch.tensor([[-1.5], [1.5]], dtype=torch.float64),
        torch.tensor([1 - share, share], dtype=torch.float64),
        variance,
    )


def by_hand(score, z, t, step, generator):
    return z + 0.5 * step * score(z, t) + math.sqrt(step) * torch.randn(z.shape, generator=generator, dtype=z.dtype)


def test_a_step_is_that_of_the_sde():
    z, seen = randn(7, 2), []
    end = langevin.langevin(blobs().score, z, 0.3, 0.1, 2, rng(3), lambda *told: seen.append(told))
    process, generator = processes.langevin(lambda z: blobs().score(z, 0.3), 0.5, 1.0), rng(3)
    for _ in range(2):
        z = process.step(z, 0.0, 0.1, math.sqrt(0.1) * torch.randn(7, 2, generator=generator, dtype=torch.float64))
    close(end, z)
    assert [told[:2] for told in seen] == [(1, 0.3), (2, 0.3)]
    close(seen[1][2], end)


@pytest.mark.parametrize("step", [0.05, 0.7, 2.9])
def test_a_gaussian_comes_out_wider(step):
    """Draws of the law that the chain leaves unchanged, one step: mean and variance stay."""
    v, t = 0.5, 0.3
    wide = langevin.stationary_variance(v + t, step)
    z = M + math.sqrt(wide) * randn(40_000, 2, seed=1)
    after = langevin.langevin(gaussian(M, v).score, z, t, step, 1, rng(2))
    close_covariance(after, M, wide * torch.eye(2, dtype=torch.float64))
    assert wide > v + t


def test_the_exact_chain_on_the_line_reaches_that_variance():
    """No draws: the law of the Euler chain by quadrature, 60 steps from N(0, 1)."""
    target, step = gaussian(torch.zeros(1, dtype=torch.float64), 0.6), 0.8
    process = processes.langevin(lambda z: target.score(z, 0.2), 0.5, 1.0)
    law = chain_law.chain_law(process, gaussian(torch.zeros(1, dtype=torch.float64), 1.0), step * torch.arange(61))
    wide = langevin.stationary_variance(0.8, step)
    assert law.kolmogorov(gaussian(torch.zeros(1, dtype=torch.float64), wide)) < 1e-5
    assert law.kolmogorov(target, 0.2) > 0.03


def test_the_ladder_takes_the_same_steps():
    """ratio times the level at each, twice; the callback counts through."""
    z, seen, generator = randn(4, 2), [], rng(5)
    levels = [4.0, 1.0, 0.2]
    end = langevin.annealed_langevin(blobs().score, z, levels, 2, rng(5), 0.3, lambda *told: seen.append(told))
    for t in levels:
        for _ in range(2):
            z = by_hand(blobs().score, z, t, 0.3 * t, generator)
    close(end, z)
    assert [told[:2] for told in seen] == [(1, 4.0), (2, 4.0), (3, 1.0), (4, 1.0), (5, 0.2), (6, 0.2)]


def test_the_weighted_ladder_takes_them_too():
    seen = []
    levels, start = torch.tensor([4.0, 1.0, 0.25]), Normal(2, 2.0)
    found = langevin.weighted_langevin(blobs(), start, levels, 2, 5, rng(5), 0.3, lambda *told: seen.append(told))
    generator = rng(5)
    z = langevin.annealed_langevin(blobs().score, start.sample(5, generator), levels, 2, generator, 0.3)
    close(found.x, z)
    assert [told[:2] for told in seen] == [(1, 4.0), (2, 4.0), (3, 1.0), (4, 1.0), (5, 0.25), (6, 0.25)]
    close(seen[-1][3], found.log_weights)


def log_normal(x, mean, variance):
    return torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x).sum(-1)


def test_weights_are_ratios_of_densities_of_whole_paths():
    """By hand: density of the path walked back from P_t, over that of the path walked forth."""
    levels, start, path = [2.0, 0.4], Normal(2, 1.5), []
    found = langevin.weighted_langevin(blobs(), start, levels, 1, 6, rng(7), 0.5, lambda k, t, z, w: path.append(z))
    states = [start.sample(6, rng(7)), *path]
    log_w = blobs().log_prob(states[-1], levels[-1]) - start.log_prob(states[0])
    for t, z, after in zip(levels, states, path, strict=False):
        mean = lambda z, t=t: z + 0.25 * t * blobs().score(z, t)  # noqa: E731
        log_w = log_w + log_normal(z, mean(after), 0.5 * t) - log_normal(after, mean(z), 0.5 * t)
    close(found.log_weights, log_w)


@pytest.mark.parametrize(("ratio", "levels"), [(0.2, [4.0, 1.0, 0.3, 0.1]), (1.5, [4.0, 0.1])])
def test_weights_are_fair_however_coarse_the_ladder(ratio, levels):
    """E[w] = 1 and E[w, z > 0] = P(z > 0), while the particles alone are off."""
    target = two_modes(0.2)
    found = langevin.weighted_langevin(target, Normal(1, 2.2), levels, 3, 20_000, rng(8), ratio)
    w, right = found.log_weights.exp(), (found.x[:, 0] > 0).double()
    share = 1 - float(target.cdf(torch.zeros(1, 1), 0.1))
    close_mean(torch.stack([w, w * right], 1), torch.tensor([1.0, share]))
    assert float(right.mean()) > share + 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": 0.0}, "t: 0.0: need a positive"),
        ({"step": -0.1}, "step: -0.1: need a positive"),
        ({"steps": 0}, "steps: 0: need at least 1"),
        ({"z": torch.zeros(3)}, r"z: need shape \(n, d\)"),
        ({"score": lambda z, t: z[:, :1]}, r"score: answers with shape \(4, 1\)"),
        ({"score": lambda z, t: z / 0}, "score: .* time 0.3: need finite"),
    ],
)
def test_bad_input_at_one_level_is_named(change, message):
    given = {"score": blobs().score, "z": randn(4, 2), "t": 0.3, "step": 0.1, "steps": 2, "generator": rng()}
    with pytest.raises(ValueError, match=message):
        langevin.langevin(**given | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": [1.0, 1.0, 0.1]}, "levels: 1.0 at index 1 after 1.0: need them to fall"),
        ({"levels": [1.0, 0.0]}, "levels: 0.0 at index 1: need positive"),
        ({"levels": [math.inf, 1.0]}, "levels: inf at index 0: need positive"),
        ({"levels": []}, r"levels: shape \(0,\): need at least one"),
        ({"ratio": 4.0}, r"ratio: 4.0: need a number in \(0, 4\)"),
        ({"steps": 0}, "steps: 0: need at least 1"),
    ],
)
def test_bad_ladders_are_named(change, message):
    given = {"levels": [1.0, 0.1], "steps": 2, "generator": rng()}
    with pytest.raises(ValueError, match=message):
        langevin.annealed_langevin(blobs().score, randn(4, 2), **given | change)
    with pytest.raises(ValueError, match=message):
        langevin.weighted_langevin(blobs(), Normal(2), n=4, **given | change)


def test_a_chain_that_runs_away_has_no_variance():
    with pytest.raises(ValueError, match=r"step: 4.0: need less than 4 variances, 4, or"):
        langevin.stationary_variance(1.0, 4.0)
    with pytest.raises(ValueError, match=r"variance: 0.0: need a positive"):
        langevin.stationary_variance(0.0, 0.1)


def test_a_density_that_is_no_number_is_named():
    class Broken(Mixture):
        def log_prob(self, z, t=0.0):
            return super().log_prob(z, t) / 0.0 * 0

    broken = Broken(torch.zeros(1, 2), torch.ones(1), 1.0)
    with pytest.raises(ValueError, match=r"target.log_prob: nan at point 0, at level 0.5"):
        langevin.weighted_langevin(broken, Normal(2), [0.5], 1, 3, rng())
