"""x0, epsilon, score, v, F and u: converted by their own definitions, in every pair, at both ends of the noise."""

import math

import pytest
import torch
from problems import blobs, close, exact_model, randn, random_schedule

from dpm_lib.diffusion import parametrisations
from dpm_lib.diffusion.parametrisations import NAMES, amplification, convert, preconditioning, weight

LEVELS = torch.linspace(-14.0, 14.0, 29, dtype=torch.float64)


def spelled_out(x0, eps, log_tau: float) -> dict[str, torch.Tensor]:
    """x_t, and all six of what a network may predict, each by its definition."""
    a, s = math.sqrt(1 / (1 + math.exp(log_tau))), math.sqrt(1 / (1 + math.exp(-log_tau)))
    xt = a * x0 + s * eps
    own = {"x0": x0, "epsilon": eps, "score": -(xt - a * x0) / s**2, "v": a * eps - s * x0}
    return own | {"edm": (x0 - a * xt) / s, "flow": eps - x0, "xt": xt}


@pytest.mark.equation("eq-sm-one")
def test_each_is_converted_to_each_other():
    x0, eps = randn(4, 3), randn(4, 3, seed=1)
    for level in (-2.0, 0.3, 2.5):
        own = spelled_out(x0, eps, level)
        for source in NAMES:
            for target in NAMES:
                close(convert(own[source], own["xt"], level, source, target), own[target], rtol=1e-10, atol=1e-11)


def test_levels_may_differ_from_row_to_row():
    x0, eps, levels = randn(3, 2), randn(3, 2, seed=1), torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    rows = [spelled_out(x0[i : i + 1], eps[i : i + 1], float(levels[i])) for i in range(3)]
    xt, v = (torch.cat([row[key] for row in rows]) for key in ("xt", "v"))
    close(convert(v, xt, levels, "v", "epsilon"), eps)


@pytest.mark.equation("eq-sm-amplification")
def test_an_error_becomes_what_the_definitions_make_of_it():
    """An error of 1e-3 in a guess, carried along by the definitions alone."""
    x0, eps = randn(1, 1), randn(1, 1, seed=1)
    for level in (-3.0, 1.0):
        own = spelled_out(x0, eps, level)
        for source in NAMES:
            for target in NAMES:
                off = (convert(own[source] + 1e-3, own["xt"], level, source, target) - own[target]) / 1e-3
                ratio = (
                    parametrisations.coefficients(target, level)[1] / parametrisations.coefficients(source, level)[1]
                )
                close(off, ratio, rtol=1e-7)
                close(amplification(level, source, target), ratio.abs())


def test_what_grows_at_which_end():
    tau = LEVELS.exp()
    close(amplification(LEVELS, "epsilon", "x0"), tau.sqrt())
    close(amplification(LEVELS, "x0", "epsilon"), 1 / tau.sqrt())
    close(amplification(LEVELS, "v", "x0").square() + amplification(LEVELS, "v", "epsilon").square(), 1.0)
    assert bool((amplification(LEVELS, "flow", "x0") < 1).all())
    for source in NAMES:
        for target in NAMES:
            both = amplification(LEVELS, source, target) * amplification(LEVELS, target, source)
            close(both, 1.0)
    far = torch.tensor([-700.0, 700.0], dtype=torch.float64)
    close(amplification(far, "v", "x0"), [math.exp(-350), 1.0])


@pytest.mark.equation("eq-sm-one")
def test_the_weight_is_the_square_of_what_an_error_becomes():
    x0, eps = randn(5, 2), randn(5, 2, seed=1)
    guess = randn(5, 2, seed=2)
    for level in (-2.0, 0.5, 3.0):
        own = spelled_out(x0, eps, level)
        for name in NAMES:
            square = (own[name] - convert(guess, own["xt"], level, "x0", name)).square().sum(-1)
            close(square, weight(name, level) * (x0 - guess).square().sum(-1), rtol=1e-12)


@pytest.mark.equation("eq-sm-edm")
def test_preconditioning_is_what_was_asked_for():
    """Input and target of variance 1, and no other c_skip with such a target makes c_out smaller."""
    for std in (1.0, 0.5, 3.0):
        for level in (-5.0, 0.0, 4.0):
            skip, out, enter = (float(part) for part in preconditioning(level, std))
            tau = math.exp(level)
            assert enter**2 * (std**2 + tau) == pytest.approx(1, rel=1e-12)

            def least(c, tau=tau, std=std):  # the variance of x_0 - c z, which F times c_out has to be
                return (1 - c) ** 2 * std**2 + c**2 * tau

            assert out**2 == pytest.approx(least(skip), rel=1e-10)
            for other in (skip - 1e-3, skip + 1e-3):  # given
                assert least(other) > out**2


def test_the_library_has_preconditioned_so_all_along():
    """GaussianReverse's readout of its network is EDM's, in the chain's units, for data of variance 1; F is -v."""
    schedule = random_schedule(5)
    model, xt = exact_model(blobs(), schedule, "posterior"), randn(4, 2)
    for t in (2, 4):
        level = schedule.log_tau[t]
        raw = model.reverse.network(xt, torch.full((4,), t), level.expand(4))
        skip, out, enter = preconditioning(level)
        z = xt / enter
        close(model.reverse.moments(xt, t, model.kernel)[0], skip * z + out * raw)
        x0_hat = model.reverse.moments(xt, t, model.kernel)[0]
        close(raw, convert(x0_hat, xt, level, "x0", "edm"), rtol=1e-9)
        close(raw, -convert(x0_hat, xt, level, "x0", "v"), rtol=1e-9)


def test_what_is_no_prediction_is_refused():
    with pytest.raises(ValueError, match="name: 'noise': need one of 'x0', 'epsilon'"):
        parametrisations.coefficients("noise", 0.0)
    with pytest.raises(ValueError, match=r"data_std: 0\.0: need a positive"):
        preconditioning(0.0, 0.0)


@pytest.mark.equation("eq-sm-one")
def test_a_conversion_in_numbers_is_that_of_guesses_and_keeps_its_digits():
    """P x_t + Q y, by the definitions; epsilon to v is -s/a and 1/a also where the chain has hardly begun."""
    x0, eps = randn(4, 3), randn(4, 3, seed=1)
    for level in (-2.0, 0.3, 2.5):
        own = spelled_out(x0, eps, level)
        for source in NAMES:
            for target in NAMES:
                P, Q = parametrisations.conversion(level, source, target)
                close(P * own["xt"] + Q * own[source], own[target], rtol=1e-12, atol=1e-13)
    P, Q = parametrisations.conversion(-30.0, "epsilon", "v")
    close(P, torch.tensor(-math.exp(-15.0), dtype=torch.float64), rtol=1e-12)
    close(Q, torch.tensor(1.0, dtype=torch.float64), rtol=1e-12)
    assert parametrisations.conversion(math.inf, "epsilon", "x0")[1].isinf()
    with pytest.raises(ValueError, match="target: 'u': need one of"):
        parametrisations.conversion(0.0, "x0", "u")
