"""Every claim of the chapter on posteriors, by two routes: formulas of the chapter, and sums over all paths."""

import math

import numpy as np
import pytest
import torch
from problems import all_bits, bit_model, blobs, close, randn, rng, short_schedule

from dpm_lib.core.constants import LOG_2PI
from dpm_lib.diffusion import conditioning
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.schedules import from_beta
from dpm_lib.diffusion.twists import BlendReverse, Constant, ExactModel, Expected
from dpm_lib.probability.distributions import Bernoulli, Gaussian
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.products_of_laws import Tilt, gaussian_tilt, times

LINE = torch.linspace(-12, 12, 4801, dtype=torch.float64)
H = 0.005


def density(x, mean, variance):
    scale = torch.as_tensor(variance, dtype=torch.float64).sqrt()
    return torch.exp(-0.5 * ((x - mean) ** 2 / variance + LOG_2PI)) / scale


class Paths:
    """All paths (x_0..x_T) of a tiny model of bits, their probabilities, and r(x_0)."""

    def __init__(self) -> None:
        self.model = bit_model(short_schedule())
        self.T = self.model.T
        self.bits = all_bits(2)
        with torch.no_grad():
            self.steps = [None] + [
                torch.stack([self.model.reverse_step(x, t).log_prob(self.bits).exp() for x in self.bits])
                for t in range(1, self.T + 1)
            ]  # rows: x_t, columns: x_{t-1}
        letters = "abcdefg"[: self.T + 1]
        terms = ",".join(letters[t] + letters[t - 1] for t in range(1, self.T + 1))
        prior = torch.full((4,), 0.25, dtype=torch.float64)
        self.p = torch.einsum(f"{letters[-1]},{terms}->{letters}", prior, *self.steps[1:])
        self.r = torch.tensor([0.2, 1.3, 0.05, 2.0], dtype=torch.float64)

    def tilted(self) -> torch.Tensor:
        joint = self.p * self.r.reshape(-1, *[1] * self.T)
        return joint / joint.sum()

    def seen_from(self, t: int) -> torch.Tensor:
        """r_t by its definition, E[r(x_0) | x_t], from the joint law."""
        others = tuple(s for s in range(self.T + 1) if s not in (0, t))
        pair = self.p.sum(others)  # (x_0, x_t)
        return (self.r @ pair) / pair.sum(0)

    def pair(self, joint: torch.Tensor, t: int) -> torch.Tensor:
        """(x_{t-1}, x_t)."""
        return joint.sum(tuple(s for s in range(self.T + 1) if s not in (t - 1, t)))


@pytest.mark.equation("eq-post-twist", "eq-post-conditional")
def test_exact_steps_of_the_tilted_chain():
    paths = Paths()
    tilted, Z = paths.tilted(), float((paths.p.sum((1, 2, 3, 4)) * paths.r).sum())
    before = paths.r
    for t in range(1, paths.T + 1):
        after = paths.seen_from(t)
        close(after, paths.steps[t] @ before)  # the tower property
        pair = paths.pair(tilted, t)
        close((pair / pair.sum(0)).T, paths.steps[t] * before / after.unsqueeze(1))
        close(pair.sum(0), paths.pair(paths.p, t).sum(0) * after / Z)
        before = after


@pytest.mark.equation("eq-post-weights")
def test_what_the_shortcut_drops():
    """Any positive twist: its normalised chain, path by path, and the weight that repairs it."""
    paths, T = Paths(), 4
    psi = [paths.r] + [randn(4, seed=t).exp() for t in range(1, T + 1)]
    first = psi[T] / 4
    made, weight = (first / first.sum()).reshape(1, 1, 1, 1, 4), first.sum().reshape(1, 1, 1, 1, 1)
    for t in range(1, T + 1):
        step = paths.steps[t] * psi[t - 1]
        Z = step.sum(1)
        shape = [4 if s in (t - 1, t) else 1 for s in range(T + 1)]
        made = made * (step / Z.unsqueeze(1)).T.reshape(shape)
        weight = weight * (Z / psi[t]).reshape([4 if s == t else 1 for s in range(T + 1)])
    close(made.sum(), 1.0)
    f = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64).reshape(4, 1, 1, 1, 1)
    r = paths.r.reshape(4, 1, 1, 1, 1)
    close(made * weight, paths.p * r)
    close((made * weight * f).sum(), (paths.p * r * f).sum())
    off = (made * f).sum() - (paths.tilted() * f).sum()  # without them it is wrong, by what the weights add to 1
    close(off, -(made * (weight / (made * weight).sum() - 1) * f).sum())
    assert off.abs() > 0.05


@pytest.mark.equation("eq-post-heavy")
@pytest.mark.parametrize("forgets", [False, True])
def test_mean_square_of_constant_weights(forgets):
    """Path by path; with a step T that does not look at x_T the bound is Z^2 E_pi[r] E_pi[1/r]."""
    paths = Paths()
    T, r = paths.T, paths.r
    if forgets:
        paths.steps[T] = paths.steps[T].mean(0, keepdim=True).expand(4, 4)

    def on(table, *times):
        return table.reshape([4 if s in times else 1 for s in range(T + 1)])

    p, made, weight = torch.tensor(0.25).double(), on(r / r.sum(), T), (r / 4).sum()
    for t in range(1, T + 1):
        Z = paths.steps[t] @ r
        p = p * on(paths.steps[t].T, t - 1, t)
        made = made * on((paths.steps[t] * r / Z.unsqueeze(1)).T, t - 1, t)
        weight = weight * on(Z / r, t)
    close((made * weight).sum(), (p * on(r, 0)).sum())  # E[w] = Z
    start, others = made.sum(tuple(range(T))), tuple(range(T))
    given = (made * weight).sum(others) / start  # E[w | x_T]
    back = r  # r_T, by going back
    for t in range(1, T + 1):
        back = paths.steps[t] @ back
    close(given, r.mean() * back / r)
    close((start * given**2).sum(), r.mean() * (back**2 / r).mean())
    assert float((made * weight**2).sum()) > float((start * given**2).sum())
    if forgets:
        Z = (p * on(r, 0)).sum()
        close((start * given**2).sum(), Z**2 * r.mean() * (1 / r).mean())


@pytest.mark.equation("eq-post-compound")
@pytest.mark.parametrize("x", [-0.7, 0.3, 1.6])
def test_a_step_loses_order_beta(x):
    def r(v):
        return 2 + torch.sin(1.3 * v) + 0.2 * v**2

    d1, d2 = 1.3 * math.cos(1.3 * x) + 0.4 * x, -1.69 * math.sin(1.3 * x) + 0.4
    here = float(r(torch.tensor(x, dtype=torch.float64)))
    first = 0.5 * (d2 - x * d1) / here
    off = []
    for beta in (0.02, 0.01):
        z = float((density(LINE, math.sqrt(1 - beta) * x, beta) * r(LINE)).sum()) * H
        off.append((z / here - 1) / beta - first)
    assert abs(off[1]) < 0.02 and off[0] / off[1] == pytest.approx(2, rel=0.1)


@pytest.mark.equation("eq-post-square")
def test_stationary_law_of_a_multiplied_reversible_step():
    flow = randn(6, 6, seed=3).exp()
    flow = (flow + flow.T) / (flow + flow.T).sum()  # given: the flow of a reversible step
    p, r = flow.sum(1), randn(6, seed=4).exp()
    K = flow / p.unsqueeze(1)
    multiplied = K * r / (K @ r).unsqueeze(1)
    law = p * r * (K @ r)
    law = law / law.sum()
    found = np.linalg.matrix_power(multiplied.numpy(), 400)[0]
    close(law, torch.from_numpy(found))
    balance = law.unsqueeze(1) * multiplied
    close(balance, balance.T)
    lazy = 0.999 * torch.eye(6).double() + 0.001 * K  # given: small steps; there it is p r^2
    lazy_law = p * r * (lazy @ r)
    close(lazy_law / lazy_law.sum(), p * r**2 / (p * r**2).sum(), rtol=0.02)


@pytest.mark.equation("eq-post-limit")
def test_small_multiplied_steps_settle_on_the_square():
    """Normal data, an r that is no Gaussian, a grid: the chain's own stationary law, and its distance from p r^2."""
    x = torch.linspace(-5, 5, 301).double()  # given: the grid
    r = 1.2 + torch.sin(1.7 * x) + torch.exp(-((x - 1.0) ** 2))  # given: any
    p = torch.exp(-(x**2) / 2)
    off = {}
    for beta in (0.08, 0.04, 0.02):
        step = torch.exp(-((x - math.sqrt(1 - beta) * x.unsqueeze(1)) ** 2) / (2 * beta)) * r
        step = step / step.sum(1, keepdim=True)
        law = torch.linalg.matrix_power(step, 65_536)[150]
        close(law @ step, law, atol=1e-10)
        for power in (1, 2):
            limit = p * r**power / (p * r**power).sum()
            off[power, beta] = float((law - limit).abs().sum()) / 2
    assert off[2, 0.02] < 0.01 and off[1, 0.02] > 0.1
    assert off[2, 0.08] / off[2, 0.04] == pytest.approx(2, rel=0.15)
    assert off[2, 0.04] / off[2, 0.02] == pytest.approx(2, rel=0.15)


@pytest.mark.equation("eq-post-product", "eq-post-normaliser")
@pytest.mark.parametrize("mean, v, c, b, a", [(0.4, 0.7, 0.2, 1.5, 2.0), (-1.0, 0.1, 0.0, -3.0, 0.0)])
def test_a_gaussian_times_a_gaussian(mean, v, c, b, a):
    wanted = density(LINE, mean, v) * torch.exp(c + b * LINE - 0.5 * a * LINE**2)
    total = float(wanted.sum()) * H
    narrow = v / (1 + a * v)
    log_z = c + b * mean - a * mean**2 / 2 + narrow * (b - a * mean) ** 2 / 2 - math.log(1 + a * v) / 2
    assert log_z == pytest.approx(math.log(total), abs=1e-9)
    close(wanted / total, density(LINE, mean + narrow * (b - a * mean), narrow), atol=1e-9)
    tilt = Tilt(*(torch.tensor(u).double() for u in ([c], [[b]], [[a]])))
    law, ours = times(Gaussian(torch.tensor([mean]).double(), torch.tensor([v]).double().sqrt()), tilt)
    close(torch.stack([law.mean[0], law.scale[0] ** 2, ours]), [mean + narrow * (b - a * mean), narrow, log_z], 1e-6)


@pytest.mark.equation("eq-post-bits")
def test_bits_times_evidence():
    logits, b, c = (torch.tensor(v).double() for v in ([0.4, -2.0, 1.0], [1.5, 0.3, -0.7], 0.2))
    bits = all_bits(3)
    weights = Bernoulli(logits).log_prob(bits).exp() * (c + bits @ b).exp()
    close(weights.sum().log(), c + torch.log(((logits + b).exp() + 1) / (logits.exp() + 1)).sum())
    one = weights @ bits / weights.sum()
    close(torch.log(one / (1 - one)), logits + b)
    a = torch.tensor([0.3, 1.1, 2.0]).double()
    terms = torch.stack([c, -c]), torch.stack([b, -b]), torch.stack([a, a.flip(0)])
    laws, log_z = Bernoulli(logits).tilted(*terms)
    for j, (c, b, a) in enumerate(zip(*terms, strict=True)):
        weights = Bernoulli(logits).log_prob(bits).exp() * (c + bits @ b - bits.square() @ a / 2).exp()
        close(log_z[j], weights.sum().log())
        close(laws.logits[j].sigmoid(), weights @ bits / weights.sum())


@pytest.mark.equation("eq-post-guidance")
def test_a_gaussian_times_a_tangent():
    """In the plane, with a full covariance: product, normaliser, mean and covariance, point by point and by sums."""
    mu, slope, value = torch.tensor([0.4, -0.3]).double(), torch.tensor([0.9, -1.7]).double(), 0.35
    factor = torch.tensor([[0.6, 0.0], [0.3, 0.4]]).double()
    cov, x = factor @ factor.T, torch.cartesian_prod(LINE[1600:3201:8], LINE[1600:3201:8])
    law = torch.distributions.MultivariateNormal(mu, cov)
    product = (law.log_prob(x) + value + (x - mu) @ slope).exp()
    log_z = value + 0.5 * slope @ cov @ slope
    moved = torch.distributions.MultivariateNormal(mu + cov @ slope, cov)
    close(product, (log_z + moved.log_prob(x)).exp())
    total = product.sum()
    close((total * (8 * H) ** 2).log(), log_z, rtol=1e-7)
    mean = (product.unsqueeze(1) * x).sum(0) / total
    close(mean, mu + cov @ slope, rtol=1e-7)
    off = x - mean
    close(off.T @ (product.unsqueeze(1) * off) / total, cov, rtol=1e-6)
    full = Gaussian(mu.expand(1, 2), factor.expand(1, 2, 2), full=True)  # and so does the library, from psi alone
    line = conditioning.first_order(Constant(lambda x: value + torch.sin((x - mu) @ slope)), full, mu.expand(1, 2), 1)
    made, ours = times(full, line)
    close(made.mean, mu + cov @ slope)
    close(made.factor @ made.factor.mT, cov)
    close(ours, log_z)


def test_what_a_tangent_misses():
    """For psi itself: the mean is off by order v^2, log Z by (v/2) (log psi)'' and an error of order v^2."""
    mean = 0.4
    slope, bend = 1.3 * math.cos(1.3 * mean), -1.69 * math.sin(1.3 * mean)
    off = []
    for v in (0.02, 0.01):
        wanted = density(LINE, mean, v) * torch.exp(torch.sin(1.3 * LINE))
        total = float(wanted.sum()) * H
        moved = float((wanted * LINE).sum()) * H / total
        log_z = math.log(total) - (math.sin(1.3 * mean) + 0.5 * slope**2 * v)
        off.append((moved - mean - v * slope, log_z - 0.5 * v * bend))
    for k in (0, 1):
        assert off[0][k] / off[1][k] == pytest.approx(4, rel=0.15) and abs(off[1][k]) < 5e-4
    assert abs(0.5 * bend) > 0.5 * 0.5 * slope**2  # what is left out is as large as what is kept


def test_a_scaled_twist_is_no_martingale():
    """Guidance at scale 2: r_t^2 is not E[r_0^2 | x_t], and its chain without weights does not make p r^2."""
    paths = Paths()
    twist = [paths.seen_from(t) ** 2 if t else paths.r**2 for t in range(paths.T + 1)]
    assert any(float((paths.steps[t] @ twist[t - 1] / twist[t] - 1).abs().max()) > 0.05 for t in range(1, paths.T + 1))
    law = twist[-1] / twist[-1].sum()  # pi is even
    for t in range(paths.T, 0, -1):
        step = paths.steps[t] * twist[t - 1]
        law = law @ (step / step.sum(1, keepdim=True))
    wanted = paths.p.sum((1, 2, 3, 4)) * paths.r**2
    assert float((law - wanted / wanted.sum()).abs().max()) > 0.02


@pytest.mark.equation("eq-post-mixture", "eq-post-normal")
@pytest.mark.parametrize("x", [-1.1, 0.2, 1.7])
def test_exact_twists(x):
    """Against Bayes' rule on a line: E[r(x_0) | x_t] as a ratio of two integrals."""
    a, y, sigma2 = 0.6, 0.8, 0.3
    schedule = from_beta(torch.tensor([0.0, 1 - a]))

    def by_integral(prior):
        joint = prior * density(x, math.sqrt(a) * LINE, 1 - a)
        return float((joint * density(y, LINE, sigma2)).sum() / joint.sum())

    def library(target):
        model = ExactModel(target, schedule)
        psi = Expected(model, gaussian_tilt(torch.tensor([y]), math.sqrt(sigma2)))
        return float(psi(torch.tensor([[x]], dtype=torch.float64), 1).exp())

    normal = by_integral(density(LINE, 0.0, 1.0))
    assert float(density(torch.tensor(y).double(), math.sqrt(a) * x, sigma2 + 1 - a)) == pytest.approx(normal, rel=1e-6)
    w, m, v = [0.3, 0.7], [-1.0, 0.9], 0.2
    s = a * v + 1 - a
    share = [wk * float(density(torch.tensor(x).double(), math.sqrt(a) * mk, s)) for wk, mk in zip(w, m, strict=True)]
    by_hand = sum(
        pk
        / sum(share)
        * float(density(torch.tensor(y).double(), mk + v * a**0.5 / s * (x - a**0.5 * mk), v * (1 - a) / s + sigma2))
        for pk, mk in zip(share, m, strict=True)
    )
    wanted = by_integral(w[0] * density(LINE, m[0], v) + w[1] * density(LINE, m[1], v))
    assert by_hand == pytest.approx(wanted, rel=1e-6)
    target = Mixture(torch.tensor(m).reshape(-1, 1), torch.tensor(w, dtype=torch.float64), v)
    assert library(target) == pytest.approx(wanted, rel=1e-5)


def test_constant_r_is_biased_as_recorded():
    """The numbers of the record of slips: N(0, 1), r = N(x; 1, 0.5), T = 20, 100, 500; T equal steps of 8/T."""
    from dpm_lib.figures.widgets.posteriors import even_model

    normal = Mixture(torch.zeros(1, 1), torch.ones(1), 1.0)
    x, r = torch.linspace(-5, 5, 201, dtype=torch.float64), gaussian_tilt(torch.ones(1), math.sqrt(0.5))
    exact = density(x, 2 / 3, 1 / 3)
    for T, recorded in ((20, 0.09), (100, 0.13), (500, 0.15)):
        psi = conditioning.twist_of(even_model(normal, T), r, "constant")
        p = conditioning.law_on_grid(even_model(normal, T), psi, x)
        assert 0.5 * float((p - exact).abs().sum()) * 0.05 == pytest.approx(recorded, abs=0.006)
    assert float(p @ x) * 0.05 == pytest.approx(0.7996, abs=4e-4)


def test_true_steps_in_the_plane_are_normalised():
    kernel = GaussianKernel(2, short_schedule())
    law = BlendReverse(blobs())(torch.tensor([[0.2, -0.5]]).double(), 2, kernel)
    drawn = law.expand(1000).sample(rng(0))
    assert drawn.shape == (1000, 1, 2) and torch.isfinite(law.log_prob(drawn)).all()
