"""The figures of the chapter on annealing: their numbers against dpm_lib and NumPy twins, and what a reader can do."""

import math

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import AnnealedParticles, WorkHistograms
from dpm_lib.montecarlo import ais, annealing_path
from dpm_lib.probability import resampling, target_densities
from dpm_lib.probability.target_densities import TwoClumps

SETTING = {"distance": 6.0, "std": 0.7, "share": 0.8, "spread": 2.0, "step": 1.0}
TARGET, PROPOSAL = TwoClumps(1, share=0.8), target_densities.Normal(1, 2.0)


def test_step_is_that_of_the_library(js):
    """The library's densities and its rule of acceptance, fed the same noise."""
    rng = np.random.default_rng(0)
    x, noise, uniform = 2 * rng.normal(size=60), rng.normal(size=60), rng.random(60)
    log_w = rng.normal(size=60)
    args = {"x": x, "w": log_w, "noise": noise, "u": uniform, "s": SETTING}
    code = "(m, a) => { m.annealStep(a.x, a.w, 0.3, 0.45, a.s.step, a.noise, a.u, a.s); return [a.x, a.w]; }"
    moved, weights = np.array(js("annealing.js", code, args))
    path = annealing_path.Path(TARGET.log_prob, PROPOSAL)
    ends, ends_y = (path.ends(torch.from_numpy(v)[:, None]) for v in (x, x + noise))
    np.testing.assert_allclose(weights, log_w + 0.15 * path.gain(ends).numpy(), atol=1e-10)
    rise = (path.log_prob(ends_y, 0.45) - path.log_prob(ends, 0.45)).numpy()
    np.testing.assert_allclose(moved, np.where(np.log(uniform) < rise, x + noise, x), atol=1e-12)
    assert 0 < (moved != x).sum() < 60


def test_summary_and_resampling(js):
    log_w = 2 * np.random.default_rng(1).normal(size=50) - 700
    code = "(m, w) => [m.weigh(w), m.systematic(m.weigh(w).shares, 0.3)]"
    found, index = js("probability.js", code, log_w)
    w = np.exp(log_w + 700)
    assert found["logMean"] == pytest.approx(math.log(w.mean()) - 700)
    assert found["size"] == pytest.approx(resampling.effective_size(torch.from_numpy(log_w)))
    np.testing.assert_allclose(found["shares"], w / w.sum(), rtol=1e-9)
    twin = np.searchsorted(np.cumsum(w / w.sum()), (np.arange(50) + 0.3) / 50)
    np.testing.assert_array_equal(index, twin)


def test_exact_log_z_along_the_path(js):
    x = np.linspace(-30, 30, 60_001)
    ends = annealing_path.Path(TARGET.log_prob, PROPOSAL).ends(torch.from_numpy(x)[:, None])
    code = "(m, s) => [0, 0.25, 0.7, 1].map((b) => m.exactLogZ(b, s))"
    wanted = [
        math.log(float(annealing_path.Path.log_prob(ends, b).exp().sum()) * (x[1] - x[0]))
        for b in (0.0, 0.25, 0.7, 1.0)
    ]
    np.testing.assert_allclose(js("annealing.js", code, SETTING), wanted, atol=1e-6)


@pytest.mark.parametrize("resampling", [False, True])
def test_runs_in_the_page_are_unbiased(js, resampling):
    code = """(m, a) => Array.from({ length: 150 }, (_, i) =>
      m.wholeRun(100, 12, a.resampling, i, a.s).at(-1).logZ)"""
    z = np.exp(js("annealing.js", code, {"resampling": resampling, "s": SETTING}))
    assert abs(z.mean() - 1) < 4 * z.std() / math.sqrt(len(z))


@pytest.mark.parametrize(("K", "rho", "back"), [(1, 0.0, False), (6, 0.5, False), (6, 0.5, True)])
def test_works_are_those_of_the_library(js, K, rho, back):
    noise = np.random.default_rng(2).normal(size=(40, K))
    args = {"K": K, "rho": rho, "noise": noise.ravel(), "back": back, "s": {"shift": 2.0, "logZ": 0.7}}
    found = js("work.js", "(m, a) => m.works(a.K, a.rho, a.s, a.noise, a.back)", args)
    column = iter(torch.from_numpy(noise).T.unsqueeze(-1))

    def move(path, x, ends, b, k, generator):
        x = 2 * b + rho * (x - 2 * b) + math.sqrt(1 - rho**2) * next(column)
        return x, path.ends(x)

    class Start(target_densities.Normal):
        def sample(self, n, generator):
            return next(column)

    log_target = lambda x: target_densities.Normal(1).log_prob(x - 2.0) + 0.7  # noqa: E731
    b, unused = torch.linspace(0, 1, K + 1, dtype=torch.float64), torch.Generator()
    if back:
        draws = 2 + next(column)
        run = ais.reverse_annealed_importance_sampling(log_target, Start(1), b, draws, unused, move)
        wanted = run.log_weights
    else:
        wanted = -ais.annealed_importance_sampling(log_target, Start(1), b, 40, unused, move).log_weights
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-10)


def test_variance_and_free_energy(js):
    code = "(m) => [m.workVariance(5, 0.6, { shift: 2 }), m.freeEnergy([1, 2, 4]), m.average([1, 2, 6])]"
    twin = 4 / 25 * sum(0.6 ** abs(i - j) for i in range(5) for j in range(5))
    free = -math.log(np.mean(np.exp([-1, -2, -4])))
    np.testing.assert_allclose(js("work.js", code), [twin, free, 3], rtol=1e-12)


def test_particles_answer_their_controls(page, write_page):
    open_figures(page, write_page, AnnealedParticles())
    assert data(page, "t") == "32"
    page.get_by_role("slider", name="Temperatures K").press("ArrowLeft")
    settle(page)
    assert data(page, "t") == "16"
    before = data(page, "log-z")
    page.get_by_label("Resample").check()
    settle(page)
    assert data(page, "log-z") != before
    page.get_by_role("slider", name="Temperature k").press("Home")
    settle(page)
    assert data(page, "t") == "0" and float(data(page, "log-z")) == 0
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.t) === 16")


def test_work_answers_its_controls(page, write_page):
    open_figures(page, write_page, WorkHistograms())
    page.get_by_role("slider", name="Temperatures K").press("End")
    settle(page)
    assert data(page, "number") == "512"
    words = page.locator(".dpm-detail").text_content()
    page.get_by_role("slider", name="Kept by a move").press("End")
    settle(page)
    assert page.locator(".dpm-detail").text_content() != words


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnnealedParticles(share=1.0), "share: 1.0: need a number in"),
        (lambda: AnnealedParticles(std=0.0), "std: 0.0: need a positive"),
        (lambda: AnnealedParticles(n=1), "n: 1: need at least 2"),
        (lambda: WorkHistograms(shift=-1.0), "shift: -1.0: need a positive"),
        (lambda: WorkHistograms(log_z=math.nan), "log_z: nan: need a finite"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
