"""The tilted law on the line: against closed forms, and against a mixture's own tilt."""

import math

import pytest
import torch
from problems import close, gaussian

from dpm_lib.diffusion.sampler_law import sampler_law
from dpm_lib.diffusion.samplers import MixtureDenoiser, heun
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.diffusion.tilted_law import TiltedLaw
from dpm_lib.probability.mixtures import Mixture

CENTERS = torch.tensor([[-1.0], [0.3], [1.4]], dtype=torch.float64)
CLASS = Mixture(CENTERS[1:], torch.tensor([0.25, 0.75], dtype=torch.float64), 0.1)
ALL = Mixture(CENTERS, torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64), 0.1)


def normal(mean: float, variance: float) -> Mixture:
    return gaussian(torch.tensor([mean], dtype=torch.float64), variance)


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_two_normal_laws(w):
    """Complete the square: precision (1 - w) / v_P + w / v_Q, and the integral beside it."""
    m_p, v_p, m_q, v_q = 0.2, 1.0, 0.9, 0.6
    tilt = TiltedLaw(normal(m_q, v_q), normal(m_p, v_p), w)
    precision = (1 - w) / v_p + w / v_q
    mean = ((1 - w) * m_p / v_p + w * m_q / v_q) / precision
    log_z = 0.5 * (mean**2 * precision - (1 - w) * m_p**2 / v_p - w * m_q**2 / v_q)
    log_z -= 0.5 * (math.log(precision) + (1 - w) * math.log(v_p) + w * math.log(v_q))
    close([tilt.mean(), tilt.std(), tilt.log_z], [mean, precision**-0.5, log_z], rtol=1e-10, atol=1e-10)
    law = tilt.law()
    close(law.cdf, torch.special.ndtr((law.z - mean) * math.sqrt(precision)), rtol=0, atol=3e-8)
    close([law.mean(), law.std()], [mean, precision**-0.5], rtol=0, atol=1e-4)


def test_at_0_and_1_it_is_the_given_law():
    for w, law in ((0.0, ALL), (1.0, CLASS)):
        tilt = TiltedLaw(CLASS, ALL, w)
        close(tilt.log_z, 0, rtol=0, atol=1e-12)
        assert tilt.law().kolmogorov(law) < 2e-8
        assert tilt.law().total_variation(law) < 2e-7


def test_with_noise_its_places_are_the_law():
    """Blurred, the places have the density of the blurred law; a sampler of it draws it."""
    z = torch.linspace(-3, 3, 41, dtype=torch.float64).unsqueeze(1)
    for w, law in ((0.0, ALL), (1.0, CLASS)):
        tilt = TiltedLaw(CLASS, ALL, w)
        places = tilt.places()
        assert len(places.centers) < 0.8 * len(tilt.z)  # without those where hardly any of the law is
        for t in (1e-3, 0.1, 4.0):
            close(places.log_prob(z, t).exp(), law.log_prob(z, t).exp(), rtol=0, atol=1e-10)
            near = (z > -0.6) & (z < 2.4)  # not where hardly any of the law is
            close(places.score(z, t)[near], law.score(z, t)[near], rtol=1e-6, atol=1e-6)
    schedule, tilt = geometric(160, beta_1=1e-3, tau_T=1e5), TiltedLaw(CLASS, ALL, 3.0, per_sd=10)
    model = MixtureDenoiser(tilt.places(), schedule)
    law = sampler_law(heun, model, range(160, -1, -4), places=301)
    assert law.wasserstein(tilt.law()) < 0.02
    assert law.wasserstein(TiltedLaw(CLASS, ALL, 2.0).law()) < 0.03 < law.wasserstein(TiltedLaw(CLASS, ALL, 0.5).law())


def test_distances_of_two_tables():
    """Two normal laws, from tables: by the formulas."""
    near, far = TiltedLaw(normal(0, 1), normal(0, 1), 1).law(), TiltedLaw(normal(0.6, 1), normal(0, 1), 1).law()
    close(near.wasserstein(far), 0.6, rtol=0, atol=1e-6)
    exact = 2 * float(torch.special.ndtr(torch.tensor(0.3, dtype=torch.float64))) - 1
    close([near.kolmogorov(far), near.total_variation(far)], exact, rtol=0, atol=1e-4)
    close(far.total_variation(normal(0, 1)), exact, rtol=0, atol=1e-4)
    close(near.below([-50.0, 0.0, 50.0]), [0, 0.5, 1], rtol=0, atol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="w: -1: need a finite number, at least 0"):
        TiltedLaw(CLASS, ALL, -1)
    with pytest.raises(ValueError, match=r"conditional: dimension 2, variance 1.0: need 1, and a positive one"):
        TiltedLaw(Mixture(torch.zeros(1, 2), torch.ones(1), 1.0), ALL, 2)
    with pytest.raises(ValueError, match=r"unconditional: dimension 1, variance 0.0: need 1, and a positive one"):
        TiltedLaw(CLASS, Mixture(CENTERS, ALL.weights, 0.0), 2)
    with pytest.raises(ValueError, match=r"w: 3.0: P\^\(1-w\) Q\^w does not fade away"):
        TiltedLaw(normal(0, 2.0), normal(0, 1.0), 3)  # the wider one to the third, over the narrower one squared
