"""Sequential Monte Carlo: annealed importance sampling that resamples on the way, where weights grow unequal."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.montecarlo.ais import _walk
from dpm_lib.montecarlo.annealing_path import (
    Path,
    Transition,
    checked_temperatures,
    cloud_step,
    metropolis_step,
    next_temperature,
)
from dpm_lib.probability.resampling import ResampledSamples, effective_size, resample
from dpm_lib.probability.target_densities import LogDensity, Proposal, drawn
from dpm_lib.probability.weighted_samples import WeightedSamples


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
    """AIS whose particles (n, d) are resampled (systematically) when their effective size falls below threshold * n.

    Without ``temperatures`` each next one is found by bisection, so that the conditional effective sample size is
    ``keep`` * n. Without ``transition`` the moves are random walks shaped like the weighted cloud. At a resampling
    all weights become their mean: so ``log_z`` of the result is right with no more ado. E[w] = Z holds with fixed
    temperatures and transition. Adapting either to the particles costs a bias that vanishes as n grows, and is less
    than the error where the moves mix well. It need not be where they do not, as from a proposal narrower than the
    target: then raise ``moves`` or ``keep`` until the answer stays; repeated runs are all off by the same.
    With ``chain`` > 1 it is waste-free: at a resampling only n // chain parents are drawn, each walks chain - 1 moves,
    and every state on the way is a particle, (n // chain) chain of them. Particles of one chain are dependent, but
    E[w] = Z still holds (Dau and Chopin 2022).
    At b = 1 the weights are returned as they are: to resample or move once more would cost, and say nothing of Z. So
    ``x`` alone are not draws of the target, they go with their weights (draw again with ``probabilities``).
    ``callback(b, x, log_weights, step)`` sees each temperature after its move. ValueError for numbers that make no
    sense, for a bad log density, and where the proposal misses the target. Del Moral, Doucet and Jasra 2006.
    """
    given = None if temperatures is None else checked_temperatures(temperatures)
    chain, moves = checks.count("chain", chain), checks.count("moves", moves)
    checks.between("threshold", threshold, 0, 1)
    checks.inside("keep", keep, 0, 1)
    path, b, k, scale = Path(log_target, proposal), 0.0, 0, 1.0
    if chain > 1 and (transition is not None or n < 2 * chain):
        raise ValueError(f"chain: {chain}: needs n >= 2 chain (n is {n}), and the built-in moves")
    x = drawn(proposal, n, generator)
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
