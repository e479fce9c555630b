"""A small network of dilated convolutions for characters: a string with gaps to what may stand at each place.

It is not told the time: with masks, the string shows by itself how much of it is hidden. With ``causal`` it sees, at
each place, that place and those before it, and is an autoregressive model of what comes next.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpm_lib.core.checks import count
from dpm_lib.core.files import BrokenFile, load_tensors, save_tensors

TAPS = 5  # places that a layer looks at
DILATIONS = (1, 2, 4, 8, 16)  # their distance, by turns


class Layer(nn.Module):
    """What stands at TAPS places, ``apart`` from each other, through a network of two layers; added to the input."""

    def __init__(self, width: int, apart: int, causal: bool, dropout: float) -> None:
        super().__init__()
        first = (1 - TAPS) if causal else -(TAPS // 2)
        self.offsets = tuple(apart * (first + tap) for tap in range(TAPS))
        self.norm = nn.LayerNorm(width)
        self.look = nn.Linear(TAPS * width, 2 * width)
        self.say = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        """(n, L, width) to the same; beyond the ends of a string stand zeros."""
        length, far = h.shape[1], max(map(abs, self.offsets))
        x = nn.functional.pad(self.norm(h), (0, 0, far, far))
        x = torch.cat([x[:, far + offset : far + offset + length] for offset in self.offsets], -1)
        return h + self.say(self.drop(nn.functional.silu(self.look(x))))


class TextNetwork(nn.Module):
    """Strings of numbers 0..S (n, L), S for a hidden one, to logits (n, L, S) of what stands at each place.

    ``depth`` layers of ``width`` numbers at each place, for strings of any length. At the start all characters are
    alike to it. ``dropout`` is the share of the inner numbers that training leaves out. ValueError for a size that is
    no count.
    """

    def __init__(
        self,
        characters: int,
        width: int = 64,
        depth: int = 5,
        causal: bool = False,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.sizes = {"characters": characters, "width": width, "depth": depth, "causal": causal}
        characters, width, depth = count("characters", characters, 2), count("width", width), count("depth", depth)
        self.letters = nn.Parameter(torch.empty(characters + 1, width))
        self.layers = nn.ModuleList(Layer(width, DILATIONS[i % len(DILATIONS)], causal, dropout) for i in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, characters)
        with torch.no_grad():
            self.letters.normal_(std=0.5, generator=generator)
            for module in self.layers.modules():
                if isinstance(module, nn.Linear):
                    module.weight.normal_(std=1 / math.sqrt(module.in_features), generator=generator)
                    module.bias.zero_()
            self.out.weight.zero_()
            self.out.bias.zero_()

    def forward(self, x: Tensor, t: Tensor | None = None, log_tau: Tensor | None = None) -> Tensor:
        """Logits (n, L, S). The times t and log_tau, (n,), are not used; x may hold its whole numbers as floats."""
        h = self.letters[x.long()]
        for layer in self.layers:
            h = layer(h)
        return self.out(self.norm(h))


def save(path: Path, network: TextNetwork, **record: Any) -> None:
    """Write a network to one safetensors file, in half precision, with its sizes and any further facts."""
    tensors = {name: value.half() for name, value in network.state_dict().items()}
    save_tensors(path, tensors, {"text_network": network.sizes, **record})


def load(path: str | Path) -> tuple[TextNetwork, dict[str, Any]]:
    """The network in a file that ``save`` wrote, in single precision, and what else was noted.

    BrokenFile, a ValueError, where the file is missing, damaged, or holds no such network.
    """
    tensors, record = load_tensors(Path(path))
    try:
        sizes = dict(record.pop("text_network"))
        letters = tensors["letters"].shape
        if (sizes["characters"] + 1, sizes["width"]) != tuple(letters) or not sizes["depth"] <= len(tensors):
            raise ValueError(f"sizes: {sizes}: need those of its letters, {tuple(letters)}")
        network = TextNetwork(**sizes)
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BrokenFile(f"{path}: no network for text: {' '.join(str(error).split())}") from None
    return network.requires_grad_(False), record
