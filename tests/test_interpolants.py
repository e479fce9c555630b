"""Interpolants and the flow between mixtures: what the equations' tests leave out, and bad input."""

import math

import numpy as np
import pytest
import torch
from problems import blobs, close, randn, rng

from dpm_lib.diffusion import interpolants, samplers
from dpm_lib.diffusion.interpolants import COSINE, LINEAR, PATHS, along, exploding, follow
from dpm_lib.diffusion.mixture_flow import MixtureFlow, monotone_map, standard_normal
from dpm_lib.diffusion.samplers import MixtureDenoiser
from dpm_lib.probability.mixtures import Mixture, finite_set

LINE = Mixture([[-1.5], [0.3], [1.2]], [0.3, 0.5, 0.2], 0.04)
OTHER = Mixture([[-0.4], [2.0]], [0.7, 0.3], 0.3)
NORMAL = standard_normal(1)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_is_what_it_says(path):
    """Its ends, its derivatives, and the clock that undoes b / a."""
    assert (path.a(0.0), path.b(0.0)) == (1, 0)
    for s in (0.1, 0.5, 0.83):
        for f, df in ((path.a, path.da), (path.b, path.db)):
            close(df(s), (f(s + 1e-5) - f(s - 1e-5)) / 2e-5, rtol=1e-8, atol=1e-9)
        close(path.clock(path.b(s) / path.a(s)), s)
        close(path.time(path.tau(s)), s)
        ratio = [path.b(s + h) / path.a(s + h) for h in (1e-5, -1e-5)]
        close(path.turn(s), path.a(s) ** 2 * (ratio[0] - ratio[1]) / 2e-5, rtol=1e-8)


def test_where_paths_end():
    assert LINEAR.tau(1.0) == COSINE.tau(1.0) == math.inf
    assert LINEAR.time(math.inf) == COSINE.time(math.inf) == 1
    close(exploding(7.0).tau(1.0), 49)
    for path in (LINEAR, COSINE):
        assert torch.isneginf(path.schedule(5).log_alpha_bar[-1])
        close(path.schedule(4).tau[1:4], [path.tau(s) for s in (0.25, 0.5, 0.75)])


def test_follow_is_of_first_and_of_second_order():
    """dx/ds = x cos s, whose solution is known."""
    x = randn(4, 2)
    for method, order in (("euler", 1), ("heun", 2)):
        errors = []
        for steps in (20, 40):
            way = follow(lambda x, s: x * math.cos(s), x, np.linspace(0, 2, steps + 1), method)
            assert way.shape == (steps + 1, 4, 2)
            errors.append(float((way[-1] - x * math.exp(math.sin(2))).abs().max()))
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.equation("eq-str-euler")
@pytest.mark.parametrize("path", [COSINE, exploding(12.0)])
@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_any_path_is_a_sampler_of_the_same_flow(path, method, order):
    """Down to a level above 0, for a smooth guess, against the flow in the library's other clock."""
    target = blobs()
    model = MixtureDenoiser(target, path.schedule(160))
    x, ends = randn(9, 2, seed=1), {}
    for steps in (20, 40, 160):
        levels = [*range(144, 15, -(160 // steps)), 0]
        along(model, x, levels, None, lambda i, t, s, x, guess, n=steps: ends.update({(n, s): x}), path, method)
    low = levels[-2]
    assert low == 16
    errors = [float((ends[n, low] - ends[160, low]).abs().max()) for n in (20, 40)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.6)
    levels = list(range(144, 15, -1))
    fine = {}
    samplers.heun(model, x, [*levels, 0], callback=lambda i, t, s, x, guess: fine.update({s: x}))
    close(ends[160, low], fine[low], rtol=0, atol=0.05 if method == "euler" else 2e-3)


def test_the_callback_sees_the_samplers_states():
    """Those whose a^2 + b^2 is 1, and the guess."""
    seen, x = [], randn(5, 1)
    model = MixtureDenoiser(LINE, LINEAR.schedule(6))
    end = along(model, x, [6, 4, 1, 0], callback=lambda *step: seen.append(step))
    assert [step[:3] for step in seen] == [(0, 6, 4), (1, 4, 1), (2, 1, 0)]
    close(seen[-1][3], end)
    close(seen[1][4], model.denoise(seen[0][3], 4))


def test_divergence_and_likelihood_of_a_flow():
    flow, x = MixtureFlow(LINE, OTHER), randn(6, 1)
    for s in (0.0, 0.3, 1.0):
        at = x.clone().requires_grad_()
        close(flow.divergence(x, s), torch.autograd.grad(flow.velocity(at, s).sum(), at)[0][:, 0])
    plane, z = MixtureFlow(blobs()), randn(5, 2)
    at = z.clone().requires_grad_()
    parts = [torch.autograd.grad(plane.velocity(at, 0.4)[:, k].sum(), at)[0][:, k] for k in (0, 1)]
    close(plane.divergence(z, 0.4), sum(parts))


def test_the_monotone_map_far_out():
    """Quantiles to quantiles, in both tails, where distribution functions have long been 0 or 1."""
    x = torch.tensor([[-12.0], [-3.0], [0.2], [7.0], [11.0]], dtype=torch.float64)
    wide = Mixture([[0.5]], [1.0], 4.0)
    close(monotone_map(NORMAL, wide, x), 0.5 + 2 * x, rtol=1e-9)
    close(monotone_map(OTHER, LINE, monotone_map(LINE, OTHER, LINE.sample(40, rng()))), LINE.sample(40, rng()))


def test_the_law_of_a_flow_has_the_moments_of_its_pairs():
    flow = MixtureFlow(LINE, OTHER, COSINE)
    y, e = LINE.sample(20_000, rng(1)), OTHER.sample(20_000, rng(2))
    for s in (0.25, 0.8):
        x = COSINE.a(s) * y + COSINE.b(s) * e
        close(x.mean(), flow.law(s).weights @ flow.law(s).centers, atol=0.03)
        close(x.square().mean(), flow.law(s).mean_square, atol=0.05)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LINEAR.tau(1.2), r"s: 1.2: need a time in \[0, 1\]"),
        (lambda: LINEAR.tau(math.nan), "s: nan: need a time"),
        (lambda: LINEAR.time(-1.0), "tau: -1.0: need 0 <= tau <= inf"),
        (lambda: exploding(3.0).time(9.5), "tau: 9.5: need 0 <= tau <= 9, where the path 'exploding' ends"),
        (lambda: exploding(-1.0), "sigma: -1.0: need a positive"),
        (lambda: LINEAR.velocity(randn(2, 1), randn(2, 1), 0.0), r"s: 0.0: need a time in \(0, 1\]"),
        (lambda: LINEAR.score(randn(2, 1), randn(2, 1), 0.0), "s: 0.0: need a time"),
        (lambda: LINEAR.weight(0.0), "s: 0.0: need a time"),
        (lambda: LINEAR.unshrunk(randn(2, 1), 1.0), r"s: 1.0: need a\(s\) > 0"),
        (lambda: LINEAR.schedule(0), "steps: 0: need at least 1"),
        (lambda: follow(lambda x, s: x, randn(2, 1), [0.0, 1.0], "rk4"), "method: 'rk4': need one of"),
        (lambda: follow(lambda x, s: x[:1], randn(2, 1), [0.0, 1.0]), "velocity: answers with shape"),
        (lambda: follow(lambda x, s: x, randn(2, 1), [0.0, 1.0, 0.5]), "times: need all to rise"),
        (lambda: along(MixtureDenoiser(LINE, LINEAR.schedule(3)), randn(2, 1), [3, 3, 0]), "levels: "),
        (lambda: along(MixtureDenoiser(LINE, LINEAR.schedule(3)), randn(2, 1), [3, 0], method="x"), "method: 'x'"),
        (
            lambda: along(MixtureDenoiser(LINE, LINEAR.schedule(3)), randn(2, 1), [3, 0], path=exploding(2.0)),
            "tau: inf: need 0 <= tau <= 4",
        ),
        (lambda: MixtureFlow(LINE, blobs()), "source: has 2 dimensions, and the target 1"),
        (lambda: MixtureFlow(finite_set(randn(3, 1))), "target, variance: 0.0: need a positive"),
        (lambda: MixtureFlow(LINE).velocity(randn(2, 2), 0.5), r"x: need shape \(..., 1\)"),
        (lambda: MixtureFlow(LINE).velocity(randn(2, 1), -0.1), "s: -0.1: need a finite number, at least 0"),
        (lambda: MixtureFlow(LINE).log_likelihood(randn(2, 1), 0), "steps: 0: need at least 1"),
        (lambda: MixtureFlow(LINE).log_likelihood(randn(2, 1), 2, lambda x, s: x[:, 0]), "velocity: answers"),
        (lambda: MixtureFlow(blobs()).map(randn(2, 2), 1, 0), "source: need a law on the line, and this one has 2"),
        (lambda: standard_normal(0), "dim: 0: need at least 1"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_names():
    assert set(PATHS) == {"linear", "cosine", "exploding"}
    assert interpolants.PATHS["linear"] is LINEAR
