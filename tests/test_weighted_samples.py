"""WeightedSamples against naive sums, Jensen, and its own standard error against repetition."""

import math

import pytest
import torch
from problems import close, randn

from dpm_lib.probability.weighted_samples import WeightedSamples


def some(*batch: int, n: int = 50, d: int = 3) -> WeightedSamples:
    return WeightedSamples(randn(*batch, n, d), 2 * randn(*batch, n, seed=1))


def test_estimates_are_their_definitions():
    samples = some()
    w = [math.exp(v) for v in samples.log_weights.tolist()]
    assert samples.n == 50
    close(samples.log_z, math.log(sum(w) / 50), rtol=1e-13)
    close(samples.elbo, sum(samples.log_weights.tolist()) / 50)
    close(samples.ess, sum(w) ** 2 / sum(v * v for v in w))
    close(samples.probabilities, torch.tensor(w, dtype=torch.float64) / sum(w))
    for k in range(3):
        close(samples.mean()[k], sum(v * x for v, x in zip(w, samples.x[:, k].tolist(), strict=True)) / sum(w))
    close(samples.mean(lambda x: x[..., :1] ** 2), (samples.mean(lambda x: x**2))[:1])


def test_log_z_keeps_float64():
    n = 3  # log 3 in float32 is wrong by 3e-8
    samples = WeightedSamples(torch.zeros(n, 1), torch.zeros(n, dtype=torch.float64))
    assert abs(float(samples.log_z)) < 1e-15


def test_huge_and_tiny_weights_do_not_overflow():
    shift = torch.tensor([900.0, -900.0], dtype=torch.float64)
    base = some(n=20)
    log_weights = base.log_weights + shift.unsqueeze(1)
    samples = WeightedSamples(base.x.expand(2, 20, 3), log_weights)
    close(samples.log_z, base.log_z + shift, rtol=1e-13)
    close(samples.ess, base.ess)
    close(samples.log_z_stderr, base.log_z_stderr)


def test_effective_size_of_very_small_weights():
    log_weights = torch.tensor([-1e15, -1e15 - 1], dtype=torch.float64)
    samples = WeightedSamples(torch.zeros(2, 1), log_weights)
    close(samples.ess, (1 + math.exp(-1)) ** 2 / (1 + math.exp(-2)))


def test_leading_axes_are_separate_problems():
    samples = some(2, 4)
    for i in range(2):
        for j in range(4):
            one = WeightedSamples(samples.x[i, j], samples.log_weights[i, j])
            for name in ("log_z", "elbo", "ess", "log_z_stderr", "probabilities"):
                close(getattr(samples, name)[i, j], getattr(one, name))
            close(samples.mean()[i, j], one.mean())


def test_jensen_with_equality_for_equal_weights():
    samples = some(40)
    assert bool((samples.log_z > samples.elbo).all())
    equal = WeightedSamples(randn(10, 1), torch.full((10,), -3.7, dtype=torch.float64))
    close(equal.log_z, equal.elbo)
    close(equal.ess, 10.0)
    close(equal.log_z_stderr, 0.0, atol=1e-7)


def test_a_particle_of_weight_zero_counts_in_n_only():
    log_weights = torch.tensor([0.0, math.log(3.0), -math.inf, -math.inf], dtype=torch.float64)
    samples = WeightedSamples(torch.tensor([[1.0], [5.0], [100.0], [-100.0]], dtype=torch.float64), log_weights)
    close(samples.log_z, 0.0)
    close(samples.ess, 16 / 10)
    close(samples.mean(), 4.0)
    assert float(samples.elbo) == -math.inf


def test_weights_that_are_all_zero_have_no_mean():
    lost = WeightedSamples(torch.ones(3, 1), torch.full((3,), -math.inf))
    assert float(lost.log_z) == -math.inf and float(lost.ess) == 0 and math.isnan(lost.log_z_stderr)
    for ask in (lost.mean, lambda: lost.probabilities):
        with pytest.raises(ValueError, match="log_weights: all 3 are minus infinity: no weighted mean"):
            ask()
    one_of_two = torch.tensor([[0.0, -1.0], [-math.inf, -math.inf]])
    with pytest.raises(ValueError, match=r"all 2 are minus infinity at index \(1,\)"):
        WeightedSamples(torch.ones(2, 2, 1), one_of_two).mean()


def test_lists_and_arrays_are_taken():
    given = some(n=4, d=2)
    same = WeightedSamples(given.x.tolist(), given.log_weights.numpy())
    close(same.log_z, given.log_z)
    close(same.mean(lambda x: x.numpy() ** 2), given.mean(lambda x: x**2))


def test_importance_sampling_finds_the_normaliser_and_the_mean():
    """Proposal N(0, 4), target 7 exp(-(x - 1)^2 / 2)."""
    x = 2 * randn(200, 500, 1)
    log_q = -0.5 * (x / 2).square() - math.log(2) - 0.5 * math.log(2 * math.pi)
    samples = WeightedSamples(x, (math.log(7) - 0.5 * (x - 1).square() - log_q).squeeze(-1))
    exact = math.log(7) + 0.5 * math.log(2 * math.pi)
    error = samples.log_z - exact
    assert abs(float(error.mean())) < 4 * float(error.std()) / math.sqrt(200) + float(error.var()) / 2
    means = samples.mean()[:, 0]
    assert abs(float(means.mean()) - 1) < 4 * float(means.std()) / math.sqrt(200)


def test_the_standard_error_covers():
    """Lognormal weights, 2000 repetitions: the error is within one (two) stderr 68% (95%) of the time."""
    log_weights = 0.5 * randn(2000, 400, seed=3)
    samples = WeightedSamples(torch.zeros(2000, 400, 1), log_weights)
    ratio = (samples.log_z - 0.125).abs() / samples.log_z_stderr
    for limit, share in ((1.0, 0.6827), (2.0, 0.9545)):
        covered = float((ratio < limit).double().mean())
        assert abs(covered - share) < 4 * math.sqrt(share * (1 - share) / 2000) + 0.01
    close(samples.log_z_stderr.mean(), samples.log_z.std(), rtol=0.08)


def test_the_standard_error_is_that_of_the_mean_weight():
    samples = some(n=30)
    w = samples.log_weights.exp()
    close(samples.log_z_stderr, w.std() / math.sqrt(30) / w.mean())


@pytest.mark.parametrize(
    ("x", "log_weights", "message"),
    [
        (torch.zeros(3, 1), torch.zeros(4), r"log_weights: shape \(4,\) .* \(3, 1\)"),
        (torch.zeros(3), torch.zeros(3), r"log_weights: shape \(3,\) .* \(3,\)"),
        (torch.zeros(3, 2, 1), torch.zeros(3), r"log_weights: shape \(3,\) .* \(3, 2, 1\)"),
        (torch.zeros(3, 1), torch.tensor(0.0), r"log_weights: shape \(\)"),
        (torch.zeros(0, 1), torch.zeros(0), r"log_weights: .*\(0,\)"),
        (torch.zeros(2, 1), torch.tensor([0.0, math.nan]), r"log_weights: nan at index \(1,\)"),
        (torch.zeros(2, 2, 1), torch.tensor([[0.0, 1.0], [math.inf, 0.0]]), r"log_weights: inf at index \(1, 0\)"),
    ],
)
def test_bad_input_is_named(x, log_weights, message):
    with pytest.raises(ValueError, match=message):
        WeightedSamples(x, log_weights)


# --- Edges ---


def test_one_particle_says_nothing_of_its_error_and_no_weight_is_no_sample():
    one = WeightedSamples(torch.zeros(1, 1), torch.zeros(1))
    assert math.isnan(one.log_z_stderr) and one.ess == 1
    none = WeightedSamples(torch.zeros(3, 1), torch.full((3,), -torch.inf))
    assert none.ess == 0 and none.log_z == -torch.inf


def test_the_shape_of_f_is_checked():
    with pytest.raises(ValueError, match=r"f: gives shape \(50,\)"):
        some().mean(lambda x: x[:, 0])
