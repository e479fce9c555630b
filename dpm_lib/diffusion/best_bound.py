"""How good the bound K can be, whatever the network: its ceiling, and the best Gaussian reverse kernels.

Both need a target whose posterior moments are known exactly, at every noise level.
"""

import math

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.diffusion.best_bound_bits import BitBound
from dpm_lib.diffusion.bound import ends
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.schedules import Schedule, from_tau
from dpm_lib.information.mmse import covariance as moments
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.probability.mixtures import Mixture


def ceiling(target: Mixture | Codebook, schedule: Schedule) -> float:
    """What K can reach at most, whatever the network and T: -H(X_1) + beta_1 (d - E|x_0|^2) / 2, nats.

    The edge kernel is fixed, so the model can do no better than to get the law of x_1 right. For bits it is -H(X_1).
    """
    if isinstance(target, Codebook):
        return BitBound(target).ceiling(schedule)
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
    constant per t, the mean of its trace over both x_t and dimensions. ValueError for a tau that is not positive, and
    fewer than two levels.
    """

    FORMS = ("full", "diagonal", "isotropic", "constant")

    def __init__(self, target: Mixture, tau_1: float, tau_T: float, levels: int = 120, n: int = 1024, seed: int = 0):
        checks.positive("tau_1", tau_1)
        checks.positive("tau_T", tau_T)
        levels = checks.count("levels", levels, 2)
        self.target = target
        self.log_tau = torch.linspace(math.log(tau_1), math.log(tau_T), levels, dtype=torch.float64)
        self.variances = _variances(target, self.log_tau.exp(), n, seed)

    def step_costs(self, covariance: str) -> Tensor:
        """Least KL of a step from level j down to level i, (levels, levels), nats; infinite unless i < j.

        ValueError for a form that is none of ``FORMS``.
        """
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
        return self._ends(path[-1]) - float(cost[path[:-1], path[1:]].sum())

    def schedule(self, path: Tensor) -> Schedule:
        """The schedule that visits the levels ``path`` (T,)."""
        return from_tau(torch.cat([torch.zeros(1, dtype=torch.float64), self.log_tau[path].exp()]))

    def best_schedule(self, T: int, covariance: str) -> tuple[Schedule, float]:
        """The schedule of T steps from level 0 with the largest K, and that K in nats, by dynamic programming.

        ValueError where T steps do not fit on the levels.
        """
        cost = self.step_costs(covariance)
        levels = len(self.log_tau)
        if not 2 <= T <= levels:
            raise ValueError(f"T: {T} steps do not fit on {levels} levels")
        total = torch.full((levels,), math.inf, dtype=torch.float64)  # least sum of KL from level 0, by level
        total[0] = 0
        came_from = []
        for _ in range(T - 1):
            total, choice = (total.unsqueeze(1) + cost).min(0)
            came_from.append(choice)
        K = [self._ends(last) - float(total[last]) for last in range(1, levels)]
        path = [1 + K.index(max(K))]
        for choice in reversed(came_from):
            path.append(int(choice[path[-1]]))
        best = torch.tensor(path[::-1])
        return self.schedule(best), self.bound(best, cost)

    def _ends(self, last: int | Tensor) -> float:
        """The terms of K other than the KL, nats: they depend on level 0 and on the last level alone."""
        return fixed_terms(self.target, self.schedule(torch.tensor([0, int(last)])))


def best_bound(target: Mixture, schedule: Schedule, covariance: str = "full", n: int = 1024, seed: int = 0) -> float:
    """K of the best Gaussian reverse kernel of this form for any given schedule, nats; tau_T may be infinite.

    The same quasi-random points as ``BestReverse``: its error shows in the spread over seeds. ValueError for a form
    that is none of ``BestReverse.FORMS``.
    """
    if covariance not in BestReverse.FORMS:
        raise ValueError(f"covariance: {covariance!r} is not one of {', '.join(BestReverse.FORMS)}")
    variances, snr = _variances(target, schedule.tau[2:], n, seed)[covariance], schedule.snr[1:]
    costs = 0.5 * torch.log1p((snr[:-1] - snr[1:]).reshape(-1, 1, 1) * variances).sum(-1).mean(-1)
    return fixed_terms(target, schedule) - float(costs.sum())


def _variances(target: Mixture, tau: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    """Of x_0 given x_t, as each covariance form has them, at ``tau`` (m,): (m, n or 1, d)."""
    from scipy.stats import qmc  # here, for it is slow to import

    uniform = torch.as_tensor(qmc.Sobol(target.dim + 1, rng=seed).random(checks.count("n", n))).clamp(1e-12, 1 - 1e-12)

    def of_x0(t: float) -> Tensor:
        if math.isinf(t):  # x_t says nothing
            return moments(target).expand(n, target.dim, target.dim)
        return target.posterior_covariance(target.transport(uniform, t), t)

    covariance = torch.stack([of_x0(t) for t in tau.tolist()])
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.mean(-1, keepdim=True).expand_as(diagonal)
    return {
        "full": torch.linalg.eigvalsh(covariance).clamp(min=1e-300),
        "diagonal": diagonal,
        "isotropic": trace,
        "constant": trace.mean(1, keepdim=True),
    }


def fixed_terms(target: Mixture, schedule: Schedule) -> float:
    """The terms of K that no network enters, nats: the prior, the edge, and the two entropies of q."""
    x0 = torch.full((1, target.dim), math.sqrt(target.mean_square / target.dim), dtype=torch.float64)
    prior, edge, entropy_T, entropy_1 = ends(GaussianKernel(target.dim, schedule), x0)
    return float(prior + edge + entropy_T - entropy_1)
