"""What a trained model is worth: K on held-out data, beside the limit that is known exactly."""

import copy
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data.dataset import Data, Points, Strings, differences, independent_log_prob
from dpm_lib.data.images import Images
from dpm_lib.data.text import Text
from dpm_lib.diffusion import best_bound
from dpm_lib.diffusion.best_bound_bits import BitBound, ForgottenBits
from dpm_lib.diffusion.best_bound_mask import MaskBound
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.training.image_evaluation import evaluate_images
from dpm_lib.training.text_evaluation import evaluate_text

LIMITS: tuple[Any, ...] = (
    BitBound,
    ForgottenBits,
    MaskBound,
)  # exact limits of strings, each for the kernels that it fits


def evaluate(model: DiffusionModel, data: Data, n: int | None = None, seed: int = 0) -> dict[str, Any]:
    """K in bits for n held-out points, each with one forward trajectory: K = mean log weight.

    Returns ``bound_bits`` and its standard error; ``entropy_limit_bits``, the exact -H(X0); ``ceiling_bits``, what the
    fixed edge step leaves of it; and ``gap_bits``, what K lacks of the limit. The gap is E[log q(x0) - K(x0)], paired
    point by point, so that its standard error is several times smaller; for a codebook it is the exact gap of the best
    reverse kernel, whose K is ``exact_limit_bits``, and an estimate of the ``excess`` alone. ``bound_bits_paired`` is
    the limit less the gap. ``n`` is 20,000 by default, and fewer where T > 100. For images and text: see
    ``evaluate_images`` and ``evaluate_text``.

    Where the law of the data is not known there is no limit and no gap: ``bound_bits`` is K in the data's own units,
    and ``gain_bits`` what it is more than K of the equilibrium, ``null_bits``, a Gaussian with the mean and variance of
    each coordinate, and of strings of tokens, or under a mask, independent ones with the training strings' frequencies;
    for a codebook of too many kinds of string there is a gap, but no exact limit.

    ValueError where the model was trained on other data: its units would be wrong, and held-out points may be among
    those that it has seen.
    """
    if differs := differences(model.data_set, data.record()):
        raise ValueError(f"data: the model was trained on others: {'; '.join(differs)}")
    if isinstance(data, Images):
        return evaluate_images(model, data, n, seed)
    if isinstance(data, Text):
        return evaluate_text(model, data, n, seed)
    n = min(20_000, max(1000, 2_000_000 // model.T)) if n is None else n
    if n < 2:
        raise ValueError(f"n: {n}: need at least 2 held-out points")
    x0 = data.held_out(n, seed)
    device = model.schedule.log_alpha_bar.device
    generator = seeded(seed, device)
    weights = [model.trajectory_weights(part.to(device), 1, generator).elbo for part in x0.split(5000)]
    K = (torch.cat(weights).cpu() - data.log_scale) / LN2
    if data.target is None:
        if isinstance(data, Strings) or (isinstance(data, Points) and not model.kernel.reversible):  # of a mask
            null = independent_log_prob(x0, data.train, data.tokens) / LN2
        else:
            null = (model.kernel.prior.log_prob(x0.to(device)).cpu() - data.log_scale) / LN2
        return {
            "bound_bits": float(K.mean()),
            "bound_bits_stderr": stderr(K),
            "null_bits": float(null.mean()),
            "gain_bits": float((K - null).mean()),
            "gain_bits_stderr": stderr(K - null),
            "held_out": len(K),
            "beta_1": float(model.schedule.beta[1]),
        }
    limit, schedule = -data.target.entropy() / LN2, copy.deepcopy(model.schedule).cpu()
    exact: dict[str, float] = {}
    book = data.target if isinstance(data.target, Codebook) else None
    kind = next((kind for kind in LIMITS if book and kind.fits(model.kernel) and kind.countable(book)), None)
    if book is not None and kind is not None:
        best = float(kind(book).best_bound(schedule).detach()) / LN2
        exact |= {"exact_limit_bits": best, "ceiling_bits": kind(book).ceiling(schedule) / LN2}
        gap = limit - best + excess(model, book, x0.to(device), generator).cpu() / LN2
    else:
        gap = data.target.log_prob(x0) / LN2 - K
    if book is None:
        exact["ceiling_bits"] = best_bound.ceiling(data.target, schedule) / LN2
    return {
        "bound_bits": float(K.mean()),
        "bound_bits_stderr": stderr(K),
        "entropy_limit_bits": limit,
        **exact,
        "gap_bits": float(gap.mean()),
        "gap_bits_stderr": stderr(gap),
        "bound_bits_paired": limit - float(gap.mean()),
        "held_out": n,
        "beta_1": float(model.schedule.beta[1]),
    }


@torch.no_grad()
def excess(model: DiffusionModel, book: Codebook, x0: Tensor, generator: torch.Generator) -> Tensor:
    """What a model of strings lacks of the best kernel, (n,), nats: sum_t D_KL(best || model), at one x_t each, over
    the learned steps.

    Its mean is the exact best K less K, and never negative: the best kernel is the mean of the posteriors.
    """
    kernel: Any = model.kernel
    best = next(kind for kind in LIMITS if kind.fits(kernel)).reverse(book, kernel)
    total = torch.zeros_like(x0[:, 0])
    for t in range(model.first, model.T + 1):
        xt = kernel.marginal(kernel.state(x0), t).sample(generator)
        total += best(xt, t, kernel).kl(model.reverse(xt, t, kernel))
    return total
