"""Several laws of one thing made one: the product of their powers, the powers chosen case by case by a small network.

A logarithmic opinion pool {cite:p}`genest1986` with weights that depend on how sure each law is:

    p(c) = prod_e p_e(c)^w_e / Z,    w = network(entropy and largest log p of each law, facts about the case).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dpm_lib.core.checks import count
from dpm_lib.core.files import BrokenFile, load_tensors, save_tensors


class OpinionPool(nn.Module):
    """Logs of ``laws`` laws (m, laws, S) and ``facts`` about each case (m, facts) to logits (m, S), nats.

    At the start all laws weigh 1 / laws. ValueError for a size that is no count.
    """

    def __init__(self, laws: int, facts: int, width: int = 32, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.sizes = {"laws": laws, "facts": facts, "width": width}
        inputs = 2 * count("laws", laws) + count("facts", facts, 0)
        self.first, self.second = nn.Linear(inputs, count("width", width)), nn.Linear(width, laws)
        with torch.no_grad():
            self.first.weight.normal_(std=inputs**-0.5, generator=generator)
            self.first.bias.zero_()
            self.second.weight.zero_()
            self.second.bias.fill_(1 / laws)

    def weights(self, log_p: Tensor, facts: Tensor) -> Tensor:
        """The power of each law, (m, laws)."""
        entropy = -(log_p.exp() * log_p).sum(-1)
        inputs = torch.cat([entropy, log_p.amax(-1), facts], -1)
        return self.second(torch.tanh(self.first(inputs)))

    def forward(self, log_p: Tensor, facts: Tensor) -> Tensor:
        """Logits (m, S): the log of the product, up to a constant. {eq}`eq-mk-pool`"""
        return (self.weights(log_p, facts).unsqueeze(-1) * log_p).sum(-2)

    def fit(
        self,
        log_p: Tensor,
        facts: Tensor,
        y: Tensor,
        share: Tensor,
        generator: torch.Generator,
        epochs: int = 20,
        batch: int = 256,
        rate: float = 5e-3,
    ) -> None:
        """Descend the mean of -log p(y), cases weighted by ``share`` (m,): Adam, its rate a half cosine to 0."""
        optimiser = torch.optim.Adam(self.parameters(), rate)
        steps = epochs * -(-len(y) // batch)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(epochs):
            for at in torch.randperm(len(y), generator=generator).split(batch):
                cost = cross_entropy(self(log_p[at], facts[at]), y[at], reduction="none")
                optimiser.zero_grad()
                ((cost * share[at]).sum() / share[at].sum()).backward()
                optimiser.step()
                falling.step()


def save(path: Path, pool: OpinionPool, **record: Any) -> None:
    """Write a pool to one safetensors file, with its sizes and any further facts."""
    save_tensors(path, pool.state_dict(), {"opinion_pool": pool.sizes, **record})


def load(path: str | Path) -> tuple[OpinionPool, dict[str, Any]]:
    """The pool in a file that ``save`` wrote, and what else was noted.

    BrokenFile, a ValueError, where the file is missing, damaged, or holds no pool.
    """
    tensors, record = load_tensors(Path(path))
    try:
        pool = OpinionPool(**record.pop("opinion_pool"))
        pool.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BrokenFile(f"{path}: no opinion pool: {' '.join(str(error).split())}") from None
    return pool.requires_grad_(False), record
