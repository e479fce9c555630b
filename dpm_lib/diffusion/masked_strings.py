"""A masked model of strings as a model of any order: its bound, its probability along one order, and filling gaps.

A network maps strings of numbers 0..S (n, L), where S is the mask, to logits (n, L, S). What it says at a place that is
not hidden is not used. Hidden strings are filled place by place; drawing the order of the places at random gives

    -log p(x) <= sum over k = 1..L of E [mean of -log p(x_i given what is seen) over the k hidden places i],

with the k hidden places drawn at random: the bound of a masked diffusion with infinitely many steps, whatever its
schedule. Nats.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dpm_lib.core.checks import count
from dpm_lib.core.random import uniform

Network = Callable[[Tensor], Tensor]


def hidden(shape: tuple[int, int], counts: Tensor, generator: torch.Generator) -> Tensor:
    """Which places are hidden: in row i of (n, L) ``counts[i]`` of them, drawn at random; bool (n, L)."""
    rank = uniform(shape, generator).argsort(1).argsort(1)
    return rank < counts.unsqueeze(1)


def comb(n: int, length: int, generator: torch.Generator) -> Tensor:
    """n counts from 1..length, each uniform, as evenly spread as they can be and in random order, int64 (n,)."""
    teeth = (torch.randperm(n, generator=generator) + uniform((1,), generator)) / n
    return (teeth * length).long().clamp(max=length - 1) + 1


def masked_cross_entropy(network: Network, x: Tensor, at: Tensor, mask: int) -> Tensor:
    """-log p of each hidden place of x (n, L), 0 at the others, (n, L), nats; ``at`` (n, L) says which are hidden."""
    logits = network(torch.where(at, mask, x))
    return cross_entropy(logits.transpose(1, 2), x, reduction="none") * at


def loss(network: Network, x: Tensor, mask: int, generator: torch.Generator) -> Tensor:
    """The bound of strings x (n, L), estimated without bias, nats per place: one count of masks for each, on a comb."""
    counts = comb(len(x), x.shape[1], generator)
    at = hidden(tuple(x.shape), counts, generator)  # type: ignore[arg-type]
    return (masked_cross_entropy(network, x, at, mask).sum(1) / counts).mean()


@torch.no_grad()
def bound(network: Network, x: Tensor, mask: int, generator: torch.Generator, draws: int = 16) -> Tensor:
    """An unbiased estimate of the bound for each string of x (n, L), nats, float64 (n,). {eq}`eq-mk-bound`

    Each string has a comb of ``draws`` counts of masks; with ``draws`` = L, each count once. ValueError for no draw.
    """
    n, length = x.shape
    count("draws", draws)
    total = torch.zeros(n, dtype=torch.float64)
    counts = torch.stack([comb(draws, length, generator) for _ in range(n)])
    for column in counts.unbind(1):
        at = hidden((n, length), column, generator)
        total += masked_cross_entropy(network, x, at, mask).double().sum(1) / column
    return total * length / draws


@torch.no_grad()
def log_prob(network: Network, x: Tensor, orders: Tensor, mask: int, seen: Tensor | None = None) -> Tensor:
    """log p of x (n, L) along orders of places (n, m): the places of a row one after the other, nats, float64 (n,).

    What an order does not name is ``seen``, or stays hidden where ``seen`` (n, L) is false; all else is seen by
    default.
    """
    rows = torch.arange(len(x))
    known = torch.ones_like(x, dtype=torch.bool) if seen is None else seen.clone()
    known[rows.unsqueeze(1), orders] = False
    total = torch.zeros(len(x), dtype=torch.float64)
    for places in orders.unbind(1):
        logits = network(torch.where(known, x, mask))[rows, places].double()
        total += logits.log_softmax(1)[rows, x[rows, places]]
        known[rows, places] = True
    return total


@torch.no_grad()
def fill(network: Network, x: Tensor, mask: int, generator: torch.Generator, together: int = 1) -> Tensor:
    """Strings (n, L) with masks, filled: ``together`` places at each call, drawn at random, from the network's law.

    With 1 these are exact draws of the model of any order. With more, the places of a call do not know of each other.
    ValueError for fewer than 1.
    """
    count("together", together)
    x = x.clone()
    while bool((gaps := x == mask).any()):
        turn = torch.where(gaps, uniform(tuple(x.shape), generator), 2.0)
        chosen = gaps & (turn.argsort(1).argsort(1) < together)
        probabilities = network(x)[chosen].double().softmax(1)
        x[chosen] = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
    return x


@torch.no_grad()
def gap_law(network: Network, x: Tensor, order: Sequence[int], mask: int, characters: int) -> Tensor:
    """log p of all fillings of a gap of up to three places, along one order, (S,) * places, nats: of a string x (L,).

    The axes are the places from left to right, whatever the order. ValueError where ``order`` is not the gap.
    """
    places, known = sorted(order), torch.nonzero(x == mask).flatten().tolist()
    if places != known or not 1 <= len(places) <= 3:
        raise ValueError(f"order: {tuple(order)}: need the one, two or three hidden places, each once: {known}")
    log_p = torch.zeros((characters,) * len(places), dtype=torch.float64)
    for step, place in enumerate(order):
        before = sorted(order[:step])
        fills = torch.cartesian_prod(*(torch.arange(characters),) * step).view(-1, step) if step else x.new_zeros(1, 0)
        strings = x.repeat(len(fills), 1)
        for column, earlier in enumerate(before):
            strings[:, earlier] = fills[:, column]
        rows = torch.cat([network(part)[:, place].double().log_softmax(1) for part in strings.split(512)])
        now = sorted([*before, place])
        table = rows.view((characters,) * (step + 1)).movedim(-1, now.index(place))
        log_p = log_p + table.reshape([characters if p in now else 1 for p in places])
    return log_p
