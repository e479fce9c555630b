"""The losses of score matching: what their arguments must be. What they are worth: test_equations_14_score_matching."""

import pytest
import torch
from problems import close, randn, rng

from dpm_lib.diffusion import score_matching
from dpm_lib.probability.mixtures import Mixture, finite_set

CLUMPS = Mixture(torch.tensor([[-1.0, 0.0], [0.5, 1.0]]), torch.tensor([0.3, 0.7]), 0.2)


def linear(z, t):
    return z @ torch.tensor([[-1.0, 0.7], [0.2, -2.0]], dtype=torch.float64) + 0.3


def test_of_a_linear_score_every_number_is_known():
    z, y = randn(5, 2, seed=1), randn(5, 2, seed=2)
    guess = linear(z, 0.5)
    close(score_matching.implicit(linear, z, 0.5), guess.square().sum(1) - 6)  # its divergence is -3
    close(score_matching.denoising(linear, y, z, 0.5), (guess - 2 * (y - z)).square().sum(1))
    # v . grad (v . s) = -3 + v_1 v_2 (.7 + .2): with signs one of two numbers
    one = score_matching.sliced(linear, z, 0.5, rng(3)) - guess.square().sum(1)
    assert set(one.mul(10).round().tolist()) <= {-78.0, -42.0}
    many = score_matching.sliced(linear, z, 0.5, rng(3), slices=4000) - guess.square().sum(1)
    close(many, torch.full((5,), -6.0), rtol=0, atol=5 * 1.8 / 4000**0.5)


def test_a_score_that_does_not_move_has_no_divergence():
    def fixed(z, t):
        return torch.ones_like(z)

    z = randn(4, 3)
    close(score_matching.implicit(fixed, z, 1.0), torch.full((4,), 3.0))
    close(score_matching.sliced(fixed, z, 1.0, rng()), torch.full((4,), 3.0))


def test_the_score_itself_has_no_fisher_divergence():
    assert score_matching.fisher_divergence(CLUMPS, CLUMPS.score, 0.4) == 0
    off = score_matching.fisher_divergence(CLUMPS, lambda z, t: CLUMPS.score(z, t) + torch.tensor([3.0, 4.0]), 0.4)
    close(off, 25.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_matching.denoising(linear, randn(4, 2), randn(5, 2), 1.0), "y: answers with shape"),
        (lambda: score_matching.denoising(linear, randn(5, 2), randn(5, 2), 0.0), "t: 0.0"),
        (lambda: score_matching.denoising(lambda z, t: z[:, :1], randn(5, 2), randn(5, 2), 1.0), "score: answers"),
        (lambda: score_matching.implicit(linear, randn(5), 1.0), "z: "),
        (lambda: score_matching.sliced(linear, randn(5, 2), 1.0, rng(), slices=0), "slices: 0"),
        (lambda: score_matching.sliced(lambda z, t: -z.detach(), randn(5, 2), 1.0, rng()), "has no gradient"),
        (lambda: score_matching.implicit(lambda z, t: -z.detach(), randn(5, 2), 1.0), "has no gradient"),
        (lambda: score_matching.floor(CLUMPS, -1.0), "t: -1.0"),
        (lambda: score_matching.fisher_divergence(finite_set(randn(9, 6)), lambda z, t: z, 1.0), "too large"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
