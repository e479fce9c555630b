"""The temperature ladder of annealed importance sampling: how many, which, and with what steps, from a pilot run."""

import math
from typing import SupportsIndex

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.montecarlo.ais import reverse_annealed_importance_sampling
from dpm_lib.montecarlo.annealing_path import RandomWalk, checked_temperatures
from dpm_lib.montecarlo.smc import sequential_monte_carlo
from dpm_lib.probability.target_densities import LogDensity, Proposal


def tune(
    log_target: LogDensity,
    proposal: Proposal,
    n: int,
    generator: torch.Generator,
    temperatures: Tensor | SupportsIndex | None = None,
) -> tuple[Tensor, RandomWalk]:
    """Temperatures (K+1,) and random-walk steps for AIS, from a pilot run of n particles that is then thrown away.

    The pilot is adaptive SMC of S temperatures. An integer asks for K of them, spread as the pilot's were; None asks
    ``best_number``, with one temperature and with S^2 tried on paths walked back from the pilot's particles. The main
    run uses fresh randomness and leaves what it is given as it is, so that its E[w] = Z holds exactly. ValueError for
    fewer than one temperature.
    """
    number = isinstance(temperatures, SupportsIndex) and not isinstance(temperatures, Tensor)
    if number:
        temperatures = checks.count("temperatures", temperatures)
    given = None if number or temperatures is None else checked_temperatures(temperatures)
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
    if given is None:
        return plan(_spread(found, int(temperatures)))
    return plan(torch.tensor(given, dtype=torch.float64))


def best_number(v_one: float, trial: int, v_trial: float, aim: float = 0.25) -> int:
    """One temperature, or how many: from v = 2 KL(P || Q) with one, and with ``trial``; P and Q as in eq-ais-telescope.

    For Gaussian log w, E[w^2] = Z^2 e^v. N evaluations buy N / K particles, and so a variance (e^v - 1) K / N of log Z.
    While the moves keep up, v falls as 1 / K: then v = ``aim`` is reached at K = trial v_trial / aim, and K (e^v - 1)
    is there within (e^aim - 1) / aim = 1.14 of its least. But where moves seldom cross from mode to mode, v falls late,
    and the temperatures are paid for in particles: one is chosen if its K e^v is smaller. ValueError for
    ``trial`` < 1 or an ``aim`` that is not positive. {eq}`eq-ais-cost`.
    """
    trial = checks.count("trial", trial)
    checks.positive("aim", aim)
    many = max(trial, math.ceil(trial * v_trial / aim))
    return 1 if v_one < math.log(many) + aim else many


def _spread(found: Tensor, K: int) -> Tensor:
    """K + 1 temperatures, as many between two that were found as between any other two."""
    at = torch.linspace(0, len(found) - 1, K + 1, dtype=torch.float64)
    low = at.floor().long().clamp(max=len(found) - 2)
    chosen = torch.lerp(found[low], found[low + 1], at - low)
    chosen[-1] = 1.0
    return chosen
