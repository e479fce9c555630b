"""The bound K on the log likelihood, term by term, and how good it can be.

For data x_0 ~ q and a model p with the edge kernel p(x_0 | x_1) = T_pi(x_0 | x_1; beta_1),

    E log p(x_0) >= K = E log pi(x_T) + E log [pi(x_0) / pi(x_1)] + H_q(X_T | X_0) - H_q(X_1 | X_0)
                        - sum_{t=2}^T E D_KL( q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t) ).

The 2015 paper prints -H_p(X_T) for the first two terms together, which holds when E|x_0|^2 = d. Every expectation here
is exact given x_0 except the KL terms, which take one draw of x_t for each x_0 and t.
"""

import math
from dataclasses import dataclass

import torch
from scipy.stats import qmc
from torch import Tensor

from dpm_lib.diffusion import DiffusionModel, _as_state
from dpm_lib.distributions import Mixture
from dpm_lib.kernels import LOG_2PI, GaussianKernel
from dpm_lib.schedules import Schedule, from_tau

LN2 = math.log(2)


@dataclass(frozen=True)
class BoundTerms:
    """The terms of K for each of n data points, in nats: estimates of K(x_0) <= log p(x_0).

    ``kl`` (T+1, n): row t is D_KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) at one draw of x_t; rows 0 and 1 are zero.
    ``prior`` (n,): E[log pi(x_T) | x_0].  ``edge`` (n,): E[log pi(x_0) - log pi(x_1) | x_0].
    ``entropy_T`` and ``entropy_1``: H_q(X_T | X_0) and H_q(X_1 | X_0).
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
    """Every term of K for each row of ``x0`` (n, d). Costs T-1 network calls on n points."""
    x0 = _as_state(x0, model.kernel.dim)
    with torch.no_grad():
        kl = [torch.zeros_like(x0[:, 0])] * 2
        for t in range(2, model.T + 1):
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
            kl.append(step_kl(model, x0, t, noise))
        return BoundTerms(torch.stack(kl), *ends(model.kernel, x0))


def step_kl(model: DiffusionModel, x0: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
    """D_KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), (n,), nats, at the x_t made of standard normal ``noise`` (n, d).

    For t >= 2: one int, or an integer tensor (n,).
    """
    kernel = model.kernel
    xt = kernel.marginal(x0, t).from_noise(noise)
    return kernel.posterior(x0, xt, t).kl(model.reverse(xt, t, kernel))


def ends(kernel: GaussianKernel, x0: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The terms of K that no network enters: prior, edge (n,), H_q(X_T | X_0), H_q(X_1 | X_0), in closed form."""
    d, square = kernel.dim, x0.square().sum(-1)
    schedule = kernel.schedule
    first, last = schedule.log_alpha_bar[1], schedule.log_alpha_bar[-1]
    prior = -0.5 * (d * LOG_2PI + last.exp() * square - d * torch.expm1(last))
    edge = -0.5 * torch.expm1(first) * (d - square)
    zero = torch.zeros_like(x0[0])
    return prior, edge, kernel.marginal(zero, schedule.T).entropy, kernel.marginal(zero, 1).entropy


def estimate(model: DiffusionModel, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """An unbiased estimate of K(x_0) from one time per row, (n,), nats: the objective of training.

    ``t`` (n,) holds times that are uniform on 2..T over the batch; the sum over t becomes (T-1) times a mean.
    """
    prior, edge, entropy_T, entropy_1 = ends(model.kernel, x0)
    return prior + edge + entropy_T - entropy_1 - (model.T - 1) * step_kl(model, x0, t, noise)


def ceiling(target: Mixture, schedule: Schedule) -> float:
    """What K can reach at most, whatever the network and T: -H(X_1) + beta_1 (d - E|x_0|^2) / 2, nats.

    The edge kernel is fixed, so the model can do no better than to get the law of x_1 right.
    """
    beta_1 = float(schedule.beta[1])
    entropy_1 = target.entropy(float(schedule.tau[1])) + 0.5 * target.dim * math.log1p(-beta_1)
    return -entropy_1 + 0.5 * beta_1 * (target.dim - target.mean_square)


class BestReverse:
    """The best Gaussian reverse kernel for a known target. Its moments are exact: what is lost is due to T and form.

    Tabulates the variances of x_0 given x_t at ``levels`` values of log tau, at ``n`` quasi-random points (scrambled
    Sobol, so ``n`` is best a power of two) that are shared by all levels. With k = 1/tau_{t-1} - 1/tau_t, the least
    possible KL of a step is

        KL_t = 1/2 E sum_i log(1 + k c_i(x_t)),

    where c are the eigenvalues of Cov[x_0 | x_t] for a full covariance, its diagonal for a diagonal one, and, for one
    constant per t, the mean of its trace over both x_t and dimensions.
    """

    FORMS = ("full", "diagonal", "isotropic", "constant")

    def __init__(self, target: Mixture, tau_1: float, tau_T: float, levels: int = 120, n: int = 1024, seed: int = 0):
        self.target = target
        self.log_tau = torch.linspace(math.log(tau_1), math.log(tau_T), levels, dtype=torch.float64)
        uniform = torch.as_tensor(qmc.Sobol(target.dim + 1, rng=seed).random(n)).clamp(1e-12, 1 - 1e-12)
        taus = self.log_tau.exp().tolist()
        covariance = torch.stack([target.posterior_covariance(target.transport(uniform, t), t) for t in taus])
        diagonal = covariance.diagonal(dim1=-2, dim2=-1)
        trace = diagonal.mean(-1, keepdim=True).expand_as(diagonal)
        self.variances = {  # each (levels, n or 1, d)
            "full": torch.linalg.eigvalsh(covariance).clamp(min=1e-300),
            "diagonal": diagonal,
            "isotropic": trace,
            "constant": trace.mean(1, keepdim=True),
        }

    def step_costs(self, covariance: str) -> Tensor:
        """Least KL of a step from level j down to level i, (levels, levels), nats; infinite unless i < j."""
        if covariance not in self.FORMS:
            raise ValueError(f"covariance: {covariance!r} is not one of {', '.join(self.FORMS)}")
        variances = self.variances[covariance]
        snr = (-self.log_tau).exp()
        cost = torch.full((len(snr), len(snr)), math.inf, dtype=torch.float64)
        for j in range(1, len(snr)):
            k = (snr[:j] - snr[j]).reshape(-1, 1, 1)
            cost[:j, j] = 0.5 * torch.log1p(k * variances[j]).sum(-1).mean(-1)
        return cost

    def bound(self, path: Tensor, cost: Tensor) -> float:
        """K of the best kernel, nats, when the schedule visits the levels ``path`` (T,), the first being level 0."""
        schedule = self.schedule(path)
        d, square = self.target.dim, self.target.mean_square
        zero = torch.full((1, d), math.sqrt(square / d), dtype=torch.float64)
        prior, edge, entropy_T, entropy_1 = ends(GaussianKernel(d, schedule), zero)
        return float(prior + edge + entropy_T - entropy_1) - float(cost[path[:-1], path[1:]].sum())

    def schedule(self, path: Tensor) -> Schedule:
        """The schedule that visits the levels ``path``."""
        return from_tau(torch.cat([torch.zeros(1, dtype=torch.float64), self.log_tau[path].exp()]))

    def best_schedule(self, T: int, covariance: str) -> tuple[Schedule, float]:
        """The schedule of T steps from level 0 with the largest K, and that K in nats, by dynamic programming."""
        cost = self.step_costs(covariance)
        levels = len(self.log_tau)
        if not 2 <= T <= levels:
            raise ValueError(f"T: {T} steps do not fit on {levels} levels")
        total = torch.full((levels,), math.inf, dtype=torch.float64)
        total[0] = 0
        came_from = []
        for _ in range(T - 1):
            total, choice = (total.unsqueeze(1) + cost).min(0)
            came_from.append(choice)
        paths = []
        for end in range(T - 1, levels):
            path = [end]
            for choice in reversed(came_from):
                path.append(int(choice[path[-1]]))
            paths.append(torch.tensor(path[::-1]))
        best = max(paths, key=lambda path: self.bound(path, cost))
        return self.schedule(best), self.bound(best, cost)
