"""One test per claim of the chapter on random walks and the Fokker-Planck equation, each side by its own route."""

import itertools
import math

import numpy as np
import pytest
import torch
from problems import close, close_mean, randn, rng
from scipy import sparse
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm
from scipy.special import gammaln
from scipy.stats import norm

from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.schedules import from_tau
from dpm_lib.markov.matrix_exponential import backward_euler, tr_bdf2, uniformisation
from dpm_lib.sde import brownian_motion, fokker_planck, grids, processes
from dpm_lib.sde.sde import SDE


def mu(x):
    return np.sin(x) - 0.5 * x


def sigma(x):
    return 1 + 0.3 * np.cos(x)


CURVED = SDE(lambda x, t: torch.sin(x) - 0.5 * x, lambda x, t: 1 + 0.3 * torch.cos(x), autonomous=True)
LINE = np.linspace(-9, 9, 1801)


def bump(x):
    return norm.pdf(x, 0.4, 0.5)


def derivative(f, x, h=1e-4):
    """Central, to the fourth order."""
    return (8 * (f(x + h) - f(x - h)) - f(x + 2 * h) + f(x - 2 * h)) / (12 * h)


def hermite(n):
    """Nodes and weights of E g(Z) for a standard normal Z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


# --- Walks ---


@pytest.mark.equation("eq-sde-characteristic")
def test_characteristic_function_of_a_walk_from_its_binomial_law():
    u, t = 1.3, 0.6
    gaps = []
    for n in (10, 100, 1000):
        steps = math.floor(n * t)
        heads = np.arange(steps + 1)
        log_law = gammaln(steps + 1) - gammaln(heads + 1) - gammaln(steps - heads + 1) - steps * math.log(2)
        exact = np.exp(log_law) @ np.exp(1j * u * (2 * heads - steps) / math.sqrt(n))
        close(exact.real, math.cos(u / math.sqrt(n)) ** steps, rtol=1e-9)
        assert abs(exact.imag) < 1e-9
        gaps.append(abs(exact.real - math.exp(-(u**2) * t / 2)))
    assert gaps[0] > 8 * gaps[1] > 64 * gaps[2]


@pytest.mark.equation("eq-sde-qv")
def test_squares_of_the_increments_have_mean_t_and_variance_2tt_over_n():
    t, n = 1.7, 12
    nodes, weights = hermite(8)  # one increment: exact moments of its square
    square = (math.sqrt(t / n) * nodes) ** 2
    mean = (weights * square).sum()
    close(n * mean, t)
    close(n * ((weights * square**2).sum() - mean**2), 2 * t**2 / n)
    times = torch.linspace(0, t, n + 1, dtype=torch.float64)
    path = torch.cat([torch.zeros(1, 20_000, 1), brownian_motion.wiener_increments(times, 20_000, 1, rng(1)).cumsum(0)])
    total = brownian_motion.quadratic_variation(path)[-1, :, 0]
    close_mean(total, t)
    close_mean((total - t).square(), 2 * t**2 / n)


@pytest.mark.equation("eq-sde-length")
def test_length_of_the_way():
    t, n = 0.8, 25
    one, _ = quad(lambda w: abs(w) * norm.pdf(w, 0, math.sqrt(t / n)), -5, 5, points=[0], epsabs=1e-13)
    close(n * one, math.sqrt(2 * n * t / math.pi), rtol=1e-9)
    times = torch.linspace(0, t, n + 1, dtype=torch.float64)
    close_mean(
        brownian_motion.wiener_increments(times, 20_000, 1, rng(2)).abs().sum(0)[:, 0], math.sqrt(2 * n * t / math.pi)
    )


@pytest.mark.equation("eq-sde-left-right")
def test_left_and_right_sums_on_any_path():
    path = torch.cat([torch.zeros(1, 7, dtype=torch.float64), randn(30, 7).cumsum(0)])
    move = path.diff(dim=0)
    left = sum(path[k] * move[k] for k in range(30))
    right = sum(path[k + 1] * move[k] for k in range(30))
    squares = brownian_motion.quadratic_variation(path)[-1]
    close(left, 0.5 * path[-1] ** 2 - 0.5 * squares)
    close(right, 0.5 * path[-1] ** 2 + 0.5 * squares)


@pytest.mark.equation("eq-sde-isometry")
def test_mean_and_square_of_an_ito_sum():
    """Three steps and g = (1, W_1^2 + W_1, cos W_2): every path of quadrature nodes is listed."""
    h, (nodes, weights) = 0.4, hermite(24)
    total = square = gains = product = shared = 0.0
    for i, j, k in itertools.product(range(24), repeat=3):
        a, b, c = (math.sqrt(h) * nodes[m] for m in (i, j, k))
        g = (1.0, a**2 + a, math.cos(a + b))  # given: each knows the past alone
        chance = weights[i] * weights[j] * weights[k]
        value = g[0] * a + g[1] * b + g[2] * c
        total += chance * value
        square += chance * value**2
        gains += chance * sum(v**2 for v in g) * h
        product += chance * value * (a + b + c)  # and of two sums, of which the second is W_3: g = 1
        shared += chance * sum(g) * h
    assert total == pytest.approx(0, abs=1e-10)
    assert square == pytest.approx(gains, rel=1e-9)
    assert product == pytest.approx(shared, rel=1e-9)


# --- Ito's lemma ---


@pytest.mark.equation("eq-sde-expansion")
def test_expansion_of_a_step():
    """The error of the second-order expansion shrinks like h^(3/2), and without its last term like h."""
    x, t, (nodes, weights) = 0.7, 0.2, hermite(12)

    def f(x, t):
        return math.e ** (0.3 * t) * np.sin(x)

    def miss(h, second):
        dx = mu(x) * h + sigma(x) * math.sqrt(h) * nodes
        change = f(x + dx, t + h) - f(x, t)
        plain = 0.3 * f(x, t) * h + math.exp(0.3 * t) * math.cos(x) * dx
        return math.sqrt(weights @ (change - plain + second * 0.5 * f(x, t) * dx**2) ** 2)

    assert math.log2(miss(2e-3, 1.0) / miss(1e-3, 1.0)) == pytest.approx(1.5, abs=0.05)
    assert math.log2(miss(2e-3, 0.0) / miss(1e-3, 0.0)) == pytest.approx(1.0, abs=0.05)
    h, dw = 1e-3, 0.03 * nodes  # given: any numbers
    close((mu(x) * h + sigma(x) * dw) ** 2, sigma(x) ** 2 * dw**2 + 2 * mu(x) * sigma(x) * h * dw + mu(x) ** 2 * h**2)


@pytest.mark.equation("eq-sde-ito")
def test_itos_lemma_along_paths():
    """f(X_t, t) against the sum of the right side along the same paths, for f = e^t sin x; the strong order is 1/2."""

    def right_side(n):
        times = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        dw = brownian_motion.wiener_increments(times, 2000, 1, rng(3))
        path = CURVED.simulate(torch.full((2000, 1), 0.3, dtype=torch.float64), times, increments=dw)
        x, t = path[:-1], times[:-1, None, None]
        s = 1 + 0.3 * torch.cos(x)
        f, f_x = t.exp() * torch.sin(x), t.exp() * torch.cos(x)
        drift = f + (torch.sin(x) - 0.5 * x) * f_x - 0.5 * s**2 * f
        total = (drift / n + s * f_x * dw).sum(0)
        return (math.e * torch.sin(path[-1]) - math.sin(0.3) - total).square().mean().sqrt()

    coarse, fine = float(right_side(64)), float(right_side(1024))
    assert fine < 0.06 and coarse / fine == pytest.approx(4, rel=0.15)


@pytest.mark.equation("eq-sde-ito")
def test_the_slides_second_order_term_is_not_it():
    """E[X_1^2] for constant mu, sigma: an exact normal law, against the lemma, and against f'' mu^2."""
    m, s = 0.3, 0.8
    exact, _ = quad(lambda x: x**2 * norm.pdf(x, m, s), -10, 10)
    assert m**2 + s**2 == pytest.approx(exact) == pytest.approx(0.73)
    assert m**2 + 2 * m**2 == pytest.approx(0.27)


@pytest.mark.equation("eq-sde-ito-many")
def test_itos_lemma_in_the_plane():
    """The drift of f = x^2 y e^x as the mean change in a short step, by quadrature over both noises."""
    S = np.array([[0.8, 0.0], [-0.5, 0.6]])
    D, m, at, h = S @ S.T, np.array([0.4, -0.2]), np.array([0.3, -0.7]), 1e-4

    def f(x, y):
        return x**2 * y * np.exp(x)

    nodes, weights = hermite(12)
    change = sum(
        weights[i] * weights[j] * (f(*(at + m * h + S @ (math.sqrt(h) * nodes[[i, j]]))) - f(*at))
        for i, j in itertools.product(range(12), repeat=2)
    )
    x, y = at
    e = math.exp(x)
    gradient = np.array([(2 * x + x**2) * y * e, x**2 * e])
    curve = np.array([[(2 + 4 * x + x**2) * y * e, (2 * x + x**2) * e], [(2 * x + x**2) * e, 0]])
    assert change / h == pytest.approx(m @ gradient + 0.5 * (D * curve).sum(), rel=1e-3)
    process = SDE(lambda x, t: torch.zeros_like(x), lambda x, t: torch.from_numpy(S).unsqueeze(0))
    moved = process.step(
        torch.zeros(1, 2, dtype=torch.float64), 0.0, h, torch.tensor([[0.1, -0.3]], dtype=torch.float64)
    )
    close(moved[0], torch.from_numpy(S @ [0.1, -0.3]))


@pytest.mark.equation("eq-sde-sinh")
def test_the_hyperbolic_sine_solves_its_equation():
    """Euler-Maruyama along the same noise converges to it; without the drift X/2 it does not."""
    times = torch.linspace(0, 1, 4097, dtype=torch.float64)
    dw = brownian_motion.wiener_increments(times, 400, 1, rng(4))
    exact = torch.sinh(0.4 + dw.sum(0))
    x0 = torch.full((400, 1), math.sinh(0.4), dtype=torch.float64)
    for rate, near in ((0.5, True), (0.0, False)):
        process = SDE(lambda x, t, rate=rate: rate * x, lambda x, t: (1 + x**2).sqrt())
        miss = (process.simulate(x0, times, increments=dw)[-1] - exact).abs().median()
        assert (miss < 0.02) == near


# --- Euler-Maruyama ---


@pytest.mark.equation("eq-sde-local")
def test_what_one_step_forgets():
    """For the hyperbolic sine sigma sigma' = x, and both sides are functions of one normal number."""
    x, (nodes, weights) = 0.9, hermite(40)
    ratios = []
    for h in (1e-2, 1e-3):
        dw = math.sqrt(h) * nodes
        miss = np.sinh(math.asinh(x) + dw) - (x + 0.5 * x * h + math.sqrt(1 + x**2) * dw)
        ratios.append((weights * miss**2).sum() / (0.5 * x**2 * h**2))
    assert abs(ratios[1] - 1) < 0.02 and abs(ratios[0] - 1) < 0.15


def order(process, exact, x0, dw, sizes=(8, 16, 32, 64, 128), **how):
    fine = len(dw)
    rows = []
    for n in sizes:
        times = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        end = process.simulate(x0, times, increments=brownian_motion.coarsen(dw, fine // n), **how)[-1]
        rows.append((end - exact).square().flatten())
    groups = torch.stack(rows, 1).reshape(20, -1, len(sizes)).mean(1).sqrt().log().numpy()
    slopes = -np.polyfit(np.log(sizes), groups.T, 1)[0]
    return slopes.mean(), slopes.std(ddof=1) / math.sqrt(20)


@pytest.mark.equation("eq-sde-strong")
def test_orders_of_convergence():
    times = torch.linspace(0, 1, 1025, dtype=torch.float64)
    dw = brownian_motion.wiener_increments(times, 4000, 1, rng(5))
    x0 = torch.full((4000, 1), 0.5, dtype=torch.float64)
    curved = SDE(lambda x, t: x / 2, lambda x, t: (1 + x**2).sqrt())
    found, stderr = order(curved, torch.sinh(math.asinh(0.5) + dw.sum(0)), x0, dw)
    assert abs(found - 0.5) < 4 * stderr + 0.03 and stderr < 0.03
    fading = torch.exp((times[:-1] + times[1:]) / 2 - 1)[:, None, None]
    straight = SDE(lambda x, t: -x, lambda x, t: 1.0)
    found, stderr = order(straight, x0 * math.exp(-1) + (fading * dw).sum(0), x0, dw)
    assert abs(found - 1) < 4 * stderr + 0.03 and stderr < 0.03


@pytest.mark.equation("eq-sde-milstein")
def test_milsteins_strong_order_is_one():
    """Along the same noise, against the exact sinh; what one step forgets falls like h^3 in mean square, not h^2."""
    curved, (nodes, weights) = SDE(lambda x, t: x / 2, lambda x, t: (1 + x**2).sqrt()), hermite(40)

    def forgotten(h):
        x, dw = torch.full((40, 1), 0.9, dtype=torch.float64), math.sqrt(h) * torch.from_numpy(nodes)[:, None]
        miss = torch.sinh(math.asinh(0.9) + dw) - curved.milstein(x, 0.0, h, dw)
        return float(torch.from_numpy(weights) @ miss.square()[:, 0])

    assert math.log2(forgotten(2e-3) / forgotten(1e-3)) == pytest.approx(3, abs=0.02)
    times = torch.linspace(0, 1, 257, dtype=torch.float64)
    dw = brownian_motion.wiener_increments(times, 2000, 1, rng(5))
    x0 = torch.full((2000, 1), 0.5, dtype=torch.float64)
    exact = torch.sinh(math.asinh(0.5) + dw.sum(0))
    found, stderr = order(curved, exact, x0, dw, (16, 32, 64, 128), method="milstein")
    assert abs(found - 1) < 4 * stderr + 0.03 and stderr < 0.03


@pytest.mark.equation("eq-sde-strong")
def test_the_weak_order_is_one():
    """E X^2 of the steps for dX = X/2 dt + sqrt(1 + X^2) dW by its recursion; exactly by that of the equation."""

    def euler(n):
        h, square = 1 / n, 0.25
        for _ in range(n):
            square = (1 + h / 2) ** 2 * square + h * (1 + square)
        return square

    exact = 0.25 * math.exp(2) + (math.exp(2) - 1) / 2  # d E X^2 / dt = 2 E X^2 + 1
    mean, _ = quad(lambda w: math.sinh(math.asinh(0.5) + w) ** 2 * norm.pdf(w), -12, 12)
    assert mean == pytest.approx(exact)
    assert math.log2((exact - euler(500)) / (exact - euler(1000))) == pytest.approx(1, abs=0.01)
    curved = SDE(lambda x, t: x / 2, lambda x, t: (1 + x**2).sqrt())
    for n in (3, 6, 12):  # the library's steps, with increments +-sqrt(h): the moments that E X^2 sees, all 2^n paths
        signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=n)), dtype=torch.float64).T.unsqueeze(-1)
        times, x0 = torch.linspace(0, 1, n + 1, dtype=torch.float64), torch.full((2**n, 1), 0.5)
        close(curved.simulate(x0, times, increments=signs / math.sqrt(n))[-1].square().mean(), euler(n))


@pytest.mark.equation("eq-sde-strong")
def test_the_weak_order_is_one_for_a_function_that_is_no_moment():
    """One step's E cos(X_h) by quadrature, of the library's step and of sinh(a + W_h): they differ by O(h^2)."""
    nodes, weights = hermite(30)
    curved = SDE(lambda x, t: x / 2, lambda x, t: (1 + x**2).sqrt())

    def miss(h):
        x, dw = (
            torch.full((30, 1), math.sinh(0.5), dtype=torch.float64),
            math.sqrt(h) * torch.from_numpy(nodes)[:, None],
        )
        end = curved.step(x, 0.0, h, dw)[:, 0].numpy()
        return abs(weights @ (np.cos(end) - np.cos(np.sinh(0.5 + math.sqrt(h) * nodes))))

    assert math.log2(miss(2e-2) / miss(1e-2)) == pytest.approx(2, abs=0.05)


# --- The density ---


def density(t, n=1801):
    """The density of the curved process at t, from the bump, by the solver on a fine grid."""
    return fokker_planck.solve(CURVED, bump, np.linspace(-9, 9, n), [0.0, t], "tr-bdf2", 400)[-1]


@pytest.mark.equation("eq-sde-dynkin")
def test_the_mean_of_a_function_moves_by_the_generator():
    """d/dt E cos(X_t) of particles that follow the SDE, against E of L cos."""
    n, t = 400_000, 0.05
    start = 0.4 + 0.5 * torch.randn(n, 1, generator=rng(6), dtype=torch.float64)
    times = torch.tensor([0.0, t / 2, t], dtype=torch.float64)
    first, middle, last = CURVED.simulate(start, times, rng(7), substeps=10)[..., 0]
    m, s = torch.sin(middle) - 0.5 * middle, 1 + 0.3 * torch.cos(middle)
    inside = -m * torch.sin(middle) - 0.5 * s**2 * torch.cos(middle)
    close_mean((last.cos() - first.cos()) / t, inside.mean(), floor=1e-3)


@pytest.mark.equation("eq-sde-parts")
def test_derivatives_move_from_f_to_p():
    def f(x):  # smooth, and 0 outside (-3, 3)
        return np.where(np.abs(x) < 3, np.exp(-1 / np.maximum(1e-300, 1 - (x / 3) ** 2)), 0.0)  # given

    def f1(x):
        return derivative(f, x)

    def f2(x):
        return derivative(f1, x)

    def forward(x):
        return -derivative(lambda v: mu(v) * bump(v), x) + 0.5 * derivative(
            lambda v: derivative(lambda w: sigma(w) ** 2 * bump(w), v), x
        )

    x = np.linspace(-3.5, 3.5, 4001)
    left = np.trapezoid((mu(x) * f1(x) + 0.5 * sigma(x) ** 2 * f2(x)) * bump(x), x)
    assert left == pytest.approx(np.trapezoid(f(x) * forward(x), x), rel=1e-6)


@pytest.mark.equation("eq-sde-fokker-planck")
def test_particles_have_the_density_of_the_equation():
    """Method of lines with central differences, which knows nothing of rates, against a histogram of particles."""
    x = np.linspace(-7, 7, 281)
    h = x[1] - x[0]

    def rhs(t, p):
        flux, spread = mu(x) * p, sigma(x) ** 2 * p
        out = np.zeros_like(p)
        out[1:-1] = -(flux[2:] - flux[:-2]) / (2 * h) + 0.5 * (spread[2:] - 2 * spread[1:-1] + spread[:-2]) / h**2
        return out

    p = solve_ivp(rhs, (0, 0.8), bump(x), method="LSODA", rtol=1e-8, atol=1e-10).y[:, -1]
    start = 0.4 + 0.5 * torch.randn(100_000, 1, generator=rng(8), dtype=torch.float64)
    times = torch.tensor([0.0, 0.8], dtype=torch.float64)
    end = CURVED.simulate(start, times, rng(9), substeps=200)[-1, :, 0].numpy()
    edges = np.linspace(-2.5, 2.5, 11)
    for low, high in itertools.pairwise(edges):
        inside = (x > low - 0.01) & (x < high + 0.01)  # with both ends
        chance = np.trapezoid(p[inside], x[inside])
        share = ((end > low) & (end < high)).mean()
        assert abs(share - chance) < 4.5 * math.sqrt(chance * (1 - chance) / 1e5) + 1.5e-3
    close(np.interp(x[40:-40], LINE, density(0.8)), p[40:-40], rtol=0, atol=2e-4)


@pytest.mark.equation("eq-sde-fp-many")
def test_the_equation_in_the_plane_with_correlated_noise():
    """The exact normal law of a linear SDE with full D solves it: each term by differences of its density."""
    A, S, home = np.array([[-1.0, 0.6], [-0.4, -0.8]]), np.array([[0.9, 0.0], [0.5, 0.7]]), np.array([0.3, 0.1])
    D, C0, m0 = S @ S.T, np.diag([0.3, 0.5]), np.array([0.8, -0.1])

    def law(t):
        E = expm(A * t)
        s, w = np.polynomial.legendre.leggauss(20)
        s, w = t * (s + 1) / 2, w * t / 2
        noise = sum(wk * expm(A * sk) @ D @ expm(A * sk).T for sk, wk in zip(s, w, strict=True))
        return home + E @ (m0 - home), E @ C0 @ E.T + noise

    def p(x, t):  # but for a constant factor, which the equation does not see
        m, C = law(t)
        z = x - m
        return math.exp(-0.5 * z @ np.linalg.solve(C, z)) / math.sqrt(np.linalg.det(C))

    def partial(f, i, h=1e-3):
        return lambda x: (f(x + h * np.eye(2)[i]) - f(x - h * np.eye(2)[i])) / (2 * h)

    at, t = np.array([0.2, 0.4]), 0.7
    out = sum(partial(lambda x, i=i: (A @ (x - home))[i] * p(x, t), i)(at) for i in range(2))
    curve = [[partial(partial(lambda x: p(x, t), i), j)(at) for j in range(2)] for i in range(2)]
    assert derivative(lambda s: p(at, s), t, 1e-3) == pytest.approx(-out + 0.5 * (D * curve).sum(), rel=1e-4)
    process = SDE(
        lambda x, t: (x - torch.from_numpy(home)) @ torch.from_numpy(A.T), lambda x, t: torch.from_numpy(S).unsqueeze(0)
    )
    start = torch.from_numpy(m0) + torch.from_numpy(C0).diagonal().sqrt() * randn(20_000, 2, seed=10)
    end = process.simulate(start, torch.tensor([0.0, 0.7]), rng(11), substeps=200)[-1]
    mean, C = (torch.from_numpy(v) for v in law(0.7))
    close_mean(end, mean, floor=5e-3)
    off = end - mean
    close_mean(off[:, :, None] * off[:, None, :], C, floor=5e-3)


@pytest.mark.equation("eq-sde-conservation")
def test_the_mass_of_an_interval_changes_by_the_current():
    """The exact normal law of Ornstein and Uhlenbeck: d/dt of its distribution function against J at both ends."""
    t, (a, b) = 0.6, (-0.3, 1.1)

    def law(t):
        return math.exp(-t), math.sqrt(0.09 * math.exp(-2 * t) + 1 - math.exp(-2 * t))

    def mass(t):
        return norm.cdf(b, *law(t)) - norm.cdf(a, *law(t))

    def current(x):
        m, s = law(t)
        return -x * norm.pdf(x, m, s) + (x - m) / s**2 * norm.pdf(x, m, s)  # mu p - (1/2) 2 p'

    assert law(0) == pytest.approx((1, 0.3))
    assert derivative(mass, t) == pytest.approx(current(a) - current(b), rel=1e-8)


GROWTH, SWING = np.array([-0.3, 0.2]), np.array([0.6, 0.4])  # dX_i = a_i X_i dt + b_i X_i dW_i, noises correlated


def log_normal(x, y, t):
    """The exact density of two growths from log X_0 ~ N(0, 0.3), their noises correlated by 0.5."""
    z = np.stack([np.log(x) - (GROWTH[0] - SWING[0] ** 2 / 2) * t, np.log(y) - (GROWTH[1] - SWING[1] ** 2 / 2) * t])
    C = np.outer(SWING, SWING) * np.array([[1, 0.5], [0.5, 1]]) * t + 0.3 * np.eye(2)
    square = z[0] * (C[1, 1] * z[0] - C[0, 1] * z[1]) + z[1] * (C[0, 0] * z[1] - C[0, 1] * z[0])
    return np.exp(-0.5 * square / np.linalg.det(C)) / (2 * np.pi * np.sqrt(np.linalg.det(C)) * x * y)


@pytest.mark.equation("eq-sde-current")
def test_the_density_falls_where_more_current_leaves_than_comes():
    """An exact density in the plane, with correlated noise that depends on the place; derivatives by differences."""
    t, at = 0.7, (1.2, 0.8)

    def p(x, y):
        return log_normal(x, y, t)

    def J(i, x, y):
        z = (x, y)
        out = GROWTH[i] * z[i] * p(x, y)
        for j in range(2):
            c = SWING[i] * SWING[j] * (1.0 if i == j else 0.5)

            def spread(v, j=j, c=c):
                w = (v, y) if j == 0 else (x, v)
                return c * w[i] * w[j] * p(*w)

            out -= 0.5 * derivative(spread, z[j], 1e-3)
        return out

    out = derivative(lambda x: J(0, x, at[1]), at[0], 1e-3) + derivative(lambda y: J(1, at[0], y), at[1], 1e-3)
    rise = derivative(lambda s: log_normal(*at, s), t, 1e-3)
    assert rise == pytest.approx(-out, rel=1e-6) and abs(rise) > 0.01


@pytest.mark.equation("eq-sde-cells")
def test_what_leaves_one_cell_enters_the_next():
    """Masses of cells by the exact distribution function of X = e^Y, currents by the density at the walls."""
    a, b, t = 0.2, 0.5, 0.6
    walls = np.linspace(0.5, 2.0, 6)

    def where(t):
        return (a - b**2 / 2) * t, math.sqrt(0.3 + b**2 * t)

    def mass(t):
        return np.diff(norm.cdf(np.log(walls), *where(t)))

    def p(x):
        return norm.pdf(np.log(x), *where(t)) / x

    J = a * walls * p(walls) - 0.5 * derivative(lambda x: (b * x) ** 2 * p(x), walls)
    rise = J[:-1] - J[1:]
    close(derivative(mass, t), rise, rtol=1e-7)
    assert (np.abs(rise) > 5e-4).all()


@pytest.mark.equation("eq-sde-ou")
def test_ornstein_and_uhlenbeck_solved():
    """The moments of the equation by integrating their own equations; and normal by its characteristic function."""
    rate, noise, mean, x0 = 1.3, 0.7, -0.4, 1.5
    law = processes.ornstein_uhlenbeck(rate, noise, mean).transition(torch.tensor([[x0]], dtype=torch.float64), 0.9)
    ode = solve_ivp(
        lambda t, y: [-rate * (y[0] - mean), -2 * rate * y[1] + noise**2], (0, 0.9), [x0, 0.0], rtol=1e-11, atol=1e-13
    )
    close(law.mean, ode.y[0, -1], rtol=1e-8)
    close(law.scale.square(), ode.y[1, -1], rtol=1e-8)
    x = processes.ornstein_uhlenbeck(rate, noise, mean).simulate(
        torch.full((50_000, 1), x0, dtype=torch.float64), torch.tensor([0.0, 0.9]), rng(12), substeps=100
    )[-1]
    z = (x - law.mean) / law.scale
    for u in (0.7, 1.9):
        close_mean(torch.cos(u * z), math.exp(-(u**2) / 2), floor=6e-3)


@pytest.mark.equation("eq-sde-ou-kernel")
def test_the_forward_chain_of_the_2015_model_is_this_process():
    schedule = from_tau(torch.tensor([0.0, 0.05, 0.4, 2.0], dtype=torch.float64))
    kernel, process, x = GaussianKernel(2, schedule), processes.ornstein_uhlenbeck(0.5, 1.0), randn(4, 2)
    for t in (1, 2, 3):
        elapsed = -math.log1p(-float(schedule.beta[t]))
        law = process.transition(x, elapsed)
        close(law.mean, kernel.step(x, t).mean)
        close(law.scale, kernel.step(x, t).scale)


# --- Rest ---


@pytest.mark.equation("eq-sde-rest")
def test_the_density_of_rest_in_one_dimension():
    """From the formula by quadrature; against the left null vector of the rates, and against many particles."""
    x = np.linspace(-6, 6, 1201)
    log_p = np.array([quad(lambda y: 2 * mu(y) / sigma(y) ** 2, 0, v)[0] for v in x[::40]]) - 2 * np.log(sigma(x[::40]))
    Q = fokker_planck.generator(CURVED, x).toarray()
    null = np.linalg.solve(np.vstack([Q.T[:-1], np.ones(1201)]), np.r_[np.zeros(1200), 1.0])[::40]
    close(null / null.sum(), np.exp(log_p) / np.exp(log_p).sum(), rtol=1e-7)
    end = CURVED.simulate(torch.zeros(20_000, 1), torch.tensor([0.0, 12.0]), rng(13), substeps=1200)[-1, :, 0]
    rest = fokker_planck.stationary(CURVED, x)
    for f in (np.cos, np.square):
        close_mean(torch.from_numpy(f(end.numpy())), (f(x) * rest).sum() * 0.01, floor=1e-2)


@pytest.mark.equation("eq-sde-rest")
def test_the_lectures_current_has_another_rest():
    """dX = -X dt + sqrt(1 + X^2/2) dW: E X^2 is 2/3 by its moment equation, not 2."""
    right, _ = quad(lambda x: x**2 * (1 + x**2 / 2) ** -3, -np.inf, np.inf)
    mass, _ = quad(lambda x: (1 + x**2 / 2) ** -3, -np.inf, np.inf)
    printed, _ = quad(lambda x: x**2 * (1 + x**2 / 2) ** -2, -np.inf, np.inf)
    printed_mass, _ = quad(lambda x: (1 + x**2 / 2) ** -2, -np.inf, np.inf)
    assert right / mass == pytest.approx(2 / 3) and printed / printed_mass == pytest.approx(2)
    fat = SDE(lambda x, t: -x, lambda x, t: (1 + x**2 / 2).sqrt(), autonomous=True)
    x = np.linspace(-80, 80, 8001)
    assert (x**2 * fokker_planck.stationary(fat, x)).sum() * 0.02 == pytest.approx(2 / 3, abs=1e-3)


@pytest.mark.equation("eq-sde-langevin")
@pytest.mark.parametrize(("eta", "square"), [(0.5, 2.0), (1.0, 2.0), (2.0, 0.5)])
def test_langevin_rests_in_a_power_of_the_density(eta, square):
    """Variance of rest for pi = N(0, 1): sigma^2 / (2 eta), by the null vector in the plane and by particles."""
    process = processes.langevin(lambda x: -x, eta, math.sqrt(square))
    reach = 6 * math.sqrt(square / (2 * eta))
    grid = (np.linspace(-reach, reach, 25),) * 2
    Q = fokker_planck.generator(process, grid).toarray()
    null = np.linalg.solve(np.vstack([Q.T[:-1], np.ones(625)]), np.r_[np.zeros(624), 1.0])
    power = norm.pdf(grid[0]) ** (2 * eta / square)
    close(null, np.outer(power, power).ravel() / power.sum() ** 2, rtol=1e-6, atol=1e-14)
    rate, h = eta, 0.4  # long steps, so that their bias shows
    end = process.simulate(
        torch.zeros(20_000, 2, dtype=torch.float64), torch.arange(0, 6 / rate, h, dtype=torch.float64), rng(14)
    )[-1]
    close_mean(end.square().mean(1), square / (2 * eta) / (1 - rate * h / 2), floor=1e-3)


@pytest.mark.equation("eq-sde-bias")
@pytest.mark.parametrize("h", [0.1, 0.5, 1.2])
def test_the_chain_of_steps_is_too_wide(h):
    rate, noise = 1.4, 0.9
    v = 0.0
    for _ in range(500):
        v = (1 - rate * h) ** 2 * v + noise**2 * h
    wanted = noise**2 / (2 * rate) / (1 - rate * h / 2)
    assert v == pytest.approx(wanted, rel=1e-10)
    process = processes.ornstein_uhlenbeck(rate, noise)
    end = process.simulate(torch.zeros(20_000, 1), h * torch.arange(80, dtype=torch.float64), rng(15))[-1]
    close_mean(end.square(), wanted)
    if h == 0.5:
        end = processes.ornstein_uhlenbeck().simulate(torch.zeros(20_000, 1), 0.5 * torch.arange(40.0), rng(16))[-1]
        close_mean(end.square(), 4 / 3)


# --- The grid ---


@pytest.mark.equation("eq-sde-between")
def test_the_current_between_two_centres():
    """u from its equation with a constant J, by an ODE solver; then both sides."""
    J, (a, b) = 0.37, (0.2, 0.9)
    ode = solve_ivp(lambda x, u: 2 * (mu(x) / sigma(x) ** 2 * u - J), (a, b), [0.8], rtol=1e-11, atol=1e-13)

    def Phi(x):
        return quad(lambda y: 2 * mu(y) / sigma(y) ** 2, 0.5, x)[0]

    left = J * quad(lambda x: math.exp(-Phi(x)), a, b)[0]
    assert left == pytest.approx(0.5 * (0.8 * math.exp(-Phi(a)) - ode.y[0, -1] * math.exp(-Phi(b))), rel=1e-8)


@pytest.mark.equation("eq-sde-flux")
def test_the_flux_is_exact_where_its_assumption_is():
    """Constant mu and sigma: the flux is the constant J of any solution of mu p - (1/2) s^2 p' = J between centres."""
    m, s, J, h, left = -1.7, 0.8, 0.25, 0.6, 1.9
    right = J / m + (left - J / m) * math.exp(2 * m * h / s**2)
    z = 2 * m * h / s**2
    flux = (fokker_planck.bernoulli(-z) * s**2 * left - fokker_planck.bernoulli(z) * s**2 * right) / (2 * h)
    assert float(flux) == pytest.approx(J, rel=1e-12)


@pytest.mark.equation("eq-sde-rates")
def test_the_matrix_pours_what_the_flux_says():
    x = np.linspace(-2, 2, 9) * 0.6  # given: the grid
    h, p = 0.3, bump(x)
    z = [quad(lambda y: 2 * mu(y) / sigma(y) ** 2, x[i], x[i + 1])[0] for i in range(8)]
    J = np.array(
        [
            (
                sigma(x[i]) ** 2 * p[i] * -z[i] / math.expm1(-z[i])
                - sigma(x[i + 1]) ** 2 * p[i + 1] * z[i] / math.expm1(z[i])
            )
            / (2 * h)
            for i in range(8)
        ]
    )
    walls = np.r_[0.0, J, 0.0]
    close(p @ fokker_planck.generator(CURVED, x), (walls[:-1] - walls[1:]) / h, rtol=1e-8)


@pytest.mark.equation("eq-sde-discrete-rest")
def test_the_discrete_equilibrium_is_exact_on_a_coarse_grid():
    x = np.linspace(-3, 3, 8)
    log_p = np.array([quad(lambda y: 2 * mu(y) / sigma(y) ** 2, 0, v)[0] for v in x]) - 2 * np.log(sigma(x))
    Q = fokker_planck.generator(CURVED, x).toarray()
    null = np.linalg.solve(np.vstack([Q.T[:-1], np.ones(8)]), np.r_[np.zeros(7), 1.0])
    close(null, np.exp(log_p) / np.exp(log_p).sum(), rtol=1e-7)
    h = grids.cell_volume(x)
    close(fokker_planck.stationary(CURVED, x) * h, null, rtol=1e-9)


@pytest.mark.equation("eq-sde-central")
def test_the_flux_is_the_central_one_to_second_order():
    def gaps(h):
        a, b = 0.4 - h / 2, 0.4 + h / 2
        z = quad(lambda y: 2 * mu(y) / sigma(y) ** 2, a, b)[0]
        u = [sigma(v) ** 2 * bump(v) for v in (a, b)]
        flux = (float(fokker_planck.bernoulli(-z)) * u[0] - float(fokker_planck.bernoulli(z)) * u[1]) / (2 * h)
        current = mu(0.4) * bump(0.4) - 0.5 * derivative(lambda v: sigma(v) ** 2 * bump(v), 0.4, 1e-3)
        return np.abs(flux - np.array([z / (4 * h) * (u[0] + u[1]) - (u[1] - u[0]) / (2 * h), current]))

    np.testing.assert_allclose(np.log2(gaps(2e-2) / gaps(1e-2)), 2, atol=0.1)


@pytest.mark.equation("eq-sde-central")
@pytest.mark.parametrize("process", [CURVED, processes.ornstein_uhlenbeck()])
def test_the_solver_is_of_second_order_in_h(process):
    """Against a very fine grid, at shared points; no error from time, which uniformisation has not."""
    fine = fokker_planck.solve(process, bump, np.linspace(-6, 6, 481), [0, 0.5])[-1]
    errors = [
        np.abs(fokker_planck.solve(process, bump, np.linspace(-6, 6, n + 1), [0, 0.5])[-1] - fine[:: 480 // n]).max()
        for n in (30, 60, 120)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[0] == pytest.approx(2, abs=0.25) and orders[1] == pytest.approx(2, abs=0.15)


# --- Time ---

RATES = fokker_planck.generator(CURVED, np.linspace(-2, 2, 12))


@pytest.mark.equation("eq-sde-uniformisation")
def test_uniformisation_is_the_exponential():
    p = np.arange(1.0, 13) / 78
    r = np.abs(RATES.diagonal()).max()
    P = np.eye(12) + RATES.toarray() / r
    close(P.sum(1), 1.0)
    assert (P >= 0).all()
    by_hand = sum(
        math.exp(-r * 0.3 + k * math.log(r * 0.3) - math.lgamma(k + 1)) * p @ np.linalg.matrix_power(P, k)
        for k in range(120)
    )
    close(by_hand, p @ expm(0.3 * RATES.toarray()), rtol=1e-9)
    close(uniformisation(RATES, 0.3)(p), by_hand, rtol=1e-9)


@pytest.mark.equation("eq-sde-resolvent")
def test_backward_euler_is_the_solution_at_a_random_time():
    Q, dt = RATES.toarray(), 0.2
    s, w = np.polynomial.laguerre.laggauss(60)
    mixture = sum(wk * expm(sk * dt * Q) for sk, wk in zip(s, w, strict=True))
    inverse = np.linalg.inv(np.eye(12) - dt * Q)
    close(mixture, inverse, rtol=0, atol=1e-3)  # Gauss-Laguerre is slow for stiff exponentials
    values, vectors = np.linalg.eig(Q)
    exact = [quad(lambda s, v=v: math.exp(-s + s * dt * v), 0, np.inf)[0] for v in values.real]
    close((vectors * exact @ np.linalg.inv(vectors)).real, inverse, rtol=1e-8, atol=1e-10)
    assert (inverse > 0).all()
    p = np.arange(1.0, 13) / 78
    close(backward_euler(RATES, dt)(p), p @ inverse, rtol=1e-9)


@pytest.mark.equation("eq-sde-trbdf2")
def test_the_second_order_step():
    Q, p = RATES.toarray(), np.arange(1.0, 13) / 78
    a, one = 1 - 1 / math.sqrt(2), np.eye(12)

    def formula(dt):
        inverse = np.linalg.inv(one - a * dt * Q)
        return p @ (one + (math.sqrt(2) - 1) * dt * Q) @ inverse @ inverse

    def two_stages(dt):  # the trapezoidal rule over 2a dt, then the backward difference formula
        middle = np.linalg.solve((one - a * dt * Q).T, p @ (one + a * dt * Q))
        last = middle / (4 * a * (1 - a)) - p * (1 - 2 * a) ** 2 / (4 * a * (1 - a))
        return np.linalg.solve((one - (1 - 2 * a) / (2 * (1 - a)) * dt * Q).T, last)

    for dt in (0.01, 0.3, 2.0):
        close(tr_bdf2(RATES, dt)(p), formula(dt), rtol=1e-9)
        close(formula(dt), two_stages(dt), rtol=1e-9)
    misses = [np.abs(formula(dt) - p @ expm(dt * Q)).max() for dt in (0.004, 0.002)]
    assert math.log2(misses[0] / misses[1]) == pytest.approx(3, abs=0.1)
    limit = (1 + math.sqrt(2)) / np.abs(Q.diagonal()).max()
    for start in np.eye(12):
        assert (tr_bdf2(RATES, limit)(start) >= 0).all()
    leave = sparse.csr_array([[-2.0, 2.0], [0.0, 0.0]])  # where nobody comes back, the limit is sharp
    limit = (1 + math.sqrt(2)) / 2
    stay = [tr_bdf2(leave, dt)(np.array([1.0, 0.0]))[0] for dt in (limit - 1e-3, limit + 1e-3)]
    assert stay[0] > 0 > stay[1] > -1e-3
