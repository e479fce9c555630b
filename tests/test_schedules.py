"""Schedules against exact rational products, and learned ones against finite differences."""

import math
from fractions import Fraction

import pytest
import torch
from problems import close, randn, random_schedule, short_schedule

from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.schedules import LearnedSchedule, Schedule, from_beta, from_tau

BETAS = {
    "large": [0.0, 0.1, 0.5, 0.9],
    "small": [0.0, 1e-8, 1e-8, 3e-8, 1e-7],
    "mixed": [0.0, 1e-8, 1e-4, 0.02, 0.3, 0.7, 0.99],
    "many": [0.0] + [1e-6 * 1.2**k for k in range(60)],
}


def exact(beta: list[float]) -> dict[str, list[Fraction]]:
    """alpha_bar, tau and SNR by exact rational arithmetic."""
    alpha_bar = [Fraction(1)]
    for b in beta[1:]:
        alpha_bar.append(alpha_bar[-1] * (1 - Fraction(b)))
    return {
        "alpha_bar": alpha_bar,
        "one_minus": [1 - a for a in alpha_bar],
        "tau": [1 / a - 1 for a in alpha_bar],
        "snr": [a / (1 - a) for a in alpha_bar[1:]],
    }


def floats(values: list[Fraction]) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


@pytest.mark.parametrize("name", BETAS)
def test_every_quantity_has_full_relative_accuracy(name):
    """Also where beta is 1e-8 and 1 - alpha_bar would cancel: the error is rounding, 1e-13, not 1e-16 / 1e-8."""
    beta = BETAS[name]
    schedule, true = from_beta(torch.tensor(beta, dtype=torch.float64)), exact(beta)
    assert schedule.T == len(beta) - 1
    assert schedule.log_alpha_bar.dtype == torch.float64
    close(schedule.alpha_bar, floats(true["alpha_bar"]), rtol=1e-13, atol=0)
    close(-torch.expm1(schedule.log_alpha_bar), floats(true["one_minus"]), rtol=1e-13, atol=0)
    close(schedule.tau, floats(true["tau"]), rtol=1e-13, atol=0)
    close(schedule.snr[1:], floats(true["snr"]), rtol=1e-13, atol=0)
    close(schedule.log_tau[1:], floats(true["tau"])[1:].log(), rtol=1e-13, atol=1e-13)
    assert schedule.beta[0] == 0 and schedule.alpha_bar[0] == 1 and schedule.tau[0] == 0
    assert schedule.log_tau[0] == -math.inf and schedule.snr[0] == math.inf


@pytest.mark.parametrize("name", BETAS)
def test_from_beta_and_back(name):
    beta = torch.tensor(BETAS[name], dtype=torch.float64)
    log_alpha_bar = from_beta(beta).log_alpha_bar.abs().max()
    close(from_beta(beta).beta, beta, rtol=1e-14, atol=float(4e-16 * (1 + log_alpha_bar)))


def test_from_tau_and_back():
    tau = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logspace(-9, 6, 30, dtype=torch.float64)])
    schedule = from_tau(tau)
    close(schedule.tau, tau, rtol=1e-13, atol=0)
    close(schedule.beta[1:], (tau[1:] - tau[:-1]) / (1 + tau[1:]), rtol=1e-12, atol=0)
    close(from_beta(schedule.beta).tau[:-8], tau[:-8], rtol=1e-11, atol=0)


def test_it_may_end_in_pure_noise():
    schedule = from_beta(torch.tensor([0.0, 0.1, 1.0]))
    assert schedule.alpha_bar[-1] == 0 and schedule.log_alpha_bar[-1] == -math.inf
    assert schedule.tau[-1] == math.inf and schedule.log_tau[-1] == math.inf and schedule.snr[-1] == 0
    close(schedule.beta, [0.0, 0.1, 1.0], rtol=1e-7)
    for values in (schedule.beta, schedule.alpha_bar, schedule.tau, schedule.log_tau):
        assert not torch.isnan(values).any()


@pytest.mark.parametrize("make", [schedules.geometric, schedules.linear, schedules.cosine])
def test_named_schedules_begin_at_beta_1(make):
    for beta_1 in (1e-2, 1e-8):
        schedule = make(7, beta_1)
        assert schedule.T == 7
        close(schedule.beta[1], beta_1, rtol=1e-9, atol=0)
        assert bool((schedule.beta[1:] > 0).all()) and bool((schedule.beta[1:] < 1).all())


def test_geometric_is_even_in_log_tau():
    schedule = schedules.geometric(50, 1e-5, 300.0)
    steps = schedule.log_tau[2:] - schedule.log_tau[1:-1]
    close(steps, (math.log(300) - math.log(1e-5 / (1 - 1e-5))) / 49, rtol=1e-10)
    close(schedule.tau[-1], 300.0)


def test_linear_is_ho_et_al():
    schedule = schedules.linear(1000, 1e-4, 0.02)
    product = 1.0
    for t in range(1, 1001):
        beta = 1e-4 + (t - 1) / 999 * (0.02 - 1e-4)
        product *= 1 - beta
        close(schedule.beta[t], beta, rtol=1e-10)
    close(schedule.alpha_bar[-1], product, rtol=1e-10)


def test_cosine_is_a_cosine():
    schedule = schedules.cosine(9, 1e-3, 50.0)
    angle = schedule.alpha_bar.sqrt().acos()[1:]
    close(angle[1:] - angle[:-1], (angle[-1] - angle[0]) / 8, rtol=1e-9)
    close(schedule.tau[-1], 50.0)


# Learned schedules


@pytest.mark.parametrize(
    "start", [schedules.geometric(40, 1e-8, 20.0), schedules.linear(12), schedules.cosine(9), random_schedule(15)]
)
def test_a_learned_schedule_starts_where_it_is_told(start):
    learned = LearnedSchedule(start)
    for name in ("log_alpha_bar", "alpha_bar", "tau", "beta"):
        close(getattr(learned, name), getattr(start, name), rtol=1e-8, atol=1e-15)
    close(learned.log_tau[1:], start.log_tau[1:], rtol=1e-12)
    assert learned.T == start.T


def test_a_learned_schedule_is_exact_at_huge_noise():
    """log(1 + tau) - log tau = 1/tau, not zero, at tau = 1e9."""
    learned = LearnedSchedule(from_tau(torch.tensor([0.0, 0.1, 1e9], dtype=torch.float64)))
    close(learned.log_alpha_bar[-1], -math.log1p(1e9), rtol=1e-15)
    close(learned.tau[-1], 1e9, rtol=1e-12)


def test_random_parameters_stay_valid_and_keep_beta_1():
    learned = LearnedSchedule(schedules.geometric(20, 1e-6))
    for seed in range(20):
        with torch.no_grad():
            learned.log_increments.copy_(2 * randn(19, seed=seed))
        close(learned.beta[1], 1e-6, rtol=1e-9, atol=0)
        Schedule(learned.log_alpha_bar.detach())  # raises where it does not fall
        assert bool((learned.beta[1:] > 0).all()) and bool((learned.beta[1:] <= 1).all())


def test_beta_1_is_not_learned():
    learned = LearnedSchedule(schedules.geometric(5))
    learned.beta[1].backward()
    assert learned.log_increments.grad is None or not learned.log_increments.grad.any()
    assert [name for name, _ in learned.named_parameters()] == ["log_increments"]


def test_gradients_match_finite_differences():
    learned = LearnedSchedule(short_schedule())
    weight = randn(4, 5, seed=3)

    def loss(increments: torch.Tensor) -> torch.Tensor:
        quantities = torch.func.functional_call(Readings(learned), {"schedule.log_increments": increments}, ())
        return (weight * quantities).sum()

    parameter = learned.log_increments.detach().clone().requires_grad_(True)
    assert torch.autograd.gradcheck(loss, parameter, eps=1e-6, atol=1e-7)


class Readings(torch.nn.Module):
    """All that can be read off a schedule, away from the infinities at t = 0."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self) -> torch.Tensor:
        s = self.schedule
        log_tau = torch.cat([torch.zeros(1, dtype=torch.float64), s.log_tau[1:]])
        return torch.stack([s.beta, s.alpha_bar, s.tau, log_tau])


def test_gradients_are_finite_at_both_ends():
    learned = LearnedSchedule(schedules.geometric(40, 1e-10, 1e10))
    (learned.beta.sum() + learned.log_tau[1:].sum() + learned.log_alpha_bar.sum()).backward()
    assert bool(torch.isfinite(learned.log_increments.grad).all())
    assert bool(learned.log_increments.grad.all())


def test_state_survives_saving():
    learned = LearnedSchedule(schedules.geometric(6, 1e-3))
    with torch.no_grad():
        learned.log_increments.add_(randn(5))
    other = LearnedSchedule(schedules.cosine(6, 1e-2))
    other.load_state_dict(learned.state_dict())
    assert torch.equal(other.log_alpha_bar, learned.log_alpha_bar)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Schedule(torch.tensor([0.1, -1.0])), r"log_alpha_bar: need shape \(T\+1,\) with 0 first.*0\.1"),
        (lambda: Schedule(torch.zeros(1)), "log_alpha_bar: need shape"),
        (lambda: Schedule(torch.zeros(2, 2)), "log_alpha_bar: need shape"),
        (lambda: Schedule(torch.tensor([0.0, -1.0, -0.5])), r"need a fall.* t=2 .* -1\.0 to -0\.5"),
        (lambda: Schedule(torch.tensor([0.0, math.nan])), r"need a fall.* t=1 .*nan"),
        (lambda: Schedule(torch.tensor([0.0, -math.inf, -math.inf])), r"need a fall.* t=2"),
        (lambda: from_beta(torch.tensor([0.1, 0.2])), r"beta: need .*beta\[0\] = 0.*0\.1"),
        (lambda: from_beta(torch.tensor([0.0, 0.2, 1.5])), r"beta: beta\[2\] = 1\.5 is outside"),
        (lambda: from_beta(torch.tensor([0.0, 0.0])), r"beta: beta\[1\] = 0\.0 is outside"),
        (lambda: from_beta(torch.tensor([0.0, math.nan])), r"beta: beta\[1\] = nan is outside"),
        (lambda: from_beta(torch.tensor([0.0, 1.0, 0.5])), r"beta\[1\] = 1 leaves nothing"),
        (lambda: from_tau(torch.tensor([0.0, 2.0, 1.0])), r"tau: .*tau\[2\] = 1\.0"),
        (lambda: from_tau(torch.tensor([0.0, math.nan])), r"tau: .*tau\[1\] = nan"),
        (lambda: from_tau(torch.tensor([0.5, 1.0])), r"tau: .*0\.5"),
        (lambda: schedules.geometric(1), "T: 1: need at least 2"),
        (lambda: schedules.cosine(5, 0.0), r"beta_1: 0\.0 is outside"),
        (lambda: schedules.linear(5, 1.0), r"beta_1: 1\.0 is outside"),
        (lambda: schedules.linear(5, 0.1, 1.5), r"beta_T: 1\.5 is outside"),
        (lambda: schedules.geometric(5, 0.1, -1.0), r"tau_T: -1\.0"),
        (lambda: schedules.geometric(5, 0.1, 0.05), r"tau_T: 0\.05"),
        (lambda: schedules.cosine(5, 0.1, math.inf), r"tau_T: inf"),
        (lambda: LearnedSchedule(from_beta(torch.tensor([0.0, 0.1, 1.0]))), "start: tau_T is infinite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_even_loses_the_same_amount_each_step():
    """With beta_1 = 1/T it is the 2015 paper's schedule for bits: beta_t = 1 / (T - t + 1)."""
    paper = schedules.even(8)
    close(paper.beta[1:], [1 / (8 - t + 1) for t in range(1, 9)])
    close(paper.alpha_bar, [1 - t / 8 for t in range(9)])
    tiny = schedules.even(8, 1e-9)
    close(tiny.beta[1], 1e-9, rtol=1e-6)
    close(tiny.alpha_bar[1:], [(1 - 1e-9) * (1 - t / 7) for t in range(8)])
    assert float(tiny.log_alpha_bar[-1]) == -math.inf
    with pytest.raises(ValueError, match="T: 1: need at least 2"):
        schedules.even(1)


def test_a_schedule_may_be_learned_at_a_few_knots():
    """Offsets are added to the log increments, linearly between the knots; or one by one, with a knot for each."""
    start = random_schedule(8)
    smooth = LearnedSchedule(start, knots=3)
    close(smooth.log_tau, start.log_tau, rtol=1e-9)
    with torch.no_grad():
        smooth.offsets += torch.tensor([0.3, -0.6, 1.2], dtype=torch.float64)
    added = [0.3, 0.0, -0.3, -0.6, 0.0, 0.6, 1.2]
    increments = start.log_tau[2:] - start.log_tau[1:-1]
    close((smooth.log_tau[2:] - smooth.log_tau[1:-1]).detach(), increments * torch.tensor(added).exp(), rtol=1e-6)
    close(smooth.beta[1].detach(), start.beta[1], rtol=1e-9)
    full, plain = LearnedSchedule(start, knots=7), LearnedSchedule(start)
    with torch.no_grad():
        full.offsets += 0.1 * torch.arange(7)
        plain.log_increments += 0.1 * torch.arange(7)
    close(full.log_tau.detach(), plain.log_tau.detach())
    for knots in (1, -2, 8):
        with pytest.raises(ValueError, match=f"knots: {knots}"):
            LearnedSchedule(start, knots)


def test_only_the_last_rate_may_be_one():
    """After it nothing is left to forget: the steps that follow would have no law back."""
    assert float(schedules.from_beta(torch.tensor([0.0, 0.3, 1.0])).alpha_bar[-1]) == 0
    with pytest.raises(ValueError, match=r"beta: beta\[2\] = 1 leaves nothing .* only the last may be 1"):
        schedules.from_beta(torch.tensor([0.0, 0.3, 1.0, 0.5]))


@pytest.mark.parametrize("knots", [0, 3])
def test_a_held_schedule_is_computed_once_and_has_the_same_gradients(knots):
    def numbers(schedule):
        rows = [getattr(schedule, name)[1:] for name in ("log_alpha_bar", "alpha_bar", "beta", "tau", "log_tau", "snr")]
        return torch.stack(rows * 2)

    learned = LearnedSchedule(random_schedule(6), knots)
    weight = randn(12, 6)
    loose = torch.autograd.grad((weight * numbers(learned)).sum(), learned.parameters())
    with learned.held():
        with torch.no_grad():
            numbers(learned)  # what has no gradient must not be taken for what has
        with learned.held():  # may be asked for twice
            pass
        held = torch.autograd.grad((weight * numbers(learned)).sum(), learned.parameters())
        assert learned.log_tau is learned.log_tau
    torch.testing.assert_close(held, loose, rtol=1e-12, atol=0)
    assert learned.log_tau is not learned.log_tau
