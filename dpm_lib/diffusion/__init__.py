"""Diffusion models: forward and reverse kernels, their bound, and what is done to a model."""

from dpm_lib.diffusion.bound import BoundTerms
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.reverse_kernels import BernoulliReverse, GaussianReverse
from dpm_lib.diffusion.schedules import LearnedSchedule, Schedule

__all__ = [
    "BernoulliReverse",
    "BinomialKernel",
    "BoundTerms",
    "CategoricalKernel",
    "CategoricalReverse",
    "DiffusionModel",
    "GaussianKernel",
    "GaussianReverse",
    "LearnedSchedule",
    "Schedule",
]
