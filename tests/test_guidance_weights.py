"""Weighted guidance: against the tilt on the line, exact for every number of steps, and in the limit of short ones."""

import math

import pytest
import torch
from problems import close, randn, rng

from dpm_lib.diffusion.guidance import Guided
from dpm_lib.diffusion.guidance_weights import GuidedDensity, corrected, rate, weighted_guidance
from dpm_lib.diffusion.samplers import MixtureDenoiser, ancestral, ddim
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.diffusion.tilted_law import TiltedLaw
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.resampling import ResampledSamples


def mixture(centers: list[float], weights: list[float], variance: float) -> Mixture:
    place = torch.tensor(centers, dtype=torch.float64).unsqueeze(1)
    return Mixture(place, torch.tensor(weights, dtype=torch.float64), variance)


CASES = {  # class, all
    "two of one width": (mixture([1.0], [1.0], 1.0), mixture([-1.0, 1.0], [0.5, 0.5], 1.0)),
    "two in the class": (mixture([0.3, 1.4], [0.25, 0.75], 0.1), mixture([-1.0, 0.3, 1.4], [0.6, 0.1, 0.3], 0.1)),
    "close together": (mixture([0.0, 2.0], [0.5, 0.5], 0.5), mixture([-2.0, 0.0, 2.0], [0.4, 0.3, 0.3], 0.5)),
    "narrow in wide": (mixture([1.0], [1.0], 0.5), mixture([0.0], [1.0], 1.0)),
}
TOP = 400.0
START = mixture([0.0], [1.0], TOP + 1)
LEVELS = [*torch.logspace(math.log10(TOP), -3, 36, dtype=torch.float64).tolist(), 0.0]


def off_by_errors(case, w, n=8000, runs=1, levels=LEVELS, **own):
    """How many standard errors the weighted mean and Z are away from the tilt's.

    w (x - m) has expectation 0 at the tilt's mean m, at any number of particles: no bias of a ratio. Where particles
    are not independent, since they were resampled, the unit is a run.
    """
    conditional, unconditional = CASES[case]
    exact, density, found = TiltedLaw(conditional, unconditional, w), GuidedDensity(conditional, unconditional, w), []
    for seed in range(runs):
        r = weighted_guidance(density, START, levels, n, rng(seed), **own)
        weights = (r.log_weights - exact.log_z).exp()
        found.append(torch.stack([weights * (r.x[:, 0] - exact.mean()), weights - 1], 1))
    values = found[0] if runs == 1 else torch.stack(found).mean(1)
    errors = values.std(0) / math.sqrt(len(values))
    assert float(errors.max()) < 0.2  # a wrong weight has a large one, and must not hide behind it
    return float((values.mean(0) / errors).abs().max())


@pytest.mark.parametrize("w", [0.5, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("case", list(CASES))
def test_particles_moved_by_the_class_have_the_tilts_mean(case, w):
    """Moved by the class's own score, weighted for the tilt: within 3 standard errors on every case."""
    assert off_by_errors(case, w, threshold=0.0, score=CASES[case][0].score) < 3


@pytest.mark.parametrize(
    ("case", "w"),
    [("two of one width", 0.5), ("two in the class", 2.0), ("close together", 2.0), ("narrow in wide", 5.0)],
)
def test_guided_particles_have_the_tilts_mean(case, w):
    """Moved by the guided score, resampled on the way."""
    assert off_by_errors(case, w, n=400, runs=10) < 3


def test_four_steps_are_exact_too():
    """And each part of the weight counts: the start, the density's ratio, and both kernels."""
    assert off_by_errors("narrow in wide", 2.0, threshold=0.0, levels=[TOP, 20.0, 2.0, 0.3, 0.0]) < 3


def test_in_the_limit_no_density_is_needed():
    """The flow moves places of a table, and draws nothing: with its weights it comes to the tilt, as 1 / steps."""
    conditional, unconditional = CASES["two of one width"]
    x = torch.linspace(-9, 9, 601, dtype=torch.float64).unsqueeze(1)
    for w in (0.5, 2.0):
        exact, errors = TiltedLaw(conditional, unconditional, w), []
        for T in (150, 300):
            schedule = geometric(T, beta_1=1e-3, tau_T=1e6)
            model = Guided(MixtureDenoiser(conditional, schedule), MixtureDenoiser(unconditional, schedule), w)
            found = corrected(ddim, model, x, range(T, -1, -1))
            share = torch.softmax(found.log_weights - 0.5 * x[:, 0].square(), 0)
            errors.append(float(share @ found.x[:, 0]) - exact.mean())
            plain = float(torch.softmax(-0.5 * x[:, 0].square(), 0) @ found.x[:, 0])
        assert abs(errors[1]) < 0.03 < 0.08 < abs(plain - exact.mean())
        assert 1.7 < errors[0] / errors[1] < 2.4


def test_of_draws_in_the_limit():
    conditional, unconditional = CASES["two of one width"]
    exact, schedule = TiltedLaw(conditional, unconditional, 2.0), geometric(200, beta_1=1e-3, tau_T=1e4)
    model = Guided(MixtureDenoiser(conditional, schedule), MixtureDenoiser(unconditional, schedule), 2.0)
    found = corrected(ancestral, model, randn(4000, 1, seed=1), range(200, -1, -1), rng(2))
    error = exact.std() / math.sqrt(float(found.ess))
    assert abs(float(found.mean()) - exact.mean()) < 4 * error
    assert abs(float(found.x.mean()) - exact.mean()) > 10 * error


def test_the_rate_is_of_the_two_scores():
    conditional, unconditional = CASES["two in the class"]
    schedule = geometric(40, beta_1=1e-3, tau_T=100.0)
    model = Guided(MixtureDenoiser(conditional, schedule), MixtureDenoiser(unconditional, schedule), 3.0)
    x = randn(9, 1, seed=3)
    for t in (1, 20, 40):
        z, tau = x / schedule.alpha_bar[t].sqrt(), float(schedule.tau[t])
        apart = (conditional.score(z, tau) - unconditional.score(z, tau)).square().sum(1)
        close(rate(model, x, t), 3.0 * apart, rtol=1e-8, atol=1e-10)


def test_the_callback_and_what_comes_back():
    conditional, unconditional = CASES["narrow in wide"]
    density, seen = GuidedDensity(conditional, unconditional, 2.0), []
    r = weighted_guidance(
        density,
        START,
        LEVELS,
        50,
        rng(1),
        threshold=0,
        callback=lambda s, z, log_weights: seen.append((s, z, log_weights)),
    )
    assert [s for s, _, _ in seen] == LEVELS[1:]
    close(seen[-1][1], r.x, rtol=0, atol=0)
    close(seen[-1][2], r.log_weights, rtol=0, atol=0)
    assert not isinstance(r, ResampledSamples)
    assert isinstance(weighted_guidance(density, START, LEVELS, 50, rng(1)), ResampledSamples)
    z = randn(7, 1, seed=4).requires_grad_()
    (slope,) = torch.autograd.grad(density.log_prob(z, 0.4).sum(), z)
    close(density.score(z.detach(), 0.4), slope)


def test_bad_input():
    conditional, unconditional = CASES["narrow in wide"]
    density = GuidedDensity(conditional, unconditional, 2.0)
    with pytest.raises(ValueError, match="w: nan: need a finite number, at least 0"):
        GuidedDensity(conditional, unconditional, math.nan)
    with pytest.raises(ValueError, match=r"levels: 2.0 after 1.0: need a fall at every step"):
        weighted_guidance(density, START, [1.0, 2.0], 5, rng())
    with pytest.raises(ValueError, match=r"levels: \[1.0\]: need two or more"):
        weighted_guidance(density, START, [1.0], 5, rng())
    with pytest.raises(ValueError, match=r"levels: -1.0: need a finite number, at least 0"):
        weighted_guidance(density, START, [1.0, -1.0], 5, rng())
    with pytest.raises(ValueError, match="threshold: 2: need"):
        weighted_guidance(density, START, LEVELS, 5, rng(), threshold=2)
    with pytest.raises(ValueError, match=r"score: answers with shape \(5,\): need \(5, 1\)"):
        weighted_guidance(density, START, LEVELS, 5, rng(), score=lambda z, t: z[:, 0])
    schedule = geometric(40, beta_1=1e-3, tau_T=100.0)
    pair = MixtureDenoiser(conditional, schedule), MixtureDenoiser(unconditional, schedule)
    with pytest.raises(ValueError, match=r"model: guided from -1.0 to 1.0 in log tau alone: need one w"):
        corrected(ddim, Guided(*pair, 2.0, (-1.0, 1.0)), randn(3, 1), [40, 0])
