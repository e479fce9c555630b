"""Posteriors of strings: tables of factors against sums over strings, and particles against the model itself."""

import math

import pytest
import torch
from problems import AffineNetwork, close, randn, rng

from dpm_lib.diffusion import conditioning, inpainting, schedules
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel, mask, uniform
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.networks.one_hot import OneHot
from dpm_lib.probability.categorical import Categorical
from dpm_lib.probability.products_of_laws import bit_tilt, times
from dpm_lib.probability.token_tilt import TokenTilt, read

PAIRS = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double()


def test_a_law_times_a_table():
    law, tilt = Categorical(randn(4, 2, 3)), TokenTilt.of_table(randn(2, 3, seed=1), torch.tensor([0.7]).double())
    made, log_z = times(law, tilt)
    p = torch.stack([law.log_prob(x.expand(4, 2)) + tilt(x) for x in PAIRS])
    close(log_z, p.logsumexp(0))
    close(torch.stack([made.log_prob(x.expand(4, 2)) for x in PAIRS]), p - log_z)
    close(tilt.power(0.5)(PAIRS), 0.5 * tilt(PAIRS))
    close(tilt(PAIRS[3]), tilt(PAIRS)[3])


def test_reading_bits_and_letters():
    bits, seen = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), torch.tensor([True, False, True])
    every = torch.cartesian_prod(*[torch.arange(2.0)] * 3).double()
    close(read(bits, 0.1, seen, 2)(every), bit_tilt(bits, 0.1, seen)(every))
    letters = read(torch.tensor([2.0, 0.0]).double(), 0.2, torch.tensor([True, True]), 3)
    close(letters(PAIRS).exp().sum(), 1.0)
    assert float(letters(torch.tensor([2.0, 1.0]).double())) == pytest.approx(math.log(0.8 * 0.1))


@pytest.mark.parametrize("kind", ["mask", "uniform"])
@pytest.mark.parametrize("twist", ["expected", "last"])
def test_particles_have_the_posterior_of_the_models_own_law(kind, twist):
    """log Z and the first token's law, against the same model's draws, weighted by r."""
    jumps = mask(3) if kind == "mask" else uniform(3)
    kernel = CategoricalKernel(2, schedules.even(3), jumps)
    network = AffineNetwork(randn(6, 2 * kernel.tokens), randn(6, seed=1))
    model = DiffusionModel(kernel, CategoricalReverse(OneHot(network, kernel.tokens), kernel))
    r = read(torch.tensor([0.0, 1.0]).double(), 0.2, torch.tensor([False, True]), 3)
    x, n = model.sample(20_000, rng(2)), 3000
    weight = r(x).exp()
    z, error = float(weight.mean()), float(weight.std()) / 20_000**0.5
    found = conditioning.tilt(model, r, "particles", n, rng(3), twist=twist)
    spread = 2 / n**0.5
    assert abs(math.exp(float(found.log_z)) - z) < 4 * (error + z * spread)
    share = torch.stack([(weight * (x[:, 0] == k)).sum() for k in range(3)]) / weight.sum()
    mine = torch.stack([found.mean(lambda y, k=k: (y == k).double())[0] for k in range(3)])
    assert float((share - mine).abs().max()) < 4 * (0.5 / n**0.5 + 0.5 / 5000**0.5)


def test_inpainting_strings_under_a_mask():
    kernel = CategoricalKernel(4, schedules.even(6), mask(3))
    network = AffineNetwork(randn(12, 16), randn(12, seed=1))
    model = DiffusionModel(kernel, CategoricalReverse(OneHot(network, 4), kernel))
    known = torch.tensor([True, False, False, True])
    given = torch.tensor([2.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    found = inpainting.inpaint(model, given, known, n=200, generator=rng(1), noise=0.0)
    assert bool((found.x[:, known] == given[known]).all())
    assert bool((found.x < 3).all())
    replaced = inpainting.clamp(model, given, known, 50, rng(2))
    assert bool((replaced.x[:, known] == given[known]).all())


def test_bad_input():
    law = Categorical(torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="tilt: need a TokenTilt of 2 places, got Tilt"):
        times(law, bit_tilt(torch.zeros(2), 0.1))
    with pytest.raises(ValueError, match="table: nan"):
        TokenTilt.of_table(torch.full((2, 3), math.nan))
    with pytest.raises(ValueError, match="tokens: 3 at index"):
        read(torch.tensor([3.0, 0.0]), 0.1, torch.tensor([True, True]), 3)
    with pytest.raises(ValueError, match="tokens, mask: need one shape"):
        read(torch.tensor([1.0, 0.0]), 0.1, torch.tensor([True]), 3)
    with pytest.raises(ValueError, match="floor: 1"):
        TokenTilt.of_table(torch.zeros(2, 3)).plus(1.0)


def test_a_stand_in_touches_a_function_at_a_string_and_at_all_that_one_token_away_can_be_drawn():
    kernel = CategoricalKernel(2, schedules.even(3), mask(3))
    model = DiffusionModel(kernel, CategoricalReverse(OneHot(AffineNetwork(randn(6, 8), randn(6)), 4), kernel))
    at = torch.tensor([[3.0, 3.0], [1.0, 3.0]], dtype=torch.float64)

    def psi(x, t):  # no product
        return torch.sin(x[:, 0] + 2 * x[:, 1]) - x[:, 0] * x[:, 1]

    found = conditioning.by_tokens(psi, model.reverse_step(at, 2), at, 1)
    close(found.c.squeeze(-1), psi(at, 1))
    for k in range(3):
        for place, rows in ((0, [0]), (1, [0, 1])):
            near = at[rows].clone()
            near[:, place] = k
            close(found.c.squeeze(-1)[rows] + found.table[rows, place, k], psi(near, 1))
    close(found.table[1, 0], 0.0)  # what is seen is not drawn anew
