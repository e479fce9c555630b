"""Objectives: each is what its paper minimises, K stays K in the log of every run, and what cannot be is refused."""

import json
import math

import pytest
import runs
import torch
from problems import blob_data, blobs, close, exact_model, randn, random_schedule, rng, tiny_recipe
from runs import interrupt_at, lines, same_runs, train

from dpm_lib.diffusion import bound, schedules
from dpm_lib.diffusion.loss_weights import OBJECTIVES, on_schedule
from dpm_lib.diffusion.tweedie import Denoiser
from dpm_lib.training.catalogue import get
from dpm_lib.training.objective import Objective, draw_batch, step_weights, times
from dpm_lib.training.trainer import Run

OTHERS = OBJECTIVES[1:]
FIXED = {"covariance": "posterior", "learn_schedule": False}


def recipe(**settings):
    return tiny_recipe(**FIXED | settings)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


# What is minimised


def own_loss(name: str, model, x0, t: int, noise) -> torch.Tensor:
    """The squared error of what the paper's network predicts, with the paper's factor, (n,): its own definitions."""
    alpha_bar = model.schedule.alpha_bar[t]
    signal, spread, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), model.schedule.tau[t].sqrt()
    xt = signal * x0 + spread * noise
    score = model.score(xt, t)
    eps_hat = -spread * score
    if name == "simple":
        return (noise - eps_hat).square().sum(-1)
    if (
        name == "score"
    ):  # lambda(sigma) = sigma^2 on the scores of z = x0 + sigma eps, whose conditional one is -eps / sigma
        return sigma**2 * (Denoiser(model).score(xt / signal, sigma**2) + noise / sigma).square().sum(-1)
    x0_hat = (xt - spread * eps_hat) / signal
    if name == "v":
        v, v_hat = signal * noise - spread * x0, signal * eps_hat - spread * x0_hat
        return (v - v_hat).square().sum(-1)
    if name == "flow":  # the straight path's x_s = (1 - s) x_0 + s eps, whose velocity is eps - x_0
        s = sigma / (1 + sigma)
        x_s = (1 - s) * xt / signal
        return ((noise - x0) - (x_s - x0_hat) / s).square().sum(-1)
    weight = (sigma**2 + 1) / (sigma * 1) ** 2  # Karras et al. 2022, table 1, sigma_data = 1
    return weight * (x0 - Denoiser(model).posterior_mean(xt / signal, sigma**2)).square().sum(-1)


@pytest.mark.equation("eq-sm-one")
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("covariance", ["posterior", "fixed_large"])
def test_the_loss_is_that_of_the_paper_and_k_is_estimated_beside_it(name, covariance):
    schedule = random_schedule(7)
    model, weights = exact_model(blobs(), schedule, covariance), on_schedule(name, schedule)
    objective = Objective(model, weights=weights)
    x0, total = randn(1, 2), 0.0
    ends = bound.ends(model.kernel, x0)
    for t in range(2, 8):
        noise = randn(1, 2, seed=t)
        loss, K = objective(x0, torch.tensor([t]), noise)
        close(loss, own_loss(name, model, x0, t, noise), rtol=1e-11)
        kl = bound.step_kl(model, x0, t, noise)
        close(K, ends[0] + ends[1] + ends[2] - ends[3] - kl / weights.probability[t])
        assert loss.shape == K.shape == () and not K.requires_grad
        total += float(weights.probability[t])
    close(total, 1)


@pytest.mark.equation("eq-sm-bound-squares")
def test_the_bound_is_minus_k_and_its_weights_are_those_of_its_terms():
    schedule = random_schedule(7)
    model = exact_model(blobs(), schedule, "posterior")
    x0, t, noise = randn(6, 2), torch.arange(2, 8), randn(6, 2, seed=1)
    loss, K = Objective(model)(x0, t, noise)
    close(-loss, bound.estimate(model, x0, t, noise).mean())
    close(K, -loss)
    xt = model.kernel.marginal(x0, t).from_noise(noise)
    error = (x0 - model.reverse.moments(xt, t, model.kernel)[0]).square().sum(-1)
    close(on_schedule("bound", schedule).share[t] * error, bound.step_kl(model, x0, t, noise), rtol=1e-9)


def test_on_a_geometric_schedule_simple_and_score_are_the_bound():
    """(SNR_{t-1} - SNR_t) / 2 is SNR_t (e^step - 1) / 2, and all steps of log tau are equal."""
    schedule = schedules.geometric(30, 1e-4, 400.0)
    step = math.log(400.0 / float(schedule.tau[1])) / 29
    bounds = on_schedule("bound", schedule).share[2:]
    for name in ("simple", "score"):
        close(on_schedule(name, schedule).share[2:] / bounds, 2 / math.expm1(step) / 29, rtol=1e-9)
    assert float((on_schedule("v", schedule).share[2:] / bounds).log().diff().abs().max()) > 0.1


@pytest.mark.parametrize("name", OTHERS)
def test_times_are_drawn_by_their_probability(name):
    """As often as it says, up to one: in each batch, and on average."""
    r = recipe(objective=name, T=12, batch=64)
    expected = 64 * step_weights(r).probability
    assert (expected[2:].max() > 1.5 * expected[2:].min()) == (name in ("edm", "flow"))  # geometric: even in both
    counts = torch.stack([torch.bincount(draw_batch(blob_data(), r, rng(s))[1], minlength=13) for s in range(300)])
    assert counts.shape == (300, 13) and bool((counts.sum(1) == 64).all())
    assert float((counts - expected).abs().max()) < 1 + 1e-9
    assert float((counts.double().mean(0) - expected).abs().max()) < 4 * 0.5 / math.sqrt(300)


def test_the_first_place_is_the_first_step():
    """A shift of exactly 0 stays within 2..T."""
    for name in OTHERS:
        t = times(recipe(objective=name, T=12), torch.arange(64, dtype=torch.float64))
        assert int(t[0]) == 2 and int(t.max()) <= 12


def test_steps_that_are_uneven_in_log_tau():
    """The score's times and EDM's, on a schedule whose steps differ: the mass of what is between two levels."""
    schedule = random_schedule(6)
    log_tau = schedule.log_tau
    close(on_schedule("score", schedule).probability[2:], (log_tau[2:] - log_tau[1:-1]) / (log_tau[-1] - log_tau[1]))
    fine = torch.linspace(float(log_tau[1]), float(log_tau[-1]), 400_001, dtype=torch.float64)
    density = torch.exp(-0.5 * ((0.5 * fine + 1.2) / 1.2).square())  # of ln sigma, Karras et al. 2022
    which = torch.searchsorted(log_tau[1:].contiguous(), fine).clamp(1, 5)
    mass = torch.zeros(6, dtype=torch.float64).index_add(0, which, density)[1:]
    close(on_schedule("edm", schedule).probability[2:], mass / mass.sum(), rtol=1e-4)
    s = schedule.tau.sqrt() / (1 + schedule.tau.sqrt())
    close(on_schedule("flow", schedule).probability[2:], s[1:].diff() / (s[-1] - s[1]))


# Runs


@pytest.mark.parametrize("name", ["simple", "edm"])
def test_k_stays_k_in_the_log_and_the_loss_has_its_own_name(tmp_path, name):
    train(tmp_path, objective=name, steps=120, **FIXED)
    log = lines(tmp_path)
    assert [set(line) for line in log] == [{"step", "bound_bits", "loss"}] * 3
    run = Run(recipe(objective=name, steps=120), 0, "cpu", data=blob_data())
    batch = draw_batch(run.data, run.recipe, rng(0))
    loss, K = run.objective(*batch)
    close(run.advance(), K / math.log(2))
    run.collect()
    close(run.recent_losses, loss.detach())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["bound_bits"] < metrics["ceiling_bits"] and "loss" not in metrics


def test_the_bound_has_no_other_loss(tmp_path):
    train(tmp_path, steps=60)
    assert all(set(line) == {"step", "bound_bits"} for line in lines(tmp_path))


def test_k_is_the_same_whatever_is_minimised():
    """At the start the model is the same, and so is K on average over batches, whichever times are drawn."""
    found = {}
    for name in OBJECTIVES:
        r = recipe(objective=name, batch=512)
        run = Run(r, 0, "cpu", data=blob_data())
        with torch.no_grad():
            parts = [run.objective(*draw_batch(run.data, r, rng(seed)))[1] for seed in range(40)]
        found[name] = torch.stack(parts)
    for name in OTHERS:
        apart = (found[name].mean() - found["bound"].mean()).abs()
        assert float(apart) < 4 * math.sqrt(float(found[name].var() + found["bound"].var()) / 40)


@pytest.mark.parametrize("step", [30, 75])
def test_a_run_resumes_bit_for_bit(tmp_path, monkeypatch, step):
    settings = {"objective": "score", "steps": 120, "checkpoint_every": 20, **FIXED}
    train(tmp_path / "whole", **settings)
    with monkeypatch.context() as context:
        interrupt_at(context, step)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", **settings)
    train(tmp_path / "parts", resume=True, **settings)
    same_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("name", OTHERS)
def test_every_objective_learns(name):
    """K rises for all of them: they agree on what the best guess of x_0 is."""
    settings = {"objective": name, "T": 20, "beta_1": 1e-3, **FIXED}
    _, before = train(steps=1, lr=1e-9, **settings)
    _, after = train(steps=200, lr=0.03, **settings)
    assert after["gap_bits"] < before["gap_bits"] - 3 * before["gap_bits_stderr"]


def test_the_ddpm_recipes_differ_in_nothing_that_costs():
    for name in ("swiss-roll", "digits"):
        plain, ddpm = get(name), get(f"{name}-ddpm")
        changed = {key for key, value in plain.to_dict().items() if ddpm.to_dict()[key] != value}
        free = {"name", "about", "T", "beta_1", "tau_T", "schedule", "learn_schedule", "covariance", "objective"}
        assert changed <= free and ddpm.objective == "simple" and ddpm.covariance == "posterior"
        schedule = Run(ddpm.override(width=8, depth=1), 0, "cpu").model.schedule
        close(schedule.beta[torch.tensor([1, 1000])], [1e-4, 0.02])


# What is refused


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("heartbeat", {"objective": "simple"}, "objective: 'simple' does nothing here: .* bits have the bound alone"),
        (
            "swiss-roll",
            {"objective": "simple"},
            "objective: 'simple': need covariance=posterior or fixed_large, .* got 'full'",
        ),
        ("digits", {"objective": "v"}, "objective: 'v': need covariance=posterior or fixed_large, .* got 'levels'"),
        ("swiss-roll-ddpm", {"learn_schedule": True}, "objective: 'simple': need learn_schedule=false"),
        (
            "swiss-roll-ddpm",
            {"schedule": "even", "objective": "score"},
            "objective: 'score': need another schedule than 'even'",
        ),
        ("swiss-roll-ddpm", {"objective": "eps"}, "objective: 'eps' is not one of bound, simple, score, v, edm"),
    ],
)
def test_an_objective_that_cannot_be_had_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        get(name).override(**settings)


def test_weights_are_refused_where_they_do_not_exist():
    with pytest.raises(ValueError, match="objective: 'eps' is not one of bound"):
        on_schedule("eps", random_schedule(4))
    with pytest.raises(ValueError, match="objective: 'score': need a schedule whose tau_T is finite"):
        on_schedule("score", schedules.even(4))
    assert bool(torch.isfinite(on_schedule("edm", schedules.even(4)).share).all())
