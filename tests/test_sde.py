"""SDEs: shapes, errors, exact laws, orders, and the reversal with the noise that depends on the place."""

import math

import numpy as np
import pytest
import torch
from problems import close, close_covariance, close_mean, randn, rng
from scipy.stats import t as student

from dpm_lib.sde import brownian_motion, processes, sde
from dpm_lib.sde.sde import SDE


def ones(n: int, d: int = 1) -> torch.Tensor:
    return torch.ones(n, d, dtype=torch.float64)


def still(x, t):
    return 0.0 * x


def tilted(x, t):
    """A full matrix, a function of the place: (n, 2, 2)."""
    top = torch.stack([1 + x[:, 0] ** 2, x[:, 1]], -1)
    return torch.stack([top, torch.stack([0 * x[:, 0], 1 + 0 * x[:, 0]], -1)], -2)


# --- Simulation ---


@pytest.mark.parametrize(
    "diffusion",
    [
        lambda x, t: 0.7,
        lambda x, t: torch.full((3, 1), 0.7),
        lambda x, t: 0.7 * torch.ones_like(x),
        lambda x, t: 0.7 * torch.eye(2).expand(3, 2, 2),
        lambda x, t: 0.7 * torch.eye(2).unsqueeze(0),
    ],
)
def test_all_shapes_of_the_diffusion_mean_the_same(diffusion):
    times, x0 = torch.tensor([0.0, 0.1, 0.3]), randn(3, 2)
    found = SDE(lambda x, t: -x, diffusion).simulate(x0, times, rng(1))
    assert found.shape == (3, 3, 2) and found.dtype == torch.float64
    close(found, processes.ornstein_uhlenbeck(1.0, 0.7).simulate(x0, times, rng(1)), rtol=1e-6)


def test_given_increments_are_the_noise():
    times = torch.linspace(0, 1, 9)
    dw = brownian_motion.wiener_increments(times, 5, 2, rng())
    assert dw.shape == (8, 5, 2)
    path = SDE(still, lambda x, t: 1.0).simulate(randn(5, 2), times, increments=dw)
    close(path.diff(dim=0), dw)


def test_substeps_are_steps_of_which_nobody_hears():
    x0, process = randn(4, 1), processes.ornstein_uhlenbeck()
    fine = process.simulate(x0, torch.linspace(0, 1, 7, dtype=torch.float64), rng(2))
    coarse = process.simulate(x0, torch.tensor([0.0, 0.5, 1.0]), rng(2), substeps=3)
    close(fine[::3], coarse)
    dw = brownian_motion.wiener_increments(torch.linspace(0, 1, 7, dtype=torch.float64), 4, 1, rng(2))
    fine = process.simulate(x0, torch.linspace(0, 1, 7, dtype=torch.float64), increments=dw)
    close(fine[::3], process.simulate(x0, torch.tensor([0.0, 0.5, 1.0]), increments=dw, substeps=3))


def test_a_matrix_mixes_the_noise():
    sigma = torch.tensor([[1.0, 0.0], [2.0, 0.5]], dtype=torch.float64)
    process = SDE(still, lambda x, t: sigma.unsqueeze(0))
    x = process.simulate(torch.zeros(40_000, 2), torch.tensor([0.0, 0.25]), rng(3))[-1]
    close_covariance(x, torch.zeros(2, dtype=torch.float64), 0.25 * sigma @ sigma.T)
    close(process.covariance(x[:3], 0.0), (sigma @ sigma.T).expand(3, 2, 2))


def test_time_dependence_is_seen_at_the_start_of_each_step():
    process = SDE(lambda x, t: t.expand_as(x), lambda x, t: 0.0)
    path = process.simulate(torch.zeros(1, 1), torch.tensor([0.0, 1.0, 3.0]))
    assert path.flatten().tolist() == [0.0, 0.0, 2.0]


@pytest.mark.equation("eq-sde-ou")
def test_ornstein_uhlenbeck_is_its_transition():
    process, start = processes.ornstein_uhlenbeck(1.5, 0.8, -0.3), torch.full((40_000, 1), 2.0, dtype=torch.float64)
    law = process.transition(start[:1], 0.4)
    close(law.mean, -0.3 + 2.3 * math.exp(-0.6))
    close(law.scale, 0.8 * math.sqrt((1 - math.exp(-1.2)) / 3))
    close(process.transition(start[:1], 50.0).mean, process.stationary().mean)
    close(process.transition(start[:1], 50.0).scale, process.stationary().scale)
    x = process.simulate(start, torch.tensor([0.0, 0.4]), rng(4), substeps=200)[-1]
    close_mean(x, law.mean[0], floor=2e-3)
    close_mean((x - law.mean).square(), law.scale.square(), floor=2e-3)


def test_the_law_of_rest_knows_its_dimension():
    """In one dimension by default: points of three were given the density of one, -0.919 in place of -2.757."""
    process = processes.ornstein_uhlenbeck()
    close(process.stationary(3).log_prob(torch.zeros(5, 3, dtype=torch.float64)), -1.5 * math.log(2 * math.pi))
    with pytest.raises(ValueError, match=r"x: need shape \(\.\.\., 1\)"):
        process.stationary().log_prob(torch.zeros(5, 3, dtype=torch.float64))


@pytest.mark.equation("eq-sde-ou")
def test_transitions_over_a_time_of_each_row():
    process, x, t = processes.ornstein_uhlenbeck(1.5, 0.8, -0.3), randn(3, 2), torch.tensor([0.1, 0.5, 2.0])
    law = process.transition(x, t)
    alone = [process.transition(x[k : k + 1], float(t[k])) for k in range(3)]
    close(law.mean, torch.cat([one.mean for one in alone]), rtol=1e-6)
    close(
        law.log_prob(x + 0.3), torch.cat([one.log_prob(x[k : k + 1] + 0.3) for k, one in enumerate(alone)]), rtol=1e-6
    )


def test_random_walks_take_unit_steps():
    path = brownian_motion.random_walk(500, 100, rng(5))
    assert path.shape == (101, 500) and not path[0].any()
    assert (path.diff(dim=0).abs() == 1).all()
    close(brownian_motion.quadratic_variation(path)[-1], 100.0)
    close_mean(path[-1], 0.0)


def test_coarse_increments_are_those_of_the_same_path():
    dw = randn(12, 3, 2)
    coarse = brownian_motion.coarsen(dw, 4)
    close(coarse.cumsum(0), dw.cumsum(0)[3::4])
    with pytest.raises(ValueError, match="factor: 5: need a divisor of the number of steps, 12"):
        brownian_motion.coarsen(dw, 5)


# --- Reversal ---


def test_divergence_of_the_noise_by_hand():
    """D = [[(1 + x^2)^2 + y^2, y], [y, 1]] for the tilted noise."""
    x = randn(20, 2, seed=6)
    by_hand = torch.stack([4 * x[:, 0] * (1 + x[:, 0] ** 2) + 1, 0 * x[:, 0]], -1)
    close(sde.divergence(SDE(still, tilted).covariance, x, 0.0), by_hand)
    diagonal = SDE(still, lambda x, t: 1 + x**2)
    close(sde.divergence(diagonal.covariance, x, 0.0), 4 * x * (1 + x**2))
    close(sde.divergence(SDE(still, lambda x, t: 2.0).covariance, x, 0.0), torch.zeros_like(x))


@pytest.mark.parametrize(
    "hidden",
    [
        lambda x, t: torch.from_numpy(np.sqrt((1 + x.detach().numpy() ** 2) / 2)),
        lambda x, t: ((1 + x.detach() ** 2) / 2).sqrt(),
        torch.no_grad()(lambda x, t: ((1 + x**2) / 2).sqrt()),
        lambda x, t: torch.stack([(1 + x[:, 0].detach() ** 2).sqrt(), 1 + x[:, 1] ** 2], -1),  # one of the two
        lambda x, t: tilted(torch.stack([x[:, 0], x[:, 1].detach()], -1), t),  # an entry off the diagonal
    ],
)
@pytest.mark.parametrize("at", [1.0, -30.0, 2e-3])
def test_noise_that_autograd_does_not_see_is_refused(hidden, at):
    """For dX = -X dt + sqrt((1 + X^2)/2) dW the drift would be 2.0 in place of 1.0 at x = 1, without a word."""
    reverse = SDE(lambda x, t: -x, hidden).reverse(lambda x, t: -6 * x / (1 + x**2))
    with pytest.raises(ValueError, match=r"diffusion: depends on x at x = \[.*\], time 0.5, where automatic"):
        reverse.mu(torch.tensor([[at, 0.7 * at], [0.5 * at, 0.1 * at]], dtype=torch.float64), 0.5)


def test_noise_that_rests_is_not_refused():
    """Exactly flat, flat on one side of an edge, at a top, and networks whose weights alone have gradients."""
    x = torch.tensor([[0.0], [1.0], [1.0 + 1e-9], [-5.0]], dtype=torch.float64)
    weight = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    for flat in (
        lambda x, t: torch.from_numpy(np.full(x.shape, 0.7)),
        lambda x, t: np.float64(0.3),
        lambda x, t: x.detach().clamp(max=1) * 0 + 1,
        lambda x, t: weight,
    ):
        close(sde.divergence(SDE(still, flat).covariance, x, 0.0), 0.0)
    edged = SDE(still, lambda x, t: x.clamp(min=1.0)).covariance
    close(sde.divergence(edged, x, 0.0)[:1], 0.0)
    close(sde.divergence(SDE(still, lambda x, t: 2 + x.cos()).covariance, 0 * x, 0.0), 0.0)
    inward = SDE(still, lambda x, t: x.sqrt()).covariance  # no negative x is ever tried
    close(sde.divergence(inward, x[1:3] * 1e-12, 0.0), 1.0)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 2.0])
def test_the_reversed_drift_by_hand(noise):
    x, process = randn(6, 2, seed=7), SDE(lambda x, t: -x * t, lambda x, t: 1 + x**2)
    score = lambda x, t: -x / (1 + t)  # noqa: E731
    reverse, D = process.reverse(score, noise), (1 + x**2) ** 2
    pushed = -x * 0.5 - 0.5 * (1 + noise**2) * (4 * x * (1 + x**2) + D * score(x, 0.5))
    close(reverse.mu(x, 0.5), pushed)
    close(reverse.sigma(x, 0.5), noise * (1 + x**2))


@pytest.mark.parametrize("noise", [0.0, 1.0, 1.5])
def test_reversed_noise_that_depends_on_the_place_keeps_the_density(noise):
    """dX = -X dt + sqrt(1 + X^2 / 2) dW rests in a density ~ (1 + x^2/2)^-3: so does its reverse, at any noise."""
    process = SDE(lambda x, t: -x, lambda x, t: (1 + x**2 / 2).sqrt())
    score = lambda x, t: -3 * x / (1 + x**2 / 2)  # noqa: E731
    start = torch.from_numpy(student.ppf((np.arange(20_000) + 0.5) / 20_000, 5, scale=math.sqrt(2 / 5))).unsqueeze(1)
    end = process.reverse(score, noise).simulate(start, torch.linspace(1, 0, 401), rng(8))[-1]
    for f in (torch.tanh, lambda x: (x.abs() < 1).double(), lambda x: x.square().clamp(max=4)):
        close_mean(f(end), f(start).mean(), floor=5e-3)


def test_the_flow_without_noise_needs_no_generator():
    process = processes.ornstein_uhlenbeck()
    flow = process.reverse(lambda x, t: -x, 0.0)  # already at rest
    x0 = randn(5, 1)
    close(flow.simulate(x0, torch.tensor([1.0, 0.5, 0.0]))[-1], x0)


@pytest.mark.parametrize(
    ("drift", "diffusion"), [(lambda x, t: x, lambda x, t: t), (lambda x, t: torch.ones_like(x), lambda x, t: x.abs())]
)
def test_noise_that_starts_later_is_not_dropped(drift, diffusion):
    process, times = SDE(drift, diffusion), torch.tensor([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="generator: missing, and the diffusion is not 0 at time 1"):
        process.simulate(torch.zeros(3, 1), times)
    assert process.simulate(torch.zeros(3, 1), times, rng()).std() > 0


def test_a_reversed_sde_knows_its_direction():
    process, score = processes.ornstein_uhlenbeck(), lambda x, t: -x
    back, flow = process.reverse(score), process.reverse(score, 0.0)
    assert back.backward and not flow.backward
    with pytest.raises(ValueError, match="times: rise from 0 to 1, but a reversed SDE runs backward"):
        back.simulate(ones(2), torch.tensor([0.0, 1.0]), rng())
    with pytest.raises(ValueError, match="reverse: this SDE is reversed already"):
        back.reverse(score)
    close(flow.simulate(ones(2), torch.tensor([0.0, 1.0]))[-1], 1.0)  # a flow runs either way


def test_a_forward_sde_knows_its_direction():
    """Whoever forgot reverse(score) got the forward drift run backwards: mean 2.69 for 1."""
    falling = torch.tensor([1.0, 0.5, 0.0])
    with pytest.raises(
        ValueError, match=r"times: fall at 1, but this SDE has noise and runs forward; reverse\(score\)"
    ):
        processes.ornstein_uhlenbeck().simulate(ones(2), falling, rng())
    late = SDE(still, lambda x, t: torch.where(t < 0.75, 1.0, 0.0))
    for noise in ({"generator": rng()}, {"increments": torch.zeros(2, 2, 1)}):
        with pytest.raises(ValueError, match=r"times: fall at 0\.5, but this SDE has noise"):
            late.simulate(ones(2), falling, **noise)
    still_flow = SDE(lambda x, t: -x, lambda x, t: 0.0)
    assert still_flow.simulate(ones(1), falling, rng())[-1] > 2  # without noise: either way


# --- Milstein ---


def test_a_milstein_step_by_hand():
    """dX = 0.3 X dt + X dW: sigma sigma' = X. For times that fall, |dt| is the variance."""
    x, dw = randn(5, 1, seed=3).abs(), 0.1 * randn(5, 1, seed=4)
    process = SDE(lambda x, t: 0.3 * x, lambda x, t: x)
    close(process.milstein(x, 0.0, 0.04, dw), x * (1 + 0.012 + dw + 0.5 * (dw**2 - 0.04)))
    back = SDE(process.drift, process.diffusion, backward=True)
    close(back.milstein(x, 1.0, -0.04, dw), x * (1 - 0.012 + dw + 0.5 * (dw**2 - 0.04)))


def test_milstein_in_several_dimensions_is_that_of_each():
    process = SDE(lambda x, t: -x, lambda x, t: (1 + x**2).sqrt())
    x, dw = randn(4, 3), randn(4, 3, seed=1)
    alone = [process.milstein(x[:, k : k + 1], 0.0, 0.5, dw[:, k : k + 1]) for k in range(3)]
    close(process.milstein(x, 0.0, 0.5, dw), torch.cat(alone, 1))
    plain = processes.ornstein_uhlenbeck()
    close(plain.milstein(x, 0.0, 0.5, dw), plain.step(x, 0.0, 0.5, dw))


@pytest.mark.parametrize(
    ("diffusion", "message"),
    [
        (tilted, "method: milstein is for independent components here; the diffusion is a matrix"),
        (lambda x, t: 1 + x.flip(1) ** 2, "method: milstein needs sigma_0 to depend on x_0 alone; it moves with x_1"),
        (lambda x, t: 1 + x.square().sum(1, keepdim=True), "sigma_0 to depend on x_0 alone; it moves with x_1"),
        (lambda x, t: (1 + x.detach() ** 2).sqrt(), "diffusion: depends on x at"),
    ],
)
def test_milstein_refuses_what_it_cannot_do(diffusion, message):
    times = torch.tensor([0.0, 0.1])
    with pytest.raises(ValueError, match=message):
        SDE(still, diffusion).simulate(randn(3, 2), times, rng(), method="milstein")


# --- Errors ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x0": torch.ones(3)}, r"x0: need shape \(n, d\), .* got \(3,\)"),
        ({"x0": torch.tensor([[1.0], [math.nan]])}, r"x0: nan at index \(1, 0\)"),
        ({"times": torch.tensor([1.0])}, "times: need at least two"),
        ({"times": torch.tensor([0.0, 1.0, 0.5])}, "times: need all to rise or all to fall, got 1, 0.5 at 1"),
        ({"times": torch.tensor([0.0, 0.0])}, "times: need all to rise or all to fall"),
        ({"substeps": 0}, "substeps: 0: need at least 1"),
        ({"generator": None}, "generator: missing, and the diffusion is not 0"),
        ({"increments": torch.zeros(2, 1, 1)}, "generator, increments: give one of the two"),
        (
            {"increments": torch.zeros(2, 1, 1), "generator": None},
            r"increments: need shape \(1, 2, 1\), .* \(2, 1, 1\)",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"x0": torch.zeros(2, 1), "times": torch.tensor([0.0, 1.0]), "generator": rng()} | change
    with pytest.raises(ValueError, match=message):
        processes.ornstein_uhlenbeck().simulate(**given)


@pytest.mark.parametrize(
    ("drift", "diffusion", "message"),
    [
        (lambda x, t: x[:, 0], lambda x, t: 1.0, r"drift: gives shape \(2,\) for x of shape \(2, 1\)"),
        (lambda x, t: x / 0, lambda x, t: 1.0, r"drift: nan at index \(0, 0\), time 0"),
        (lambda x, t: x, lambda x, t: -1.0, r"diffusion: negative, -1.0 at index \(\), time 0"),
        (lambda x, t: x, lambda x, t: x - 1, r"diffusion: negative, -1.0 at index \(0, 0\)"),
        (lambda x, t: x, lambda x, t: torch.ones(2), r"diffusion: gives shape \(2,\)"),
        (lambda x, t: x, lambda x, t: torch.ones(2, 3, 3), r"diffusion: gives shape \(2, 3, 3\)"),
        (lambda x, t: x, lambda x, t: x * math.inf, r"diffusion: nan at index \(0, 0\)"),
    ],
)
def test_bad_coefficients_are_named(drift, diffusion, message):
    with pytest.raises(ValueError, match=message):
        SDE(drift, diffusion).simulate(torch.zeros(2, 1), torch.tensor([0.0, 1.0]), rng())


def test_a_matrix_without_an_axis_for_particles_is_refused():
    """Two particles in the plane: (2, 2) was taken for two rows of standard deviations. 0.09 in place of 0.82."""
    sigma = torch.tensor([[0.9, 0.1], [0.1, 0.3]], dtype=torch.float64)
    for matrix in (sigma, sigma[:, :1]):
        process = SDE(still, lambda x, t, matrix=matrix: matrix)
        for n in (1, 2, 3):
            with pytest.raises(ValueError, match=r"diffusion: gives shape \(2, [12]\) for"):
                process.covariance(randn(n, 2), 0.0)
    close(SDE(still, lambda x, t: sigma.unsqueeze(0)).covariance(randn(2, 2), 0.0), (sigma @ sigma.T).expand(2, 2, 2))
    close(SDE(still, lambda x, t: sigma[:1]).covariance(randn(2, 2), 0.0), sigma[:1].square().expand(2, 2))
    x = randn(2, 2)
    close(SDE(still, lambda x, t: x.abs()).covariance(x, 0.0), x.square())


def test_a_path_that_runs_away_is_caught():
    process = SDE(lambda x, t: x**3, lambda x, t: 0.0)
    with pytest.raises(ValueError, match=r"drift: inf at index \(0, 0\), time 5"):
        process.simulate(10 * ones(1), torch.linspace(0, 10, 11))
    with pytest.raises(ValueError, match=r"x: inf at index \(0, 0\), time 3"):
        SDE(lambda x, t: 1e308 * x, lambda x, t: 0.0).simulate(ones(1), torch.tensor([1.0, 3.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: processes.ornstein_uhlenbeck(rate=-1), "rate: -1: need a positive"),
        (lambda: processes.langevin(lambda x: -x, noise=0), "noise: 0: need a positive"),
        (
            lambda: processes.ornstein_uhlenbeck().reverse(lambda x, t: -x, -1.0),
            "noise: -1.0: need a finite number, at least 0",
        ),
        (lambda: processes.ornstein_uhlenbeck().transition(ones(2), -1.0), "t: -1.0: need positive times"),
        (lambda: processes.ornstein_uhlenbeck().transition(ones(2), math.nan), "t: nan: need positive times"),
        (lambda: processes.ornstein_uhlenbeck().transition(ones(2), 0.0), "t: 0.0: need positive times"),
        (
            lambda: processes.ornstein_uhlenbeck().transition(ones(2), torch.ones(3)),
            r"t: shape \(3,\): .* each of 2 rows",
        ),
        (
            lambda: processes.ornstein_uhlenbeck().simulate(ones(2), torch.tensor([0.0, 1.0]), rng(), method="heun"),
            "method: 'heun': choose from euler-maruyama, milstein",
        ),
        (lambda: brownian_motion.random_walk(0, 5, rng()), "walkers: 0: need at least 1"),
        (lambda: processes.ornstein_uhlenbeck().reverse(lambda x, t: x / 0).mu(0 * ones(1), 0), r"score: nan at index"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
