"""Markov chains with finitely many states, in discrete and in continuous time."""

from dpm_lib.markov.kolmogorov import backward, forward, transition_matrix
from dpm_lib.markov.markov_chains import mixing_time, spectral_gap, stationary_distribution
from dpm_lib.markov.time_reversal import reverse_generator

__all__ = [
    "backward",
    "forward",
    "mixing_time",
    "reverse_generator",
    "spectral_gap",
    "stationary_distribution",
    "transition_matrix",
]
