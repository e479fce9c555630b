"""Stochastic differential equations, and the Fokker-Planck equation of their densities."""

from dpm_lib.sde.brownian_motion import wiener_increments
from dpm_lib.sde.processes import OrnsteinUhlenbeck, langevin, ornstein_uhlenbeck
from dpm_lib.sde.sde import SDE

__all__ = ["SDE", "OrnsteinUhlenbeck", "langevin", "ornstein_uhlenbeck", "wiener_increments"]
