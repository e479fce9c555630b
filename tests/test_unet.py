"""The networks for images, against their formulas written out by loops."""

import math

import pytest
import torch
from problems import close, randn, rng

from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.reverse_kernels import PaperReverse
from dpm_lib.diffusion.schedules import cosine
from dpm_lib.networks.multiscale import MultiScale, MultiScaleConvolution, bump_functions
from dpm_lib.networks.unet import Attention, Block, TimeFeatures, UNet

SHAPE = (2, 4, 4)


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(0.3 * randn(*parameter.shape, seed=10 + i))
    return network.double().requires_grad_(False)


def convolved(image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A 3x3 convolution with zeros beyond the edges, by loops: image (c, h, w), weight (k, c, 3, 3)."""
    c, height, width = image.shape
    padded = torch.zeros(c, height + 2, width + 2, dtype=image.dtype)
    padded[:, 1:-1, 1:-1] = image
    out = torch.zeros(len(weight), height, width, dtype=image.dtype)
    for i in range(height):
        for j in range(width):
            out[:, i, j] = (weight * padded[:, i : i + 3, j : j + 3]).sum((1, 2, 3)) + bias
    return out


def test_bumps_are_their_formula():
    g = bump_functions(20, 5).double()
    assert g.shape == (21, 5)
    for t in range(21):
        raw = [math.exp(-((t - 5 * j) ** 2) / (2 * 5**2)) for j in range(5)]
        close(g[t], [v / sum(raw) for v in raw], rtol=1e-5)
    with pytest.raises(ValueError, match="bumps: 1: need at least 2"):
        bump_functions(20, 1)


def test_multi_scale_convolution_is_its_formula():
    layer = randomised(MultiScaleConvolution(2, 3, scales=3))
    h = randn(1, 2, 6, 6)
    expected = torch.zeros(3, 6, 6, dtype=torch.float64)
    for s in (1, 2, 4):
        n = math.ceil(6 / s)
        small = torch.zeros(2, n, n, dtype=torch.float64)
        for i in range(n):
            for j in range(n):
                small[:, i, j] = h[0, :, s * i : s * i + s, s * j : s * j + s].mean((1, 2))
        convolution = layer.scales[int(math.log2(s))]
        coarse = convolved(small, convolution.weight, convolution.bias)
        for i in range(6):
            for j in range(6):
                expected[:, i, j] += coarse[:, i // s, j // s]
    close(layer(h)[0], expected)


def test_multi_scale_network_is_its_formula():
    network = randomised(MultiScale(SHAPE, T=10, width=4, depth=2, scales=2, bumps=3))
    x, t = randn(5, 32), torch.tensor([1, 4, 5, 9, 10])
    out = network(x, t, torch.zeros(5))
    assert out.shape == (5, 64)
    h = x.reshape(5, *SHAPE)
    for layer in network.lower:
        h = torch.log(1 + layer(h).exp())
    h = torch.tanh(
        torch.einsum("kc,nchw->nkhw", network.upper.weight[..., 0, 0], h) + network.upper.bias.reshape(-1, 1, 1)
    )
    y = torch.einsum("kc,nchw->nkhw", network.leave.weight[..., 0, 0], h) + network.leave.bias.reshape(-1, 1, 1)
    for i in range(5):
        for kind in range(2):
            z = sum(network.bumps[t[i], j] * y[i, 6 * kind + 2 * j : 6 * kind + 2 * j + 2] for j in range(3))
            close(out[i, 32 * kind : 32 * kind + 32], z.flatten(), rtol=1e-8)


def test_the_paper_readout_is_its_formula():
    kernel = GaussianKernel(2, cosine(10, 1e-3, 50.0))
    reverse = PaperReverse(randomised(torch.nn.Module()), kernel)
    values = randn(3, 4)
    reverse.network = Constant(values)
    x = randn(3, 2, seed=4)
    for t in (2, 7, 10):
        step, beta = reverse(x, t, kernel), float(kernel.schedule.beta[t])
        odds = beta / (1 - beta) * values[:, 2:].exp()
        close(step.scale.square(), odds / (1 + odds))
        close(step.mean, math.sqrt(1 - beta) * x + math.sqrt(beta) * values[:, :2])
        x0_hat, spread = reverse.moments(x, t, kernel)
        a, b, v = kernel.bridge(t)
        close(a * x + b * x0_hat, step.mean)
        wide = step.scale.square() > v
        close((v + (b * spread).square())[wide], step.scale.square()[wide], rtol=1e-8)


class Constant(torch.nn.Module):
    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(values)

    def forward(self, x, t, log_tau):
        return self.values


def test_unet_starts_at_zero_and_each_part_learns():
    network = UNet((1, 8, 8), 3, width=8, depth=2, scales=3, frequencies=2, generator=rng())
    x, t, log_tau = randn(4, 64).float(), torch.arange(4), randn(4, seed=1).float()
    out = network(x, t, log_tau)
    assert out.shape == (4, 192) and not out.any()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (network(x, t, log_tau) - 1).square().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_unet_sees_every_pixel_and_the_time():
    network = randomised(UNet((1, 8, 8), 1, width=8, scales=2))
    x, log_tau = randn(1, 64), torch.zeros(1, dtype=torch.float64)
    x.requires_grad_(True)
    out = network(x, torch.zeros(1), log_tau)
    out[0, 0].backward()
    assert bool((x.grad != 0).all())  # attention reaches the far corner
    assert not torch.equal(out, network(x, torch.zeros(1), log_tau + 1))
    assert torch.equal(out, network(x, torch.ones(1), log_tau))


def test_outputs_are_kind_by_kind():
    """First one number for every pixel, then the next."""
    network = randomised(UNet((1, 4, 4), 2, width=4, scales=1))
    with torch.no_grad():
        network.leave.weight.zero_()
        network.leave.bias.zero_()
        network.bias[0], network.bias[1] = 3.0, torch.arange(16.0).reshape(4, 4)
    out = network(randn(2, 16), torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    close(out[0], [3.0] * 16 + list(range(16)))


def test_the_blocks_are_their_formulas():
    block = randomised(Block(4, 6))
    h, when = randn(1, 4, 5, 5), randn(1, 6, seed=2)
    z = convolved(h[0], block.first.weight, block.first.bias)
    z = (z - z.mean((1, 2), keepdim=True)) / (z.var((1, 2), correction=0, keepdim=True) + block.norm.eps).sqrt()
    z = z * block.norm.weight.reshape(-1, 1, 1) + block.norm.bias.reshape(-1, 1, 1)
    a, b = (block.when.weight @ when[0] + block.when.bias).chunk(2)
    z = z * (1 + a.reshape(-1, 1, 1)) + b.reshape(-1, 1, 1)
    z = z * torch.sigmoid(z)
    close(block(h, when)[0], h[0] + convolved(z, block.second.weight, block.second.bias), rtol=1e-8)

    attention = randomised(Attention(4, heads=2))
    normal = attention.norm(h)
    ask = torch.einsum("kc,nchw->nkhw", attention.ask.weight[..., 0, 0], normal) + attention.ask.bias.reshape(-1, 1, 1)
    query, key, value = ask[0].reshape(3, 2, 2, 25)
    heard = torch.stack([value[k] @ torch.softmax(query[k].T @ key[k] / math.sqrt(2), 1).T for k in range(2)])
    heard = heard.reshape(4, 25)
    out = attention.second.weight[..., 0, 0] @ heard + attention.second.bias.unsqueeze(1)
    close(attention(h)[0], h[0] + out.reshape(4, 5, 5), rtol=1e-8)


def test_time_features_are_their_formula():
    features = randomised(TimeFeatures(3))
    phases = [0.7 * f for f in (0.25, 0.5, 1.0, 2.0)]
    raw = torch.tensor([math.sin(p) for p in phases] + [math.cos(p) for p in phases], dtype=torch.float64)
    h = features.layer.weight @ raw + features.layer.bias
    close(features(torch.tensor([0.7], dtype=torch.float64))[0], h * torch.sigmoid(h), rtol=1e-8)


def test_the_generator_decides_the_start():
    def weights(network: torch.nn.Module) -> torch.Tensor:
        return torch.cat([p.flatten() for p in network.parameters()])

    for make in (
        lambda g: UNet((1, 8, 8), 2, width=4, generator=g),
        lambda g: MultiScale((1, 8, 8), 10, width=4, depth=2, generator=g),
    ):
        assert torch.equal(weights(make(rng(1))), weights(make(rng(1))))
        assert not torch.equal(weights(make(rng(1))), weights(make(rng(2))))
