"""The equations of the chapter on images, each by two routes."""

import math

import numpy as np
import pytest
import torch
from problems import close, close_mean, randn, rng
from scipy import integrate, stats
from torch import nn

from dpm_lib.data import image_baselines, textures
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.dequantised_kernel import LevelReverse, truncated
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import GaussianReverse, PaperReverse
from dpm_lib.diffusion.schedules import Schedule, from_tau
from dpm_lib.probability.distributions import Gaussian

LN2 = math.log(2)


@pytest.mark.equation("eq-img-jensen")
def test_the_mean_log_density_of_a_cell_is_below_the_log_of_its_probability():
    """Of a mixture of Gaussians over four levels; with equality where the density is flat."""
    p = stats.norm(1.3, 0.8)
    for v in range(4):
        mean_log = integrate.quad(p.logpdf, v, v + 1)[0]
        assert mean_log < math.log(p.cdf(v + 1) - p.cdf(v)) - 1e-4
    flat = stats.uniform(0, 4)
    close(integrate.quad(flat.logpdf, 1, 2)[0], math.log(flat.cdf(2) - flat.cdf(1)))


@pytest.mark.equation("eq-img-unit")
def test_bits_per_dimension_are_those_of_the_density_of_levels():
    """A density of x, moved to v + u by SciPy's own loc and scale."""
    data, n = load("digits"), 50
    x = data.held_out(n)
    log_p = torch.as_tensor(stats.laplace(0.2, 0.7).logpdf(x.numpy())).sum(1)
    v = data.pixels(x).reshape(n, -1).numpy()
    moved = stats.laplace(data.mean + data.std * 0.2, data.std * 0.7).logpdf(v).sum(1)
    close(data.bits_per_dimension(log_p), -moved / LN2 / data.dim)


@pytest.mark.equation("eq-img-null")
def test_the_null_model_costs_what_the_formula_says():
    """Exactly, on the training pictures: the expectation over u of (v + u - m)^2 is (v + 1/2 - m)^2 + 1/12."""
    data = load("digits")
    v = data.train.double()
    square = ((v + 0.5 - data.mean) ** 2 + 1 / 12) / data.std**2
    bits = 0.5 * (square / LN2 + math.log2(2 * math.pi)) + math.log2(data.std)
    close(bits.mean(), math.log2(data.std) + 0.5 * math.log2(2 * math.pi * math.e))
    close(data.null_bits, bits.mean())


@pytest.mark.equation("eq-img-gain")
def test_the_gain_does_not_depend_on_the_unit():
    """Densities of x = v + u and of 3 x, both with the null model that fits them."""
    x = load("digits").held_out(40).numpy() * 6 + 5
    K, null = (law.logpdf(x).mean() for law in (stats.laplace(5, 4), stats.norm(x.mean(), x.std())))
    y = 3 * x
    K3, null3 = (law.logpdf(y).mean() for law in (stats.laplace(15, 12), stats.norm(y.mean(), y.std())))
    close(K3 - null3, K - null)
    close(K3, K - math.log(3))


@pytest.mark.equation("eq-img-dither")
@pytest.mark.parametrize("delta", [1.0, 0.5, 0.1])
def test_entropy_with_narrow_noise_falls_with_its_logarithm(delta):
    """Of two pixels that are not independent: -p log p summed over a grid that has the cells' ends; d = 2."""
    P = pair()[0].numpy()
    grid = (np.arange(600) + 0.5) / 200
    inside = grid % 1 < delta
    level = grid[inside].astype(int)
    density = P[level][:, level] / delta**2
    h = -(density * np.log(density)).sum() / 200**2
    close((density / 200**2).sum(), 1.0)
    close(h, -(P * np.log(P)).sum() + 2 * math.log(delta))


def edge_loss(sigma: float) -> float:
    """h(u + sigma z) - h(u) in bits, u uniform on [0, 1), by quadrature."""

    def spent(x: float) -> float:
        p = stats.norm.cdf(x / sigma) - stats.norm.cdf((x - 1) / sigma)
        return -p * math.log2(p) if p > 0 else 0.0

    ends = [(-8 * sigma, 8 * sigma), (8 * sigma, 1 - 8 * sigma), (1 - 8 * sigma, 1 + 8 * sigma)]
    return sum(integrate.quad(spent, a, b, epsabs=1e-10)[0] for a, b in ends)


@pytest.mark.equation("eq-img-edge")
def test_a_known_pixel_loses_in_proportion_to_the_noise_of_the_edge():
    """By quadrature of the entropy, and by K of the reverse step that knows the level, with many steps."""
    c = integrate.quad(lambda z: -stats.norm.cdf(z) * stats.norm.logcdf(z), -30, 30)[0]
    close(2 * c / LN2, 2.607, rtol=1e-3)
    for sigma in (0.002, 0.02, 0.05):
        close(edge_loss(sigma), 2 * c * sigma / LN2, rtol=1e-5)
    sigma, T, n = 0.05, 400, 3000
    schedule = from_tau(torch.cat([torch.zeros(1), torch.logspace(2 * math.log10(sigma), 4, T)]).double())
    kernel = GaussianKernel(1, schedule)
    reverse = LevelReverse(Weights(torch.zeros(1, dtype=torch.float64)), kernel, torch.arange(2).double())
    x0 = torch.rand(n, 1, generator=rng(7), dtype=torch.float64)
    lost = -bound.terms(DiffusionModel(kernel, reverse), x0, rng(8)).K / LN2
    error = float(lost.std()) / math.sqrt(n)
    assert -4 * error < float(lost.mean()) - edge_loss(sigma) < 0.02 + 4 * error and error < 0.01


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Joint probabilities of two correlated pixels of three levels, and a fine grid of one pixel: (3, 3), (3000,)."""
    joint = torch.tensor([[0.3, 0.05, 0.05], [0.02, 0.2, 0.08], [0.1, 0.05, 0.15]], dtype=torch.float64)
    return joint, (torch.arange(3000, dtype=torch.float64) + 0.5) / 1000


@pytest.mark.equation("eq-img-split", "eq-img-levels")
def test_own_evidence_and_the_others_make_the_posterior():
    """Brute force over both pixels on a grid, against weights of levels from the other pixel alone."""
    joint, grid = pair()
    a, tau = 0.8, (1 - 0.64) / 0.64
    xt = torch.tensor([1.1, 0.4], dtype=torch.float64)
    evidence = [(-0.5 * (x - a * grid).square() / (1 - a * a)).exp() for x in xt]
    prior = joint[grid.long()][:, grid.long()] / 1000**2
    brute = (prior @ evidence[1]) * evidence[0]
    per_level = evidence[1].reshape(3, 1000).mean(1)
    w = joint @ per_level  # what the other pixel says of the first one's level
    ours = w[grid.long()] * (-0.5 * (xt[0] / a - grid).square() / tau).exp()
    close(ours / brute, 1000.0, rtol=1e-8)


class Weights(nn.Module):
    """The same log weights of levels for every pixel."""

    def __init__(self, log_w: torch.Tensor) -> None:
        super().__init__()
        self.log_w = nn.Parameter(log_w)

    def forward(self, x, t, log_tau):
        return self.log_w.repeat_interleave(x.shape[1]).expand(len(x), -1)


@pytest.mark.equation("eq-img-levels")
def test_the_kernel_of_levels_is_that_posterior():
    _, grid = pair()
    P = torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64)
    kernel = GaussianKernel(1, from_tau(torch.tensor([0.0, 0.01, 0.3, 2.0])))
    edges = torch.arange(4, dtype=torch.float64)
    reverse = LevelReverse(Weights(P.log()), kernel, edges)
    for t in (2, 3):
        mean, std = reverse.moments(torch.tensor([[1.2]], dtype=torch.float64), t, kernel)
        a = kernel.schedule.alpha_bar[t]
        law = P[grid.long()] * (-0.5 * (1.2 - a.sqrt() * grid).square() / (1 - a)).exp()
        law = law / law.sum()
        expected = (law * grid).sum()
        close(mean, expected, rtol=1e-5)
        close(std.square(), (law * (grid - expected).square()).sum(), rtol=1e-4)


@pytest.mark.equation("eq-img-cut")
@pytest.mark.parametrize(("y", "sigma"), [(0.4, 0.7), (2.5, 0.5), (-1.0, 2.0)])
def test_a_cut_gaussian_has_those_moments(y, sigma):
    edges = torch.tensor([0.0, 1.0, 1.5], dtype=torch.float64)
    _, mean, variance = truncated(torch.full((1,), y).double(), torch.full((1,), sigma).double(), edges)
    y, sigma = float(np.float32(y)), float(np.float32(sigma))
    for k in range(2):
        a, b = (float(edges[k]) - y) / sigma, (float(edges[k + 1]) - y) / sigma
        law = stats.truncnorm(a, b, loc=y, scale=sigma)
        Z, phi = stats.norm.cdf(b) - stats.norm.cdf(a), stats.norm.pdf
        close(law.mean(), y + sigma * (phi(a) - phi(b)) / Z, rtol=1e-8)
        square = 1 + (a * phi(a) - b * phi(b)) / Z - ((phi(a) - phi(b)) / Z) ** 2
        close(law.var(), sigma**2 * square, rtol=1e-6)
        close(mean[k], law.mean(), rtol=1e-6)
        close(variance[k], law.var(), rtol=1e-5)


class Zero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, x, t, log_tau):
        return torch.zeros(len(x), 2 * x.shape[1], dtype=x.dtype)


def uneven() -> Schedule:
    return from_tau(torch.tensor([0.0, 0.02, 0.1, 0.9, 3.0, 11.0]))


@pytest.mark.equation("eq-img-start")
def test_an_untrained_paper_model_is_the_equilibrium():
    kernel = GaussianKernel(3, uneven())
    model = DiffusionModel(kernel, PaperReverse(Zero(), kernel))
    x0 = 2 * randn(4, 3)
    close(model.trajectory_weights(x0, 5, rng()).log_weights, model.kernel.prior.log_prob(x0).unsqueeze(1), rtol=1e-9)


class Printed(GaussianReverse):
    """The step of the paper's text with both images zero."""

    def forward(self, xt, t, kernel):
        beta = kernel.schedule.beta[t].unsqueeze(-1)
        return Gaussian((1 - beta) * xt, beta.sqrt())


@pytest.mark.equation("eq-img-text")
@pytest.mark.parametrize("first", [0.02, 2.0])
def test_the_printed_mean_starts_below_the_null_model(first):
    """K of the printed step on normal data, by Monte Carlo, against the formula; the edge step has no part in it."""
    kernel = GaussianKernel(2, from_tau(torch.tensor([0.0, first, first + 0.08, first + 0.9, first + 3, first + 11])))
    x0 = randn(40_000, 2, seed=3)
    K = bound.terms(DiffusionModel(kernel, Printed(Zero(), kernel)), x0, rng(1)).K
    lost = (kernel.prior.log_prob(x0) - K) / 2  # of one dimension
    beta = kernel.schedule.beta[2:]
    formula = 0.5 * ((1 - beta) * (1 - (1 - beta).sqrt()).square() / beta).sum()
    close_mean(lost, formula)
    error = float(lost.std()) / math.sqrt(len(x0))
    assert float(formula) > 8 * error
    if first == 2:  # the sum from t = 1 would be seen
        edge = kernel.schedule.beta[1]
        assert float(0.5 * (1 - edge) * (1 - (1 - edge).sqrt()) ** 2 / edge) > 10 * error


@pytest.mark.equation("eq-img-leaves")
def test_two_points_are_under_one_leaf_as_often_as_areas_say():
    """Dead leaves of many levels against the areas of lenses, drawn by throwing points."""
    h, same = 3, []
    for seed in range(100):
        sheet = textures.dead_leaves(24, np.random.default_rng(seed), levels=2).astype(int)
        same.append(np.mean(sheet[::8, :-h] == sheet[::8, h:]))
    generator = np.random.default_rng(5)
    r = 2 * (1 + generator.pareto(2, 61_000))  # given: of density r^-3 above 2, by another route than the library's
    r = r[r < 32][:60_000]
    x, y = generator.uniform(-40, 40, (2, 60_000))
    one, two = x**2 + y**2 < r**2, (x - h) ** 2 + y**2 < r**2
    P = (one & two).sum() / (one | two).sum()
    expected = P + (1 - P) / 2  # of two levels, both are the same by accident
    spread = math.sqrt(P * (1 - P) / (one | two).sum())  # given: the error of expected
    error = math.hypot(np.std(same) / math.sqrt(len(same)), spread)  # given
    assert abs(np.mean(same) - expected) < 4 * error


def test_the_baselines_use_the_same_unit():
    values = torch.randint(256, (60, 9), generator=rng(), dtype=torch.uint8)
    data = Images("noise", train=values[:40], test=values[40:], shape=(1, 3, 3), levels=256, split="last")
    assert abs(float(image_baselines.isotropic(data).mean()) - data.null_bits) < 0.3
