"""Temperatures and steps from a pilot run: the run that follows is unbiased, and well set."""

import math

import numpy as np
import pytest
import torch
from problems import rng

from dpm_lib.montecarlo import ais, temperature_ladder
from dpm_lib.montecarlo.smc import sequential_monte_carlo
from dpm_lib.probability.target_densities import Banana, Normal, TwoClumps


def even(steps: int) -> torch.Tensor:
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def test_tuning_leaves_the_main_run_unbiased():
    target, q = Banana(3, std=1.2), Normal(3, 2.0)
    b, walk = temperature_ladder.tune(target.log_prob, q, 128, rng(0), 30)
    assert len(b) == 31 and b[0] == 0 and b[-1] == 1 and bool((b.diff() > 0).all())
    found = ais.annealed_importance_sampling(target.log_prob, q, b, 20_000, rng(1), walk)
    assert abs(float(found.log_z)) < 4 * float(found.log_z_stderr)


@pytest.mark.parametrize("target", [TwoClumps(2, distance=4.0), Banana(3, std=1.2), TwoClumps(5)], ids=repr)
def test_tuned_runs_are_unbiased(target):
    """E[w] = Z over pilots and runs, whether the pilot asks for one temperature or for many."""
    z, q, numbers = [], Normal(target.dim, 2.5), []
    for seed in range(100 if target.dim < 5 else 20):
        b, walk = temperature_ladder.tune(target.log_prob, q, 32, rng(2 * seed))
        found = ais.annealed_importance_sampling(target.log_prob, q, b, 100, rng(2 * seed + 1), walk)
        z.append(float(found.log_z.exp()))
        numbers.append(len(b) - 1)
    z = torch.tensor(z, dtype=torch.float64)
    assert abs(float(z.mean()) - 1) < 4 * float(z.std()) / math.sqrt(len(z))
    assert (min(numbers) == 1) if target.dim < 5 else (max(numbers) > 10), numbers


@pytest.mark.equation("eq-ais-cost")
def test_one_temperature_or_many():
    target, q = TwoClumps(2), Normal(2, 3.0)
    assert [len(temperature_ladder.tune(target.log_prob, q, 128, rng(seed))[0]) - 1 for seed in range(5)] == [1] * 5
    assert len(temperature_ladder.tune(lambda x: target.log_prob(x) + 4.0, q, 128, rng(0))[0]) == 2  # given: Z = e^4
    target, q = Banana(10), Normal(10, 3.0)
    assert all(len(temperature_ladder.tune(target.log_prob, q, 128, rng(seed))[0]) > 300 for seed in range(3))
    # v = c / K, as for perfect moves: K e^v at K = 4 c is the less of the two if 4 c e^(1/4) < e^c.
    for c in (0.5, 2.0, 2.7, 2.9, 8.0, 20.0):
        many = temperature_ladder.best_number(c, 5, c / 5)
        assert many == (1 if math.exp(c) < max(5, 4 * c) * math.exp(0.25) else max(5, math.ceil(4 * c)))


def test_the_excess_of_a_dragged_normal_is_the_variance_of_its_log_weight():
    """What ``tune`` measures: v = 2 KL(P || Q) of paths walked back is Var log w where log w is Gaussian."""
    shifted, q = Normal(1), Normal(1)
    log_p = lambda x: shifted.log_prob(x - 1.5) + 0.7  # noqa: E731
    perfect = lambda path, x, ends, b, k, g: ((y := 1.5 * b + q.sample(len(x), g)), path.ends(y))  # noqa: E731
    for steps in (1, 9):
        draws = 1.5 + q.sample(20_000, rng(0))
        back = ais.reverse_annealed_importance_sampling(log_p, q, even(steps), draws, rng(1), perfect)
        v, stderr = 1.5**2 / steps, 2 * float(back.log_weights.std()) / math.sqrt(back.n)
        assert abs(-2 * float(back.elbo + 0.7) - v) < 4 * stderr


def test_each_temperature_has_the_step_of_the_nearest_of_the_pilot():
    target, q, seen = TwoClumps(2), Normal(2, 3.0), []
    sequential_monte_carlo(
        target.log_prob, q, 64, rng(0), keep=0.8, moves=3, callback=lambda b, x, w, step: seen.append((b, step))
    )
    b, walk = temperature_ladder.tune(target.log_prob, q, 64, rng(0), 7)
    assert len(seen) > 3
    for value, step in zip(b.tolist(), walk.steps, strict=True):
        assert torch.equal(step, min(seen, key=lambda found: abs(found[0] - value))[1])


def test_the_number_of_temperatures_is_a_number():
    target, q = TwoClumps(1), Normal(1, 2.0)
    for number in (5, np.int64(5)):
        assert len(temperature_ladder.tune(target.log_prob, q, 32, rng(0), number)[0]) == 6
    assert len(temperature_ladder.tune(target.log_prob, q, 32, rng(0), [0.0, 0.5, 1.0])[0]) == 3
    for number, message in ((0, "temperatures: 0: need at least 1"), ([0.0, 0.5], "need them to run from 0 to 1")):
        with pytest.raises(ValueError, match=message):
            temperature_ladder.tune(target.log_prob, q, 32, rng(0), number)
