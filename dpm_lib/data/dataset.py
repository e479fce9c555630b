"""What a data set is: what training draws from, what evaluation holds out, and the units of both."""

import hashlib
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dpm_lib.core.checks import checked_states, count
from dpm_lib.core.random import seeded
from dpm_lib.probability.codebooks import Codebook
from dpm_lib.probability.mixtures import Mixture
from dpm_lib.probability.swiss_roll import SwissRoll

DATA = ("swiss-roll", "heartbeat")


@dataclass(frozen=True)
class Data:
    """A data set of dimension ``dim``; ``target`` is its exact distribution, or None where that is not known.

    ``batch(n, generator)`` gives training data (n, dim), ``held_out(n, seed)`` gives data that training never sees,
    both as states of the chain: one data unit is exp(``log_scale`` / dim) of the chain's.
    """

    name: str
    target: Mixture | Codebook | None

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        assert self.target is not None
        return self.target.dim

    @property
    def bits(self) -> bool | None:
        """Whether they are strings, of bits or other tokens; None where they will do for all kernels."""
        return None if self.target is None else isinstance(self.target, Codebook)

    @property
    def tokens(self) -> int:
        """How many tokens strings are made of."""
        return self.target.tokens if isinstance(self.target, Codebook) else 2

    @property
    def classes(self) -> int:
        """How many classes the rows are labelled with; 0 where they have no labels."""
        return 0

    @property
    def log_scale(self) -> float:
        """The sum over coordinates of log(data unit / chain unit), nats: log p(data) = log p(state) - log_scale."""
        return 0.0

    def labelled(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``batch``, (n, dim), and the label of each row, (n,). ValueError for data without."""
        raise ValueError(f"data: {self.name!r} have no labels")

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n training rows, (n, dim), in the units of the chain."""
        assert self.target is not None
        return self.target.sample(n, generator)

    def held_out(self, n: int, seed: int = 0) -> Tensor:
        """n rows that training never sees, (n, dim), in the units of the chain. ValueError for n < 0."""
        assert self.target is not None
        return self.target.sample(count("n", n, 0), seeded(1_000_003 + seed))

    @property
    def validates(self) -> bool:
        """Whether there are data to look at while training, neither trained on nor held out: ``validation_rows``."""
        return False

    def validation_rows(self, least: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """What a run looks at, (n, dim), in the units of the chain, and labels (n,) where there are any.

        Of few rows each stands there several times, for ``least`` in all. ValueError for data without.
        """
        raise ValueError(f"data: {self.name!r} have nothing set aside for validation")

    def draws_on(self, device: torch.device) -> bool:
        """Whether ``batch`` takes a generator of this device, and draws there: of a law, on the CPU alone."""
        return device.type == "cpu"

    def record(self) -> dict[str, Any]:
        """Which data these are, as far as the recipe does not say it, for the files of a run."""
        record: dict[str, Any] = {"name": self.name}
        if isinstance(self.target, SwissRoll):
            record["noise"] = self.target.noise
        elif self.name not in DATA and self.target is not None:
            law = self.target
            parts = (law.rows, law.weights) if isinstance(law, Codebook) else (law.centers, law.weights, law.variance)
            record["law_sha256"] = sha256(*(torch.as_tensor(part, dtype=torch.float64) for part in parts))
        return record


@dataclass(frozen=True, kw_only=True)
class Points(Data):
    """Your own points, (n, d) float64 in their own units: ``train`` and ``test``. Or strings of bits, zeros and ones.

    States of the chain have mean 0 and variance 1 in each coordinate, by the training points' ``mean`` and ``std``
    (d,); bits stay as they are. ``split`` says in words which points are held out. ValueError, naming the place, where
    a number is not finite, or where a coordinate has one value in all training points: it has no density.
    """

    train: Tensor
    test: Tensor
    split: str
    target: None = field(default=None, init=False)
    mean: Tensor = field(init=False)
    std: Tensor = field(init=False)

    def __post_init__(self) -> None:
        for which in ("train", "test"):
            object.__setattr__(self, which, checked_states(getattr(self, which), "data"))
        mean, std = self.train.mean(0), self.train.std(0, correction=0)
        if self.bits:
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        elif bool((std == 0).any()):
            j = int((std == 0).nonzero()[0])
            raise ValueError(f"data: column {j} is {float(mean[j]):g} in all training points: it has no density")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    @property
    def dim(self) -> int:
        return self.train.shape[1]

    @property
    def bits(self) -> bool:
        """Whether all are zeros and ones."""
        return all(bool(((x == 0) | (x == 1)).all()) for x in (self.train, self.test))

    @property
    def log_scale(self) -> float:
        return float(self.std.log().sum())

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n training points, drawn with replacement, (n, d)."""
        chosen = torch.randint(len(self.train), (n,), generator=generator)
        return (self.train[chosen] - self.mean) / self.std

    def held_out(self, n: int | None = None, seed: int = 0) -> Tensor:  # type: ignore[override]
        """The first n held-out points, or all of them where n is none or more, (n, d); ``seed`` is not used.

        ValueError for n < 0.
        """
        chosen = self.test if n is None else self.test[: count("n", n, 0)]
        return (chosen - self.mean) / self.std

    def record(self) -> dict[str, Any]:
        """The split, its sizes, the SHA-256 of the points on each side, and the units."""
        units = {"mean": self.mean.tolist(), "std": self.std.tolist()}
        return {"name": self.name, "split": self.split, **sides({"train": self.train, "held_out": self.test}), **units}


@dataclass(frozen=True, kw_only=True)
class Strings(Data):
    """Your own strings of tokens 0..S-1, (n, d): ``train`` and ``test``. ``split`` says in words which are held out.

    ``vocabulary`` is S; a mask is no token of theirs. ValueError, naming the place, for what is no token, for a shape
    without rows or tokens, and for fewer than two kinds.
    """

    train: Tensor
    test: Tensor
    split: str
    vocabulary: int
    target: None = field(default=None, init=False)

    def __post_init__(self) -> None:
        S = count("vocabulary", self.vocabulary, 2)
        for which in ("train", "test"):
            x = checked_states(torch.as_tensor(getattr(self, which)).double(), "data")
            bad = (x < 0) | (x >= S) | (x != x.round())
            if bad.any():
                where = tuple(bad.nonzero()[0].tolist())
                why = " (that is the mask, which data do not hold)" if float(x[where]) == S else ""
                raise ValueError(f"data: {x[where].item():g} at index {where} of {which}{why}: need tokens 0..{S - 1}")
            object.__setattr__(self, which, x)

    @property
    def dim(self) -> int:
        return self.train.shape[1]

    @property
    def bits(self) -> bool:
        """Always: they are strings."""
        return True

    @property
    def tokens(self) -> int:
        return self.vocabulary

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n training strings, drawn with replacement, (n, d), float64."""
        return self.train[torch.randint(len(self.train), (n,), generator=generator)]

    def held_out(self, n: int | None = None, seed: int = 0) -> Tensor:  # type: ignore[override]
        """The first n held-out strings, or all of them where n is none or more, (n, d); ``seed`` is not used.

        ValueError for n < 0.
        """
        return self.test if n is None else self.test[: count("n", n, 0)]

    def record(self) -> dict[str, Any]:
        """The split, its sizes, the SHA-256 of each side, and how many tokens there are."""
        parts = {"train": self.train, "held_out": self.test}
        return {"name": self.name, "split": self.split, **sides(parts), "tokens": self.vocabulary}


def independent_log_prob(x: Tensor, train: Tensor, tokens: int) -> Tensor:
    """log p of strings x (n, d) as independent tokens, each by its share at that place among those to train on (m, d).

    (n,), nats. To each count 1 is added.
    """
    counts = nn.functional.one_hot(train.long(), tokens).sum(0).double() + 1
    table = (counts / counts.sum(-1, keepdim=True)).log()
    return table.expand(len(x), -1, -1).gather(-1, x.long().unsqueeze(-1)).squeeze(-1).sum(-1)


def original(x: Tensor, data_set: dict[str, Any]) -> Tensor:
    """States x (n, d) of a chain in the units of the data that ``data_set`` describes, as a model's does.

    For pictures these are levels, from 0 to the number of levels, with the uniform noise on top.
    """
    units = (torch.as_tensor(data_set.get(key, at), dtype=x.dtype, device=x.device) for key, at in UNITS.items())
    mean, std = units
    return x * std + mean


UNITS = {"mean": 0.0, "std": 1.0}  # of data whose record names none


def permuted(name: str, values: Tensor, held_out: int = 0) -> tuple[Tensor, Tensor, str]:
    """Of ``values`` (n, ...) the rows to train, those held out (a tenth by default), and the split in words.

    ValueError for fewer than four.
    """
    if len(values) < 4:
        raise ValueError(f"data: {name} has {len(values)} rows; at least 4 are needed: 2 to train, 2 held out")
    held_out = held_out or max(2, round(len(values) / 10))
    order = np.random.default_rng(0).permutation(len(values))
    words = f"permutation by numpy.random.default_rng(0): the last {held_out} of {len(values)} are held out"
    return values[order[:-held_out]], values[order[-held_out:]], words


def seen_before(train: Tensor, test: Tensor, kind: str) -> str:
    """Words, and a warning, on how many held-out rows (m, d) are training rows (n, d) too: "" where none is."""
    rows = {row.tobytes() for row in train.numpy()}
    if not (seen := sum(row.tobytes() in rows for row in test.numpy())):
        return ""
    words = f"{seen} of the {len(test)} held-out {kind} are among those to train on, too"
    warnings.warn(f"data: {words}: K on them is no measure of what was learned", stacklevel=3)
    return f"; {words}"


def sides(parts: dict[str, Tensor]) -> dict[str, Any]:
    """How many rows are in each part (n, d) of a split, and their SHA-256."""
    return {name: len(rows) for name, rows in parts.items()} | {
        f"{name}_sha256": sha256(rows) for name, rows in parts.items()
    }


def sha256(*tensors: Tensor) -> str:
    """Of the bytes of tensors, one after the other."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """In which facts a record of data differs from ``ours``, in words. A name or a folder may change, digests not."""
    words = {"name", "split", *UNITS} if any(key.endswith("sha256") for key in theirs) else set()
    changed = [key for key in theirs if key not in words and theirs[key] != ours.get(key)]
    return [f"data {key} {theirs[key]}, not {ours.get(key)}" for key in changed]
