"""Annealing: from a density that is easy to one that is hard, by way of everything in between.

The path is geometric, log p_b(x) = (1 - b) log q(x) + b log p*(x), with an inverse temperature b from 0 (the proposal
q) to 1 (the target p*, known up to its normaliser Z). A particle starts in q, is moved a little at each temperature,
and collects log w = sum_k (b_k - b_{k-1}) [log p*(x_{k-1}) - log q(x_{k-1})]. Then E[w] = Z exactly, whatever the
number of temperatures and however badly the moves mix (Neal 2001; Jarzynski 1997 with the work W = -log w).

``simulated_annealing`` only searches. ``annealed_importance_sampling`` keeps the weights, its reverse bounds log Z from
the other side, and ``sequential_monte_carlo`` resamples on the way. Moves are ``RandomWalk`` or any callable
``transition(path, x, ends, b, k, generator) -> (x, ends)`` that leaves p_b unchanged (b = b_k, k its index).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dpm_lib.kernels import LOG_2PI
from dpm_lib.weights import WeightedSamples

LogDensity = Callable[[Tensor], Tensor]
Transition = Callable[..., tuple[Tensor, Tensor]]


class Proposal(Protocol):
    """What a path starts from: ``targets.StandardNormal``, ``Normal`` below, or any like them."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor: ...

    def log_prob(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Normal:
    """N(0, std^2 I) in ``dim`` dimensions: a proposal as wide as one likes."""

    dim: int
    std: float = 1.0

    def log_prob(self, x: Tensor) -> Tensor:
        """(n, dim) -> (n,), nats."""
        return -0.5 * x.square().sum(-1) / self.std**2 - self.dim * (0.5 * LOG_2PI + math.log(self.std))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, dim) independent draws."""
        shape = (n, self.dim)
        return self.std * torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)


@dataclass(frozen=True)
class Path:
    """The geometric path between a proposal and a target; its ``ends`` are all that must be evaluated."""

    log_target: LogDensity
    proposal: Proposal

    def ends(self, x: Tensor) -> Tensor:
        """(n, d) -> (2, n): log q(x) and log p*(x), nats. ValueError for NaN or +infinity, with its place."""
        return torch.stack(
            [_checked("proposal.log_prob", self.proposal.log_prob(x), x), _checked("log_target", self.log_target(x), x)]
        )

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


class ResampledSamples(WeightedSamples):
    """Particles that were resampled on the way: ``log_z`` and ``mean`` are right, but they are not independent, so that
    their weights no longer tell the error of either."""

    @property
    def log_z_stderr(self) -> Tensor:
        """Raises TypeError: only repeated runs tell."""
        raise TypeError("log_z_stderr: resampled particles are not independent; repeat the run, and compare")


def metropolis_step(
    x: Tensor, ends: Callable[[Tensor], Tensor], ends_x: Tensor, b: float, step: Any, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One random-walk Metropolis step at inverse temperature b for every particle: reversible, leaves p_b unchanged.

    x (n, d), its ``ends_x`` (2, n); ``step`` is a standard deviation, or a Cholesky factor (d, d) of the covariance.
    Returns the new x and ends, and who moved, (n,) boolean. One evaluation of ``ends`` for each particle. The noise is
    drawn in float32, at a third of the time: any noise will do whose law is that of its negative.
    """
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float32, device=x.device).to(x.dtype)
    y = x + (noise @ step.mT if isinstance(step, Tensor) and step.ndim == 2 else noise * step)
    ends_y = ends(y)
    rise = Path.log_prob(ends_y, b) - Path.log_prob(ends_x, b)
    moved = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device).log() < rise
    return torch.where(moved[:, None], y, x), torch.where(moved, ends_y, ends_x), moved


@dataclass(frozen=True)
class RandomWalk:
    """``moves`` Metropolis steps; ``steps`` is one standard deviation, or one per temperature k = 0..K: (K+1,), or
    Cholesky factors (K+1, d, d). They are fixed before the run: see ``tune``."""

    steps: float | Tensor = 1.0
    moves: int = 1

    def __call__(
        self, path: Path, x: Tensor, ends: Tensor, b: float, k: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        step = self.steps[k] if isinstance(self.steps, Tensor) and self.steps.ndim else self.steps
        for _ in range(self.moves):
            x, ends, _ = metropolis_step(x, path.ends, ends, b, step, generator)
        return x, ends


def simulated_annealing(
    energy: LogDensity, x: Tensor, temperatures: Tensor, generator: torch.Generator, step: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Search for low energy: Metropolis on exp(-energy / temperature) while the temperature falls.

    x (n, d) are n starts; ``temperatures`` (K,) positive and not rising. Returns the best place each walker saw,
    (n, d), and its energy, (n,). No weights: where the walkers end is a distribution of no particular use.
    Kirkpatrick, Gelatt and Vecchi 1983.
    """
    falling = _checked_cooling(temperatures)

    def ends(y: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(y[:, 0]), _checked("-energy", -energy(y), y)])

    ends_x = ends(x)
    best, lowest = x, -ends_x[1]
    for temperature in falling:
        x, ends_x, _ = metropolis_step(x, ends, ends_x, 1 / temperature, step, generator)
        better = -ends_x[1] < lowest
        best, lowest = torch.where(better[:, None], x, best), torch.where(better, -ends_x[1], lowest)
    return best, lowest


@torch.no_grad()
def annealed_importance_sampling(
    log_target: LogDensity,
    proposal: Proposal,
    temperatures: Tensor,
    n: int,
    generator: torch.Generator,
    transition: Transition | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> WeightedSamples:
    """n independent particles down the path, with weights: E[w] = Z, and weighted averages are those of the target.

    Provided that the proposal is positive wherever the target is: what it cannot reach is missing from Z.

    ``temperatures`` (K+1,) increase from 0 to 1. ``callback(k, x, log_weights)`` sees each k = 0..K, after its move.
    Costs n [1 + (K-1) moves] evaluations. {eq}`eq-ais-unbiased`; Neal 2001.
    """
    b = checked_temperatures(temperatures)
    path, move = Path(log_target, proposal), transition or RandomWalk()
    x = proposal.sample(_checked_n(n), generator)
    ends = path.ends(x)
    log_weights = torch.zeros(n, dtype=x.dtype, device=x.device)
    for k in range(1, len(b)):
        if callback:
            callback(k - 1, x, log_weights)
        log_weights = log_weights + (b[k] - b[k - 1]) * path.gain(ends)
        if k < len(b) - 1:
            x, ends = move(path, x, ends, b[k], k, generator)
    if callback:
        callback(len(b) - 1, x, log_weights)
    return WeightedSamples(x, log_weights)


@torch.no_grad()
def reverse_annealed_importance_sampling(
    log_target: LogDensity,
    proposal: Proposal,
    temperatures: Tensor,
    x: Tensor,
    generator: torch.Generator,
    transition: Transition | None = None,
) -> WeightedSamples:
    """The same path walked back, from exact draws x (n, d) of the target: a bound on log Z from above.

    The weights are 1/w, so that -``elbo`` is on average at least log Z; and ``log_z`` estimates -log Z if the target is
    positive wherever the proposal is (else it is low: E[1/w] = Q(P > 0) / Z). The particles end near the proposal. The
    transition must be reversible (``RandomWalk`` is). {eq}`eq-ais-reverse`.
    """
    b = checked_temperatures(temperatures)
    path, move = Path(log_target, proposal), transition or RandomWalk()
    _checked_n(len(x))
    ends = path.ends(x)
    log_weights = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for k in range(len(b) - 1, 0, -1):
        log_weights = log_weights - (b[k] - b[k - 1]) * path.gain(ends)
        if k > 1:
            x, ends = move(path, x, ends, b[k - 1], k - 1, generator)
    return WeightedSamples(x, log_weights)


@torch.no_grad()
def sequential_monte_carlo(
    log_target: LogDensity,
    proposal: Proposal,
    n: int,
    generator: torch.Generator,
    temperatures: Tensor | None = None,
    *,
    threshold: float = 0.5,
    keep: float = 0.9,
    moves: int = 1,
    chain: int = 1,
    transition: Transition | None = None,
    callback: Callable[[float, Tensor, Tensor, Any], None] | None = None,
) -> WeightedSamples:
    """AIS whose particles are resampled (systematically) when the effective sample size falls below threshold * n.

    Without ``temperatures`` each next one is found by bisection, so that the conditional effective sample size is
    ``keep`` * n. Without ``transition`` the moves are random walks shaped like the weighted cloud. At a resampling
    all weights become their mean: so ``log_z`` of the result is right with no more ado. E[w] = Z holds with fixed
    temperatures and transition; adapting either to the particles costs a bias of order 1/n, less than the error.
    With ``chain`` > 1 it is waste-free: at a resampling only n // chain parents are drawn, each walks chain - 1 moves,
    and every state on the way is a particle, (n // chain) chain of them. Particles of one chain are dependent, but
    E[w] = Z still holds (Dau and Chopin 2022).
    At b = 1 the weights are returned as they are: to resample or move once more would cost, and say nothing of Z.
    ``callback(b, x, log_weights, step)`` sees each temperature after its move. Del Moral, Doucet and Jasra 2006.
    """
    given = None if temperatures is None else checked_temperatures(temperatures)
    if chain < 1:
        raise ValueError(f"chain: {chain}: must be at least 1")
    path, b, k, scale = Path(log_target, proposal), 0.0, 0, 1.0
    if chain > 1 and (transition is not None or n < 2 * chain):
        raise ValueError(f"chain: {chain}: needs n >= 2 chain (n is {n}), and the built-in moves")
    x = proposal.sample(_checked_n(n), generator)
    ends = path.ends(x)
    log_weights = torch.zeros(n, dtype=x.dtype, device=x.device)
    step: Any = None
    while b < 1:
        gain = path.gain(ends)
        k += 1
        b_next = next_temperature(log_weights, gain, b, keep) if given is None else given[k]
        log_weights = log_weights + (b_next - b) * gain
        b = b_next
        if torch.isneginf(log_weights).all():
            raise ValueError(f"log_target: minus infinity at all {n} particles: the proposal misses the target")
        if transition is None:
            step = cloud_step(x, log_weights)
        if b == 1:
            break
        if effective_size(log_weights) < threshold * n:
            x, ends, log_weights = resample(x, ends, log_weights, generator, n // chain)
            if chain > 1:
                x, ends = _walk(path, x, ends, b, step, chain, generator)
                log_weights = log_weights[:1].expand(len(x))
        if transition is not None:
            x, ends = transition(path, x, ends, b, k, generator)
        elif chain == 1:
            for _ in range(moves):
                x, ends, moved = metropolis_step(x, path.ends, ends, b, scale * step, generator)
                scale = min(2.0, scale * math.exp(2.0 * (float(moved.double().mean()) - 0.3)))
        if callback:
            callback(b, x, log_weights, None if step is None else scale * step)
    if callback:
        callback(1.0, x, log_weights, None if step is None else scale * step)
    return ResampledSamples(x, log_weights)


def effective_size(log_weights: Tensor) -> float:
    """(sum w)^2 / sum w^2 of (n,) log weights; 0 where every weight is."""
    top = torch.logsumexp(log_weights, 0)
    return 0.0 if top == -torch.inf else float((2 * top - torch.logsumexp(2 * log_weights, 0)).exp())


def _walk(
    path: Path, x: Tensor, ends: Tensor, b: float, step: Any, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """All the states of chains of ``length`` states that start in x (m, d): (m length, d), with their ends."""
    states, all_ends = [x], [ends]
    for _ in range(length - 1):
        x, ends, _ = metropolis_step(x, path.ends, ends, b, step, generator)
        states.append(x)
        all_ends.append(ends)
    return torch.cat(states), torch.cat(all_ends, 1)


def resample(
    x: Tensor, ends: Tensor, log_weights: Tensor, generator: torch.Generator, m: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Systematic resampling to m (or n): each particle gets m w_i / sum w copies, up to one; each the mean weight.

    E[mean of f(x) w] is the same before and after, for any f.
    """
    n = len(log_weights)
    total = torch.logsumexp(log_weights, 0)
    u = torch.rand(1, generator=generator, dtype=torch.float64, device=x.device)
    m = n if m is None else m
    places = (torch.arange(m, dtype=torch.float64, device=x.device) + u) / m
    share = (log_weights - total).double().exp().cumsum(0)
    index = torch.searchsorted(share / share[-1], places, right=True).clamp(max=n - 1)
    return x[index], ends[:, index], (total - math.log(n)).expand(m)


def next_temperature(log_weights: Tensor, gain: Tensor, b: float, keep: float = 0.9) -> float:
    """The next b at which the conditional effective sample size (sum W v)^2 / sum W v^2 falls to ``keep``, or 1.

    W are the normalised weights so far, and v = exp[(b' - b) gain] what the step adds. By bisection; Zhou et al. 2016.
    Particles where the target is zero are lost at any step, however small: they do not count.
    """
    if not 0 < keep < 1:
        raise ValueError(f"keep: {keep}: must lie in (0, 1)")
    inside = (gain > -torch.inf) & (log_weights > -torch.inf)
    if not inside.any():
        return 1.0
    log_weights, gain = log_weights[inside], gain[inside]
    log_share = torch.log_softmax(log_weights, 0)

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
    cloud is about normal (Roberts, Gelman and Gilks 1997)."""
    d = x.shape[1]
    share = torch.softmax(log_weights, 0)[:, None]
    centred = x - (share * x).sum(0)
    covariance = (share * centred).mT @ centred
    least = 1e-9 + 10 * torch.finfo(x.dtype).eps * covariance.diagonal().mean()
    return (
        2.38 / math.sqrt(d) * torch.linalg.cholesky(covariance + least * torch.eye(d, dtype=x.dtype, device=x.device))
    )


def tune(
    log_target: LogDensity,
    proposal: Proposal,
    n: int,
    generator: torch.Generator,
    temperatures: Tensor | int | None = None,
) -> tuple[Tensor, RandomWalk]:
    """Temperatures (K+1,) and random-walk steps for AIS, from a pilot run of n particles that is then thrown away.

    The pilot is adaptive SMC of S temperatures. An integer asks for K of them, spread as the pilot's were; None asks
    ``best_number``, with one temperature and with S^2 tried on paths walked back from the pilot's particles. The main
    run uses fresh randomness and leaves what it is given as it is, so that its E[w] = Z holds exactly.
    """
    seen: list[tuple[float, Tensor]] = []
    keep_step = lambda b, x, w, step: seen.append((b, step))  # noqa: E731
    pilot = sequential_monte_carlo(log_target, proposal, n, generator, keep=0.8, moves=3, callback=keep_step)
    found = torch.tensor([0.0, *(b for b, _ in seen)], dtype=torch.float64)
    steps = torch.stack([step for _, step in seen])

    def plan(b: Tensor) -> tuple[Tensor, RandomWalk]:
        return b, RandomWalk(steps[(b[:, None] - found[1:]).abs().argmin(1)])

    def excess(K: int, x: Tensor) -> float:
        b, walk = plan(_spread(found, K))
        back = reverse_annealed_importance_sampling(log_target, proposal, b, x, generator, walk)
        return -2 * float(back.elbo + pilot.log_z)

    if temperatures is None:
        x = pilot.x[torch.multinomial(pilot.probabilities, n, replacement=True, generator=generator)]
        trial = len(seen) ** 2
        temperatures = best_number(excess(1, x), trial, excess(trial, x[: max(2, n // 8)]))
    if isinstance(temperatures, int):
        return plan(_spread(found, temperatures))
    return plan(torch.tensor(checked_temperatures(temperatures), dtype=torch.float64))


def best_number(v_one: float, trial: int, v_trial: float, aim: float = 0.25) -> int:
    """One temperature, or how many: from v = 2 KL(P || Q) with one, and with ``trial``; P and Q as in eq-ais-telescope.

    For Gaussian log w, E[w^2] = Z^2 e^v. N evaluations buy N / K particles, and so a variance (e^v - 1) K / N of log Z.
    While the moves keep up, v falls as 1 / K: then v = ``aim`` is reached at K = trial v_trial / aim, and K (e^v - 1)
    is there within (e^aim - 1) / aim = 1.14 of its least. But where moves seldom cross from mode to mode, v falls late,
    and the temperatures are paid for in particles: one is chosen if its K e^v is smaller. {eq}`eq-ais-cost`.
    """
    many = max(trial, math.ceil(trial * v_trial / aim))
    return 1 if v_one < math.log(many) + aim else many


def _spread(found: Tensor, K: int) -> Tensor:
    """K + 1 temperatures, as many between two that were found as between any other two."""
    at = torch.linspace(0, len(found) - 1, K + 1, dtype=torch.float64)
    low = at.floor().long().clamp(max=len(found) - 2)
    chosen = torch.lerp(found[low], found[low + 1], at - low)
    chosen[-1] = 1.0
    return chosen


def checked_temperatures(temperatures: Any) -> list[float]:
    """Inverse temperatures as a list: ValueError unless they increase from 0 to 1, naming the index."""
    values = torch.as_tensor(temperatures, dtype=torch.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"temperatures: shape {tuple(values.shape)}: need at least the two ends 0 and 1, in a row")
    b = values.tolist()
    for k, wanted in ((0, 0.0), (len(b) - 1, 1.0)):
        if b[k] != wanted:
            raise ValueError(f"temperatures: {b[k]} at index {k}: they must run from 0 to 1")
    for k in range(1, len(b)):
        if not b[k] > b[k - 1]:
            raise ValueError(f"temperatures: {b[k]} at index {k} after {b[k - 1]}: they must increase")
    return b


def _checked_cooling(temperatures: Tensor) -> list[float]:
    values = torch.as_tensor(temperatures, dtype=torch.float64).reshape(-1).tolist()
    for k, value in enumerate(values):
        if not value > 0 or (k and value > values[k - 1]):
            raise ValueError(f"temperatures: {value} at index {k}: they must be positive, and not rise")
    if not values:
        raise ValueError("temperatures: none: need at least one")
    return values


def _checked_n(n: int) -> int:
    if n < 1:
        raise ValueError(f"n: {n}: need at least 1 particle")
    return n


def _checked(name: str, values: Tensor, x: Tensor) -> Tensor:
    """Log densities (n,) at x (n, d); ValueError for a wrong shape, NaN or +infinity, naming what and where."""
    if values.shape != x.shape[:-1]:
        raise ValueError(f"{name}: shape {tuple(values.shape)} for x of shape {tuple(x.shape)}")
    if not (values < torch.inf).all():
        i = int((~(values < torch.inf)).nonzero()[0])
        raise ValueError(f"{name}: {values[i].item()} at particle {i}, x = {x[i].tolist()}")
    return values
