"""The finite-volume solver and its steppers: conservation, positivity, equilibrium, orders, duality, errors."""

import math
import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from problems import close, rng
from scipy.linalg import expm
from scipy.sparse.linalg import expm_multiply
from scipy.stats import kstest, norm

from dpm_lib.markov.matrix_exponential import CHEBYSHEV, EXACT, STEPPERS, WIDER, chebyshev, tr_bdf2, uniformisation
from dpm_lib.sde import fokker_planck, grids, processes
from dpm_lib.sde.sde import SDE

OU = processes.ornstein_uhlenbeck()
WELLS = processes.langevin(lambda x: 4 * x - 4 * x**3)
CURVED = SDE(lambda x, t: torch.sin(x) - 0.5 * x, lambda x, t: 1 + 0.3 * torch.cos(x), autonomous=True)
FAT = SDE(lambda x, t: -x, lambda x, t: (1 + x**2 / 2).sqrt(), autonomous=True)
WHIRL = SDE(lambda x, t: torch.stack([-x[:, 0] + 2 * x[:, 1], -x[:, 1] - 2 * x[:, 0]], -1), lambda x, t: math.sqrt(2))
X = np.linspace(-4, 4, 161)
PLANE = (np.linspace(-3, 3, 31), np.linspace(-3, 3, 41))


def bump(x, y=None):
    one = norm.pdf(x, 0.5, 0.25)
    return one if y is None else one * norm.pdf(y, -0.3, 0.3)


def normalised(log_p, grid):
    p = np.exp(log_p - log_p.max())
    return p / (p.sum() * grids.cell_volume(grid))


# --- The rate matrix ---


@pytest.mark.parametrize(("process", "grid"), [(OU, X), (WELLS, X), (FAT, X), (WHIRL, PLANE), (WELLS, PLANE)])
def test_the_matrix_is_a_generator(process, grid):
    Q = fokker_planck.generator(process, grid)
    off = Q - sparse.diags_array(Q.diagonal())
    assert Q.shape[0] == len(grids.points(grid)) and off.min() >= 0
    assert np.abs(Q.sum(1)).max() <= 1e-14 * np.abs(Q.diagonal()).max()


@pytest.mark.parametrize("process", [OU, WELLS, FAT])
def test_the_matrix_against_a_naive_twin(process):
    x = np.linspace(-2, 3, 11)
    h, Q = x[1] - x[0], np.zeros((11, 11))

    def mu(v):
        return process.mu(torch.as_tensor(v).reshape(-1, 1), 0.0).numpy().ravel()

    def D(v):
        return process.covariance(torch.as_tensor(v).reshape(-1, 1), 0.0).numpy().ravel()

    for i in range(10):
        fine = np.linspace(x[i], x[i + 1], 2001)
        rise = np.trapezoid(2 * mu(fine) / D(fine), fine)
        Q[i, i + 1] = D(x[i])[0] / (2 * h**2) * -rise / math.expm1(-rise)
        Q[i + 1, i] = D(x[i + 1])[0] / (2 * h**2) * rise / math.expm1(rise)
    Q -= np.diag(Q.sum(1))
    np.testing.assert_allclose(fokker_planck.generator(process, x).toarray(), Q, rtol=1e-6, atol=1e-9)


def test_bernoulli_function():
    z = np.array([-800.0, -3.0, -1e-9, 0.0, 1e-9, 3.0, 800.0])
    close(fokker_planck.bernoulli(-z), fokker_planck.bernoulli(z) + z)
    assert fokker_planck.bernoulli(0.0) == 1 and fokker_planck.bernoulli(800.0) == 0


def test_states_are_numbered_row_by_row():
    points = grids.points(PLANE)
    assert points.shape == (31 * 41, 2)
    close(points[:41, 1], PLANE[1])
    close(points[::41, 0], PLANE[0])
    Q = fokker_planck.generator(WHIRL, PLANE).tocoo()
    apart = np.abs(points[Q.row] - points[Q.col]).sum(1)
    assert set(np.round(apart, 9)) == {0.0, 0.2, 0.15}


def test_strong_drift_only_flows_downhill():
    fall = SDE(lambda x, t: torch.full_like(x, 1e6), lambda x, t: 1.0)
    Q = fokker_planck.generator(fall, np.linspace(0, 1, 11))
    close(Q.diagonal(1), 1e6 / 0.1)
    assert not Q.diagonal(-1).any()


# --- Equilibrium ---


@pytest.mark.parametrize("cells", [5, 20, 300])
def test_equilibrium_is_exact_at_the_centres_on_any_grid(cells):
    x = np.linspace(-2, 2.5, cells)
    for process, log_p in ((WELLS, -((x**2 - 1) ** 2)), (OU, -(x**2) / 2), (FAT, -3 * np.log1p(x**2 / 2))):
        np.testing.assert_allclose(fokker_planck.stationary(process, x), normalised(log_p, x), rtol=1e-12)
        Q = fokker_planck.generator(process, x)
        assert np.abs(fokker_planck.stationary(process, x) @ Q).max() <= 1e-14 * np.abs(Q.diagonal()).max()


@pytest.mark.parametrize("std", [0.2, 0.1])
def test_equilibrium_is_exact_where_the_drift_bends_within_a_cell(std):
    """Two clumps on nine cells of width 0.55: one rule of six points per cell is 12% off, or all wrong."""
    x = np.linspace(-2, 2.4, 9)
    clumps = processes.langevin(lambda v: (torch.tanh(v / std**2) - v) / std**2)
    log_p = np.logaddexp(-((x - 1) ** 2) / (2 * std**2), -((x + 1) ** 2) / (2 * std**2))
    np.testing.assert_allclose(fokker_planck.stationary(clumps, x), normalised(log_p, x), rtol=1e-10)


@pytest.fixture
def no_elimination(monkeypatch):
    """Where no current flows the neighbours' ratios say all, at once and to the last digits."""
    monkeypatch.setattr(
        fokker_planck, "_null_vector", lambda *_: pytest.fail("eliminated, though every current vanishes")
    )


@pytest.mark.usefixtures("no_elimination")
def test_equilibrium_in_the_plane_is_exact_for_gradients():
    x, y = np.meshgrid(*PLANE, indexing="ij")

    def score(v):
        return torch.stack([-(v[:, 0] ** 3) + v[:, 1], v[:, 0] - v[:, 1]], -1)

    log_p = -(x**4 / 4 - x * y + y**2 / 2)
    found = fokker_planck.stationary(processes.langevin(score), PLANE)
    np.testing.assert_allclose(found, normalised(log_p, PLANE), rtol=1e-12)


@pytest.mark.usefixtures("no_elimination")
def test_equilibrium_in_the_plane_of_two_that_do_not_meet():
    """Each with noise that depends on its own place: the densities multiply."""
    across, up = fokker_planck.stationary(CURVED, PLANE[0]), fokker_planck.stationary(CURVED, 0.7 * PLANE[1])

    def both(f, v, t):
        return torch.cat([f(v[:, :1], t), f(0.7 * v[:, 1:], t) / 0.7], -1)

    process = SDE(lambda v, t: both(CURVED.mu, v, t), lambda v, t: both(CURVED.sigma, v, t))
    found = fokker_planck.stationary(process, PLANE)
    np.testing.assert_allclose(found, 0.7 * np.outer(across, up), rtol=1e-10)


@pytest.mark.usefixtures("no_elimination")
def test_equilibrium_in_the_plane_with_noise_that_depends_on_the_place():
    """D = g(x)^2 in both directions, and the drift (D grad log p + grad D) / 2, of which nothing flows."""
    x, y = np.meshgrid(*PLANE, indexing="ij")

    def drift(v, t):
        g = 1 + 0.3 * torch.cos(v[:, :1])
        bend = torch.cat([-0.6 * g * torch.sin(v[:, :1]), torch.zeros_like(g)], -1)  # grad D
        return 0.5 * (-(g**2) * v + bend)

    process = SDE(drift, lambda v, t: (1 + 0.3 * torch.cos(v[:, :1])).expand(-1, 2))
    np.testing.assert_allclose(
        fokker_planck.stationary(process, PLANE), normalised(-(x**2 + y**2) / 2, PLANE), rtol=1e-9
    )


def test_equilibrium_with_a_current():
    """The whirl keeps the normal density; on the grid up to the order h^2, and as the null vector to rounding."""
    errors = []
    for n in (31, 61):
        grid = (np.linspace(-4, 4, n),) * 2
        x, y = np.meshgrid(*grid, indexing="ij")
        p = fokker_planck.stationary(WHIRL, grid)
        assert p.min() >= 0 and np.abs(p.ravel() @ fokker_planck.generator(WHIRL, grid)).max() < 1e-11
        errors.append(np.abs(p - normalised(-(x**2 + y**2) / 2, grid)).max())
    assert 3.5 < errors[0] / errors[1] < 4.6


def bistable(bump, turn):
    """Two wells at x = -1 and 1; a push to the right near the origin; a whirl."""

    def drift(v, t):
        x, y = v[:, 0], v[:, 1]
        push = bump * torch.exp(-(x**2) / 0.02 - (y / 0.5) ** 4)
        return torch.stack([4 * x - 4 * x**3 + push + turn * y, -2 * y - turn * x], -1)

    return drift


@pytest.mark.parametrize(("noise", "left"), [(0.28, 0.132), (0.3, 0.163)])
def test_a_current_behind_a_barrier_is_seen(noise, left):
    """Balance along one column and all rows says 0.500; the current that breaks it flows where p is tiny."""
    grid = (np.linspace(-2.2, 2.2, 90), np.linspace(-2, 2, 60))
    process = SDE(bistable(0.3, 0.0), lambda x, t: noise)
    p = fokker_planck.stationary(process, grid)
    assert p[:45].sum() / p.sum() == pytest.approx(left, abs=1e-3)
    assert np.abs(p.ravel() @ fokker_planck.generator(process, grid)).max() < 1e-10


@pytest.mark.parametrize("noise", [0.25, 0.2])
@pytest.mark.parametrize("cells", [(60, 40), (40, 60)])
def test_wells_that_hardly_exchange_share_equally(noise, cells):
    """By symmetry one half each, though the way between them is rarer than the last digit of the rates."""
    grid = (np.linspace(-2.2, 2.2, cells[0]), np.linspace(-2, 2, cells[1]))
    p = fokker_planck.stationary(SDE(bistable(0.0, 0.5), lambda x, t: noise), grid)
    assert p.min() >= 0 and p[: cells[0] // 2].sum() / p.sum() == pytest.approx(0.5, abs=1e-9)


def test_the_null_vector_against_dense_algebra():
    for grid in ((np.linspace(-2, 2, 9), np.linspace(-1, 2, 5)), (np.linspace(-1, 2, 2), np.linspace(-2, 2, 11))):
        Q = fokker_planck.generator(WHIRL, grid).toarray()
        n = len(Q)
        null = np.linalg.solve(np.vstack([Q.T[:-1], np.ones(n)]), np.r_[np.zeros(n - 1), 1.0])
        close(fokker_planck.stationary(WHIRL, grid).ravel() * grids.cell_volume(grid), null, rtol=1e-9)


def test_rates_that_underflow_are_named():
    fall = SDE(lambda x, t: 1e6 * torch.stack([1 + 0 * x[:, 0], x[:, 0]], -1), lambda x, t: 1.0)
    with pytest.raises(ValueError, match="grid: a rate between neighbours underflows to 0"):
        fokker_planck.stationary(fall, PLANE)


def test_equilibrium_of_a_deep_well_does_not_overflow():
    steep = processes.langevin(lambda x: -1000 * x)
    p = fokker_planck.stationary(steep, X)
    assert np.isfinite(p).all() and abs(p.sum() * grids.cell_volume(X) - 1) < 1e-12


# --- Time ---


@pytest.mark.parametrize("method", list(STEPPERS))
@pytest.mark.parametrize(("process", "grid"), [(OU, X), (FAT, X), (WHIRL, PLANE)])
def test_mass_is_conserved(method, process, grid):
    if method not in WIDER and isinstance(grid, tuple):
        pytest.skip("for a line alone")
    steps = 60 if isinstance(grid, tuple) else 300  # made anew for each step, since the whirl promises nothing
    p = fokker_planck.solve(process, bump, grid, [0.0, 0.3, 1.0], method, steps)
    shape = tuple(len(a) for a in grids.axes_of(grid))
    assert p.shape == (3, *shape) and p.min() >= 0
    close(p.reshape(3, -1).sum(1) * grids.cell_volume(grid), 1.0, rtol=0, atol=1e-12)
    step = STEPPERS[method](
        fokker_planck.generator(process, grid), 0.01
    )  # the stepper alone, without the last digits put right
    law = p[0].ravel() * grids.cell_volume(grid)
    for _ in range(10):
        law, before = step(law), law.sum()
        assert abs(law.sum() - before) < (1e-13 if method == "chebyshev" else 1e-14)


@pytest.mark.parametrize("dt", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("method", ["uniformisation", "backward-euler"])
def test_never_negative_for_any_step(method, dt):
    for process in (OU, WELLS, FAT):
        spike = np.zeros(61)
        spike[7] = 1.0
        x = np.linspace(-3, 3, 61)
        p = STEPPERS[method](fokker_planck.generator(process, x), dt)(spike)
        assert p.min() >= 0 and abs(p.sum() - 1) < 1e-11


def test_each_step_has_the_rates_at_its_middle():
    """Two steps of what changes in time are the two that hold still there."""
    found = fokker_planck.solve(SDE(lambda x, t: -t * x, lambda x, t: 1.0), bump, X, [0.2, 1.0], steps=2)[-1]
    p = bump
    for middle in (0.4, 0.8):
        still = SDE(lambda x, t, rate=middle: -rate * x, lambda x, t: 1.0, autonomous=True)
        p = fokker_planck.solve(still, p, X, [0.0, 0.4])[-1]
    np.testing.assert_allclose(found, p, rtol=1e-10, atol=1e-15)


def test_the_second_order_step_keeps_its_condition():
    spike, Q = np.zeros(61), fokker_planck.generator(OU, np.linspace(-3, 3, 61))
    spike[30] = 1.0
    largest = np.abs(Q.diagonal()).max()
    here = (1 + math.sqrt(2)) / np.abs(Q.diagonal()[30])
    assert tr_bdf2(Q, (1 + math.sqrt(2)) / largest)(spike).min() >= 0
    assert tr_bdf2(Q, 6 * here)(spike).min() < -1e-3
    cure = re.escape(f"It cannot for dt <= {(1 + math.sqrt(2)) / largest:.3g}; ")
    with pytest.raises(ValueError, match=f"tr-bdf2 gives a negative mass of .* {cure}"):
        fokker_planck.solve(OU, spike / 0.1, np.linspace(-3, 3, 61), [0, 1], "tr-bdf2", 10)


def test_the_rational_function_is_exp_below_zero():
    x = -np.append(0, np.logspace(-8, 9, 2000))
    found = 2 * sum(c / (x - z) for z, c in CHEBYSHEV).real
    assert np.abs(found - np.exp(x)).max() < 1e-13


@pytest.mark.parametrize("dt", [1e-3, 1.0, 1e4])
def test_the_rational_step_against_the_exponential(dt):
    """The error is at most 1e-13 sqrt(sum p^2 / pi), and what may be negative no more; from a spike in a tail, too."""
    x = np.linspace(-3, 3, 61)
    for process in (OU, WELLS, FAT):
        Q, rest = fokker_planck.generator(process, x), fokker_planck.stationary(process, x) * 0.1
        for place in (3, 30):
            spike = np.eye(61)[place]
            exact, found = spike @ expm(dt * Q.toarray()), chebyshev(Q, dt)(spike)
            most = 1e-13 / np.sqrt(rest[place])
            assert np.abs(found - exact).sum() < most + 1e-13 * (1 + dt) and -found.clip(max=0).sum() <= most


def test_the_rational_step_is_for_a_line_and_says_what_it_cannot():
    plane = fokker_planck.generator(WHIRL, PLANE)
    with pytest.raises(ValueError, match="chebyshev is for a line of at least 3 cells: choose uniformisation"):
        chebyshev(plane, 0.1)
    far = np.eye(121)[0] / 0.1  # where pi is exp(-18)
    with pytest.raises(ValueError, match=r"negative mass of .*Take uniformisation"):
        fokker_planck.solve(OU, far, np.linspace(-6, 6, 121), [0, 0.1], "chebyshev", walls=True)


@pytest.mark.parametrize("method", list(STEPPERS))
def test_orders_in_time_against_the_matrix_exponential(method):
    x = np.linspace(-3, 3, 41)
    p0 = normalised(-((x - 0.5) ** 2), x)
    exact = p0 @ expm(fokker_planck.generator(OU, x).toarray())
    errors = [np.abs(fokker_planck.solve(OU, p0, x, [0, 1], method, n)[-1] - exact).max() for n in (40, 80)]
    if method in EXACT:
        assert max(errors) < 1e-13
    else:
        order = {"backward-euler": 1, "tr-bdf2": 2}[method]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(
    ("method", "order"), [("uniformisation", 2), ("chebyshev", 2), ("backward-euler", 1), ("tr-bdf2", 2)]
)
def test_rates_that_change_with_time(method, order):
    """dX = cos(t) dt + dW, a bump that swings: N(m + sin t, v + t). The order in time, on one and the same grid."""
    swing = SDE(lambda x, t: torch.cos(t).expand_as(x), lambda x, t: 1.0)
    x = np.linspace(-6, 7, 131)
    fine = fokker_planck.solve(swing, bump, x, [0, 2], "uniformisation", 640)[-1]
    assert np.abs(fine - norm.pdf(x, 0.5 + math.sin(2), math.sqrt(0.25**2 + 2))).max() < 1e-3
    errors = [np.abs(fokker_planck.solve(swing, bump, x, [0, 2], method, n)[-1] - fine).max() for n in (40, 80)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_short_steps_of_different_length_are_told_apart():
    """One step of 1e-7 and one of 3e-7, of which the second is not the first again."""
    sharp = np.where(np.arange(len(X)) == 9, 1.0, 0.0) / (X[1] - X[0])
    together = fokker_planck.solve(WELLS, sharp, X, [0, 1e-7, 4e-7])
    np.testing.assert_allclose(together[-1], fokker_planck.solve(WELLS, sharp, X, [0, 4e-7])[-1], rtol=1e-9, atol=1e-15)


def test_the_clock_of_the_coefficients_goes_on():
    """The later of two intervals has the drift of its own times: as solved in one go."""
    swing = SDE(lambda x, t: torch.cos(t).expand_as(x), lambda x, t: 1.0)
    x = np.linspace(-6, 7, 66)
    whole = fokker_planck.solve(swing, bump, x, [0, 2], steps=80)[-1]
    np.testing.assert_allclose(fokker_planck.solve(swing, bump, x, [0, 1, 2], steps=40)[-1], whole, atol=1e-12)


@pytest.mark.parametrize("method", WIDER.split(", "))
def test_two_cells_are_enough(method):
    """The routine for a line of cells wants three."""
    x, p = np.array([-1.0, 1.0]), np.array([0.2, 0.3])
    exact = p @ expm(0.1 * fokker_planck.generator(OU, x).toarray())
    np.testing.assert_allclose(fokker_planck.solve(OU, p, x, [0, 0.1], method, walls=True)[-1], exact, rtol=1e-3)


def test_forward_and_backward_agree_by_duality():
    """sum p_t f = sum p_0 f_t, with f_t = exp(Q t) f: the same matrix, applied on its other side."""
    for process, grid in ((FAT, X), (WHIRL, PLANE)):
        p = fokker_planck.solve(SDE(process.drift, process.diffusion, True), bump, grid, [0, 0.7]).reshape(2, -1)
        f = np.sin(grids.points(grid).sum(1))
        f_t = expm_multiply(0.7 * fokker_planck.generator(process, grid), f)
        assert p[1] @ f == pytest.approx(p[0] @ f_t, rel=1e-10)


@pytest.mark.parametrize("process", [OU, WELLS, FAT])
def test_particles_follow_the_density(process):
    start = 0.5 + 0.25 * torch.randn(4000, 1, generator=rng(1), dtype=torch.float64)
    end = process.simulate(start, torch.tensor([0.0, 0.5], dtype=torch.float64), rng(2), substeps=500)[-1, :, 0]
    x = np.linspace(-9, 9, 1801)
    p = fokker_planck.solve(process, bump, x, [0, 0.5], "tr-bdf2", 200)[-1]
    walls = np.append(x - 0.005, x[-1] + 0.005)
    cdf = np.append(0, np.cumsum(p) * 0.01)
    assert kstest(end.numpy(), lambda v: np.interp(v, walls, cdf)).pvalue > 0.01


def test_a_hundred_thousand_states():
    x = np.linspace(-3, 3, 100_000)
    p = fokker_planck.solve(WELLS, lambda x: norm.pdf(x, 0.5, 0.1), x, [0, 1], "backward-euler", 5)[-1]
    assert abs(p.sum() * grids.cell_volume(x) - 1) < 1e-12 and p.min() >= 0
    np.testing.assert_allclose(fokker_planck.stationary(WELLS, x), normalised(-((x**2 - 1) ** 2), x), rtol=1e-9)
    for method in ("backward-euler", "tr-bdf2"):  # what a step loses, before it is put right: rounding
        step, law = STEPPERS[method](fokker_planck.generator(WELLS, x), 0.01), p * grids.cell_volume(x)
        for _ in range(10):
            law, before = step(law), law.sum()
            assert abs(law.sum() - before) < 1e-11


def test_a_grid_that_is_too_short_is_named():
    far, x = processes.ornstein_uhlenbeck(mean=10.0), np.linspace(-3, 3, 61)
    with pytest.warns(UserWarning, match=r"grid: too short\? At time 1 the density at a wall across axis 0 is 1 of"):
        fokker_planck.solve(far, lambda x: norm.pdf(x, 0, 0.3), x, [0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fokker_planck.solve(far, lambda x: norm.pdf(x, 0, 0.3), x, [0, 1, 2], walls=True)
        fokker_planck.solve(OU, bump, x, [0, 5])


# --- Errors ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": np.array([0.0, 1.0, 3.0])}, "grid: need equal, rising steps, got 1 to 2 along axis 0"),
        ({"grid": np.linspace(1, -1, 5)}, "grid: need equal, rising steps"),
        ({"grid": np.array([0.0])}, "grid: axis 0 needs at least two finite points"),
        ({"grid": (X, X, X)}, "grid: 3 axes; this solver is for one or two"),
        ({"grid": np.linspace(-1, 0.6, 50)}, r"p0: need a mass of 1 on the grid, got 0\.\d+: hold it all"),
        ({"p0": np.ones(3)}, r"p0: needs shape \(161,\), a density for each cell, got \(3,\)"),
        ({"p0": lambda x: bump(x) - 1e-3}, r"p0: -0.001 at index \(0,\)"),
        ({"p0": lambda x: bump(x) / 0}, r"p0: nan at index|p0: inf at index"),
        ({"times": [0, 1, 1]}, "times: need at least two finite ones that rise"),
        ({"times": [0, math.nan]}, "times: need at least two finite ones that rise"),
        ({"method": "magic"}, "method: 'magic': choose from uniformisation"),
        ({"steps": 0}, "steps: 0: need at least 1"),
        (
            {"sde": SDE(lambda x, t: -x, lambda x, t: 0.0)},
            r"diffusion: 0.0 at x = \[-4.\], component 0: need a positive",
        ),
        ({"sde": SDE(lambda x, t: -x, lambda x, t: x)}, "diffusion: negative, -4.0"),
        ({"sde": SDE(lambda x, t: x * math.nan, lambda x, t: 1.0)}, "drift: nan at index"),
        ({"times": [0, 1e4]}, "uniformisation would take .* products; choose backward-euler or tr-bdf2"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_bad_input_is_named(change, message):
    given = {"sde": OU, "p0": bump, "grid": X, "times": [0, 1]} | change
    with pytest.raises(ValueError, match=message):
        fokker_planck.solve(**given)


def test_a_reversed_sde_has_no_place_on_a_grid():
    with pytest.raises(ValueError, match="sde: it is a reversed one"):
        fokker_planck.solve(OU.reverse(lambda x, t: -x), bump, X, [0, 1])


def test_noise_must_be_diagonal_on_a_grid():
    sigma = torch.tensor([[[1.0, 0.0], [0.5, 1.0]]], dtype=torch.float64)
    process = SDE(lambda x, t: -x, lambda x, t: sigma)
    with pytest.raises(ValueError, match="need noise of independent components on a grid"):
        fokker_planck.generator(process, PLANE)
    diagonal = SDE(lambda x, t: -x, lambda x, t: torch.diag_embed(torch.ones_like(x)))
    close(
        fokker_planck.generator(diagonal, PLANE).toarray(),
        fokker_planck.generator(SDE(diagonal.drift, lambda x, t: 1.0), PLANE).toarray(),
    )


@pytest.mark.equation("eq-sde-uniformisation")
def test_uniformisation_is_the_exponential():
    Q = fokker_planck.generator(WHIRL, (np.linspace(-2, 2, 9),) * 2)
    p = np.full(81, 1 / 81)
    for dt in (0.8, 5.0):
        close(uniformisation(Q, dt)(p), p @ expm(dt * Q.toarray()))
