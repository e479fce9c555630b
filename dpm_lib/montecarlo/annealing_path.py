"""The geometric path of annealing, from a density that is easy to one that is hard, and the moves along it.

log p_b(x) = (1 - b) log q(x) + b log p*(x), with an inverse temperature b from 0 (the proposal q) to 1 (the target p*,
known up to its normaliser). Moves are ``RandomWalk`` or any callable
``transition(path, x, ends, b, k, generator) -> (x, ends)`` that leaves p_b unchanged (b = b_k, k its index).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.target_densities import LogDensity, Proposal

Transition = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Path:
    """The geometric path between a proposal and a target; its ``ends`` are all that must be evaluated."""

    log_target: LogDensity
    proposal: Proposal

    def ends(self, x: Tensor) -> Tensor:
        """(n, d) -> (2, n): log q(x) and log p*(x), nats. ValueError for NaN or +infinity, with its place."""
        log_q = checks.log_density("proposal.log_prob", self.proposal.log_prob(x), x)
        return torch.stack([log_q, checks.log_density("log_target", self.log_target(x), x)])

    @staticmethod
    def log_prob(ends: Tensor, b: float) -> Tensor:
        """log p_b, unnormalised, from both ends: (2, n) -> (n,)."""
        if b == 0 or b == 1:
            return ends[int(b)]  # 0 times -infinity is not a number
        return (1 - b) * ends[0] + b * ends[1]

    @staticmethod
    def gain(ends: Tensor) -> Tensor:
        """d log p_b / db = log p*(x) - log q(x), (n,): what a unit of inverse temperature adds to a log weight."""
        return ends[1] - ends[0]


def metropolis_step(
    x: Tensor, ends: Callable[[Tensor], Tensor], ends_x: Tensor, b: float, step: Any, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One random-walk Metropolis step at inverse temperature b for every particle: reversible, leaves p_b unchanged.

    x (n, d), its ``ends_x`` (2, n); ``step`` is a standard deviation, or a Cholesky factor (d, d) of the covariance.
    Returns the new x and ends, and who moved, (n,) boolean. One evaluation of ``ends`` for each particle. The noise is
    drawn in float32, at a third of the time: any noise will do whose law is that of its negative. ValueError for b < 0,
    and for a step that is not positive and finite.
    """
    checks.between("b", float(b), 0)
    checks.walk_step("step", step)
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float32, device=x.device).to(x.dtype)
    y = x + (noise @ step.mT if isinstance(step, Tensor) and step.ndim == 2 else noise * step)
    ends_y = ends(y)
    rise = Path.log_prob(ends_y, b) - Path.log_prob(ends_x, b)
    moved = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device).log() < rise
    return torch.where(moved[:, None], y, x), torch.where(moved, ends_y, ends_x), moved


@dataclass(frozen=True)
class RandomWalk:
    """``moves`` Metropolis steps; ``steps`` is one standard deviation, or one per temperature k = 0..K: (K+1,), or
    Cholesky factors (K+1, d, d). They are fixed before the run: see ``temperature_ladder``. In units of x: the
    default, 1, fits targets about as wide as 1. ValueError for other shapes, and for what is not positive."""

    steps: float | Tensor = 1.0
    moves: int = 1

    def __post_init__(self) -> None:
        checks.count("moves", self.moves)
        if not isinstance(self.steps, int | float):
            object.__setattr__(self, "steps", checks.tensor("steps", self.steps))
        shape = tuple(self.steps.shape) if isinstance(self.steps, Tensor) else ()
        if len(shape) == 2 or len(shape) > 3 or shape[1:2] != shape[2:]:
            raise ValueError(f"steps: shape {shape}: need one number, (K+1,) or (K+1, d, d)")
        checks.walk_step("steps", self.steps)

    def __call__(
        self, path: Path, x: Tensor, ends: Tensor, b: float, k: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        step = self.steps
        if isinstance(step, Tensor) and step.ndim:
            if k >= len(step):
                raise ValueError(f"steps: {len(step)} of them: need one per temperature, for k = {k} too")
            step = step[k]
        for _ in range(self.moves):
            x, ends, _ = metropolis_step(x, path.ends, ends, b, step, generator)
        return x, ends


def next_temperature(log_weights: Tensor, gain: Tensor, b: float, keep: float = 0.9) -> float:
    """The next b at which the conditional effective sample size (sum W v)^2 / sum W v^2 falls to ``keep``, or 1.

    ``log_weights`` (n,) and ``gain`` (n,), nats. W are the normalised weights so far, and v = exp[(b' - b) gain] what
    the step adds. By bisection; Zhou et al. 2016. Particles where the target is zero are lost at any step, however
    small: they do not count. ValueError for ``keep`` outside of (0, 1), or b outside of [0, 1].
    """
    checks.inside("keep", keep, 0, 1)
    checks.between("b", b, 0, 1)
    inside = (gain > -torch.inf) & (log_weights > -torch.inf)
    if not inside.any():
        return 1.0
    log_weights, gain = log_weights[inside], gain[inside]
    log_share, gain = torch.log_softmax(log_weights, 0), gain - gain.max()  # large numbers would cancel all digits

    def kept(width: float) -> float:
        once = torch.logsumexp(log_share + width * gain, 0)
        return float((2 * once - torch.logsumexp(log_share + 2 * width * gain, 0)).exp())

    low, high = 0.0, 1 - b
    if kept(high) >= keep:
        return 1.0
    while high - low > 1e-3 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if kept(middle) >= keep else (low, middle)
    return b + high


def cloud_step(x: Tensor, log_weights: Tensor) -> Tensor:
    """Cholesky factor (d, d) of 2.38^2 / d times the weighted covariance of x (n, d): a good random walk, if the
    cloud is about normal (Roberts, Gelman and Gilks 1997). It follows the units of each coordinate: what is added to
    keep it regular, 1e-9, is added to the correlations."""
    d, dtype = x.shape[1], x.dtype
    share = torch.softmax(log_weights, 0)[:, None]
    centred = x - (share * x).sum(0)
    size = centred.abs().amax(0)  # of each coordinate, so that no unit makes its square too small or large
    scaled = centred / torch.where(size > 0, size, 1.0)
    covariance = (share * scaled).mT @ scaled
    std = covariance.diagonal().sqrt()
    one = torch.eye(d, dtype=dtype, device=x.device)
    correlation = covariance / torch.where(std > 0, std, 1.0).outer(torch.where(std > 0, std, 1.0))
    least = 1e-9 + 10 * d * torch.finfo(dtype).eps
    factor = torch.linalg.cholesky(torch.where(one > 0, 1 + least, correlation))
    return 2.38 / math.sqrt(d) * (size * std)[:, None] * factor


def checked_temperatures(temperatures: Any) -> list[float]:
    """Inverse temperatures as a list: ValueError unless they increase from 0 to 1, naming the index."""
    values = checks.tensor("temperatures", temperatures).to(torch.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"temperatures: shape {tuple(values.shape)}: need at least the two ends 0 and 1, in a row")
    b = values.tolist()
    for k, wanted in ((0, 0.0), (len(b) - 1, 1.0)):
        if b[k] != wanted:
            raise ValueError(f"temperatures: {b[k]} at index {k}: need them to run from 0 to 1")
    for k in range(1, len(b)):
        if not b[k] > b[k - 1]:
            raise ValueError(f"temperatures: {b[k]} at index {k} after {b[k - 1]}: need them to increase")
    return b
