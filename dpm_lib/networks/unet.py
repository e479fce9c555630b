"""A U-Net for images: as the other networks, it maps a noisy state and its time to numbers.

Called as ``network(x, t, log_tau)`` with x (n, d), where d = channels height width. They give ``outputs`` numbers for
each entry of x, as (n, outputs d): first one number for every pixel, then the next. With classes, it may be shown a
label too: ``network(x, t, log_tau, label)``.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

Shape = tuple[int, int, int]


class UNet(nn.Module):
    """A compact U-Net (Ronneberger et al. 2015): blocks at falling resolutions, and back up with sums for skips.

    ``scales`` resolutions, each half the last, with ``width``, 2 ``width``, ... channels; ``depth`` residual blocks at
    the lowest, with attention between its pixels, and one block on each way at the others. A map of the place is
    added at the start and a bias for each pixel at the end, since handwritten digits are centred. With ``frequencies``,
    the network sees sines and cosines of x too, at 4, 8, 16... radians per unit: fine differences of grey. In training
    each block leaves out a share ``dropout`` of its channels' numbers (Srivastava et al. 2014). With ``classes`` it can
    be told a label 0..classes - 1; the label ``classes`` tells nothing. A vector for each, at the start 0, is added to
    that of the time. ValueError where pixels cannot be halved so often, or ``width`` is no multiple of 4.
    """

    frequencies: Tensor

    def __init__(
        self, shape: Shape, outputs: int, width: int = 24, depth: int = 1, scales: int = 2,
        frequencies: int = 0, generator: torch.Generator | None = None, dropout: float = 0.0,
        classes: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        channels, height, side = shape
        if height % 2 ** (scales - 1) or side % 2 ** (scales - 1):
            raise ValueError(f"scales: {height} x {side} pixels cannot be halved {scales - 1} times")
        if width % 4:
            raise ValueError(f"width: {width} is not a multiple of 4")
        self.shape, self.outputs, self.classes = shape, outputs, classes
        self.time = TimeFeatures(2 * width)
        self.label = nn.Parameter(torch.zeros(classes + 1, 2 * width)) if classes else None
        self.register_buffer("frequencies", 4 * 2.0 ** torch.arange(frequencies), persistent=False)
        self.enter = nn.Conv2d(channels * (1 + 2 * frequencies), width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(width, height, side))
        widths = [width * 2**i for i in range(scales)]
        self.downs = nn.ModuleList(Block(w, 2 * width, dropout) for w in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths[:-1])
        self.middle = nn.ModuleList(Block(widths[-1], 2 * width, dropout) for _ in range(depth))
        self.attention = Attention(widths[-1])
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.ups = nn.ModuleList(Block(w, 2 * width, dropout) for w in widths[:-1])
        self.leave = nn.Conv2d(width, outputs * channels, 1)
        self.bias = nn.Parameter(torch.zeros(outputs * channels, height, side))
        reset(self, generator)
        zero(self.leave)

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, outputs d); the integer time ``t`` is not used. ``label`` (n,) of 0..classes; by default none is told."""
        when = self.time(log_tau)
        if self.label is not None:
            when = when + self.label[self.classes if label is None else label]
        x = x.reshape(-1, *self.shape)
        angle = (x.unsqueeze(1) * self.frequencies.reshape(-1, 1, 1, 1)).flatten(1, 2)
        h = self.enter(torch.cat([x, angle.sin(), angle.cos()], 1)) + self.place
        skips = []
        for block, shrink in zip(self.downs, self.shrink, strict=True):
            h = block(h, when)
            skips.append(h)
            h = shrink(h)
        for block in self.middle:
            h = block(h, when)
        h = self.attention(h)
        for block, grow in reversed(list(zip(self.ups, self.grow, strict=True))):
            h = block(skips.pop() + grow(h), when)
        return (self.leave(silu(h)) + self.bias).flatten(1)


class Block(nn.Module):
    """h + conv(drop(silu(norm(conv h) (1 + a) + b))), scale a and shift b from the time; starts as the identity."""

    def __init__(self, width: int, time: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(4, width)
        self.when = nn.Linear(time, 2 * width)
        self.drop = nn.Dropout(dropout)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor, when: Tensor) -> Tensor:
        scale, shift = self.when(when)[..., None, None].chunk(2, 1)
        return h + self.second(self.drop(silu(self.norm(self.first(h)) * (1 + scale) + shift)))


class Attention(nn.Module):
    """h + what each place asks of all others (Vaswani et al. 2017), 4 heads; starts as the identity."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(1, width)
        self.ask = nn.Conv2d(width, 3 * width, 1)
        self.second = nn.Conv2d(width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        n, width, height, side = h.shape
        parts = self.ask(self.norm(h)).reshape(n, 3, self.heads, width // self.heads, height * side)
        query, key, value = parts.transpose(-1, -2).unbind(1)
        heard = nn.functional.scaled_dot_product_attention(query, key, value)
        return h + self.second(heard.transpose(-1, -2).reshape(n, width, height, side))


class TimeFeatures(nn.Module):
    """log tau as ``outputs`` numbers: one layer on sines and cosines of it at four fixed frequencies."""

    frequencies: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 0.25 * 2.0 ** torch.arange(4))
        self.layer = nn.Linear(8, outputs)

    def forward(self, log_tau: Tensor) -> Tensor:
        phase = log_tau.unsqueeze(-1) * self.frequencies
        return silu(self.layer(torch.cat([phase.sin(), phase.cos()], -1)))


def reset(network: nn.Module, generator: torch.Generator | None) -> None:
    """Draw all weights from ``generator`` at standard deviation 1 / sqrt(inputs); biases and ``second`` layers at 0."""
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
                upwards = isinstance(module, nn.ConvTranspose2d)
                inputs = module.weight.shape[0] if upwards else module.weight[0].numel()
                module.weight.normal_(std=1 / math.sqrt(inputs), generator=generator)
                module.bias.zero_()  # type: ignore[union-attr]
                if name.endswith("second"):
                    zero(module)


def zero(layer: nn.Module) -> None:
    """Set a layer's weights and bias to zero."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
