"""Data sets: points, bits and images, by name or your own."""

from dpm_lib.data.dataset import Data, Points, original
from dpm_lib.data.images import Images
from dpm_lib.data.registry import as_data, load

__all__ = ["Data", "Images", "Points", "as_data", "load", "original"]
