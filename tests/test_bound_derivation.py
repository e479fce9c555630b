"""The derivation line by line: cases beside those of the book's claims."""

import math

import numpy as np
import pytest
import torch
from problems import AffineNetwork, close_mean, model_of, randn, rng, small_chains

from dpm_lib.diffusion import schedules
from dpm_lib.exact import bound_derivation, enumeration


def test_the_exact_joint_reverse_loses_only_at_the_prior_and_the_edge():
    parts = bound_derivation.account(enumeration.coupled_bits(1.0, [0.05, 0.4, 0.7], joint=True))
    assert abs(parts["step 2"]) < 1e-12 and abs(parts["step 3"]) < 1e-12
    assert parts["prior"] > 0.01 and parts["step 1"] > 0.01


def test_data_may_rule_states_out():
    tiny = small_chains(data=(slice(None), [0.5, 0, 0, 0, 0, 0, 0, 0.5]))
    values = [sum(terms.values()) for terms in bound_derivation.lines(tiny).values()]
    assert np.isfinite(values).all() and max(values[2:]) - min(values[2:]) < 1e-12
    assert values[1] == pytest.approx(values[0], abs=1e-12), "E w is the model's probability"
    parts = bound_derivation.account(tiny)
    assert parts["limit"] == pytest.approx(-np.log(2))
    gap = parts["limit"] - values[8]
    assert gap == pytest.approx(parts["law"] + parts["jensen"], abs=1e-12)
    assert gap == pytest.approx(parts["prior"] + parts["step 1"] + parts["step 2"], abs=1e-12)


def test_a_model_that_rules_out_paths_of_the_data_loses_everything():
    """Also where the data rule states out: infinite, never NaN."""
    to_zero = np.eye(8)[0]
    tiny = small_chains(data=(slice(None), [0.5, 0, 0, 0, 0, 0, 0, 0.5]), reverse=((2, slice(None)), to_zero))
    values = {n: sum(terms.values()) for n, terms in bound_derivation.lines(tiny).items()}
    assert np.isfinite([values[1], values[2]]).all()
    assert [values[n] for n in (3, 4, 5, 6, 9)] == [-np.inf] * 5
    parts = bound_derivation.account(tiny)
    assert parts["step 2"] == parts["jensen"] == np.inf and 0 < parts["information 2"] < np.inf
    assert (
        parts["information 2"] == bound_derivation.account(small_chains(data=(slice(None), tiny.data)))["information 2"]
    )


@pytest.mark.parametrize("variance", [0.5, 2.0])
def test_every_gaussian_term_by_trajectories(variance):
    schedule = schedules.from_beta(torch.tensor([0.0, 0.1, 0.3, 0.6], dtype=torch.float64))
    model = model_of(
        AffineNetwork(torch.tensor([[0.3], [0.0]]).double(), torch.tensor([0.0, -0.2]).double()),
        schedule,
        "isotropic",
        1,
    )
    model.requires_grad_(False)
    back = [model.reverse_step(torch.ones(1, 1, dtype=torch.float64), t) for t in (2, 3)]
    exact = bound_derivation.gaussian(
        schedule, variance, [0, 0, *(float(b.mean) for b in back)], [0, 0, *(float(b.scale) ** 2 for b in back)]
    )
    drawn = bound_derivation.sampled(model, math.sqrt(variance) * randn(40_000, 1, seed=3), rng(13))
    for number in range(3, 11):
        for name, values in drawn[number].items():
            close_mean(values, exact[number][name])
    x0 = torch.tensor([[0.4]], dtype=torch.float64)  # line 1: the model's law
    law = model.trajectory_weights(x0, 40_000, rng(3)).log_weights.exp()
    spread = 1.0
    for m, v in [(float(b.mean), float(b.scale) ** 2) for b in back[::-1]] + [(math.sqrt(0.9), 0.1)]:
        spread = m * m * spread + v
    close_mean(law[0], math.exp(-0.5 * (math.log(2 * math.pi * spread) + 0.16 / spread)))
    assert exact[1]["log p"] == pytest.approx(-0.5 * (math.log(2 * math.pi * spread) + variance / spread))


def bad_gaussian(variance=1.0, slope=(0, 0, 0.5), spread=(0, 0, 0.5)):
    return bound_derivation.gaussian(schedules.from_beta(torch.tensor([0.0, 0.1, 0.3])), variance, slope, spread)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bad_gaussian(-1.0), "variance: need a positive number, got -1.0"),
        (lambda: bad_gaussian(math.nan), "variance: need a positive number, got nan"),
        (lambda: bad_gaussian(slope=(0, 0, 0.5, 0.5)), r"slope: need T \+ 1 = 3 entries, got 4"),
        (lambda: bad_gaussian(spread=(0, 0)), r"spread: need T \+ 1 = 3 entries, got 2"),
        (lambda: bad_gaussian(spread=(0, 0, 0.0)), "spread: 0.0 at t = 2"),
        (lambda: bad_gaussian(slope=(0, 0, math.nan)), "slope: nan at t = 2"),
    ],
)
def test_bad_gaussians_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_exact_steps_leave_k_below_l_while_the_chain_has_not_arrived():
    """Normal data of variance 1/4, a total of 0.5 in small steps: what the box on K and L says, in bits."""
    v0, T, total = 0.25, 10_000, 0.5
    schedule = schedules.from_beta(torch.cat([torch.zeros(1), torch.full((T,), total / T)]).double())
    v = v0 * schedule.alpha_bar + 1 - schedule.alpha_bar
    slope, spread = (1 - schedule.beta[1:]).sqrt() * v[:-1] / v[1:], schedule.beta[1:] * v[:-1] / v[1:]
    lines = bound_derivation.gaussian(schedule, v0, [0, *slope.tolist()], [0, *spread.tolist()])
    L, K = (sum(lines[n].values()) for n in (1, 9))
    gap = -0.5 * math.log(2 * math.pi * math.e * v0) - K
    assert [round(n / math.log(2), 3) for n in (gap, L - K)] == [0.110, 0.095]

    kept = math.exp(-total)  # in the limit: two divergences of normal laws, at T and at 0
    v_T = v0 * kept + 1 - kept
    drawn = v0 + kept * (v0 / v_T) ** 2 * (1 - v_T)
    at_T, at_0 = (0.5 * (ratio - 1 - math.log(ratio)) for ratio in (v_T, v0 / drawn))
    assert [gap, L - K] == pytest.approx([at_T, at_T - at_0], abs=1e-4)
