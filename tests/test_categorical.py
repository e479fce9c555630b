"""Laws of independent tokens, against torch.distributions and against bits."""

import math

import pytest
import torch
from problems import close, randn, rng
from torch.distributions import Categorical as Twin
from torch.distributions import Independent, kl_divergence

from dpm_lib.probability.categorical import Categorical
from dpm_lib.probability.distributions import Bernoulli

INF = math.inf


def twin(law: Categorical) -> Independent:
    return Independent(Twin(logits=law.logits), 1)


def test_log_prob_entropy_kl():
    p, q = Categorical(2 * randn(6, 4, 3)), Categorical(2 * randn(6, 4, 3, seed=1) + 5)
    x = torch.randint(3, (6, 4), generator=rng(2)).double()
    close(p.log_prob(x), twin(p).log_prob(x))
    close(p.entropy, twin(p).entropy())
    close(p.kl(q), kl_divergence(twin(p), twin(q)))
    close(p.cross_entropy(q), p.entropy + p.kl(q))
    assert p.log_prob(x).shape == p.entropy.shape == p.kl(q).shape == (6,)
    one = Categorical(p.logits[0])
    close(one.kl(q)[3], one.kl(Categorical(q.logits[3])))
    close(one.log_prob(x)[2], one.log_prob(x[2]))
    close(one.expand(5).log_prob(x[:5]), one.log_prob(x[:5]))


def test_sure_tokens():
    """A token that is sure has no entropy, what it rules out is infinitely unlikely, and draws never make it."""
    sure = Categorical(torch.tensor([[-INF, 0.0, -INF], [3.0, -INF, -INF]], dtype=torch.float64))
    fair = Categorical(torch.zeros(2, 3, dtype=torch.float64))
    close(sure.entropy, 0.0)
    close(sure.kl(fair), 2 * math.log(3))
    assert float(fair.kl(sure)) == INF
    assert float(sure.log_prob(torch.tensor([1.0, 0.0]))) == 0
    assert float(sure.log_prob(torch.tensor([1.0, 1.0]))) == -INF
    for z in (-40.0, -8.0, 0.0, 8.0, 40.0):
        assert sure.from_noise(torch.full((2,), z, dtype=torch.float64)).tolist() == [1, 0]
    tails = Categorical(torch.tensor([[-INF, 0.3, 0.1, -INF]] * 3, dtype=torch.float64))
    assert set(tails.from_noise(torch.tensor([-40.0, 40.0, 9.0]).double()).tolist()) <= {1, 2}


def test_draws_have_the_law_and_two_tokens_are_bits():
    logits = torch.tensor([[0.0, 1.0, -INF, 0.5], [2.0, -1.0, 0.0, 0.0]], dtype=torch.float64)
    n = 40_000
    x = Categorical(logits).expand(n).sample(rng(1))
    for i in range(2):
        p = logits[i].softmax(0)
        share = torch.bincount(x[:, i].long(), minlength=4) / n
        assert bool(((share - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all())
    noise, odds = randn(5000, 2, seed=4), torch.tensor([0.7, -2.0], dtype=torch.float64)
    bits = Categorical(torch.stack([torch.zeros(2).double(), odds], -1)).expand(5000)
    assert torch.equal(bits.from_noise(noise), Bernoulli(odds).expand(5000).from_noise(noise))


def test_ratio_has_the_gradient_of_the_law():
    """d E[f(x)] by the score function, summed over all x."""
    logits = randn(2, 3, seed=5).requires_grad_()
    x = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double()
    f = x[:, 0] * 2 - x[:, 1].square()
    p = Categorical(logits.detach()).log_prob(x).exp()
    by_ratio = torch.autograd.grad((p * f * Categorical(logits).ratio(x)).sum(), logits)[0]
    exact = torch.autograd.grad((Categorical(logits).log_prob(x).exp() * f).sum(), logits)[0]
    close(by_ratio, exact)


def test_bad_input():
    law = Categorical(torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(TypeError, match="mean: tokens are names"):
        _ = law.mean
    for x, what in ((3.0, "3"), (-1.0, "-1"), (0.5, "0.5"), (math.nan, "nan")):
        with pytest.raises(ValueError, match=f"x: {what} at index \\(1,\\): need a token, one of 0..2"):
            law.log_prob(torch.tensor([0.0, x]))
    with pytest.raises(ValueError, match="x: need shape"):
        law.log_prob(torch.zeros(3))
    with pytest.raises(ValueError, match="other: need as many places and tokens"):
        law.kl(Categorical(torch.zeros(2, 4, dtype=torch.float64)))
    with pytest.raises(ValueError, match=r"logits: no token is possible at index \(1,\)"):
        Categorical(torch.tensor([[0.0, -INF], [-INF, -INF]]))
    with pytest.raises(ValueError, match="logits: nan"):
        Categorical(torch.tensor([[0.0, math.nan]]))
    with pytest.raises(ValueError, match="logits: need shape"):
        Categorical(torch.zeros(3))
