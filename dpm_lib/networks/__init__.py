"""Networks: they map a noisy state and its time to numbers, and know nothing of diffusion."""

from dpm_lib.networks.mlp import MLP
from dpm_lib.networks.multiscale import MultiScale
from dpm_lib.networks.one_hot import OneHot
from dpm_lib.networks.rbf import RBF
from dpm_lib.networks.unet import UNet

__all__ = ["MLP", "RBF", "MultiScale", "OneHot", "UNet"]
