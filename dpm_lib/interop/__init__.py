"""A way in and out of other people's models: any denoiser, and pipelines of diffusers, as a ``DiffusionModel``."""

from dpm_lib.interop.denoiser import DenoiserReverse, ImportedModel, from_denoiser
from dpm_lib.interop.diffusers_models import from_diffusers
from dpm_lib.interop.diffusers_pipelines import to_diffusers

__all__ = ["DenoiserReverse", "ImportedModel", "from_denoiser", "from_diffusers", "to_diffusers"]
