"""Evaluation on text: K in bits per character, on held-out windows, beside models that need no training by gradient."""

import math
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import text_baselines
from dpm_lib.data.text import Text
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.model import DiffusionModel

PART, DRAWS, MOST = 64, 4, 500  # windows at a time, times for each, windows where nobody says how many


@torch.no_grad()
def text_bounds(model: DiffusionModel, x0: Tensor, seed: int = 0, draws: int = DRAWS) -> Tensor:
    """Unbiased estimates of K for windows x0 (n, L), (n,), nats: each from ``draws`` times, a comb over the windows.

    {eq}`eq-mk-steps`.
    """
    device = model.schedule.log_alpha_bar.device
    generator, n, steps = seeded(seed), len(x0), model.T + 1 - model.first
    total = torch.zeros(n, dtype=torch.float64)
    for _ in range(draws):
        places = torch.randperm(n, generator=generator) + torch.rand(1, generator=generator, dtype=torch.float64)
        t = model.first + (places * (steps / n)).long().clamp(max=steps - 1)
        noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        parts = zip(x0.split(PART), t.split(PART), noise.split(PART), strict=True)
        total += torch.cat([bound.estimate(model, *(part.to(device) for part in some)).cpu() for some in parts])
    return total / draws


def evaluate_text(model: DiffusionModel, data: Text, n: int | None = None, seed: int = 0) -> dict[str, Any]:
    """-K in bits per character on n held-out windows, with its standard error over windows; by default of 500 at most.

    Beside it, as the limit is not known: a unigram and the best n-gram model (``text_baselines.n_gram``) on the same
    windows, each read by itself, and xz on the held-out text, after the training text and alone. ``gain`` is what the
    model needs less than the n-gram, paired window by window. ``bound_bits`` is K of a window. ValueError for n < 2.
    """
    if n is not None and n < 2:
        raise ValueError(f"n: {n}: need at least 2 held-out windows")
    x0 = data.held_out(MOST if n is None else n)
    if len(x0) < 2:
        raise ValueError(f"data: {data.name!r} have {len(x0)} held-out windows of {data.length}: need at least 2")
    bits = -text_bounds(model, x0, seed) / (data.length * math.log(2))
    n_gram, order = text_baselines.n_gram(data)
    unigram = text_baselines.KneserNey(data.train, data.characters, 1)
    alone, known = (torch.stack([-m.log2_prob(row).mean() for row in x0.long()]) for m in (unigram, n_gram))
    xz = text_baselines.CODERS["xz"]
    return {
        "bits_per_character": float(bits.mean()),
        "bits_per_character_stderr": stderr(bits),
        "unigram_bits_per_character": float(alone.mean()),
        "n_gram_bits_per_character": float(known.mean()),
        "n_gram_bits_per_character_stderr": stderr(known),
        "n_gram_order": order,
        "gain_bits_per_character": float((known - bits).mean()),
        "gain_bits_per_character_stderr": stderr(known - bits),
        "xz_bits_per_character": text_baselines.coded(data, xz),
        "xz_alone_bits_per_character": text_baselines.coded(data, xz, after_training=False),
        "bound_bits": -data.length * float(bits.mean()),
        "bound_bits_stderr": data.length * stderr(bits),
        "held_out": len(x0),
        "held_out_of": len(data.windows()),
        "beta_1": float(model.schedule.beta[1]),
    }
