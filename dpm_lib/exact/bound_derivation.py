"""The derivation of the bound, line by line: what each line is worth.

Ten lines lead from E log p(x_0) to the K that is trained, eq-bound-line-1 to eq-bound-line-10. ``lines`` evaluates all
of them exactly, on chains so small that every path can be listed; ``sampled`` draws the lines from 3 on for any model,
trajectory by trajectory; ``gaussian`` has them in closed form for Gaussian data. All in nats.

A line is a mapping from the names of its terms to their values; its value is their sum.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core.constants import LOG_2PI
from dpm_lib.core.types import Array
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.exact.enumeration import FiniteChains

NUMBERS = range(1, 11)


def lines(chains: FiniteChains) -> dict[int, dict[str, float]]:
    """Every line of the derivation, {number: {term: value}}, exactly, by sums over all paths.

    Lines 5 to 10 presuppose the edge step: p(x_0 | x_1) is the forward kernel turned round, reversible in the prior.
    Line 10 equals them only if E log pi(x_0) = -H(pi).
    """
    mean, steps, T = chains.mean, range(2, chains.T + 1), chains.T
    with np.errstate(divide="ignore"):
        weights, laws = chains.weight_laws
        likelihood = over_data(chains, np.log(chains.model_law))
        summed = over_data(chains, np.log((weights * laws).sum(1)))
    out = {1: {"log p": likelihood}, 2: {"log E w": summed}}
    for number, terms in path_lines(chains).items():
        out[number] = {name: mean(values) for name, values in terms.items()}
    ends = {"entropy T": entropy_given_start(chains, T), "entropy 1": -entropy_given_start(chains, 1)}
    prior_edge = {name: out[7][name] for name in ("prior", "edge")}
    kl = {f"KL {t}": -step_kl(chains, t) for t in steps}
    out[8] = prior_edge | {f"back {t}": out[7][f"back {t}"] for t in steps} | ends
    out[9] = prior_edge | kl | ends
    out[10] = {"prior entropy": float(chains.prior @ np.log(chains.prior))} | kl | ends
    return out


def over_data(chains: FiniteChains, values: Array) -> float:
    """E values(x_0) for ``values`` (S,), those of states outside the data left out, though they be infinite."""
    seen = chains.data > 0
    return float(chains.data[seen] @ values[seen])


def path_lines(chains: FiniteChains) -> dict[int, dict[str, Array]]:
    """Lines 3 to 7 for every single path: {number: {term: values that broadcast to (S, ..., S), all paths}}, nats.

    Line 6 takes q(x_t | x_{t-1}, x_0) from the law of whole paths, and trusts no Markov property.
    """
    on, T = chains.on_paths, chains.T
    with np.errstate(divide="ignore"):
        back = {t: on(np.log(chains.reverse[t].T), t - 1, t) for t in range(1, T + 1)}
    prior, edge = on(np.log(chains.prior), T), on(np.log(chains.prior), 0) - on(np.log(chains.prior), 1)
    out = {3: {"log w": chains.log_weights}, 4: {"prior": prior}}
    out |= {n: {"prior": prior, "edge": edge} for n in (5, 6, 7)}
    for t in range(1, T + 1):
        out[4][f"step {t}"] = back[t] - on(np.log(chains.forward[t]), t - 1, t)
    for t in range(2, T + 1):
        out[5][f"step {t}"] = out[4][f"step {t}"]
        out[6][f"step {t}"] = back[t] - on(np.log(step_given_start(chains, t)), 0, t - 1, t)
        out[7][f"back {t}"] = back[t] - on(np.log(chains.posterior(t)), 0, t - 1, t)
        out[7][f"turn {t}"] = on(np.log(chains.leaps[t - 1]), 0, t - 1) - on(np.log(chains.leaps[t]), 0, t)
    return out


def step_given_start(chains: FiniteChains, t: int) -> Array:
    """q(x_t = j | x_{t-1} = i, x_0 = k) at [k, i, j], (S, S, S), for t >= 2, by sums over the other states."""
    others = tuple(s for s in range(chains.T + 1) if s not in (0, t - 1, t))
    joint = np.exp(chains.log_forward).sum(others)
    return np.asarray(joint / joint.sum(2, keepdims=True))


def entropy_given_start(chains: FiniteChains, t: int) -> float:
    """H_q(X_t | X_0) for t >= 1."""
    leap = chains.leaps[t]
    return -float(chains.data @ (leap * np.log(leap)).sum(1))


def step_kl(chains: FiniteChains, t: int) -> float:
    """E D_KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), for t >= 2."""
    posterior = chains.posterior(t)  # [k, i, j]
    with np.errstate(divide="ignore"):
        divergence = (posterior * (np.log(posterior) - np.log(chains.reverse[t].T))).sum(1)
    return over_data(chains, (chains.leaps[t] * divergence).sum(1))


def step_information(chains: FiniteChains, t: int) -> float:
    """I(X_{t-1}; X_0 | X_t) = H(X_{t-1} | X_t) - H(X_{t-1} | X_t, X_0), for t >= 2: a matter of q alone."""
    posterior = chains.posterior(t)  # [k, i, j]
    divergence = (posterior * (np.log(posterior) - np.log(chains.reversal(t).T))).sum(1)
    return over_data(chains, (chains.leaps[t] * divergence).sum(1))


# Where each bit goes


def account(chains: FiniteChains) -> dict[str, float]:
    """The gap -H(X_0) - K, split in two ways, nats; each part is at least 0, and may be infinite.

    "law" D_KL(q(x_0) || p(x_0)) and "jensen" E D_KL(q(x_1..x_T | x_0) || p(x_1..x_T | x_0)) add up to it; so do "prior"
    D_KL(q(x_T) || pi) and "step t" E D_KL(q(x_{t-1} | x_t) || p(x_{t-1} | x_t)), t = 1..T. "limit", of
    either sign, is -H(X_0). For t >= 2, "information t" is I(X_0; X_{t-1} | X_t): the part of line 9's KL that no model
    can avoid. Where p(x_0) is 0 for a state of the data, L and K are both minus infinity, and "jensen" is NaN.
    """
    seen = chains.data > 0
    data, law, last = chains.data[seen], chains.model_law[seen], chains.marginals[-1]
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 is masked
        posterior = chains.log_p - np.log(chains.on_paths(chains.model_law, 0))  # log p(x_1..x_T | x_0)
        out = {
            "limit": float(data @ np.log(data)),
            "law": float(data @ (np.log(data) - np.log(law))),
            "jensen": chains.mean(chains.log_forward - posterior),
            "prior": float(last @ (np.log(last) - np.log(chains.prior))),
        }
        for t in range(1, chains.T + 1):
            exact = chains.reversal(t)
            divergence = np.where(exact > 0, exact * (np.log(exact) - np.log(chains.reverse[t])), 0).sum(1)
            out[f"step {t}"] = float(chains.marginals[t] @ divergence)
            if t >= 2:
                out[f"information {t}"] = step_information(chains, t)
    return out


# Sampled, and in closed form


@torch.no_grad()
def sampled(model: DiffusionModel, x0: Tensor, generator: torch.Generator) -> dict[int, dict[str, Tensor]]:
    """Lines 3 to 10 on one forward trajectory from each row of ``x0`` (n, d): {number: {term: (n,)}}.

    Any kernel will do. Lines 3 to 7 are equal trajectory by trajectory, the later ones in the mean, and line 10 under
    its condition. A kernel's step does not look at x_0, so that line 6 is line 5 here.
    """
    path, kernel, T = model.forward_trajectory(x0, generator), model.kernel, model.T
    pi = kernel.prior
    back = {t: model.reverse_step(path[t], t).log_prob(path[t - 1]) for t in range(1, T + 1)}
    ahead = {t: kernel.step(path[t - 1], t).log_prob(path[t]) for t in range(1, T + 1)}
    leap = {t: kernel.marginal(path[0], t).log_prob(path[t]) for t in range(1, T + 1)}
    ends = {"prior": pi.log_prob(path[T]), "edge": pi.log_prob(path[0]) - pi.log_prob(path[1])}
    laws = {t: kernel.posterior(path[0], path[t], t) for t in range(2, T + 1)}
    behind = {f"back {t}": back[t] - law.log_prob(path[t - 1]) for t, law in laws.items()}
    kl = {f"KL {t}": -law.kl(model.reverse_step(path[t], t)) for t, law in laws.items()}
    step = {f"step {t}": back[t] - ahead[t] for t in range(1, T + 1)}
    entropy = {"entropy T": kernel.marginal(path[0], T).entropy, "entropy 1": -kernel.marginal(path[0], 1).entropy}
    later = {name: values for name, values in step.items() if name != "step 1"}
    weight = sum(back.values(), ends["prior"]) - sum(ahead.values())
    return {
        3: {"log w": weight},
        4: {"prior": ends["prior"]} | step,
        5: ends | later,
        6: ends | later,
        7: ends | behind | {f"turn {t}": leap[t - 1] - leap[t] for t in range(2, T + 1)},
        8: ends | behind | entropy,
        9: ends | kl | entropy,
        10: {"prior entropy": -pi.entropy.expand(len(x0))} | kl | entropy,
    }


def gaussian(
    schedule: Schedule, variance: float, slope: Sequence[float], spread: Sequence[float]
) -> dict[int, dict[str, float]]:
    """All lines in closed form for data N(0, variance) on the line, and p(x_{t-1} | x_t) = N(slope[t] x_t, spread[t]).

    ``slope`` and ``spread`` (T+1,) are indexed by t; entries 0 and 1 are not used, for step 1 is the edge kernel. The
    model's law is a Gaussian too; its variance follows from that of pi by one line per step. Raises ValueError naming
    what is not finite, not positive or not of length T+1.
    """
    T, beta, kept = schedule.T, schedule.beta.tolist(), schedule.alpha_bar.tolist()
    if not 0 < variance < math.inf:
        raise ValueError(f"variance: need a positive number, got {variance}")
    for name, row, least in (("slope", slope, -math.inf), ("spread", spread, 0.0)):
        if len(row) != T + 1:
            raise ValueError(f"{name}: need T + 1 = {T + 1} entries, got {len(row)}")
        for t in range(2, T + 1):
            if not least < row[t] < math.inf:
                raise ValueError(f"{name}: {row[t]} at t = {t} is out of range")
    V = [variance * a + 1 - a for a in kept]  # E x_t^2, for x_t = sqrt(a) x_0 + sqrt(1 - a) noise
    m, v = [0.0, math.sqrt(1 - beta[1]), *slope[2:]], [0.0, beta[1], *spread[2:]]
    law = 1.0
    for t in range(T, 0, -1):
        law = m[t] ** 2 * law + v[t]  # the variance of the model's x_{t-1}
    likelihood = -0.5 * (LOG_2PI + math.log(law) + variance / law)
    ends = {"prior": -0.5 * (LOG_2PI + V[T]), "edge": 0.5 * (V[1] - variance)}  # E log pi(x_T), E log pi(x_0)/pi(x_1)
    entropy = [math.nan] + [0.5 * (1 + LOG_2PI + math.log(1 - a)) for a in kept[1:]]  # H(X_t | X_0)
    step, behind, kl, turn = {}, {}, {}, {}
    for t in range(1, T + 1):
        keep = math.sqrt(1 - beta[t])
        square = V[t - 1] - 2 * m[t] * keep * V[t - 1] + m[t] ** 2 * V[t]  # E (x_{t-1} - m x_t)^2
        back = -0.5 * (LOG_2PI + math.log(v[t]) + square / v[t])  # E log p(x_{t-1} | x_t)
        step[f"step {t}"] = back + 0.5 * (1 + LOG_2PI + math.log(beta[t]))  # less E log q(x_t | x_{t-1})
        if t == 1:
            continue
        width = beta[t] * (1 - kept[t - 1]) / (1 - kept[t])  # v_t of q(x_{t-1} | x_t, x_0) in eq-posterior
        behind[f"back {t}"] = back + 0.5 * (1 + LOG_2PI + math.log(width))  # less E log q(x_{t-1} | x_t, x_0)
        gap = keep * (1 - kept[t - 1]) / (1 - kept[t]) - m[t]  # the means differ by gap x_t + b x_0
        b = math.sqrt(kept[t - 1]) * beta[t] / (1 - kept[t])  # b_t of eq-posterior; E x_t x_0 = sqrt(a_t) variance
        apart = gap**2 * V[t] + 2 * gap * b * math.sqrt(kept[t]) * variance + b**2 * variance
        kl[f"KL {t}"] = -0.5 * (math.log(v[t] / width) + (width + apart) / v[t] - 1)
        turn[f"turn {t}"] = entropy[t] - entropy[t - 1]
    later = {name: value for name, value in step.items() if name != "step 1"}
    bounds = {"entropy T": entropy[T], "entropy 1": -entropy[1]}
    lines_4 = {"prior": ends["prior"]} | step
    return {
        **{n: {"log p": likelihood} for n in (1, 2)},
        3: {"log w": sum(lines_4.values())},
        4: lines_4,
        **{n: ends | later for n in (5, 6)},
        7: ends | behind | turn,
        8: ends | behind | bounds,
        9: ends | kl | bounds,
        10: {"prior entropy": -0.5 * (1 + LOG_2PI)} | kl | bounds,
    }
