"""The exact law of a sampler: against closed forms for one Gaussian, and against many draws for mixtures."""

import math
from itertools import pairwise

import pytest
import torch
from problems import blobs, close, gaussian, randn, rng

from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import SAMPLERS, MixtureDenoiser, ancestral, ddim, dpm_solver_2m, family, heun
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.probability.mixtures import Mixture

SCHEDULE = geometric(60, beta_1=1e-4, tau_T=100.0)
LEVELS = [60, 51, 40, 33, 21, 9, 0]
NORMAL = gaussian(torch.tensor([0.7], dtype=torch.float64), 0.3)
LINE = Mixture(torch.tensor([[-1.5], [1.0]], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64), 0.05)
WAYS = [
    ("ancestral", {}),
    ("ancestral", {"variance": "fixed_large"}),
    ("ddim", {}),
    ("ddim", {"eta": 0.6}),
    ("family", {"lam": 1.4}),
    ("heun", {}),
    ("heun", {"churn": 2.0}),
    ("dpm-solver-2m", {}),
]


@pytest.mark.equation("eq-smp-law")
@pytest.mark.parametrize(("name", "own"), WAYS)
def test_of_one_gaussian_it_is_normal(name, own):
    """All is linear: the start and each noise enter by a coefficient, found by giving one of them at a time."""
    model, units = MixtureDenoiser(NORMAL, SCHEDULE), 12
    given = iter(range(1, units))

    def one_at_a_time(mean, width):
        return mean + width * torch.eye(units, dtype=torch.float64)[next(given)].unsqueeze(1)

    x = torch.eye(units, dtype=torch.float64)[0].unsqueeze(1)  # row 0: the start; the last row: nothing at all
    end = SAMPLERS[name](model, x, LEVELS, one_at_a_time, **own)[:, 0]
    mean, std = end[-1], (end[:-1] - end[-1]).square().sum().sqrt()
    law = sampler_law(SAMPLERS[name], model, LEVELS, **own)
    close(law.cdf, torch.special.ndtr((law.z - mean) / std), rtol=0, atol=1e-10)
    assert not math.isclose(std, math.sqrt(0.3), rel_tol=2e-3)  # few steps: not the data's


@pytest.mark.equation("eq-smp-ddim")
def test_ddim_of_one_gaussian_by_hand():
    """E[x_0 | x_t] = m + k (x_t - sqrt(alpha_bar) m), k = sqrt(alpha_bar) v / (alpha_bar v + 1 - alpha_bar)."""
    m, v, eta = 0.7, 0.3, 0.6
    mean, variance = 0.0, 1.0
    levels = [60, 51, 40, 21, 9, 0]  # an odd number of steps: a sign at each does not cancel
    for t, s in pairwise(levels):
        a, b = float(SCHEDULE.alpha_bar[t]), float(SCHEDULE.alpha_bar[s])
        k = math.sqrt(a) * v / (a * v + 1 - a)
        sigma2 = eta**2 * (1 - b) / (1 - a) * (1 - a / b)  # as DDIM's paper has it
        along = math.sqrt((1 - b - sigma2) / (1 - a))
        slope = math.sqrt(b) * k + along * (1 - math.sqrt(a) * k)
        mean = math.sqrt(b) * m + slope * (mean - math.sqrt(a) * m)
        variance = slope**2 * variance + sigma2
    law = sampler_law(ddim, MixtureDenoiser(NORMAL, SCHEDULE), levels, eta=eta)
    close(law.cdf, torch.special.ndtr((law.z - mean) / math.sqrt(variance)), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "own"), WAYS)
def test_of_a_mixture_it_is_the_law_of_draws(name, own):
    """Kolmogorov's distance to 20,000 draws is below its 99.99% point."""
    target = Mixture(LINE.centers, LINE.weights, 0.2)
    model, n = MixtureDenoiser(target, SCHEDULE), 20_000
    law = sampler_law(SAMPLERS[name], model, LEVELS, **own)
    x = SAMPLERS[name](model, randn(n, 1, seed=4), LEVELS, rng(5), **own)[:, 0].sort().values.contiguous()
    found = torch.searchsorted(x, law.z.contiguous()) / n
    assert float((found - law.cdf).abs().max()) < 2.23 / math.sqrt(n)
    assert law.kolmogorov(target) > 0.004  # and it is not the data's


def test_more_places_change_nothing():
    """Of what noise blurs, the table's rule is exact to rounding."""
    model = MixtureDenoiser(LINE, SCHEDULE)
    for sampler, own in ((ancestral, {}), (family, {"lam": 1.4})):
        coarse = sampler_law(sampler, model, LEVELS, places=801, **own)
        fine = sampler_law(sampler, model, LEVELS, places=1901, **own)
        at = (coarse.z > fine.z[0]) & (coarse.z < fine.z[-1])
        i = torch.searchsorted(fine.z, coarse.z[at]).clamp(1, len(fine.z) - 1)
        share = (coarse.z[at] - fine.z[i - 1]) / (fine.z[i] - fine.z[i - 1])
        between = fine.cdf[i - 1] + share * (fine.cdf[i] - fine.cdf[i - 1])
        close(coarse.cdf[at], between, rtol=0, atol=2e-5)  # of the straight line, not of the law


def test_a_map_that_folds():
    """Heun's long steps throw points across each other: places cross, and the law is still that of the draws."""
    model, levels, n = MixtureDenoiser(Mixture(LINE.centers, LINE.weights, 0.005), SCHEDULE), [60, 40, 21, 1, 0], 40_000
    path = heun(model, torch.linspace(-3, 3, 101, dtype=torch.float64).unsqueeze(1), levels)[:, 0]
    assert not bool((path.diff() > 0).all())
    law = sampler_law(heun, model, levels)
    assert bool((law.z.diff() >= 0).all() and (law.cdf.diff() >= -1e-15).all())
    x = heun(model, randn(n, 1, seed=7), levels)[:, 0].sort().values.contiguous()
    found = torch.searchsorted(x, law.z.contiguous()) / n
    assert float((found - law.cdf).abs().max()) < 2.23 / math.sqrt(n)


def test_the_error_falls_as_the_order_says():
    """Wasserstein distance to the data, from all the way up, as calls double: by 2 for DDIM, by 4 for 2M."""
    schedule = geometric(161, beta_1=1e-3, tau_T=4e4)
    model = MixtureDenoiser(Mixture(LINE.centers, LINE.weights, 0.5), schedule)
    for sampler, order in ((ddim, 1.0), (ancestral, 1.0), (dpm_solver_2m, 2.0)):
        found = [
            sampler_law(sampler, model, [*range(161, 0, -step), 0], places=701).wasserstein(model.target)
            for step in (8, 4, 2)
        ]
        for coarse, fine in pairwise(found):
            assert abs(math.log2(coarse / fine) - order) < 0.45, (sampler.__name__, found)


def test_bad_input():
    model = MixtureDenoiser(LINE, SCHEDULE)
    with pytest.raises(ValueError, match="model: needs a target on the line, and this one has 2 dimensions"):
        sampler_law(ddim, MixtureDenoiser(blobs(), SCHEDULE), LEVELS)
    with pytest.raises(ValueError, match="places: 20: need at least 100"):
        sampler_law(ddim, model, LEVELS, places=20)
    with pytest.raises(ValueError, match=r"levels: \[60, 51\]: need two or more, of which the last is 0"):
        sampler_law(ddim, model, LEVELS[:2])
    with pytest.raises(ValueError, match="eta: -1: need"):
        sampler_law(ddim, model, LEVELS, eta=-1)
    with pytest.raises(ValueError, match=r"levels: .*: noise so faint needs a table of more than 24000 places"):
        sampler_law(ddim, model, LEVELS, eta=1e-4)
