"""Multiplying laws: every product against a sum or an integral done by brute force."""

import math

import pytest
import torch
from problems import all_bits, blobs, close, close_covariance, rng

from dpm_lib.probability.codebooks import heartbeat
from dpm_lib.probability.distributions import Bernoulli, Gaussian
from dpm_lib.probability.products_of_laws import Blend, Tilt, bit_tilt, blend_of, gaussian_tilt, times

LINE = torch.linspace(-8, 8, 1601, dtype=torch.float64)
PLANE = torch.cartesian_prod(LINE[::16], LINE[::16])
CELL = 0.16**2


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def terms() -> Tilt:
    return Tilt(tensor([0.3, -1.0]), tensor([[1.0, -0.5], [0.0, 2.0]]), tensor([[0.5, 0.0], [2.0, 1.0]]))


LAWS = {
    "isotropic": Gaussian(tensor([0.4, -0.3]), tensor([0.7])),
    "diagonal": Gaussian(tensor([0.4, -0.3]), tensor([0.7, 1.1])),
    "full": Gaussian(tensor([0.4, -0.3]), tensor([[0.8, 0.0], [0.5, 0.6]]), full=True),
    "blend": blend_of(blobs()),
}


@pytest.mark.equation("eq-post-product")
@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("count", [1, 2])
def test_product_in_the_plane(name, count):
    law, r = LAWS[name], terms()
    r = Tilt(r.c[:count], r.b[:count], r.a[:count])
    if name == "full" and count > 1:
        with pytest.raises(ValueError, match="2 terms do not fit a Gaussian with a full covariance"):
            times(law, r)
        return
    product, log_z = times(law, r)
    wanted = (law.log_prob(PLANE) + r(PLANE)).exp()
    close(log_z.exp(), wanted.sum() * CELL, rtol=1e-8)
    close(product.log_prob(PLANE).exp() * log_z.exp(), wanted, atol=1e-12)
    close(product.mean, (wanted.unsqueeze(1) * PLANE).sum(0) / wanted.sum(), rtol=1e-7)


@pytest.mark.equation("eq-post-product")
def test_product_of_bits():
    bits, law = all_bits(2), Bernoulli(tensor([0.4, -1.2]))
    for wanted_law in (law, Blend(tensor([0.2, -0.4]), Bernoulli(tensor([[0.4, -1.2], [3.0, torch.inf]])))):
        product, log_z = times(wanted_law, terms())
        weights = (wanted_law.log_prob(bits) + terms()(bits)).exp()
        close(log_z.exp(), weights.sum())
        close(product.log_prob(bits).exp(), weights / weights.sum())


@pytest.mark.equation("eq-post-product")
def test_one_tilt_for_each_particle():
    mean = tensor([[0.1], [0.9], [-2.0]])
    r = Tilt(tensor([[0.0], [1.0], [2.0]]), tensor([[[1.0]], [[2.0]], [[-1.0]]]), tensor([[[0.0]], [[0.5]], [[3.0]]]))
    many, log_z = times(Gaussian(mean, tensor([0.6])), r)
    for i in range(3):
        one, log_one = times(Gaussian(mean[i], tensor([0.6])), Tilt(r.c[i], r.b[i], r.a[i]))
        close(many.mean[i], one.mean)
        close(log_z[i], log_one)


def test_likelihoods():
    y, mask = tensor([0.3, -1.0, 2.0]), torch.tensor([True, False, True])
    x = tensor([[0.5, 9.0, 1.0]])
    wanted = torch.distributions.Normal(x, 0.4).log_prob(y)[0, [0, 2]].sum()
    close(gaussian_tilt(y, 0.4, mask)(x), wanted)
    close(gaussian_tilt(y, 0.4, mask).power(0.3)(x), 0.3 * wanted)
    close(gaussian_tilt(y, 0.4, mask).plus(0.01)(x).exp(), wanted.exp() + 0.01)
    bits = all_bits(3)
    read = tensor([1.0, 0.0, 1.0])
    wrong = ((bits != read) & mask).sum(-1).double()
    close(bit_tilt(read, 0.1, mask)(bits), wrong * math.log(0.1) + (2 - wrong) * math.log(0.9))
    close(bit_tilt(read, 0.0)(read), 0.0, atol=1e-12)
    close(bit_tilt(read, 0.5)(bits), 3 * math.log(0.5))


def test_blends_draw_their_parts():
    blend = blend_of(blobs())
    x = blend.expand(20_000).sample(rng(1))
    middle = blend.mean
    spread = sum(
        w * (torch.outer(c - middle, c - middle) + 0.09 * torch.eye(2))
        for w, c in zip(blobs().weights, blobs().centers, strict=True)
    )
    close_covariance(x, middle, spread)
    close(blend.log_prob(x[:50]), blobs().log_prob(x[:50]))
    rows = blend_of(heartbeat()).expand(500).sample(rng(2))
    assert torch.isfinite(heartbeat().log_prob(rows)).all()


def test_errors():
    one = torch.ones(1, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="r is nowhere positive"):
        Tilt(tensor([-torch.inf]), one, one)
    with pytest.raises(ValueError, match=r"c: nan at index \(0,\)"):
        Tilt(tensor([torch.nan]), one, one)
    with pytest.raises(ValueError, match=r"a: -1.0 at index \(0, 0\)"):
        Tilt(tensor([0.0]), one, -one)
    with pytest.raises(ValueError, match="b, a: shapes"):
        Tilt(tensor([0.0, 1.0]), one, one)
    with pytest.raises(ValueError, match="std: 0: need positive, finite numbers"):
        gaussian_tilt(one, 0)
    for bad, message in (
        (torch.inf, "std: inf: need positive, finite numbers"),
        (torch.ones(3), r"std: need one number or shape \(2,\), got shape \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            gaussian_tilt(one, bad)
    with pytest.raises(ValueError, match=r"mask: need shape \(2,\), as mean has, got \(3,\)"):
        gaussian_tilt(one, 1.0, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"error: 0\.7"):
        bit_tilt(one[0], 0.7)
    with pytest.raises(ValueError, match=r"bits: need zeros and ones, got \[0\.5, 0\.5\]"):
        bit_tilt(one[0] / 2, 0.1)
    with pytest.raises(ValueError, match=r"bits, mask: need the same shape \(d,\), got \(2,\), \(1,\)"):
        bit_tilt(one[0], 0.1, torch.tensor([True]))


def test_one_coordinate_is_not_stretched_over_two():
    r, x = gaussian_tilt(tensor([1.0]), 1.0), torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="x: has 2 coordinates, and the tilt 1"):
        r(x)
    for law in LAWS.values():
        with pytest.raises(ValueError, match="law: has 2 coordinates, and the tilt 1"):
            times(law, r)
    with pytest.raises(ValueError, match=r"floor: 0: need a positive, finite number"):
        r.plus(0)
