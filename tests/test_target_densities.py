"""The Monte Carlo targets: their densities integrate to one, and are those of their samples."""

import math

import pytest
import torch

from dpm_lib.probability.target_densities import Banana, Funnel, HeavyTails, Normal, StandardNormal, TwoClumps

TARGETS = [StandardNormal(2), TwoClumps(2), Banana(2, std=1.2), Funnel(2, std=1.0), TwoClumps(5), Banana(5), Funnel(5)]


@pytest.mark.parametrize("target", [t for t in TARGETS if t.dim == 2], ids=repr)
def test_density_integrates_to_one(target):
    line = torch.linspace(-25, 25, 2501, dtype=torch.float64)
    total = target.log_prob(torch.cartesian_prod(line, line)).exp().sum() * (line[1] - line[0]) ** 2
    assert float(total) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_samples_have_the_stated_mean(target):
    x = target.sample(40_000, torch.Generator().manual_seed(0))
    error = target.variance.sqrt() / math.sqrt(len(x))
    assert ((x.mean(0) - target.mean).abs() < 4 * error).all()


@pytest.mark.parametrize("target", [t for t in TARGETS if not isinstance(t, Funnel) or t.std == 1.0], ids=repr)
def test_samples_have_the_stated_variance(target):
    square = (target.sample(40_000, torch.Generator().manual_seed(1)) - target.mean).square()
    assert ((square.mean(0) - target.variance).abs() < 4 * square.std(0) / math.sqrt(len(square))).all()


@pytest.mark.parametrize("target", [t for t in TARGETS if not isinstance(t, Funnel)], ids=repr)
def test_samples_follow_the_density(target):
    """Reweighting the target's own draws to a shifted copy of it recovers the constant 1: E_p[p(x + h) / p(x)] = 1."""
    x = target.sample(40_000, torch.Generator().manual_seed(2))
    shift = 0.1 * torch.ones(target.dim, dtype=torch.float64)
    ratio = torch.exp(target.log_prob(x + shift) - target.log_prob(x))
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(len(x))


def test_the_funnel_is_normal_given_its_first_coordinate():
    target = Funnel(4)
    x = target.sample(2000, torch.Generator().manual_seed(3))
    by_hand = torch.distributions.Normal(0.0, 3.0).log_prob(x[:, 0])
    by_hand = by_hand + torch.distributions.Normal(0.0, (0.5 * x[:, :1]).exp()).log_prob(x[:, 1:]).sum(1)
    assert torch.allclose(target.log_prob(x), by_hand, atol=1e-6)
    z = x[:, 1:] * torch.exp(-0.5 * x[:, :1])
    assert ((z.square().mean(0) - 1).abs() < 4 * math.sqrt(2 / len(x))).all()


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"share: 1: need a number in \(0, 1\)"):
        TwoClumps(share=1)
    with pytest.raises(ValueError, match="dim: 1: need at least 2"):
        Banana(1)
    for make in (TwoClumps, Banana, Funnel, Normal):
        for std in (0, -2.0, math.inf, math.nan):
            with pytest.raises(ValueError, match=f"std: {std}: need a positive, finite number"):
                make(2, std=std)
    with pytest.raises(ValueError, match="dim: 0: need at least 1"):
        StandardNormal(0)
    with pytest.raises(ValueError, match=r"dim: 2\.0: need a whole number"):
        Normal(2.0)
    with pytest.raises(ValueError, match="scale: need positive"):
        HeavyTails(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="n: -1: need at least 1"):
        TwoClumps(2).sample(-1, torch.Generator())


@pytest.mark.parametrize("target", [*TARGETS, Normal(3, 2.0), HeavyTails(torch.ones(2))], ids=repr)
def test_points_of_another_width_are_refused_and_lists_taken(target):
    """Broadcasting would make a number of them: log p of a point in another space."""
    d = target.sample(1, torch.Generator().manual_seed(0)).shape[1]
    for shape in ((5, d + 1), (5, 1) if d > 1 else (5, 2), (d + 3,)):
        with pytest.raises(ValueError, match=rf"x: need shape \(\.\.\., {d}\)"):
            target.log_prob(torch.zeros(shape))
    point = torch.full((2, d), 0.5, dtype=torch.float64)
    for same in (point.tolist(), point.numpy()):
        assert torch.equal(target.log_prob(same), target.log_prob(point))
