"""Draws in batches: the same states as one batch after another, in memory that does not grow with their number."""

from functools import partial

import pytest
import torch
from problems import affine_model, bit_model, randn, rng, short_schedule
from test_labels import model_of_classes

from dpm_lib.core import results
from dpm_lib.diffusion import batches, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training import checkpoints
from dpm_lib.training.costs import peak


def test_rows_at_a_time():
    assert [batches.rows(dim) for dim in (1, 2, 64, 784, 100_000)] == [65_536, 32_768, 1024, 83, 16]


@pytest.mark.parametrize(("n", "sizes"), [(0, [0]), (1, [1]), (16, [16]), (17, [16, 1]), (40, [16, 16, 8])])
def test_each_batch_follows_on_the_last(n, sizes, monkeypatch):
    """With room for 16 rows: what one call after another with the same generator gives; up to 16 it is one call."""
    for model in (affine_model(short_schedule()), bit_model(short_schedule())):
        generator = rng(3)
        by_hand = torch.cat([model.sample(size, generator) for size in sizes])
        with monkeypatch.context() as patch:
            patch.setattr(batches, "NUMBERS", 32)
            found = model.sample(n, rng(3))
        assert found.shape == (n, 2) and found.dtype == torch.float64 and torch.equal(found, by_hand)


def test_a_label_for_each_row_is_drawn_at_once(monkeypatch):
    model, labels = model_of_classes(), torch.arange(20) % 3
    whole = model.given(labels).sample(20, rng(1))
    monkeypatch.setattr(batches, "NUMBERS", 16 * 16)
    assert torch.equal(model.given(labels).sample(20, rng(1)), whole)
    assert not torch.equal(model.given(1).sample(20, rng(1)), whole)


def roll(T: int) -> DiffusionModel:
    """The network of the book's swiss roll, on T steps."""
    model, _ = checkpoints.load_model(results.path("swiss-roll.safetensors"))
    return DiffusionModel(GaussianKernel(2, schedules.geometric(T)), model.reverse)


def test_the_memory_of_draws_is_constant(monkeypatch):
    """Beside the result, 8 batches take what 2 do; all at once they take far more."""
    model = roll(3)
    monkeypatch.setattr(batches, "NUMBERS", 2 * 256)
    beside = {n: peak(lambda n=n: model.sample(256 * n, rng(1))) - 16 * 256 * n for n in (2, 8)}
    assert beside[8] < 1.05 * beside[2]
    monkeypatch.setattr(batches, "NUMBERS", 2**16)
    assert peak(lambda: model.sample(256 * 8, rng(1))) > 4 * beside[2]


def test_the_memory_of_draws_and_of_the_bound_does_not_grow_with_the_steps():
    x0 = randn(500, 2)
    for name, *given in (("sample", 500), ("trajectory_weights", x0, 1)):
        few, many = (peak(partial(getattr(roll(T), name), *given, rng(1))) for T in (5, 40))
        assert many < 1.1 * few
