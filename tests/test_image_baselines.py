"""Baselines: the digits' known numbers, and data whose best answer is known."""

import math

import pytest
import torch
from problems import close, rng
from scipy.stats import multivariate_normal

from dpm_lib.data import image_baselines
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load


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
    assert 2.1 < found["histograms"]["bits_per_dimension"] < 2.25  # digits come in kinds
    assert 3.7 < found["zlib"]["bits_per_dimension"] < 4.6  # of several versions


def strays(n: int = 400) -> Images:
    """Twelve correlated pixels, and twelve that are blank in nearly every picture."""
    busy = torch.randn(n, 12, generator=rng(2), dtype=torch.float64) @ torch.randn(12, 12, generator=rng(3)).double()
    ink = torch.rand(n, 12, generator=rng(4)) < 0.003
    values = torch.cat([(128 + 15 * busy).clamp(0, 255), 200.0 * ink.double()], 1).round().to(torch.uint8)
    return Images("strays", train=values[: n // 2], test=values[n // 2 :], shape=(1, 4, 6), levels=256, split="half")


def test_a_gaussian_is_shrunk_as_much_as_training_pictures_say(monkeypatch):
    """By the density of SciPy, for each fifth of the training pictures, of the covariance of the others."""
    data = strays()
    a = image_baselines.shrinkage(data)
    assert 0 < a <= 0.1
    found = dict.fromkeys(image_baselines.SHRINKAGES, 0.0)
    generator = rng(0)
    order = torch.randperm(200, generator=generator)
    for k in range(5):
        left, fitted = order[40 * k : 40 * k + 40], torch.cat([order[: 40 * k], order[40 * k + 40 :]])
        x = (data.train[fitted].double() + 0.5 - data.mean) / data.std
        C = torch.cov(x.T, correction=0) + torch.eye(24).double() / (12 * data.std**2)
        v = data.dequantised(data.train[left], generator).numpy()
        for share in found:
            mixed = (1 - share) * C + share * C.trace() / 24 * torch.eye(24).double()
            found[share] += float(multivariate_normal(x.mean(0).numpy(), mixed.numpy()).logpdf(v).sum())
    assert max(found, key=found.get) == a
    shrunk = image_baselines.gaussian(data)
    close(image_baselines.scale_mixture(data, scales=1, rounds=3).mean(), shrunk.mean(), rtol=0.02)
    monkeypatch.setattr(image_baselines, "SHRINKAGES", (0.0,))
    assert float(shrunk.mean()) < float(image_baselines.gaussian(data).mean()) - 0.5


def test_a_mixture_of_histograms_is_its_formula():
    """Two rounds of EM by loops, and the bits of what came out; a mixture of one is its histogram."""
    g = torch.randint(3, (12, 2), generator=rng(6), dtype=torch.uint8)
    data = Images("tiny", train=g[:9], test=g[9:], shape=(1, 1, 2), levels=3, split="none")
    share = image_baselines._nearest(data.train.double(), 2, 0)
    common = [[(int((data.train[:, i] == v).sum()) + 0.5) / 10.5 for v in range(3)] for i in range(2)]
    for _ in range(2):
        weight = share.mean(0)
        p = [
            [
                [(share[(data.train[:, i] == v).numpy(), k].sum() + 4 * common[i][v]) / (share[:, k].sum() + 4)
                 for v in range(3)]
                for i in range(2)
            ]
            for k in range(2)
        ]  # fmt: skip
        for n, row in enumerate(data.train.tolist()):
            joint = [weight[k] * p[k][0][row[0]] * p[k][1][row[1]] for k in range(2)]
            share[n] = [value / sum(joint) for value in joint]
    expected = [
        -math.log2(sum(weight[k] * p[k][0][a] * p[k][1][b] for k in range(2))) / 2 for a, b in data.test.tolist()
    ]
    close(image_baselines.histogram_mixture(data, 2, 2, 4.0), expected, rtol=1e-8)
    one = image_baselines.histogram_mixture(data, 1, 1, 1e-9)
    counts = [[float((data.train[:, i] == v).sum()) / 9 for v in range(3)] for i in range(2)]
    close(one, [-math.log2(counts[0][a] * counts[1][b]) / 2 for a, b in data.test.tolist()], rtol=1e-6)


def test_a_mixture_of_histograms_finds_kinds():
    """Pictures of two kinds, every pixel 0 or 1 by kind, a tenth of them wrong: 1/d + h(.1) bits, or one a pixel."""
    kind = torch.rand(900, 1, generator=rng(0)) < 0.5
    values = (kind ^ (torch.rand(900, 16, generator=rng(1)) < 0.1)).to(torch.uint8)
    data = Images("kinds", train=values[:600], test=values[600:], shape=(1, 4, 4), levels=2, split="last")
    bits = image_baselines.histogram_mixture(data, classes=2)
    expected = 1 / 16 - 0.1 * math.log2(0.1) - 0.9 * math.log2(0.9)
    assert abs(float(bits.mean()) - expected) < 4 * float(bits.std()) / math.sqrt(300) + 0.005
    assert float(image_baselines.histogram(data).mean()) > 0.99


def test_zlib_learns_from_the_training_pictures():
    """Noise costs its 8 bits, and a few for the frame; a picture that the dictionary has costs a reference to it."""
    noise = torch.randint(256, (80, 256), generator=rng(), dtype=torch.uint8)
    data = Images("noise", train=noise[:40], test=noise[40:], shape=(1, 16, 16), levels=256, split="last")
    bits = image_baselines.lossless(data)
    assert bits.shape == (40,) and 8 <= float(bits.min()) and float(bits.max()) < 8.4
    again = Images("again", train=noise[:40], test=noise[:40], shape=(1, 16, 16), levels=256, split="none")
    assert float(image_baselines.lossless(again).max()) < 0.3
    blank = Images("blank", train=noise[:40], test=0 * noise[:40], shape=(1, 16, 16), levels=256, split="none")
    assert float(image_baselines.lossless(blank).max()) < 0.3


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
    with pytest.raises(ValueError, match="classes, rounds, strength: 0, 15, 1"):
        image_baselines.histogram_mixture(data, 0, strength=1)
