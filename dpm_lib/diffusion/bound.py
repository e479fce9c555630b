"""The bound K on the log likelihood, term by term.

For data x_0 ~ q and a model p with the edge kernel p(x_0 | x_1) = T_pi(x_0 | x_1; beta_1),

    E log p(x_0) >= K = E log pi(x_T) + E log [pi(x_0) / pi(x_1)] + H_q(X_T | X_0) - H_q(X_1 | X_0)
                        - sum_{t=2}^T E D_KL( q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t) ).

The 2015 paper prints -H_p(X_T) for the first two terms together, which holds when E|x_0|^2 = d. Every expectation here
is exact given x_0 except the KL terms, which take one draw of x_t for each x_0 and t. With another last step than the
edge kernel, E log p(x_0 | x_1) stands for E log [pi(x_0) / pi(x_1)] - H_q(X_1 | X_0), and takes one draw of x_1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_lib.core.checks import checked_step
from dpm_lib.diffusion.forward_kernels import Kernel
from dpm_lib.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class BoundTerms:
    """The terms of K for each of n data points, in nats: estimates of K(x_0) <= log p(x_0).

    ``kl`` (T+1, n): row t is D_KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) at one draw of x_t; rows 0 and 1 are zero.
    ``prior`` (n,): E[log pi(x_T) | x_0].  ``edge`` (n,): E[log pi(x_0) - log pi(x_1) | x_0];
    with a last step of the model's own, log p(x_0 | x_1) + H_q(X_1 | x_0) at one draw of x_1.
    ``entropy_T`` and ``entropy_1`` (n,): H_q(X_T | x_0) and H_q(X_1 | x_0).
    """

    kl: Tensor
    prior: Tensor
    edge: Tensor
    entropy_T: Tensor
    entropy_1: Tensor

    @property
    def K(self) -> Tensor:
        """The bound for each data point, (n,), nats."""
        return self.prior + self.edge + self.entropy_T - self.entropy_1 - self.kl.sum(0)


def terms(model: DiffusionModel, x0: Tensor, generator: torch.Generator) -> BoundTerms:
    """Every term of K for each row of ``x0`` (n, d). Costs T-1 network calls on n points, and one more
    where the model has a last step of its own.

    ValueError for another shape (a single point is ``x0.unsqueeze(0)``), no rows, or rows that are no states.
    """
    x0 = model.kernel.state(x0)
    if x0.ndim != 2 or not len(x0):
        raise ValueError(f"x0: need shape (n, {model.kernel.dim}), at least one row, got {tuple(x0.shape)}")
    with torch.no_grad(), model.schedule.held():
        kl = [torch.zeros_like(x0[:, 0])] * 2
        for t in range(2, model.T + 1):
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
            kl.append(step_kl(model, x0, t, noise))
        return BoundTerms(torch.stack(kl), *ends_of(model, x0, generator))


def step_kl(model: DiffusionModel, x0: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
    """D_KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), (n,), nats, at the x_t made of standard normal ``noise`` (n, d).

    For t in 2..T: one int, or an integer tensor (n,); from 1 where the last step is the reverse kernel's. ValueError
    for others: at t = 1 the divergence is infinite.
    Drawn bits carry no gradient: it enters by the ratio, {eq}`eq-bits-score`.
    """
    kernel, t = model.kernel, checked_step(t, model.T, first=model.first)
    if noise.shape != x0.shape:
        raise ValueError(f"noise: need the shape of x0, {tuple(x0.shape)}, got {tuple(noise.shape)}")
    forward = kernel.marginal(x0, t)
    xt = forward.from_noise(noise)
    return kernel.posterior(x0, xt, t).kl(model.reverse(xt, t, kernel)) * forward.ratio(xt)


def ends(kernel: Kernel, x0: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The terms of K that no network enters: prior, edge, H_q(X_T | x_0), H_q(X_1 | x_0), each (n,), in closed form."""
    pi, first, last = kernel.prior, kernel.marginal(x0, 1), kernel.marginal(x0, kernel.schedule.T)
    edge = pi.log_prob(x0) + first.cross_entropy(pi)
    return -last.cross_entropy(pi), edge, last.entropy.expand_as(edge), first.entropy.expand_as(edge)


def ends_of(model: DiffusionModel, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``ends`` of a model, each (n,): with a last step of its own, the edge takes one draw of x_1 and one call."""
    prior, edge, entropy_T, entropy_1 = ends(model.kernel, x0)
    if model.last is not None:
        x1 = model.kernel.marginal(x0, 1).sample(generator)
        edge = model.reverse_step(x1, 1).log_prob(x0) + entropy_1
    return prior, edge, entropy_T, entropy_1


def estimate(model: DiffusionModel, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """An unbiased estimate of K(x_0) from one time per row, (n,), nats: the objective of training.

    ``t`` (n,) holds times that are uniform on 2..T over the batch; the sum over t becomes (T-1) times a mean. Where the
    reverse kernel makes the last step too, they are uniform on 1..T, and there are T terms.
    ValueError for other shapes, and for a model with a last step of its own, which needs a call more for each row.
    """
    if model.last is not None and model.first > 1:
        raise ValueError("model: has a last step of its own: take `terms`")
    if t.shape != x0.shape[:1]:
        raise ValueError(f"t: need one time per row of x0, {len(x0)}, got shape {tuple(t.shape)}")
    with model.schedule.held():
        prior, edge, entropy_T, entropy_1 = ends(model.kernel, x0)
        known = prior + entropy_T + (edge - entropy_1 if model.first > 1 else 0)
        return known - (model.T + 1 - model.first) * step_kl(model, x0, t, noise)
