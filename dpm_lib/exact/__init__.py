"""Exact results on models so small, or so simple, that nothing needs to be drawn."""

from dpm_lib.exact.entropy_bounds import EntropyBounds
from dpm_lib.exact.enumeration import FiniteChains
from dpm_lib.exact.reverse_step_on_a_grid import StepBack

__all__ = ["EntropyBounds", "FiniteChains", "StepBack"]
