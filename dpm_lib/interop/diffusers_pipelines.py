"""A pipeline's folder that diffusers loads and samples from, with a model card.

What can be carried over is a network that diffusers has: a UNet2DModel, trained there or here, with any chain, any
prediction (of the noise, x_0 or v), and any variance and clipping of a DDPMScheduler. The library's own networks have
no counterpart: their map of the place, their bias for each pixel, their sums for skips and their time, which is log
tau, are no layers of a UNet2DModel; and a pipeline with code of its own asks whoever loads it to run a stranger's
program. So these are refused. To train here what is to be used there, wrap a fresh UNet2DModel with ``from_diffusers``
and descend on ``bound.estimate``, whose gradient reaches the network's weights.

The chain is written as ``trained_betas``, which diffusers keeps to the last digit in its file, and computes with in
float32. Its last step has no noise, whatever ``last`` is here.
"""

from pathlib import Path
from typing import Any

from dpm_lib.core.extras import extra
from dpm_lib.core.files import write_atomically
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.interop.denoiser import DenoiserReverse, ImportedModel, grey_units
from dpm_lib.interop.diffusers_models import UNetGuess


def to_diffusers(
    model: DiffusionModel, folder: str | Path, *, data: str, licence: str, bits: dict[str, Any] | None = None,
    steps: int | None = None,
) -> Path:  # fmt: skip
    """Write ``model`` as a DDPMPipeline's folder; returns its path.

    The card says the ``data`` it was trained on and their ``licence``, an identifier such as "cc-by-4.0" ("unknown" is
    one too), the number of ``steps`` of training, and K: ``bits`` is what `dpm bits` printed. ValueError for what
    diffusers has no place for, naming it; FileExistsError where the folder holds something; NotInstalled without
    diffusers.
    """
    wrapped, network = _checked(model)
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: holds something already: need a new or an empty folder")
    for name, value in (("data", data), ("licence", licence)):
        if not value or any(sign in value for sign in "\n\r:#"):
            raise ValueError(f"{name}: {value!r}: need one line of words for the card, without : and #")
    with extra("diffusers"):
        from diffusers import DDPMPipeline, DDPMScheduler
    facts = wrapped.facts
    clip = None if facts["clip"] == "none" else facts["clip"]
    scheduler = DDPMScheduler(
        num_train_timesteps=model.T, trained_betas=model.schedule.beta[1:].tolist(),
        prediction_type=facts["prediction"], variance_type=facts["variance"], clip_sample=clip is not None,
        clip_sample_range=1.0 if clip is None else clip,
    )  # fmt: skip
    pipeline: Any = DDPMPipeline(network.unet, scheduler)
    pipeline.save_pretrained(folder, safe_serialization=True)
    write_atomically(folder / "README.md", card(facts, data, licence, bits, steps).encode())
    return folder


def _checked(model: DiffusionModel) -> tuple[ImportedModel, UNetGuess]:
    """A model, and its network, that can be carried over. ValueError, with the reason, for another."""
    reverse = model.reverse
    if not isinstance(model, ImportedModel) or not isinstance(reverse, DenoiserReverse):
        inner = type(getattr(reverse, "network", reverse)).__name__
        raise ValueError(
            f"model: {type(reverse).__name__} around {inner}: diffusers has no such network; need a UNet2DModel, as "
            "from_diffusers wraps it"
        )
    network = reverse.network
    if not isinstance(network, UNetGuess):
        raise ValueError(
            f"model: guesses by {model.facts.get('denoiser')}: need a UNet2DModel, as from_diffusers wraps"
        )
    if network.label is not None:
        raise ValueError(f"model: is that of class {network.label}: a DDPMPipeline has no place for a class")
    units = grey_units(network.shape, model.data_set.get("levels", 256))
    if differs := [key for key in ("mean", "std") if model.data_set.get(key) != units[key]]:
        found, need = (record.get(differs[0]) for record in (model.data_set, units))
        raise ValueError(f"model: its data's {differs[0]} is {found}: need {need}, for levels as numbers from -1 to 1")
    return model, network


def card(
    facts: dict[str, Any], data: str, licence: str, bits: dict[str, Any] | None = None, steps: int | None = None
) -> str:
    """The model card, in Markdown: what the model is, what it is worth, and what it was trained on."""
    worth = "not measured"
    if bits is not None:
        worth = f"{bits['bits_per_dimension']:.4f} +- {bits['bits_per_dimension_stderr']:.4f} bits a dimension"
        worth += f" on {bits['pictures']} pictures of {bits.get('data', data)}, last step {bits.get('last', 'edge')}"
    lines = [
        "---", "library_name: diffusers", f"license: {licence}", "tags:", "- unconditional-image-generation", "---", "",
        "# A diffusion model", "",
        f"- -K, an upper bound on its code length: {worth}", f"- Data: {data} (licence: {licence})",
        f"- Steps of training: {'not said' if steps is None else steps}",
        *(f"- {name}: {value}" for name, value in facts.items()), "",
        "The last step of diffusers is a point, without noise, and has no K; the bound is that of the chain with the "
        "last step named above.", "",
    ]  # fmt: skip
    return "\n".join(lines)
