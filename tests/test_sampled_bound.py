"""K from few calls: unbiased whatever the pilot says, exact where the denoiser is linear, and worth its calls."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import dpm_lib
from dpm_lib.core import results
from dpm_lib.core.random import normal, seeded, uniform
from dpm_lib.data.registry import load
from dpm_lib.diffusion import bound, sampled_bound, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.interop import from_denoiser

SHORT = schedules.geometric(12, 1e-3, 100.0)


def bent(z, sigma):
    """A denoiser that is neither right nor linear."""
    s = sigma.view(-1, 1)
    return torch.tanh(z) / (1 + 0.3 * s) + 0.1 * z.roll(1, -1)


def data(n, dim=3, seed=0):
    x = normal((n, dim), seeded(seed))
    return x * torch.tensor([1.0, 0.5, 0.1]).double()[:dim] + 0.2 * x.square()


def full(model, x0, repeats, seed=1):
    """The mean of the full sum, (n,), and its standard error, over so many draws of noise."""
    K = bound.terms(model, x0.repeat(repeats, 1), seeded(seed)).K.reshape(repeats, -1)
    return K.mean(0), K.std(0) / math.sqrt(repeats)


@pytest.mark.parametrize("last", ["edge", "levels"])
@pytest.mark.parametrize("calls", [1, 5])
def test_it_is_unbiased_for_each_state(calls, last):
    """2000 estimates of three states, by a pilot's plan and by one that is wrong in every way, against the full sum."""
    model = from_denoiser(bent, SHORT.log_tau, 3, dtype=torch.float64, last=last, count=9)
    x0 = data(6) if last == "edge" else (data(6).clamp(-1, 1) * 4).round() / 4
    wanted, error = full(model, x0[:3], 2000)
    g = seeded(2)
    good = sampled_bound.pilot(model, x0, g, times=6)
    pi = torch.cat([torch.zeros(2).double(), 0.1 + uniform((11,), g)])
    wrong = sampled_bound.plan(good.linear, pi / pi.sum(), normal((13,), g), normal((13,), g))
    for plan in (good, wrong):
        many = sampled_bound.estimate(model, x0[:3].repeat(2000, 1), plan, calls, g)
        K = many.K.reshape(2000, 3)
        apart = (K.mean(0) - wanted) / (K.std(0).square() / 2000 + error.square()).sqrt()
        assert apart.abs().max() < 4, apart
        assert many.calls == 6_000 * (calls + (last == "levels"))


def test_each_bin_is_unbiased():
    model = from_denoiser(bent, SHORT.log_tau, 3, dtype=torch.float64)
    x0, g = data(4), seeded(3)
    edges = torch.tensor([2, 3, 6, 13])
    plan = sampled_bound.pilot(model, x0, g, times=6, edges=edges)
    found = sampled_bound.estimate(model, x0[:1].repeat(8000, 1), plan, 2, g)
    terms = bound.terms(model, x0[:1].repeat(2000, 1), g)
    for b, (low, high) in enumerate(((2, 3), (3, 6), (6, 13))):
        mine, exact = found.steps[:, b], -terms.kl[low:high].sum(0)
        error = math.sqrt(float(mine.var()) / 8000 + float(exact.var()) / 2000)
        assert abs(float(mine.mean() - exact.mean())) < 4 * error
    assert torch.allclose(found.prior, terms.prior[0] + terms.entropy_T[0]) and (found.prior <= 0).all()
    assert torch.allclose(found.last, terms.edge[0] - terms.entropy_1[0])


def test_for_gaussian_data_one_call_is_exact():
    """Their best denoiser is the control variate itself: nothing is left to chance but the data."""
    n, variance = 400, torch.tensor([2.0, 0.3]).double()
    x0 = normal((n, 2), seeded(0)) * variance.sqrt()
    x0 = (x0 - x0.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x0.T, correction=0)).T)
    x0 = x0 * variance.sqrt()  # so that mean and covariance are exactly theirs
    schedule = schedules.linear(1000, 1e-4, 0.02)

    def guess(z, sigma):
        return z * variance / (variance + sigma.square().unsqueeze(1))

    model = from_denoiser(guess, schedule.log_tau, 2, dtype=torch.float64)
    plan = sampled_bound.pilot(model, x0, seeded(1))
    found = sampled_bound.estimate(model, x0, plan, 1, seeded(2)).K
    tau = schedule.tau[1:].unsqueeze(1)
    error = (variance * tau[1:] / (variance + tau[1:])).sum(1)
    total = float((0.5 * (1 / tau[:-1] - 1 / tau[1:]).squeeze(1) * error).sum())
    prior, edge, entropy_T, entropy_1 = bound.ends(model.kernel, x0)
    expected = float((prior + edge + entropy_T - entropy_1).mean()) - total
    assert float(found.mean()) == pytest.approx(expected, abs=1e-6)


def test_parts_make_one_estimate():
    """Combs are shifted by the number of the row: parts that know it give the times of the whole."""
    model = from_denoiser(bent, SHORT.log_tau, 3, dtype=torch.float64)
    x0 = data(5)
    plan = sampled_bound.pilot(model, x0, seeded(0), times=6)
    seen = []
    step_kl = bound.step_kl

    def watched(model, x0, t, noise):
        seen.append(t)
        return step_kl(model, x0, t, noise)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bound, "step_kl", watched)
        sampled_bound.estimate(model, x0, plan, 3, seeded(0), start=0.2)
        whole = torch.cat(seen)
        seen.clear()
        for first in (0, 2):
            sampled_bound.estimate(model, x0[first : first + 3 if first else 2], plan, 3, seeded(0), first, 0.2)
        assert torch.equal(torch.cat(seen), whole)
    counts = torch.bincount(sampled_bound._drawn(plan.pi, torch.linspace(0, 1, 10_001)[:-1].double()), minlength=13)
    assert torch.allclose(counts.double() / 10_000, plan.pi, atol=3e-4)


class Largest(TorchDispatchMode):
    """The number of entries of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return out


def test_memory_is_constant_in_T(monkeypatch):
    """Whatever is of length T is three rows of numbers at most; a table of times and states is never made."""
    monkeypatch.setattr(sampled_bound, "ROWS", 64)
    most = []
    for T in (300, 1000):
        model = from_denoiser(bent, schedules.geometric(T, 1e-4, 100.0).log_tau, 3, dtype=torch.float64)
        with Largest() as watch:
            plan = sampled_bound.pilot(model, data(20), seeded(0), states=4)
            sampled_bound.estimate(model, data(20), plan, 10, seeded(0))
        most.append(watch.entries)
    assert most[0] <= 1500 and most[1] <= 3 * 1001


def test_few_calls_have_the_standard_error_of_the_full_sum():
    """A trained network that is told its level, on 100 levels: 5 calls for each picture, and 99 for the full sum."""
    trained, _ = dpm_lib.load_model(results.path("digits.safetensors"))
    fine = GaussianKernel(64, schedules.geometric(100, 1e-7, 400.0))
    model, g = DiffusionModel(fine, trained.reverse), seeded(0)
    x0 = load("digits").held_out(60)
    plan = sampled_bound.pilot(model, x0, g, states=8, times=12)
    few = sampled_bound.estimate(model, x0, plan, 5, g).K
    with torch.no_grad():
        whole = bound.terms(model, x0[:12], g).K
    assert float(few.std()) < 2 * float(whole.std())  # so 4 times as many pictures, at a fifth of the calls in all
    assert float(few.std()) > 0.8 * float(whole.std())
    apart = few[:12] - whole
    assert abs(float(apart.mean())) < 4 * float(apart.std()) / math.sqrt(12)


def test_bits_have_no_linear_denoiser_and_need_none():
    recipe = dpm_lib.recipe("heartbeat").override(T=20, width=8, depth=1)
    from dpm_lib.training.build import build

    model = build(recipe, dim=20)
    x0 = load("heartbeat").held_out(40)
    plan = sampled_bound.pilot(model, x0, seeded(0))
    found = sampled_bound.estimate(model, x0.repeat(20, 1), plan, 2, seeded(1)).K
    wanted = bound.terms(model, x0.repeat(20, 1), seeded(2)).K
    error = math.sqrt(float(found.var() + wanted.var()) / 800)
    assert abs(float(found.mean() - wanted.mean())) < 4 * error
    assert not plan.slope.any() and plan.level.any()


def test_what_makes_no_sense_is_refused():
    model = from_denoiser(bent, SHORT.log_tau, 3, dtype=torch.float64)
    x0, g = data(4), seeded(0)
    plan = sampled_bound.pilot(model, x0, g, times=6)
    for call, message in (
        (lambda: sampled_bound.pilot(model, x0[:1], g), "x0: 1 rows: need at least 2"),
        (lambda: sampled_bound.pilot(model, x0[0], g), "x0: need shape"),
        (lambda: sampled_bound.estimate(model, x0, plan, 0, g), "calls: 0: need at least 1"),
        (lambda: sampled_bound.estimate(model, x0, plan, 1, g, start=1.5), "start: 1.5: need"),
        (lambda: sampled_bound.plan(plan.linear, torch.ones(13), plan.slope, plan.level), "pi: need a law"),
        (lambda: sampled_bound.bins(1), "T: 1: need at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_large_picture_has_a_diagonal_covariance(monkeypatch):
    monkeypatch.setattr(sampled_bound, "LARGEST_BASIS", 2)
    test_it_is_unbiased_for_each_state(5, "edge")
