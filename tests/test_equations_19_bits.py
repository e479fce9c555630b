"""The equations of the chapter on bits, each by two routes."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from dpm_lib.core.random import normal, seeded, uniform
from dpm_lib.diffusion import bits_along, bound, sampled_bound, schedules
from dpm_lib.interop import from_denoiser
from dpm_lib.probability.discretised_gaussian import DiscretisedGaussian
from dpm_lib.training.bits import BitsRun

CHAIN = schedules.geometric(6, 0.02, 9.0)
S = 5.0  # levels of grey in a unit of the chain
LN2 = math.log(2)


def crude(dim=3, chain=CHAIN):
    """A denoiser that is wrong everywhere, by a bend and a shift."""
    return from_denoiser(
        lambda z, s: torch.tanh(0.8 * z) + 0.1, chain.log_tau, dim, picture="variance-exploding", dtype=torch.float64
    )


def guess(xt, t, chain=CHAIN):
    return torch.tanh(0.8 * xt / chain.alpha_bar[t].sqrt()) + 0.1


@pytest.mark.equation("eq-worth-parts")
def test_three_parts_make_the_bits():
    """The prior's part, the steps' and the last, each from Gaussians of its own, are those of the command."""
    pictures = torch.randint(0, 12, (9, 3), generator=seeded(0), dtype=torch.uint8)
    model = crude()
    run = BitsRun(model, pictures, {"mean": 6.0, "std": S}, 5)
    report = run.report([run.measure(number) for number in run.parts])
    generator = seeded(1)  # that of its only part
    x0 = (pictures.double() + uniform((9, 3), generator) - 6.0) / S
    steps = 0.0
    for t in range(2, 7):
        xt = CHAIN.alpha_bar[t].sqrt() * x0 + (1 - CHAIN.alpha_bar[t]).sqrt() * normal((9, 3), generator)
        share = CHAIN.beta[t] * (1 - CHAIN.alpha_bar[t - 1]) / (1 - CHAIN.alpha_bar[t])
        b = CHAIN.alpha_bar[t - 1].sqrt() * CHAIN.beta[t] / (1 - CHAIN.alpha_bar[t])
        steps += float((b * (x0 - guess(xt, t))).square().sum(1).mean() / (2 * share))
    a = CHAIN.alpha_bar[6]
    prior = float(0.5 * (a * x0.square() - a - torch.log1p(-a)).sum(1).mean())
    last = math.log2(S) + edge_bits(x0, float(CHAIN.beta[1]))
    unit = 3 * LN2
    assert report["prior_bits"] == pytest.approx(prior / unit, rel=1e-9)
    assert report["steps_bits"] == pytest.approx(steps / unit, rel=1e-9)
    assert report["last_bits"] == pytest.approx(last, rel=1e-9)
    assert report["bits_per_dimension"] == pytest.approx((prior + steps) / unit + last, rel=1e-9)


def edge_bits(x0, beta):
    """-E log2 p(x_0 | x_1) a dimension, of the edge kernel, by quadrature over x_1."""
    nodes, weights = (torch.as_tensor(part) for part in np.polynomial.hermite_e.hermegauss(12))
    x1 = math.sqrt(1 - beta) * x0.unsqueeze(-1) + math.sqrt(beta) * nodes
    apart = (x0.unsqueeze(-1) - math.sqrt(1 - beta) * x1).square()
    log_p = -0.5 * (apart / beta + math.log(2 * math.pi * beta))
    return -float((log_p @ (weights / weights.sum())).mean()) / LN2


@pytest.mark.equation("eq-worth-last")
@pytest.mark.parametrize("beta", [0.02, 1e-4])
def test_what_the_edge_costs(beta):
    """In closed form, by quadrature, and as what the density of bits gives back up to 1 / (2 pi e)."""
    x0 = torch.tensor([[0.4, -2.1, 1.7]], dtype=torch.float64)
    square = float(x0.square().mean())
    formula = 0.5 * math.log2(2 * math.pi * math.e * beta * S**2) + beta * (square - 1) / (2 * LN2)
    assert formula == pytest.approx(math.log2(S) + edge_bits(x0, beta), rel=1e-9)
    back = -(bits_along.BEND - math.log(beta * S**2)) * bits_along.RATE
    assert formula - beta * (square - 1) / (2 * LN2) == pytest.approx(back, rel=1e-12)


@pytest.mark.equation("eq-worth-density")
def test_a_step_in_the_noises_units():
    """Bits of a step from the error of the noise's guess, against the divergence of two Gaussians."""
    x0, noise = normal((5, 3), seeded(2)), normal((5, 3), seeded(3))
    for t in (2, 4, 6):
        found = bound.step_kl(crude(), x0, t, noise) / (3 * LN2)
        xt = CHAIN.alpha_bar[t].sqrt() * x0 + (1 - CHAIN.alpha_bar[t]).sqrt() * noise
        wrong = (xt - CHAIN.alpha_bar[t].sqrt() * guess(xt, t)) / (1 - CHAIN.alpha_bar[t]).sqrt() - noise
        ratio = float(CHAIN.tau[t] / CHAIN.tau[t - 1])
        assert torch.allclose(found, (ratio - 1) * wrong.square().mean(1) / (2 * LN2), rtol=1e-9)
    fine = schedules.geometric(4000, 0.02, 9.0)  # and per unit of log tau, as steps become short
    kl = bound.step_kl(crude(chain=fine), x0, 2000, noise) / (3 * LN2)
    xt = fine.alpha_bar[2000].sqrt() * x0 + (1 - fine.alpha_bar[2000]).sqrt() * noise
    wrong = (xt - fine.alpha_bar[2000].sqrt() * guess(xt, 2000, fine)) / (1 - fine.alpha_bar[2000]).sqrt() - noise
    density = kl / float(fine.log_tau[2000] - fine.log_tau[1999])
    assert torch.allclose(density, wrong.square().mean(1) / (2 * LN2), rtol=2e-3)


def combs(pi, m, u):
    """The times of a comb with the shift u, by hand: where pi's distribution function passes (j + u) / m."""
    ends, times = np.cumsum(pi), []
    for j in range(m):
        times.append(int(np.argmax(ends > (j + u) / m)))
    return times


@pytest.mark.equation("eq-worth-comb")
def test_a_comb_is_unbiased_for_any_law_of_times():
    """The mean over the shift, piece by piece exactly; and the library's estimate of one K, on copies of a state."""
    pi, terms = np.array([0.0, 0.0, 0.35, 0.05, 0.4, 0.2]), np.array([0.0, 0.0, 3.0, 0.7, 1.1, -0.2])
    m = 3
    breaks = sorted({0.0, 1.0, *((m * c) % 1 for c in np.cumsum(pi))})
    total = 0.0
    for low, high in pairwise(breaks):
        total += (high - low) * sum(terms[t] / pi[t] for t in combs(pi, m, (low + high) / 2)) / m
    assert total == pytest.approx(terms.sum(), rel=1e-9)
    x0 = torch.tensor([[0.4, -1.0, 0.9]], dtype=torch.float64).expand(4000, 3)
    model = crude()
    linear = sampled_bound.LinearDenoiser(normal((50, 3), seeded(5)), model.schedule)
    pi = torch.tensor([0.0, 0.0, 0.45, 0.2, 0.15, 0.1, 0.1], dtype=torch.float64)
    slope, level = torch.linspace(0, 0.9, 7).double(), torch.linspace(0.3, -0.1, 7).double()
    plan = sampled_bound.plan(linear, pi, slope, level)
    few = sampled_bound.estimate(model, x0, plan, 2, seeded(6)).K
    whole = bound.terms(model, x0, seeded(7)).K
    error = math.sqrt(float(few.var() + whole.var()) / len(few))
    assert abs(float(few.mean() - whole.mean())) < 4 * error and error < 0.1


@pytest.mark.equation("eq-worth-importance")
def test_the_best_law_of_times_goes_by_the_root_mean_square():
    """The variance of one time, from all outcomes; and that no other law of 500 is below the least one."""
    outcomes = np.array([[1.0, 4.0], [0.2, 0.6], [3.0, 3.0]])  # two noises for each of three times, equally likely

    def variance(pi):
        values = [(p / 2, kl / p) for p, row in zip(pi, outcomes, strict=True) for kl in row]
        mean = sum(p * v for p, v in values)
        return sum(p * (v - mean) ** 2 for p, v in values)

    squares, whole = (outcomes**2).mean(1), outcomes.mean(1).sum()
    for pi in ([0.2, 0.5, 0.3], [1 / 3] * 3):
        assert variance(pi) == pytest.approx((squares / np.array(pi)).sum() - whole**2, rel=1e-12)
    root = np.sqrt(squares)
    least = root.sum() ** 2 - whole**2
    assert variance(root / root.sum()) == pytest.approx(least, rel=1e-12)
    others = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    assert min(variance(pi) for pi in others) > least


@pytest.mark.equation("eq-worth-spread")
def test_between_pictures_and_within():
    """Pictures of two kinds, two noises, one time of two each: the variance of an estimate, from all outcomes."""
    terms = np.array([[[1.0, 2.0], [0.5, 0.1]], [[4.0, 5.0], [2.0, 2.2]]])  # picture, time, noise
    pi, m = np.array([0.7, 0.3]), 2
    singles = [  # of one draw: picture, its value, probability given the picture
        (k, terms[k, t, e] / pi[t], pi[t] / 2) for k in range(2) for t in range(2) for e in range(2)
    ]
    pairs = [  # m = 2 independent draws
        (0.5 * p * q, (a + b) / m) for k, a, p in singles for j, b, q in singles if j == k
    ]
    mean = sum(p * v for p, v in pairs)
    variance = sum(p * (v - mean) ** 2 for p, v in pairs)
    own = terms.mean(2).sum(1)
    within = [sum(p * (v - own[k]) ** 2 for j, v, p in singles if j == k) for k in range(2)]
    assert mean == pytest.approx(own.mean()) and variance == pytest.approx(own.var() + np.mean(within) / m, rel=1e-12)


@pytest.mark.equation("eq-worth-mixture")
def test_garbage_costs_at_most_a_constant():
    """By quadrature, for two Gaussians: the cost is below the bound, and meets it where the garbage is far away."""
    share = 0.3
    costs = []
    for centre in (0.0, 2.0, 30.0):

        def extra(x, centre=centre):
            q = (1 - share) * norm.pdf(x) + share * norm.pdf(x, centre, 2.0)
            return norm.pdf(x) * (norm.logpdf(x) - math.log(q)) / LN2

        costs.append(quad(extra, -9, 9, points=[0])[0])
    most = -math.log2(1 - share)
    assert all(cost <= most + 1e-9 for cost in costs) and costs[2] == pytest.approx(most, rel=1e-9)
    assert costs[0] < costs[1] < costs[2]


@pytest.mark.equation("eq-worth-lowest")
def test_a_blurred_lowest_bit():
    """Two pixels of four levels: the cost by the sum over all pictures, and by entropies of the pairs."""
    p = torch.rand(4, 4, generator=seeded(8), dtype=torch.float64)
    p /= p.sum()
    pairs = p.reshape(2, 2, 2, 2).sum((1, 3))  # of v // 2
    blurred = pairs.repeat_interleave(2, 0).repeat_interleave(2, 1) / 4
    cost = float((p * (p / blurred).log2()).sum())
    left = float(-(p * p.log2()).sum() + (pairs * pairs.log2()).sum())  # H(V | pairs)
    assert blurred.sum() == pytest.approx(1) and cost == pytest.approx(2 - left, rel=1e-12)


@pytest.mark.equation("eq-worth-sum")
def test_levels_sum_to_one_and_are_a_rounded_normal():
    centres = torch.linspace(-1, 1, 9, dtype=torch.float64)
    for mean, scale in [(0.3, 0.05), (-1.4, 0.2), (0.99, 3.0)]:
        law = DiscretisedGaussian(
            torch.tensor([mean], dtype=torch.float64), torch.tensor([scale], dtype=torch.float64), centres
        )
        masses = law.log_masses.exp().squeeze(-1)
        ends = norm.cdf((centres.numpy()[:-1] + 0.125 - mean) / scale)
        assert masses.numpy() == pytest.approx(np.diff(np.r_[0.0, ends, 1.0]), abs=1e-12)
        assert float(masses.sum()) == pytest.approx(1, abs=1e-12)
    # rounded and cut, the draws of the normal are of this law
    draws = 0.99 + 3.0 * normal((200_000,), seeded(9))  # given: a normal is symmetric
    nearest = ((draws + 1) / 0.25).round().clamp(0, 8).long()
    found = torch.bincount(nearest, minlength=9) / len(draws)
    assert torch.allclose(found.double(), masses, atol=4 * 0.5 / len(draws) ** 0.5)


@pytest.mark.equation("eq-worth-distortion")
@pytest.mark.parametrize(("rho", "r"), [(0.94, 0.95), (1.5, 1.1), (3.0, 4.0)])
def test_what_a_last_step_on_levels_costs(rho, r):
    """The mean over a normal error, by quadrature of the rounded law's own probabilities, against the formula."""
    formula = math.log2(rho * math.sqrt(2 * math.pi)) + r**2 / (2 * rho**2 * LN2)
    centres = torch.arange(256, dtype=torch.float64)
    nodes, weights = (torch.as_tensor(part) for part in np.polynomial.hermite_e.hermegauss(40))
    misses = (128 + r * nodes).unsqueeze(1)  # given: symmetric
    law = DiscretisedGaussian(misses, torch.tensor([rho]).double(), centres)
    log_p = law.log_prob(torch.full((40, 1), 128.0, dtype=torch.float64))
    found = -float(log_p @ (weights / weights.sum())) / LN2
    sheppard = (1 - r**2 / rho**2) / (24 * rho**2 * LN2)  # of rounding, to the first order
    assert found == pytest.approx(formula + sheppard, abs=4e-3) and abs(found - formula) < 0.02


@pytest.mark.equation("eq-worth-clip")
@pytest.mark.parametrize(("c", "w"), [(1.0, 0.9), (0.5, 2.0)])
def test_what_a_cut_takes_from_a_normal_guess(c, w):
    formula = 2 * ((w**2 + c**2) * norm.cdf(-c / w) - c * w * norm.pdf(c / w))
    exact = 2 * quad(lambda y: (y - c) ** 2 * norm.pdf(y, scale=w), c, np.inf)[0]
    assert formula == pytest.approx(exact, rel=1e-9)
