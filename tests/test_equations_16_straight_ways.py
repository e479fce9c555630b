"""The equations of the chapter on straight ways, each by two routes."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import blobs, close, close_mean, randn, rng
from scipy.integrate import quad
from scipy.linalg import sqrtm

from dpm_lib.diffusion import loss_weights, parametrisations, reflow
from dpm_lib.diffusion.consistency import ExactJump, LearnedJump
from dpm_lib.diffusion.interpolants import COSINE, LINEAR, along, exploding, follow
from dpm_lib.diffusion.mixture_flow import MixtureFlow, monotone_map, standard_normal
from dpm_lib.diffusion.reflow import cost, line_budget, minibatch, normal_bend
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import MixtureDenoiser, ddim, jumps
from dpm_lib.diffusion.schedules import from_tau, geometric
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.sde.chain_law import LineLaw

LINE = Mixture([[-1.5], [0.3], [1.2]], [0.3, 0.5, 0.2], 0.04)
NEAR = Mixture([[-1.2], [0.9]], [0.35, 0.65], 0.1)
OTHER = Mixture([[-0.4], [2.0]], [0.7, 0.3], 0.3)
PATHS = [LINEAR, COSINE, exploding(6.0)]
IDS = [path.name for path in PATHS]
X = torch.linspace(-2.2, 2.4, 12, dtype=torch.float64).unsqueeze(1)
EYE = torch.eye(2, dtype=torch.float64)
COV_0 = torch.tensor([[1.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
COV_1 = torch.tensor([[0.5, -0.4], [-0.4, 1.1]], dtype=torch.float64)


def derivative(f, at, h=1e-5):
    return (f(at + h) - f(at - h)) / (2 * h)


# One flow, three paths


@pytest.mark.equation("eq-str-change")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_a_path_is_the_flow_of_brownian_data_by_another_clock(path):
    """The velocity from pairs of components, against that from the score of z; in the plane, with uneven clumps."""
    target, x = blobs(), randn(9, 2)
    for s in (0.11, 0.5, 0.93):
        z, t = path.unshrunk(x, s)
        slope = derivative(path.tau, s)
        exact = 2 * path.b(s) / path.a(s) * path.turn(s) / path.a(s) ** 2  # of tau = (b / a)^2
        close(slope, exact, rtol=1e-6)
        by_z = path.da(s) / path.a(s) * x - path.a(s) * exact * target.score(z, t) / 2
        close(MixtureFlow(target, None, path).velocity(x, s), by_z, rtol=1e-11, atol=1e-12 * exact)


@pytest.mark.equation("eq-str-change")
def test_all_paths_join_the_same_ends():
    """Solved on each path, from tau = 25 to 0.01; and on the line by quantiles."""
    z, ends = 5 * randn(6, 1, seed=3), []
    for path in (LINEAR, COSINE, exploding(6.0)):
        flow = MixtureFlow(LINE, None, path)
        first, last = path.time(25.0), path.time(0.01)
        times = [path.time(float(tau)) for tau in np.geomspace(25, 0.01, 400)]
        x = follow(flow.velocity, path.a(first) * z, times)[-1]
        ends.append(x / path.a(last))
        close(flow.map(path.a(first) * z, first, last), x, atol=1e-3)
    close(ends[0], ends[1], atol=1e-3)
    close(ends[0], ends[2], atol=1e-3)


# The velocity


@pytest.mark.equation("eq-str-continuity")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_the_velocity_carries_the_laws(path):
    """d p_s / ds = -div (p v), by differences; for a source that is no normal law."""
    flow = MixtureFlow(LINE, OTHER, path)
    for s in (0.2, 0.7):
        change = derivative(lambda r: flow.law(r).log_prob(X).exp(), s)

        def current(x, s=s):
            return flow.law(s).log_prob(x).exp() * flow.velocity(x, s)[:, 0]

        close(change, -derivative(current, X), rtol=1e-6, atol=1e-8)


@pytest.mark.equation("eq-str-velocity")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_the_velocity_is_the_guess_of_the_data(path):
    """By the posterior mean of Tweedie's chapter, and by an average over draws near a point."""
    for s in (0.3, 0.8):
        guess = LINE.posterior_mean(*path.unshrunk(X, s))
        v = MixtureFlow(LINE, None, path).velocity(X, s)
        close(path.velocity(X, guess, s), v, rtol=1e-9, atol=1e-9)
        slope = path.da(s) - path.a(s) * path.db(s) / path.b(s)
        close(path.db(s) / path.b(s) * X + slope * guess, v, rtol=1e-9, atol=1e-9)
    close(LINEAR.velocity(X, guess, 0.8), (X - guess) / 0.8)
    y, e = LINE.sample(400_000, rng(1)), randn(400_000, 1, seed=2)
    x = path.a(0.4) * y + path.b(0.4) * e
    near = (x[:, 0] - 0.5).abs() < 0.02
    middle = MixtureFlow(LINE, None, path).velocity(x[near], 0.4)
    off = (path.da(0.4) * y + path.db(0.4) * e)[near] - middle
    assert bool((off.abs() < 20).all())  # so that the standard error is one
    close_mean(off, 0.0)


@pytest.mark.equation("eq-str-parts", "eq-str-score")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_data_noise_and_score_from_the_velocity(path):
    y, e = randn(5, 2, seed=1), randn(5, 2, seed=2)
    for s in (0.0, 0.35, 1.0):
        x, v = path.a(s) * y + path.b(s) * e, path.da(s) * y + path.db(s) * e
        found = path.parts(x, v, s)
        close(found[0], y)
        close(found[1], e)
    close(LINEAR.parts(x, v, 0.35)[0], x - 0.35 * v)
    close(LINEAR.parts(x, v, 0.35)[1], x + 0.65 * v)
    for s in (0.2, 0.7):
        flow = MixtureFlow(LINE, None, path)
        close(path.score(X, flow.velocity(X, s), s), flow.law(s).score(X), rtol=1e-8, atol=1e-10)
    v = MixtureFlow(LINE).velocity(X, 0.2)
    close(-(X + 0.8 * v) / 0.2, MixtureFlow(LINE).law(0.2).score(X), rtol=1e-8)


@pytest.mark.equation("eq-str-weight")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_an_error_of_the_velocity_is_one_of_the_guess(path):
    x, one, two = randn(5, 2), randn(5, 2, seed=1), randn(5, 2, seed=2)
    for s in (0.15, 0.6):
        apart = (path.velocity(x, one, s) - path.velocity(x, two, s)).square().sum(1)
        close(apart, path.weight(s) * (one - two).square().sum(1))
    root = (1 - 0.15) / 0.15
    close(LINEAR.weight(0.15), (1 + root) ** 2)
    close(LINEAR.weight(0.15), 1 / 0.15**2)
    close(LINEAR.weight(0.6), parametrisations.weight("flow", math.log(LINEAR.tau(0.6))))


@pytest.mark.equation("eq-str-share")
def test_what_a_unit_of_log_tau_counts_in_flow_matching():
    """From the clock of the path; and v-prediction on the cosine schedule counts the same, up to a factor."""
    for s in (0.1, 0.5, 0.85):
        density = 1 / derivative(lambda r: math.log(LINEAR.tau(r)), s)
        level = torch.tensor(math.log(LINEAR.tau(s)), dtype=torch.float64)
        close(density, 0.5 * s * (1 - s), rtol=1e-8)
        close(density * LINEAR.weight(s), 0.5 * (-0.5 * level).exp(), rtol=1e-8)
        close(loss_weights.TABLE["flow matching"].share(level), 0.5 * (1 - s) / s)
        close(loss_weights.TABLE["v"].share(level), 2 / math.pi * 0.5 * (1 - s) / s)


@pytest.mark.equation("eq-str-pairs")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_the_velocity_between_mixtures_is_the_mean_over_pairs(path):
    """By quadrature over e: x fixes y, and the density of the pair weighs it."""
    s, flow = 0.45, MixtureFlow(LINE, OTHER, path)
    e = torch.linspace(-6, 8, 20_001, dtype=torch.float64)
    for x in (-0.9, 0.4, 1.7):
        y = (x - path.b(s) * e) / path.a(s)
        weight = (LINE.log_prob(y.unsqueeze(1)) + OTHER.log_prob(e.unsqueeze(1))).exp()
        speed = path.da(s) * y + path.db(s) * e
        mean = (weight * speed).sum() / weight.sum()
        at = torch.tensor([[x]], dtype=torch.float64)
        close(flow.velocity(at, s), mean, rtol=1e-9)
        close(flow.spread(at, s), (weight * (speed - mean).square()).sum() / weight.sum(), rtol=1e-9)
    plane, draws = MixtureFlow(blobs(), None, path), 100_000
    y, e = blobs().sample(draws, rng(19)), randn(draws, 2, seed=20)
    x = path.a(s) * y + path.b(s) * e
    off = path.da(s) * y + path.db(s) * e - plane.velocity(x, s)
    assert bool((off.abs() < 20).all())  # so that the standard error is one
    close_mean(off.square().sum(1) - plane.spread(x, s), 0.0)


# Straightness


@pytest.mark.equation("eq-str-budget")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_the_cost_of_a_coupling_has_three_parts(path):
    """Each on its own; those of the linear path also by draws, and the unknown as flow matching's least loss."""
    found = line_budget(MixtureFlow(LINE, OTHER, path))
    close(found.pairs, found.flow + found.bend + found.unknown, rtol=1e-7)
    assert min(found.flow, found.bend, found.unknown) > 0.01
    if path is LINEAR:
        y, e = LINE.sample(100_000, rng(3)), OTHER.sample(100_000, rng(4))
        close_mean(cost(y, e), found.pairs)
        close_mean(cost(monotone_map(OTHER, LINE, e[:20_000]), e[:20_000]), found.flow)
        s = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
        loss = [cost(MixtureFlow(LINE, OTHER).velocity((1 - r) * y + r * e, float(r)), e - y).mean() for r in s]
        assert float(torch.stack(loss).mean()) == pytest.approx(found.unknown, rel=0.02)


@pytest.mark.equation("eq-str-normal-bend")
def test_how_much_the_flow_of_normal_data_bends():
    for v in (0.2, 1.0, 3.0):
        target, exact = Mixture([[0.0]], [1.0], v), (2 - math.pi / 2) * math.sqrt(v)
        close(normal_bend(LINEAR, v), exact, rtol=1e-8)
        close(line_budget(MixtureFlow(target), 201).bend, exact, rtol=1e-8)
        width = [quad(lambda s, v=v: 1 / ((1 - s) ** 2 * v + s**2), 0, 1)[0], math.pi / 2 / math.sqrt(v)]
        close(*width, rtol=1e-9)
        close(line_budget(MixtureFlow(target, None, COSINE), 201).bend, normal_bend(COSINE, v), rtol=1e-8, atol=1e-12)
    assert normal_bend(COSINE, 1.0) < 1e-20
    assert normal_bend(COSINE, 0.9) > 1e-4


@pytest.mark.equation("eq-str-euler")
@pytest.mark.parametrize("path", [LINEAR, exploding(30.0)], ids=["linear", "exploding"])
def test_eulers_method_on_a_path_that_is_linear_in_s_is_ddim(path):
    target = blobs()
    model = MixtureDenoiser(target, path.schedule(20))
    x, levels = randn(8, 2), [20, 17, 9, 4, 1, 0]
    seen: dict = {}
    for sampler, own in ((ddim, {}), (along, {"path": path})):
        sampler(model, x, levels, None, lambda i, t, s, x, guess: seen.setdefault(s, []).append(x), **own)
    for states in seen.values():
        close(states[0], states[1], rtol=1e-11)
    curved = along(model if path is LINEAR else MixtureDenoiser(target, COSINE.schedule(20)), x, levels, path=COSINE)
    assert not torch.allclose(curved, seen[0][0], atol=1e-2)
    v, x0_hat = MixtureFlow(target).velocity(x, 0.6), target.posterior_mean(*LINEAR.unshrunk(x, 0.6))
    close(x + (0.25 - 0.6) * v, 0.75 * x0_hat + 0.25 * (x - 0.4 * x0_hat) / 0.6)


# Reflow


@pytest.mark.equation("eq-str-jensen")
@pytest.mark.parametrize("convex", [torch.abs, lambda x: x.abs() ** 1.5, torch.cosh, lambda x: (x - 0.5).clamp(min=0)])
def test_reflow_raises_no_convex_cost(convex):
    """All three sides by quadrature on the line: ends of the flow, its velocity, and the pairs."""
    flow = MixtureFlow(NEAR, OTHER)
    e = torch.linspace(-5, 7, 2001, dtype=torch.float64).unsqueeze(1)
    mass = OTHER.log_prob(e).exp() * float(e[1] - e[0])
    ends = float(mass @ convex(e - flow.map(e, 1, 0))[:, 0])
    times = (np.arange(12) + 0.5) / 12  # given
    middle = [float(mass @ convex(flow.velocity(flow.map(e, 1, s), s))[:, 0]) for s in times]
    pairs = Mixture(
        (OTHER.centers.unsqueeze(1) - NEAR.centers).flatten(0, 1),
        torch.outer(OTHER.weights, NEAR.weights).flatten(),
        OTHER.variance + NEAR.variance,
    )
    apart = torch.linspace(-9, 11, 20_001, dtype=torch.float64).unsqueeze(1)
    at_random = float((pairs.log_prob(apart).exp() @ convex(apart)[:, 0]) * (apart[1] - apart[0]))
    assert ends < float(np.mean(middle)) < at_random
    close_mean(convex(OTHER.sample(50_000, rng(17)) - NEAR.sample(50_000, rng(18))), at_random)
    straight = Mixture(OTHER.centers + 1.0, OTHER.weights, OTHER.variance)  # a shift: met with equality by its pairs
    shifted = monotone_map(OTHER, straight, e)
    close(convex(shifted - e), convex(torch.ones_like(e)), rtol=1e-6)


@pytest.mark.equation("eq-str-monotone")
@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_on_the_line_the_flow_takes_quantiles_to_quantiles(path):
    """The equation solved, against the quantiles; and an independent route to these, by tables."""
    flow = MixtureFlow(NEAR, OTHER, path)
    for start, end in ((1.0, 0.0), (0.2, 0.9)):
        x = flow.law(start).sample(12, rng(5))
        close(flow.map(x, start, end, 1), follow(flow.velocity, x, [start, end])[-1])
        solved = flow.map(x, start, end, 500)
        close(flow.map(x, start, end), solved, atol=2e-4, rtol=1e-3)
        close(flow.law(end).cdf(solved), flow.law(start).cdf(x), atol=1e-4, rtol=1e-3)


@pytest.mark.equation("eq-str-monotone")
def test_quantiles_of_clumps_far_apart():
    """Half of the source to each clump: by the inverse distribution function of one."""
    far, x = Mixture([[-30.0], [20.0]], [0.5, 0.5], 0.01), torch.tensor([[-1.3], [-0.1], [0.4]], dtype=torch.float64)
    rank = 2 * torch.special.ndtr(x)
    center = torch.tensor([[-30.0], [-30.0], [20.0]], dtype=torch.float64)
    wanted = center + 0.1 * torch.special.ndtri(torch.where(x < 0, rank, rank - 1))
    close(monotone_map(standard_normal(1), far, x), wanted, rtol=1e-9)


@pytest.mark.equation("eq-str-straight")
def test_after_reflow_the_velocity_is_that_of_the_line():
    """The mean over pairs near a point of the line, from draws; one step of Euler's method is exact."""
    e = OTHER.sample(200_000, rng(6))
    y = monotone_map(OTHER, NEAR, e)
    s = 0.4
    x, speed = (1 - s) * y + s * e, e - y
    for one in (-0.5, 0.7, 1.6):
        start = torch.tensor([[one]], dtype=torch.float64)
        end = monotone_map(OTHER, NEAR, start)
        at = (1 - s) * end + s * start
        near = (x - at).abs()[:, 0] < 0.01
        assert float(speed[near].std()) < 0.05  # the independent pairs have about 1 here
        assert float((speed[near].mean() - (start - end)).abs()) < 0.01
        close(start + (0 - 1) * (start - end), end)
    assert float(MixtureFlow(NEAR, OTHER).spread(torch.zeros(1, 1), s).sqrt()) > 0.5


def linear_map(cov_0, cov_1, end=0.0, steps=600):
    """J_s at s = ``end``, by Heun's method."""

    def slope(rows, s):
        a, b = 1 - s, s
        return rows @ ((b * cov_1 - a * cov_0) @ torch.linalg.inv(a**2 * cov_0 + b**2 * cov_1)).mT

    return follow(slope, EYE, np.linspace(1, end, steps + 1))[-1].mT


@pytest.mark.equation("eq-str-linear-flow")
def test_the_flow_between_normal_laws_is_linear():
    """Its matrix makes the law at every s what it is; the velocity is the regression of e - y on x_s."""
    for s in (0.0, 0.35, 0.8):
        J = linear_map(COV_0, COV_1, s)
        close(J @ COV_1 @ J.mT, (1 - s) ** 2 * COV_0 + s**2 * COV_1, rtol=1e-4, atol=1e-5)
    y = randn(200_000, 2, seed=7) @ torch.linalg.cholesky(COV_0).mT
    e = randn(200_000, 2, seed=8) @ torch.linalg.cholesky(COV_1).mT
    x = 0.7 * y + 0.3 * e
    found = torch.linalg.lstsq(x, e - y).solution.mT
    exact = (0.3 * COV_1 - 0.7 * COV_0) @ torch.linalg.inv(0.49 * COV_0 + 0.09 * COV_1)
    assert float(torch.dist(found, exact)) < 0.02


@pytest.mark.equation("eq-str-linear-cost")
def test_costs_between_normal_laws():
    """The flow's by draws; the least one by that of the optimal map, which is symmetric, and better than the flow's."""
    J = linear_map(COV_0, COV_1)
    both = (COV_0 + COV_1).trace()
    flow = both - 2 * (J @ COV_1).trace()
    e = randn(100_000, 2, seed=9) @ torch.linalg.cholesky(COV_1).mT
    close_mean(cost(e @ J.mT, e), flow)
    root = torch.as_tensor(sqrtm(COV_1.numpy()).real)
    middle = torch.as_tensor(sqrtm((root @ COV_0 @ root).numpy()).real)
    best = torch.linalg.inv(root) @ middle @ torch.linalg.inv(root)
    close(best, best.mT)
    close(best @ COV_1 @ best.mT, COV_0)
    least = both - 2 * middle.trace()
    close((best @ COV_1).trace(), middle.trace())
    assert 0.01 < float(flow - least) < 0.03
    assert not torch.allclose(J, J.mT, atol=0.1)
    commuting = linear_map(COV_0, EYE)
    close(commuting, torch.as_tensor(sqrtm(COV_0.numpy()).real), rtol=1e-4, atol=1e-5)


@pytest.mark.equation("eq-str-fixed")
def test_reflow_keeps_pairs_whose_lines_do_not_meet():
    """Pairs (J x, x) are normal: the mean of the pair's velocity given x_s is its own, and J comes back."""
    J = linear_map(COV_0, COV_1)
    assert bool((torch.linalg.eigvals(J).real > 0).all())
    steps, again = 400, EYE
    for k in range(steps):  # Euler's method for the flow of the new pairs, exact as lines are straight
        s = 1 - k / steps
        to_x = (1 - s) * J + s * EYE
        cross, here = (EYE - J) @ COV_1 @ to_x.mT, to_x @ COV_1 @ to_x.mT
        again = again - (cross @ torch.linalg.inv(here)) @ again / steps
    close(again, J, rtol=1e-9)
    crossing = -0.5 * EYE  # lines that all meet at one point: s = 1/3, where the mean forgets the pair
    s = 1 / 3
    close((1 - s) * crossing + s * EYE, torch.zeros(2, 2))


# Couplings


@pytest.mark.equation("eq-str-batch")
@pytest.mark.parametrize("dim", [1, 3])
def test_the_cost_of_minibatch_pairs_falls_and_stays_above_the_least(dim):
    """In every draw for twice the batch; the least cost is that of y = e / 2. Marginals are those of the rows."""
    y, e = 0.5 * randn(2048, dim, seed=10), randn(2048, dim, seed=11)
    costs = [float(cost(y, minibatch(y, e, batch)).mean()) for batch in (1, 2, 4, 8, 16, 64)]
    assert all(a > b for a, b in pairwise(costs))
    close_mean(cost(y, e), 1.25 * dim)
    each = cost(y, minibatch(y, e, 64)).reshape(-1, 64).mean(1)
    low, high = {1: (0.24, 0.31), 3: (0.38, 0.42)}[dim]  # given
    assert low < float(each.mean()) / dim < high
    paired = minibatch(y, e, 64)
    close(paired.sort(0).values, e.sort(0).values)


@pytest.mark.equation("eq-str-left-out")
def test_what_drawing_with_replacement_leaves_out():
    """By the chance of each number of different rows, for a small batch: a Markov chain of the draws."""
    for size in (2, 5, 9):
        chance = np.zeros(size + 1)  # of so many different rows
        chance[0] = 1
        for _ in range(size):
            seen = np.arange(size + 1)
            chance = chance * seen / size + np.concatenate([[0], (chance * (size - seen) / size)[:-1]])
        close(1 - chance @ np.arange(size + 1) / size, (1 - 1 / size) ** size)
    close((1 - 1e-6) ** 1e6, math.exp(-1), rtol=1e-6)


# Likelihood


@pytest.mark.equation("eq-str-likelihood")
@pytest.mark.parametrize("source", [None, OTHER], ids=["normal", "mixture"])
def test_the_likelihood_by_the_flow_on_the_linear_path(source):
    flow, y = MixtureFlow(NEAR, source), NEAR.sample(30, rng(12))
    errors = [float((flow.log_likelihood(y, n) - NEAR.log_prob(y)).abs().mean()) for n in (40, 80, 160)]
    assert errors[-1] < 2e-3
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.35)
    calls = []
    own = flow.log_likelihood(y, 40, lambda x, s: calls.append(s) or flow.velocity(x, s), flow.divergence)
    close(own, flow.log_likelihood(y, 40))
    assert len(calls) == 80 and (calls[0], calls[-1]) == (0, 1)


# Jumps


@pytest.mark.equation("eq-str-consistent")
def test_the_end_does_not_change_along_the_flow():
    def f(z, t):
        return monotone_map(Mixture(NEAR.centers, NEAR.weights, NEAR.variance + t), NEAR, z)

    z = torch.linspace(-2, 2, 9, dtype=torch.float64).unsqueeze(1)
    for t in (0.05, 0.7):
        slope = (z - NEAR.posterior_mean(z, t)) / (2 * t)
        along_t = derivative(lambda u: f(z, u), t, 1e-4)
        along_z = derivative(lambda w, t=t: f(w, t), z, 1e-4)
        close(along_t, -slope * along_z, rtol=1e-5, atol=1e-6)
    chain = from_tau(torch.tensor([0.0, 0.05, 0.7]))
    close(ExactJump(NEAR, chain).denoise(z / math.sqrt(1.7), 2), f(z, 0.7), rtol=1e-8)


@pytest.mark.equation("eq-str-distilled")
def test_what_is_distilled_is_where_ddim_ends():
    """For any levels; the error of it is of first order."""
    x, errors = torch.linspace(-2, 2, 41, dtype=torch.float64).unsqueeze(1), []
    smooth = Mixture([[-0.8], [0.6]], [0.4, 0.6], 0.4)
    for T in (15, 30, 60):
        chain = geometric(T, beta_1=1e-4, tau_T=1e4)
        learned = LearnedJump(smooth, chain, "distillation").denoise(x, T)
        close(learned, ddim(MixtureDenoiser(smooth, chain), x, list(range(T, -1, -1))), atol=1e-5, rtol=1e-5)
        errors.append(float(torch.dist(learned, ExactJump(smooth, chain).denoise(x, T))))
    assert [math.log2(a / b) for a, b in pairwise(errors)] == pytest.approx([1, 1], abs=0.1)


@pytest.mark.equation("eq-str-trained")
def test_what_consistency_training_learns_is_a_regression():
    """The mean of f_1 after the datum's own step, given x_2, by draws near a point; that of a line has no bias."""
    chain = from_tau(torch.tensor([0.0, 0.3, 0.9]))
    model = LearnedJump(NEAR, chain, "training")
    y, noise = NEAR.sample(600_000, rng(13)), randn(600_000, 1, seed=14)
    z = y + math.sqrt(0.9) * noise
    before = y + math.sqrt(0.3) * noise
    ends = model.denoise(before / math.sqrt(1.3), 1)
    for place in (-1.0, 0.1, 1.3):
        near = (z - place).abs()[:, 0] < 0.02
        close_mean(ends[near] - model.denoise(z[near] / math.sqrt(1.9), 2), 0.0)
    normal = Mixture([[0.4]], [1.0], 0.3)
    both = [LearnedJump(normal, chain, way).denoise(X, 2) for way in ("training", "distillation")]
    close(both[0], both[1], atol=1e-6)


@pytest.mark.equation("eq-str-bias")
def test_the_bias_of_training_against_distillation():
    """One step from a known f_1: the difference over (1 - rho)^2 tends to half of variance times curvature."""
    smooth = Mixture([[-0.8], [0.6]], [0.4, 0.6], 0.4)
    z = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64).unsqueeze(1)
    errors = []
    for short in (0.08, 0.04, 0.02):
        tau = 0.5
        chain = from_tau(torch.tensor([0.0, tau * (1 - short) ** 2, tau], dtype=torch.float64))
        ways = [LearnedJump(smooth, chain, way, 3001, 40) for way in ("training", "distillation")]
        x = z / math.sqrt(1 + tau)
        gap = (ways[0].denoise(x, 2) - ways[1].denoise(x, 2)) / short**2
        guess, variance = smooth.posterior_mean(z, tau), smooth.posterior_covariance(z, tau)[:, 0]
        at = (1 - short) * z + short * guess

        def first(w, chain=chain, model=ways[0]):
            return model.denoise(w / math.sqrt(1 + float(chain.tau[1])), 1)

        curve = (first(at + 0.01) - 2 * first(at) + first(at - 0.01)) / 1e-4
        errors.append(float(torch.dist(gap, 0.5 * variance * curve)))
    assert errors[2] < 1e-4 and errors[0] > errors[1] > errors[2]


@pytest.mark.equation("eq-str-jumps")
def test_jumps_by_the_exact_end_draw_from_the_data():
    """From a first level without signal, where N(0, 1) is the exact law: one jump, or three, by way of any level."""
    chain = from_tau(torch.tensor([0.0, 0.02, 0.3, 2.0, math.inf], dtype=torch.float64))
    model = ExactJump(NEAR, chain)
    for levels in ([4, 0], [4, 3, 0], [4, 2, 0], [4, 3, 2, 1, 0]):
        law = sampler_law(jumps, model, levels)
        assert law.wasserstein(NEAR) < (1e-9 if len(levels) == 2 else 1e-3), levels
    close(jumps(model, X, [4, 0]), model.denoise(X, 4))  # without a generator, as nothing is drawn
    with pytest.raises(ValueError, match="generator: None: need one"):
        jumps(model, X, [4, 2, 0])
    guessing = sampler_law(jumps, MixtureDenoiser(NEAR, chain), [4, 3, 2, 0])
    assert guessing.wasserstein(NEAR) > 0.1  # a guess is not the end
    seen = []
    jumps(model, randn(40_000, 1, seed=15), [4, 2, 0], rng(16), lambda i, t, s, x, guess: seen.append(x))
    x = seen[0][:, 0].sort().values
    law = LineLaw(x, (torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x))  # given
    a = float(chain.alpha_bar[2])
    noisy = Mixture(math.sqrt(a) * NEAR.centers, NEAR.weights, a * NEAR.variance + 1 - a)
    assert law.kolmogorov(noisy) < 1.95 / math.sqrt(len(x))  # given: one in a thousand


@pytest.mark.equation("eq-str-jump-error")
@pytest.mark.parametrize("way", ["distillation", "training"])
def test_the_error_after_a_jump_is_bounded_by_its_own_and_what_came_before(way):
    """Both sides exact, on the line, for students of few levels."""
    smooth = Mixture([[-0.8], [0.6]], [0.4, 0.6], 0.4)
    chain = geometric(12, beta_1=1e-4, tau_T=1e4)
    student, exact = LearnedJump(smooth, chain, way), ExactJump(smooth, chain)
    before = sampler_law(jumps, student, [12, 0]).wasserstein(smooth)
    for level in (4, 6, 8, 10):
        after = sampler_law(jumps, student, [12, level, 0]).wasserstein(smooth)
        tau, root = float(chain.tau[level]), float(chain.alpha_bar[level].sqrt())
        z = torch.linspace(-9, 9, 4001, dtype=torch.float64).unsqueeze(1) * max(1, math.sqrt(tau))
        step = float(z[1] - z[0])
        mass, learned = smooth.log_prob(z, tau).exp() * step, student.denoise(root * z, level)
        close(mass.sum(), 1, rtol=1e-6)
        own = float(mass @ (learned - exact.denoise(root * z, level)).abs()[:, 0])
        rising = LineLaw(learned[:, 0], smooth.cdf(z, tau))  # both maps rise: the mean distance is that of the laws
        assert rising.wasserstein(smooth) == pytest.approx(own, rel=0.01, abs=1e-5)
        assert 0 < after <= float(learned[:, 0].diff().max()) / step * before + own


@pytest.mark.equation("eq-str-jump-error")
def test_noise_shared_by_two_laws_keeps_them_as_near():
    """An exact last jump, after one that is off by a shift: no more is left than the slope times the shift."""

    class Shifted(ExactJump):
        def denoise(self, x, t):
            return super().denoise(x, t) + (0.2 if t == 2 else 0.0)  # given

    smooth = Mixture([[-0.8], [0.6]], [0.4, 0.6], 0.4)
    chain = from_tau(torch.tensor([0.0, 0.4, math.inf], dtype=torch.float64))
    model = Shifted(smooth, chain)
    before, after = (sampler_law(jumps, model, levels).wasserstein(smooth) for levels in ([2, 0], [2, 1, 0]))
    close(before, 0.2, rtol=1e-3)
    z = torch.linspace(-6, 6, 2401, dtype=torch.float64).unsqueeze(1)
    mass = smooth.log_prob(z, 0.4).exp() * 0.005
    ends = [monotone_map(Mixture(smooth.centers, smooth.weights, 0.8), smooth, z + shift)[:, 0] for shift in (0.2, 0)]
    close(after, mass @ (ends[0] - ends[1]), rtol=2e-3)
    assert after <= float(ends[1].diff().max()) / 0.005 * before


@pytest.mark.equation("eq-str-distilled", "eq-str-trained")
def test_at_a_single_level_both_ways_are_the_guess():
    chain = from_tau(torch.tensor([0.0, 0.5]))
    for way in ("distillation", "training"):
        guess = MixtureDenoiser(NEAR, chain).denoise(X, 1)
        close(LearnedJump(NEAR, chain, way).denoise(X, 1), guess, rtol=1e-6, atol=1e-6)


def test_the_standard_normal_is_the_default_source():
    close(MixtureFlow(NEAR).velocity(X, 0.3), MixtureFlow(NEAR, standard_normal(1)).velocity(X, 0.3))
    assert reflow.line_budget(MixtureFlow(standard_normal(1))).flow < 1e-20
