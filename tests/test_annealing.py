"""Annealing: answers within standard errors of closed forms, and errors that say what is wrong and where."""

import math

import pytest
import torch
from problems import close, rng
from scipy.stats import kstest

from dpm_lib import annealing
from dpm_lib.annealing import Normal
from dpm_lib.targets import Banana, TwoClumps

ENDS = torch.tensor([0.0, 1.0])


def even(steps: int) -> torch.Tensor:
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


TARGETS = [TwoClumps(1, share=0.8), TwoClumps(2, distance=4.0), Banana(3, std=1.2)]


@pytest.mark.parametrize("target", TARGETS, ids=repr)
@pytest.mark.parametrize("steps", [4, 40])
def test_ais_finds_log_z(target, steps):
    q = Normal(target.dim, 2.5)
    found = annealing.annealed_importance_sampling(target.log_prob, q, even(steps), 20_000, rng(0))
    assert abs(float(found.log_z)) < 4 * float(found.log_z_stderr)


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_bounds_bracket_the_truth(target):
    q, walk = Normal(target.dim, 2.5), annealing.RandomWalk(0.8, moves=2)
    gaps = []
    for steps in (5, 40):
        b, draws = even(steps), target.sample(5000, rng(1))
        low = annealing.annealed_importance_sampling(target.log_prob, q, b, 5000, rng(2), walk).elbo
        high = -annealing.reverse_annealed_importance_sampling(target.log_prob, q, b, draws, rng(3), walk).elbo
        assert low < 0 < high
        gaps.append(float(high - low))
    assert gaps[1] < 0.5 * gaps[0]


@pytest.mark.parametrize("options", [{}, {"temperatures": even(20)}, {"threshold": 1.0, "keep": 0.5, "chain": 10}])
@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_smc_keeps_its_books(target, options):
    q = Normal(target.dim, 2.5)
    runs = [
        annealing.sequential_monte_carlo(target.log_prob, q, 500, rng(seed), **options).log_z.exp()
        for seed in range(60)
    ]
    z = torch.stack(runs)
    assert abs(float(z.mean()) - 1) < 4 * float(z.std()) / math.sqrt(len(z))


def test_smc_without_resampling_is_ais():
    target, q, walk = TwoClumps(2), Normal(2, 2.0), annealing.RandomWalk(0.7)
    smc = annealing.sequential_monte_carlo(target.log_prob, q, 100, rng(0), even(5), threshold=0.0, transition=walk)
    ais = annealing.annealed_importance_sampling(target.log_prob, q, even(5), 100, rng(0), walk)
    close(smc.log_weights, ais.log_weights)
    close(smc.x, ais.x)


def test_resampled_draws_follow_the_target():
    target, q = TwoClumps(1, distance=3.0), Normal(1, 2.0)
    found = annealing.annealed_importance_sampling(target.log_prob, q, even(30), 40_000, rng(0))
    index = torch.multinomial(found.probabilities, 2000, generator=rng(1))
    exact = target.sample(50_000, rng(2))[:, 0].numpy()
    assert kstest(found.x[index, 0].numpy(), exact).pvalue > 1e-3


def test_metropolis_leaves_the_target_alone():
    target = TwoClumps(1, distance=2.0)
    path = annealing.Path(target.log_prob, Normal(1))
    x = target.sample(4000, rng(0))
    ends = path.ends(x)
    for step in range(20):
        x, ends, moved = annealing.metropolis_step(x, path.ends, ends, 1.0, 1.0, rng(step + 1))
    assert 0.2 < float(moved.double().mean()) < 0.95
    close(ends, path.ends(x))
    assert kstest(x[:, 0].numpy(), target.sample(50_000, rng(50))[:, 0].numpy()).pvalue > 1e-3


def test_tuning_leaves_the_main_run_unbiased():
    target, q = Banana(3, std=1.2), Normal(3, 2.0)
    b, walk = annealing.tune(target.log_prob, q, 128, rng(0), 30)
    assert len(b) == 31 and b[0] == 0 and b[-1] == 1 and bool((b.diff() > 0).all())
    found = annealing.annealed_importance_sampling(target.log_prob, q, b, 20_000, rng(1), walk)
    assert abs(float(found.log_z)) < 4 * float(found.log_z_stderr)


@pytest.mark.parametrize("target", [TwoClumps(2, distance=4.0), Banana(3, std=1.2), TwoClumps(5)], ids=repr)
def test_tuned_runs_are_unbiased(target):
    """E[w] = Z over pilots and runs, whether the pilot asks for one temperature or for many."""
    z, q, numbers = [], Normal(target.dim, 2.5), []
    for seed in range(100 if target.dim < 5 else 20):
        b, walk = annealing.tune(target.log_prob, q, 32, rng(2 * seed))
        found = annealing.annealed_importance_sampling(target.log_prob, q, b, 100, rng(2 * seed + 1), walk)
        z.append(float(found.log_z.exp()))
        numbers.append(len(b) - 1)
    z = torch.tensor(z, dtype=torch.float64)
    assert abs(float(z.mean()) - 1) < 4 * float(z.std()) / math.sqrt(len(z))
    assert (min(numbers) == 1) if target.dim < 5 else (max(numbers) > 10), numbers


def test_one_temperature_or_many():
    target, q = TwoClumps(2), Normal(2, 3.0)
    assert [len(annealing.tune(target.log_prob, q, 128, rng(seed))[0]) - 1 for seed in range(5)] == [1] * 5
    target, q = Banana(10), Normal(10, 3.0)
    assert all(len(annealing.tune(target.log_prob, q, 128, rng(seed))[0]) > 300 for seed in range(3))
    # v = c / K, as for perfect moves: K e^v at K = 4 c is the less of the two if 4 c e^(1/4) < e^c.
    for c in (0.5, 2.0, 2.7, 2.9, 8.0, 20.0):
        many = annealing.best_number(c, 5, c / 5)
        assert many == (1 if math.exp(c) < max(5, 4 * c) * math.exp(0.25) else max(5, math.ceil(4 * c)))


def test_the_excess_of_a_dragged_normal_is_the_variance_of_its_log_weight():
    """What ``tune`` measures: v = 2 KL(P || Q) of paths walked back is Var log w where log w is Gaussian."""
    shifted, q = Normal(1), Normal(1)
    log_p = lambda x: shifted.log_prob(x - 1.5) + 0.7  # noqa: E731
    perfect = lambda path, x, ends, b, k, g: ((y := 1.5 * b + q.sample(len(x), g)), path.ends(y))  # noqa: E731
    for steps in (1, 9):
        draws = 1.5 + q.sample(20_000, rng(0))
        back = annealing.reverse_annealed_importance_sampling(log_p, q, even(steps), draws, rng(1), perfect)
        v, stderr = 1.5**2 / steps, 2 * float(back.log_weights.std()) / math.sqrt(back.n)
        assert abs(-2 * float(back.elbo + 0.7) - v) < 4 * stderr


def test_smc_ends_at_the_last_weights():
    target, q, seen = TwoClumps(2), Normal(2, 2.0), []
    counted = lambda x: (seen.append(len(x)), target.log_prob(x))[1]  # noqa: E731
    found = annealing.sequential_monte_carlo(counted, q, 100, rng(0), even(5), threshold=1.0)
    assert sum(seen) == 500, "the start and four moves: none at b = 1"
    assert found.ess < 100


def test_noise_of_the_walk_is_standard_normal():
    x, flat = torch.zeros(50_000, 2, dtype=torch.float64), lambda x: torch.zeros(2, len(x), dtype=torch.float64)
    y, _, moved = annealing.metropolis_step(x, flat, flat(x), 1.0, 1.0, rng(0))
    assert y.dtype == torch.float64 and bool(moved.all())
    for column in (y[:, 0], -y[:, 1], (y[:, 0] + y[:, 1]) / math.sqrt(2)):
        assert kstest(column.numpy(), "norm").pvalue > 1e-3


def test_next_temperature_keeps_the_share_it_should():
    gain = 3 * Normal(1).sample(1000, rng(0))[:, 0]
    log_w = Normal(1).sample(1000, rng(1))[:, 0]
    b = annealing.next_temperature(log_w, gain, 0.2, keep=0.9)
    share, v = torch.softmax(log_w, 0), ((b - 0.2) * gain).exp()
    assert float((share * v).sum() ** 2 / (share * v * v).sum()) == pytest.approx(0.9, abs=2e-3)
    assert annealing.next_temperature(log_w, 1e-3 * gain, 0.2) == 1.0


def test_a_target_with_walls():
    inside = lambda x: torch.where(x[:, 0].abs() < 1, 0.0, -torch.inf).double()  # noqa: E731
    found = annealing.annealed_importance_sampling(inside, Normal(1), even(10), 40_000, rng(0))
    assert abs(float(found.log_z) - math.log(2)) < 4 * float(found.log_z_stderr)


def test_simulated_annealing_finds_the_lowest_valley():
    energy = lambda x: (0.3 * x.square() + 2 * (1 - torch.cos(2 * math.pi * x))).sum(-1)  # noqa: E731
    start = 3 * Normal(2).sample(200, rng(0))
    found = []
    for cooling in (torch.full((2000,), 1e-3), torch.logspace(0.5, -1.5, 2000)):
        best, low = annealing.simulated_annealing(energy, start, cooling, rng(1), step=0.3)
        close(low, energy(best))
        assert bool((low <= energy(start)).all())
        found.append(float((low < 0.25).double().mean()))
    assert found[1] > 0.5 and found[1] > 2 * found[0]


@pytest.mark.parametrize(
    ("b", "message"),
    [
        ([0.1, 1.0], "temperatures: 0.1 at index 0: they must run from 0 to 1"),
        ([0.0, 0.5, 0.9], "temperatures: 0.9 at index 2: they must run from 0 to 1"),
        ([0.0, 0.5, 0.5, 1.0], "temperatures: 0.5 at index 2 after 0.5: they must increase"),
        ([0.0], r"temperatures: shape \(1,\)"),
        ([0.0, math.nan, 1.0], "temperatures: nan at index 1"),
    ],
)
def test_bad_temperatures_are_named(b, message):
    with pytest.raises(ValueError, match=message):
        annealing.annealed_importance_sampling(
            TwoClumps(1).log_prob, Normal(1), torch.tensor(b, dtype=torch.float64), 5, rng(0)
        )


def test_other_bad_input_is_named():
    target, q = TwoClumps(1), Normal(1)
    nan = lambda x: torch.where(x[:, 0] > 0, torch.nan, 0.0).double()  # noqa: E731
    with pytest.raises(ValueError, match=r"log_target: nan at particle \d+, x = \["):
        annealing.annealed_importance_sampling(nan, q, ENDS, 50, rng(0))
    with pytest.raises(ValueError, match="n: 0: need at least 1"):
        annealing.annealed_importance_sampling(target.log_prob, q, ENDS, 0, rng(0))
    with pytest.raises(ValueError, match=r"log_target: shape \(5, 1\)"):
        annealing.annealed_importance_sampling(lambda x: x, q, ENDS, 5, rng(0))
    with pytest.raises(ValueError, match="minus infinity at all 10 particles"):
        annealing.sequential_monte_carlo(lambda x: torch.full((len(x),), -torch.inf).double(), q, 10, rng(0), even(2))
    with pytest.raises(ValueError, match=r"keep: 1\.5"):
        annealing.sequential_monte_carlo(target.log_prob, q, 10, rng(0), keep=1.5)
    with pytest.raises(ValueError, match="chain: 10: needs n >= 2 chain"):
        annealing.sequential_monte_carlo(target.log_prob, q, 10, rng(0), chain=10)
    with pytest.raises(ValueError, match=r"temperatures: 2\.0 at index 1: they must be positive, and not rise"):
        annealing.simulated_annealing(lambda x: x[:, 0], torch.zeros(1, 1), torch.tensor([1.0, 2.0]), rng(0))


# --- Walls, dependence, precision ---


def test_walls_stop_neither_rule_nor_move():
    """p* = 1 on (-1/2, 1/2), so Z = 1: the particles outside are lost, and neither rule nor move waits for them."""
    box = lambda x: torch.where(x[:, 0].abs() < 0.5, 0.0, -torch.inf).double()  # noqa: E731
    q = annealing.Normal(1)
    for options in ({}, {"transition": annealing.RandomWalk()}):
        z = torch.stack(
            [annealing.sequential_monte_carlo(box, q, 400, rng(s), **options).log_z for s in range(60)]
        ).exp()
        assert abs(float(z.mean()) - 1) < 4 * float(z.std()) / math.sqrt(len(z)) + 1 / 400
    b, walk = annealing.tune(box, q, 200, rng(0))
    found = annealing.annealed_importance_sampling(box, q, b, 4000, rng(1), walk)
    assert abs(float(found.log_z)) < 4 * float(found.log_z_stderr)


def test_resampled_particles_do_not_claim_an_error():
    found = annealing.sequential_monte_carlo(TwoClumps(2).log_prob, annealing.Normal(2, 3.0), 200, rng(0))
    assert torch.isfinite(found.log_z) and found.mean().shape == (2,)
    with pytest.raises(TypeError, match="not independent; repeat the run"):
        _ = found.log_z_stderr


def test_resampling_never_draws_a_particle_of_weight_zero():
    n = 200_000
    log_w = torch.rand(n, generator=rng(3)).log()
    log_w[-1] = -torch.inf
    x = torch.arange(n, dtype=torch.float32)[:, None]
    for seed in range(50):
        drawn, _, _ = annealing.resample(x, torch.zeros(2, n), log_w, rng(seed))
        assert drawn.max() < n - 1


def test_a_search_may_have_walls_but_no_bottomless_pit():
    start, cooling = torch.zeros(5, 1, dtype=torch.float64), torch.linspace(1, 0.1, 5)
    walled = lambda x: torch.where(x[:, 0] > 0.5, torch.inf, x[:, 0] ** 2)  # noqa: E731
    best, _ = annealing.simulated_annealing(walled, start, cooling, rng(0))
    assert (best <= 0.5).all()
    with pytest.raises(ValueError, match="energy: inf at particle 0"):
        annealing.simulated_annealing(lambda x: torch.full_like(x[:, 0], -torch.inf), start, cooling, rng(0))


def test_chains_of_no_length_are_refused():
    with pytest.raises(ValueError, match="chain: 0: must be at least 1"):
        annealing.sequential_monte_carlo(TwoClumps(1).log_prob, annealing.Normal(1), 10, rng(0), chain=0)
