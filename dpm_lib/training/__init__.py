"""Training: recipes, the loop and its files, evaluation, and what it costs."""

from dpm_lib.training.checkpoints import load_model, save_model
from dpm_lib.training.evaluation import evaluate
from dpm_lib.training.loop import fit
from dpm_lib.training.recipe import Recipe

__all__ = ["Recipe", "evaluate", "fit", "load_model", "save_model"]
