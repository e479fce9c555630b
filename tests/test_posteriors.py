"""Tilted chains: against exact posteriors, for every method that claims them; and what is refused."""

import math

import pytest
import torch
from problems import affine_model, bit_model, blobs, close, close_mean, gaussian, model_law, rng, short_schedule

from dpm_lib import posteriors, schedules
from dpm_lib.codebooks import Codebook
from dpm_lib.kernels import GaussianKernel
from dpm_lib.tilts import blend_of, gaussian_tilt, times
from dpm_lib.twisting import Annealed, BlendReverse, ExactModel, Expected, guess, through

T = 15
PLANE = ExactModel(blobs(), schedules.geometric(T, 1e-3, 1e4))
SPOT = gaussian_tilt(torch.tensor([0.1, 0.3]), 0.6)
BOOK = Codebook(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]), torch.tensor([0.5, 0.2, 0.3]))
BITS = ExactModel(BOOK, schedules.cosine(T, 1e-3, 1e4))


def runs(model, r, twist, f, seeds=range(25), n=400, **options):
    """Means of f over particles, one a run: (runs, k), and the estimates of Z, (runs,)."""
    found = [posteriors.tilt(model, r, "particles", n, rng(s), twist=twist, **options) for s in seeds]
    return torch.stack([s.mean(f) for s in found]), torch.stack([s.log_z.exp() for s in found])


@pytest.mark.parametrize("twist", ["annealed", "plug-in", "expected", Expected(PLANE, SPOT, softness=1.0)])
def test_particles_are_right_for_every_twist(twist):
    exact, log_z = times(blend_of(blobs()), SPOT)
    means, z = runs(PLANE, SPOT, twist, lambda x: x)
    close_mean(means, exact.mean, errors=3, floor=5e-3)  # self-normalised: a bias of order 1/n
    close_mean(z, log_z.exp(), errors=3, floor=1e-6)  # p starts in pi, and not in q(x_T)


def test_few_particles_are_unbiased_though_mostly_low():
    """Twelve particles: the mean of 150 estimates of Z is Z, while most of them are less."""
    _, log_z = times(blend_of(blobs()), SPOT)
    model = ExactModel(blobs(), schedules.geometric(6, 1e-3, 1e4))
    z = runs(model, SPOT, "annealed", lambda x: x, seeds=range(150), n=12)[1]
    close_mean(z, log_z.exp(), errors=3)
    assert float(z.std()) > 0.3 * float(log_z.exp()) and float((z < log_z.exp()).double().mean()) > 0.55


def test_plain_functions_are_tilted_to_first_order_and_weighted_right():
    def log_r(x):
        return -2 * (x[:, 0] - 0.3).abs() + torch.sin(3 * x[:, 1])

    x = blobs().sample(200_000, rng(0))
    weights = log_r(x).exp()
    means, z = runs(PLANE, log_r, "annealed", lambda x: x)
    close_mean(z, weights.mean(), floor=4 * float(weights.std()) / 200_000**0.5)
    close_mean(means, (weights.unsqueeze(1) * x).sum(0) / weights.sum(), floor=0.012)


def test_exact_twist_draws_the_posterior_itself():
    exact, log_z = times(blend_of(blobs()), SPOT)
    close_mean(posteriors.tilt(PLANE, SPOT, "twisted", 5000, rng(3)).x, exact.mean)
    found = posteriors.tilt(PLANE, SPOT, "particles", 500, rng(4))
    assert float(found.ess) > 499.9 and float(found.ess_by_step.min()) > 499.9
    close(found.log_z, log_z, rtol=1e-3)


@pytest.mark.parametrize("method, twist", [("twisted", None), ("particles", "annealed"), ("particles", "plug-in")])
def test_bits(method, twist):
    x0, mask = BOOK.rows[0], torch.tensor([True, True, False, False])
    r = posteriors.seen(BITS, x0, 0.2, mask)
    exact = times(blend_of(BOOK), r)[0].log_weights.softmax(-1)

    def share(x):
        return (x.unsqueeze(-2) == BOOK.rows).all(-1).double()

    if method == "twisted":
        drawn = posteriors.inpaint(BITS, x0, mask, noise=0.2, method=method, n=3000, generator=rng(0))
        close_mean(share(drawn.x), exact)
    else:
        means, z = runs(BITS, r, twist, share, n=300)
        close_mean(means, exact, floor=5e-3)
        close_mean(z, float((BOOK.weights * r(BOOK.rows).exp()).sum()), floor=1e-9)


def test_learned_kernels_keep_their_weights_right():
    """A linear Gaussian model with a full covariance: its law and its posterior are Gaussians."""
    model = affine_model(short_schedule())
    law, r = model_law(model), gaussian_tilt(torch.tensor([0.5, -0.2]), 0.7)
    precision = torch.linalg.inv(law.covariance_matrix) + torch.eye(2) / 0.49
    mean = torch.linalg.solve(precision, torch.linalg.solve(law.covariance_matrix, law.mean) + r.b[0])
    for twist in ("annealed", "plug-in", "expected"):
        means, z = runs(model, r, twist, lambda x: x)
        close_mean(means, mean, floor=5e-3)
        total = law.covariance_matrix + 0.49 * torch.eye(2)
        look = torch.distributions.MultivariateNormal(law.mean, total)
        close_mean(z, look.log_prob(torch.tensor([0.5, -0.2]).double()).exp(), floor=1e-9)
    bits = bit_model(short_schedule())
    drawn = posteriors.denoise(bits, torch.tensor([1.0, 0.0]), 0.1, n=2000, generator=rng(0), twist="expected")
    plain = bits.sample(20_000, rng(1))
    weights = posteriors.seen(bits, torch.tensor([1.0, 0.0]), 0.1, torch.ones(2, dtype=torch.bool))(plain).exp()
    close(drawn.mean(), (weights.unsqueeze(1) * plain).sum(0) / weights.sum(), rtol=0, atol=0.05)


def test_density_on_a_grid_is_that_of_the_chain():
    x = torch.linspace(-5, 5, 201, dtype=torch.float64)
    beta = torch.cat([torch.zeros(1), torch.full((20,), 0.4)]).double()
    model = ExactModel(gaussian(torch.zeros(1), 1.0), schedules.from_beta(beta))
    r = gaussian_tilt(torch.ones(1), math.sqrt(0.5))
    for method in ("constant", "annealed"):
        p = posteriors.law_on_grid(model, posteriors.twist_of(model, r, method), x)
        close(p.sum() * 0.05, 1.0, rtol=1e-9)
        close_mean(posteriors.tilt(model, r, method, 20_000, rng(0)).x, (p * x).sum() * 0.05)
    p = posteriors.law_on_grid(model, Expected(model, r), x)
    close(p, times(blend_of(gaussian(torch.zeros(1), 1.0)), r)[0].log_prob(x.unsqueeze(1)).exp(), atol=1e-3)


def test_the_true_reverse_step_is_bayes_rule():
    kernel = GaussianKernel(2, short_schedule())
    x, y = blobs().sample(7, rng(0)), blobs().sample(7, rng(1))
    s = kernel.schedule

    def log_q(point, t):
        a = float(s.alpha_bar[t])
        return blobs().log_prob(point / math.sqrt(a), float(s.tau[t])) - math.log(a)

    law = BlendReverse(blobs())(y, 3, kernel)
    close(law.log_prob(x), kernel.step(x, 3).log_prob(y) + log_q(x, 2) - log_q(y, 3))
    root = s.alpha_bar[3].sqrt()
    close(BlendReverse(blobs()).score(y, 3, kernel), blobs().score(y / root, float(s.tau[3])) / root)
    close(through(guess(PLANE, y, 4), y, 4, PLANE.kernel).mean, PLANE.reverse_step(y, 4).mean)
    with pytest.raises(TypeError, match="bits have no score"):
        BITS.score(BOOK.rows, 3)


def test_clamping_keeps_what_is_known():
    drawn = posteriors.clamp(PLANE, torch.tensor([0.4, 9.0]), torch.tensor([True, False]), 50, rng(0))
    assert float((drawn.x[:, 0] - 0.4).abs().max()) < 1e-6 and float(drawn.x[:, 1].std()) > 0.1


def test_callback_sees_every_time():
    seen = []
    posteriors.tilt(PLANE, SPOT, "annealed", 5, rng(0), callback=lambda t, x, w: seen.append((t, tuple(x.shape))))
    assert seen == [(t, (5, 2)) for t in range(T, -1, -1)]


def nan_at_two(x):
    return torch.where(torch.arange(len(x)) == 2, torch.nan, 0.0)


ERRORS = [
    (dict(method="wishful"), "method: 'wishful' is not one of"),
    (dict(n=0), "n: 0"),
    (dict(generator=None), "generator: None"),
    (dict(twist="tight"), "twist: 'tight' is not one of"),
    (dict(twist="annealed", powers=torch.ones(3)), "powers: 3 numbers for T \\+ 1 = 16"),
    (dict(twist=None, method="annealed", powers=torch.zeros(T + 1)), "powers: need shape"),
    (
        dict(log_r=lambda x: torch.full_like(x[:, 0], -torch.inf) + 0 * x[:, 0]),
        "log_r: minus infinity at all 8 particles at t = 14",
    ),
    (dict(log_r=lambda x: nan_at_two(x) + 0 * x[:, 0]), "log_r: nan at particle 2, t = 14"),
    (dict(log_r=lambda x: 0 * x), "log_r: gives shape"),
]


@pytest.mark.parametrize("changes, message", ERRORS)
def test_bad_input_is_refused(changes, message):
    options = dict(log_r=SPOT, method="particles", n=8, generator=rng(0), twist="annealed") | changes
    with pytest.raises(ValueError, match=message):
        posteriors.tilt(PLANE, **options)


def test_bad_masks_and_looks_are_refused():
    options = dict(n=4, generator=rng(0))
    x0, mask = torch.zeros(2), torch.tensor([True, False])
    for bad in (torch.ones(3, dtype=torch.bool), torch.ones(2), torch.ones(1, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match="mask: need 2 booleans"):
            posteriors.inpaint(PLANE, x0, bad, **options)
    with pytest.raises(ValueError, match=r"x0: need shape \(2,\), got \(3,\)"):
        posteriors.inpaint(PLANE, torch.zeros(3), mask, **options)
    with pytest.raises(ValueError, match="x0: nan at index"):
        posteriors.inpaint(PLANE, torch.tensor([torch.nan, 0.0]), mask, **options)
    posteriors.inpaint(PLANE, torch.tensor([0.0, torch.nan]), mask, **options)  # what is not seen may be anything
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        posteriors.denoise(BITS, torch.tensor([0.0, 0.5, 1.0, 1.0]), 0.1, **options)
    with pytest.raises(TypeError, match="needs a Tilt"):
        Expected(PLANE, lambda x: x[:, 0])
    with pytest.raises(ValueError, match=r"softness: -1\.0"):
        Expected(PLANE, SPOT, -1.0)
    with pytest.raises(ValueError, match="powers"):
        Annealed(SPOT, torch.tensor([1.0, -1.0]))
    with pytest.raises(TypeError, match="repeat the run"):
        _ = posteriors.tilt(PLANE, SPOT, n=4, generator=rng(0)).log_z_stderr
