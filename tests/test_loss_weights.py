"""The table of objectives: weights and densities by other routes, and monotone weights as mixtures of bounds."""

import math

import pytest
import torch
from problems import close, random_schedule, rng
from scipy.integrate import quad

from dpm_lib.diffusion import parametrisations, schedules
from dpm_lib.diffusion.loss_weights import OBJECTIVES, TABLE, loss_density, mixture, on_schedule, over_bound

LEVELS = torch.linspace(-12.0, 9.0, 43, dtype=torch.float64)


def test_weights_are_those_of_what_is_predicted():
    """|y - y_hat|^2 in each paper's own y, by ``parametrisations``; NCSN's times sigma^2, and 1 for x_0."""
    tau = LEVELS.exp()
    named = {"simple": "epsilon", "hybrid": "epsilon", "v": "v", "EDM": "edm", "flow matching": "flow"}
    for row, name in named.items():
        close(TABLE[row].weight(LEVELS), parametrisations.weight(name, LEVELS), rtol=1e-12)
    # of z = x / sqrt(alpha_bar), whose score is sqrt(alpha_bar) times that of x
    close(TABLE["NCSN"].weight(LEVELS), tau * parametrisations.weight("score", LEVELS) / (1 + tau), rtol=1e-12)
    close(TABLE["min-SNR"].weight(LEVELS), [min(math.exp(-x), 5.0) for x in LEVELS.tolist()])


@pytest.mark.parametrize("name", ["simple", "hybrid", "v", "EDM", "min-SNR", "flow matching"])
def test_densities_integrate_to_one(name):
    def density(x):
        return float(TABLE[name].density(torch.tensor(x, dtype=torch.float64)))

    last = math.log(math.expm1(10.05))  # where DDPM's times end
    total = quad(density, -60, last)[0] + (0 if name == "simple" else quad(density, last, 60)[0])
    assert total == pytest.approx(1, abs=2e-6 if name != "simple" else 1e-4)


@pytest.mark.parametrize(
    ("name", "log_tau"),
    [
        ("simple", lambda s: math.log(math.expm1(0.1 * s + 9.95 * s * s))),
        ("hybrid", lambda s: 2 * math.log(math.tan(0.5 * math.pi * s))),
        ("flow matching", lambda s: 2 * math.log(s / (1 - s))),
    ],
)
def test_a_density_is_how_even_times_pass_the_levels(name, log_tau):
    """The share of times between two levels is the integral of the density between them."""
    for a, b in ((0.1, 0.2), (0.4, 0.75), (0.9, 0.97)):
        mass = quad(lambda x: float(TABLE[name].density(torch.tensor(x, dtype=torch.float64))), log_tau(a), log_tau(b))
        assert mass[0] == pytest.approx(b - a, rel=1e-7)


@pytest.mark.parametrize(
    ("name", "row", "schedule"),
    [
        ("bound", "bound", schedules.geometric(4000, 1e-5, 1e4)),
        ("simple", "simple", schedules.linear(4000, 0.1 / 4000, 20 / 4000)),
        ("simple", "hybrid", schedules.cosine(4000, 1e-5, 1e5)),
        ("score", "NCSN", schedules.geometric(4000, 1e-5, 1e4)),
        ("v", "v", schedules.cosine(4000, 1e-5, 1e5)),
        ("edm", "EDM", schedules.geometric(4000, 1e-5, 1e4)),
        ("flow", "flow matching", schedules.geometric(4000, 1e-5, 1e4)),
    ],
)
def test_training_and_table_agree_as_steps_become_many(name, row, schedule):
    """Of the six that train: share per unit of log tau, up to a factor that is the same at all levels."""
    log_tau = schedule.log_tau
    step = on_schedule(name, schedule).share[2:] / (log_tau[2:] - log_tau[1:-1])
    middle = 0.5 * (log_tau[2:] + log_tau[1:-1])
    inside = (middle > -6) & (middle < 6)
    ratio = (step / TABLE[row].share(middle))[inside]
    assert float(ratio.max() / ratio.min()) < 1.02


@pytest.mark.equation("eq-sm-v-flow")
def test_v_with_the_cosine_is_flow_matching():
    close(TABLE["v"].share(LEVELS) / TABLE["flow matching"].share(LEVELS), 2 / math.pi)
    close(TABLE["flow matching"].share(LEVELS), 0.5 * (-0.5 * LEVELS).exp())


def test_which_are_mixtures_of_bounds():
    rising = {name: bool((row.over_bound(LEVELS).diff() > -1e-12).all()) for name, row in TABLE.items()}
    assert [name for name, rises in rising.items() if rises] == ["bound", "VDM", "NCSN", "v", "flow matching"]
    for name in ("bound", "VDM"):
        close(TABLE[name].over_bound(LEVELS), 1.0)


def test_where_the_loss_stands_has_area_one():
    error = 64 * LEVELS.exp() / (1 + LEVELS.exp())
    for row in TABLE.values():
        density = loss_density(row, LEVELS, error)
        close(torch.trapezoid(density, LEVELS), 1.0)
        close(density / density[20], row.share(LEVELS) * error / (row.share(LEVELS) * error)[20])
    for levels, bad in ((LEVELS, -error), (LEVELS.flip(0), error), (LEVELS, error[1:])):
        with pytest.raises(ValueError, match="error: need one number, not negative, for each of 43 levels that rise"):
            loss_density(TABLE["v"], levels, bad)


# Mixtures


@pytest.mark.equation("eq-sm-mixture")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_a_mixture_whose_weights_may_be_negative(name):
    """The two sides, summed the one way and the other, for errors that are anything."""
    schedule, errors = random_schedule(9), torch.rand(10, generator=rng(), dtype=torch.float64)
    share = on_schedule(name, schedule).share
    steps = (schedule.snr[1:-1] - schedule.snr[2:]) / 2
    costs = [float((steps[s - 2 :] * errors[s:]).sum()) for s in range(2, 10)]  # of the bound on x_{s-1}
    close((mixture(share, schedule)[2:] * torch.tensor(costs, dtype=torch.float64)).sum(), (share * errors)[2:].sum())
    if name == "bound":
        close(mixture(share, schedule), [0, 0, 1] + [0] * 7, atol=1e-9)


def gaussian_log_p(schedule, S: float, c, start: int) -> float:
    """E log p(x_start) of the same chain, whose law of x_start is Gaussian: its variance, step by step from N(0, 1)."""
    own, beta = 1.0, schedule.beta.tolist()
    for t in range(schedule.T, start, -1):
        before, now = float(schedule.alpha_bar[t - 1]), float(schedule.alpha_bar[t])
        to_x0 = math.sqrt(before) * beta[t] / (1 - now)
        own = (math.sqrt(1 - beta[t]) * (1 - before) / (1 - now) + to_x0 * float(c[t])) ** 2 * own
        own += beta[t] * (1 - before) / (1 - now)
    data = float(schedule.alpha_bar[start] * S + 1 - schedule.alpha_bar[start])
    return -0.5 * (math.log(2 * math.pi * own) + data / own)


def gaussian_bound(schedule, S: float, c, start: int) -> float:
    """The bound on E log p(x_start) in closed form: data N(0, S) on the line, the guesses c_t x_t, variance "small"."""
    variance, beta = (schedule.alpha_bar * S + 1 - schedule.alpha_bar).tolist(), schedule.beta.tolist()
    found = -0.5 * (math.log(2 * math.pi) + variance[-1])
    for t in range(start + 1, schedule.T + 1):
        before, now = float(schedule.alpha_bar[t - 1]), float(schedule.alpha_bar[t])
        v = beta[t] * (1 - before) / (1 - now)
        gain = math.sqrt(1 - beta[t]) * (1 - before) / (1 - now) + math.sqrt(before) * beta[t] / (1 - now) * float(c[t])
        both = math.sqrt(1 - beta[t]) * variance[t - 1]
        square = variance[t - 1] - 2 * gain * both + gain**2 * variance[t]
        found -= 0.5 * (math.log(2 * math.pi * v) + square / v)
        found += 0.5 * math.log(2 * math.pi * math.e * beta[t])
    return found


@pytest.mark.equation("eq-sm-noisy-bound")
def test_the_inner_sum_is_what_errors_cost_the_bound_on_noisy_data():
    """Exact on Gaussian data: two networks, their bounds on x_{s-1}, and the difference of their sums."""
    schedule, S = random_schedule(6), 2.5
    steps = (schedule.snr[1:-1] - schedule.snr[2:]) / 2
    guesses = [0.2 + torch.rand(7, generator=rng(seed), dtype=torch.float64) for seed in (0, 1)]  # given
    total = schedule.alpha_bar * S + 1 - schedule.alpha_bar
    errors = [S - 2 * c * schedule.alpha_bar.sqrt() * S + c**2 * total for c in guesses]
    for s in range(2, 7):
        bounds = [gaussian_bound(schedule, S, c, s - 1) for c in guesses]
        costs = [float((steps[s - 2 :] * e[s:]).sum()) for e in errors]
        assert bounds[0] + costs[0] == pytest.approx(bounds[1] + costs[1], rel=1e-10)
        assert all(bound < gaussian_log_p(schedule, S, c, s - 1) for bound, c in zip(bounds, guesses, strict=True))
    point = schedules.geometric(5, 1e-2, 1e12)  # of data that are one point, and guessed: it is met
    right = torch.zeros(6, dtype=torch.float64)
    for start in range(1, 5):
        assert gaussian_bound(point, 0.0, right, start) == pytest.approx(
            gaussian_log_p(point, 0.0, right, start), abs=1e-5
        )


def test_a_weight_that_falls_rewards_a_worse_model():
    """EDM's on a geometric schedule: every bound on noisy data as good or worse, and the loss is less."""
    schedule = schedules.geometric(30, 1e-3, 1e3)
    share = on_schedule("edm", schedule).share
    coefficients = mixture(share, schedule)
    assert float(coefficients[2:].min()) < 0 < float(coefficients[2])
    s = int(coefficients.argmin())
    steps = torch.zeros(31, dtype=torch.float64)
    steps[2:] = (schedule.snr[1:-1] - schedule.snr[2:]) / 2
    errors = torch.ones(31, dtype=torch.float64)
    worse = errors.clone()
    more = 0.1 * float(steps[s])  # nats: of the bound on x_{s-1} alone
    worse[s] += more / steps[s]
    worse[s - 1] -= more / steps[s - 1]
    assert bool((worse > 0).all())
    costs = [(steps * e).flip(0).cumsum(0).flip(0) for e in (errors, worse)]
    assert float((costs[1] - costs[0]).min()) > -1e-12 and float((costs[1] - costs[0])[s]) == pytest.approx(more)
    assert float((share * worse).sum()) < float((share * errors).sum())


def test_monotone_ones_are_mixtures_on_their_schedules():
    for name, schedule, monotone in (
        ("v", schedules.cosine(50, 1e-4, 400.0), True),
        ("simple", schedules.geometric(50, 1e-4, 400.0), True),  # there it is the bound
        ("simple", schedules.cosine(50, 1e-4, 400.0), False),
        ("simple", schedules.linear(1000, 1e-4, 0.02), False),
        ("edm", schedules.geometric(50, 1e-4, 400.0), False),
        ("flow", schedules.geometric(50, 1e-4, 400.0), True),
    ):
        coefficients = mixture(on_schedule(name, schedule).share, schedule)
        assert bool((coefficients[2:] > -1e-9 * coefficients[2]).all()) == monotone, (name, schedule)
        ratio = over_bound(on_schedule(name, schedule).share, schedule)[2:]
        close(coefficients[2:].cumsum(0), ratio, rtol=1e-9)
