"""Kernels of strings: their laws, their ways back, and the bound in steps and in continuous time."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import AffineNetwork, close, randn, random_generator, rng, short_schedule
from scipy.integrate import quad
from scipy.linalg import expm

from dpm_lib.diffusion import bound, jump_bound, schedules
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel, Forget, Rates, mask, uniform
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.diffusion.exact_tokens import ExactTokens
from dpm_lib.diffusion.last_step import LearnedStep
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.exact import enumerated_bound
from dpm_lib.markov import gillespie, path_measures, time_reversal
from dpm_lib.networks.one_hot import OneHot
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.training.text_evaluation import text_bounds

ROWS = torch.tensor([[0.0, 1], [1, 1], [2, 0], [0, 2]], dtype=torch.float64)
BOOK = Codebook(ROWS, torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64), tokens=3)
PAIRS = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double()
SHORT = short_schedule()


def joint(kernel, t):
    """q(x_0 = row, x_t = pair), (4, 9), by exponentials of the rates."""
    P = expm(-float(kernel.schedule.log_alpha_bar[t]) * kernel.jumps.Q.numpy())
    rows, pairs = ROWS.long().numpy(), PAIRS.long().numpy()
    return BOOK.weights.numpy()[:, None] * np.prod(P[rows[:, None], pairs[None]], axis=-1)


@pytest.mark.equation("eq-mk-transition")
@pytest.mark.parametrize("jumps", [uniform(4), mask(3), Forget([0.1, 0.2, 0.7])], ids=["forget", "mask", "unigram"])
def test_what_is_thrown_anew_has_the_law_of_rest(jumps):
    """The exponential of the rates, by SciPy, against the closed form; and by counting throws on the way."""
    for t in (1, 3):
        kept = float(SHORT.alpha_bar[t])
        twin = expm(-math.log(kept) * jumps.Q.numpy())
        close(kept * np.eye(jumps.tokens) + (1 - kept) * jumps.rest.numpy()[None], twin)
        close(jumps.log_row(torch.arange(jumps.tokens).unsqueeze(0), SHORT.log_alpha_bar, t).exp()[0], twin)


@pytest.mark.equation("eq-mk-reverse", "eq-mk-ratio")
def test_reversed_rates_of_strings():
    """Rates from the law of each token of x_0, against the generator of all strings run backwards."""
    for jumps in (uniform(3), Rates(random_generator(3, seed=3))):
        kernel = CategoricalKernel(2, SHORT, jumps)
        one = kernel.jumps.Q.numpy()
        law = joint(kernel, 2).sum(0)
        twin = time_reversal.reverse_generator(np.kron(one, np.eye(3)) + np.kron(np.eye(3), one), law)
        ratios = ExactTokens(BOOK, kernel).ratios(PAIRS, 2, kernel)
        rates = jump_bound.rates(kernel, PAIRS, ratios)
        for x, k in itertools.product(range(9), range(3)):
            for i, y in enumerate((3 * k + x % 3, 3 * (x // 3) + k)):
                if y != x:
                    assert float(rates[x, i, k]) == pytest.approx(twin[x, y], abs=1e-12)
                    assert float(ratios[x, i, k].exp()) == pytest.approx(law[y] / law[x], rel=1e-10)


@pytest.mark.equation("eq-mk-mean")
def test_the_step_back_of_one_token_is_a_mean_of_posteriors():
    """Against Bayes' rule on the table of x_{t-1} and x_t of all strings."""
    kernel = CategoricalKernel(2, SHORT, Rates(random_generator(3, seed=3)))
    step = expm(float(SHORT.log_alpha_bar[2] - SHORT.log_alpha_bar[3]) * kernel.jumps.Q.numpy())
    both = np.einsum("xi,ij->ij", joint(kernel, 2), np.kron(step, step))  # x_2, x_3
    back = both / both.sum(0)
    found = ExactTokens(BOOK, kernel)(PAIRS, 3, kernel).log_p.exp()
    for x, k in itertools.product(range(9), range(3)):
        assert float(found[x, 0, k]) == pytest.approx(back[3 * k : 3 * k + 3, x].sum(), abs=1e-12)
        assert float(found[x, 1, k]) == pytest.approx(back[k::3, x].sum(), abs=1e-12)


@pytest.mark.equation("eq-mk-timeless")
def test_what_is_masked_says_nothing_of_the_time():
    """Bayes' rule with the masks in it, at two times, against counting the rows that agree; forgetting does say it."""
    uneven = Schedule(torch.tensor([1.0, 0.9, 0.3, 0.0], dtype=torch.float64).log())
    kernel = CategoricalKernel(2, uneven, mask(3))
    for xt in ([3.0, 1.0], [3.0, 3.0], [0.0, 3.0]):
        x = torch.tensor(xt, dtype=torch.float64)
        agree = ((x == 3) | (x == ROWS)).all(1).double() * BOOK.weights
        for t in (1, 2):
            log_q = kernel.marginal(ROWS, t).log_prob(x.expand(4, 2))
            close((BOOK.weights * log_q.exp()) / (BOOK.weights @ log_q.exp()), agree / agree.sum())
            close(ExactTokens(BOOK, kernel).log_rows(x, t, kernel).exp(), agree / agree.sum())
    early, late = (joint(CategoricalKernel(2, SHORT, uniform(3)), t)[:, 1] for t in (1, 4))
    assert abs(early / early.sum() - late / late.sum()).max() > 0.1


def wrong_model(schedule, seed=0):
    """A network's guesses under a mask of two letters: of no law."""
    kernel = CategoricalKernel(2, schedule, mask(2))
    network = AffineNetwork(randn(4, 6, seed=seed), randn(4, seed=seed + 1))
    return DiffusionModel(kernel, CategoricalReverse(OneHot(network, 3), kernel))


def masked_costs(model, x0):
    """-log p(x_0,i | x_0,A) for A empty (2,), and for A the other token (2,)."""
    a, b = x0.tolist()
    seen = torch.tensor([[2.0, 2.0], [2.0, b], [a, 2.0]], dtype=torch.float64)
    log_p = model.reverse.start(seen, 1, model.kernel).log_p.detach()
    first, second = -log_p[:, 0, int(a)], -log_p[:, 1, int(b)]
    return torch.stack([first[0], second[0]]), torch.stack([first[1], second[2]])


X0 = torch.tensor([0.0, 1.0], dtype=torch.float64)


@pytest.mark.equation("eq-mk-steps")
def test_under_a_mask_k_is_a_sum_of_masked_cross_entropies():
    """The sum by hand, over what may be seen, against the divergences of all steps, and against whole trajectories."""
    alpha_bar = torch.tensor([1.0, 0.7, 0.65, 0.2, 0.0], dtype=torch.float64)
    model = wrong_model(Schedule(alpha_bar.log()))
    nothing, other = masked_costs(model, X0)
    K = 0.0
    for t in range(1, 5):
        u, before = float(alpha_bar[t]), float(alpha_bar[t - 1])
        mean = (1 - u) ** 2 * nothing.sum() + (1 - u) * u * other.sum()
        K -= (before - u) / (1 - u) * float(mean)
    assert float(enumerated_bound.stepwise(model, X0.unsqueeze(0))) == pytest.approx(K, rel=1e-10)
    weights = model.trajectory_weights(X0.unsqueeze(0), 4000, rng(1)).log_weights[0]
    assert abs(float(weights.mean()) - K) < 4 * float(weights.std()) / 4000**0.5
    many = text_bounds(model, X0.expand(2000, 2), seed=1, draws=2)
    assert abs(float(many.mean()) - K) < 4 * float(many.std()) / 2000**0.5


@pytest.mark.equation("eq-mk-steps")
def test_each_time_is_taken_as_often_as_any_other(monkeypatch):
    """Of the windows of an evaluation on text, once for each comb."""
    model = wrong_model(schedules.even(4))
    monkeypatch.setattr(bound, "estimate", lambda model, x0, t, noise: 100.0 ** (t - 1))
    for draws in (1, 3):
        found = text_bounds(model, X0.expand(8, 2), draws=draws)
        assert round(float(found.sum()) * draws) == 2 * draws * 1_010_101


@pytest.mark.equation("eq-mk-girsanov")
def test_the_density_of_paths():
    """Its mean under M is 1, also on the paths that end in one state, where it is P of that state over M's."""
    Q, p, m, end = random_generator(3, 1), [0.5, 0.3, 0.2], [0.4, 0.3, 0.3], 0.3
    R = (Q + random_generator(3, 2)) / 2  # so near that few paths say much
    generator = np.random.default_rng(0)
    paths = [gillespie.path(R, int(i), end, generator) for i in generator.choice(3, 1200, p=m)]
    density = np.exp([path_measures.log_density_ratio(*path, end, Q, R, p, m) for path in paths])
    last = np.array([states[-1] for _, states in paths])
    law = np.array(p) @ expm(Q * end)
    for j in range(3):
        values = density * (last == j)
        assert abs(values.mean() - law[j]) < 4 * values.std() / 1200**0.5


@pytest.mark.equation("eq-mk-path-kl")
def test_relative_entropy_of_paths():
    """The integral, against the chains seen at many even times."""
    Q, R, p, m = random_generator(3, 1), random_generator(3, 2), np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])

    def seen(n):
        law, one, other = p, expm(Q * 0.7 / n), expm(R * 0.7 / n)
        total = float((p * np.log(p / m)).sum())
        for _ in range(n):
            total += float(law @ (one * np.log(one / other)).sum(1))
            law = law @ one
        return total

    found = path_measures.relative_entropy_of_paths(lambda t: Q, lambda t: R, lambda t: p @ expm(Q * t), m, 0.7)
    assert found == pytest.approx(2 * seen(800) - seen(400), abs=2e-5)
    rise = lambda t: R * math.exp(8 * t)  # noqa: E731
    few = path_measures.relative_entropy_of_paths(lambda t: Q, rise, lambda t: p @ expm(Q * t), m, 0.7, pieces=1)
    x, w = np.polynomial.legendre.leggauss(5)
    costs = [path_measures.loss_rate(Q, rise(t), p @ expm(Q * t)) for t in 0.35 * (1 + x)]
    assert few == pytest.approx(float((p * np.log(p / m)).sum() + 0.35 * w @ costs), rel=1e-12)


@pytest.mark.equation("eq-mk-limit")
@pytest.mark.parametrize("jumps", [uniform(3), mask(3)], ids=["forget", "mask"])
def test_the_limit_of_k_is_the_integral_and_for_a_law_its_own_logarithm(jumps):
    own = torch.tensor([5, 1, 2, 1, 6, 3, 2, 1, 4], dtype=torch.float64) / 25
    book = Codebook(PAIRS, own, tokens=3)

    def model(T):
        kernel = CategoricalKernel(2, schedules.even(T), jumps)

        return DiffusionModel(kernel, ExactTokens(book, kernel), LearnedStep())

    x0 = PAIRS[[1, 5]]
    end = enumerated_bound.limit(model(4), x0, nodes=32)
    close(end, own[[1, 5]].log(), rtol=1e-4)
    K = [enumerated_bound.stepwise(model(T), x0) for T in (24, 48)]
    close(2 * K[1] - K[0], end, rtol=1e-3)
    close((K[0] - end) / (K[1] - end), 2.0, rtol=0.05)


@pytest.mark.equation("eq-mk-limit")
def test_the_limit_where_something_is_left_at_the_end():
    """The exact way back from a start that is not q(x_T): K = log q(x_0) + E log pi(x_T) / q(x_T), given x_0."""
    kernel = CategoricalKernel(2, Schedule(torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64).log()), uniform(3))
    end = enumerated_bound.limit(DiffusionModel(kernel, ExactTokens(BOOK, kernel), LearnedStep()), ROWS, nodes=32)
    table = joint(kernel, 2)
    log_ratio = -math.log(9) - np.log(table.sum(0))
    close(end, BOOK.weights.log().numpy() + table @ log_ratio / BOOK.weights.numpy(), rtol=1e-5)


@pytest.mark.equation("eq-mk-average", "eq-mk-error")
def test_an_average_of_masked_cross_entropies_whatever_the_schedule():
    nothing, other = masked_costs(wrong_model(schedules.even(4)), X0)

    def C(u):  # what stands in the integral, with two tokens
        return ((1 - u) ** 2 * float(nothing.sum()) + (1 - u) * u * float(other.sum())) / (1 - u)

    average = -quad(C, 0, 1)[0]
    for schedule in (schedules.even(4), Schedule(torch.tensor([1.0, 0.99, 0.1, 0.0], dtype=torch.float64).log())):
        assert float(enumerated_bound.limit(wrong_model(schedule), X0.unsqueeze(0), nodes=24)) == pytest.approx(
            average, rel=1e-5
        )
    T = 64
    off = float(enumerated_bound.stepwise(wrong_model(schedules.even(T)), X0.unsqueeze(0))) - average
    assert off == pytest.approx(-(float(nothing.sum()) - float(other.sum())) / (2 * T), rel=1e-6)  # C is linear here
