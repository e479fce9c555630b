"""Dead leaves and patches of textures: the law of the radii, occlusion, and that held-out places are apart."""

import math

import numpy as np
import pytest
from problems import close
from scipy import stats

from dpm_lib.data import image_datasets, textures


def test_radii_follow_their_power_law():
    r = textures.radii(20_000, np.random.default_rng(0))
    low, high = textures.SMALLEST, textures.LARGEST
    assert low <= r.min() and r.max() <= high

    def distribution(x):
        return (low**-2 - x**-2.0) / (low**-2 - high**-2)

    assert stats.kstest(r, distribution).pvalue > 1e-3


def test_dead_leaves_cover_everything_with_uniform_levels():
    sheets = [textures.dead_leaves(48, np.random.default_rng(seed), levels=8) for seed in range(60)]
    corner = np.array([sheet[0, 0] for sheet in sheets] + [sheet[40, 40] for sheet in sheets])
    counts = np.bincount(corner, minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert sheets[0].dtype == np.uint8 and sheets[0].shape == (48, 48)


def test_two_points_are_under_one_leaf_as_often_as_theory_says():
    """The first leaf that covers one of two points covers both with probability E[cap] / E[cup] (Lee et al. 2001)."""
    apart, pairs = 3.0, []
    for seed in range(100):
        sheet = textures.dead_leaves(24, np.random.default_rng(seed)).astype(int)
        pairs.append(np.mean(sheet[::8, : -int(apart)] == sheet[::8, int(apart) :]))
    r = textures.radii(400_000, np.random.default_rng(1))
    half = np.minimum(apart / 2 / r, 1)
    lens = np.where(
        apart < 2 * r, 2 * r**2 * np.arccos(half) - apart / 2 * np.sqrt(np.maximum(4 * r**2 - apart**2, 0)), 0
    )
    shared = lens.mean() / (2 * math.pi * (r**2).mean() - lens.mean())
    expected = shared + (1 - shared) / 256
    assert abs(np.mean(pairs) - expected) < 4 * np.std(pairs) / math.sqrt(len(pairs))


def test_dead_leaves_by_looking_at_every_pixel():
    """A leaf at a time over the whole sheet: it colours the bare pixels whose centres it covers."""
    for side in (1, 7, 30):
        generator, sheet = np.random.default_rng(side), np.full((side, side), -1)
        row, column = np.mgrid[:side, :side] + 0.5
        while (sheet < 0).any():
            centres = generator.uniform(-textures.LARGEST, side + textures.LARGEST, (4096, 2))
            leaves = zip(centres, textures.radii(4096, generator), generator.integers(256, size=4096), strict=True)
            for (y, x), r, level in leaves:
                sheet[(sheet < 0) & ((row - y) ** 2 + (column - x) ** 2 <= r * r)] = level
        assert (textures.dead_leaves(side, np.random.default_rng(side)) == sheet).all()


def test_the_generator_decides():
    one, same, other = (textures.dead_leaves(20, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (one == same).all() and (one != other).any()


def test_patches_are_cut_from_their_sheets():
    sheet = np.arange(100, dtype=np.uint8).reshape(10, 10)
    found = textures.patches([sheet, sheet + 100], 3, 41, np.random.default_rng(0)).numpy()
    assert found.shape == (41, 9)
    corners = found[:21, 0].astype(int)
    expected = corners[:, None] + np.array([0, 1, 2, 10, 11, 12, 20, 21, 22])
    assert (found[:21] == expected).all() and (found[21:] >= 100).all()
    assert set(corners) <= {10 * i + j for i in range(8) for j in range(8)}


def test_held_out_textures_are_another_part_of_the_photographs():
    train, test = textures.photographs()
    for kept, held in zip(train, test, strict=True):
        assert kept.shape == (512, 384) and held.shape == (512, 128)
    data = image_datasets.load("textures", 8)
    assert data.shape == (1, 8, 8) and len(data.train) == 30_000 and len(data.test) == 3000
    again = image_datasets.photographs(8)
    assert (data.train == again.train).all() and (data.test == again.test).all()


def test_dead_leaves_as_data():
    data = image_datasets.dead_leaves(side=8, sheets=2, sheet=64, n=50)
    assert data.train.shape == (50, 64) and data.test.shape == (5, 64) and data.levels == 256
    again = image_datasets.dead_leaves(side=8, sheets=2, sheet=64, n=50)
    assert (data.train == again.train).all()
    close(data.null_bits, math.log2(data.std) + 0.5 * math.log2(2 * math.pi * math.e))


def test_bad_sides_are_named():
    with pytest.raises(ValueError, match="side: 0: need at least 1"):
        textures.dead_leaves(0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="side: 200 is not between 1 and 128"):
        textures.patches(textures.photographs()[1], 200, 3, np.random.default_rng(0))
