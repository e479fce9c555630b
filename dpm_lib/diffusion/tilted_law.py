"""The law that guidance is hoped to draw, P_0^(1-w) Q_0^w / Z on the line, by quadrature on a fine grid.

P is the law of all data, Q that of a class, so that this is p(x) p(c | x)^w / Z. As a mixture of narrow places it has a
density, a score and a guess of x_0 at every level of noise: the right twist of chapter "Posteriors", for any sampler.
"""

import math

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.mixtures import Mixture, finite_set
from dpm_lib.sde.chain_law import LineLaw

REACH = 12.0  # standard deviations of a component beyond the outermost centre of the tilt
FAINT = 1e-13  # at most, of the largest density at the ends of the grid; and mass that makes no place


class TiltedLaw:
    """P^(1-w) Q^w / Z on the line, for mixtures ``conditional`` Q and ``unconditional`` P. {eq}`def-st-tilt`.

    ``z`` (m,) are even places, ``per_sd`` to the narrower of the two components' standard deviations; ``density`` (m,)
    is normalised, ``log_z`` = log of the integral of P^(1-w) Q^w, nats. ValueError for mixtures that are not on the
    line or without width, a w that is negative or not finite, and where the integral is not finite, as it may be for
    w > 1 and a Q that is wider than P.
    """

    def __init__(self, conditional: Mixture, unconditional: Mixture, w: float, per_sd: int = 40) -> None:
        self.w = checks.between("w", w, 0)
        for name, law in (("conditional", conditional), ("unconditional", unconditional)):
            if law.dim != 1 or law.variance == 0:
                raise ValueError(f"{name}: dimension {law.dim}, variance {law.variance}: need 1, and a positive one")
        centers = torch.cat([conditional.centers, unconditional.centers])[:, 0]
        narrow, wide = sorted([conditional.variance**0.5, unconditional.variance**0.5])
        beyond = (1 + w) * float(centers.max() - centers.min()) + REACH * wide
        count = math.ceil((float(centers.max() - centers.min()) + 2 * beyond) / narrow * checks.count("per_sd", per_sd))
        low, high = float(centers.min()) - beyond, float(centers.max()) + beyond
        self.z = torch.linspace(low, high, count + 1, dtype=torch.float64)
        points = self.z.unsqueeze(1)
        log_rho = (1 - self.w) * unconditional.log_prob(points) + self.w * conditional.log_prob(points)
        if float(torch.maximum(log_rho[0], log_rho[-1]) - log_rho.max()) > math.log(FAINT):
            raise ValueError(f"w: {self.w}: P^(1-w) Q^w does not fade away from the data, and has no finite integral")
        spacing = float(self.z[1] - self.z[0])
        self.log_z = float(torch.logsumexp(log_rho, 0)) + math.log(spacing)
        self.density = (log_rho - self.log_z).exp()

    def mean(self) -> float:
        """E[x]."""
        return float(self._mass() @ self.z)

    def std(self) -> float:
        """The standard deviation of x."""
        return math.sqrt(float(self._mass() @ (self.z - self.mean()).square()))

    def law(self) -> LineLaw:
        """The distribution function at the places, (m,): Simpson's rule between them, on the density's own slopes."""
        h = self.z[1] - self.z[0]
        slope = torch.gradient(self.density, spacing=float(h), edge_order=2)[0]
        steps = 0.5 * h * (self.density[1:] + self.density[:-1]) + h * h / 12 * (slope[:-1] - slope[1:])
        return LineLaw(self.z, torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)]))

    def places(self) -> Mixture:
        """The same law as a finite set of its places: with noise wider than a few of their gaps it is exact."""
        mass = self._mass()
        kept = mass > FAINT
        return finite_set(self.z[kept].unsqueeze(1), mass[kept])

    def _mass(self) -> Tensor:
        return self.density * (self.z[1] - self.z[0])
