"""The samplers: equal where two are one, of the order that they say, and clear about bad input."""

import math
from itertools import pairwise

import pytest
import torch
from problems import affine_model, bit_model, blobs, close, close_covariance, exact_model, gaussian, randn, rng

from dpm_lib.diffusion import samplers
from dpm_lib.diffusion.reverse_kernels import PaperReverse
from dpm_lib.diffusion.samplers import SAMPLERS, MixtureDenoiser, ancestral, ddim, family, heun
from dpm_lib.diffusion.schedules import even, from_tau, geometric
from dpm_lib.probability.mixtures import Mixture

SCHEDULE = geometric(24, beta_1=1e-4, tau_T=90.0)
ALL = list(range(24, -1, -1))
SOME = [24, 19, 17, 11, 10, 4, 0]


def walk(sampler, model, x, levels, seed=3, **own):
    """The sample, and the states on the way, by level."""
    path = {}
    end = sampler(model, x, levels, rng(seed), lambda i, t, s, x, guess: path.update({s: x}), **own)
    return end, path


def exact(target=None, schedule=SCHEDULE):
    return MixtureDenoiser(blobs() if target is None else target, schedule)


# One thing by two names


@pytest.mark.parametrize("levels", [ALL, SOME])
@pytest.mark.parametrize("model", ["exact", "network"])
def test_ddpm_is_ddim_with_eta_1_path_by_path(levels, model):
    model = exact() if model == "exact" else affine_model(SCHEDULE, covariance="posterior")
    x = randn(40, 2)
    end, path = walk(ancestral, model, x, levels)
    other, other_path = walk(ddim, model, x, levels, eta=1.0)
    close(end, other, rtol=0, atol=1e-12)
    for s, states in path.items():
        close(states, other_path[s], rtol=0, atol=1e-12)
    close(end, walk(family, model, x, levels, lam=1.0)[0], rtol=0, atol=1e-12)
    assert float((end - walk(ddim, model, x, levels, eta=0.9)[0]).abs().max()) > 1e-3


def test_on_all_levels_it_is_the_models_own_chain_down_to_level_1():
    model = affine_model(SCHEDULE, seed=2, covariance="posterior")
    trajectory = model.reverse_trajectory(30, rng(5))
    generator = rng(5)
    x = model.kernel.prior.expand(30).sample(generator)
    path = {}
    ancestral(model, x, ALL, generator, lambda i, t, s, x, guess: path.update({s: x}))
    for s in range(23, 0, -1):
        close(path[s], trajectory[s], rtol=0, atol=1e-12)
    close(path[0], model.denoise(trajectory[1], 1), rtol=0, atol=1e-12)


def test_fixed_large_has_the_same_means_and_beta():
    """Of q(x_t | x_s), whatever the levels: 1 - alpha_bar_t / alpha_bar_s; which is beta_t where s = t - 1."""
    model, x = exact(), randn(20, 2)

    def widths(levels, variance):
        found = []
        end = ancestral(model, x, levels, lambda mean, width: found.append(width) or mean, variance=variance)
        return torch.tensor(found, dtype=torch.float64), end

    close(widths(SOME, "fixed_small")[1], widths(SOME, "fixed_large")[1], rtol=0, atol=0)
    kept = SCHEDULE.alpha_bar[SOME[:-2]] / SCHEDULE.alpha_bar[SOME[1:-1]]
    close(widths(SOME, "fixed_large")[0].square(), 1 - kept)
    close(widths(ALL, "fixed_large")[0].square(), SCHEDULE.beta[2:].flip(0))


@pytest.mark.equation("eq-smp-euler")
def test_ddim_without_noise_is_euler_in_sigma():
    """dz / dsigma = (z - x0_hat) / sigma, sigma = sqrt(tau), in equal-length code of its own; and no other clock."""
    model, x = exact(), randn(30, 2)
    tau = SCHEDULE.tau

    def euler(clock):
        z = x / SCHEDULE.alpha_bar[24].sqrt()
        for t, s in pairwise(SOME):
            guess = model.denoise(z * SCHEDULE.alpha_bar[t].sqrt(), t)
            pace = (z - guess) / (2 * tau[t])  # dz / dtau
            slope = pace / (clock * tau[t] ** (clock - 1))  # dz / d(tau^clock)
            z = z + (tau[s] ** clock - tau[t] ** clock) * slope
        return z

    close(ddim(model, x, SOME), euler(0.5), rtol=0, atol=1e-12)
    close(family(model, x, SOME, lam=0.0), euler(0.5), rtol=0, atol=1e-12)
    assert float((ddim(model, x, SOME) - euler(1.0)).abs().max()) > 0.1


@pytest.mark.equation("eq-smp-eta-lambda")
@pytest.mark.parametrize("lam", [0.4, 1.0, 1.7])
def test_etas_step_is_lambdas_step(lam):
    model, x = exact(), randn(40, 2)
    log_tau = SCHEDULE.log_tau
    for t, s in [(24, 19), (11, 10), (9, 2)]:
        ratio = float((log_tau[s] - log_tau[t]).exp())
        _, path = walk(family, model, x, [t, s, 0], lam=lam)
        eta = samplers.eta_of(lam, ratio)
        _, other_path = walk(ddim, model, x, [t, s, 0], eta=eta)
        close(path[s], other_path[s], rtol=0, atol=1e-12)
    close(samplers.eta_of(lam, 1 - 1e-8), lam, rtol=1e-6)
    assert samplers.eta_of(0.0, 0.3) == 0
    close(samplers.eta_of(1.0, 0.3), 1, rtol=1e-15)


# What they draw


@pytest.mark.parametrize("own", [{}, {"eta": 1.0}, {"eta": 0.6}])
def test_many_steps_draw_the_data(own):
    """N(m, v I): after 100 short steps, mean and covariance to the accuracy of 2000 draws."""
    target = gaussian(torch.tensor([0.5, -1.0], dtype=torch.float64), 0.3)
    schedule = geometric(100, beta_1=1e-3, tau_T=1e3)
    x = ddim(exact(target, schedule), randn(2000, 2), list(range(100, -1, -1)), rng(1), **own)
    close_covariance(x, target.centers[0], 0.3 * torch.eye(2, dtype=torch.float64), errors=5.0)


LINE = Mixture(torch.tensor([[-1.5], [1.0]], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64), 0.1)


@pytest.mark.equation("eq-smp-2m", "eq-smp-heun")
def test_order_of_convergence():
    """Of the flow from tau = 90 to 0.01: against 320 steps of Heun, errors fall by 2^order as steps double."""
    fine = 320
    tau = torch.cat([torch.zeros(1), torch.linspace(math.log(0.01), math.log(90), fine + 1, dtype=torch.float64).exp()])
    model = exact(LINE, from_tau(tau))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).unsqueeze(1)

    def at_low(name, steps):
        levels = [*range(fine + 1, 0, -(fine // steps)), 0]
        return walk(SAMPLERS[name], model, x, levels)[1][1]

    truth = at_low("heun", fine)
    for name, order in (("ddim", 1), ("heun", 2), ("dpm-solver-2m", 2)):
        errors = [float((at_low(name, steps) - truth).abs().max()) for steps in (20, 40, 80)]
        for coarse, finer in pairwise(errors):
            assert abs(math.log2(coarse / finer) - order) < 0.3, (name, errors)


def test_churn_keeps_the_law():
    """Noise added and taken away again: N(m, v) still, and other samples than without."""
    target = gaussian(torch.tensor([0.4], dtype=torch.float64), 0.2)
    schedule = geometric(80, beta_1=1e-3, tau_T=900.0)
    model, levels = exact(target, schedule), list(range(80, -1, -2))
    start = randn(2000, 1) * float((schedule.alpha_bar[80] * 0.2 + 1 - schedule.alpha_bar[80]).sqrt())
    x = heun(model, start, levels, rng(2), churn=15.0)
    close_covariance(x, target.centers[0], torch.tensor([[0.2]], dtype=torch.float64), errors=5.0)
    assert float((x - heun(model, start, levels)).abs().mean()) > 0.1


def test_calls_of_the_network():
    calls = []

    class Counted(MixtureDenoiser):
        def denoise(self, x, t):
            calls.append(t)
            return super().denoise(x, t)

    for name, sampler in SAMPLERS.items():
        calls.clear()
        sampler(Counted(blobs(), SCHEDULE), randn(3, 2), SOME, rng())
        assert len(calls) == (2 * 6 - 1 if name == "heun" else 6), name
        assert samplers.steps_of(name, len(calls)) == 6
    heun(Counted(blobs(), SCHEDULE), randn(3, 2), SOME, rng(), churn=3.0)
    assert max(calls) == 24


def test_a_level_without_signal():
    """alpha_bar_T = 0: x_T says nothing, the guess is the mean; all but heun go on from there."""
    schedule = even(20, beta_1=1e-4)
    model, x, levels = exact(schedule=schedule), randn(500, 2), [20, 15, 8, 3, 0]
    close(model.denoise(x, 20), blobs().weights @ blobs().centers)
    for name in ("ancestral", "ddim", "family", "dpm-solver-2m"):
        assert bool(torch.isfinite(SAMPLERS[name](model, x, levels, rng())).all())
    with pytest.raises(ValueError, match="levels: 20 has no signal left: heun needs a first level of finite sigma"):
        heun(model, x, levels)


# The model's guess


def test_denoise_is_the_posterior_mean():
    model, x = exact_model(blobs(), SCHEDULE), randn(10, 2)
    for t in (1, 7, 24):
        close(model.denoise(x, t), exact().denoise(x, t), rtol=1e-8)
        close(model.score(x, t), (SCHEDULE.alpha_bar[t].sqrt() * model.denoise(x, t) - x) / (1 - SCHEDULE.alpha_bar[t]))
    assert not model.denoise(x.requires_grad_(), 7).requires_grad
    assert issubclass(PaperReverse, type(model.reverse))
    with pytest.raises(ValueError, match="t: 0: need 1 <= t"):
        model.denoise(x, 0)
    with pytest.raises(TypeError, match="denoise: BernoulliReverse guesses the odds of bits"):
        bit_model(SCHEDULE).denoise(torch.zeros(2, 2), 3)


@pytest.mark.equation("eq-smp-bridge")
def test_a_bridge_over_many_steps_is_bayes_rule():
    """q(x_s | x_t, x_0): precisions add up, for s < t - 1 too."""
    kernel = affine_model(SCHEDULE).kernel
    alpha_bar = SCHEDULE.alpha_bar
    for t, s in [(24, 3), (9, 8), (20, 11)]:
        kept = alpha_bar[t] / alpha_bar[s]
        a, b, v = (float(c) for c in kernel.bridge(t, s))
        precision = 1 / (1 - alpha_bar[s]) + kept / (1 - kept)
        close(
            [v, a, b],
            [1 / precision, kept.sqrt() / (1 - kept) / precision, alpha_bar[s].sqrt() / (1 - alpha_bar[s]) / precision],
            rtol=1e-9,
        )
    close(torch.stack(kernel.bridge(9, 8)), torch.stack(kernel.bridge(9)), rtol=0, atol=0)
    with pytest.raises(ValueError, match="t: 9: need 0 <= t <= T = 8"):
        kernel.bridge(9, 9)


# Lists of levels


def test_levels_fall_from_T_to_0():
    assert samplers.levels_of(SCHEDULE, 24) == ALL
    assert samplers.levels_of(SCHEDULE, 6) == [24, 20, 16, 12, 8, 4, 0]
    for clock in samplers.CLOCKS:
        for calls in range(1, 25):
            levels = samplers.levels_of(SCHEDULE, calls, clock)
            assert len(levels) == calls + 1
            assert levels[0] == 24
            assert samplers.checked_levels(levels, SCHEDULE) == levels
    assert samplers.levels_of(even(50, 1e-3), 50, "karras") == list(range(50, -1, -1))
    assert samplers.levels_of(SCHEDULE, 4, "log tau", last=6) == [24, 18, 12, 6, 0]
    uneven = from_tau(torch.tensor([0.0, 1.0, 2.0, 4.0, 4.1, 4.2, 16.0]))
    assert samplers.levels_of(uneven, 5, "log tau") == [6, 5, 3, 2, 1, 0]
    low = (uneven.tau[1:] ** (1 / 14)).tolist()
    middle = (low[0] + low[-1]) / 2
    assert samplers.levels_of(uneven, 3, "karras")[1] == 1 + min(range(6), key=lambda k: abs(low[k] - middle))
    s = torch.arange(20, dtype=torch.float64) / 20
    assert samplers.levels_of(from_tau((s / (1 - s)).square()), 5, "straight") == [19, 15, 11, 8, 4, 0]


# Bad input


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([24, 3], r"levels: \[24, 3\]: need two or more, of which the last is 0"),
        ([0], r"levels: \[0\]: need two or more"),
        ([9, 9, 0], "levels: need a fall at every step, got 9 after 9"),
        ([9, 12, 0], "levels: need a fall at every step, got 12 after 9"),
        ([25, 3, 0], "levels: 25: need at most T = 24"),
        ([9, -1, 0], "levels: -1: need at least 0"),
        ([9.5, 0], "levels: 9.5: need a whole number"),
    ],
)
def test_levels_that_are_none(name, levels, words):
    with pytest.raises(ValueError, match=words):
        SAMPLERS[name](exact(), randn(3, 2), levels, rng())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x: samplers.levels_of(SCHEDULE, 25), "calls: 25: need at most 24, the levels from T = 24 to 1"),
        (lambda m, x: samplers.levels_of(SCHEDULE, 20, "log tau", last=6), "calls: 20: need at most 19"),
        (lambda m, x: samplers.levels_of(SCHEDULE, 0), "calls: 0: need at least 1"),
        (lambda m, x: samplers.levels_of(SCHEDULE, 5, "sigma"), "clock: 'sigma' is not one of steps, log tau, karras"),
        (lambda m, x: ddim(m, x, SOME, rng(), eta=-0.1), "eta: -0.1: need a finite number, at least 0"),
        (lambda m, x: ddim(m, x, SOME, rng(), eta=math.nan), "eta: nan: need a finite number, at least 0"),
        (lambda m, x: ddim(m, x, SOME, rng(), eta=1.5), "eta: 1.5: need at most 1.0.*, for the step from level 24 to"),
        (lambda m, x: ddim(m, x, SOME, eta=0.5), "generator: None: need one, for this sampler draws noise"),
        (lambda m, x: ancestral(m, x, SOME), "generator: None: need one"),
        (lambda m, x: ancestral(m, x, SOME, rng(), variance="large"), "variance: 'large' is not one of fixed_small"),
        (lambda m, x: family(m, x, SOME, rng(), lam=-1.0), "lam: -1.0: need a finite number, at least 0"),
        (lambda m, x: samplers.eta_of(-1.0, 0.5), "lam: -1.0: need"),
        (lambda m, x: samplers.eta_of(1.0, 1.0), r"ratio: 1.0: need a number in \(0, 1\)"),
        (lambda m, x: heun(m, x, SOME, rng(), churn=-2.0), "churn: -2.0: need a finite number, at least 0"),
        (lambda m, x: heun(m, x, SOME, churn=2.0), "generator: None: need one"),
        (lambda m, x: ddim(m, x.log(), SOME), "x: nan at index"),
        (lambda m, x: ddim(m, x[0], SOME), r"x: need shape \(n, d\)"),
        (lambda m, x: m.denoise(x, 25), "t: 25: need 1 <= t <= T = 24"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call(exact(), randn(3, 2))


def test_a_guess_that_is_none():
    class Broken(MixtureDenoiser):
        def denoise(self, x, t):
            return super().denoise(x, t) * (math.nan if t == 11 else 1)

    class Flat(MixtureDenoiser):
        def denoise(self, x, t):
            return x[:, :1]

    for sampler in SAMPLERS.values():
        with pytest.raises(ValueError, match=r"denoise: nan at index .*, time 11: need finite numbers"):
            sampler(Broken(blobs(), SCHEDULE), randn(3, 2), SOME, rng())
        with pytest.raises(ValueError, match=r"denoise: answers with shape \(3, 1\): need \(3, 2\)"):
            sampler(Flat(blobs(), SCHEDULE), randn(3, 2), SOME, rng())


def test_drawing_by_name():
    model = affine_model(SCHEDULE, covariance="posterior")
    for name in SAMPLERS:
        assert samplers.draw(model, 7, rng(), name, 6).shape == (7, 2)
    generator = rng(4)
    x = model.kernel.prior.expand(7).sample(generator)
    by_hand = ddim(model, x, [24, 20, 16, 12, 8, 4, 0], generator, eta=0.5)
    close(samplers.draw(model, 7, rng(4), "ddim", 6, eta=0.5), by_hand, rtol=0, atol=0)
    with pytest.raises(ValueError, match="sampler: 'euler' is not one of ancestral, ddim, family, heun"):
        samplers.draw(model, 7, rng(), "euler", 6)
    with pytest.raises(ValueError, match="calls: 60: need at most 24"):
        samplers.draw(model, 7, rng(), "ddim", 60)
    with pytest.raises(TypeError, match=r"sampler: 'ddim' moves points of R\^d"):
        samplers.draw(bit_model(SCHEDULE), 7, rng(), "ddim", 6)
