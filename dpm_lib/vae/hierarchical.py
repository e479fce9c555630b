"""Hierarchical VAEs on finite sets, exactly: every path listed, every rung accounted for. NumPy float64; nats.

A rung may have a number of states of its own, and the encoder may be deterministic, neither of which
``enumeration.FiniteChains`` allows. ``from_vae`` tabulates any Markovian VAE whose rungs are finite sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dpm_lib.core.check_laws import laws
from dpm_lib.core.types import Array
from dpm_lib.exact.enumeration import MOST_PATHS, FiniteChains, safe_log
from dpm_lib.vae.markovian_vae import MarkovianVAE

CHAINS = ("encoder", "generator")


@dataclass(frozen=True)
class FiniteVAE:
    """A hierarchical VAE on finite sets: Pop(y), and the two chains. Layer (rung) l has S_l states, and z_0 = y.

    ``data`` (S_0,) is Pop, ``prior`` (S_N,) is P_pri.  ``encoder[l-1]`` (S_{l-1}, S_l) holds P_enc(z_l | z_{l-1}), and
    ``generator[l-1]`` (S_l, S_{l-1}) holds P_gen(z_{l-1} | z_l), for l = 1..N; lists will do.  Raises ValueError
    naming the table where shapes disagree, a row is not a law, or there are more than 2^20 paths.
    """

    data: Array
    prior: Array
    encoder: Sequence[Array]
    generator: Sequence[Array]

    def __post_init__(self) -> None:
        N = len(self.encoder)
        if not N or N != len(self.generator):
            raise ValueError(f"encoder, generator: {N} and {len(self.generator)} tables")
        own = {name: laws(name, getattr(self, name)) for name in ("data", "prior")}
        own |= {f"{name}[{i}]": laws(f"{name}[{i}]", getattr(self, name)[i]) for name in CHAINS for i in range(N)}
        sizes = [own["data"].shape[-1], *(own[f"encoder[{i}]"].shape[-1] for i in range(N))]
        if np.prod(np.asarray(sizes, np.float64)) > MOST_PATHS:
            raise ValueError(f"encoder: {sizes} states: more than {MOST_PATHS} paths")
        shapes: dict[str, tuple[int, ...]] = {"data": (sizes[0],), "prior": (sizes[-1],)}
        for i, (a, b) in enumerate(pairwise(sizes)):
            shapes |= {f"encoder[{i}]": (a, b), f"generator[{i}]": (b, a)}
        for name, shape in shapes.items():
            if own[name].shape != shape:
                raise ValueError(f"{name}: shape {own[name].shape}, and {shape} is needed")
        chains = {name: [own[f"{name}[{i}]"] for i in range(N)] for name in CHAINS}
        for name, value in ({"data": own["data"], "prior": own["prior"]} | chains).items():
            object.__setattr__(self, name, value)

    @property
    def N(self) -> int:
        """Number of rungs."""
        return len(self.encoder)

    @cached_property
    def leaps(self) -> list[Array]:
        """P_enc(z_l | y) at [l], (S_0, S_l): matrix products, the identity first."""
        leaps = [np.eye(len(self.data))]
        for table in self.encoder:
            leaps.append(leaps[-1] @ table)
        return leaps

    @property
    def entropy(self) -> float:
        """H(y)."""
        return -_expected(self.data, safe_log(self.data))

    @cached_property
    def model_law(self) -> Array:
        """P_gen(y), (S_0,), by matrix products: no path is listed."""
        law = self.prior
        for table in self.generator[::-1]:
            law = law @ table
        return law

    @property
    def log_likelihood(self) -> float:
        """E log P_gen(y)."""
        return _expected(self.data, safe_log(self.model_law))

    @cached_property
    def paths(self) -> tuple[Array, Array]:
        """log P_enc(z_1..z_N | y) and log P_gen(y, z_1..z_N) of every path, both (S_0, ..., S_N)."""
        log_enc = sum(self._on(safe_log(table), i) for i, table in enumerate(self.encoder))
        log_gen = sum(self._on(safe_log(table.T), i) for i, table in enumerate(self.generator))
        shape = (*self.data.shape, *(table.shape[1] for table in self.encoder))
        return np.broadcast_to(log_enc, shape), np.broadcast_to(log_gen + safe_log(self.prior), shape)

    def _on(self, table: Array, i: int) -> Array:
        """A function of z_i and z_{i+1} as an array that broadcasts over all paths."""
        return table.reshape([1] * i + list(table.shape) + [1] * (self.N - 1 - i))

    @property
    def elbo(self) -> float:
        """E_enc log w, one mean over all paths: eq-vae-elbo."""
        log_enc, log_gen = self.paths
        enc = np.exp(self._on(safe_log(self.data)[:, None], 0) + log_enc)
        with np.errstate(invalid="ignore"):  # paths of probability 0 are left out
            return _expected(enc, log_gen - log_enc)

    def terms(self) -> dict[str, float]:
        """The N + 1 parts of the ELBO, averaged over y, without a path: eq-vae-elbo-kl. They sum to ``elbo``."""
        joint = self.data[:, None] * self.leaps[1]
        out = {"reconstruction": _expected(joint, safe_log(self.generator[0].T))}
        for rung in range(2, self.N + 1):
            joint = self.leaps[rung - 1][:, :, None] * self.encoder[rung - 1]  # [y, z_{l-1}, z_l]
            law = self.data[:, None, None] * joint
            out[f"KL {rung}"] = -_kl(law, _normalised(joint, 1), self.generator[rung - 1].T)
        out["prior"] = -_kl(self.data[:, None] * self.leaps[-1], self.leaps[-1], self.prior)
        return out

    def losses(self) -> dict[str, float]:
        """What each rung adds to the gap -H(y) - ELBO: eq-vae-account. Each is a KL divergence, so none is negative."""
        out = {}
        for rung in range(1, self.N + 1):
            joint = (self.data @ self.leaps[rung - 1])[:, None] * self.encoder[rung - 1]  # [z_{l-1}, z_l]
            out[f"rung {rung}"] = _kl(joint, _normalised(joint, 0), self.generator[rung - 1].T)
        last = self.data @ self.leaps[-1]
        out["prior"] = _kl(last, last, self.prior)
        return out

    @property
    def information(self) -> list[float]:
        """I(y; z_l) for l = 0..N: what is left of y."""
        return [_kl(self.data[:, None] * leap, leap, self.data @ leap) for leap in self.leaps]

    def reversed(self) -> "FiniteVAE":
        """The same encoder with the best generator: its reversal by Bayes' rule, and P_enc(z_N) for a prior."""
        return reversal(self.data, self.encoder)


def reversal(data: Array, encoder: Sequence[Array]) -> FiniteVAE:
    """The VAE of data (S,) and this encoder with its reversal for a generator: nothing is lost on the way back."""
    law, back = data, []
    for table in encoder:
        back.append(_normalised(law[:, None] * table, 0).T)
        law = law @ table
    return FiniteVAE(data, law, encoder, back)


def from_chains(chains: FiniteChains) -> FiniteVAE:
    """The two chains of a diffusion model as a VAE with N = T layers."""
    return FiniteVAE(chains.data, chains.prior, list(chains.forward[1:]), list(chains.reverse[1:]))


@torch.no_grad()
def from_vae(vae: MarkovianVAE, spaces: Sequence[Tensor], data: ArrayLike) -> FiniteVAE:
    """Any Markovian VAE on finite sets, from its log probabilities; ``spaces[l]`` (S_l, d_l) are the states of rung l.

    Raises ValueError where there are not N + 1 spaces, or where the laws do not sum to 1 over them.
    """
    if len(spaces) != vae.N + 1:
        raise ValueError(f"spaces: {len(spaces)} sets for {vae.N} rungs: need {vae.N + 1}")
    encoder, generator = [], []
    for rung, (below, above) in enumerate(pairwise(spaces), 1):
        encoder.append(_table(vae.encode, below, above, rung))
        generator.append(_table(vae.generate, above, below, rung))
    prior = vae.prior.expand(len(spaces[-1])).log_prob(spaces[-1]).exp().numpy()
    return FiniteVAE(np.asarray(data, np.float64), prior, encoder, generator)


def _table(kernel: object, start: Tensor, end: Tensor, rung: int) -> Array:
    """P(end | start), (len(start), len(end))."""
    rows = [kernel(x.expand(len(end), -1), rung).log_prob(end) for x in start]  # type: ignore[operator]
    return np.asarray(torch.stack(rows).exp().numpy(), np.float64)


def _expected(law: Array, values: Array) -> float:
    """The sum of law times values, where 0 times anything is 0."""
    law, values = np.broadcast_arrays(law, values)
    seen = law > 0
    return float(law[seen] @ values[seen])


def _kl(joint: Array, one: Array, other: Array) -> float:
    """E log one / other under ``joint``; all three broadcast."""
    with np.errstate(invalid="ignore"):
        return _expected(joint, safe_log(one) - safe_log(other))


def _normalised(joint: Array, axis: int) -> Array:
    """``joint`` divided by its sum over ``axis``; uniform where that is 0: no path comes there."""
    total = joint.sum(axis, keepdims=True)
    uniform = np.full_like(joint, 1 / joint.shape[axis])
    return np.asarray(np.divide(joint, total, out=uniform, where=total > 0))
