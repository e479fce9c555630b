"""One test per claim of the chapter on annealing: finite chains, where every path can be listed, and closed forms."""

import itertools
import math

import pytest
import torch
from problems import affine_model, close, model_law, random_schedule, rng
from scipy.stats import norm

from dpm_lib.montecarlo import ais
from dpm_lib.probability import resampling
from dpm_lib.probability.target_densities import Normal, TwoClumps

STATES, K = 4, 3


def even(steps: int) -> torch.Tensor:
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


class Finite:
    """Annealing on four states with moves that are not reversible: all 4^3 paths x_0, x_1, x_2 with Q, P and w."""

    def __init__(self) -> None:
        draw = torch.rand(2, STATES, generator=rng(1), dtype=torch.float64) + 0.1
        self.q, self.p_star = draw[0] / draw[0].sum(), 3 * draw[1]
        self.Z = float(self.p_star.sum())
        self.p = [self.q ** (1 - b) * self.p_star**b for b in even(K).tolist()]
        self.moves = {k: self._move(self.p[k]) for k in range(1, K)}
        self.paths = list(itertools.product(range(STATES), repeat=K))
        self.Q = torch.tensor([self._forward(x) for x in self.paths], dtype=torch.float64)
        self.P = torch.tensor([self._backward(x) for x in self.paths], dtype=torch.float64)
        self.w = torch.tensor(
            [
                math.prod(float(self.p[k][x[k - 1]] / self.p[k - 1][x[k - 1]]) for k in range(1, K + 1))
                for x in self.paths
            ],
            dtype=torch.float64,
        )

    @staticmethod
    def _move(p: torch.Tensor) -> torch.Tensor:
        """T[x, x'], which leaves p unchanged: a lazy Gibbs move, with a flow around a circle on top of it."""
        p = p / p.sum()
        move = 0.7 * torch.eye(STATES, dtype=p.dtype) + 0.3 * p.expand(STATES, -1)
        flow = 0.2 * float(p.min())
        for x in range(STATES):
            move[x, (x + 1) % STATES] += flow / p[x]
            move[x, x] -= flow / p[x]
        return move

    def _forward(self, x) -> float:
        return float(self.q[x[0]]) * math.prod(float(self.moves[k][x[k - 1], x[k]]) for k in range(1, K))

    def _backward(self, x) -> float:
        value = float(self.p_star[x[-1]]) / self.Z
        for k in range(1, K):
            value *= float(self.moves[k][x[k - 1], x[k]] * self.p[k][x[k - 1]] / self.p[k][x[k]])
        return value


FINITE = Finite()


@pytest.mark.equation("eq-ais-telescope")
def test_the_weight_is_the_ratio_of_two_path_densities():
    for k, move in FINITE.moves.items():
        close(FINITE.p[k] @ move, FINITE.p[k])
    close(FINITE.P.sum(), 1.0)
    close(FINITE.w * FINITE.Q, FINITE.Z * FINITE.P)


@pytest.mark.equation("eq-ais-weight")
def test_the_library_adds_up_the_weight_along_the_path():
    target, proposal, seen = TwoClumps(2), Normal(2, 2.0), []
    b = torch.tensor([0.0, 0.1, 0.4, 1.0], dtype=torch.float64)
    found = ais.annealed_importance_sampling(
        target.log_prob, proposal, b, 50, rng(0), callback=lambda k, x, w: seen.append(x)
    )
    log_p = lambda x, c: (1 - c) * proposal.log_prob(x) + c * target.log_prob(x)  # noqa: E731
    ratios = [log_p(seen[k - 1], b[k]) - log_p(seen[k - 1], b[k - 1]) for k in range(1, 4)]
    assert not torch.equal(seen[0], seen[2])
    close(found.log_weights, sum(ratios))


@pytest.mark.equation("eq-ais-unbiased")
def test_weighted_paths_are_unbiased():
    f = torch.tensor([float((x[-1] + 1) ** 2) for x in FINITE.paths], dtype=torch.float64)
    close((FINITE.Q * FINITE.w).sum(), FINITE.Z)
    close((FINITE.Q * FINITE.w * f).sum(), sum(float(FINITE.p_star[x]) * (x + 1) ** 2 for x in range(STATES)))


@pytest.mark.equation("eq-ais-jensen")
def test_the_mean_log_weight_is_low_by_a_relative_entropy():
    kl = (FINITE.Q * (FINITE.Q / FINITE.P).log()).sum()
    mean = (FINITE.Q * FINITE.w.log()).sum()
    close(mean, math.log(FINITE.Z) - kl)
    assert mean < math.log(FINITE.Z)


SHIFT, LOG_Z = 2.0, 0.7


def drag(rho: float):
    def move(path, x, ends, b, k, generator):
        fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = b * SHIFT + rho * (x - b * SHIFT) + math.sqrt(1 - rho**2) * fresh
        return x, path.ends(x)

    return move


def shifted(x: torch.Tensor) -> torch.Tensor:
    return torch.distributions.Normal(SHIFT, 1.0).log_prob(x).sum(-1) + LOG_Z


def draws(n: int, seed: int) -> torch.Tensor:
    """From the target."""
    return SHIFT + Normal(1).sample(n, rng(seed))


def dragged(steps: int, rho: float, n: int = 40_000, seed: int = 0):
    return ais.annealed_importance_sampling(shifted, Normal(1), even(steps), n, rng(seed), drag(rho))


@pytest.mark.equation("eq-ais-unbiased", "eq-ais-reverse")
def test_one_move_at_each_temperature_in_between():
    """None at 1, where the path ends, nor at 0, where it begins; the way back meets them in the other order."""
    seen, moved = [], []

    def move(path, x, ends, b, k, generator):
        moved.append((k, float(b)))
        return drag(0.5)(path, x, ends, b, k, generator)

    ais.annealed_importance_sampling(shifted, Normal(1), even(4), 10, rng(0), move, lambda k, x, log_w: seen.append(k))
    assert seen == [0, 1, 2, 3, 4] and moved == [(1, 0.25), (2, 0.5), (3, 0.75)]
    moved.clear()
    ais.reverse_annealed_importance_sampling(shifted, Normal(1), even(4), torch.ones(10, 1).double(), rng(0), move)
    assert moved == [(3, 0.75), (2, 0.5), (1, 0.25)]


@pytest.mark.equation("eq-ais-gaussian", "eq-ais-variance")
@pytest.mark.parametrize(("steps", "rho"), [(1, 0.0), (8, 0.0), (8, 0.6), (32, 0.9)])
def test_the_log_weight_of_a_dragged_normal(steps, rho):
    log_w = dragged(steps, rho).log_weights
    sums = sum(rho ** abs(i - j) for i in range(steps) for j in range(steps))
    v = SHIFT**2 * sums / steps**2
    assert v <= SHIFT**2 / steps * (1 + rho) / (1 - rho) + 1e-12
    assert abs(float(log_w.mean()) - (LOG_Z - v / 2)) < 4 * math.sqrt(v / len(log_w))
    assert abs(float(log_w.var()) / v - 1) < 4 * math.sqrt(2 / len(log_w))
    z = (log_w - (LOG_Z - v / 2)) / math.sqrt(v)
    off = torch.special.ndtr(z.sort().values) - torch.arange(1, len(z) + 1) / len(z)
    assert (off.abs() < 1.95 / math.sqrt(len(z))).all()  # Kolmogorov and Smirnov, one in a thousand


@pytest.mark.equation("eq-ais-variance")
def test_the_bound_on_the_variance_is_reached():
    """Equality for perfect moves at any K; for sticky ones in the limit, where leaving out a factor would show."""
    for steps, rho, off in ((1, 0.0, 1e-12), (7, 0.0, 1e-12), (4000, 0.5, 0.01), (4000, 0.8, 0.01)):
        lag = torch.arange(steps, dtype=torch.float64)
        v = SHIFT**2 / steps**2 * float(steps + 2 * ((steps - lag[1:]) * rho ** lag[1:]).sum())
        bound = SHIFT**2 / steps * (1 + rho) / (1 - rho)
        assert v <= bound + 1e-12 and v == pytest.approx(bound, rel=off)


@pytest.mark.equation("eq-ais-jarzynski")
def test_work_obeys_jarzynski_and_the_second_law():
    """The work added up as a physicist would: by how much the landscape rises under the particle at each step."""
    energy = lambda x, b: 0.5 * (1 - b) * x[:, 0] ** 2 + b * (0.5 * (x[:, 0] - SHIFT) ** 2 - LOG_Z)  # noqa: E731
    seen: list[torch.Tensor] = []
    found = ais.annealed_importance_sampling(
        shifted, Normal(1), even(8), 40_000, rng(0), drag(0.6), callback=lambda k, x, w: seen.append(x)
    )
    work = sum(energy(seen[k], (k + 1) / 8) - energy(seen[k], k / 8) for k in range(8))
    close(work, -found.log_weights)
    values = (-work).exp()
    assert abs(float(values.mean()) - math.exp(LOG_Z)) < 4 * float(values.std()) / math.sqrt(len(work))
    assert 0 < float(work.mean()) + LOG_Z < 1


@pytest.mark.equation("eq-ais-reverse")
def test_paths_from_the_target_bound_from_above():
    close((FINITE.P / FINITE.w).sum(), 1 / FINITE.Z)
    kl = (FINITE.P * (FINITE.P / FINITE.Q).log()).sum()
    close((FINITE.P * FINITE.w.log()).sum(), math.log(FINITE.Z) + kl)
    start = draws(40_000, 1)
    back = ais.reverse_annealed_importance_sampling(shifted, Normal(1), even(8), start, rng(2), drag(0.6))
    assert abs(float(back.log_z) + LOG_Z) < 4 * float(back.log_z_stderr)
    assert -float(back.elbo) > LOG_Z


@pytest.mark.equation("eq-ais-reverse")
def test_a_target_with_walls_leaves_only_the_inequality():
    """p* = 1 on (-1, 1): E_P[1/w] is Q(P > 0) / Z, and its log misses log Z = log 2 by log of Normal's mass there."""
    box = lambda x: torch.where(x[:, 0].abs() < 1, 0.0, -torch.inf).double()  # noqa: E731
    start = 2 * torch.rand(20_000, 1, generator=rng(1), dtype=torch.float64) - 1
    back = ais.reverse_annealed_importance_sampling(box, Normal(1), even(1), start, rng(2))
    inside = norm.cdf(1) - norm.cdf(-1)
    assert abs(float(back.log_z) - math.log(inside / 2)) < 4 * float(back.log_z_stderr)
    assert -float(back.elbo) > math.log(2)


@pytest.mark.equation("eq-ais-crooks")
def test_the_two_laws_of_work():
    work = -FINITE.w.log()
    for value in work.unique()[::7]:
        same = (work - value).abs() < 1e-12
        assert same.any()
        close(FINITE.Q[same].sum() * (-value).exp(), FINITE.Z * FINITE.P[same].sum())
    # Measured: backward paths of the dragged normal have the density that forward ones imply.
    start = draws(40_000, 3)
    back = ais.reverse_annealed_importance_sampling(shifted, Normal(1), even(8), start, rng(4), drag(0.0))
    v = SHIFT**2 / 8
    for w in (-1.2, -0.7, -0.3):
        share = ((back.log_weights - w).abs() < 0.05).double()
        forward = norm(-LOG_Z + v / 2, math.sqrt(v)).pdf(w)
        wanted = forward * math.exp(-w - LOG_Z) * 0.1
        assert abs(float(share.mean()) - wanted) < 4 * float(share.std()) / math.sqrt(len(share)) + 0.003


@pytest.mark.equation("eq-ais-bennett")
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 2), (1, 100)])
def test_paths_of_both_directions_agree_on_z(n, m):
    """Over all listed paths: the expected chance of being a backward path adds up to m at Z, and at no other value."""

    def total(z: float) -> float:
        chance = m * FINITE.w / z / (n + m * FINITE.w / z)
        return float((n * FINITE.Q * chance + m * FINITE.P * chance).sum())

    close(total(FINITE.Z), m)
    bayes = m * FINITE.P / (n * FINITE.Q + m * FINITE.P)
    close(FINITE.w * m / FINITE.Z / (n + FINITE.w * m / FINITE.Z), bayes)
    for factor in (0.99, 1.01):
        assert (total(factor * FINITE.Z) < m) == (factor > 1)
    # The library's root, from samples of different sizes, is the root of the printed sum.
    forward = ais.annealed_importance_sampling(shifted, Normal(1), even(4), 40 * n, rng(1), drag(0.6))
    start = draws(40 * m, 2)
    back = ais.reverse_annealed_importance_sampling(shifted, Normal(1), even(4), start, rng(3), drag(0.6))
    log_z, stderr = ais.bennett(forward, back)
    w = torch.cat([forward.log_weights, -back.log_weights]).exp()
    close((m * w / math.exp(log_z) / (n + m * w / math.exp(log_z))).sum(), 40 * m, rtol=1e-9)
    assert abs(log_z - LOG_Z) < 4 * stderr


@pytest.mark.equation("eq-ais-bennett")
def test_the_error_of_bennetts_estimate_is_least():
    """Other weightings alpha(w) of the same identity E_Q[w alpha] = Z E_P[alpha] have a larger variance: to first
    order Var = E_Q[(w alpha)^2] / (n Z^2 E_P[alpha]^2) + E_P[alpha^2] / (m E_P[alpha]^2) - 1/n - 1/m."""
    n, m, Z, w, Q, P = 3, 5, FINITE.Z, FINITE.w, FINITE.Q, FINITE.P

    def variance(alpha: torch.Tensor) -> float:
        mean = (P * alpha).sum()
        close((Q * w * alpha).sum(), Z * mean)
        first = (Q * (w * alpha).square()).sum() / (n * Z**2)
        return float((first + (P * alpha.square()).sum() / m) / mean.square()) - 1 / n - 1 / m

    best = 1 / (n + m * w / Z)
    least = variance(best)
    chance = m * w / Z * best
    close(least, 1 / ((n * Q + m * P) * chance * (1 - chance)).sum() - 1 / n - 1 / m)  # as the library has it
    others = [torch.ones_like(w), 1 / w, w.rsqrt(), 1 / (n + 2 * m * w / Z), best * (1 + 0.1 * w.sin())]  # given
    assert all(variance(alpha) > least for alpha in others)


@pytest.mark.equation("eq-ais-resample")
def test_resampling_keeps_weighted_means():
    x = Normal(1).sample(40, rng(0))
    log_w = 1.5 * Normal(1).sample(40, rng(1))[:, 0]
    before = float((log_w.exp() * x[:, 0] ** 2).mean())
    after = []
    generator = rng(2)
    for _ in range(4000):
        copies, _, log_mean = resampling.resample(x, torch.zeros(2, 40, dtype=x.dtype), log_w, generator)
        after.append(float((log_mean.exp() * copies[:, 0] ** 2).mean()))
    values = torch.tensor(after, dtype=torch.float64)
    assert abs(float(values.mean()) - before) < 4 * float(values.std()) / math.sqrt(len(values))
    close(log_mean, torch.logsumexp(log_w, 0) - math.log(40))


@pytest.mark.equation("eq-ais-cost")
@pytest.mark.parametrize(("steps", "rho"), [(8, 0.0), (8, 0.3), (32, 0.6)])
def test_the_error_at_equal_evaluations(steps, rho):
    n, runs = 25, 8000
    evaluations = n * steps
    start = draws(40_000, 1)
    back = ais.reverse_annealed_importance_sampling(shifted, Normal(1), even(steps), start, rng(2), drag(rho))
    v = 2 * (-float(back.elbo) - LOG_Z)  # twice the relative entropy of P to Q, from paths walked back
    z = (dragged(steps, rho, n * runs).log_weights - LOG_Z).reshape(runs, n).exp().mean(1)
    squares = (z - 1).square()
    mean, error = float(squares.mean()), float(squares.std()) / math.sqrt(runs)
    assert mean / error > 20
    assert abs(mean - steps / evaluations * math.expm1(v)) < 4 * error + 8 * math.sqrt(v / 40_000) * math.exp(v) / n


@pytest.mark.equation("eq-ais-diffusion")
def test_a_diffusion_for_a_path():
    model = affine_model(random_schedule(5, seed=3), seed=2)
    x0 = torch.tensor([[0.3, -0.4], [1.0, 0.8]], dtype=torch.float64)
    found = model.trajectory_weights(x0, 40_000, rng(5))
    off = found.log_z - model_law(model).log_prob(x0)
    assert bool((off.abs() < 4 * found.log_z_stderr).all())
