"""Laws of paths: by their densities on simulated paths, by many small steps, and the bound that follows from them."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import AffineNetwork, close, randn, random_generator, short_schedule
from scipy.linalg import expm

from dpm_lib.diffusion import jump_bound, schedules
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel, Rates, mask, uniform
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.diffusion.exact_tokens import ExactTokens
from dpm_lib.diffusion.last_step import LearnedStep
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.exact import enumerated_bound
from dpm_lib.markov import gillespie, path_measures, time_reversal
from dpm_lib.networks.one_hot import OneHot
from dpm_lib.probability.codebooks import Codebook

Q, R = random_generator(3, seed=1), random_generator(3, seed=2)
P0, M0 = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
END = 0.7


def by_steps(n: int) -> float:
    """D(P || M) of the chains seen at n even times only: a sum over steps of relative entropies."""
    p, step, other = P0, expm(Q * END / n), expm(R * END / n)
    total = float((P0 * np.log(P0 / M0)).sum())
    for _ in range(n):
        total += float(p @ (step * np.log(step / other)).sum(1))
        p = p @ step
    return total


def test_relative_entropy_of_paths_is_the_limit_of_that_of_steps():
    exact = path_measures.relative_entropy_of_paths(lambda t: Q, lambda t: R, lambda t: P0 @ expm(Q * t), M0, END)
    off = [exact - by_steps(n) for n in (100, 200, 400)]
    assert off[0] > off[1] > off[2] > 0  # what is seen less often tells less
    assert off[0] / off[1] == pytest.approx(2, abs=0.1)
    assert off[1] / off[2] == pytest.approx(2, abs=0.05)
    assert 2 * by_steps(400) - by_steps(200) == pytest.approx(exact, abs=1e-4)


def test_density_ratios_have_mean_one_and_their_logarithm_the_relative_entropy():
    rng = np.random.default_rng(0)
    exact = path_measures.relative_entropy_of_paths(lambda t: Q, lambda t: R, lambda t: P0 @ expm(Q * t), M0, END)

    def ratios(rates, start, n=2500):
        paths = [gillespie.path(rates, int(i), END, rng) for i in rng.choice(3, n, p=start)]
        return np.array([path_measures.log_density_ratio(*path, END, Q, R, P0, M0) for path in paths])

    for values, expected in ((ratios(Q, P0), exact), (np.exp(ratios(R, M0)), 1.0)):
        assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(len(values))


def test_the_reversed_rates_are_those_of_chapter_five():
    """For strings: Q_ji p_j / p_i of the whole chain, from the ratios that a law of each token of x_0 says."""
    rows = torch.tensor([[0.0, 1], [1, 1], [2, 0]], dtype=torch.float64)
    book = Codebook(rows, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), tokens=3)
    for jumps in (uniform(3), Rates(random_generator(3, seed=3))):
        kernel = CategoricalKernel(2, short_schedule(), jumps)
        every = enumerated_bound.strings(kernel)
        one = kernel.jumps.Q.numpy()
        whole = np.kron(one, np.eye(3)) + np.kron(np.eye(3), one)
        law = torch.einsum(
            "k,kx->x", book.weights, torch.stack([kernel.marginal(r, 2).log_prob(every).exp() for r in rows])
        )
        twin = time_reversal.reverse_generator(whole, law.numpy())
        found = np.zeros((9, 9))
        ratios = ExactTokens(book, kernel).ratios(every, 2, kernel)
        for x, rate in zip(range(9), jump_bound.rates(kernel, every, ratios), strict=True):
            for k in range(3):
                found[x, 3 * k + x % 3] += rate[0, k]
                found[x, 3 * (x // 3) + k] += rate[1, k]
        np.testing.assert_allclose(found, twin - np.diag(np.diag(twin)), atol=1e-12)


@pytest.mark.parametrize("kind", ["mask", "uniform"])
def test_k_of_many_steps_tends_to_the_bound_of_jumps(kind):
    """An error of 1/T, halved when T doubles, for guesses that are wrong; for a mask also by masked cross-entropies."""
    jumps, vocabulary = (mask(2), 2) if kind == "mask" else (uniform(3), 3)
    tokens = jumps.tokens
    network = AffineNetwork(randn(2 * vocabulary, 2 * tokens), randn(2 * vocabulary, seed=1))
    every = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double()
    wrong = Codebook(every, (0.5 * randn(9, seed=4)).softmax(0), tokens=3)  # what the other model takes for the data

    def model(T: int) -> DiffusionModel:
        alpha_bar = torch.linspace(1, 0, T + 1, dtype=torch.float64)
        kernel = CategoricalKernel(2, Schedule(alpha_bar.log()), jumps)
        guess = CategoricalReverse(OneHot(network, tokens), kernel) if kind == "mask" else ExactTokens(wrong, kernel)
        return DiffusionModel(kernel, guess, LearnedStep())

    x0 = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    end = enumerated_bound.limit(model(8), x0, nodes=48)
    off = torch.stack([enumerated_bound.stepwise(model(T), x0) - end for T in (32, 64, 128)])
    ratio = off[:-1] / off[1:]
    assert bool(((ratio - 2).abs() < 0.12).all()), ratio
    if kind == "mask":  # the integral of E[sum over masked of -log p] / (1 - alpha_bar)
        kernel = model(2).kernel
        every = torch.tensor([[2.0, 2.0], [0.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
        log_p = model(2).reverse.start(every, 1, kernel).log_p
        first, second = -log_p[:, 0, 0], -log_p[:, 1, 1]  # of x_0 = (0, 1)
        close(end[0], -(first[0] + second[0]) / 2 - (first[2] + second[1]) / 2, rtol=1e-6)
        other = Schedule(torch.tensor([1.0, 0.9, 0.2, 0.05, 0.0], dtype=torch.float64).log())
        again = DiffusionModel(CategoricalKernel(2, other, jumps), model(8).reverse)
        close(enumerated_bound.limit(again, x0, nodes=48), end, rtol=1e-12)


def test_with_an_edge_kernel_k_is_the_mean_over_all_paths():
    """One token in three steps: every path listed, weighed as the model and as the forward chain weigh it."""
    kernel = CategoricalKernel(1, Schedule(torch.tensor([1.0, 0.8, 0.5, 0.2], dtype=torch.float64).log()), uniform(3))
    every = torch.arange(3.0, dtype=torch.float64).unsqueeze(1)
    book = Codebook(every, torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64), tokens=3)
    model = DiffusionModel(kernel, ExactTokens(book, kernel))
    assert model.first == 2
    forth, back = (
        [torch.stack([step(x, t).log_prob(every) for x in every]) for t in (1, 2, 3)]
        for step in (kernel.step, model.reverse_step)
    )
    for i in range(3):
        K = 0.0
        for a, b, c in itertools.product(range(3), repeat=3):
            log_q = float(forth[0][i, a] + forth[1][a, b] + forth[2][b, c])
            log_p = -math.log(3) + float(back[2][c, b] + back[1][b, a] + back[0][a, i])
            K += math.exp(log_q) * (log_p - log_q)
        assert float(enumerated_bound.stepwise(model, every)[i]) == pytest.approx(K, rel=1e-10)


def test_with_the_right_ratios_nothing_is_lost():
    rows = torch.tensor([[0.0, 1], [1, 1], [2, 0]], dtype=torch.float64)
    book = Codebook(rows, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), tokens=3)
    for jumps in (mask(3), uniform(3)):
        kernel = CategoricalKernel(2, schedules.even(4), jumps)
        model = DiffusionModel(kernel, ExactTokens(book, kernel), LearnedStep())
        close(book.weights @ enumerated_bound.limit(model, rows), -book.entropy(), rtol=2e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="R: need the shape of Q"):
        path_measures.loss_rate(Q, random_generator(2), P0)
    with pytest.raises(ValueError, match=r"end: 0: need a finite time after 0\.0"):
        path_measures.relative_entropy_of_paths(lambda t: Q, lambda t: R, lambda t: P0, M0, 0)
    with pytest.raises(ValueError, match="times: need one for each of 2 states, got 1"):
        path_measures.log_density_ratio([0.0], [0, 1], 1.0, Q, R, P0, M0)
    never = np.array([[-1.0, 1, 0], [0, -1, 1], [1, 0, -1]])
    assert path_measures.loss_rate(Q, never, P0) == math.inf
    assert path_measures.log_density_ratio([0.0, 0.2], [0, 2], 1.0, never, Q, P0, M0) == -math.inf
    with pytest.raises(ValueError, match="kernel: 11\\^5 strings: need 20000 at most"):
        enumerated_bound.strings(CategoricalKernel(5, schedules.even(4), mask(10)))
