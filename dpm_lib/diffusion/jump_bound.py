"""The bound of infinitely many steps for strings: relative entropy of two jump processes that run backwards.

Given x_0, the forward chain run backwards jumps from x to y, which has token k in place of x_i, at the rate

    Q_{k x_i} q(x_t,i = k | x_0) / q(x_t,i = x_i | x_0) ,

and the model at the rate Q_{k x_i} r_k(x), where r_k is its guess of the ratio p_t(y) / p_t(x). By Girsanov's theorem
for jumps (``markov.path_measures``) the steps' divergences become, per unit of the time s = -log alpha_bar,

    sum_i sum_{k != x_i} [a log(a / b) - a + b]      with a and b these two rates.

Under a mask this is alpha_bar / (1 - alpha_bar) times the sum of -log p(x_0,i | x) over the masked i.
"""

import torch
from torch import Tensor

from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.probability.categorical import token_index


def rates(kernel: CategoricalKernel, xt: Tensor, log_ratios: Tensor) -> Tensor:
    """Q_{k x_i} r_k, (..., d, n): how fast token i of x_t (..., d) becomes k, backwards; 0 for k = x_i.

    ``log_ratios`` (..., d, n) are those of ``CategoricalKernel.ratios``, NaN where no jump leads to.
    ValueError for what is no token. {eq}`eq-mk-reverse`
    """
    index = token_index("xt", xt, kernel.tokens)
    ahead = kernel.jumps.Q.T[index]
    here = torch.nn.functional.one_hot(index, kernel.tokens).bool()
    return torch.where(here | (ahead == 0), 0.0, ahead * log_ratios.exp())


def loss_rate(kernel: CategoricalKernel, x0: Tensor, xt: Tensor, t: int | Tensor, log_ratios: Tensor) -> Tensor:
    """The divergence per unit of s = -log alpha_bar, (...), nats, at x_t (..., d) that came from x_0 (..., d).

    Times ``t`` are places in the kernel's schedule, which says the level alone. ``log_ratios`` (..., d, n) are the
    model's. ValueError for a time outside of 1..T, and for what is no token. {eq}`eq-mk-limit`
    """
    own = kernel.marginal(x0, t).log_p
    index = token_index("xt", xt, kernel.tokens).unsqueeze(-1)
    a = rates(kernel, xt, own - own.gather(-1, index))
    b = rates(kernel, xt, log_ratios)
    return (torch.xlogy(a, a) - torch.xlogy(a, b) - a + b).sum((-2, -1))
