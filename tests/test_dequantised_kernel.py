"""The reverse kernel of levels: truncated Gaussians against quadrature, and a model whose K is known."""

import math

import mpmath
import pytest
import torch
from problems import close, randn, rng
from scipy import integrate
from torch import nn

from dpm_lib.data.images import Images
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.dequantised_kernel import LevelReverse, truncated
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import geometric

EDGES = torch.tensor([-1.0, -0.2, 0.5, 2.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("y", "spread"), [(0.1, 0.3), (-1.3, 0.2), (4.0, 0.5), (0.5, 30.0), (0.45, 0.05), (0.3, 280.0), (-7e3, 3e3)]
)
def test_truncated_gaussians_are_those_of_quadrature(y, spread):
    log_mass, mean, variance = truncated(randn(1) * 0 + y, randn(1) * 0 + spread, EDGES)
    for k in range(3):
        low, high = float(EDGES[k]), float(EDGES[k + 1])
        peak = min(max(y, low), high)
        top = -0.5 * ((peak - y) / spread) ** 2

        def moment(power, top=top, low=low, high=high, peak=peak):
            def f(x):
                return (x - peak) ** power * math.exp(-0.5 * ((x - y) / spread) ** 2 - top)

            points = [p for p in (peak - spread, peak + spread, peak - 6 * spread, peak + 6 * spread) if low < p < high]
            return integrate.quad(f, low, high, points=points or None, limit=200, epsabs=0, epsrel=1e-9)[0]

        mass = moment(0)
        first = moment(1) / mass
        close(log_mass[k], math.log(mass) + top - math.log(spread * math.sqrt(2 * math.pi)), rtol=1e-8)
        close(mean[k], peak + first, rtol=1e-8)
        close(variance[k], moment(2) / mass - first**2, rtol=1e-5)


@pytest.mark.parametrize("away", [0.1, 2.0, 30.0, -200.0])
def test_narrow_cells_by_many_digits(away):
    """The centre of mass and the variance in a cell of 1/400 of the spread, where float64 would cancel."""
    mpmath.mp.dps = 40
    h = mpmath.mpf(1) / 400
    cell = [away - h / 2, away + h / 2]

    def moment(power):
        return mpmath.quad(lambda x: (x - away) ** power * mpmath.exp(-(x**2) / 2), cell)

    shift = moment(1) / moment(0)
    edges = torch.tensor([0.0, 1.0]).double()
    _, mean, variance = truncated(torch.tensor([0.5 - 400.0 * away]).double(), torch.tensor([400.0]).double(), edges)
    left_out = 0.02 * float(away * h) ** 4
    close((mean - 0.5) / 400, float(shift), rtol=0.04 / 400**2 + left_out, atol=0)
    close(variance / 400**2, float(moment(2) / moment(0) - shift**2), rtol=1e-9 + left_out, atol=0)
    assert bool((variance <= 0.25).all())


def test_far_away_cells_stay_in_their_place():
    """Thousands of standard deviations away: no NaN, means within their cells, variances positive."""
    y, spread = torch.tensor([[-3.0], [0.0], [9.0]]).double(), torch.full((3, 1), 1e-3).double()
    log_mass, mean, variance = truncated(y, spread, EDGES)
    assert bool(torch.isfinite(log_mass).all()) and bool((variance > 0).all())
    assert bool(((mean >= EDGES[:-1]) & (mean <= EDGES[1:])).all())


class Fixed(nn.Module):
    """The log weights of levels that do not depend on the other pixels."""

    def __init__(self, log_w: torch.Tensor) -> None:
        super().__init__()
        self.log_w = nn.Parameter(log_w)

    def forward(self, x, t, log_tau):
        return self.log_w.T.flatten().expand(len(x), -1)


def independent(n: int = 4000) -> tuple[Images, torch.Tensor]:
    """Three pixels of four levels, independent, with these probabilities (3, 4)."""
    p = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25], [0.5, 0.0, 0.0, 0.5]], dtype=torch.float64)
    values = torch.stack([torch.multinomial(row, 2 * n, True, generator=rng(i)) for i, row in enumerate(p)], 1)
    values = values.to(torch.uint8)
    data = Images("dice", train=values[:n], test=values[n:], shape=(1, 1, 3), levels=4, split="halves")
    return data, p


def dice_model(T: int, beta_1: float = 1e-6) -> tuple[DiffusionModel, Images, torch.Tensor]:
    data, p = independent()
    kernel = GaussianKernel(3, geometric(T, beta_1, 1e4))
    network = Fixed(p.clamp(min=1e-30).log())
    return DiffusionModel(kernel, LevelReverse(network.double(), kernel, data.edges())), data, p


def test_moments_are_those_of_monte_carlo():
    model, data, p = dice_model(8)
    t, n = 5, 400_000
    xt = 0.8 * randn(1, 3)
    mean, std = model.reverse.moments(xt, t, model.kernel)
    levels = torch.stack([torch.multinomial(row, n, True, generator=rng(9)) for row in p], 1)
    x0 = (levels + torch.rand(n, 3, generator=rng(8), dtype=torch.float64) - data.mean) / data.std
    a = model.schedule.alpha_bar[t]
    weights = torch.softmax(-0.5 * (xt - a.sqrt() * x0).square() / (1 - a), 0)
    expected = (weights * x0).sum(0)
    error = 4 * (weights.square() * (x0 - expected).square()).sum(0).sqrt()
    assert bool(((mean - expected).abs() < error).all())
    square = (weights * (x0 - expected).square()).sum(0)
    spread = 4 * (weights.square() * ((x0 - expected).square() - square).square()).sum(0).sqrt()
    assert bool(((std.square() - square).abs() < spread).all())


def test_with_the_right_weights_the_bound_reaches_the_entropy():
    """-K in bits per pixel is the entropy of the levels, and a little more: less with more steps."""
    for T, least, most in ((5, 0.2, 2.0), (100, 0.0, 0.03)):
        model, data, p = dice_model(T)
        entropy = -float(torch.xlogy(p, p).sum()) / math.log(2) / 3
        given = -p.clamp(min=1e-300).log2().expand(4000, 3, 4)  # bits of each level
        paid = given.gather(-1, data.test.long().unsqueeze(-1)).mean((1, 2))
        bits = data.bits_per_dimension(bound.terms(model, data.held_out(), rng(2)).K)
        lost = bits - paid
        error = 4 * float(lost.std()) / math.sqrt(4000)
        assert least - error < float(lost.mean()) < most + error
        assert abs(float(paid.mean()) - entropy) < 4 * float(paid.std()) / math.sqrt(4000)


def test_an_image_is_given_back_within_its_level():
    model, data, _ = dice_model(100)
    levels = data.pixels(model.sample(500, rng(3))).reshape(-1, 3)
    assert bool(((levels > -0.05) & (levels < 4.05)).all())
    last = levels[:, 2]
    assert bool(((last < 1.05) | (last > 2.95)).all())  # its middle levels never come up
