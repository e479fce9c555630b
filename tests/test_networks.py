"""The networks against their formulas, written out by loops."""

import math

import pytest
import torch
from problems import randn, rng

from dpm_lib.networks.mlp import MLP
from dpm_lib.networks.rbf import RBF


def inputs(n: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return randn(n, 2).float(), torch.arange(n) % 5, randn(n, seed=1).float()


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(0.5 * randn(*parameter.shape, seed=10 + i))
    return network


def test_mlp_is_its_formula():
    network = randomised(MLP(2, 3, width=5, depth=2, frequencies=4))
    x, t, log_tau = inputs()
    out = network.requires_grad_(False)(x, t, log_tau)
    assert out.shape == (7, 3)
    for i in range(7):
        angles = [sum(float(x[i, k] * network.projection[k, j]) for k in range(2)) for j in range(4)]
        phases = [float(log_tau[i]) * f for f in (0.25, 0.5, 1.0, 2.0)]
        h = [float(v) for v in x[i]]
        for wave in (angles, phases):
            h += [math.sin(a) for a in wave] + [math.cos(a) for a in wave]
        for k, layer in enumerate(network.layers):
            h = [sum(w * v for w, v in zip(row, h, strict=True)) for row in layer.weight.tolist()]
            h = [v + b for v, b in zip(h, layer.bias.tolist(), strict=True)]
            if k < 2:
                h = [v / (1 + math.exp(-v)) for v in h]
        assert out[i].tolist() == pytest.approx(h, rel=1e-4, abs=1e-5)


def test_rbf_is_its_formula():
    network = randomised(RBF(2, 3, T=4, units=6))
    x, t, log_tau = inputs()
    out = network.requires_grad_(False)(x, t, log_tau)
    assert out.shape == (7, 3)
    for i in range(7):
        bumps = []
        for j in range(6):
            width = math.exp(float(network.log_widths[j]))
            bumps.append(math.exp(-float((x[i] - network.centers[j]).square().sum()) / (2 * width**2)))
        h = network.bias[t[i]].double()
        for j in range(6):
            h = h + bumps[j] / sum(bumps) * network.readout[t[i], j].double()
        assert out[i].tolist() == pytest.approx(h.tolist(), rel=1e-4, abs=1e-5)


def test_rbf_has_a_readout_for_each_time_and_shares_the_rest():
    network = randomised(RBF(2, 3, T=4))
    x, _, log_tau = inputs()
    network(x, torch.full((7,), 2), log_tau).sum().backward()
    used = network.readout.grad.abs().sum((1, 2)) > 0
    assert used.tolist() == [False, False, True, False, False]
    assert bool(network.centers.grad.any()) and bool(network.log_widths.grad.any())


def test_both_start_at_zero_and_learn_at_once():
    for network in (MLP(2, 5, width=8, depth=1), RBF(2, 5, T=4)):
        out = network(*inputs())
        assert out.shape == (7, 5) and not out.any()
        (out - 1).square().sum().backward()
        last = network.readout if isinstance(network, RBF) else network.layers[-1].weight
        assert bool(last.grad.any())


def test_both_can_fit_a_function():
    x, t, log_tau = inputs(200)
    wanted = torch.stack([x.prod(1), x[:, 0] + t], 1)
    for network in (MLP(2, 2, width=32, depth=1, generator=rng()), RBF(2, 2, T=4, generator=rng())):
        optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
        for _ in range(200):
            optimizer.zero_grad()
            loss = (network(x, t, log_tau) - wanted).square().mean()
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.1 * float(wanted.var(0).mean())


def test_the_generator_decides_the_start():
    def weights(network: torch.nn.Module) -> torch.Tensor:
        return torch.cat([p.flatten() for p in network.parameters()])

    for make in (lambda g: MLP(2, 3, generator=g), lambda g: RBF(2, 3, T=4, generator=g)):
        assert torch.equal(weights(make(rng(1))), weights(make(rng(1))))
        assert not torch.equal(weights(make(rng(1))), weights(make(rng(2))))


def test_projection_has_the_asked_scale():
    network = MLP(2, 3, frequencies=5000, scale=3.0, generator=rng())
    std = network.projection.std().item()
    assert std == pytest.approx(3.0, abs=4 * 3.0 / math.sqrt(2 * 10_000))
