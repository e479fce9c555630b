"""The 2015 model: a fixed forward chain q, and a learned reverse chain p that starts in pi.

    q(x_0..x_T) = q(x_0) prod_t q(x_t | x_{t-1})          p(x_0..x_T) = pi(x_T) prod_t p(x_{t-1} | x_t)

The last reverse step is not learned: p(x_0 | x_1) = T_pi(x_0 | x_1; beta_1), the paper's edge kernel, unless a model is
given another (``last_step``), or the kernel does not lead back.
"""

from typing import Any

import torch
from torch import Tensor, nn

from dpm_lib.core import checks
from dpm_lib.core.checks import checked_step
from dpm_lib.diffusion.batches import in_batches
from dpm_lib.diffusion.forward_kernels import GaussianKernel, Kernel
from dpm_lib.diffusion.labels import for_each_row, told
from dpm_lib.diffusion.last_step import LastStep, LearnedStep
from dpm_lib.diffusion.reverse_kernels import GaussianReverse, Reverse
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.probability.distributions import Law
from dpm_lib.probability.weighted_samples import WeightedSamples


class DiffusionModel(nn.Module):
    """A forward ``kernel`` (with its schedule) and a ``reverse`` kernel. States are float64, (..., d).

    ``last`` is p(x_0 | x_1), where it is not the edge kernel: of states that are levels, say. A kernel that is not
    reversible in pi, such as a mask, has no edge kernel: there the last step is learned as the others are.
    ``data_set`` says which data it was trained on, and their units, as ``Data.record`` does; {} where nobody said.
    """

    def __init__(self, kernel: Kernel, reverse: Reverse, last: LastStep | None = None) -> None:
        super().__init__()
        self.kernel = kernel
        self.reverse = reverse
        self.last = LearnedStep() if last is None and not kernel.reversible else last
        self.data_set: dict[str, Any] = {}

    @property
    def schedule(self) -> Schedule:
        """The forward chain's schedule."""
        return self.kernel.schedule

    @property
    def T(self) -> int:
        """Number of steps."""
        return self.schedule.T

    @property
    def first(self) -> int:
        """The first step back that costs a D_KL of the reverse kernel: 2, or 1 where it makes the last one too."""
        return 1 if isinstance(self.last, LearnedStep) else 2

    def given(self, label: int | Tensor | None) -> "DiffusionModel":
        """The model of p(x_0 | label): the same weights, the network told a class. With None it is told nothing.

        ``label`` is one of 0..classes - 1 for all rows, or a tensor (n,) of one for each of n rows, where the number
        ``classes`` tells nothing. ValueError for another class, and for a model that was trained without.
        """
        model = DiffusionModel(self.kernel, told(self.reverse, label), self.last)
        model.data_set = self.data_set
        return model.train(self.training)

    def reverse_step(self, xt: Tensor, t: int) -> Law:
        """p(x_{t-1} | x_t), (..., d): learned for t >= 2; for t = 1 T_pi(x_0 | x_1; beta_1), or ``last``.

        ValueError for any other t: a loop back is ``for t in range(model.T, 0, -1)``.
        """
        checked_step(t, self.T)
        xt = torch.as_tensor(xt, dtype=torch.float64)
        if t > 1:
            return self.reverse(xt, t, self.kernel)
        return self.kernel.step(xt, 1) if self.last is None else self.last(xt, self.reverse, self.kernel)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of x_0 from the model, (n, d): T - 1 calls of the network, for the edge kernel, t = 1, needs none.

        Of many, 2^16 numbers are drawn at a time (:mod:`dpm_lib.diffusion.batches`): their memory does not grow with n.
        All at once where each row has a label of its own.
        """

        def draw(rows: int) -> Tensor:
            x = self._noise(rows, generator)
            for t in range(self.T, 0, -1):
                x = self.reverse_step(x, t).sample(generator)
            return x

        with self.schedule.held():
            return draw(n) if for_each_row(self.reverse) else in_batches(draw, n, self.kernel.dim)

    @torch.no_grad()
    def reverse_trajectory(self, n: int, generator: torch.Generator) -> Tensor:
        """n whole reverse trajectories, (T+1, n, d), indexed by t: row T is noise, row 0 the sample."""
        path = [self._noise(n, generator)]
        for t in range(self.T, 0, -1):
            path.append(self.reverse_step(path[-1], t).sample(generator))
        return torch.stack(path[::-1])

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of pi, (n, d); ValueError for a negative n."""
        return self.kernel.prior.expand(checks.count("n", n, 0)).sample(generator)

    @torch.no_grad()
    def forward_trajectory(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of q(x_1..x_T | x_0) for each x0 (..., d): (T+1, ..., d), row 0 is x0 itself."""
        path = [self.kernel.state(x0)]
        for t in range(1, self.T + 1):
            path.append(self.kernel.step(path[-1], t).sample(generator))
        return torch.stack(path)

    @torch.no_grad()
    def trajectory_weights(self, x0: Tensor, n: int, generator: torch.Generator) -> WeightedSamples:
        """The paper's model probability as importance sampling over n forward trajectories from each x0 (batch, d).

        log w = log pi(x_T) + sum_t [log p(x_{t-1} | x_t) - log q(x_t | x_{t-1})], in nats. So ``log_z`` (batch,)
        estimates log p(x_0), and ``elbo`` (batch,) estimates the bound K. The particles are the x_T, (batch, n, d).
        ValueError for n < 1. {eq}`eq-model-probability`.
        """
        checks.count("n", n)
        x0 = self.kernel.state(x0)
        x = x0.unsqueeze(-2).expand(*x0.shape[:-1], n, x0.shape[-1])
        log_weights = torch.zeros(x.shape[:-1], dtype=torch.float64, device=x.device)
        for t in range(1, self.T + 1):
            forward = self.kernel.step(x, t)
            x_next = forward.sample(generator)
            log_weights = log_weights + self.reverse_step(x_next, t).log_prob(x) - forward.log_prob(x_next)
            x = x_next
        return WeightedSamples(x, log_weights + self.kernel.prior.log_prob(x))

    @torch.no_grad()
    def score(self, x: Tensor, t: int) -> Tensor:
        """The model's estimate of grad log q_t(x), (..., d), t in 1..T, by Tweedie's formula from its E[x_0 | x_t].

        ValueError for another t. {eq}`eq-tw-first`.
        """
        checked_step(t, self.T)
        return self.reverse.score(torch.as_tensor(x, dtype=torch.float64), t, self.kernel)

    @torch.no_grad()
    def denoise(self, x: Tensor, t: int) -> Tensor:
        """The model's estimate of E[x_0 | x_t = x], (n, d), for x (n, d) and t in 1..T: all that ``samplers`` ask for.

        ValueError for another t; TypeError for bits, whose best guess is a probability and no state.
        """
        checked_step(t, self.T)
        if not (isinstance(self.reverse, GaussianReverse) and isinstance(self.kernel, GaussianKernel)):
            raise TypeError(f"denoise: {type(self.reverse).__name__} guesses the odds of bits, not a point of R^d")
        return self.reverse.moments(torch.as_tensor(x, dtype=torch.float64), t, self.kernel)[0]

    @torch.no_grad()
    def drift(self, x: Tensor, t: int) -> Tensor:
        """E_p[x_{t-1} | x_t = x] - x, (..., d): where the reverse step pushes, as in the paper's Figure 1."""
        x = torch.as_tensor(x, dtype=torch.float64)
        return self.reverse_step(x, t).mean - x
