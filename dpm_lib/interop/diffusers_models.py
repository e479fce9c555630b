"""Models of the library diffusers as ``DiffusionModel``: a UNet2DModel with its DDPM or DDIM scheduler, or a folder.

Pass the scheduler that the network was trained with, loaded from its own folder. What a scheduler object says depends
on how it came about: its class, its last sampling run, and what was converted in memory. So ``from_diffusers`` copies
the table ``betas`` once, in float64, and asks for nothing else: neither ``step`` nor ``set_timesteps`` nor
``_get_variance`` is ever called. All T levels are used. diffusers counts times from 0: its t - 1 is our t.

Two things are not as in diffusers, and must not be:

- Its last step has no noise, hence no density, hence no K. In its place stands the edge kernel, or, with ``last`` =
  "levels", a Gaussian around the same guess, rounded to grey levels (``last_step``), as in published bits.
- Its tables are float32; ours are float64, so that q and p of K share one chain. Variances differ by up to 5e-4.

Clipping: DDPM and DDIM cut each guess of x_0 to [-1, 1] unless told otherwise. That is part of the model, and its K is
another. The repr says which it is. With the edge kernel pictures are dequantised, and reach half a level beyond the
ends: where that is more than the first noise, as with few levels, such a cut costs bits (1.8 a dimension on digits of
17 levels, book/results/bits-of-models.json); with a last step on levels it does not.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpm_lib.core import checks
from dpm_lib.core.extras import extra
from dpm_lib.core.files import BrokenFile, load_json
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.parametrisations import convert
from dpm_lib.diffusion.schedules import Schedule, from_beta
from dpm_lib.interop.denoiser import VARIANCES, DenoiserReverse, ImportedModel, grey_units, settled

SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
PIPELINES = ("DDPMPipeline", "DDIMPipeline")
PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}  # their names and ours
SAME_VARIANCE = {"fixed_small_log": "fixed_small", "fixed_large_log": "fixed_large"}
NEAR = 1e-2  # relative: what float32 does to alpha_bar at the end of a cosine
OWN = "own"  # clipping as the scheduler says


class UNetGuess(nn.Module):
    """A UNet2DModel, of rows (n, d) and times (n,), read as a guess of x_0."""

    def __init__(self, unet: nn.Module, schedule: Schedule, shape: tuple[int, ...], prediction: str, label: int | None):
        super().__init__()
        self.unet, self.schedule, self.shape, self.prediction, self.label = unet, schedule, shape, prediction, label
        self.dtype = next(unet.parameters()).dtype

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """The guess (n, d), and the channels beyond it (n, d), or None."""
        labels = {} if self.label is None else {"class_labels": torch.full_like(t, self.label)}
        picture = x.reshape(-1, *self.shape).to(self.dtype)
        raw = self.unet(picture, (t - 1).to(torch.int64), **labels).sample.to(x.dtype)
        said = raw[:, self.shape[0] :].flatten(1) if raw.shape[1] > self.shape[0] else None
        raw = raw[:, : self.shape[0]].flatten(1)
        return convert(raw, x, self.schedule.log_tau[t], PREDICTIONS[self.prediction], "x0"), said


def from_diffusers(
    unet: Any, scheduler: Any = None, *, clip: float | bool | str | None = OWN, variance: str | None = None,
    last: str = "edge", label: int | None = None, count: int = 256, dtype: torch.dtype | None = None,
) -> ImportedModel:  # fmt: skip
    """The model of a UNet2DModel ``unet`` and the DDPMScheduler or DDIMScheduler it was trained with.

    Or of a pipeline's folder, alone: nothing is downloaded, and no pickle is read. ``dtype`` is that in which its
    network is loaded; by default float32, which is diffusers' own, whatever the file holds.

    - ``clip``: "own" cuts guesses of x_0 as the scheduler says; None or False not at all; a number to [-clip, clip].
    - ``variance``: by default the scheduler's ``variance_type``, of a DDIMScheduler that remembers none "fixed_small".
    - ``last``: "edge" for the edge kernel, "levels" for a Gaussian rounded to ``count`` grey levels from -1 to 1.
    - ``label``: the class, of a network that has classes: K is then of p(x | class).

    The network stays in its own precision, states are float64. With diffusers' float32 tables H_q(X_1 | X_0) of the
    usual linear schedule would differ by 8e-5 nats a dimension. ValueError, in words that name the cure, for all that
    is something else; NotInstalled where a folder is to be read, and diffusers is missing.
    """
    if isinstance(unet, str | Path):
        if scheduler is not None:
            raise ValueError("scheduler: is in the pipeline's folder; pass a folder alone, or two objects")
        unet, scheduler = load_pipeline(Path(unet), dtype)
    elif dtype is not None:
        raise ValueError(f"dtype: {dtype}: is for a folder; of a network that is loaded, unet.to(dtype)")
    if not _is_a(unet, "UNet2DModel"):
        kind, why = type(unet).__name__, "conditional, latent and other networks say something else"
        raise ValueError(f"unet: {kind}: need a UNet2DModel, of pixels, without text: {why}")
    settled("unet", unet)
    config = _config(scheduler)
    schedule = _schedule(scheduler, config)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ValueError(f"scheduler: prediction_type {prediction!r} is not one of {', '.join(PREDICTIONS)}")
    if prediction == "epsilon" and schedule.alpha_bar[-1] == 0:
        raise ValueError(
            "scheduler: epsilon with zero terminal SNR: x_T is all noise, and a guess of it says nothing of x_0; need "
            "a network trained on v_prediction or sample, or the scheduler with rescale_betas_zero_snr=False"
        )
    variance = _variance(variance, config)
    shape = _shape(unet, variance)
    kernel = GaussianKernel(shape[0] * shape[1] * shape[2], schedule)
    network = UNetGuess(unet, schedule, shape, prediction, _label(unet, label))
    reverse = DenoiserReverse(network, kernel, variance, _clip(clip, config))
    facts: dict[str, Any] = {"network": "UNet2DModel", "scheduler": type(scheduler).__name__, "prediction": prediction}
    facts |= {} if label is None else {"label": label}
    facts["dtype"] = str(network.dtype).removeprefix("torch.")
    model = ImportedModel(kernel, reverse, last, count, facts)
    model.data_set = grey_units(shape, count)
    return model


def _is_a(thing: Any, name: str) -> bool:
    """Whether a class of this name is among those of ``thing``: nothing has to be imported to ask."""
    return any(kind.__name__ == name for kind in type(thing).__mro__)


def _config(scheduler: Any) -> dict[str, Any]:
    """A scheduler's configuration. ValueError for another class, and for what a DDPM chain does not have."""
    if not any(_is_a(scheduler, name) for name in SCHEDULERS):
        raise ValueError(
            f"scheduler: {type(scheduler).__name__}: need the DDPMScheduler or DDIMScheduler of the training, from its "
            "own folder: one converted in memory may have other betas"
        )
    config = dict(scheduler.config)
    if "predict_epsilon" in config:
        raise ValueError(
            "scheduler: its config has predict_epsilon, of an old version, which diffusers ignores; remove it, and "
            f"say prediction_type {'epsilon' if config['predict_epsilon'] else 'sample'!r} in its place"
        )
    return config


def _schedule(scheduler: Any, config: dict[str, Any]) -> Schedule:
    """The chain of the table ``betas``, copied in float64. ValueError where the tables do not belong together."""
    betas = torch.as_tensor(scheduler.betas).detach().cpu().double().clone()
    alpha_bar = torch.as_tensor(scheduler.alphas_cumprod).detach().cpu().double()
    made = torch.cumprod(1 - betas, 0)
    if alpha_bar.shape != made.shape or not torch.allclose(alpha_bar, made, rtol=NEAR, atol=1e-12):
        raise ValueError(
            f"scheduler: its alphas_cumprod ends at {float(alpha_bar[-1]):.4g}, and its betas at {float(made[-1]):.4g}"
            ": somebody changed one table; load the scheduler anew from its folder"
        )
    try:
        return from_beta(torch.cat([torch.zeros(1, dtype=torch.float64), betas]))
    except ValueError as error:
        raise ValueError(f"scheduler: its table of betas is no schedule: {error}") from None


def _variance(asked: str | None, config: dict[str, Any]) -> str:
    """The variance's name among VARIANCES: what was ``asked`` for, or the configuration's."""
    named = config.get("variance_type", "fixed_small") if asked is None else asked
    name = SAME_VARIANCE.get(named, named)
    if name not in VARIANCES:
        raise ValueError(f"variance: {named!r} is not one of {', '.join((*VARIANCES, *SAME_VARIANCE))}")
    return name


def _clip(asked: float | bool | str | None, config: dict[str, Any]) -> float | None:
    """Where guesses are cut. ValueError for dynamic thresholding, which no clipping stands for."""
    if asked is None or asked is False:
        return None
    if asked is True:
        raise ValueError("clip: True: need the number at which to cut, or 'own' for the scheduler's")
    if asked != OWN:
        if isinstance(asked, str):
            raise ValueError(f"clip: {asked!r}: need 'own', None, or a number")
        return checks.positive("clip", asked)
    if config.get("thresholding"):
        most = config.get("sample_max_value", 1.0)
        if most > 1:
            raise ValueError(
                f"clip: the scheduler thresholds up to {most:g}: then each pixel's step depends on the whole picture, "
                "and p(x_{t-1} | x_t) is no Gaussian around a guess; say clip=1.0 or clip=None, for another model"
            )
        return 1.0  # which is what it then is, whatever clip_sample_range says
    return float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", True) else None


def _shape(unet: Any, variance: str) -> tuple[int, int, int]:
    """Channels, height and width. ValueError where the network's output does not fit its input, or time is a sigma."""
    config = unet.config
    if config.get("time_embedding_type", "positional") == "fourier":
        raise ValueError(
            "unet: time_embedding_type 'fourier' takes a sigma, not a step: take from_denoiser with its sigmas"
        )
    size = config.get("sample_size")
    if size is None:
        raise ValueError("unet: its config has no sample_size: say it with unet.register_to_config(sample_size=32)")
    height, width = (size, size) if isinstance(size, int) else size
    channels, gives = config["in_channels"], config["out_channels"]
    need = channels * (2 if variance.startswith("learned") else 1)
    if gives != need:
        hint = "; say variance='learned_range'" if gives == 2 * channels else ""
        hint = "; say variance='fixed_small' or 'fixed_large'" if need == 2 * gives else hint
        raise ValueError(f"unet: {gives} channels out of {channels}, and {variance!r} needs {need}{hint}")
    return channels, height, width


def _label(unet: Any, label: int | None) -> int | None:
    """The class. ValueError where there is none to be had, or none was said."""
    kind, classes = unet.config.get("class_embed_type"), unet.config.get("num_class_embeds")
    if kind is None and classes is None:
        if label is not None:
            raise ValueError(f"label: {label}: this network has no classes: leave it out")
        return None
    if kind is not None:
        raise ValueError(f"unet: class_embed_type {kind!r}: need classes counted by num_class_embeds, or none")
    if label is None:
        raise ValueError(f"label: None: this network has {classes} classes: say which, from 0 to {classes - 1}")
    if checks.count("label", label, 0) >= classes:
        raise ValueError(f"label: {label}: need one of 0 to {classes - 1}")
    return label


def load_pipeline(folder: Path, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """Network and scheduler of the folder that a DDPMPipeline or DDIMPipeline was saved to.

    Nothing is downloaded, and no pickle is read. BrokenFile, a ValueError, where the folder is missing, is another
    pipeline's, or damaged, or its weights are not safetensors.
    """
    if not folder.is_dir():
        raise BrokenFile(f"{folder}: no such folder; nothing is downloaded: fetch it first, with `hf download`, say")
    index = load_json(folder / "model_index.json")
    parts = {name: part[1] for name, part in index.items() if isinstance(part, list) and len(part) == 2 and part[1]}
    kind = index.get("_class_name")
    if kind not in PIPELINES or set(parts) != {"unet", "scheduler"} or parts["unet"] != "UNet2DModel":
        latent = "its network works on a code of the picture" if {"vae", "vqvae"} & set(parts) else "it is another kind"
        text = "its network is told a text" if "text_encoder" in parts else latent
        raise BrokenFile(f"{folder}: is a {kind}: need a DDPMPipeline or DDIMPipeline, of pixels; {text}")
    if parts["scheduler"] not in SCHEDULERS:
        raise BrokenFile(
            f"{folder}: has a {parts['scheduler']}: need the DDPMScheduler or DDIMScheduler of the training"
        )
    said = load_json(folder / "scheduler" / "scheduler_config.json")
    if "predict_epsilon" in said:
        prediction = "epsilon" if said["predict_epsilon"] else "sample"
        raise BrokenFile(
            f"{folder / 'scheduler' / 'scheduler_config.json'}: has predict_epsilon, of an old version, which "
            f'diffusers ignores: need "prediction_type": "{prediction}" in its place'
        )
    weights = folder / "unet"
    load_json(weights / "config.json")
    if not list(weights.glob("*.safetensors")):
        pickled = [path.name for path in weights.glob("*.bin")]
        cure = (
            f"has {pickled[0]}, a pickle, which is not read; save it anew as safetensors"
            if pickled
            else "has no weights"
        )
        raise BrokenFile(f"{weights}: {cure}: need diffusion_pytorch_model.safetensors")
    with extra("diffusers"):
        import diffusers
    try:
        scheduler = getattr(diffusers, parts["scheduler"]).from_pretrained(folder / "scheduler", local_files_only=True)
        unet, found = diffusers.UNet2DModel.from_pretrained(
            weights, use_safetensors=True, local_files_only=True, output_loading_info=True,
            torch_dtype=dtype or torch.float32,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise BrokenFile(f"{folder}: diffusers cannot load it: {' '.join(str(error).split())[:300]}") from None
    if lost := [
        name for kind in ("missing_keys", "mismatched_keys", "unexpected_keys") for name in found.get(kind, ())
    ]:
        raise BrokenFile(f"{weights}: its weights are of another network: {lost[0]}, for one, does not fit")
    return unet.eval(), scheduler
