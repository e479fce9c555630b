"""Images: integers with uniform noise, one affine map, fixed splits, and the unit in which K is told."""

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import close, rng
from sklearn.datasets import load_digits

from dpm_lib.data import images
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load


def tiny(**changes) -> Images:
    values = torch.arange(24).reshape(6, 4) % 3
    settings = {"train": values[:4].to(torch.uint8), "test": values[4:].to(torch.uint8), "shape": (1, 2, 2)}
    return Images("tiny", **{**settings, "levels": 3, "split": "the last two", **changes})


def test_digits_are_scikit_learns_and_split_once_and_for_all():
    data, raw = load("digits"), load_digits().data
    assert data.train.shape == (1500, 64) and data.test.shape == (297, 64)
    assert data.shape == (1, 8, 8) and data.dim == 64 and data.levels == 17
    both = torch.cat([data.train, data.test]).numpy().astype(float)
    assert sorted(map(tuple, both)) == sorted(map(tuple, raw))
    assert (both == raw[np.random.default_rng(0).permutation(1797)]).all()
    assert load("digits") is data  # kept in memory


def test_dequantised_data_has_zero_mean_and_unit_variance():
    data = load("digits")
    x = data.batch(20_000, rng())
    assert x.dtype == torch.float64 and x.shape == (20_000, 64)
    by_image = x.mean(1)
    assert abs(float(x.mean())) < 4 * float(by_image.std()) / math.sqrt(len(x))
    squares = x.square().mean(1)
    assert abs(float(squares.mean()) - 1) < 4 * float(squares.std()) / math.sqrt(len(x))


def test_noise_is_uniform_within_the_level():
    data = load("digits")
    x = data.held_out()
    levels = data.pixels(x).reshape(-1, 64)
    assert bool((levels.floor() == data.test).all())
    noise = (levels - data.test).flatten()
    close(noise.mean(), 0.5, atol=4 / math.sqrt(12 * len(noise)))
    assert float(noise.min()) >= 0 and float(noise.max()) < 1
    assert torch.equal(x, data.held_out(1000)) and torch.equal(data.held_out(5), data.held_out(5))
    assert not torch.equal(x, data.held_out(seed=1))


def test_edges_are_where_levels_begin():
    data = load("digits")
    values = torch.arange(18, dtype=torch.float64) - data.mean
    close(data.edges() * data.std, values)


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 17])
def test_there_are_as_many_cells_as_are_asked_for(cells):
    data = load("digits")
    ends = (data.edges(cells) * data.std + data.mean).round().long().tolist()
    assert len(ends) == cells + 1 and ends[0] == 0 and ends[-1] == 17 and ends == sorted(set(ends))
    if cells == 17:
        close(data.edges(17), data.edges())


def test_cells_follow_the_counts():
    """Blank paper, 80 of 100, is alone; what is left is cut where it is halved; equal counts are cut in equal cells."""
    assert images.cell_ends([80, 1, 2, 3, 4, 5, 5], 2) == [0, 1, 7]
    assert images.cell_ends([80, 1, 2, 3, 4, 5, 5], 3) == [0, 1, 5, 7]
    assert images.cell_ends([80, 1, 2, 3, 4, 5, 5], 4) == [0, 1, 4, 5, 7]
    assert images.cell_ends([7] * 256, 16) == list(range(0, 257, 16))
    assert images.cell_ends([1] + [0] * 7, 4) == [0, 1, 2, 4, 8] or images.cell_ends([1] + [0] * 7, 4)[:2] == [0, 1]
    data = load("mnist-5k")
    ends = (data.edges(16) * data.std + data.mean).round().long()
    share = torch.bincount(data.train.flatten().long(), minlength=256).double() / data.train.numel()
    each = torch.stack([share[a:b].sum() for a, b in pairwise(ends.tolist())])
    assert len(ends) == 17 and ends[:2].tolist() == [0, 1] and float(each[0]) > 0.8
    several = each[(ends[1:] - ends[:-1]) > 1]  # of levels
    assert float(several.max()) < 0.03 and float(each.sum()) == pytest.approx(1)


def test_more_cells_than_levels_are_refused():
    with pytest.raises(ValueError, match="cells: 18: digits has 17 levels; 0 keeps each by itself"):
        load("digits").edges(18)


def test_bits_per_dimension_of_a_uniform_density():
    """A model that is uniform on [0, levels) in every pixel needs log2 levels bits, in any unit of the chain."""
    for data in (load("digits"), tiny()):
        log_p = -data.dim * torch.log(torch.tensor(data.levels / data.std, dtype=torch.float64))
        close(data.bits_per_dimension(log_p), math.log2(data.levels))


def test_null_is_the_isotropic_gaussian():
    data = load("digits")
    x = data.batch(5000, rng(1))
    log_p = -0.5 * (x.square().sum(1) + data.dim * math.log(2 * math.pi))
    bits = data.bits_per_dimension(log_p)
    assert abs(float(bits.mean()) - data.null_bits) < 4 * float(bits.std()) / math.sqrt(5000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": torch.zeros(4, 4)}, r"train: need uint8 \(n, 4\), got torch.float32 \(4, 4\)"),
        ({"test": torch.zeros(4, 5, dtype=torch.uint8)}, r"test: need uint8 \(n, 4\), got torch.uint8 \(4, 5\)"),
        ({"levels": 2}, r"train: 2 at index \(0, 2\) is not below 2 levels"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_a_record_tells_two_data_sets_apart():
    one, same = tiny().record(), tiny().record()
    assert one == same and (one["split"], one["train"], one["held_out"]) == ("the last two", 4, 2)
    assert one["train_sha256"] == hashlib.sha256(bytes(tiny().train.flatten().tolist())).hexdigest()
    test = tiny().test.clone()
    test[0, 0] = (test[0, 0] + 1) % 3
    other = tiny(test=test).record()
    assert other["held_out_sha256"] != one["held_out_sha256"] and other["train_sha256"] == one["train_sha256"]
