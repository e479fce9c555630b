"""Enumeration of tiny models: two chains on a finite set of states, and sums over every one of their paths.

With S states and T steps there are S^(T+1) paths: 4096 for three bits and T = 3. So every expectation of the theory can
be had without sampling, and without trusting any of the algebra that is to be checked. NumPy float64; nats.

Times are indices, as on paper: ``forward[t]`` holds q(x_t | x_{t-1}), and row 0 of a table over t is unused.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike

from dpm_lib.core import check_laws, checks
from dpm_lib.core.types import Array
from dpm_lib.diffusion.model import DiffusionModel

MOST_PATHS = 2**20


def states(bits: int) -> Array:
    """All states of ``bits`` bits, (2^bits, bits) of zeros and ones, in counting order, the first bit the slowest.

    ValueError unless there are 1 to 10.
    """
    if not 1 <= checks.count("bits", bits) <= 10:
        raise ValueError(f"bits: {bits} is not between 1 and 10")
    return (np.arange(2**bits)[:, None] >> np.arange(bits)[::-1] & 1).astype(np.float64)


@dataclass(frozen=True)
class FiniteChains:
    """The two chains of a diffusion model on S states.

    ``data`` (S,) is q(x_0) and ``prior`` (S,) is pi, the law of x_T under p.  ``forward`` (T+1, S, S) holds
    q(x_t = j | x_{t-1} = i) at [t, i, j].  ``reverse`` (T+1, S, S) holds p(x_{t-1} = i | x_t = j) at [t, j, i].
    Tables in single precision are renormalised.
    Raises ValueError naming the table, the entry and its value where a row is not a law, shapes disagree, a forward
    entry is 0 (then q could not see every path of p), the prior is 0 somewhere, or there are more than 2^20 paths.
    """

    data: Array
    prior: Array
    forward: Array
    reverse: Array

    def __post_init__(self) -> None:
        size, T = len(self.data), len(self.forward) - 1
        if T < 2 or np.ndim(self.forward) != 3:
            raise ValueError(f"forward: shape {np.shape(self.forward)}: need (T+1, S, S) with T >= 2")
        wanted = {"data": (size,), "prior": (size,), "forward": (T + 1, size, size), "reverse": (T + 1, size, size)}
        if size ** (T + 1) > MOST_PATHS:
            raise ValueError(f"forward: {size} states, {T} steps: {size ** (T + 1)} paths, of at most {MOST_PATHS}")
        for name, shape in wanted.items():
            table, _ = checks.float64(name, given := getattr(self, name))
            if table.shape != shape:
                raise ValueError(f"{name}: shape {table.shape}, and {shape} is needed")
            if len(shape) == 3:
                table[1:] = check_laws.laws(f"{name}[1:]", given[1:])
            else:
                table = check_laws.laws(name, given)
            object.__setattr__(self, name, table)
        if not (self.forward[1:] > 0).all():
            t, i, j = np.argwhere(self.forward[1:] <= 0)[0]
            raise ValueError(f"forward: is 0 at [{t + 1}, {i}, {j}]: q cannot reach every path that p may take")
        if not (self.prior > 0).all():
            raise ValueError(f"prior: is 0 at state {int(np.argmin(self.prior))}: need a finite log pi")

    @property
    def T(self) -> int:
        """Number of steps."""
        return len(self.forward) - 1

    @cached_property
    def marginals(self) -> Array:
        """q(x_t), (T+1, S)."""
        return np.einsum("i,tij->tj", self.data, self.leaps)

    @cached_property
    def leaps(self) -> Array:
        """q(x_t = j | x_0 = i) at [t, i, j], (T+1, S, S), by matrix products; at t = 0 the identity."""
        leaps = [np.eye(len(self.data))]
        for t in range(1, self.T + 1):
            leaps.append(leaps[-1] @ self.forward[t])
        return np.stack(leaps)

    def posterior(self, t: int) -> Array:
        """q(x_{t-1} = i | x_t = j, x_0 = k) at [k, i, j], (S, S, S), by Bayes' rule: eq-bayes."""
        joint = self.leaps[t - 1][:, :, None] * self.forward[t][None]
        return np.asarray(joint / joint.sum(1, keepdims=True))

    def reversal(self, t: int) -> Array:
        """q(x_{t-1} = i | x_t = j) at [j, i], (S, S): the step back that a perfect model would take."""
        joint = self.marginals[t - 1][:, None] * self.forward[t]
        return np.asarray((joint / joint.sum(0)).T)

    @cached_property
    def model_law(self) -> Array:
        """p(x_0), (S,), by matrix products: no path is ever listed."""
        law = self.prior
        for t in range(self.T, 0, -1):
            law = law @ self.reverse[t]
        return law

    # Sums over all paths

    def on_paths(self, table: Array, *times: int) -> Array:
        """``table``, a function of the states at ``times`` (rising), as an array that broadcasts over all paths.

        A path is an index (x_0, ..., x_T), so a function of whole paths has shape (S, ..., S), T+1 times.
        """
        return table.reshape([len(self.data) if t in times else 1 for t in range(self.T + 1)])

    @cached_property
    def log_q(self) -> Array:
        """log q(x_0, ..., x_T) of every path, (S, ..., S)."""
        return np.asarray(self.on_paths(safe_log(self.data), 0) + self.log_forward)

    @cached_property
    def log_p(self) -> Array:
        """log p(x_0, ..., x_T) of every path, (S, ..., S)."""
        steps = (self.on_paths(safe_log(self.reverse[t].T), t - 1, t) for t in range(1, self.T + 1))
        return np.asarray(sum(steps, self.on_paths(safe_log(self.prior), self.T)))

    @cached_property
    def log_forward(self) -> Array:
        """log q(x_1, ..., x_T | x_0) of every path, (S, ..., S)."""
        steps = (self.on_paths(np.log(self.forward[t]), t - 1, t) for t in range(1, self.T + 1))
        return np.asarray(sum(steps))

    @property
    def log_weights(self) -> Array:
        """log w = log p(x_0..x_T) - log q(x_1..x_T | x_0) of every path, (S, ..., S), nats: eq-model-probability."""
        return np.asarray(self.log_p - self.log_forward)

    @property
    def weight_laws(self) -> tuple[Array, Array]:
        """For each x_0, the weights of its S^T paths and their probabilities q(x_1..x_T | x_0), both (S, S^T)."""
        shape = (len(self.data), -1)
        return np.exp(self.log_weights).reshape(shape), np.exp(self.log_forward).reshape(shape)

    def mean(self, values: Array) -> float:
        """E_q of a function of paths (S, ..., S): the sum over all paths, those of probability 0 left out."""
        q = np.exp(self.log_q)
        return float((q * np.where(q > 0, values, 0.0)).sum())


def from_model(model: DiffusionModel, data: ArrayLike) -> FiniteChains:
    """The chains of a model of bits and its ``data``, probabilities (2^bits,) in the order of ``states``.

    Asks the model for log probabilities only: any kernel whose states are zeros and ones will do. Raises ValueError
    where the paths, 2^(bits (T + 1)), are more than 2^20, or ``data`` has another shape.
    """
    if model.kernel.dim * (model.T + 1) > 20:
        raise ValueError(f"model: {model.kernel.dim} bits, {model.T} steps: more than {MOST_PATHS} paths")
    x = torch.from_numpy(states(model.kernel.dim))
    size = len(x)
    if np.shape(data) != (size,):
        raise ValueError(f"data: shape {np.shape(data)}, and {(size,)} is needed")
    one, other = x.unsqueeze(1), x.expand(size, size, -1)  # [i, j]: from i, to j
    forward, reverse = [np.eye(size)], [np.eye(size)]
    with torch.no_grad():
        for t in range(1, model.T + 1):
            forward.append(model.kernel.step(one.expand_as(other), t).log_prob(other).exp().numpy())
            reverse.append(model.reverse_step(one.expand_as(other), t).log_prob(other).exp().numpy())
        prior = model.kernel.prior.log_prob(x).exp().numpy()
    return FiniteChains(check_laws.laws("data", data), prior, np.stack(forward), np.stack(reverse))


# A family to play with: coupled bits


def ising(bits: int, coupling: float, field: float = 0.0) -> Array:
    """q(x_0) of a row of bits, (2^bits,): prop. to exp(coupling sum_i s_i s_{i+1} + field sum_i s_i), s = +-1.

    ValueError for numbers that are not finite.
    """
    if not math.isfinite(coupling) or not math.isfinite(field):
        raise ValueError(f"coupling, field: {coupling}, {field}: need finite numbers")
    spins = 2 * states(bits) - 1
    exponent = coupling * (spins[:, 1:] * spins[:, :-1]).sum(1) + field * spins.sum(1)
    law = np.exp(exponent - exponent.max())
    return np.asarray(law / law.sum())


def flip_kernel(bits: int, beta: float, coin: float = 0.5) -> Array:
    """T_pi (S, S): each bit is thrown anew with probability ``beta``, by a coin that shows 1 with probability ``coin``.

    With a fair coin this is the paper's binomial kernel. Reversible in pi, where all bits are independent throws.
    ValueError for a beta outside of (0, 1], or a coin outside of (0, 1).
    """
    if not 0 < beta <= 1 or not 0 < coin < 1:
        raise ValueError(f"beta, coin: need 0 < beta <= 1 and 0 < coin < 1, got {beta}, {coin}")
    one = (1 - beta) * np.eye(2) + beta * np.array([1 - coin, coin])
    out: Array = np.ones((1, 1))
    for _ in range(checks.count("bits", bits)):
        out = np.asarray(np.kron(out, one), np.float64)
    return out


def coupled_bits(
    coupling: float, beta: ArrayLike, error: float = 0.0, *, field: float = 0.3, coin: float = 0.5, joint: bool = False
) -> FiniteChains:
    """Three coupled bits, diffused with ``beta`` (T,), and a model that is right up to ``error``, 0 to 1.

    Each reverse step, t >= 2, throws every bit by its exact probability given x_t, bits apart (with ``joint``: all bits
    together, so that without error it is exact), and then replaces each by a fair throw with probability ``error``.
    Step 1 is the edge kernel T_pi(x_0 | x_1; beta_1). ValueError for fewer than two rates, or an error outside of [0,
    1].
    """
    rates = np.asarray(beta, np.float64)
    if rates.ndim != 1 or len(rates) < 2 or not 0 <= error <= 1:
        raise ValueError(f"beta, error: need at least two rates and 0 <= error <= 1, got {rates}, {error}")
    data = ising(3, coupling, field)
    forward = np.stack([np.eye(8)] + [flip_kernel(3, float(b), coin) for b in rates])
    prior = flip_kernel(3, 1.0, coin)[0]
    exact = FiniteChains(data, prior, forward, forward)  # its reverse is not used
    blur = flip_kernel(3, error) if error > 0 else np.eye(8)
    reverse = [np.eye(8), forward[1]]
    for t in range(2, len(rates) + 1):
        back = exact.reversal(t)
        reverse.append((back if joint else product_of_bits(back)) @ blur)
    return FiniteChains(data, prior, forward, np.stack(reverse))


def product_of_bits(laws: Array) -> Array:
    """Each row of ``laws`` (n, 2^bits), with its bits made independent: the nearest product, in KL from the row."""
    bits = round(math.log2(laws.shape[1]))
    x, ones = states(bits), laws @ states(bits)
    return np.asarray(np.prod(np.where(x[None] == 1, ones[:, None], 1 - ones[:, None]), axis=2))


def safe_log(table: Array) -> Array:
    """log of numbers in any shape, minus infinity at 0, without a warning."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(table))
