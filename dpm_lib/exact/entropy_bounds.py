"""Bounds on the entropy of a reverse step, H_q(X_{t-1} | X_t), and its exact value where it can be had.

For every kernel that is reversible in pi, and every law of the data,

    H(X_t | X_{t-1}) + H(X_{t-1} | X_0) - H(X_t | X_0)  <=  H(X_{t-1} | X_t)
        <=  H(X_t | X_{t-1}) + (alpha_bar_{t-1} - alpha_bar_t) (-E log pi(x_0) - H(pi)) .

The 2015 paper prints the upper bound without its last term. That holds when H(X_t) >= H(X_{t-1}), for which a last
term <= 0 suffices. For fair coins it is 0. For the Gaussian kernel the bracket is (E|x_0|^2 - d) / 2; but entropies do
not see where data stand, so the bound holds for the centred data too, and tr Cov x_0 <= d suffices (the paper's
appendix A asks for variance 1). Nats.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpm_lib.diffusion.forward_kernels import GaussianKernel, Kernel
from dpm_lib.exact.enumeration import FiniteChains
from dpm_lib.probability.mixtures import Mixture


@dataclass(frozen=True)
class EntropyBounds:
    """Bounds on H_q(X_{t-1} | X_t), each (T+1,), nats; row 0 is NaN.

    ``lower`` and ``printed`` need the schedule only. ``upper``, the repaired one, needs the data's excess too.
    """

    lower: Tensor
    printed: Tensor
    upper: Tensor


def step_bounds(kernel: Kernel, excess: float) -> EntropyBounds:
    """The bounds for a kernel with its schedule, and data with ``excess`` = -E log pi(x_0) - H(pi).

    That is 0 for fair coins, and (E|x_0|^2 - d) / 2 for the Gaussian kernel; there (tr Cov x_0 - d) / 2, that of the
    centred data, does as well, and is never larger: the upper bound is then eq-kolm-entropy-repaired. At t = 1 the
    lower bound is minus infinity for a density, and 0 for bits. ValueError for an excess that is not finite.
    """
    if not np.isfinite(excess):
        raise ValueError(f"excess: {excess}: need a finite number of nats")
    T, alpha_bar = kernel.schedule.T, kernel.schedule.alpha_bar
    x = torch.zeros(kernel.dim, dtype=torch.float64)  # these entropies do not depend on where one stands
    given_start = torch.stack([kernel.marginal(x, t).entropy for t in range(T + 1)])
    step = torch.stack([kernel.step(x, t).entropy for t in range(1, T + 1)])
    lower = step + given_start[:-1] - given_start[1:]
    upper = step + (alpha_bar[:-1] - alpha_bar[1:]) * excess
    return EntropyBounds(*(torch.cat([x.new_full((1,), torch.nan), row]) for row in (lower, step, upper)))


def reverse_entropies(target: Mixture, kernel: Kernel) -> Tensor:
    """H_q(X_{t-1} | X_t) = H(X_t | X_{t-1}) + H(X_{t-1}) - H(X_t), (T+1,), for a target of known entropy; row 0 is NaN.

    For the Gaussian kernel: X_t is sqrt(alpha_bar_t) times the target blurred by tau_t; where alpha_bar_t is 0, pi.
    Raises ValueError for another kernel, or one of another dimension.
    """
    if not isinstance(kernel, GaussianKernel) or kernel.dim != target.dim:
        raise ValueError(
            f"kernel: need a GaussianKernel of dimension {target.dim}, got {type(kernel).__name__} {kernel.dim}"
        )
    half, at_pi = 0.5 * target.dim, float(kernel.prior.entropy)
    pairs = zip(kernel.schedule.log_alpha_bar.tolist(), kernel.schedule.tau.tolist(), strict=True)
    entropy = torch.tensor(
        [target.entropy(tau) + half * log if math.isfinite(tau) else at_pi for log, tau in pairs], dtype=torch.float64
    )
    step = step_bounds(kernel, 0.0).printed
    return torch.cat([step[:1], step[1:] + entropy[:-1] - entropy[1:]])


def enumerated(chains: FiniteChains) -> np.ndarray:
    """(4, T+1): H(X_{t-1} | X_t), then its lower bound, the printed upper one, and the repaired one; column 0 is NaN.

    All by sums over states, with E log pi(x_t) as it is; reversibility in pi is assumed.
    """
    out = np.full((4, chains.T + 1), np.nan)
    log_pi = chains.marginals @ np.log(chains.prior)  # E log pi(x_t), by t
    for t in range(1, chains.T + 1):
        step = -chains.marginals[t - 1] @ _plogp(chains.forward[t])
        given = [-chains.data @ _plogp(chains.leaps[s]) for s in (t - 1, t)]
        exact = -chains.marginals[t] @ _plogp(chains.reversal(t))
        out[:, t] = exact, step + given[0] - given[1], step, step + log_pi[t] - log_pi[t - 1]
    return out


def _plogp(laws: np.ndarray) -> np.ndarray:
    """sum p log p over the last axis, where 0 log 0 = 0."""
    return np.where(laws > 0, laws * np.log(np.where(laws > 0, laws, 1)), 0).sum(-1)
