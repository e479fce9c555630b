"""One test per claim of the chapter on Markovian VAEs: both sides by different routes.

Finite ladders are checked by plain loops over paths, on crooked ladders whose data, prior and generator have nothing to
do with each other. Monte Carlo comparisons allow four standard errors, with fixed seeds.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import blobs, close, close_mean, exact_model, randn, random_schedule, rng
from scipy.integrate import quad
from scipy.stats import norm

from dpm_lib.diffusion import bound
from dpm_lib.probability import energy_distance
from dpm_lib.probability.distributions import Gaussian
from dpm_lib.vae import hierarchical, markovian_vae
from dpm_lib.vae.autoregressive import Autoregressive
from dpm_lib.vae.gaussian_vae import GaussianVAE

SIZES = (4, 3, 5, 2)


def crooked(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> hierarchical.FiniteVAE:
    """Random laws on sets of different sizes."""
    draw = np.random.default_rng(seed).dirichlet
    pairs = list(itertools.pairwise(sizes))
    return hierarchical.FiniteVAE(
        draw(np.ones(sizes[0])), draw(np.ones(sizes[-1])),
        [draw(np.ones(b), a) for a, b in pairs], [draw(np.ones(a), b) for a, b in pairs],
    )  # fmt: skip


class Naive:
    """All paths (y, z_1, ..., z_N) one by one, in plain Python."""

    def __init__(self, ladder):
        self.ladder, N = ladder, ladder.N
        sizes = [len(ladder.data), *(table.shape[1] for table in ladder.encoder)]
        self.paths = list(itertools.product(*(range(size) for size in sizes)))
        self.up = {x: math.prod(ladder.encoder[i][x[i], x[i + 1]] for i in range(N)) for x in self.paths}
        self.q = {x: ladder.data[x[0]] * self.up[x] for x in self.paths}
        self.p = {
            x: ladder.prior[x[-1]] * math.prod(ladder.generator[i][x[i + 1], x[i]] for i in range(N))
            for x in self.paths
        }

    def law(self, *places, of=None):
        out: dict = {}
        for x, q in (of or self.q).items():
            key = tuple(x[i] for i in places)
            out[key] = out.get(key, 0.0) + q
        return out

    def mean(self, f):
        return sum(q * f(x) for x, q in self.q.items() if q > 0)

    def H(self, *places, given=()):
        joint, condition = self.law(*places, *given), self.law(*given)
        return -sum(q * math.log(q / condition[k[len(places) :]]) for k, q in joint.items())

    def I(self, place):  # noqa: E743
        return self.H(0) - self.H(0, given=(place,))

    def step_kl(self, rung, start):
        """E KL(P_enc(z_{rung-1} | z_l [, y]) || P_gen(z_{rung-1} | z_l))."""
        rest = (rung, 0) if start else (rung,)
        joint, condition = self.law(rung - 1, *rest), self.law(*rest)
        return sum(
            q * math.log(q / condition[k[1:]] / self.ladder.generator[rung - 1][k[1], k[0]]) for k, q in joint.items()
        )


LADDER = crooked()
NAIVE = Naive(LADDER)
ELBO = NAIVE.mean(lambda x: math.log(NAIVE.p[x] / NAIVE.up[x]))


@pytest.mark.equation("eq-vae-weight")
def test_mean_weight_is_the_probability():
    p = NAIVE.law(0, of=NAIVE.p)
    for y in range(SIZES[0]):
        weights = sum(NAIVE.up[x] * (NAIVE.p[x] / NAIVE.up[x]) for x in NAIVE.paths if x[0] == y)
        assert weights == pytest.approx(LADDER.model_law[y], abs=1e-14) == p[(y,)]


@pytest.mark.equation("eq-vae-weight")
def test_mean_weight_of_sampled_ways_is_the_probability_by_quadrature():
    vae, y = GaussianVAE(1, 1, 2, 8, 1, rng(3), kept=0.6).requires_grad_(False), torch.tensor([[0.3]]).double()
    vae.encoder.linear[-1].bias[1] = 0.5  # a wide encoder: the weights' variance is small
    z = torch.linspace(-8, 8, 801, dtype=torch.float64).unsqueeze(1)
    step = float(z[1] - z[0])
    down = vae.generate(z, 2).log_prob(z.unsqueeze(1)).exp()  # [z_1, z_2]
    first = down @ vae.prior.expand(801).log_prob(z).exp() * step
    exact = float(first @ vae.generate(z, 1).log_prob(y).exp() * step)
    weights = markovian_vae.trajectory_weights(vae, y, 40_000, rng(4)).log_weights.exp().squeeze(0)
    close_mean(weights, exact)
    close(weights.mean(), exact, rtol=0.1)  # so the error is small


@pytest.mark.equation("eq-vae-weight")
def test_a_deterministic_encoder_may_miss_paths_and_then_the_mean_is_too_low():
    """By the probability of the paths that it misses; of the one path that it takes, the log is the ELBO."""
    narrow = crooked((4, 3))
    sure = np.eye(3)[[0, 1, 2, 2]]
    ladder = hierarchical.FiniteVAE(narrow.data, narrow.prior, [sure], narrow.generator)
    log_enc, log_gen = ladder.paths
    seen = np.where(log_enc > -np.inf, np.exp(log_gen), 0).sum(1)
    missed = np.where(log_enc > -np.inf, 0, np.exp(log_gen)).sum(1)
    close(seen + missed, ladder.model_law)
    close(ladder.elbo, ladder.data @ np.log(seen))
    assert (missed > 1e-3).all()


@pytest.mark.equation("eq-vae-elbo")
def test_elbo_is_one_mean_and_a_bound():
    assert LADDER.elbo == pytest.approx(ELBO, abs=1e-13)
    for seed in range(5):
        ladder = crooked(seed=seed)
        assert ladder.elbo < ladder.log_likelihood


@pytest.mark.equation("eq-vae-slack")
def test_slack_is_the_divergence_of_the_ways():
    p = NAIVE.law(0, of=NAIVE.p)
    divergence = NAIVE.mean(lambda x: math.log(NAIVE.up[x] / (NAIVE.p[x] / p[x[:1]])))
    assert LADDER.log_likelihood - LADDER.elbo == pytest.approx(divergence, abs=1e-13)
    assert divergence > 0.1


@pytest.mark.equation("eq-vae-turn")
def test_the_encoder_turned_round_given_y():
    last = NAIVE.law(3, 0)
    for x in NAIVE.paths:
        product = last[x[3], x[0]] / LADDER.data[x[0]]
        for rung in (2, 3):
            product *= NAIVE.law(rung - 1, rung, 0)[x[rung - 1], x[rung], x[0]] / NAIVE.law(rung, 0)[x[rung], x[0]]
        assert product == pytest.approx(NAIVE.up[x], rel=1e-12)


@pytest.mark.equation("eq-vae-elbo-kl")
def test_three_parts_make_the_elbo():
    reconstruction = NAIVE.mean(lambda x: math.log(LADDER.generator[0][x[1], x[0]]))
    prior = sum(q * math.log(q / LADDER.data[y] / LADDER.prior[z]) for (z, y), q in NAIVE.law(3, 0).items())
    kl = [NAIVE.step_kl(rung, True) for rung in (2, 3)]
    assert reconstruction - sum(kl) - prior == pytest.approx(ELBO, abs=1e-13)
    assert list(LADDER.terms().values()) == pytest.approx([reconstruction, -kl[0], -kl[1], -prior], abs=1e-13)


@pytest.mark.equation("eq-vae-between")
def test_the_true_step_down_between():
    for rung in (2, 3):
        triple, pair, last = NAIVE.law(0, rung - 1, rung), NAIVE.law(rung - 1, rung), NAIVE.law(rung)
        up = NAIVE.law(0, rung)
        first = sum(q * math.log(q / up[y, z] / (pair[x, z] / last[(z,)])) for (y, x, z), q in triple.items())
        second = sum(q * math.log(q / last[(z,)] / LADDER.generator[rung - 1][z, x]) for (x, z), q in pair.items())
        assert first == pytest.approx(NAIVE.I(rung - 1) - NAIVE.I(rung), abs=1e-13)
        assert first + second == pytest.approx(NAIVE.step_kl(rung, True), abs=1e-13)


@pytest.mark.equation("eq-vae-rung")
def test_a_rung_costs_what_it_forgets_and_what_it_loses():
    costs, losses = [-v for v in LADDER.terms().values()], list(LADDER.losses().values())
    for rung in (1, 2, 3):
        before = NAIVE.H(0) if rung == 1 else NAIVE.I(rung - 1)
        assert costs[rung - 1] == pytest.approx(before - NAIVE.I(rung) + NAIVE.step_kl(rung, False), abs=1e-13)
        assert losses[rung - 1] == pytest.approx(NAIVE.step_kl(rung, False), abs=1e-13)
    last = NAIVE.law(3)
    miss = sum(q * math.log(q / LADDER.prior[z]) for (z,), q in last.items())
    assert costs[3] == pytest.approx(NAIVE.I(3) + miss, abs=1e-13)
    assert LADDER.information == pytest.approx([NAIVE.H(0), *(NAIVE.I(rung) for rung in (1, 2, 3))], abs=1e-13)


@pytest.mark.equation("eq-vae-account")
def test_the_gap_is_the_sum_of_the_losses():
    assert NAIVE.H(0) + sum(LADDER.losses().values()) == pytest.approx(-ELBO, abs=1e-13)
    assert min(LADDER.losses().values()) > 0.01
    best = LADDER.reversed()
    assert best.elbo == pytest.approx(-NAIVE.H(0), abs=1e-13)


@pytest.mark.equation("eq-vae-autoregressive")
def test_weights_of_an_autoregressive_model_do_not_vary():
    generator = np.random.default_rng(1)
    auto = Autoregressive([torch.from_numpy(generator.dirichlet(np.ones(3), 3**i)) for i in range(4)])
    y = torch.randint(0, 3, (20, 4), generator=rng(0))
    weights = markovian_vae.trajectory_weights(auto, y, 5, rng(1)).log_weights
    chain = torch.tensor(
        [
            sum(math.log(auto.tables[i][int("0" + "".join(map(str, s[:i])), 3), s[i]]) for i in range(4))
            for s in y.tolist()
        ]
    )
    close(weights, chain.double().unsqueeze(1).expand(20, 5), rtol=1e-6)
    terms = markovian_vae.terms(auto, y, rng(2))
    close(terms.elbo, auto.log_prob(y))
    close(terms.prior, torch.zeros(20))


@pytest.mark.equation("eq-vae-two-step")
def test_marginal_and_posterior_of_the_gaussian_rungs():
    vae = GaussianVAE(2, 1, 3, 8, 1, rng(3), kept=0.6)
    y = randn(1, 2, seed=1)
    with torch.no_grad():
        first, c = vae.encode(y, 1), float(vae.kept[2])
        marginal, z = vae.marginal(first, 2), torch.tensor([[0.7]]).double()
        posterior = vae.posterior(first, z, 2)

        def joint(v):
            v = torch.tensor([[v]]).double()
            return float((first.log_prob(v) + vae.encode(v, 2).log_prob(z)).exp())

        total = quad(joint, -8, 8, epsabs=1e-12)[0]
        assert total == pytest.approx(float(marginal.log_prob(z).exp()), rel=1e-8)
        mean = quad(lambda v: v * joint(v) / total, -8, 8, epsabs=1e-12)[0]
        square = quad(lambda v: v * v * joint(v) / total, -8, 8, epsabs=1e-12)[0]
    assert c == pytest.approx(0.6)
    assert mean == pytest.approx(float(posterior.mean), rel=1e-7)
    assert square - mean**2 == pytest.approx(float(posterior.scale) ** 2, rel=1e-6)


@pytest.mark.equation("eq-vae-diffusion")
def test_the_ends_of_the_ladder_are_those_of_the_bound():
    diffusion = exact_model(blobs(), random_schedule(5))
    kernel = diffusion.kernel
    y = blobs().sample(20_000, rng(0))
    prior, edge, entropy_T, entropy_1 = bound.ends(kernel, y)
    terms = markovian_vae.terms(markovian_vae.Diffusion(diffusion), y, rng(1))
    close_mean(terms.reconstruction - terms.prior, float((prior + edge + entropy_T - entropy_1).mean()))
    paired = terms.reconstruction - terms.prior - (prior + edge + entropy_T - entropy_1)
    close_mean(paired, 0.0)
    close(kernel.marginal(y, 5).kl(kernel.prior), -entropy_T - prior)


@pytest.mark.equation("eq-vae-judge")
def test_the_best_judge_is_a_ratio_and_leaves_the_jensen_shannon_divergence():
    p, q = (np.random.default_rng(s).dirichlet(np.ones(6)) for s in (0, 1))

    def loss(odds):
        return float(p @ np.log1p(np.exp(-odds)) + q @ np.log1p(np.exp(odds)))

    best = np.log(p / q)
    middle = (p + q) / 2
    js = (p @ np.log(p / middle) + q @ np.log(q / middle)) / 2
    assert loss(best) == pytest.approx(2 * math.log(2) - 2 * js, abs=1e-14)
    for seed in range(20):
        other = best + 0.1 * np.random.default_rng(seed).normal(size=6)
        assert loss(other) > loss(best)


def test_the_other_loss_of_the_generator_follows_another_divergence():
    """The gradient of E_g log(1 + e^-D) with the best judge held fixed, in the logits of g: KL(g || p) less both."""
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    logits = torch.tensor([0.1, -0.4, 0.7, 0.2], dtype=torch.float64, requires_grad=True)

    def kl(a, b):
        return (a * (a / b).log()).sum()

    g = torch.softmax(logits, 0)
    odds = (p / g).log().detach()
    (slope,) = torch.autograd.grad((g * torch.nn.functional.softplus(-odds)).sum(), logits, retain_graph=True)
    middle = (p + g) / 2
    (exact,) = torch.autograd.grad(kl(g, p) - kl(p, middle) - kl(g, middle), logits)
    close(slope, exact)


@pytest.mark.equation("eq-vae-cdf")
def test_energy_distance_on_the_line_is_an_integral_of_cdfs():
    shift, scale = 0.4, 1.3
    exact = 2 * quad(lambda v: (norm.cdf(v) - norm.cdf((v - shift) / scale)) ** 2, -12, 12)[0]

    def mean_abs(mean, std):
        return std * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / 2 / std**2) + mean * (1 - 2 * norm.cdf(-mean / std))

    apart = mean_abs(shift, math.hypot(1, scale))
    closed = 2 * apart - mean_abs(0, math.sqrt(2)) - mean_abs(0, scale * math.sqrt(2))
    assert exact == pytest.approx(closed, abs=1e-9)
    x, y = (
        Gaussian(torch.full((40_000, 1), m).double(), torch.full((1,), s).double())
        for m, s in ((0.0, 1.0), (shift, scale))
    )
    value, error = energy_distance.estimate(x.sample(rng(0)), y.sample(rng(1)), blocks=40)
    assert abs(value - exact) < 4 * error
