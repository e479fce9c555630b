"""Probability laws: distributions, mixtures, densities, products of them, codebooks, and weighted samples."""

from dpm_lib.probability.categorical import Categorical
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.probability.distributions import Bernoulli, Gaussian, Law
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.products_of_laws import Tilt
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.probability.weighted_samples import WeightedSamples

__all__ = ["Bernoulli", "Categorical", "Codebook", "Gaussian", "Law", "Mixture", "SwissRoll", "Tilt", "WeightedSamples"]
