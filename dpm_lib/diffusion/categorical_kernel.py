"""The forward kernel of strings: each of d tokens jumps by itself, by a matrix of rates that forgets where it began.

In continuous time a token jumps from i to j at the rate Q_ij (rows sum to 0), and exp(Q s) is the law after the time s.
Time is measured by what is forgotten, alpha_bar_t = exp(-s_t), and Q is in units in which its slowest mode decays as
exp(-s): so alpha_bar is the share of the signal that is left, as for bits. Three kinds:

    ``uniform(S)``  Q = 11^T / S - I      forget: a token is replaced by any of S; two tokens are the bits that flip
    ``mask(S)``     Q = 1 e_S^T - I       mask: a token becomes the token S, [MASK], of which nothing comes back
    ``Rates(Q)``    any Q with one law of rest, by the exponential of its matrix

For the first two, exp(Q s) = alpha_bar I + (1 - alpha_bar) 1 rest^T: ``Forget``. D3PM (Austin et al. 2021) calls the
same matrices Q_t, one for each step, with rows that sum to 1.
"""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dpm_lib.core import check_laws
from dpm_lib.core.checks import checked_step, checked_width, count
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.markov.kolmogorov import checked_generator, uniformise
from dpm_lib.markov.markov_chains import recurrent_classes, stationary_laws
from dpm_lib.probability.categorical import Categorical, token_index
from dpm_lib.probability.token_tilt import TokenTilt, read

SERIES = 20  # terms of exp for an argument of 1 at most: the rest is below 1e-18


class Jumps(Protocol):
    """The interface: the jumps of one token. ``log_kept`` (k,) are logarithms of alpha_bar, ``t`` places in it.

    Tokens x (..., d) are integers, t an int or integers (...), and what is returned is (..., d, n) for n tokens.
    """

    tokens: int
    vocabulary: int
    timeless: bool

    @property
    def rest(self) -> Tensor:
        """The law of rest, (n,)."""
        ...

    @property
    def Q(self) -> Tensor:
        """The rates (n, n), in units of the slowest mode."""
        ...

    def log_row(self, x: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log P(x -> k) for all k, (..., d, n)."""
        ...

    def log_column(self, x: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log P(k -> x) for all k, (..., d, n)."""
        ...

    def log_mixed(self, log_w: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log sum_j w_j P(j -> k), for log w (..., d, n)."""
        ...


class Forget(nn.Module):
    """At the rate 1 a token is replaced by a draw of ``rest`` (n,): exp(Q s) = alpha_bar I + (1 - alpha_bar) 1 rest^T.
    {eq}`eq-mk-transition`

    Data hold the first ``vocabulary`` of the n tokens, all by default. ValueError for a rest that is no law, and for
    another vocabulary.
    """

    log_rest: Tensor

    def __init__(self, rest: Any, vocabulary: int | None = None) -> None:
        super().__init__()
        law = torch.as_tensor(check_laws.laws("rest", rest), dtype=torch.float64)
        if law.ndim != 1:
            raise ValueError(f"rest: need shape (n,), got {tuple(law.shape)}")
        self.tokens = count("rest", len(law), 2)
        self.vocabulary = self.tokens if vocabulary is None else count("vocabulary", vocabulary, 1, self.tokens)
        self.register_buffer("log_rest", law.log())

    @property
    def rest(self) -> Tensor:
        """The law of rest, (n,)."""
        return self.log_rest.exp()

    @property
    def timeless(self) -> bool:
        """Whether no token of the data is one of rest: then what is lost says nothing of what it was, nor when."""
        return bool((self.rest[: self.vocabulary] == 0).all())

    @property
    def Q(self) -> Tensor:
        """1 rest^T - I, (n, n)."""
        return self.rest.expand(self.tokens, -1) - torch.eye(self.tokens).to(self.rest)

    def log_row(self, x: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log P(x -> k), (..., d, n)."""
        kept, lost = _parts(log_kept, t)
        here = nn.functional.one_hot(x, self.tokens).bool()
        moved = lost + self.log_rest
        return torch.where(here, _log_add(kept, moved), moved)

    def log_column(self, x: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log P(k -> x), (..., d, n)."""
        kept, lost = _parts(log_kept, t)
        here = nn.functional.one_hot(x, self.tokens).bool()
        moved = lost + self.log_rest[x].unsqueeze(-1)
        return torch.where(here, _log_add(kept, moved), moved)

    def log_mixed(self, log_w: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log sum_j w_j P(j -> k), (..., d, n)."""
        kept, lost = _parts(log_kept, t)
        return _log_add(kept + log_w, lost + self.log_rest + log_w.logsumexp(-1, keepdim=True))


class Rates(nn.Module):
    """Jumps at any rates ``Q`` (n, n), rows summing to 0, that forget every start: one law of rest.

    Q is divided by its gap, the rate at which its slowest mode decays. Data hold the first ``vocabulary`` tokens.
    ValueError where Q is no matrix of rates, and where it never forgets: two closed classes of tokens.
    """

    timeless = False
    _Q: Tensor
    _rest: Tensor

    def __init__(self, Q: Any, vocabulary: int | None = None) -> None:
        super().__init__()
        rates = checked_generator(np.asarray(Q, np.float64))
        self.tokens = count("Q", len(rates), 2)
        self.vocabulary = self.tokens if vocabulary is None else count("vocabulary", vocabulary, 1, self.tokens)
        chain, _ = uniformise(rates)
        closed = recurrent_classes(chain)
        if len(closed) > 1:
            some = " and ".join(str(c[:5].tolist()) for c in closed[:2])
            raise ValueError(f"Q: never forgets: nothing leaves the tokens {some}: need one closed class")
        gap = np.sort(-np.linalg.eigvals(rates).real)[1]
        self.register_buffer("_Q", torch.from_numpy(rates / gap))
        self.register_buffer("_rest", torch.from_numpy(stationary_laws(chain)[0]))

    @property
    def rest(self) -> Tensor:
        """The law of rest, (n,)."""
        return self._rest

    @property
    def Q(self) -> Tensor:
        """The rates (n, n), in units of the slowest mode."""
        return self._Q

    def matrices(self, log_kept: Tensor, t: Tensor) -> Tensor:
        """exp(Q s) for s = -log_kept[t], t (k,): (k, n, n). By a series without a minus sign, and squarings."""
        s = -log_kept[t]
        rate = float(-self._Q.diagonal().min())
        finite = torch.isfinite(s)
        largest = float(torch.where(finite, s, 0.0).detach().max()) * rate
        halvings = max(0, int(np.ceil(np.log2(max(largest, 1.0)))))
        rings = (torch.where(finite, s, 0.0) * (rate / 2**halvings)).reshape(-1, 1, 1)
        step = (torch.eye(self.tokens).to(self._Q) + self._Q / rate).clamp(min=0)
        term = torch.exp(-rings) * torch.eye(self.tokens).to(self._Q)
        total = term
        for k in range(1, SERIES):
            term = term @ step * (rings / k)
            total = total + term
        for _ in range(halvings):
            total = total @ total
            total = total / total.sum(-1, keepdim=True)
        return torch.where(finite.reshape(-1, 1, 1), total, self._rest.expand_as(total))

    def log_row(self, x: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log P(x -> k), (..., d, n)."""
        P, which = self._at(log_kept, t)
        return _log(P[which, x])

    def log_column(self, x: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log P(k -> x), (..., d, n)."""
        P, which = self._at(log_kept, t)
        return _log(P.mT[which, x])

    def log_mixed(self, log_w: Tensor, log_kept: Tensor, t: int | Tensor) -> Tensor:
        """log sum_j w_j P(j -> k), (..., d, n)."""
        P, which = self._at(log_kept, t)
        top = log_w.detach().amax(-1, keepdim=True)
        return _log((log_w - top).exp() @ P[which.squeeze(-1)]) + top

    def _at(self, log_kept: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """The matrices of the different times among ``t``, (k, n, n), and which is whose, (..., 1)."""
        times, which = torch.unique(torch.as_tensor(t, device=log_kept.device), return_inverse=True)
        return self.matrices(log_kept, times), which.unsqueeze(-1)


def uniform(S: int) -> Forget:
    """Forget: a token is replaced by any of ``S``, at the rate 1. For S = 2, bits that flip. ValueError for S < 2."""
    return Forget(torch.full((count("S", S, 2),), 1 / S, dtype=torch.float64))


def mask(S: int) -> Forget:
    """Mask: a token of 0..S-1 becomes the token S, [MASK], at the rate 1, and stays it. ValueError for S < 1."""
    rest = torch.zeros(count("S", S) + 1, dtype=torch.float64)
    rest[-1] = 1
    return Forget(rest, S)


class CategoricalKernel(nn.Module):
    """A string of ``dim`` tokens that jump one by one: ``jumps`` is ``uniform(S)``, ``mask(S)`` or ``Rates(Q)``.

    A state is a float64 tensor (..., d) of whole numbers; data are of the tokens 0..vocabulary - 1, chains of all.
    ValueError for dim < 1, for states of another width, for what is no token, for times outside of 1..T, and for a
    schedule that does not end at alpha_bar_T = 0 where the law of rest rules tokens out, as a mask does: what has not
    been masked at T would have probability 0 under the model.
    """

    continuous = False

    def __init__(self, dim: int, schedule: Schedule, jumps: Any) -> None:
        super().__init__()
        self.dim = count("dim", dim)
        self.schedule = schedule
        self.jumps = jumps
        last = float(schedule.log_alpha_bar[-1].detach())
        if bool((jumps.rest == 0).any()) and last > -torch.inf:
            raise ValueError(
                f"schedule: alpha_bar_T = {np.exp(last):g}: need one that ends at 0, such as even(T): the law of rest "
                "rules out tokens that could be left"
            )

    @property
    def tokens(self) -> int:
        """How many tokens a state of the chain may hold, [MASK] included."""
        return self.jumps.tokens

    @property
    def vocabulary(self) -> int:
        """How many tokens data may hold: 0..vocabulary - 1."""
        return self.jumps.vocabulary

    @property
    def reversible(self) -> bool:
        """Whether pi_i Q_ij = pi_j Q_ji with pi > 0: then the edge step back is a step of the kernel, as for bits."""
        flow = self.jumps.rest.unsqueeze(-1) * self.jumps.Q
        return bool((self.jumps.rest > 0).all()) and torch.allclose(flow, flow.T, rtol=1e-9, atol=1e-15)

    @property
    def timeless(self) -> bool:
        """Whether the law of x_0 given x_t is the same for all t: so it is where what is lost says nothing, a mask.

        {eq}`eq-mk-timeless`.
        """
        return self.jumps.timeless

    def state(self, x0: Tensor) -> Tensor:
        """x0 (..., d) as float64 chain state. ValueError for what is no token of the data, and for a [MASK]."""
        x0 = checked_width("x0", torch.as_tensor(x0, dtype=torch.float64), self.dim)
        bad = ~((x0 >= 0) & (x0 < self.vocabulary) & (x0 == x0.round()))
        if bad.any():
            where = tuple(bad.nonzero()[0].tolist())
            hidden = self.vocabulary <= x0[where] < self.tokens
            why = "a mask, of which data hold none" if hidden else "no token"
            raise ValueError(
                f"x0: {x0[where].item():g} at index {where} is {why}: need one of 0..{self.vocabulary - 1}"
            )
        return x0

    @property
    def prior(self) -> Categorical:
        """pi: each token at rest."""
        return Categorical(self.jumps.rest.log().expand(self.dim, -1))

    def step(self, x_prev: Tensor, t: int | Tensor) -> Categorical:
        """q(x_t | x_{t-1}), (..., d)."""
        t = checked_step(t, self.schedule.T)
        return Categorical(self.jumps.log_row(self._index("x_prev", x_prev), self.log_kept_by_step, t))

    def marginal(self, x0: Tensor, t: int | Tensor) -> Categorical:
        """q(x_t | x_0), (..., d): exp(Q s_t) from each token."""
        t = checked_step(t, self.schedule.T, first=0)
        return Categorical(self.jumps.log_row(self._index("x0", x0), self.schedule.log_alpha_bar, t))

    def posterior(self, x0: Tensor, xt: Tensor, t: int | Tensor) -> Categorical:
        """q(x_{t-1} | x_t, x_0), (..., d), by Bayes' rule. A point at x_0 for t = 1.

        ValueError for an x_t that cannot come from x_0.
        """
        t = checked_step(t, self.schedule.T)
        ahead = self.jumps.log_column(self._index("xt", xt), self.log_kept_by_step, t)
        return Categorical(ahead + self.jumps.log_row(self._index("x0", x0), self.schedule.log_alpha_bar, t - 1))

    def evidence(self, xt: Tensor, t: int | Tensor) -> Tensor:
        """log q(x_t,i | x_0,i = a) for each token a of the data, (..., d, vocabulary), nats."""
        t = checked_step(t, self.schedule.T)
        column = self.jumps.log_column(self._index("xt", xt), self.schedule.log_alpha_bar, t)
        return column[..., : self.vocabulary]

    def through(self, start: Categorical, xt: Tensor, t: int | Tensor) -> Categorical:
        """The law of x_{t-1} given x_t (..., d), where the tokens of x_0 given x_t have the law ``start``.

        {eq}`eq-mk-mean`.
        """
        t = checked_step(t, self.schedule.T)
        mixed = self.jumps.log_mixed(self._weights(start, xt, t), self.schedule.log_alpha_bar, t - 1)
        return Categorical(mixed + self.jumps.log_column(self._index("xt", xt), self.log_kept_by_step, t))

    def seen(self, y: Tensor, noise: float, mask: Tensor) -> TokenTilt:
        """r(x_0): ``y`` (d,) was read where ``mask`` (d,) is true, each token wrong with the chance ``noise``."""
        return read(y, noise, mask, self.vocabulary)

    def ratios(self, start: Categorical, xt: Tensor, t: int | Tensor) -> Tensor:
        """log p_t(y) / p_t(x_t), (..., d, n), nats, for the y that have token k in place of x_t,i. {eq}`eq-mk-ratio`

        ``start`` is the law of each token of x_0 given x_t. It says this only of a y whose start might have led to x_t:
        with a mask of what is masked in x_t, NaN elsewhere. Nothing else is needed, for nothing jumps from there.
        """
        log_w = self._weights(start, xt, t)
        found = self.jumps.log_mixed(log_w, self.schedule.log_alpha_bar, t)
        known = ~torch.isneginf(self.evidence(xt, t)).any(-1, keepdim=True)
        return torch.where(known, found, torch.nan)

    def start(self, ratios: Tensor, xt: Tensor, t: int) -> Categorical:
        """The inverse of ``ratios``: the law of each token of x_0 given x_t (..., d), from log ratios (..., d, n).

        ValueError where the ratios are those of no law. Of what is not masked, a mask needs no ratio: x_0 is seen.
        """
        evidence = self.evidence(xt, t)
        known = ~torch.isneginf(evidence).any(-1, keepdim=True)
        w = torch.where(known, ratios.exp(), 0.0) @ torch.linalg.inv(self.transition(t))
        p = w[..., : self.vocabulary] * evidence.exp()
        if bool((torch.where(known, p, 0.0) < -1e-9).any()):
            raise ValueError(f"ratios: of no law: a token of x_0 would have the probability {float(p.min()):.3g}")
        return Categorical(torch.where(known, p.clamp(min=0).log(), evidence))

    def transition(self, t: int) -> Tensor:
        """exp(Q s_t), (n, n): row x_0, column x_t. ValueError for t outside of 0..T."""
        checked_step(t, self.schedule.T, first=0)
        return self.jumps.log_row(torch.arange(self.tokens), self.schedule.log_alpha_bar, t).exp()

    @property
    def log_kept_by_step(self) -> Tensor:
        """log(1 - beta_t), (T+1,), 0 first: what a step keeps."""
        log = self.schedule.log_alpha_bar
        return torch.cat([torch.zeros_like(log[:1]), log[1:] - log[:-1]])

    def _weights(self, start: Categorical, xt: Tensor, t: int | Tensor) -> Tensor:
        """log p(x_0 = a | x_t) / q(x_t | x_0 = a), (..., d, n), where x_t can come from a; else minus infinity."""
        evidence = self.evidence(xt, t)
        possible = ~torch.isneginf(evidence)
        log_p = start.logits.masked_fill(~possible, -torch.inf).log_softmax(-1)
        log_w = torch.where(possible, log_p - evidence.masked_fill(~possible, 0.0), -torch.inf)
        return nn.functional.pad(log_w, (0, self.tokens - self.vocabulary), value=-torch.inf)

    def _index(self, name: str, x: Tensor) -> Tensor:
        return token_index(name, checked_width(name, x, self.dim), self.tokens)


def _parts(log_kept: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
    """log alpha_bar_t and log(1 - alpha_bar_t), each (..., 1, 1)."""
    kept = log_kept[t][..., None, None]
    return kept, torch.log(-torch.expm1(kept))


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """log(e^a + e^b), (...), minus infinity where both are, with no gradient there."""
    a, b = torch.broadcast_tensors(a, b)
    none = torch.isneginf(a) & torch.isneginf(b)
    return torch.logaddexp(a.masked_fill(none, 0.0), b.masked_fill(none, 0.0)).masked_fill(none, -torch.inf)


def _log(p: Tensor) -> Tensor:
    """log p, minus infinity where p is 0, with no gradient there."""
    return p.masked_fill(p <= 0, 1.0).log().masked_fill(p <= 0, -torch.inf)
