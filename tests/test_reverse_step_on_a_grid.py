"""One step back on the line, by Bayes' rule on a grid."""

import numpy as np
import pytest
from scipy import stats

from dpm_lib.exact.reverse_step_on_a_grid import StepBack, step_back, two_clumps


def test_step_back_of_normal_data_is_normal():
    """For N(0, v): N(g x, v beta / total), with total = (1 - beta) v + beta and g = sqrt(1 - beta) v / total."""
    v, beta, x = 0.7, 0.3, 0.8
    back = step_back(lambda y: -0.5 * y**2 / v, x, beta)
    total = (1 - beta) * v + beta
    assert isinstance(back, StepBack)
    assert back.mean == pytest.approx(np.sqrt(1 - beta) * v / total * x, rel=1e-10)
    assert back.variance == pytest.approx(v * beta / total, rel=1e-10)
    assert abs(back.kl) < 1e-12
    assert back.kl_to(back.mean + 0.1, back.variance) == pytest.approx(0.005 / back.variance, rel=1e-9)
    assert back.kl_to(back.mean, 2 * back.variance) == pytest.approx(0.5 * (0.5 - 1 + np.log(2)), rel=1e-9)


def test_two_clumps_is_normalised():
    y = np.linspace(-9, 9, 20_001)
    both = 0.5 * (stats.norm.pdf(y, -1, 0.3) + stats.norm.pdf(y, 1, 0.3))
    np.testing.assert_allclose(np.exp(two_clumps(y, 0.3)), both, rtol=1e-11, atol=1e-300)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"beta: 1\.5: need a number in \(0, 1\)"):
        step_back(lambda x: -(x**2), 0.0, 1.5)
    with pytest.raises(ValueError, match="does not hold the step back from 40"):
        step_back(lambda x: -0.5 * x**2, 40.0, 0.5)
