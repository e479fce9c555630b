"""Guided models: what they are made of, what a sampler makes of them, and what they refuse."""

import math

import pytest
import torch
from problems import close, randn, rng

from dpm_lib.diffusion.guidance import Classified, Guided
from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import SAMPLERS, MixtureDenoiser, ancestral, ddim
from dpm_lib.diffusion.schedules import from_tau, geometric
from dpm_lib.probability.mixtures import Mixture

SCHEDULE = geometric(40, beta_1=1e-3, tau_T=100.0)
LEVELS = [40, 33, 21, 9, 0]
CENTERS = torch.tensor([[-1.0], [0.3], [1.4]], dtype=torch.float64)
CLASS = MixtureDenoiser(Mixture(CENTERS[1:], torch.tensor([0.25, 0.75], dtype=torch.float64), 0.1), SCHEDULE)
ALL = MixtureDenoiser(Mixture(CENTERS, torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64), 0.1), SCHEDULE)
X = randn(20, 1, seed=1)


class Counting:
    """A model that counts how often it is asked."""

    def __init__(self, model: MixtureDenoiser) -> None:
        self.model, self.schedule, self.calls = model, model.schedule, 0

    def denoise(self, x, t):
        self.calls += 1
        return self.model.denoise(x, t)


def log_class(x, t):
    """log p(c | x_t = x) for a class of share 0.4, by Bayes' rule."""
    z, tau = x / SCHEDULE.alpha_bar[t].sqrt(), float(SCHEDULE.tau[t])
    return math.log(0.4) + CLASS.target.log_prob(z, tau) - ALL.target.log_prob(z, tau)


@pytest.mark.parametrize("t", [1, 17, 40])
def test_the_guess_lies_on_the_line_through_the_two(t):
    a, b = ALL.denoise(X, t), CLASS.denoise(X, t)
    close(Guided(CLASS, ALL, 0).denoise(X, t), a, rtol=0, atol=0)
    close(Guided(CLASS, ALL, 1).denoise(X, t), b, rtol=0, atol=0)
    close(Guided(CLASS, ALL, 3.5).denoise(X, t), 3.5 * b - 2.5 * a)


def test_a_classifier_makes_the_conditional_guess():
    """At w = 1 Bayes' rule is exact, whichever way it is used."""
    for t in (1, 17, 40):
        close(Classified(ALL, log_class).denoise(X, t), CLASS.denoise(X, t), rtol=1e-7, atol=1e-9)
    x = randn(50, 1, seed=2)
    by_scores = ancestral(Guided(CLASS, ALL, 2.5), x, LEVELS, rng(3))
    by_classifier = ancestral(Guided(Classified(ALL, log_class), ALL, 2.5), x, LEVELS, rng(3))
    close(by_classifier, by_scores, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_takes_it(name):
    """With w = 1 the sampler draws what it draws of the class; the law on the line is that of the draws."""
    x = randn(5000, 1, seed=4)
    plain = SAMPLERS[name](CLASS, x, LEVELS, rng(5))
    close(SAMPLERS[name](Guided(CLASS, ALL, 1), x, LEVELS, rng(5)), plain, rtol=0, atol=0)
    guided = SAMPLERS[name](Guided(CLASS, ALL, 2), x, LEVELS, rng(5))[:, 0].sort().values.contiguous()
    law = sampler_law(SAMPLERS[name], Guided(CLASS, ALL, 2), LEVELS)
    found = torch.searchsorted(guided, law.z.contiguous()) / len(x)
    assert float((found - law.cdf).abs().max()) < 2.23 / math.sqrt(len(x))
    assert law.kolmogorov(CLASS.target) > 0.1  # and it is not the class


def test_each_model_is_asked_where_it_counts():
    for w, interval, calls in ((0, None, (0, 4)), (1, None, (4, 0)), (2, None, (4, 4)), (2, (-3.0, 3.0), (4, 2))):
        of_class, of_all = Counting(CLASS), Counting(ALL)
        ddim(Guided(of_class, of_all, w, interval), X, LEVELS)
        assert (of_class.calls, of_all.calls) == calls, (w, interval)


def test_outside_of_the_interval_it_is_the_conditional_model():
    log_tau = SCHEDULE.log_tau
    model = Guided(CLASS, ALL, 3, interval=(float(log_tau[10]), float(log_tau[20])))
    assert [model.scale(t) for t in (1, 9, 10, 20, 21, 40)] == [1, 1, 3, 3, 1, 1]
    assert [Guided(CLASS, ALL, 3, (-math.inf, 0.0)).scale(t) for t in (1, 40)] == [3, 1]
    close(model.denoise(X, 9), CLASS.denoise(X, 9), rtol=0, atol=0)
    close(model.denoise(X, 10), 3 * CLASS.denoise(X, 10) - 2 * ALL.denoise(X, 10))


@pytest.mark.parametrize("w", [-0.5, math.nan, math.inf])
def test_a_scale_that_is_none(w):
    with pytest.raises(ValueError, match=r"w: .*: need a finite number, at least 0"):
        Guided(CLASS, ALL, w)


@pytest.mark.parametrize("interval", [(1.0, 1.0), (2.0, -1.0), (math.nan, 1.0)])
def test_an_interval_that_does_not_rise(interval):
    with pytest.raises(ValueError, match=r"interval: \(.*\): need two values of log tau, the lower one first"):
        Guided(CLASS, ALL, 2, interval)


def test_schedules_that_differ():
    other = MixtureDenoiser(ALL.target, from_tau(SCHEDULE.tau[:-1]))
    with pytest.raises(ValueError, match="unconditional: its schedule, of 39 steps, is not that of conditional, of 40"):
        Guided(CLASS, other, 2)
    other = MixtureDenoiser(ALL.target, from_tau(2 * SCHEDULE.tau))
    with pytest.raises(ValueError, match="need one schedule"):
        Guided(CLASS, other, 2)


def test_bad_levels_and_classifiers():
    for model in (Guided(CLASS, ALL, 2), Classified(ALL, log_class)):
        for t in (0, 41):
            with pytest.raises(ValueError, match=f"t: {t}: need 1 <= t <= T = 40"):
                model.denoise(X, t)
    with pytest.raises(ValueError, match=r"log_likelihood: answers with shape \(20, 1\): need \(20,\)"):
        Classified(ALL, lambda x, t: x).denoise(X, 3)
    with pytest.raises(ValueError, match="log_likelihood: nan at point 0, at level 3"):
        Classified(ALL, lambda x, t: x[:, 0] * math.nan).denoise(X, 3)
    with pytest.raises(ValueError, match=r"slope of log_likelihood: .* at index"):
        Classified(ALL, lambda x, t: (x[:, 0] - x[:, 0].detach()).abs().sqrt()).denoise(X, 3)
    with pytest.raises(ValueError, match="model: needs a target on the line, and this one has 2 dimensions"):
        plane = MixtureDenoiser(Mixture(torch.zeros(1, 2), torch.ones(1), 1.0), SCHEDULE)
        sampler_law(ddim, Guided(plane, plane, 2), LEVELS)
