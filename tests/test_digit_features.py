"""The features of digits: they tell digits from what is none, and from digits of some classes only."""

import pytest
import torch
from problems import close, randn

from dpm_lib.core.random import seeded
from dpm_lib.data import image_datasets
from dpm_lib.data.digit_features import digit_features
from dpm_lib.probability import energy_distance


def test_features_tell_samples_from_data():
    data, see = image_datasets.load("digits"), digit_features()
    assert see.accuracy > 0.95 and digit_features() is see
    held_out = data.held_out()
    found = see(held_out)
    close((found.clamp(min=0) - found).abs().max(), 0)
    train = see(data.dequantised(data.train, seeded(0)))
    close((train - train.mean(0)).square().sum(1).mean().sqrt(), 1, rtol=1e-9)
    other = data.dequantised(data.train[:297], seeded(4))
    near, error = energy_distance.of_all_pairs(see(other), found)
    assert abs(near) < 4 * error < 0.05
    ones = other[see.classes(other) == 1]
    assert energy_distance.of_all_pairs(see(ones), found)[0] > 0.3  # digits, but of one class
    assert energy_distance.of_all_pairs(see(randn(297, 64)), found)[0] > 0.3
    blurred = other + 0.3 * torch.randn(other.shape, generator=seeded(1), dtype=torch.float64)
    assert near < energy_distance.of_all_pairs(see(blurred), found)[0] < 0.3
    with pytest.raises(ValueError, match=r"x: need shape \(\.\.\., 64\)"):
        see(randn(3, 8))
