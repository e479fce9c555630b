"""Relatives of diffusion models: VAEs, hierarchical and autoregressive models, all as Markovian VAEs; and a GAN."""

from dpm_lib.vae.autoregressive import Autoregressive
from dpm_lib.vae.gaussian_vae import GaussianVAE
from dpm_lib.vae.hierarchical import FiniteVAE
from dpm_lib.vae.markovian_vae import Diffusion, MarkovianVAE

__all__ = ["Autoregressive", "Diffusion", "FiniteVAE", "GaussianVAE", "MarkovianVAE"]
