"""Any guess of x_0 as a model: exact numbers for Gaussian data, and the conventions of other libraries."""

import math

import numpy as np
import pytest
import torch

from dpm_lib.core.random import normal, seeded
from dpm_lib.diffusion import bound, conditioning, inpainting, samplers, schedules
from dpm_lib.diffusion.bound import step_kl
from dpm_lib.diffusion.last_step import levels
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.probability_flow import log_likelihood
from dpm_lib.interop import from_denoiser
from dpm_lib.probability.discretised_gaussian import DiscretisedGaussian

HO = schedules.linear(1000, 1e-4, 0.02)


def exact(sd):
    """E[x_0 | z] for x_0 ~ N(0, sd^2 I), z = x_0 + sigma n."""
    return lambda z, sigma: z * (sd**2 / (sd**2 + sigma.square())).view(-1, *[1] * (z.ndim - 1))


def gaussian(sd, dim=1, schedule=HO, **options):
    """The model of such data without error."""
    return from_denoiser(exact(sd), schedule.log_tau, dim, dtype=torch.float64, **options)


def Phi(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def expected_K(sd, schedule, variance="fixed_small", clip=None):
    """E K of one dimension in closed form, and the sum of its E KL: with tau and error alone, no chain."""
    tau, abar, beta = schedule.tau.tolist(), schedule.alpha_bar.tolist(), schedule.beta.tolist()
    total = 0.0
    for t in range(2, schedule.T + 1):
        error = sd**2 * tau[t] / (sd**2 + tau[t])
        if clip is not None:  # E (y - cut y)^2 for the guess y ~ N(0, w^2)
            w = math.sqrt(sd**4 / (sd**2 + tau[t]))
            density = math.exp(-0.5 * (clip / w) ** 2) / math.sqrt(2 * math.pi)
            error += 2 * ((w**2 + clip**2) * Phi(-clip / w) - clip * w * density)
        small = beta[t] * (1 - abar[t - 1]) / (1 - abar[t])
        if variance == "fixed_small":
            total += 0.5 * (1 / tau[t - 1] - 1 / tau[t]) * error
        else:
            apart = abar[t - 1] * (beta[t] / (1 - abar[t])) ** 2 * error
            total += 0.5 * (small / beta[t] - 1 - math.log(small / beta[t]) + apart / beta[t])
    last = abar[-1]
    prior = 0.5 * (last * sd**2 - last - math.log1p(-last))  # D_KL(q(x_T | x_0) || pi)
    square = (sd * beta[1]) ** 2 + (1 - beta[1]) * beta[1]  # E |x_0 - sqrt(1 - beta_1) x_1|^2
    edge = -0.5 * (math.log(2 * math.pi * beta[1]) + square / beta[1])
    return edge - prior - total, total


def quadratic_K(model, sd):
    """E K, and the sum of E KL, of a model whose terms are quadratic in data and noise: from four points, exactly."""
    x0 = torch.tensor([[sd], [sd], [-sd], [-sd]], dtype=torch.float64)
    noise = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    t = torch.arange(2, model.T + 1).repeat_interleave(4)
    total = float(step_kl(model, x0.repeat(model.T - 1, 1), t, noise.repeat(model.T - 1, 1)).sum()) / 4
    prior, edge, entropy_T, entropy_1 = bound.ends(model.kernel, x0)
    return float((prior + edge + entropy_T - entropy_1).mean()) - total, total


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("sd", [0.5, 1.0, 2.0])
def test_K_of_an_exact_denoiser_is_the_closed_form(sd, variance):
    K, total = quadratic_K(gaussian(sd, variance=variance), sd)
    expected, sum_kl = expected_K(sd, HO, variance)
    assert abs(K - expected) < 1e-6 and abs(total - sum_kl) < 1e-6
    if variance == "fixed_small":
        assert total == pytest.approx({0.5: 4.3685, 1.0: 5.070, 2.0: 5.768}[sd], abs=1e-3)


@pytest.mark.parametrize(
    ("sd", "plain", "clipped"), [(0.5, 4.3685, 18.613), (1.0, 5.070, 756.86), (2.0, 5.768, 8387.0)]
)
def test_what_one_clip_costs(sd, plain, clipped):
    """Nats a dimension, T = 1000: quadrature through the model against the closed form."""
    model, total = gaussian(sd, clip=1.0), 0.0
    nodes, weights = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(40))
    t = torch.arange(2, model.T + 1)
    abar = HO.alpha_bar[t].unsqueeze(1)
    spread = (abar * sd**2 + 1 - abar).sqrt()
    gain, left = abar.sqrt() * sd**2 / spread**2, sd * ((1 - abar) / spread**2).sqrt()
    kink, end = torch.minimum(1 / gain, 11 * spread), 12 * spread  # beyond it the guess is cut
    for low, high in ((-end, -kink), (-kink, kink), (kink, end)):
        xt = (low + high) / 2 + (high - low) / 2 * nodes  # (T-1, 40)
        mass = (high - low) / 2 * weights * torch.exp(-0.5 * (xt / spread).square()) / (spread * math.sqrt(2 * math.pi))
        for sign in (1, -1):  # two points have the mean and variance of x_0 given x_t
            x0 = gain * xt + sign * left
            noise = ((xt - abar.sqrt() * x0) / (1 - abar).sqrt()).reshape(-1, 1)
            kl = step_kl(model, x0.reshape(-1, 1), t.repeat_interleave(len(nodes)), noise)
            total += 0.5 * float(mass.flatten() @ kl)
    expected = expected_K(sd, HO, clip=1.0)[1]
    assert total == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(clipped, rel=1e-4) and expected_K(sd, HO)[1] == pytest.approx(plain, abs=1e-3)


def test_both_pictures_are_one_model():
    schedule, guess = schedules.linear(50), exact(0.7)
    signal = schedule.alpha_bar.sqrt()

    def preserving(x, t):
        return guess(x / signal[t].view(-1, 1), schedule.tau[t].sqrt())

    other = from_denoiser(preserving, schedule.log_tau, 3, picture="variance-preserving", dtype=torch.float64)
    x0 = normal((4, 3), seeded(0))
    mine = bound.terms(gaussian(0.7, 3, schedule), x0, seeded(1))
    assert torch.allclose(mine.K, bound.terms(other, x0, seeded(1)).K, rtol=0, atol=1e-9)


def test_all_that_is_done_to_a_model_is_done_to_it():
    """Samples and the flow's likelihood know the data's law; a posterior is Bayes' rule."""
    short = schedules.geometric(40, 1e-4, 400.0)
    model, g = gaussian(0.5, 2, short), seeded(3)
    assert isinstance(model, DiffusionModel)
    variance = 1.0  # of x_t on the way back: a straight line of x_t and noise
    for t in range(short.T, 1, -1):
        a, b, v = (float(c) for c in model.kernel.bridge(t))
        signal = math.sqrt(short.alpha_bar[t])
        gain = signal * 0.25 / (signal**2 * 0.25 + 1 - signal**2)
        variance = (a + b * gain) ** 2 * variance + v
    beta = float(short.beta[1])
    expected = math.sqrt((1 - beta) * variance + beta)
    assert model.sample(4000, g).std() == pytest.approx(expected, rel=0.03) and 0.4 < expected < 0.5
    x = samplers.ddim(model, model.kernel.prior.expand(4000).sample(g), samplers.levels_of(short, 20), g, eta=1.0)
    assert 0.4 < x.std() < expected
    tau = short.tau[1:]

    def score(z, t):
        return -z / (0.25 + t)

    z = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    prior = torch.distributions.Normal(0, math.sqrt(0.25 + float(tau[-1])))
    found = log_likelihood(score, z, tau, lambda z: prior.log_prob(z).sum(-1))
    assert torch.allclose(model.score(z / math.sqrt(1 + float(tau[9])), 10) / math.sqrt(1 + float(tau[9])),
                          score(z, float(tau[9])), atol=1e-9)  # fmt: skip
    assert torch.isfinite(found).all()

    def log_r(x):  # y = x + noise of variance 0.25, y = 1
        return -2 * (x - 1).square().sum(-1)

    tilted = conditioning.tilt(model, log_r, n=2000, generator=g)
    w = torch.softmax(tilted.log_weights, 0).unsqueeze(1)
    assert torch.allclose(
        (w * tilted.x).sum(0), torch.full((2,), expected**2 / (expected**2 + 0.25)).double(), atol=0.04
    )


# Conventions of other libraries: stand-ins that follow them to the letter, for exact data of sd 0.5

SHAPE, SD = (1, 2, 2), 0.5


def test_what_is_seen_of_a_picture_can_be_filled_in():
    """Two numbers that go together, and one of them seen: the other's mean and spread are those of the model's law."""
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2)
    data = torch.tensor([0.9, 0.1], dtype=torch.float64)  # variances along and across: 0.5 each, covariance 0.4

    def guess(z, sigma):
        return (z @ turn * (data / (data + sigma.square().view(-1, 1)))) @ turn

    model = from_denoiser(guess, schedules.geometric(60, 1e-3, 400.0).log_tau, 2, dtype=torch.float64)
    drawn = torch.ones(2, dtype=torch.float64)  # the model's variances along and across: its steps are straight lines
    for t in range(model.T, 0, -1):
        a, b, v = (float(c) for c in model.kernel.bridge(t)) if t > 1 else ((1 - 1e-3) ** 0.5, 0.0, 1e-3)
        abar = float(model.schedule.alpha_bar[t])
        drawn = (a + b * math.sqrt(abar) * data / (abar * data + 1 - abar)).square() * drawn + v
    one, both = float(drawn.mean()), float(drawn[0] - drawn[1]) / 2
    look = torch.tensor([0.6, 0.0]).double(), torch.tensor([True, False])
    found = inpainting.inpaint(model, *look, noise=0.5, n=8000, generator=seeded(3), threshold=0.0)
    w = torch.softmax(found.log_weights, 0)
    expected, variance = 0.6 * both / (one + 0.25), one - both**2 / (one + 0.25)
    off = found.x[:, 1] - expected
    for value, mean in ((off, 0.0), (off.square(), variance)):
        error = float((w.square() @ (value - mean).square()).sqrt())
        assert abs(float(w @ value) - mean) < 4 * error < 0.06
    assert 0.7 < both / one < 0.95


def shaped(s, x):
    return s.view(-1, *[1] * (x.ndim - 1))


class KDiffusion:
    """DiscreteEpsDDPMDenoiser: sigmas rise, inner_model says eps of x / sqrt(sigma^2 + 1) at the nearest index."""

    def __init__(self, schedule):
        self.sigmas = schedule.tau[1:].sqrt()

    def __call__(self, z, sigma):
        index = (sigma.log()[:, None] - self.sigmas.log()).abs().argmin(1)
        assert torch.allclose(self.sigmas[index], sigma, rtol=1e-6)
        x = z / shaped(sigma.square() + 1, z).sqrt()
        eps = shaped(sigma * (sigma.square() + 1).sqrt() / (SD**2 + sigma.square()), x) * x
        return z - eps * shaped(sigma, z)


class DenoisingDiffusion:
    """GaussianDiffusion: times begin at 0, model_predictions(x, t, clip_x_start) has pred_x_start."""

    def __init__(self, schedule):
        self.alphas_cumprod = schedule.alpha_bar[1:]

    def model_predictions(self, x, t, clip_x_start=False):
        abar = shaped(self.alphas_cumprod[t], x)
        start = abar.sqrt() * SD**2 / (abar * SD**2 + 1 - abar) * x
        return type("Prediction", (), {"pred_x_start": start.clamp(-1, 1) if clip_x_start else start})


class SmallDiffusion:
    def predict_eps(self, z, sigma):
        return shaped(sigma / (SD**2 + sigma.square()), z) * z


def velocity(x, u):
    """E[data - noise | x] for x = u data + (1 - u) noise."""
    u = shaped(u, x)
    return (u * SD**2 - (1 - u)) / (u.square() * SD**2 + (1 - u).square()) * x


def recipes(schedule):
    log_tau, f64 = schedule.log_tau, {"dtype": torch.float64}
    D = KDiffusion(schedule)
    yield "k-diffusion", from_denoiser(D, 2 * D.sigmas.double().log(), SHAPE, **f64)
    yield "EDM", from_denoiser(exact(SD), log_tau[1:], SHAPE, **f64)
    d = DenoisingDiffusion(schedule)
    yield (
        "denoising-diffusion-pytorch",
        from_denoiser(
            lambda x, t: d.model_predictions(x, t - 1, clip_x_start=False).pred_x_start,
            (1 / d.alphas_cumprod.double() - 1).log(),
            SHAPE,
            picture="variance-preserving",
            **f64,
        ),
    )
    net = SmallDiffusion()
    yield "smalldiffusion", from_denoiser(lambda z, s: z - shaped(s, z) * net.predict_eps(z, s), log_tau, SHAPE, **f64)

    def up(z, s):
        u = 1 / (1 + s)
        return shaped(u, z) * z + shaped(1 - u, z) * velocity(shaped(u, z) * z, u)

    yield "flow matching, noise at 0", from_denoiser(up, log_tau, SHAPE, **f64)

    def down(z, s):  # diffusers: time w = 1 - u, v = noise - data
        w = s / (1 + s)
        return shaped(1 - w, z) * z - shaped(w, z) * -velocity(shaped(1 - w, z) * z, 1 - w)

    yield "flow matching, noise at 1", from_denoiser(down, log_tau, SHAPE, **f64)


def test_models_of_other_libraries_come_in_by_two_lines():
    schedule = schedules.geometric(20, 1e-3, 400.0)
    x0 = 0.5 * normal((5, 4), seeded(1))
    wanted = bound.terms(gaussian(SD, 4, schedule), x0, seeded(2)).K
    for name, model in recipes(schedule):
        assert torch.allclose(bound.terms(model, x0, seeded(2)).K, wanted, atol=1e-8), name


# The last step


def test_a_rounded_gaussian_is_a_law_of_levels():
    centres, f64 = levels(5), torch.float64
    law = DiscretisedGaussian(
        torch.tensor([[0.3, -2.0], [0.9, 40.0]], dtype=f64), torch.tensor([0.4], dtype=f64), centres
    )
    masses = law.log_masses.exp()
    assert torch.allclose(masses.sum(0), torch.ones(2, 2).double(), atol=1e-14)
    assert masses[3, 0, 0] == pytest.approx(Phi((0.75 - 0.3) / 0.4) - Phi((0.25 - 0.3) / 0.4), rel=1e-12)
    assert masses[4, 0, 0] == pytest.approx(1 - Phi((0.75 - 0.3) / 0.4), rel=1e-12)
    assert law.log_masses[0, 1, 1] == pytest.approx(-0.5 * (40.75 / 0.4) ** 2, rel=2e-3)  # no floor: 1e-12 is none
    x = centres[torch.tensor([[3, 0], [4, 4]])]
    assert torch.allclose(law.log_prob(x), torch.stack([law.log_masses[[3, 0], 0, [0, 1]].sum(),
                                                        law.log_masses[[4, 4], 1, [0, 1]].sum()]))  # fmt: skip
    drawn = law.expand(20_000).sample(seeded(0))
    for i, centre in enumerate(centres):
        assert (drawn == centre).double().mean(0) == pytest.approx(masses[i].numpy(), abs=0.015)
    assert torch.allclose(law.mean, (masses * centres.view(-1, 1, 1)).sum(0))
    assert torch.allclose(law.entropy, torch.special.entr(masses).sum((0, -1)), atol=1e-12)
    other = DiscretisedGaussian(law.mean_of_gaussian + 0.2, law.scale, centres)
    assert (law.kl(other) > 0).all() and law.kl(law).abs().max() < 1e-12
    assert torch.equal(law.ratio(x), torch.ones(2).double())
    with pytest.raises(ValueError, match=r"x: 0.3 at index \(0, 0\): need one of the 5 levels"):
        law.log_prob(torch.tensor([[0.3, -1.0], [1.0, 1.0]]).double())
    for wrong in ([0.0], [1.0, 0.0], [0.0, 1.0, 3.0]):
        with pytest.raises(ValueError, match="centres: need two or more, evenly spaced and rising"):
            DiscretisedGaussian(law.mean_of_gaussian, law.scale, torch.tensor(wrong))
    with pytest.raises(ValueError, match="high: need a finite number above low, got"):
        levels(3, 0.0, -1.0)


def test_with_levels_the_model_gives_probabilities():
    """The probabilities of all levels sum to 1, and K is the mean of what their logarithms are bounded by."""
    schedule = schedules.linear(4, 0.05, 0.9)
    model = gaussian(0.6, 1, schedule, last="levels", count=4)
    x0 = levels(4).unsqueeze(1)
    weights = model.trajectory_weights(x0, 5000, seeded(5))
    assert float(weights.log_z.exp().sum()) == pytest.approx(1, abs=0.03)
    K = bound.terms(model, x0.repeat(5000, 1), seeded(6)).K.reshape(-1, 4).mean(0)
    assert torch.allclose(K, weights.elbo, atol=0.15) and (K < weights.log_z + 0.02).all()
    drawn = model.sample(10_000, seeded(7)).flatten()
    shares = torch.stack([(drawn == v).double().mean() for v in levels(4)])
    assert torch.allclose(shares, weights.log_z.exp(), atol=0.03)


def test_the_last_term_is_the_levels_probability():
    """edge - H_q(X_1 | x_0) is log P(x_0 | x_1) at the very x_1 that was drawn, after T - 1 draws of noise."""
    model = gaussian(0.6, 2, schedules.linear(3, 0.05, 0.9), last="levels", count=4)
    x0, g = levels(4)[torch.tensor([[0, 3], [2, 1]])], seeded(1)
    terms = bound.terms(model, x0, seeded(1))
    normal((2, 2, 2), g)
    x1 = model.kernel.marginal(x0, 1).sample(g)
    assert torch.allclose(terms.edge - terms.entropy_1, model.reverse_step(x1, 1).log_prob(x0), atol=1e-12)


def test_the_last_step_has_the_variance_of_published_bits():
    """beta-tilde_2, for fixed_large too; where diffusers' own `_get_variance(0)` has 1e-20 and beta_1."""
    for variance in ("fixed_small", "fixed_large"):
        model = gaussian(1.0, variance=variance, last="levels")
        law = model.reverse_step(torch.tensor([[0.4]], dtype=torch.float64), 1)
        beta, abar = HO.beta, HO.alpha_bar
        assert float(law.scale.square()) == pytest.approx(float(beta[2] * (1 - abar[1]) / (1 - abar[2])), rel=1e-12)
        assert float(law.mean_of_gaussian) == pytest.approx(0.4 * float(abar[1].sqrt()), rel=1e-12)


def test_a_last_step_of_levels_is_not_trained_on_and_not_tilted():
    model = gaussian(1.0, last="levels")
    with pytest.raises(ValueError, match=r"model: its last step is on levels.* need the edge kernel"):
        conditioning.tilt(model, lambda x: x.sum(-1), n=2, generator=seeded(0))
    with pytest.raises(ValueError, match="model: has a last step of its own"):
        bound.estimate(model, torch.zeros(1, 1).double(), torch.tensor([2]), torch.zeros(1, 1).double())


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"picture": "polar"}, "picture: 'polar' is not one of"),
        ({"variance": "learned"}, "variance: 'learned': need one of fixed_small, fixed_large"),
        ({"last": "none"}, "last: 'none' is not one of edge, levels"),
        ({"clip": -1.0}, "clip: -1.0: need a positive"),
        ({"log_tau": [0.0, 0.0]}, "log_tau: need two levels or more, each above the last; t = 2"),
        ({"log_tau": [0.0]}, "log_tau: need two levels or more"),
        ({"log_tau": [[0.0, 1.0]]}, r"log_tau: need shape \(T,\)"),
        ({"log_tau": [0.0, math.inf]}, "log_tau: ends at infinity"),
    ],
)
def test_what_is_no_denoiser_is_refused(change, message):
    arguments = {"f": exact(1.0), "log_tau": HO.log_tau, "shape": 2} | change
    with pytest.raises(ValueError, match=message):
        from_denoiser(arguments.pop("f"), arguments.pop("log_tau"), arguments.pop("shape"), **arguments)


def test_a_function_that_answers_otherwise_is_refused():
    model = from_denoiser(lambda z, s: z[:, :1], HO.log_tau, 2)
    with pytest.raises(ValueError, match=r"f: answers with shape \(1, 1\): need \(1, 2\)"):
        model.sample(1, seeded(0))
    drops = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"f: is in training mode.*f.eval\(\) first"):
        from_denoiser(drops, HO.log_tau, 2)
    from_denoiser(drops.eval(), HO.log_tau, 2)


def test_zero_signal_is_no_trouble_in_the_preserving_picture():
    """The chain that ends in pure noise: log alpha_bar_T = -infinity."""
    schedule = schedules.even(20)
    sqrt = schedule.alpha_bar.sqrt()

    def guess(x, t):
        abar = schedule.alpha_bar[t].view(-1, 1)
        return sqrt[t].view(-1, 1) * 0.25 / (abar * 0.25 + 1 - abar) * x

    model = from_denoiser(guess, schedule.log_tau, 1, picture="variance-preserving", dtype=torch.float64)
    K, _ = quadratic_K(model, 0.5)
    assert math.isfinite(K) and model.facts["alpha_bar_T"] == 0


def test_the_repr_says_whose_K_it_is():
    plain, clipped = gaussian(1.0), gaussian(1.0, clip=1.0)
    assert "variance=fixed_small, clip=none, last=edge, T=1000, alpha_bar_T=4.036e-05" in repr(plain)
    assert "dtype=float64" in repr(plain) and "clip=1.0" in repr(clipped)
