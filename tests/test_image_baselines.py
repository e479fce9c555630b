"""Baselines: the digits' known numbers, and data whose best answer is known."""

import math

import pytest
import torch
from problems import close, rng
from scipy.stats import multivariate_normal

from dpm_lib import image_baselines
from dpm_lib.data import load
from dpm_lib.images import Images


def test_the_unit_is_bits_per_dimension_of_levels_with_uniform_noise():
    """The three numbers that pin the convention of -K for digits: isotropic 4.637, Gaussian 2.937, histogram 2.419."""
    found = image_baselines.baselines(load("digits"))
    for name, expected, within in (
        ("isotropic", 4.637, 0.002),
        ("gaussian", 2.937, 0.006),
        ("histogram", 2.419, 0.001),
    ):
        assert abs(found[name]["bits_per_dimension"] - expected) < within
    assert found["scale mixture"]["bits_per_dimension"] < found["gaussian"]["bits_per_dimension"]


def contrast(n: int = 6000) -> tuple[Images, torch.Tensor]:
    """Pairs of correlated pixels whose contrast is small or large; and the covariance at contrast 1."""
    C = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    s = torch.where(torch.rand(n, 1, generator=rng(0), dtype=torch.float64) < 0.5, 40.0, 4.0)
    z = torch.randn(n, 2, generator=rng(1), dtype=torch.float64) @ torch.linalg.cholesky(C).T
    values = (128 + s**0.5 * 4 * z).round().clamp(0, 255).to(torch.uint8)
    half = n // 2
    return Images("pairs", train=values[:half], test=values[half:], shape=(1, 1, 2), levels=256, split="half"), C


def test_a_gaussian_is_the_one_of_scipy():
    data, _ = contrast()
    x = data.dequantised(data.train, rng(5))
    law = multivariate_normal(x.mean(0).numpy(), torch.cov(x.T).numpy())
    expected = data.bits_per_dimension(torch.as_tensor(law.logpdf(data.held_out().numpy())))
    close(image_baselines.gaussian(data).mean(), expected.mean(), rtol=1e-3)


def test_a_scale_mixture_finds_the_scales():
    """Its bits are those of the mixture that made the data, within what 3000 images can tell."""
    data, C = contrast()
    bits = image_baselines.scale_mixture(data, scales=2, rounds=100)
    v = data.pixels(data.held_out()).reshape(-1, 2).numpy() - 128.5
    density = sum(0.5 * multivariate_normal([0, 0], (16 * s * C).numpy()).pdf(v) for s in (4.0, 40.0))
    expected = torch.as_tensor(-density).neg().log2().neg() / 2
    lost = bits - expected
    assert -0.01 < float(lost.mean()) < 0.01
    assert float(bits.mean()) < float(image_baselines.gaussian(data).mean()) - 0.05
    close(
        image_baselines.scale_mixture(data, scales=1, rounds=3).mean(), image_baselines.gaussian(data).mean(), rtol=1e-3
    )


def test_a_histogram_is_that_of_its_counts():
    train = torch.tensor([[0, 1], [0, 2], [1, 2], [0, 2]], dtype=torch.uint8)
    test = torch.tensor([[0, 2], [1, 0]], dtype=torch.uint8)
    data = Images("tiny", train=train, test=test, shape=(1, 1, 2), levels=3, split="none")
    bits = image_baselines.histogram(data, prior=1.0)
    close(bits, [-math.log2(4 / 7 * 4 / 7) / 2, -math.log2(2 / 7 * 1 / 7) / 2])


def test_bad_settings_are_named():
    data, _ = contrast(100)
    with pytest.raises(ValueError, match=r"prior: 0\.0 is not positive"):
        image_baselines.histogram(data, 0.0)
    with pytest.raises(ValueError, match="scales, rounds: 0, 60"):
        image_baselines.scale_mixture(data, 0)
