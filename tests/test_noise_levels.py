"""Noise levels under all their names: against their definitions, against schedules, and there and back."""

import math

import pytest
import torch
from problems import close, random_schedule

from dpm_lib.diffusion import noise_levels, schedules
from dpm_lib.diffusion.interpolants import LINEAR
from dpm_lib.diffusion.noise_levels import LEVELS, NAMES, read, write

ENDS = torch.tensor([-math.inf, -1.0, 0.5, math.inf], dtype=torch.float64)


def some_levels(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    m = 1 + int(torch.randint(30, (), generator=generator))
    return (24 * torch.rand(m, generator=generator, dtype=torch.float64) - 12).sort().values


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back(name):
    """Levels from e^-12 to e^12; what is near 1 has lost digits of its distance to 1, and no more."""
    for seed in range(40):
        log_tau = some_levels(seed)
        numbers = write(name, log_tau)
        close(read(name, numbers), log_tau, rtol=0, atol=1e-9)
        close(write(name, read(name, numbers)), numbers, rtol=1e-9, atol=1e-14)
        if name != "beta":
            close(read(name, numbers.flip(0)), log_tau, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_both_ends_are_levels(name):
    numbers = write(name, ENDS)
    assert not numbers.isnan().any()
    back = read(name, numbers)
    assert back[0] == -math.inf and back[-1] == math.inf
    close(back[1:3], ENDS[1:3])


def test_every_name_says_what_it_is():
    """By the definitions, from alpha_bar alone."""
    for a_bar in (0.999, 0.7, 0.2, 1e-3):
        log_tau = read("alpha_bar", [a_bar])
        signal, noise = math.sqrt(a_bar), math.sqrt(1 - a_bar)
        true = {
            "beta": 1 - a_bar, "alpha_bar": a_bar, "signal": signal, "noise": noise, "tau": 1 / a_bar - 1,
            "snr": a_bar / (1 - a_bar), "log_snr": math.log(a_bar / (1 - a_bar)), "gamma": math.log(1 / a_bar - 1),
            "lambda": math.log(signal / noise), "sigma": noise / signal,
            "flow": LINEAR.time(1 / a_bar - 1), "flow_back": signal / (signal + noise),
        }  # fmt: skip
        assert set(true) == set(NAMES)
        for name, value in true.items():
            assert float(write(name, log_tau)[0]) == pytest.approx(value, rel=1e-12), name


def test_schedules_say_the_same():
    for schedule in (random_schedule(9), schedules.even(7), schedules.karras(6)):
        log_tau = schedule.log_tau
        for name in ("beta", "alpha_bar", "tau", "snr", "log_tau"):
            own = getattr(schedule, name)
            close(write("gamma" if name == "log_tau" else name, log_tau), own, rtol=1e-12, atol=1e-15)
            close(read("gamma" if name == "log_tau" else name, own)[1:], log_tau[1:], rtol=0, atol=1e-10)
        close(noise_levels.schedule(log_tau).beta, schedule.beta)
        close(noise_levels.schedule(log_tau[1:]).beta, schedule.beta)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("alpha", [0.5], "name: 'alpha'"),
        ("beta", [], r"values: need shape \(m,\) with m at least 1, got \(0,\)"),
        ("beta", [0.1, -0.1], "values: -0.1 at index 1: need numbers from 0 to 1"),
        ("beta", [0.1, 0.0, 0.2], "values: 0 at index 1: only the first may be 0"),
        ("beta", [0.1, 1.0, 0.2], "values: 1 at index 1: only the last may be 1"),
        ("alpha_bar", [0.9, 0.5, 0.6, 0.1], "values: 0.6 at index 2: need numbers that all rise or all fall"),
        ("alpha_bar", [0.9, 1.5], "values: 1.5 at index 1: need numbers from 0 to 1"),
        ("sigma", [0.1, 0.1], "values: 0.1 at index 1: need numbers that all rise"),
        ("snr", [math.nan], "values: nan at index 0: need numbers from 0 to inf"),
        ("flow", [0.2, -0.5], "values: -0.5 at index 1: need numbers from 0 to 1"),
    ],
)
def test_bad_numbers_are_named(name, values, message):
    with pytest.raises(ValueError, match=message):
        read(name, values)


def test_ranges_are_what_the_ends_are():
    for name, row in LEVELS.items():
        assert sorted([float(row.write(ENDS)[0]), float(row.write(ENDS)[-1])]) == [row.low, row.high], name


# --- Schedules of well-known models ---


def test_schedules_of_well_known_models():
    stable = schedules.scaled_linear(1000)
    assert float(stable.beta[1]) == pytest.approx(0.00085) and float(stable.beta[-1]) == pytest.approx(0.012)
    assert float(stable.beta[500].sqrt()) == pytest.approx(
        math.sqrt(0.00085) + 499 / 999 * (math.sqrt(0.012) - math.sqrt(0.00085))
    )
    edm = schedules.karras(18).tau.sqrt()
    assert float(edm[1]) == pytest.approx(0.002) and float(edm[-1]) == pytest.approx(80)
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    assert float(edm[9]) == pytest.approx((low + 8 / 17 * (high - low)) ** 7)
    published = schedules.published_cosine(1000)
    assert float(published.beta.max()) == pytest.approx(0.999)
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    for t in (1, 400, 999):
        true = math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / start
        assert float(published.alpha_bar[t]) == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.scaled_linear(1), "T: 1: need"),
        (lambda: schedules.scaled_linear(5, 0.0), "beta_1: 0.0 is outside"),
        (lambda: schedules.scaled_linear(5, 0.1, 2.0), "beta_T: 2.0 is outside"),
        (lambda: schedules.karras(5, 1.0, 1.0), "sigma_min, sigma_max: 1.0, 1.0: need"),
        (lambda: schedules.karras(5, rho=0.0), "rho: 0.0: need"),
        (lambda: schedules.published_cosine(5, -1.0), "offset: -1.0: need"),
        (lambda: schedules.published_cosine(5, most=1.0), "most: 1.0: need"),
    ],
)
def test_bad_schedules_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
