"""The reverse kernel of strings, p(x_{t-1} | x_t), from the odds of each token of x_0.

**Mean.** The best law of independent tokens has the exact law of each. Given its own start a token forgets the others:

    P(x_{t-1,i} = k | x_t) = sum_a P(x_{0,i} = a | x_t) q(x_{t-1,i} = k | x_{t,i}, x_{0,i} = a)

so the network predicts the law of x_{0,i}, over those a that x_{t,i} can have come from. Under a mask that is one token
where x_{t,i} is seen: it stays as it is, and no network is asked.

**Ratios.** In continuous time what is needed are p_t(y) / p_t(x) for one changed token, the concrete score (Meng et al.
2022, Lou et al. 2024). ``CategoricalKernel.ratios`` and ``.start`` turn one into the other.
"""

import torch
from torch import Tensor, nn

from dpm_lib.core.checks import checked_step
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.diffusion.reverse_kernels import call_network
from dpm_lib.probability.categorical import Categorical


class CategoricalReverse(nn.Module):
    """p(x_{t-1} | x_t) as independent tokens, from ``network(x, t, log_tau)``.

    The network is shown the tokens x (n, d) as they are, and gives logits of x_0's, (n, d, vocabulary) or in one row,
    (n, d vocabulary). Where the law of x_0 given x_t is the same at all times, as under a mask, it is told no time: t
    and log_tau are 0, unless ``timeless`` is false.
    """

    def __init__(self, network: nn.Module, kernel: CategoricalKernel, timeless: bool | None = None) -> None:
        super().__init__()
        self.network = network
        self.dim, self.vocabulary = kernel.dim, kernel.vocabulary
        self.timeless = kernel.timeless if timeless is None else timeless

    def forward(self, xt: Tensor, t: int | Tensor, kernel: CategoricalKernel) -> Categorical:
        """p(x_{t-1} | x_t) for t >= 1; ``xt`` (..., d) of tokens. At t = 1 this is p(x_0 | x_1) itself.

        {eq}`eq-mk-mean`.
        """
        return kernel.through(self.start(xt, t, kernel), xt, t)

    def start(self, xt: Tensor, t: int | Tensor, kernel: CategoricalKernel) -> Categorical:
        """Predicted law of each token of x_0 given x_t, (..., d). ValueError for t outside of 1..T."""
        checked_step(t, kernel.schedule.T)
        width = self.dim * self.vocabulary
        raw = call_network(self.network, xt, t, kernel.schedule, width, timeless=self.timeless)
        logits = raw.reshape(*xt.shape, self.vocabulary)
        return Categorical(logits.masked_fill(torch.isneginf(kernel.evidence(xt, t)), -torch.inf))

    def ratios(self, xt: Tensor, t: int | Tensor, kernel: CategoricalKernel) -> Tensor:
        """Predicted log p_t(y) / p_t(x_t) for one changed token, (..., d, n), nats, as ``CategoricalKernel.ratios``."""
        return kernel.ratios(self.start(xt, t, kernel), xt, t)

    def score(self, xt: Tensor, t: int, kernel: CategoricalKernel) -> Tensor:
        """TypeError, not a score (..., d): a law of tokens has no gradient in x; ``ratios`` stand for it."""
        raise TypeError("score: tokens have no score: log q_t(x) has no gradient in x; take ratios")
