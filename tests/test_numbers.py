"""Numbers that make no sense are refused: sizes of steps, widths, rates, temperatures, counts.

A row names what is called, the argument, a value that will do, and those that will not. The value that will do is tried
too, so that a refusal is that of the number, and not of the call.
"""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from dpm_lib.data.registry import as_data
from dpm_lib.diffusion import (
    best_bound,
    conditioning,
    forward_kernels,
    optimal_schedule_gaussian,
    schedules,
    variance_exploding,
)
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import GaussianReverse, outputs
from dpm_lib.diffusion.twists import ExactModel
from dpm_lib.exact import enumeration, reverse_step_on_a_grid
from dpm_lib.information import i_mmse, mmse
from dpm_lib.markov import gillespie, markov_chains, matrix_exponential
from dpm_lib.montecarlo import annealing_path, importance, mcmc, rejection, simulated_annealing, smc, temperature_ladder
from dpm_lib.networks import mlp, multiscale, rbf
from dpm_lib.probability import mixtures, resampling, swiss_roll, target_densities
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.probability.products_of_laws import bit_tilt, gaussian_tilt
from dpm_lib.sde import brownian_motion, fokker_planck, processes
from dpm_lib.vae import gan, markovian_vae
from dpm_lib.vae.gaussian_vae import GaussianVAE

POSITIVE = (0.0, -1.0, math.nan, math.inf)
NOT_NEGATIVE = (-1.0, math.nan, math.inf)
FINITE = (math.nan, math.inf)
COUNT = (0, -1, 2.5)
COUNT_OR_0 = (-1, 2.5)

X = torch.zeros(4, 2, dtype=torch.float64)
FLAT, CLUMPS = target_densities.StandardNormal(2), target_densities.TwoClumps(2)
PATH = annealing_path.Path(CLUMPS.log_prob, FLAT)
TWO = mixtures.Mixture(torch.tensor([[0.0, 0.0], [3.0, 3.0]]), torch.tensor([0.5, 0.5]), 0.1)
SET = mixtures.finite_set(torch.tensor([[0.0], [1.0]]))
SCHEDULE = schedules.geometric(5, 1e-3, 50.0)
MODEL = ExactModel(TWO, SCHEDULE)
KERNEL = forward_kernels.GaussianKernel(2, SCHEDULE)
LEARNED = DiffusionModel(KERNEL, GaussianReverse(mlp.MLP(2, outputs(2, "diagonal"), 8, 1), KERNEL))
VAE = markovian_vae.Diffusion(LEARNED)
RATES = csr_array(np.array([[-1.0, 1.0], [2.0, -2.0]]))
OU, LINE = processes.ornstein_uhlenbeck(), np.linspace(-8, 8, 65)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def numpy_rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cool(temperature=1.0, step=1.0):
    return simulated_annealing.simulated_annealing(lambda x: x.square().sum(-1), X, [temperature], rng(), step)


def metropolis(step=1.0, b=0.5):
    return annealing_path.metropolis_step(X, PATH.ends, PATH.ends(X), b, step, rng())


def run_smc(**settings):
    return smc.sequential_monte_carlo(CLUMPS.log_prob, FLAT, 8, rng(), [0.0, 0.5, 1.0], **settings)


def tilted(**settings):
    look = gaussian_tilt(torch.zeros(2).double(), 1.0)
    return conditioning.tilt(MODEL, look, **({"n": 8, "generator": rng()} | settings))


def bell(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def solved(steps):
    return fokker_planck.solve(OU, bell, LINE, [0, 0.1], "tr-bdf2", steps)


def bounded(log_bound):
    return rejection.rejection_sampling(FLAT.log_prob, FLAT, log_bound, 2, rng())


def clumps_back(x_t=0.0, std=0.5):
    return reverse_step_on_a_grid.step_back(lambda x: reverse_step_on_a_grid.two_clumps(x, std), x_t, 0.1)


TABLE = [
    ("step", cool, 1.0, POSITIVE, "step"),
    ("temperature", cool, 1.0, POSITIVE, "temperatures"),
    ("step", metropolis, 1.0, POSITIVE, "step"),
    ("b", metropolis, 0.0, NOT_NEGATIVE, "b"),
    ("steps", annealing_path.RandomWalk, 1.0, POSITIVE, "steps"),
    ("b", lambda b: annealing_path.next_temperature(torch.zeros(4), torch.arange(4.0), b), 0.0, NOT_NEGATIVE, "b"),
    ("threshold", run_smc, 0.0, NOT_NEGATIVE, "threshold"),
    ("keep", run_smc, 0.9, POSITIVE, "keep"),
    ("moves", run_smc, 1, COUNT, "moves"),
    ("chain", run_smc, 2, COUNT, "chain"),
    ("m", lambda m: resampling.resample(X, PATH.ends(X), torch.zeros(4), rng(), m), 3, COUNT, "m"),
    ("trial", lambda trial: temperature_ladder.best_number(1.0, trial, 1.0), 5, COUNT, "trial"),
    ("aim", lambda aim: temperature_ladder.best_number(9.0, 5, 1.0, aim), 0.3, POSITIVE, "aim"),
    ("step", mcmc.random_walk, 1.0, POSITIVE, "step"),
    ("n", lambda n: importance.importance_sampling(FLAT.log_prob, FLAT, n, rng()), 3, COUNT, "n"),
    (
        "max_evaluations",
        lambda max_evaluations: rejection.rejection_sampling(FLAT.log_prob, FLAT, 0.0, 5, rng(), max_evaluations),
        100,
        COUNT,
        "max_evaluations",
    ),
    ("std", target_densities.TwoClumps, 1.0, POSITIVE, "std"),
    ("std", target_densities.Banana, 1.0, POSITIVE, "std"),
    ("std", target_densities.Funnel, 1.0, POSITIVE, "std"),
    ("std", lambda std: target_densities.Normal(2, std), 1.0, POSITIVE, "std"),
    ("T", schedules.geometric, 5, (1, *COUNT), "T"),
    ("T", schedules.even, 5, (1, *COUNT), "T"),
    ("T", schedules.linear, 5, (1, *COUNT), "T"),
    ("T", schedules.cosine, 5, (1, *COUNT), "T"),
    ("beta_T", lambda beta_T: schedules.linear(5, 1e-4, beta_T), 0.2, (1.5, *POSITIVE), "beta_T"),
    ("knots", lambda knots: schedules.LearnedSchedule(SCHEDULE, knots), 2, (1, 5, *COUNT_OR_0), "knots"),
    ("rate", processes.ornstein_uhlenbeck, 1.0, POSITIVE, "rate"),
    ("noise", lambda noise: OU.reverse(lambda x, t: -x, noise), 0.0, NOT_NEGATIVE, "noise"),
    ("dim", OU.stationary, 2, COUNT, "dim"),
    ("substeps", lambda substeps: OU.simulate(X, [0.0, 1.0], rng(), substeps=substeps), 2, COUNT, "substeps"),
    ("walkers", lambda walkers: brownian_motion.random_walk(walkers, 3, rng()), 2, COUNT, "walkers"),
    ("steps", lambda steps: brownian_motion.random_walk(2, steps, rng()), 3, COUNT, "steps"),
    ("n", lambda n: brownian_motion.wiener_increments([0.0, 1.0], n, 2, rng()), 2, COUNT, "n"),
    ("d", lambda d: brownian_motion.wiener_increments([0.0, 1.0], 2, d, rng()), 2, COUNT, "d"),
    ("factor", lambda factor: brownian_motion.coarsen(torch.zeros(4, 2, 2), factor), 2, (3, *COUNT), "factor"),
    ("dt", lambda dt: matrix_exponential.uniformisation(RATES, dt), 0.0, NOT_NEGATIVE, "dt"),
    ("dt", lambda dt: matrix_exponential.backward_euler(RATES, dt), 0.0, NOT_NEGATIVE, "dt"),
    ("dt", lambda dt: matrix_exponential.tr_bdf2(RATES, dt), 0.0, NOT_NEGATIVE, "dt"),
    ("steps", solved, 2, COUNT, "steps"),
    ("t", lambda t: fokker_planck.generator(OU, LINE, t), -1.0, FINITE, "t"),
    ("n", lambda n: TWO.sample(n, rng()), 0, COUNT_OR_0, "n"),
    ("nodes", lambda nodes: TWO.entropy(0.0, nodes), 4, COUNT, "nodes"),
    ("noise", swiss_roll.SwissRoll, 0.5, POSITIVE, "noise"),
    ("n", lambda n: swiss_roll.SwissRoll(0.5).sample(n, rng()), 0, COUNT_OR_0, "n"),
    ("step", lambda step: mmse.mmse(TWO, 1.0, step), 0.0, NOT_NEGATIVE, "step"),
    ("step", lambda step: mmse.blurred_entropy(TWO, 1.0, step), 0.0, NOT_NEGATIVE, "step"),
    ("step", mmse.line_rule, 0.1, POSITIVE, "step"),
    ("n", lambda n: mmse.sampled_mmse(TWO, 1.0, n, rng()), 2, (1, *COUNT), "n"),
    ("count", lambda count: mmse.Equidistant(count, 1.0), 2, (1, *COUNT), "count"),
    ("nodes", lambda nodes: i_mmse.log_nodes(0.1, 1.0, nodes), 4, COUNT, "nodes"),
    ("t0", lambda t0: i_mmse.mutual_information(SET, t0, 8), 0.0, NOT_NEGATIVE, "t0"),
    (
        "t0",
        lambda t0: i_mmse.entropy_bound(TWO.posterior_mean, TWO.sample(9, rng()), t0, 10.0, rng(), 40.0, 4),
        0.1,
        POSITIVE,
        "t0",
    ),
    ("n", lambda n: i_mmse.excess(TWO.posterior_mean, TWO, 0.1, 1.0, n, rng(), 4), 2, (1, *COUNT), "n"),
    ("steps", lambda steps: variance_exploding.falling_times(1.0, 0.1, steps), 3, COUNT, "steps"),
    ("dt", lambda dt: variance_exploding.step_back(TWO, X, 1.0, dt), 0.5, (2.0, *POSITIVE), "dt"),
    ("x_t", clumps_back, 0.0, FINITE, "x_t"),
    ("std", clumps_back, 0.5, POSITIVE, "std"),
    ("variance", lambda variance: clumps_back().kl_to(0.0, variance), 1.0, POSITIVE, "variance"),
    ("bits", enumeration.states, 2, COUNT, "bits"),
    ("bits", lambda bits: enumeration.flip_kernel(bits, 0.5), 2, COUNT, "bits"),
    ("width", lambda width: mlp.MLP(2, 4, width), 8, COUNT, "width"),
    ("depth", lambda depth: mlp.MLP(2, 4, 8, depth), 0, COUNT_OR_0, "depth"),
    ("frequencies", lambda frequencies: mlp.MLP(2, 4, 8, 2, frequencies), 0, COUNT_OR_0, "frequencies"),
    ("scale", lambda scale: mlp.MLP(2, 4, 8, 2, 4, scale), 1.0, POSITIVE, "scale"),
    ("units", lambda units: rbf.RBF(2, 4, 5, units), 8, COUNT, "units"),
    ("n", lambda n: gan.draw(gan.networks(2, 2, 8, 2, rng())[0], n, rng()), 0, COUNT_OR_0, "n"),
    ("rungs", lambda rungs: GaussianVAE(2, 2, rungs, 8, 2, rng()), 1, COUNT, "rungs"),
    ("n", lambda n: best_bound.best_bound(TWO, SCHEDULE, n=n), 8, COUNT, "n"),
    ("tau_1", lambda tau_1: best_bound.BestReverse(TWO, tau_1, 10.0, 5, 8), 0.01, POSITIVE, "tau_1"),
    ("tau_T", lambda tau_T: best_bound.BestReverse(TWO, 0.01, tau_T, 5, 8), 10.0, POSITIVE, "tau_T"),
    ("levels", lambda levels: best_bound.BestReverse(TWO, 0.01, 10.0, levels, 8), 5, (1, *COUNT), "levels"),
    ("n", lambda n: gillespie.simulate(RATES.toarray(), 0, 1.0, n, numpy_rng()), 0, COUNT_OR_0, "n"),
    ("tolerance", lambda tolerance: markov_chains.is_reversible(np.eye(1), tolerance), 0.0, NOT_NEGATIVE, "tolerance"),
    ("distance", lambda distance: markov_chains.mixing_time(np.full((2, 2), 0.5), distance), 0.1, POSITIVE, "distance"),
    ("dim", lambda dim: forward_kernels.GaussianKernel(dim, SCHEDULE), 2, COUNT, "dim"),
    ("dim", lambda dim: forward_kernels.BinomialKernel(dim, SCHEDULE), 2, COUNT, "dim"),
    ("n", lambda n: MODEL.sample(n, rng()), 0, COUNT_OR_0, "n"),
    ("n", lambda n: LEARNED.trajectory_weights(torch.zeros(2), n, rng()), 1, COUNT, "n"),
    (
        "n",
        lambda n: markovian_vae.trajectory_weights(VAE, torch.zeros(2), n, rng()),
        1,
        COUNT,
        "n",
    ),
    ("n", lambda n: as_data(torch.arange(10.0).reshape(5, 2)).held_out(n), 0, COUNT_OR_0, "n"),
    ("bumps", lambda bumps: multiscale.bump_functions(5, bumps), 2, (1, *COUNT), "bumps"),
    ("s2", lambda s2: optimal_schedule_gaussian.ratios([0.1, 0.2], s2), 1.0, POSITIVE, "s2"),
    ("barrier", lambda barrier: markov_chains.double_well(3, barrier), 0.0, NOT_NEGATIVE, "barrier"),
    ("n", lambda n: markov_chains.double_well(n, 1.0), 2, (1, *COUNT), "n"),
    ("start", lambda start: gillespie.simulate(RATES.toarray(), 0, 9.0, 1, numpy_rng(), start), 0.0, FINITE, "start"),
    (
        "log_bound",
        bounded,
        0.0,
        FINITE,
        "log_bound",
    ),
    ("share", lambda share: target_densities.TwoClumps(2, share=share), 0.5, (0.0, 1.0, math.nan), "share"),
    ("error", lambda error: bit_tilt(torch.ones(2), error), 0.5, (-0.1, 0.6, math.nan), "error"),
    ("t", lambda t: MODEL.reverse_step(X, t), 5, (0, -1, 6), "t"),
    ("n", lambda n: Codebook([[0, 1], [1, 0]]).sample(n, rng()), 2, COUNT, "n"),
    ("n", tilted, 8, COUNT, "n"),
    ("threshold", tilted, 0.0, NOT_NEGATIVE, "threshold"),
    ("farthest", tilted, math.inf, (0.0, -1.0, math.nan), "farthest"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("argument", "call", "good", "bad", "named"), TABLE)
def test_a_number_that_makes_no_sense_is_refused_by_name(argument, call, good, bad, named):
    call(**{argument: good})
    for value in bad:
        with pytest.raises(ValueError, match=rf"^{named}\b.*"):
            call(**{argument: value})


@pytest.mark.parametrize("bad", POSITIVE)
def test_of_several_steps_each_is_looked_at(bad):
    with pytest.raises(ValueError, match=r"^steps: "):
        annealing_path.RandomWalk(torch.tensor([1.0, bad, 1.0]))


@pytest.mark.parametrize("bad", NOT_NEGATIVE)
def test_a_factor_may_be_flat_and_no_more(bad):
    """A cloud of one particle has no width, and stays where it is; a negative or infinite width is no width."""
    still, _, _ = metropolis(step=torch.zeros(2, 2, dtype=torch.float64))
    assert torch.equal(still, X)
    with pytest.raises(ValueError, match=r"^step: a factor"):
        metropolis(step=bad * torch.eye(2, dtype=torch.float64))


def test_two_states_are_a_line_too():
    """The shortest line of cells, by both implicit steppers: no diagonal beyond the second."""
    exact = matrix_exponential.uniformisation(RATES, 0.01)(np.array([1.0, 0.0]))
    for method in (matrix_exponential.backward_euler, matrix_exponential.tr_bdf2):
        assert np.abs(method(RATES, 0.01)(np.array([1.0, 0.0])) - exact).max() < 2e-4
