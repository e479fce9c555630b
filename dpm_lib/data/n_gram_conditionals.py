"""What an n-gram model says of hidden characters, given all that is seen on both sides: exactly, for any order n.

Forward-backward sums over all that may be hidden, with the last n - 1 characters as states: S^(n-1) of them would be
hopeless, but a smoothed model knows few contexts, and is elsewhere the model of the next shorter one:

    p(c | h) = own(h, c) + kept_back(h) p(c | h'),    h' = h without its first character.

So from a known context h arcs lead to what is known of hc, for each c that was seen after h, with all of p(c | h); the
share kept_back(h) is handed on to h', and what h' would send along for these same c is taken off. A step costs as much
as there are known strings; between two seen characters, as many as have these two.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array
from torch import Tensor

from dpm_lib.data.text_baselines import KneserNey, places

Floats = NDArray[np.float64]


class NGramConditionals:
    """A network for ``masked_strings``: strings x (n, L), S for a hidden one, to log p (n, L, S) of each place, nats.

    At a hidden place it is the n-gram ``model``'s p(character | all that is seen); at a seen one, all characters have
    the same. A string begins after line ends, as the model has it. ValueError for a model of order 1, which no
    neighbour tells anything. {eq}`eq-mk-backoff`
    """

    def __init__(self, model: KneserNey) -> None:
        if model.order < 2:
            raise ValueError(f"model: order {model.order}: need 2 or more")
        self.model, self.characters = model, model.characters
        S = self.characters
        self.contexts = [order.contexts for order in model.orders]  # by length; of length 1, all characters
        self.contexts[1] = np.arange(S)
        lengths = range(1, model.order)
        last = np.concatenate([self.contexts[length] % S for length in lengths])
        order = np.argsort(last, kind="stable")
        #: the number of each context, by length: those that end in one character stand together, at ``blocks`` of it
        self.numbers = np.split(np.argsort(order), np.cumsum([len(self.contexts[length]) for length in lengths])[:-1])
        self.begin = np.searchsorted(last[order], np.arange(S + 1))
        self.states = states = len(last)
        arcs = [np.concatenate(part) for part in zip(*map(self._arcs, lengths), strict=True)]
        self.arcs = csr_array((arcs[2], (arcs[1], arcs[0])), (states, states))
        longer, shorter, kept = (np.concatenate(part) for part in zip(*map(self._handed, lengths), strict=True))
        one = csr_array((kept, (shorter, longer)), (states, states))
        self.handed = identity = eye_array(states, format="csr")
        for _ in range(model.order - 2):
            self.handed = identity + one @ self.handed  # on to all shorter contexts, down to one character
        self.part = cache(self._part)

    def _state(self, codes: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """The longest known context at the end of strings of one length, by their codes."""
        state = self.numbers[0][codes % self.characters]
        for n in range(2, min(length, self.model.order - 1) + 1):
            at, known = places(self.contexts[n], codes % self.characters**n)
            state = np.where(known, self.numbers[n - 1][at], state)
        return state

    def _arcs(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """From the contexts of one length: where they start and end, and their weights."""
        S, n = self.characters, self.model.order
        if length == 1:
            pairs = np.arange(S * S)
            return self.numbers[0][pairs // S], self._state(pairs, 2), self.model.prob(pairs, 2)
        seen = self.model.orders[length].codes
        codes = np.union1d(seen, self.contexts[length + 1]) if length + 1 < n else seen  # those before a text, too
        at, _ = places(self.contexts[length], codes // S)
        start, shorter = self.numbers[length - 1][at], codes % S**length
        taken = -self.model.orders[length].kept_back[at] * self.model.prob(shorter, length)
        ends = self._state(codes, length + 1), self._state(shorter, length)
        return np.tile(start, 2), np.concatenate(ends), np.concatenate([self.model.prob(codes, length + 1), taken])

    def _handed(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """From contexts of one length to those shorter by one, and what share; one character hands nothing on."""
        if length == 1:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
        codes = self.contexts[length]
        shorter = self._state(codes % self.characters ** (length - 1), length - 1)
        return self.numbers[length - 1], shorter, self.model.orders[length].kept_back

    def _block(self, character: int) -> slice:
        """The states that end in a character; all of them for a hidden one."""
        if character == self.characters:
            return slice(0, int(self.begin[-1]))
        return slice(int(self.begin[character]), int(self.begin[character + 1]))

    def _part(self, before: int, after: int) -> tuple[csr_array, csr_array, csr_array, csr_array]:
        """What is handed on before a step, and the arcs, between two characters; and both the other way."""
        here, there = self._block(before), self._block(after)
        handed, arcs = self.handed[here, here], self.arcs[there, here]
        return handed, arcs, handed.T.tocsr(), arcs.T.tocsr()

    def conditionals(self, x: NDArray[np.int64]) -> Floats:
        """p (L, S) for one string (L,)."""
        S = self.characters
        block = self._block(0)
        law = np.zeros(block.stop - block.start)  # of the state, given what is seen so far
        law[self._state(np.zeros(1, dtype=np.int64), self.model.order - 1) - block.start] = 1.0
        seen, laws = [0, *x.tolist()], []
        for before, after in pairwise(seen):
            handed, arcs, _, _ = self.part(before, after)
            law = np.maximum(arcs @ (handed @ law), 0.0)
            law /= law.sum()
            laws.append(law)
        later, found = np.ones(len(law)), np.full((len(x), S), 1 / S)  # p(what is seen later | state), up to a factor
        for place in reversed(range(len(x))):
            if x[place] == S:
                p = np.add.reduceat(laws[place] * later, self.begin[:-1])
                found[place] = p / p.sum()
            _, _, handed, arcs = self.part(seen[place], seen[place + 1])
            later = np.maximum(handed @ (arcs @ later), 0.0)
            later /= later.max()
        return found

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.log(np.stack([self.conditionals(row) for row in x.long().numpy()])))
