"""The bound of infinitely many steps, and what a schedule is then still good for."""

import math

import pytest
import torch
from problems import blobs, close, exact_model, gaussian, rng

from dpm_lib.core.standard_error import stderr
from dpm_lib.diffusion import bound as chain_bound
from dpm_lib.diffusion import continuous_bound, optimal_schedule_gaussian
from dpm_lib.diffusion.continuous_bound import (
    Pace,
    error_moments,
    least_gap,
    least_spread,
    limit,
    loss,
    pace_of,
    spread,
)
from dpm_lib.diffusion.schedules import cosine, geometric
from dpm_lib.information import i_mmse
from dpm_lib.information.mmse import mmse, noisy
from dpm_lib.probability.mixtures import Mixture

LINE = Mixture(torch.tensor([[-1.3], [0.9]], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64), 0.05)
NORMAL = gaussian(torch.tensor([0.7], dtype=torch.float64), 0.3)
ENDS = (1e-3, 200.0)
GEOMETRIC = pace_of(lambda v: 1.0, *ENDS, pieces=40)
OTHERS = [
    pace_of(lambda v: 1 / math.cosh(0.5 * v), *ENDS),  # the cosine's: even in arctan sqrt(tau)
    pace_of(lambda v: 2 + math.sin(2 * v), *ENDS),
    Pace(
        torch.tensor([0.0, 0.6, 0.7, 1.0]),
        torch.tensor([math.log(ENDS[0]), -4.0, 1.0, math.log(ENDS[1])], dtype=torch.float64),
    ),
]


@pytest.mark.parametrize("target", [LINE, NORMAL])
def test_moments_of_the_error(target):
    """The second is the mmse; of one Gaussian the error is normal; of a mixture, all three by many draws."""
    for t in (0.02, 0.4, 3.0):
        found = error_moments(target, t)
        close(found.second, mmse(target, t), rtol=1e-12)
        if target is NORMAL:
            v = 0.3 * t / (0.3 + t)
            close([found.second, found.fourth, found.squared], [v, 3 * v**2, v**2], rtol=1e-12)
        generator = rng(1)
        y = target.sample(40_000, generator)
        z = noisy(y, t, generator)
        fourth = (y - target.posterior_mean(z, t))[:, 0] ** 4
        squared = target.posterior_covariance(z, t)[:, 0, 0].square()
        assert abs(float(fourth.mean()) - found.fourth) < 4 * stderr(fourth)
        assert abs(float(squared.mean()) - found.squared) < 4 * stderr(squared) + 1e-12


@pytest.mark.equation("eq-smp-continuous")
@pytest.mark.parametrize("pace", [*OTHERS, GEOMETRIC])
def test_the_limit_does_not_know_the_pace(pace):
    nodes = 60 if len(pace.u) < 10 else 12
    close(loss(LINE, pace, nodes), i_mmse.integral(lambda t: mmse(LINE, t), *ENDS, nodes=160), rtol=0, atol=1e-10)
    close(
        limit(LINE, *ENDS),
        continuous_bound.fixed_terms(LINE, pace.schedule(2)) - loss(LINE, pace, nodes),
        rtol=0,
        atol=1e-9,
    )


@pytest.mark.equation("eq-smp-gap", "eq-smp-continuous")
def test_finite_bounds_come_to_the_limit():
    """From below, the gap halving as T doubles; and each pace with a gap of its own."""
    gaps = []
    for pace in (GEOMETRIC, OTHERS[0]):
        gap = [limit(LINE, *ENDS) - continuous_bound.bound(LINE, pace.schedule(T)) for T in (201, 401)]
        assert 0 < gap[1] < gap[0]
        assert abs(gap[0] / gap[1] - 2) < 0.1
        gaps.append(2 * 400 * gap[1] - 200 * gap[0])  # what is left at T = infinity of T times the gap
        exact = 0.25 * sum(
            weight * (2 * w) ** 2 * error_moments(LINE, tau).squared
            for weight, w, tau in continuous_bound._nodes(pace, 8)
        )
        close(gaps[-1], exact, rtol=2e-3)
    assert not math.isclose(*gaps, rel_tol=0.1)


@pytest.mark.equation("eq-smp-discrete")
@pytest.mark.parametrize("schedule", [geometric(12, 1e-2, 50.0), cosine(9, 3e-2, 30.0)])
def test_the_finite_bound_is_that_of_the_chain(schedule):
    """A Gaussian in closed form, and a mixture by the terms of K of an exact model."""
    v = 0.6
    close(
        continuous_bound.bound(gaussian(torch.zeros(1), v), schedule),
        optimal_schedule_gaussian.bound(schedule.beta[1:], v),
        rtol=1e-10,
    )
    model = exact_model(LINE, schedule, "posterior")
    generator = rng(2)
    K = chain_bound.terms(model, LINE.sample(20_000, generator), generator).K
    assert abs(float(K.mean()) - continuous_bound.bound(LINE, schedule)) < 4 * stderr(K)


@pytest.mark.equation("eq-smp-second")
def test_spread_is_that_of_the_draws():
    """Of y and z, at the middles of 300 parts of u."""
    for pace, nodes in ((GEOMETRIC, 4), (OTHERS[2], 40)):
        generator, n = rng(3), 400
        values = []
        for u in (torch.arange(300, dtype=torch.float64) + 0.5) / 300:  # given: the places
            log_tau = float(pace.at(u.reshape(1)))
            i = int(torch.searchsorted(pace.u, u).clamp(min=1))
            rate = float((pace.log_tau[i] - pace.log_tau[i - 1]) / (pace.u[i] - pace.u[i - 1]))
            y = LINE.sample(n, generator)
            z = noisy(y, math.exp(log_tau), generator)
            values.append(
                0.5 * rate * math.exp(-log_tau) * (y - LINE.posterior_mean(z, math.exp(log_tau)))[:, 0].square()
            )
        found, mean = torch.stack(values), loss(LINE, pace, nodes)
        for drawn, exact in ((found, mean), (found.square(), spread(LINE, pace, nodes) ** 2 + mean**2)):
            error = drawn.std(1).square().mean().sqrt() / math.sqrt(drawn.numel())
            assert abs(float(drawn.mean()) - exact) < 4 * error < 0.5 * exact


@pytest.mark.equation("eq-smp-best-pace", "eq-smp-best-gap")
def test_the_best_paces():
    """Their values are the squares of an integral (Cauchy-Schwarz), and any other pace has more."""
    log_tau = torch.linspace(*(math.log(t) for t in ENDS), 1201, dtype=torch.float64)
    moments = [error_moments(LINE, math.exp(v)) for v in log_tau.tolist()[::10]]
    snr = (-log_tau[::10]).exp()
    for pace, part, of in (
        (least_spread(LINE, *ENDS, 60), "fourth", lambda p: spread(LINE, p, 2) ** 2 + loss(LINE, p, 2) ** 2),
        (least_gap(LINE, *ENDS, 60), "squared", lambda p: _leading_gap(p)),
    ):
        root = torch.tensor([getattr(m, part) ** 0.5 for m in moments], dtype=torch.float64) * snr
        least = 0.25 * float(torch.trapezoid(root, log_tau[::10])) ** 2
        close(of(pace), least, rtol=2e-3)
        for other in (GEOMETRIC, *OTHERS):
            assert of(other) > 1.02 * least


def _leading_gap(pace):
    nodes = continuous_bound._nodes(pace, 2)
    return 0.25 * sum(weight * (2 * w) ** 2 * error_moments(LINE, tau).squared for weight, w, tau in nodes)


def test_for_gaussian_data_one_pace_is_best_for_both():
    """Even in log(1 + v SNR), as the finite-T optimum of each T is; for a mixture the two differ."""
    first, second = least_spread(NORMAL, *ENDS, 100), least_gap(NORMAL, *ENDS, 100)
    close(first.u, second.u, rtol=1e-10)
    even = 1 - torch.log1p(0.3 * (-first.log_tau).exp()) / math.log1p(0.3 / ENDS[0])
    even = (even - even[0]) / (even[-1] - even[0])
    close(first.u, even, rtol=0, atol=1e-3)
    _, rates = optimal_schedule_gaussian.best(1e-3, 30, 0.3)
    u = optimal_schedule_gaussian.ratios(rates, 0.3)
    ratio = torch.as_tensor(u[:-1] / u[1:])
    close(ratio, ratio[0], rtol=1e-6)
    apart = least_spread(LINE, *ENDS, 100).u - least_gap(LINE, *ENDS, 100).u
    assert float(apart.abs().max()) > 0.004


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: error_moments(blobs(), 1.0), "target: needs to be on the line, and has 2 dimensions"),
        (lambda: error_moments(LINE, 0.0), "t: 0.0: need a positive"),
        (lambda: limit(LINE, 2.0, 1.0), "tau_1, tau_T: 2.0, 1.0: need 0 < tau_1 < tau_T < infinity"),
        (lambda: limit(LINE, 1.0, math.nan), "tau_1, tau_T: 1.0, nan: need"),
        (lambda: pace_of(lambda v: -1.0, *ENDS), "density: -1.0: need a positive"),
        (lambda: Pace(torch.tensor([0.0, 0.5, 0.5, 1.0]), torch.arange(4.0)), r"u: \[0.0, 0.5, 0.5, 1.0\]: need two"),
        (
            lambda: Pace(torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0])),
            r"log_tau: \[0.0, -1.0\]: need two or more",
        ),
        (lambda: Pace(torch.tensor([0.0, 1.0]), torch.tensor([0.0, math.nan])), "log_tau: .*: need two or more"),
        (lambda: Pace(torch.tensor([0.0, 0.5]), torch.arange(2.0)), r"u: \[0.0, 0.5\]: need one for each log_tau"),
        (lambda: Pace(torch.tensor([0.0, 1.0]), torch.arange(3.0)), "u: .*: need one for each log_tau"),
        (lambda: GEOMETRIC.schedule(1), "T: 1: need at least 2"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
