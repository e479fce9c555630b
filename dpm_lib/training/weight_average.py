"""The exponential moving average (EMA) of the weights: what a run ends with, and what is measured."""

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def update_average(average: dict[str, Tensor], model: nn.Module, step: int, decay: float) -> None:
    """Move ``average`` (tensors of any shape, by name) towards the parameters of ``model`` after a ``step``, in place.

    average <- d average + (1 - d) parameter, with d = min(``decay``, step / (step + 9)): at first the average is over
    few steps, so that the start is forgotten. Buffers stay as they are, infinite ones too.
    """
    update = get_ema_multi_avg_fn(min(decay, step / (step + 9)))
    by_type: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
    for name, value in model.named_parameters():
        averages, values = by_type[value.dtype]
        averages.append(average[name])
        values.append(value.detach())
    for averages, values in by_type.values():  # one kernel for all tensors of a type
        update(averages, values, None)
