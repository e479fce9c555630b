"""The equations of the chapter on samplers and schedules, each by two routes."""

import math
from itertools import pairwise

import pytest
import torch
from problems import blobs, close, close_covariance, close_mean, gaussian, randn, rng
from scipy.integrate import quad, solve_ivp

from dpm_lib.diffusion import probability_flow, samplers
from dpm_lib.diffusion.continuous_bound import error_moments
from dpm_lib.diffusion.samplers import MixtureDenoiser
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.diffusion.variance_exploding import falling_times
from dpm_lib.probability.mixtures import Mixture, finite_set

SCHEDULE = geometric(24, beta_1=1e-3, tau_T=90.0)
EYE = torch.eye(2, dtype=torch.float64)


class Known:
    """A model that knows the answer: its guess is the x_0 that the states were made from."""

    def __init__(self, x0):
        self.x0, self.schedule = x0, SCHEDULE

    def denoise(self, x, t):
        return self.x0


def kept_by(draws):
    """In a generator's place: the mean of each draw, of which mean and width are kept."""
    return lambda mean, width: draws.append((mean, width)) or mean


@pytest.mark.equation("eq-smp-marginal")
@pytest.mark.parametrize("way", [("ddim", {"eta": 0.7}), ("family", {"lam": 1.6}), ("ancestral", {}), ("ddim", {})])
def test_whatever_is_drawn_anew_the_marginal_stays(way):
    """x_s is sqrt(alpha_bar_s) x_0 plus noise of variance 1 - alpha_bar_s, given x_0, after one step or three."""
    name, own = way
    x0 = torch.tensor([[0.7, -1.2]], dtype=torch.float64).expand(40_000, 2)
    start = SCHEDULE.alpha_bar[24].sqrt() * x0 + (1 - SCHEDULE.alpha_bar[24]).sqrt() * randn(40_000, 2)
    path = {}
    samplers.SAMPLERS[name](
        Known(x0), start, [24, 17, 11, 6, 0], rng(1), lambda i, t, s, x, guess: path.update({s: x}), **own
    )
    for s in (17, 6):
        close_covariance(path[s], SCHEDULE.alpha_bar[s].sqrt() * x0[0], (1 - SCHEDULE.alpha_bar[s]) * EYE)


@pytest.mark.equation("eq-smp-bridge")
def test_the_bridge_is_that_of_brownian_motion():
    """Mean and covariance of (z_s, z_t) given x_0 are those of Brownian motion; conditioned by the usual formula."""
    kernel = samplers.GaussianKernel(1, SCHEDULE)
    for t, s in [(20, 13), (7, 6)]:
        tau_s, tau_t = float(SCHEDULE.tau[s]), float(SCHEDULE.tau[t])
        slope, variance = tau_s / tau_t, tau_s - tau_s**2 / tau_t  # Cov(z_s, z_t) = tau_s
        a, b, v = (float(c) for c in kernel.bridge(t, s))
        shrink_s, shrink_t = SCHEDULE.alpha_bar[s].sqrt(), SCHEDULE.alpha_bar[t].sqrt()
        close([a, b, v], [slope * shrink_s / shrink_t, shrink_s * (1 - slope), shrink_s**2 * variance])
        x, x0, draws = randn(3, 2), randn(3, 2, seed=1), []
        for name in ("fixed_small", "fixed_large"):
            samplers.ancestral(Known(x0), x, [t, s, 0], kept_by(draws), variance=name)
        mean = shrink_s * (slope * (x / shrink_t - x0) + x0)
        close(torch.stack([draw for draw, _ in draws]), mean.expand(2, 3, 2))
        close([width**2 for _, width in draws], [shrink_s**2 * variance, 1 - (shrink_t / shrink_s) ** 2])


@pytest.mark.equation("eq-smp-ddim")
def test_ddims_noise_as_its_paper_has_it():
    widths = []
    model = MixtureDenoiser(blobs(), SCHEDULE)
    levels = [24, 17, 9, 2, 0]
    samplers.ddim(model, randn(3, 2), levels, lambda mean, width: widths.append(width) or mean, eta=0.6)
    a, b = SCHEDULE.alpha_bar[levels[:-2]], SCHEDULE.alpha_bar[levels[1:-1]]
    close(widths, 0.6 * ((1 - b) / (1 - a)).sqrt() * (1 - a / b).sqrt())
    most = float(((1 - a) / (1 - a / b)).sqrt().min())  # sigma^2 is at most 1 - alpha_bar
    samplers.ddim(model, randn(3, 2), levels, rng(), eta=most - 1e-9)
    with pytest.raises(ValueError, match=r"eta: .* need at most"):
        samplers.ddim(model, randn(3, 2), levels, rng(), eta=most + 1e-9)


@pytest.mark.equation("eq-smp-true-variance")
def test_the_variance_of_the_true_step():
    """By the law of x_s given x_t on a fine grid: Bayes' rule with the forward density of one bridge of steps."""
    target = Mixture(
        torch.tensor([[-1.0], [0.8]], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64), 0.1
    )
    t, s = 15, 11
    alpha, kept = SCHEDULE.alpha_bar[s], SCHEDULE.alpha_bar[t] / SCHEDULE.alpha_bar[s]
    grid = torch.linspace(-6, 6, 6001, dtype=torch.float64)
    log_q = target.log_prob((grid / alpha.sqrt()).unsqueeze(1), float(SCHEDULE.tau[s]))
    for x in (-0.5, 0.1, 1.1):
        weight = torch.softmax(log_q - (x - kept.sqrt() * grid).square() / (2 * (1 - kept)), 0)
        mean = weight @ grid
        exact = weight @ (grid - mean).square()
        r = SCHEDULE.tau[s] / SCHEDULE.tau[t]
        z = torch.tensor([[x]], dtype=torch.float64) / SCHEDULE.alpha_bar[t].sqrt()
        guess = target.posterior_covariance(z, float(SCHEDULE.tau[t]))[0, 0, 0]
        close(alpha * (SCHEDULE.tau[s] * (1 - r) + (1 - r) ** 2 * guess), exact, rtol=1e-9)


def step_variance(target, t, s):
    """The mean variance of the true step, by eq-smp-true-variance."""
    r, mean = SCHEDULE.tau[s] / SCHEDULE.tau[t], error_moments(target, float(SCHEDULE.tau[t])).second
    return SCHEDULE.alpha_bar[s] * (SCHEDULE.tau[s] * (1 - r) + (1 - r) ** 2 * mean)


@pytest.mark.equation("eq-smp-two-variances")
def test_what_each_of_ddpms_variances_is_exact_for():
    point, normal = gaussian(torch.tensor([0.4], dtype=torch.float64), 0.0), gaussian(torch.zeros(1), 1.0)
    kernel = samplers.GaussianKernel(1, SCHEDULE)
    for t, s in [(20, 19), (20, 8), (5, 4)]:
        close(step_variance(point, t, s), kernel.bridge(t, s)[2])
        close(step_variance(normal, t, s), 1 - SCHEDULE.alpha_bar[t] / SCHEDULE.alpha_bar[s])
    close(step_variance(normal, 20, 19), SCHEDULE.beta[20])


@pytest.mark.equation("eq-smp-between")
def test_the_mean_variance_lies_between_for_data_of_variance_1():
    """Met at both ends by one point and a standard normal; broken by wider data, and by a single x_t."""
    kernel = samplers.GaussianKernel(1, SCHEDULE)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    signs = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    for t, s in [(20, 19), (14, 6), (9, 8)]:
        small, large = float(kernel.bridge(t, s)[2]), float(1 - SCHEDULE.alpha_bar[t] / SCHEDULE.alpha_bar[s])
        for share in (0.05, 0.5, 0.95):
            data = Mixture(math.sqrt(1 - share) * signs, half, share)
            assert small < float(step_variance(data, t, s)) < large
        close(step_variance(gaussian(torch.zeros(1), 1.0), t, s), large)
    wide = Mixture(2 * signs, half, 1e-6)
    assert float(step_variance(wide, 20, 19)) > float(SCHEDULE.beta[20])
    two = finite_set(signs)
    at_0 = two.posterior_covariance(torch.zeros(1, 1), float(SCHEDULE.tau[14]))[0, 0, 0]
    assert float(at_0) > 1 - float(SCHEDULE.alpha_bar[14])


@pytest.mark.equation("eq-smp-frozen")
@pytest.mark.parametrize("lam", [0.5, 1.0, 1.8])
def test_the_family_with_the_guess_held(lam):
    """Mean and variance by integrating their own equations in falling time, not by their solution."""
    t, s, guess, z = 14, 9, 0.6, 1.7
    tau_t, tau_s = float(SCHEDULE.tau[t]), float(SCHEDULE.tau[s])

    def rates(u, state):  # d/du, u falling: the mean goes to the guess, the variance with it, and noise comes in
        mean, variance = state
        pull = (1 + lam**2) / (2 * u)
        return [pull * (mean - guess), 2 * pull * variance - lam**2]

    found = solve_ivp(rates, (tau_t, tau_s), [z, 0.0], rtol=1e-10, atol=1e-12).y[:, -1]
    widths, path = [], {}
    known = Known(torch.tensor([[guess]], dtype=torch.float64))
    x = torch.tensor([[z]], dtype=torch.float64) * SCHEDULE.alpha_bar[t].sqrt()
    samplers.family(
        known, x, [t, s, 0], lambda mean, width: widths.append(width) or mean,
        lambda i, t, s, x, guess: path.update({s: x}), lam=lam,
    )  # fmt: skip
    root = SCHEDULE.alpha_bar[s].sqrt()
    close(path[s] / root, found[0], rtol=1e-7)
    close((widths[0] / root) ** 2, found[1], rtol=1e-7)
    close((widths[0] / root) ** 2, quad(lambda u: lam**2 * (tau_s / u) ** (1 + lam**2), tau_s, tau_t)[0], rtol=1e-9)


@pytest.mark.equation("eq-smp-sigma")
def test_the_slope_of_the_flow_in_sigma_is_the_guessed_noise():
    """By a difference along the flow, which another module follows in log t."""
    target, z, t = blobs(), randn(8, 2), 0.7
    ahead = [
        probability_flow.transport(
            target.score, z, falling_times(t, (math.sqrt(t) - h) ** 2, 40), lambda p, u: torch.zeros(len(p))
        )[0]
        for h in (1e-3, 5e-4)
    ]
    slope = 2 * (z - ahead[1]) / 5e-4 - (z - ahead[0]) / 1e-3
    close(slope, (z - target.posterior_mean(z, t)) / math.sqrt(t), rtol=1e-4, atol=1e-5)


@pytest.mark.equation("eq-smp-variation")
def test_variation_of_constants_along_the_flow():
    """One long step of the exact flow is its own integral of the guess: Simpson's rule along the path."""
    target, n = blobs(), 400
    tau = falling_times(4.0, 0.3, n)
    z = [randn(6, 2, seed=3)]
    for pair in pairwise(tau):
        z.append(
            probability_flow.transport(target.score, z[-1], torch.stack(pair), lambda p, u: torch.zeros(len(p)))[0]
        )
    h = 0.5 * math.log(4.0 / 0.3)
    u = torch.linspace(0, h, n + 1, dtype=torch.float64)
    simpson = torch.tensor([1, *[4, 2] * (n // 2 - 1), 4, 1], dtype=torch.float64) * h / (3 * n)
    guesses = torch.stack([target.posterior_mean(at, float(t)) for at, t in zip(z, tau, strict=True)])
    integral = ((simpson * (u - h).exp()).reshape(-1, 1, 1) * guesses).sum(0)
    close(z[-1], math.exp(-h) * z[0] + integral, rtol=1e-4, atol=1e-4)


@pytest.mark.equation("eq-smp-2m")
def test_a_step_of_2m_by_hand():
    model, x = MixtureDenoiser(blobs(), SCHEDULE), randn(9, 2)
    sigma, root = SCHEDULE.tau.sqrt(), SCHEDULE.alpha_bar.sqrt()
    path = {}
    samplers.dpm_solver_2m(model, x, [20, 15, 6, 0], callback=lambda i, t, s, x, guess: path.update({s: (x, guess)}))
    first, second = path[15][1], path[6][1]
    before, h = math.log(sigma[20] / sigma[15]), math.log(sigma[15] / sigma[6])
    z = path[15][0] / root[15]
    lead = second + h / (2 * before) * (second - first)
    close(path[6][0], root[6] * (z * sigma[6] / sigma[15] + (1 - sigma[6] / sigma[15]) * lead))
    close(path[15][0], root[15] * (first + sigma[15] * (x / root[20] - first) / sigma[20]))
    assert not torch.allclose(lead, second, atol=0.01)


@pytest.mark.equation("eq-smp-heun")
def test_a_step_of_heun_by_hand():
    model, x = MixtureDenoiser(blobs(), SCHEDULE), randn(9, 2)
    sigma, root = SCHEDULE.tau.sqrt(), SCHEDULE.alpha_bar.sqrt()
    path = {}
    samplers.heun(model, x, [20, 12, 0], callback=lambda i, t, s, x, guess: path.update({s: x}))
    z = x / root[20]

    def noise(z, t):
        return -sigma[t] * model.target.score(z, float(SCHEDULE.tau[t]))  # Tweedie's formula: no guess is asked for

    euler = z + (sigma[12] - sigma[20]) * noise(z, 20)
    wanted = z + (sigma[12] - sigma[20]) * (noise(z, 20) + noise(euler, 12)) / 2
    close(path[12], root[12] * wanted, rtol=1e-8)
    close(path[0], model.denoise(path[12], 12), rtol=1e-12)
    one_level = 2 * float(sigma[21] / sigma[20] - 1)  # given: of two steps
    for churn, high in ((one_level, 21), (5.0, 21), (0.5, 20)):  # never two levels, for that is more than sqrt 2
        draws = []
        samplers.heun(model, x, [20, 12, 0], kept_by(draws), lambda i, t, s, x, guess: path.update({s: x}), churn)
        z = root[high] / root[20] * x / root[high]
        if high > 20:
            close(draws[0][0], root[high] / root[20] * x)
            close(draws[0][1] ** 2, root[high] ** 2 * (sigma[high] ** 2 - sigma[20] ** 2))
        euler = z + (sigma[12] - sigma[high]) * noise(z, high)
        close(path[12], root[12] * (z + (sigma[12] - sigma[high]) * (noise(z, high) + noise(euler, 12)) / 2), rtol=1e-8)


def test_more_noise_than_ddpm_is_possible():
    """eta of 1.05 over a short step, and its marginal stays too."""
    x0 = torch.tensor([[0.3, 0.2]], dtype=torch.float64).expand(20_000, 2)
    start = SCHEDULE.alpha_bar[24].sqrt() * x0 + (1 - SCHEDULE.alpha_bar[24]).sqrt() * randn(20_000, 2, seed=2)
    path = {}
    samplers.ddim(Known(x0), start, [24, 23, 22, 0], rng(3), lambda i, t, s, x, guess: path.update({s: x}), eta=1.1)
    close_mean((path[22] - SCHEDULE.alpha_bar[22].sqrt() * x0).square(), 1 - SCHEDULE.alpha_bar[22])
