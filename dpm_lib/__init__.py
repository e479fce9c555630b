"""dpm_lib: the library under the book 'Diffusion Models from First Principles'. Three nouns flow through everything.

- :class:`WeightedSamples`: samples with importance weights.
- :class:`SDE`: a stochastic differential equation, its density and its reversal.
- :class:`DiffusionModel`: a forward chain, a schedule, and a learned reverse chain.

What most users need can be had from here (``__all__``). The rest is in packages, a module for each idea, in layers:
``core``, ``probability``, ``markov``, ``networks``; ``montecarlo``, ``sde``, ``information``, ``data``; ``diffusion``;
``exact``, ``interop``, ``vae``, ``training``; ``figures`` and ``cli``. ARCHITECTURE.md has the map.

Conventions, everywhere: data ``x`` has shape (..., d), batch first; logarithms are natural (nats) unless a
name ends in ``_bits``; schedules are tensors of length T+1, so that ``beta[t]`` is the beta_t of the page;
chains are kept in float64, networks may be float32; randomness comes only from a ``torch.Generator``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpm_lib.data.dataset import original
    from dpm_lib.data.registry import as_data
    from dpm_lib.data.registry import load as load_data
    from dpm_lib.diffusion.bound import terms as bound_terms
    from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
    from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
    from dpm_lib.diffusion.conditioning import tilt
    from dpm_lib.diffusion.forward_kernels import BinomialKernel, GaussianKernel
    from dpm_lib.diffusion.inpainting import inpaint
    from dpm_lib.diffusion.model import DiffusionModel
    from dpm_lib.diffusion.reverse_kernels import BernoulliReverse, GaussianReverse
    from dpm_lib.diffusion.schedules import Schedule
    from dpm_lib.networks.mlp import MLP
    from dpm_lib.probability.codebooks import Codebook
    from dpm_lib.probability.mixtures import Mixture
    from dpm_lib.probability.swiss_roll import SwissRoll
    from dpm_lib.probability.weighted_samples import WeightedSamples
    from dpm_lib.sde.sde import SDE
    from dpm_lib.training.catalogue import get as recipe
    from dpm_lib.training.checkpoints import load_model
    from dpm_lib.training.evaluation import evaluate
    from dpm_lib.training.loop import fit
    from dpm_lib.training.recipe import Recipe

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SDE",
    "BernoulliReverse",
    "BinomialKernel",
    "CategoricalKernel",
    "CategoricalReverse",
    "Codebook",
    "DiffusionModel",
    "GaussianKernel",
    "GaussianReverse",
    "Mixture",
    "Recipe",
    "Schedule",
    "SwissRoll",
    "WeightedSamples",
    "as_data",
    "bound_terms",
    "evaluate",
    "fit",
    "inpaint",
    "load_data",
    "load_model",
    "original",
    "recipe",
    "tilt",
]

# Loaded when first asked for, so that ``import dpm_lib`` costs nothing; the imports above are for type checkers.
_HOMES = {
    "BernoulliReverse": "diffusion.reverse_kernels",
    "BinomialKernel": "diffusion.forward_kernels",
    "CategoricalKernel": "diffusion.categorical_kernel",
    "CategoricalReverse": "diffusion.categorical_reverse",
    "Codebook": "probability.codebooks",
    "DiffusionModel": "diffusion.model",
    "GaussianKernel": "diffusion.forward_kernels",
    "GaussianReverse": "diffusion.reverse_kernels",
    "MLP": "networks.mlp",
    "Mixture": "probability.mixtures",
    "Recipe": "training.recipe",
    "SDE": "sde.sde",
    "Schedule": "diffusion.schedules",
    "SwissRoll": "probability.swiss_roll",
    "WeightedSamples": "probability.weighted_samples",
    "as_data": "data.registry",
    "bound_terms": "diffusion.bound:terms",
    "evaluate": "training.evaluation",
    "fit": "training.loop",
    "inpaint": "diffusion.inpainting",
    "load_data": "data.registry:load",
    "load_model": "training.checkpoints",
    "original": "data.dataset",
    "recipe": "training.catalogue:get",
    "tilt": "diffusion.conditioning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, other = _HOMES[name].partition(":")
    found = getattr(import_module(f"{__name__}.{module}"), other or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
