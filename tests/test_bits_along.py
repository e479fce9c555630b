"""Bits along the noise: areas are sums, and the net density does not know where the chain begins."""

import math

import pytest
import torch

from dpm_lib.core.random import seeded, uniform
from dpm_lib.diffusion import bits_along, bound, schedules
from dpm_lib.diffusion.dequantised_kernel import truncated
from dpm_lib.interop import from_denoiser

GRID = torch.arange(-20.0, 12.1, 0.25, dtype=torch.float64)


def test_areas_are_sums_wherever_the_edges_fall():
    edges = torch.cat([torch.tensor([-7.3, -7.2, -7.15]), torch.linspace(-6, 9.9, 12)]).double()
    amounts = uniform((len(edges) - 1,), seeded(0)) - 0.3
    density = bits_along.spread(edges, amounts, GRID)
    assert float(density.sum() * 0.25) == pytest.approx(float(amounts.sum()), rel=1e-12)
    assert not density[:50].any() and not density[-8:].any()
    # one amount that fills the half of one cell and the whole of the next
    one = bits_along.spread(torch.tensor([0.125, 0.5]).double(), torch.tensor([3.0]).double(), GRID)
    assert one[80:83].tolist() == pytest.approx([4.0, 8.0, 0.0])


def test_what_the_last_step_gives_back_ends_at_a_fixed_noise():
    for log_beta in (-9.0, -12.0):  # in squared levels
        last = 0.5 * math.log2(2 * math.pi * math.e) + log_beta / (2 * math.log(2))
        log_tau = torch.tensor([log_beta, 0.0, 3.0]).double()
        density = bits_along.net(log_tau, torch.zeros(2).double(), last, GRID)
        inside = (GRID[1:] < bits_along.BEND) & (GRID[:-1] > log_beta)
        assert torch.allclose(density[inside], torch.tensor(-bits_along.RATE).double())
        outside = (GRID[:-1] > bits_along.BEND) | (GRID[1:] < log_beta)
        assert not density[outside].any() and float(density.sum() * 0.25) == pytest.approx(last)


def test_a_last_step_on_levels_stands_below_the_first_noise_and_none_nowhere():
    log_tau, steps = torch.tensor([-3.0, 0.0, 2.0]).double(), torch.tensor([0.3, 0.5]).double()
    plain = bits_along.spread(log_tau, steps, GRID)
    with_last = bits_along.net(log_tau, steps, 0.2, GRID) - plain
    assert with_last[64:68].tolist() == pytest.approx([0.2] * 4) and float(with_last.sum()) == pytest.approx(0.8)
    assert torch.equal(bits_along.net(log_tau, steps, 0.0, GRID), plain)


def test_the_net_density_of_a_known_cell_is_nothing_at_small_noise_wherever_the_chain_begins():
    """A number that is uniform in a cell one level wide, and its exact guess: the bits are nearly 0."""
    edges = torch.tensor([-0.5, 0.5], dtype=torch.float64)

    def guess(z, sigma):
        return truncated(z.unsqueeze(-1), sigma.view(-1, 1, 1), edges)[1].squeeze(-1)

    x0, total = (torch.arange(400).double().unsqueeze(1) + 0.5) / 400 - 0.5, []
    for beta in (1e-4, 1e-7):
        schedule = schedules.geometric(300, beta, 400.0)
        model = from_denoiser(guess, schedule.log_tau, 1, variance="fixed_large", dtype=torch.float64)
        terms = bound.terms(model, x0, seeded(3))
        last = -float((terms.edge - terms.entropy_1).mean()) / math.log(2)
        steps = terms.kl[2:].mean(1) / math.log(2)
        density = bits_along.net(schedule.log_tau[1:], steps, last, GRID)
        total.append(float(density.sum() * 0.25))
        small = (GRID[:-1] > schedule.log_tau[1] + 0.5) & (GRID[1:] < -5.5)  # a noise of less than .064 of a level
        assert float(density[small].abs().max()) < 0.15 and abs(float(density[small].mean())) < 0.05
    assert abs(total[0] - total[1]) < 0.1 and abs(total[1]) < 0.1


@pytest.mark.parametrize(
    ("edges", "amounts", "grid", "message"),
    [
        ([0.0, 0.0], [1.0], [-1.0, 1.0], "edges: need two numbers or more that rise, got"),
        ([0.0, 1.0], [1.0], [1.0], "grid: need two numbers or more that rise, got"),
        ([0.0, 1.0], [1.0, 1.0], [-1.0, 1.0], r"amounts: need shape \(1,\), got \(2,\)"),
        ([0.0, 2.0], [1.0], [-1.0, 1.0], "edges: from 0 to 2: need to lie in the grid, -1 to 1"),
        ([0.0, math.inf], [1.0], [-1.0, 1.0], r"edges: inf at index \(1,\): need finite numbers"),
    ],
)
def test_bad_input_is_named(edges, amounts, grid, message):
    with pytest.raises(ValueError, match=message):
        bits_along.spread(*(torch.tensor(part, dtype=torch.float64) for part in (edges, amounts, grid)))
