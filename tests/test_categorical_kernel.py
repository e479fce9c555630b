"""Strings of tokens: their kernels against matrices and Bayes' rule, their models by enumeration of all strings."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import AffineNetwork, close, close_mean, randn, random_generator, rng, short_schedule
from scipy.linalg import expm

from dpm_lib.diffusion import bound, schedules
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel, Forget, Rates, mask, uniform
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.diffusion.exact_tokens import ExactTokens
from dpm_lib.diffusion.forward_kernels import BinomialKernel
from dpm_lib.diffusion.last_step import LearnedStep
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule, from_beta
from dpm_lib.networks.one_hot import OneHot
from dpm_lib.probability.categorical import Categorical
from dpm_lib.probability.codebooks import Codebook

TO_NOTHING = from_beta(torch.tensor([0.0, 0.25, 0.4, 1.0]))
SHORT = Schedule(short_schedule().log_alpha_bar[:4])
KINDS = {
    "uniform": (uniform(3), SHORT),
    "uniform to noise": (uniform(3), TO_NOTHING),
    "mask": (mask(2), TO_NOTHING),
    "unigram": (Forget([0.2, 0.5, 0.3]), SHORT),
    "any rates": (Rates(random_generator(3, seed=3)), SHORT),
    "any rates to rest": (Rates(random_generator(3, seed=3)), TO_NOTHING),
}
ALL = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double()  # strings of two tokens


def kernel_of(kind: str, dim: int = 2) -> CategoricalKernel:
    jumps, schedule = KINDS[kind]
    return CategoricalKernel(dim, schedule, jumps)


def strings(kernel: CategoricalKernel) -> torch.Tensor:
    """Those of ALL that data may be."""
    return ALL[(ALL < kernel.vocabulary).all(1)]


def matrix(kernel: CategoricalKernel, log_kept: float) -> np.ndarray:
    """exp(Q s) of one token, by SciPy: the naive twin."""
    if math.isinf(log_kept):
        return np.tile(kernel.jumps.rest.numpy(), (kernel.tokens, 1))
    return expm(-log_kept * kernel.jumps.Q.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_marginals_are_exponentials_of_the_rates(kind):
    kernel = kernel_of(kind)
    Q, rest = kernel.jumps.Q.numpy(), kernel.jumps.rest.numpy()
    close(Q.sum(1), 0.0)
    close(rest @ Q, 0.0)
    assert sorted(-np.linalg.eigvals(Q).real)[1] == pytest.approx(1)
    log, x = kernel.schedule.log_alpha_bar, torch.arange(3.0).double().repeat(2, 1).T
    everything = torch.arange(1, 4)
    for t in range(1, 4):
        for law, kept in ((kernel.marginal(x, t), log[t]), (kernel.step(x, t), log[t] - log[t - 1])):
            one = matrix(kernel, float(kept))
            close(law.log_p[:, 0].exp(), one, atol=1e-14)
            close(law.log_p[:, 1].exp(), one, atol=1e-14)
        close(kernel.transition(t), matrix(kernel, float(log[t])), atol=1e-14)
        close(kernel.marginal(x, everything).log_p[t - 1], kernel.marginal(x[t - 1], t).log_p)
    close(kernel.marginal(x, 0).log_prob(x), 0.0)
    close(kernel.prior.log_p.exp(), rest)


@pytest.mark.parametrize("kind", KINDS)
def test_the_posterior_is_bayes_rule_and_the_mean_of_posteriors_the_step_through(kind):
    kernel = kernel_of(kind)
    log = kernel.schedule.log_alpha_bar
    p = torch.rand(2, kernel.vocabulary, generator=rng(1), dtype=torch.float64)
    p = p / p.sum(-1, keepdim=True)
    for t in range(1, 4):
        before, step, now = (matrix(kernel, float(v)) for v in (log[t - 1], log[t] - log[t - 1], log[t]))
        for b in range(3):
            reach = [a for a in range(kernel.vocabulary) if now[a, b] > 0]
            if not reach:
                with pytest.raises(ValueError, match="no token is possible"):
                    kernel.through(Categorical(p.log()), torch.full((2,), float(b)).double(), t)
                continue
            xt = torch.full((2,), float(b), dtype=torch.float64)
            twins = {a: before[a] * step[:, b] / now[a, b] for a in reach}
            for a in reach:
                found = kernel.posterior(torch.full_like(xt, a), xt, t)
                close(found.log_p.exp()[0], twins[a], atol=1e-13)
            for i in range(2):
                share = p[i, reach] / p[i, reach].sum()
                twin = sum(float(w) * twins[a] for w, a in zip(share, reach, strict=True))
                close(kernel.through(Categorical(p.log()), xt, t).log_p.exp()[i], twin, atol=1e-13)
    if kind == "mask":
        with pytest.raises(ValueError, match="no token is possible"):
            kernel.posterior(torch.zeros(2).double(), torch.ones(2).double(), 1)


def test_two_tokens_that_forget_are_the_bits_that_flip():
    bits, tokens = BinomialKernel(4, SHORT), CategoricalKernel(4, SHORT, uniform(2))
    x0, xt, noise = (randn(6, 4) > 0).double(), (randn(6, 4, seed=1) > 0).double(), randn(6, 4, seed=2)
    for t in range(1, 4):
        for one, other in (
            (bits.marginal(x0, t), tokens.marginal(x0, t)),
            (bits.step(x0, t), tokens.step(x0, t)),
            (bits.posterior(x0, xt, t), tokens.posterior(x0, xt, t)),
        ):
            close(one.log_prob(xt), other.log_prob(xt))
            assert torch.equal(one.from_noise(noise), other.from_noise(noise))
    close(bits.prior.log_prob(xt), tokens.prior.log_prob(xt))


def test_the_law_of_rest_is_kept_and_reversibility_is_told():
    for kind, reversible in (("uniform", True), ("unigram", True), ("mask", False), ("any rates", False)):
        kernel = kernel_of(kind)
        assert kernel.reversible is reversible, kind
        rest, P = kernel.jumps.rest, kernel.transition(2)
        close(rest @ P, rest)
        flow = rest.unsqueeze(-1) * P
        assert torch.allclose(flow, flow.T) is reversible or kind == "mask"
    assert kernel_of("mask").timeless
    assert not kernel_of("uniform").timeless
    assert DiffusionModel(kernel_of("uniform"), model_of("uniform").reverse).last is None
    assert model_of("any rates").first == model_of("mask").first == 1


# Models


def model_of(kind: str, last=None, seed: int = 0) -> DiffusionModel:
    """An untrained model, whose guesses of x_0 are affine in the tokens."""
    kernel = kernel_of(kind)
    out, shown = 2 * kernel.vocabulary, 2 * kernel.tokens
    network = AffineNetwork(randn(out, shown, seed=seed), randn(out, seed=seed + 1))
    return DiffusionModel(kernel, CategoricalReverse(OneHot(network, kernel.tokens), kernel), last)


def chains_of(model: DiffusionModel) -> SimpleNamespace:
    """Its chains over ALL, from log probabilities alone. Where x_t cannot be, the way back does not matter."""
    kernel, forward, reverse = model.kernel, [np.eye(9)], [np.eye(9)]
    data = (ALL < kernel.vocabulary).all(1).double() * torch.arange(1, 10)
    one, other = ALL.unsqueeze(1), ALL.expand(9, 9, 2)  # [i, j]: from i, to j
    with torch.no_grad():
        for t in range(1, 4):
            forward.append(kernel.step(one.expand_as(other), t).log_prob(other).exp().numpy())
            met = ~torch.isneginf(kernel.evidence(ALL, t)).all(-1).any(-1)
            back = torch.eye(9, dtype=torch.float64)
            back[met] = model.reverse_step(one[met].expand(-1, 9, 2), t).log_prob(other[met]).exp()
            reverse.append(back.numpy())
        prior = kernel.prior.log_prob(ALL).exp().numpy()
    return SimpleNamespace(data=data.numpy(), prior=prior, forward=np.stack(forward), reverse=np.stack(reverse))


@pytest.mark.parametrize(
    ("kind", "last"), [("uniform", None), ("uniform", LearnedStep()), ("mask", None), ("any rates", None)]
)
def test_the_bound_of_a_model_is_the_sum_over_all_paths(kind, last):
    model = model_of(kind, last)
    chains = chains_of(model)
    close(chains.reverse.sum(-1), 1.0)
    exact_K = per_start(chains)
    x = ALL[chains.data > 0]
    K = bound.terms(model, x.repeat(1000, 1), rng(1)).K.reshape(1000, -1)
    close_mean(K, exact_K, errors=4.5)
    many = x[1].expand(6000, 2)
    t = torch.arange(6000) % (model.T + 1 - model.first) + model.first
    close_mean(bound.estimate(model, many, t, randn(6000, 2, seed=9)), exact_K[1], errors=4.5)
    weights = model.trajectory_weights(x, 1000, rng(3))
    close_mean(weights.log_weights.T, exact_K, errors=4.5)


def per_start(chains: SimpleNamespace) -> torch.Tensor:
    """K(x_0) for each x_0 that data may be: the sum over all paths x_0..x_3 of q log(p / q)."""
    (_, q1, q2, q3), (_, p1, p2, p3) = chains.forward, chains.reverse
    q = np.einsum("ab,bc,cd->abcd", q1, q2, q3)
    p = np.einsum("ba,cb,dc,d->abcd", p1, p2, p3, chains.prior)
    q, p = q[chains.data > 0], p[chains.data > 0]
    return torch.from_numpy((q * np.log(np.where(q > 0, p, 1) / np.where(q > 0, q, 1))).sum((1, 2, 3)))


@pytest.mark.parametrize("kind", ["uniform", "mask", "any rates"])
def test_draws_have_the_models_law(kind):
    model = model_of(kind)
    chains = chains_of(model)
    law = chains.prior @ chains.reverse[3] @ chains.reverse[2] @ chains.reverse[1]
    n = 20_000
    x = model.sample(n, rng(5))
    share = torch.bincount((3 * x[:, 0] + x[:, 1]).long(), minlength=9) / n
    assert bool(
        ((share - torch.from_numpy(law)).abs() <= 4.5 * torch.from_numpy(law * (1 - law) / n).sqrt() + 1e-9).all()
    )


def test_under_a_mask_what_is_seen_stays_and_the_exact_denoiser_knows_no_time():
    rows = torch.tensor([[0.0, 1, 2], [1, 1, 0], [2, 0, 2], [0, 0, 0]], dtype=torch.float64)
    book = Codebook(rows, torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), tokens=3)
    xt = torch.tensor([[0.0, 3, 3], [3, 1, 3], [3, 3, 3], [3, 3, 2]], dtype=torch.float64)
    kernel = CategoricalKernel(3, schedules.even(4), mask(3))
    exact = ExactTokens(book, kernel)
    laws = [exact.start(xt, t, kernel).log_p.exp() for t in (1, 2, 3)]
    close(laws[0], laws[1])
    close(laws[0], laws[2])
    close(laws[0][0, 1], torch.tensor([0.8, 0.2, 0.0], dtype=torch.float64))  # of rows 0 and 3
    step = exact(xt, 2, kernel)
    seen = xt < 3
    close(step.log_p.gather(-1, xt.long().unsqueeze(-1)).squeeze(-1)[seen], 0.0)
    stays = step.log_p[..., 3].exp()[~seen]
    log = kernel.schedule.alpha_bar
    close(stays, (1 - log[1]) / (1 - log[2]))
    forgetful = CategoricalKernel(3, SHORT, uniform(3))
    other = ExactTokens(book, forgetful)
    x = torch.tensor([[0.0, 1, 1]], dtype=torch.float64)
    assert not torch.allclose(other.start(x, 1, forgetful).log_p.exp(), other.start(x, 3, forgetful).log_p.exp())


def test_a_network_is_told_no_time_under_a_mask():
    told = []

    class Network(torch.nn.Module):
        def forward(self, x, t, log_tau):
            told.append((t.tolist(), log_tau.tolist()))
            return torch.zeros(len(x), 2, 2)

    for kind, timeless in (("mask", None), ("mask", False)):
        kernel = kernel_of(kind)
        CategoricalReverse(Network(), kernel, timeless)(torch.full((1, 2), 2.0).double(), 2, kernel)
    assert told[0] == ([0], [0.0])
    assert told[1][0] == [2]


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_ratios_are_one_knowledge(kind):
    """Ratios p_t(y) / p_t(x), from a law enumerated over all strings, and back."""
    kernel = kernel_of(kind)
    rows = strings(kernel)
    weights = torch.arange(1.0, len(rows) + 1).double()
    book = Codebook(rows, weights / weights.sum(), tokens=3)
    exact = ExactTokens(book, kernel)
    for t in (1, 2):
        P = torch.from_numpy(matrix(kernel, float(kernel.schedule.log_alpha_bar[t])))
        joint = (
            P[rows.long()[:, 0]].unsqueeze(-1) * P[rows.long()[:, 1]].unsqueeze(-2) * book.weights[:, None, None]
        ).sum(0)
        for x in ALL:
            i, j = x.long().tolist()
            found = exact.ratios(x, t, kernel).exp()
            for place, twin in ((0, joint[:, j] / joint[i, j]), (1, joint[i, :] / joint[i, j])):
                if kind == "mask" and x[place] < 2:
                    assert bool(found[place].isnan().all())
                else:
                    close(found[place], twin, rtol=1e-9)
            back = kernel.start(exact.ratios(x, t, kernel), x, t)
            close(back.log_p.exp(), exact.start(x, t, kernel).log_p.exp(), atol=1e-9)


def test_gradients_reach_network_and_schedule():
    for kind, schedule in (
        ("uniform", schedules.LearnedSchedule(SHORT)),
        ("any rates", schedules.LearnedSchedule(SHORT)),
        ("mask", None),
    ):
        jumps, fixed = KINDS[kind]
        kernel = CategoricalKernel(2, schedule or fixed, jumps)
        network = AffineNetwork(randn(2 * kernel.vocabulary, 6), randn(2 * kernel.vocabulary))
        network.weight.requires_grad_()
        model = DiffusionModel(kernel, CategoricalReverse(OneHot(network, 3), kernel))
        t = torch.tensor([2, 3, 2, 3] if model.first == 2 else [1, 2, 3, 3])
        bound.estimate(model, strings(kernel)[:4], t, randn(4, 2)).sum().backward()
        assert bool(torch.isfinite(network.weight.grad).all()) and float(network.weight.grad.abs().sum()) > 0
        if schedule is not None:
            grad = schedule.log_increments.grad
            assert bool(torch.isfinite(grad).all()) and float(grad.abs().sum()) > 0


def test_bad_input():
    kernel = kernel_of("mask")
    with pytest.raises(ValueError, match=r"x0: 2 at index \(0, 1\) is a mask, of which data hold none"):
        kernel.state(torch.tensor([[0.0, 2.0]]))
    for value in (3.0, -1.0, 0.5, math.nan):
        with pytest.raises(ValueError, match=r"x0: .* at index \(1,\) is no token: need one of 0..1"):
            kernel.state(torch.tensor([0.0, value]))
    with pytest.raises(ValueError, match="x0: need shape"):
        kernel.state(torch.zeros(3))
    with pytest.raises(ValueError, match=r"schedule: alpha_bar_T = .*: need one that ends at 0"):
        CategoricalKernel(2, SHORT, mask(2))
    blocks = np.array([[-1.0, 1, 0, 0], [1, -1, 0, 0], [0, 0, -1, 1], [0, 0, 1, -1]])
    with pytest.raises(ValueError, match=r"Q: never forgets: nothing leaves the tokens \[0, 1\] and \[2, 3\]"):
        Rates(blocks)
    with pytest.raises(ValueError, match=r"Q: need rows that sum to 0.*transpose"):
        Rates(random_generator(3).T)
    with pytest.raises(ValueError, match=r"Q.*nan"):
        Rates([[math.nan, 1.0], [1.0, -1.0]])
    with pytest.raises(ValueError, match="S: 1: need at least 2"):
        uniform(1)
    with pytest.raises(ValueError, match="rest: need a sum of 1"):
        Forget([0.5, 0.6])
    with pytest.raises(ValueError, match="t: 4: need"):
        kernel.marginal(torch.zeros(2), 4)
    with pytest.raises(TypeError, match="score: tokens have no score"):
        model_of("mask").score(torch.zeros(2), 1)
    with pytest.raises(ValueError, match="network: gives"):
        CategoricalReverse(OneHot(AffineNetwork(randn(3, 6), randn(3)), 3), kernel)(
            torch.full((1, 2), 2.0).double(), 2, kernel
        )
    with pytest.raises(ValueError, match=r"rows: 3.0 at index .*need a token, one of 0..2"):
        Codebook(torch.tensor([[0.0, 3.0]]), tokens=3)
