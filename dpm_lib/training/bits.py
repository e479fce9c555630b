"""Bits per dimension of a model on pictures: prior, steps and last step, part by part, so that it can be gone on with.

A level v is a state (v + u - mean) / std of the chain, with u uniform on [0, 1): then -K in bits, a dimension, and with
log2 std added, bounds what a code of the levels needs. Where the model's last step is on levels, u = 1/2: nothing is
dequantised, and -K is that bound itself. Each part of the pictures has its own seed, so that the numbers are the same
whatever the number of processes, and wherever a run was interrupted.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.core.constants import LN2
from dpm_lib.core.files import BrokenFile, load_json, remove_temporaries, save_json
from dpm_lib.core.random import seeded, uniform
from dpm_lib.core.standard_error import stderr
from dpm_lib.data.dataset import sha256
from dpm_lib.diffusion import bound, sampled_bound
from dpm_lib.diffusion.model import DiffusionModel

PART = 64  # pictures
PRIME = 1_000_003
ASKED = "asked.json"
PARTS = {"prior": "prior", "steps": "steps", "last": "last step"}


class BitsRun:
    """A measurement of ``pictures``, uint8 (n, d), under ``model``, with ``calls`` network calls for each.

    ``units`` are the mean and std of a level in the units of the chain. From T - 1 calls on, all terms are summed.
    With a ``folder``, each part is written there when it is done, and found again. BrokenFile, a ValueError, where the
    folder holds the parts of another measurement; ValueError for fewer than two pictures, or another width.
    """

    def __init__(
        self, model: DiffusionModel, pictures: Tensor, units: dict[str, Any], calls: int, seed: int = 0,
        folder: Path | None = None, facts: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if pictures.ndim != 2 or len(pictures) < 2 or pictures.shape[1] != model.kernel.dim:
            raise ValueError(f"pictures: need (n, {model.kernel.dim}), n at least 2, got {tuple(pictures.shape)}")
        self.model, self.pictures, self.seed, self.folder = model, pictures, seed, folder
        self.mean, self.std = float(units["mean"]), float(units["std"])
        self.calls = min(checks.count("calls", calls), model.T - 1)
        self.device = model.schedule.log_alpha_bar.device
        self.edges = sampled_bound.bins(model.T).to(self.device)
        self.plan: sampled_bound.Plan | None = None
        self.asked = {
            **(facts or {}), "pictures": sha256(pictures), "calls": self.calls, "seed": seed, "T": model.T,
            "weights": sha256(*(value.detach().cpu() for value in model.state_dict().values())),
        }  # fmt: skip
        if folder is not None:
            self._claim(folder)

    def _claim(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(folder)
        if not (folder / ASKED).exists():
            save_json(folder / ASKED, self.asked)
        before = load_json(folder / ASKED)
        if differs := [key for key in self.asked if before.get(key) != self.asked[key]]:
            raise BrokenFile(f"{folder}: holds another measurement, of other {', '.join(differs)}: need another folder")

    @property
    def parts(self) -> range:
        """The numbers of all parts."""
        return range(math.ceil(len(self.pictures) / PART))

    @property
    def whole(self) -> bool:
        """Whether all terms are summed."""
        return self.calls == self.model.T - 1

    def states(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures (n, d) as states of the chain, (n, d)."""
        inside = uniform(tuple(pictures.shape), generator) if self.model.last is None else 0.5
        return (pictures.to(self.device).double() + inside - self.mean) / self.std

    @torch.no_grad()
    def measure(self, number: int) -> dict[str, Any]:
        """Part ``number``: ``bits`` (n,), their split in sums over its pictures, and its network calls.

        It is read where it was written before. FloatingPointError where a network answers with NaN or infinity.
        """
        path = None if self.folder is None else self.folder / f"part-{number:05d}.json"
        if path is not None and path.exists():
            return load_json(path)
        generator = seeded(self.seed * PRIME + number + 1, self.device)
        x0 = self.states(self.pictures[number * PART : (number + 1) * PART], generator)
        if self.whole:
            terms = bound.terms(self.model, x0, generator)
            bins = torch.stack([terms.kl[a:b].sum(0) for a, b in zip(self.edges[:-1], self.edges[1:], strict=True)], 1)
            used = len(x0) * (self.model.T - 1 + (self.model.last is not None))
            prior, last = terms.prior + terms.entropy_T, terms.edge - terms.entropy_1
            found = sampled_bound.SampledBound(prior, -bins, last, used)
        else:
            start = float(uniform((), seeded(self.seed)))
            found = sampled_bound.estimate(self.model, x0, self._plan(), self.calls, generator, number * PART, start)
        unit = -1 / (self.model.kernel.dim * LN2)
        shift = math.log2(self.std) if self.model.last is None else 0.0
        bits = found.K * unit + shift
        if not torch.isfinite(bits).all():
            i = int((~torch.isfinite(bits)).nonzero()[0])
            raise FloatingPointError(f"bits: {float(bits[i])} at picture {number * PART + i}: the network fails there")
        record = {
            "bits": bits.tolist(),
            "prior": float((found.prior * unit).sum()),
            "steps": (found.steps * unit).sum(0).tolist(),
            "last": float((found.last * unit + shift).sum()),
            "calls": found.calls,
        }
        if path is not None:
            save_json(path, record)
        return record

    def _plan(self) -> sampled_bound.Plan:
        """The pilot's, made once: by each process, from the same pictures and the same seed."""
        if self.plan is None:
            generator = seeded(self.seed * PRIME, self.device)
            some = self.states(self.pictures[: sampled_bound.MOST_STATES], generator)
            self.plan = sampled_bound.pilot(self.model, some, generator, edges=self.edges)
        return self.plan

    def report(self, parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Bits per dimension with standard error, the split, and ``along``: [first t, last t, bits] of each bin."""
        parts = list(parts)
        bits = torch.tensor([value for part in parts for value in part["bits"]], dtype=torch.float64)
        n = len(bits)
        steps = [sum(part["steps"][b] for part in parts) / n for b in range(len(self.edges) - 1)]
        pilot = 0 if self.whole else self._plan().calls
        ends = zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), steps, strict=True)
        return {
            "bits_per_dimension": float(bits.mean()),
            "bits_per_dimension_stderr": stderr(bits),
            "prior_bits": sum(part["prior"] for part in parts) / n,
            "steps_bits": sum(steps),
            "last_bits": sum(part["last"] for part in parts) / n,
            "along": [[low, high - 1, value] for low, high, value in ends],
            "pictures": n,
            "dimensions": self.model.kernel.dim,
            "calls_for_each_picture": self.calls,
            "calls": sum(part["calls"] for part in parts) + pilot,
            "calls_of_the_full_sum": n * (self.model.T - 1 + (self.model.last is not None)),
        }


def drawing(along: list[list[float]], write: Callable[[str], None], width: int = 50) -> None:
    """Where along t the bits lie, a line and a bar for each bin of times, given to ``write``."""
    most = max((abs(value) for *_, value in along), default=0) or 1
    for low, high, value in along:
        times = f"t = {low:.0f}" if low == high else f"t = {low:.0f}..{high:.0f}"
        write(f"{times:>16}  {value:9.5f}  {'#' * round(width * abs(value) / most)}")


def in_words(record: dict[str, Any]) -> str:
    """The bits of a ``report`` with their standard error, and the three parts that make them."""
    parts = (f"{words} {record[f'{name}_bits']:.4f}" for name, words in PARTS.items())
    bits, error = record["bits_per_dimension"], record["bits_per_dimension_stderr"]
    return f"{bits:.4f} +- {error:.4f} bits a dimension: {', '.join(parts)}"
