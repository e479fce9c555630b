"""Tilted chains: against exact posteriors, for every method that claims them; and what is refused."""

import math

import pytest
import torch
from problems import (
    affine_model,
    all_bits,
    bit_model,
    blobs,
    close,
    close_mean,
    covariance_of,
    gaussian,
    model_law,
    randn,
    rng,
    short_schedule,
)

from dpm_lib.diffusion import conditioning, inpainting, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.twists import (
    Annealed,
    BlendReverse,
    Constant,
    ExactModel,
    Expected,
    Last,
    PlugIn,
    guess,
    through,
)
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.probability.distributions import Bernoulli, Gaussian
from dpm_lib.probability.products_of_laws import Blend, blend_of, gaussian_tilt, times

T = 15
PLANE = ExactModel(blobs(), schedules.geometric(T, 1e-3, 1e4))
SPOT = gaussian_tilt(torch.tensor([0.1, 0.3]), 0.6)
BOOK = Codebook(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]), torch.tensor([0.5, 0.2, 0.3]))
BITS = ExactModel(BOOK, schedules.cosine(T, 1e-3, 1e4))


def runs(model, r, twist, f, seeds=range(25), n=400, **options):
    """Means of f over particles, one a run: (runs, k), and the estimates of Z, (runs,)."""
    found = [conditioning.tilt(model, r, "particles", n, rng(s), twist=twist, **options) for s in seeds]
    return torch.stack([s.mean(f) for s in found]), torch.stack([s.log_z.exp() for s in found])


@pytest.mark.equation("eq-post-weights")
@pytest.mark.parametrize("twist", ["annealed", "plug-in", "expected", Expected(PLANE, SPOT, softness=1.0)])
def test_particles_are_right_for_every_twist(twist):
    exact, log_z = times(blend_of(blobs()), SPOT)
    means, z = runs(PLANE, SPOT, twist, lambda x: x)
    close_mean(means, exact.mean, errors=3, floor=5e-3)  # self-normalised: a bias of order 1/n
    close_mean(z, log_z.exp(), errors=3, floor=1e-6)  # p starts in pi, and not in q(x_T)


@pytest.mark.equation("eq-post-weights")
def test_few_particles_are_unbiased_though_mostly_low():
    """Twelve particles: the mean of 150 estimates of Z is Z, while most of them are less."""
    _, log_z = times(blend_of(blobs()), SPOT)
    model = ExactModel(blobs(), schedules.geometric(6, 1e-3, 1e4))
    z = runs(model, SPOT, "annealed", lambda x: x, seeds=range(150), n=12)[1]
    close_mean(z, log_z.exp(), errors=3)
    assert float(z.std()) > 0.3 * float(log_z.exp()) and float((z < log_z.exp()).double().mean()) > 0.55


@pytest.mark.equation("eq-post-weights", "eq-post-guidance")
def test_plain_functions_are_tilted_to_first_order_and_weighted_right():
    def log_r(x):
        return -2 * (x[:, 0] - 0.3).abs() + torch.sin(3 * x[:, 1])  # given

    x = blobs().sample(200_000, rng(0))
    weights = log_r(x).exp()
    means, z = runs(PLANE, log_r, "annealed", lambda x: x)
    close_mean(z, weights.mean(), floor=4 * float(weights.std()) / 200_000**0.5)
    close_mean(means, (weights.unsqueeze(1) * x).sum(0) / weights.sum(), floor=0.012)


@pytest.mark.equation("eq-post-weights")
def test_exact_twist_draws_the_posterior_itself():
    exact, log_z = times(blend_of(blobs()), SPOT)
    close_mean(conditioning.tilt(PLANE, SPOT, "twisted", 5000, rng(3)).x, exact.mean)
    found = conditioning.tilt(PLANE, SPOT, "particles", 500, rng(4))
    assert float(found.ess) > 499.9 and bool((found.ess_by_step > 499.9).all())
    close(found.log_z, log_z, rtol=1e-3)


@pytest.mark.equation("eq-post-weights")
@pytest.mark.parametrize("method, twist", [("twisted", None), ("particles", "annealed"), ("particles", "plug-in")])
def test_bits(method, twist):
    x0, mask = BOOK.rows[0], torch.tensor([True, True, False, False])
    r = inpainting.seen(BITS, x0, 0.2, mask)
    exact = times(blend_of(BOOK), r)[0].log_weights.softmax(-1)

    def share(x):
        return (x.unsqueeze(-2) == BOOK.rows).all(-1).double()

    if method == "twisted":
        drawn = inpainting.inpaint(BITS, x0, mask, noise=0.2, method=method, n=3000, generator=rng(0))
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
    drawn = inpainting.denoise(bits, torch.tensor([1.0, 0.0]), 0.1, n=2000, generator=rng(0), twist="expected")
    plain = bits.sample(20_000, rng(1))
    weights = inpainting.seen(bits, torch.tensor([1.0, 0.0]), 0.1, torch.ones(2, dtype=torch.bool))(plain).exp()
    close(drawn.mean(), (weights.unsqueeze(1) * plain).sum(0) / weights.sum(), rtol=0, atol=0.05)


def test_density_on_a_grid_is_that_of_the_chain():
    x = torch.linspace(-5, 5, 201, dtype=torch.float64)
    beta = torch.cat([torch.zeros(1), torch.full((20,), 0.4)]).double()
    model = ExactModel(gaussian(torch.zeros(1), 1.0), schedules.from_beta(beta))
    r = gaussian_tilt(torch.ones(1), math.sqrt(0.5))
    for method in ("constant", "annealed"):
        p = conditioning.law_on_grid(model, conditioning.twist_of(model, r, method), x)
        close(p.sum() * 0.05, 1.0, rtol=1e-9)
        close_mean(conditioning.tilt(model, r, method, 20_000, rng(0)).x, (p * x).sum() * 0.05)
    p = conditioning.law_on_grid(model, Expected(model, r), x)
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


# r that vanishes, jumps, or has no gradient: right, or refused. On N(0, 1), by the exact model

NORMAL = ExactModel(gaussian(torch.zeros(1), 1.0), schedules.geometric(12, 1e-2, 1e4))


def phi(x):
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def above(x):
    """log of 1[x > 0.5]."""
    return torch.where(x[:, 0] > 0.5, 0.0, -torch.inf)


def between(x):
    """log of 1[|x| < 1.2]."""
    return torch.where(x[:, 0].abs() < 1.2, 0.0, -torch.inf)


def numpy_look(x):
    """log N(x; 2, 0.25), in NumPy: autograd sees none of it."""
    return torch.from_numpy(-2 * (x[:, 0].detach().numpy() - 2) ** 2 - math.log(0.5 * math.sqrt(2 * math.pi)))


def jump(x):
    """log r with two plateaus: it has a gradient, which is zero."""
    return torch.where(x[:, 0] > 0.5, 2.0, 0.0) + 0 * x[:, 0]


TAIL = 0.5 * math.erfc(0.5 / 2**0.5)  # P(x > 0.5)
MIDDLE = math.erf(1.2 / 2**0.5)
ROUGH = {  # log r: E r, and the first two moments of the posterior
    "above": (above, TAIL, phi(0.5) / TAIL, 1 + 0.5 * phi(0.5) / TAIL),
    "between": (between, MIDDLE, 0.0, 1 - 2.4 * phi(1.2) / MIDDLE),
    "numpy": (numpy_look, phi(2 / 1.25**0.5) / 1.25**0.5, 1.6, 1.6**2 + 0.2),
    "jump": (jump, 1 + (math.e**2 - 1) * TAIL, (math.e**2 - 1) * phi(0.5) / (1 + (math.e**2 - 1) * TAIL), None),
}


def floored(log_r):
    """log(r + 0.1), which is positive."""
    return lambda x: torch.logaddexp(log_r(x), torch.full_like(x[:, 0], math.log(0.1)))


@pytest.mark.equation("eq-post-weights")
@pytest.mark.parametrize("name", ROUGH)
@pytest.mark.parametrize("twist", [None, "floored"])
def test_any_r_is_right_with_particles(name, twist):
    log_r, z, first, second = ROUGH[name]
    made = Annealed(floored(log_r), 1 - torch.arange(13).double() / 12) if twist else None
    means, found = runs(NORMAL, log_r, made, lambda x: torch.cat([x, x * x], 1), seeds=range(12), n=600)
    close_mean(found, z, errors=3.5, floor=2e-5)  # p starts in pi, and not in q(x_T)
    close_mean(means[:, 0], first, errors=3.5, floor=4e-3)
    if second is not None:
        close_mean(means[:, 1], second, errors=3.5, floor=4e-3)
    x, log_w = (lambda s: (s.x, s.log_weights))(conditioning.tilt(NORMAL, log_r, n=500, generator=rng(0)))
    assert torch.equal(torch.isneginf(log_w), torch.isneginf(log_r(x)))  # a weight of zero just where r is zero


@pytest.mark.equation("eq-post-guidance")
def test_a_bit_that_must_be_one():
    """r = 1[first bit is 1], with and without guidance on the way; exact by enumeration."""

    def log_r(x):
        return torch.where(x[:, 0] == 1, 0.0, -torch.inf)

    model, share = bit_model(short_schedule()), all_bits(2)
    law = share.new_full((4,), 0.25)
    with torch.no_grad():
        for t in range(model.T, 0, -1):
            law = law @ model.reverse_step(share, t).log_prob(share.unsqueeze(1)).exp().T
    z = float(law[2:].sum())
    falling = 1 - torch.arange(5).double() / 4  # how much of log r counts at t
    for twist in (None, Annealed(floored(log_r), falling)):
        means, found = runs(model, log_r, twist, lambda x: x, seeds=range(15))
        close_mean(found, z, errors=3.5, floor=1e-9)
        close_mean(means[:, 1], float(law[3]) / z, errors=3.5, floor=3e-3)
        close(means[:, 0], 1.0)


NEEDS_TWIST = r"must be positive for t >= 1, .*'last', or one made of log\(r \+ floor\)"
REFUSED = [
    ("twisted", None, above, "no gradient in x for method 'twisted'"),
    ("twisted", None, numpy_look, "no gradient in x for method 'twisted'"),
    ("annealed", None, numpy_look, "no gradient in x for method 'annealed'"),
    ("annealed", None, lambda x: above(x) + 0 * x[:, 0], NEEDS_TWIST),
    ("constant", None, lambda x: above(x) + 0 * x[:, 0], NEEDS_TWIST),
    ("constant", None, jump, "slope 0 at all particles at t = 11, though it differs .* 'particles'"),
    ("particles", "annealed", above, NEEDS_TWIST),
    ("particles", "constant", between, NEEDS_TWIST),
    ("particles", "plug-in", above, NEEDS_TWIST),
    ("twisted", "last", lambda x: -(x[:, 0] ** 2), "twist: 'last' does not fit method 'twisted'"),
    ("twisted", Constant(lambda x: 4 * x[:, 0]), above, r"minus infinity at \d+ of the 300 draws of 'twisted'"),
    ("particles", None, lambda x: torch.where(x[:, 0] > 50, 0.0, -torch.inf), "minus infinity at all 300 .* t = 0"),
]


@pytest.mark.equation("eq-post-weights")
@pytest.mark.parametrize("method, twist, log_r, message", REFUSED)
def test_what_would_be_wrong_in_silence_is_refused(method, twist, log_r, message):
    with pytest.raises(ValueError, match=message):
        conditioning.tilt(NORMAL, log_r, method, 300, rng(0), twist=twist)
    with pytest.raises(ValueError, match="must be positive for t >= 1"):  # bits: a neighbour is forbidden
        forbidden = Constant(lambda x: torch.where(x[:, 0] == 1, 0.0, -torch.inf))
        conditioning.tilt(BITS, lambda x: torch.zeros(len(x)), n=40, generator=rng(0), twist=forbidden)


@pytest.mark.equation("eq-post-weights")
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.95])
def test_particles_are_drawn_again_just_where_too_few_count(threshold):
    seen = {}
    options = {"twist": "annealed", "threshold": threshold, "callback": lambda t, x, w: seen.update({t: w.clone()})}
    found = conditioning.tilt(PLANE, SPOT, "particles", 300, rng(0), **options)
    again = {t for t, w in seen.items() if (w == w[0]).all() and t < T}
    assert again == {t for t in range(1, T) if found.ess_by_step[t] < threshold * 300}
    assert bool(again) == (threshold > 0) and 0 not in again


@pytest.mark.equation("eq-post-weights")
def test_r_counts_at_the_end_whatever_the_twist_has_there():
    """A twist whose psi_0 is no r: psi_t for t >= 1 is used, and r at 0."""
    other = gaussian_tilt(torch.tensor([0.5, 0.0]), 0.9)
    exact, log_z = times(blend_of(blobs()), SPOT)
    for twist in (Expected(PLANE, other), Constant(other), Constant(lambda x: other(x))):
        means, z = runs(PLANE, SPOT, twist, lambda x: x, seeds=range(10), n=300)
        close_mean(z, log_z.exp(), errors=3.5, floor=1e-6)
        close_mean(means, exact.mean, errors=3.5, floor=8e-3)


@pytest.mark.equation("eq-post-weights")
def test_draws_without_weights_know_no_normaliser():
    for found in (
        conditioning.tilt(PLANE, SPOT, "constant", 4, rng(0)),
        inpainting.clamp(PLANE, torch.zeros(2), torch.tensor([True, False]), 4, rng(0)),
    ):
        for name in ("log_z", "elbo"):
            with pytest.raises(TypeError, match=f"{name}: this method drops its weights"):
                getattr(found, name)
        close(found.mean(), found.x.mean(0))


@pytest.mark.equation("eq-post-weights")
def test_a_collapse_on_the_way_is_told():
    sharp = gaussian_tilt(torch.tensor([1.0]), 0.05)
    model = ExactModel(gaussian(torch.zeros(1), 1.0), schedules.geometric(30, 1e-4, 1e4))
    with pytest.warns(RuntimeWarning, match=r"effective size \d.* of 1000 at t = \d+: log_z and means are not"):
        conditioning.tilt(model, lambda x: sharp(x), n=1000, generator=rng(1), twist="constant", threshold=0.9)


# Guidance to first order


@pytest.mark.equation("eq-post-guidance")
@pytest.mark.parametrize("kind", ["isotropic", "full", "blend", "bits"])
def test_a_straight_line_is_its_own_tangent(kind):
    slope = torch.tensor([0.7, -1.9]).double()
    laws = {
        "isotropic": Gaussian(randn(5, 2), torch.ones(5, 1).double()),
        "full": Gaussian(randn(5, 2), torch.tensor([[0.8, 0.0], [0.5, 0.6]]).double().expand(5, 2, 2), full=True),
        "blend": Blend(randn(5, 3), Gaussian(randn(5, 3, 2), torch.full((5, 3, 1), 0.4).double())),
        "bits": Bernoulli(randn(5, 2)),
    }
    x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 0]]).double()
    line = conditioning.first_order(Constant(lambda x: 0.3 + x @ slope), laws[kind], x, 1)
    close(line.b.squeeze(-2), slope)
    close(line.c, 0.3)
    assert not line.a.any()


@pytest.mark.equation("eq-post-guidance")
def test_no_step_is_moved_farther_than_told():
    """farthest sqrt(d) standard deviations, in length; a shorter one is left as it is."""
    factor = torch.tensor([[0.8, 0.0], [0.5, 0.6]]).double()
    for law in (
        Gaussian(randn(4, 2), factor.expand(4, 2, 2), full=True),
        Gaussian(randn(4, 2), torch.ones(1).double()),
    ):
        for steep, farthest in ((100.0, 0.5), (100.0, 2.0), (0.1, 2.0), (100.0, math.inf)):
            slope = steep * torch.tensor([0.6, -0.8]).double()
            line = conditioning.first_order(Constant(lambda x, s=slope: x @ s), law, law.mean, 1, farthest)
            moved = times(law, line)[0].mean - law.mean
            deviations = torch.linalg.solve(factor, moved.T).T if law.full else moved
            whole = (factor.T @ slope if law.full else slope).norm()
            close(deviations.norm(dim=-1), min(float(whole), farthest * 2**0.5))
            close(line(law.mean), law.mean @ slope)
    with pytest.raises(ValueError, match="farthest: 0: need a positive number"):
        conditioning.tilt(PLANE, SPOT, n=2, generator=rng(0), farthest=0)


@pytest.mark.equation("eq-post-guidance")
def test_farthest_reaches_the_chain():
    """Sixty times steeper than the noise: limited, draws stay with the model; without limit, they run away."""

    def log_r(x):
        return 60 * x[:, 0]  # given

    near, far = (
        conditioning.tilt(NORMAL, log_r, "constant", 200, rng(0), farthest=farthest).x.mean() for farthest in (0.5, 4.0)
    )
    assert float(near) < 8 < float(far)


@pytest.mark.equation("eq-post-guidance")
def test_neighbours_are_taken_in_blocks(monkeypatch):
    law, x = Bernoulli(randn(6, 4)), (randn(6, 4) > 0).double()
    psi = Constant(lambda x: torch.sin(x @ torch.tensor([1.0, 2.0, 3.0, 4.0]).double()))
    whole = conditioning.first_order(psi, law, x, 1)
    sizes = []
    monkeypatch.setattr(conditioning, "MOST_FLIPS", 48)
    parts = conditioning.first_order(Constant(lambda x: (sizes.append(len(x)), psi(x, 1))[1]), law, x, 1)
    assert sizes == [6, 12, 12]
    close(parts.b, whole.b)
    for i in range(4):  # and each is the difference that its bit makes
        one, zero = x.clone(), x.clone()
        one[:, i], zero[:, i] = 1, 0
        close(whole.b[:, 0, i], psi(one, 1) - psi(zero, 1))


# Twists of learned models


def test_expected_counts_the_spread_of_the_guess():
    """A diagonal guess: log N(y; m(x), sigma^2 + v(x)), by hand; with softness c, over 1 + c tau_t."""
    model = affine_model(short_schedule(), covariance="diagonal")
    x, y, t = randn(5, 2, seed=3), torch.tensor([0.4, -0.3]).double(), 3
    mean, deviation = model.reverse.moments(x, t, model.kernel)
    wanted = torch.distributions.Normal(mean, (0.49 + deviation**2).sqrt()).log_prob(y).sum(-1)
    close(Expected(model, gaussian_tilt(y, 0.7))(x, t), wanted)
    close(Expected(model, gaussian_tilt(y, 0.7), softness=0.6)(x, t), wanted / (1 + 0.6 * float(model.schedule.tau[t])))
    close(PlugIn(model, gaussian_tilt(y, 0.7))(x, t), torch.distributions.Normal(mean, 0.7).log_prob(y).sum(-1))
    close(Last(gaussian_tilt(y, 0.7))(x, t), 0.0)


def test_softened_where_no_signal_is_left():
    """beta_T = 1, so that tau_T is infinite: psi_T = 1, and the particles are right."""
    model = bit_model(schedules.from_beta(torch.tensor([0.0, 0.2, 0.5, 1.0])))
    r, x = inpainting.seen(model, torch.tensor([1.0, 0.0]), 0.1, torch.tensor([True, True])), all_bits(2)
    assert math.isinf(float(model.schedule.tau[3]))
    close(Expected(model, r, softness=1.0)(x, 3), 0.0)
    law = x.new_full((4,), 0.25)
    with torch.no_grad():
        for t in range(3, 0, -1):
            law = law @ model.reverse_step(x, t).log_prob(x.unsqueeze(1)).exp().T
    for soft in (0.0, 1.0):
        _, z = runs(model, r, Expected(model, r, soft), lambda x: x, seeds=range(15))
        close_mean(z, float(law @ r(x).exp()), errors=3.5, floor=1e-9)


@pytest.mark.parametrize("noisy", [True, False])
def test_law_of_a_clamped_chain(noisy):
    """A linear Gaussian model: mean and variance of the unknown part step by step, with the known part put in anew."""
    model, y = affine_model(short_schedule()), 0.75
    mean, variance, alpha_bar = 0.0, 1.0, model.schedule.alpha_bar.tolist()
    with torch.no_grad():
        for t in range(model.T, 0, -1):
            level = alpha_bar[t] if noisy else 1.0
            start = torch.tensor([[math.sqrt(level) * y, mean]]).double()
            offset = model.reverse_step(torch.zeros(1, 2).double(), t).mean[0]
            slope = (model.reverse_step(torch.eye(2).double(), t).mean - offset).T
            noise = covariance_of(model.reverse_step(start, t))
            spread = slope @ torch.diag(torch.tensor([1 - level, variance]).double()) @ slope.T + noise
            mean, variance = float((slope @ start[0] + offset)[1]), float(spread[1, 1])
    known = torch.tensor([True, False])
    x = inpainting.clamp(model, torch.tensor([y, 0.0]), known, 20_000, rng(0), noisy=noisy).x
    close_mean(x[:, 1], mean)
    close_mean((x[:, 1] - mean) ** 2, variance)
    close(x[:, 0], y)


def test_clamping_keeps_what_is_known():
    drawn = inpainting.clamp(PLANE, torch.tensor([0.4, 9.0]), torch.tensor([True, False]), 50, rng(0))
    assert float((drawn.x[:, 0] - 0.4).abs().max()) < 1e-6 and float(drawn.x[:, 1].std()) > 0.1


def test_callback_sees_every_time():
    seen = []
    conditioning.tilt(PLANE, SPOT, "annealed", 5, rng(0), callback=lambda t, x, w: seen.append((t, tuple(x.shape))))
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
    (dict(twist="plug-in", powers=torch.ones(T + 1)), "powers: are for twist 'annealed', and this one is 'plug-in'"),
    (dict(twist=Last(SPOT), powers=torch.ones(T + 1)), "powers: are for twist 'annealed', and this one is your own"),
    (dict(method="constant"), "twist: 'annealed': method 'constant' has its own; leave it out"),
    (
        dict(log_r=lambda x: torch.full_like(x[:, 0], -torch.inf) + 0 * x[:, 0]),
        "log_r: -inf at particle 0, t = 14, x = .*: a twist must be positive for t >= 1",
    ),
    (dict(log_r=lambda x: nan_at_two(x) + 0 * x[:, 0]), "log_r: nan at particle 2, t = 14"),
    (dict(log_r=lambda x: 0 * x), "log_r: gives shape"),
]


@pytest.mark.parametrize("changes, message", ERRORS)
def test_bad_input_is_refused(changes, message):
    options = dict(log_r=SPOT, method="particles", n=8, generator=rng(0), twist="annealed") | changes
    with pytest.raises(ValueError, match=message):
        conditioning.tilt(PLANE, **options)


def test_bad_masks_and_looks_are_refused():
    options = dict(n=4, generator=rng(0))
    x0, mask = torch.zeros(2), torch.tensor([True, False])
    for bad in (torch.ones(3, dtype=torch.bool), torch.ones(2), torch.ones(1, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match="mask: need 2 booleans"):
            inpainting.inpaint(PLANE, x0, bad, **options)
    with pytest.raises(ValueError, match=r"x0: need shape \(2,\), got \(3,\)"):
        inpainting.inpaint(PLANE, torch.zeros(3), mask, **options)
    with pytest.raises(ValueError, match="x0: nan at index"):
        inpainting.inpaint(PLANE, torch.tensor([torch.nan, 0.0]), mask, **options)
    inpainting.inpaint(PLANE, torch.tensor([0.0, torch.nan]), mask, **options)  # what is not seen may be anything
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        inpainting.denoise(BITS, torch.tensor([0.0, 0.5, 1.0, 1.0]), 0.1, **options)
    with pytest.raises(TypeError, match="needs a Tilt"):
        Expected(PLANE, lambda x: x[:, 0])
    with pytest.raises(ValueError, match=r"softness: -1\.0"):
        Expected(PLANE, SPOT, -1.0)
    with pytest.raises(ValueError, match="powers"):
        Annealed(SPOT, torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="law: has 2 coordinates, and the tilt 1"):
        conditioning.tilt(PLANE, gaussian_tilt(torch.tensor([1.0]), 1.0), **options)
    line = torch.linspace(-1, 1, 9)
    with pytest.raises(ValueError, match="model: has 2 dimensions, and the grid has one"):
        conditioning.law_on_grid(PLANE, Constant(SPOT), line)
    for bad in (line.square(), line.flip(0), line.reshape(3, 3), line[:1]):
        with pytest.raises(ValueError, match="x: need an even, rising grid"):
            conditioning.law_on_grid(NORMAL, Constant(SPOT), bad)
    with pytest.raises(TypeError, match="repeat the run"):
        _ = conditioning.tilt(PLANE, SPOT, n=4, generator=rng(0)).log_z_stderr


def test_a_law_of_another_kind_is_named():
    with pytest.raises(TypeError, match="law: Mixture: need a law of points, bits or tokens"):
        conditioning.first_order(Constant(lambda x: x.sum(-1)), blobs(), randn(2, 2), 1)
