"""A class told to a network: one set of weights, and as many conditional models as there are classes.

A network with ``classes`` is called as ``network(x, t, log_tau, label)`` with labels 0..classes - 1, and the number
``classes`` itself where it is told nothing. In training a random share of the labels is withheld (Ho and Salimans
2022), so that one network learns E[x_0 | x_t, label] and E[x_0 | x_t].
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dpm_lib.core import checks


class Told(nn.Module):
    """``network`` as it is with one ``label`` (), or one for each row (n,): called as ``(x, t, log_tau)``."""

    label: Tensor

    def __init__(self, network: nn.Module, label: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("label", label, persistent=False)

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor) -> Tensor:
        """What the network says, (n, outputs). ValueError where there are other than n labels."""
        if self.label.ndim and self.label.shape != x.shape[:1]:
            raise ValueError(f"label: need one for each of {len(x)} rows, got shape {tuple(self.label.shape)}")
        return self.network(x, t, log_tau, self.label.expand(len(x)))


def told(reverse: Any, label: int | Tensor | None) -> Any:
    """A reverse kernel with the weights of ``reverse``, its network told one ``label`` or (n,); None tells it nothing.

    ValueError where ``label`` is none of the classes, or the network has no classes.
    """
    network: Any = getattr(reverse, "network", None)
    plain = network.network if isinstance(network, Told) else network
    if label is None:
        return reverse if plain is network else _with_network(reverse, plain)
    if not (classes := getattr(plain, "classes", 0)):
        shown = f"{tuple(label.shape)} labels" if isinstance(label, Tensor) else label
        raise ValueError(f"label: {shown}: need a model trained with classes, and this one was not")
    return _with_network(reverse, Told(plain, checked_label(label, classes, next(plain.parameters()).device)))


def for_each_row(reverse: Any) -> bool:
    """Is the network of a reverse kernel told a label for each row?"""
    network = getattr(reverse, "network", None)
    return isinstance(network, Told) and network.label.ndim > 0


def _with_network(reverse: Any, network: nn.Module) -> Any:
    """A copy of a reverse kernel that shares its weights, around another network."""
    new = copy.copy(reverse)
    new._modules = {**reverse._modules, "network": network}  # not the table of ``reverse`` itself
    return new


def checked_label(label: int | Tensor, classes: int, device: torch.device) -> Tensor:
    """A label () of 0..classes - 1, or labels (n,) of 0..classes, int64, on ``device``. ValueError for others.

    Labels on a GPU, or being compiled, are taken as they are: to look at them would be to wait for them.
    """
    if not isinstance(label, Tensor) or not label.ndim:
        one = checks.count("label", label.item() if isinstance(label, Tensor) else label, 0, classes - 1)
        return torch.tensor(one, device=device)
    if label.ndim != 1 or label.dtype != torch.int64:
        raise ValueError(f"label: need int64 (n,), one for each row, got {label.dtype} {tuple(label.shape)}")
    if label.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = label[(label < 0) | (label > classes)]
        if len(wrong):
            raise ValueError(f"label: {int(wrong[0])}: need 0..{classes - 1}, or {classes} for none")
    return label.to(device)
