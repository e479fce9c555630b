"""Monte Carlo: the classical samplers, and annealing from an easy density to a hard one."""

from dpm_lib.montecarlo.ais import annealed_importance_sampling, bennett
from dpm_lib.montecarlo.importance import importance_sampling
from dpm_lib.montecarlo.inverse_transform import inverse_cdf
from dpm_lib.montecarlo.mcmc import gibbs, metropolis_hastings
from dpm_lib.montecarlo.rejection import rejection_sampling
from dpm_lib.montecarlo.smc import sequential_monte_carlo

__all__ = [
    "annealed_importance_sampling",
    "bennett",
    "gibbs",
    "importance_sampling",
    "inverse_cdf",
    "metropolis_hastings",
    "rejection_sampling",
    "sequential_monte_carlo",
]
