"""A trained model in one file, with its recipe, the units of its data and the edges of its levels.

So ``load_model(path)`` needs nothing else. The file is written and checked by ``core.files``.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.files import BrokenFile, load_tensors, save_tensors
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training.build import build
from dpm_lib.training.recipe import Recipe


def save_model(path: Path, model: DiffusionModel, recipe: Recipe, **record: Any) -> None:
    """Write a model with its recipe, and any further facts, to one safetensors file."""
    save_tensors(path, model.state_dict(), {"recipe": recipe.to_dict(), "dim": model.kernel.dim, **record})


def load_model(path: str | Path) -> tuple[DiffusionModel, Recipe]:
    """The model in a file that ``save_model`` wrote, and its recipe. Its ``data_set`` tells the units of its data.

    BrokenFile, a ValueError, where the file is missing, damaged, or no model.
    """
    path = Path(path)
    tensors, record = load_tensors(path)
    if isinstance(record.get("recipe"), str):
        raise BrokenFile(f"{path}: holds samples of {record['recipe']!r}, no model: name the run's model.safetensors")
    if "random" in tensors:
        raise BrokenFile(f"{path}: is a checkpoint, no model: name the run's model.safetensors")
    try:
        recipe = Recipe.from_dict(record["recipe"])
        check_sizes(recipe, int(record.get("dim", 2)), tensors)
        model = build(recipe, dim=int(record.get("dim", 2)), edges=tensors.get("reverse.edges"))
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenFile(f"{path}: {error}") from None
    load_state(model, tensors, path)
    model.data_set = dict(record.get("data_set") or {})
    return model.requires_grad_(False), recipe


def check_sizes(recipe: Recipe, dim: int, tensors: dict[str, Tensor]) -> None:
    """ValueError where ``recipe`` names a size that no tensor, of any shape, has, before memory for it is taken."""
    largest = max((size for tensor in tensors.values() for size in tensor.shape), default=1)
    sizes = {"T": recipe.T, "frequencies": recipe.frequencies, "side": recipe.side, "dim": 0 if recipe.side else dim}
    sizes |= {"units": recipe.units} if recipe.network == "rbf" else {"width": recipe.width}
    sizes |= {"channels": recipe.channels, "classes": recipe.classes} if recipe.side else {}
    if recipe.network == "text":  # it reads strings of any length
        sizes |= {"dim": 0, "tokens": recipe.tokens}
    if recipe.network not in ("mlp", "unet"):
        del sizes["frequencies"]
    counts = {"depth": recipe.depth, "scales": recipe.scales} if recipe.network != "rbf" else {}
    for most, values in ((largest, sizes), (len(tensors), counts)):
        for name, value in values.items():
            if value > most:
                raise ValueError(f"{name}: {value} fits none of its tensors")


def load_state(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy tensors of any shape into a module; BrokenFile where names or shapes differ, or a value is NaN."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and torch.isnan(tensor).any():
            raise BrokenFile(f"{path}: {name} holds NaN")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise BrokenFile(f"{path}: {' '.join(str(error).split())}") from None
