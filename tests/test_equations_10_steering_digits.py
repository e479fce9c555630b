"""What hiding labels leaves, and what a class is worth in bits: the chapter's claims, by enumeration and on grids.

Three classes of unequal shares on the line, two of them of two clumps, so that each overlaps another.
"""

import math

import pytest
import torch
from problems import close, close_mean, rng

from dpm_lib.information import i_mmse
from dpm_lib.information.mmse import mmse
from dpm_lib.probability.mixtures import Mixture

SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
WIDTH = 0.04
CLASSES = [
    ([-1.5, 0.3], [0.7, 0.3]),
    ([-1.1], [1.0]),
    ([0.1, 1.2], [0.4, 0.6]),
]
Z = torch.linspace(-9, 9, 18_001, dtype=torch.float64)
DZ = float(Z[1] - Z[0])


def law(centers, weights) -> Mixture:
    return Mixture(
        torch.tensor(centers, dtype=torch.float64).unsqueeze(1), torch.tensor(weights, dtype=torch.float64), WIDTH
    )


def of_class(c: int) -> Mixture:
    return law(*CLASSES[c])


def of_all() -> Mixture:
    weights = [float(SHARES[c]) * w for c in range(3) for w in CLASSES[c][1]]
    return law([v for centers, _ in CLASSES for v in centers], weights)


def density(c: int, z: torch.Tensor = Z, tau: float = 0.0) -> torch.Tensor:
    """q(z | c) by hand."""
    centers, weights = (torch.tensor(part, dtype=torch.float64) for part in CLASSES[c])
    width = WIDTH + tau
    return (weights * torch.exp(-((z[:, None] - centers) ** 2) / (2 * width))).sum(1) / math.sqrt(2 * math.pi * width)


def entropy(shares: torch.Tensor) -> torch.Tensor:
    return -torch.xlogy(shares, shares).sum(-1)


def information() -> float:
    """I(x_0; c) = H(c) - H(c | x_0), nats: from the classes' probabilities at each point."""
    joint = torch.stack([SHARES[c] * density(c) for c in range(3)], 1)
    total = joint.sum(1)
    left = (total * entropy(joint / total.clamp(min=1e-300).unsqueeze(1))).sum() * DZ
    return float(entropy(SHARES) - left)


@pytest.mark.equation("eq-st-hidden")
def test_labels_hidden_by_a_coin_leave_both_laws_as_they_are():
    """By draws: of the rows whose label is hidden, and of those where it is told. A coin that looks does not."""
    n, rho = 60_000, 0.2
    label = torch.multinomial(SHARES, n, True, generator=rng(1))
    x0 = torch.empty(n, dtype=torch.float64)
    for c in range(3):
        x0[label == c] = of_class(c).sample(int((label == c).sum()), rng(c + 5))[:, 0]
    coin = torch.rand(n, generator=rng(9))
    hidden = coin < rho
    for f in (lambda x: x, torch.square, torch.sin):
        close_mean(f(x0[hidden]), (f(Z) * of_all().log_prob(Z[:, None]).exp()).sum() * DZ)
        for c in range(3):
            close_mean(f(x0[~hidden & (label == c)]), (f(Z) * density(c)).sum() * DZ)
    looks, right = coin < rho * (x0 > 0), of_all().log_prob(Z[:, None]).exp() * (Z > 0)
    close_mean(x0[looks], (Z * right).sum() / right.sum())


@pytest.mark.equation("eq-st-class-bits")
def test_what_the_class_adds_to_the_log_likelihood_is_the_information():
    """E log q(x0 | c) - E log q(x0) by quadrature of densities; the information by the entropy that is left."""
    whole = of_all().log_prob(Z[:, None])
    told = sum(float(SHARES[c] * (density(c) * density(c).clamp(min=1e-300).log()).sum() * DZ) for c in range(3))
    none = float((whole.exp() * whole).sum() * DZ)
    close(told - none, information(), rtol=1e-9)
    assert 0 < information() < float(entropy(SHARES))
    far = [torch.exp(-((Z - v) ** 2) / 0.02) / math.sqrt(0.02 * math.pi) for v in (-4.0, 0.0, 4.0)]  # given
    mixed = sum(share * p for share, p in zip(SHARES, far, strict=True))
    gain = sum(
        float((share * p * (p.clamp(min=1e-300) / mixed.clamp(min=1e-300)).log()).sum() * DZ)
        for share, p in zip(SHARES, far, strict=True)
    )
    close(gain, entropy(SHARES), rtol=1e-9)  # the bound is met


@pytest.mark.equation("eq-st-class-most")
def test_a_class_never_adds_more_than_minus_the_log_of_its_share():
    """For any models, not only the right ones: here, bounds K that are numbers out of a hat. Met by a class alone."""
    K = 5 * torch.randn(400, 3, generator=rng(2), dtype=torch.float64)
    mixed = torch.log((SHARES * K.exp()).sum(1))  # by hand; the claim is about each of its terms
    gain = K - mixed.unsqueeze(1)
    assert bool((gain <= -SHARES.log() + 1e-12).all())
    K[:, 1:] -= 60  # the others say that the point is impossible
    close((K - torch.log((SHARES * K.exp()).sum(1)).unsqueeze(1))[:, 0], -SHARES[0].log())
    tight = (-SHARES.log() - gain).min(0).values
    assert bool(((tight > -1e-12) & (tight < 0.2)).all())  # and no smaller number would do


def pull(tau: float) -> float:
    """E|E[y | z, c] - E[y | z]|^2 at noise tau, by a plain sum over z."""
    total = 0.0
    z = torch.linspace(-9 - 9 * math.sqrt(tau), 9 + 9 * math.sqrt(tau), 8_001, dtype=torch.float64)
    none = of_all().posterior_mean(z[:, None], tau)[:, 0]
    for c in range(3):
        apart = (of_class(c).posterior_mean(z[:, None], tau)[:, 0] - none).square()
        total += float(SHARES[c] * (density(c, z, tau) * apart).sum() * (z[1] - z[0]))
    return total


@pytest.mark.equation("eq-st-pythagoras")
@pytest.mark.parametrize("tau", [0.01, 0.3, 4.0])
def test_what_the_class_saves_in_error_is_the_square_of_what_it_moves(tau):
    told = sum(float(SHARES[c]) * mmse(of_class(c), tau) for c in range(3))
    close(mmse(of_all(), tau) - told, pull(tau), rtol=1e-7)


@pytest.mark.equation("eq-st-pull")
def test_the_squared_pull_over_all_levels_is_the_information():
    low, high = 1e-4, 1e3
    found = i_mmse.integral(pull, low, high, 48)  # int pull / 2 t^2 dt = 1/2 int pull d(1/t)
    rest = 0.5 * pull(high) / high + 0.5 * pull(low) / low  # beyond, the pull is constant; below, it falls as tau^2
    close(found + rest, information(), rtol=2e-5)
