"""Random numbers, from explicit generators alone: nothing in the library touches a global seed."""

import torch
from torch import Tensor


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` that starts at ``seed``."""
    return torch.Generator(device).manual_seed(seed)


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1), float64, in any shape."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers, float64, in any shape."""
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
