"""Text as strings of characters: this book's prose, or a file of one's own, in windows of one length.

``book()`` is the prose of the chapters (CC BY), fixed when it was taken from them, split by chapters. A character is a
number 0..S-1, its place in the alphabet; what a mask is called is no business of the data's.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core import results
from dpm_lib.core.checks import count
from dpm_lib.data.dataset import Data, sha256

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz0123456789.,;:?'\"()-*"
VALIDATION = ("posteriors",)
HELD_OUT = ("swiss-roll", "tweedie", "bits")
MOST_CHARACTERS = 1000  # in an alphabet
HEADING = "=== "  # before the name of a chapter, on a line of its own


def known(name: str) -> bool:
    """Whether a data set of this name is a text: "text", this book's prose, or "text:PATH", a file of one's own."""
    return name == "text" or name.startswith("text:")


@dataclass(frozen=True)
class Text(Data):
    """Parts of a text, each a string of numbers 0..S-1, int64 (characters,), in three groups.

    ``length`` is that of a window. ValueError for a group in which no part is that long.
    """

    target: None = field(default=None, init=False)
    alphabet: str
    length: int
    train: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    test: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        count("length", self.length, 2)
        for group in ("train", "validation", "test"):
            longest = max((len(part) for part in getattr(self, group)), default=0)
            if longest < self.length:
                raise ValueError(f"text: {group} of {self.name} has {longest} characters: need {self.length}, a window")

    @property
    def characters(self) -> int:
        """S, how many characters the alphabet has."""
        return len(self.alphabet)

    @property
    def dim(self) -> int:
        """Characters in a window."""
        return self.length

    @property
    def bits(self) -> bool:
        """Always: they are strings."""
        return True

    @property
    def tokens(self) -> int:
        return self.characters

    @property
    def validates(self) -> bool:
        return True

    @cached_property
    def _training(self) -> tuple[Tensor, Tensor]:
        """The training parts behind one another, (characters,), and where in them a window may begin, (starts,)."""
        whole, begin, starts = torch.cat(self.train), 0, []
        for part in self.train:
            starts.append(begin + torch.arange(len(part) - self.length + 1 if len(part) >= self.length else 0))
            begin += len(part)
        return whole, torch.cat(starts)

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n windows of the training text, from anywhere within a part, (n, length), float64 as states of the chain."""
        whole, starts = self._training
        chosen = starts[torch.randint(len(starts), (n,), generator=generator)]
        return whole[chosen.unsqueeze(1) + torch.arange(self.length)].double()

    def held_out(self, n: int | None = None, seed: int = 0) -> Tensor:  # type: ignore[override]
        """n held-out windows, spread evenly, or all of them where n is none or more, (n, length), float64.

        ``seed`` is not used. ValueError for n < 0.
        """
        windows = self.windows().double()
        n = len(windows) if n is None else min(len(windows), count("n", n, 0))
        return windows[(torch.arange(n) * len(windows)) // max(1, n)]

    def validation_rows(self, least: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """All windows of the validation text, once, (n, length), float64."""
        return self.windows("validation").double(), None

    def record(self) -> dict[str, Any]:
        """The alphabet, the length of a window, and the characters and SHA-256 of each group."""
        names = {"train": "train", "validation": "validation", "held_out": "test"}
        parts = {name: torch.cat(getattr(self, group)) for name, group in names.items()}
        facts = {name: len(part) for name, part in parts.items()}
        digests = {f"{name}_sha256": sha256(part) for name, part in parts.items()}
        return {"name": self.name, "alphabet": self.alphabet, "length": self.length, **facts, **digests}

    def windows(self, group: str = "test") -> Tensor:
        """All windows of a group, one behind the other, (n, length). What is left at the end of a part is left out."""
        parts = getattr(self, group)
        return torch.cat([part[: len(part) // self.length * self.length].view(-1, self.length) for part in parts])

    def encode(self, text: str) -> Tensor:
        """The numbers of a string, (characters,). ValueError names a character that the alphabet does not have."""
        return encode(text, self.alphabet)

    def decode(self, numbers: Tensor, mask: str = "_") -> str:
        """The string of numbers (characters,); S becomes ``mask``. ValueError for a number outside 0..S."""
        return decode(numbers, self.alphabet, mask)


def encode(text: str, alphabet: str = ALPHABET) -> Tensor:
    """The places of characters in ``alphabet``, int64 (characters,). ValueError names one that is not there."""
    places = {character: place for place, character in enumerate(alphabet)}
    if strange := sorted(set(text) - set(alphabet)):
        at = min(text.index(character) for character in strange)
        few = ", ".join(map(repr, strange[:8])) + (", ..." if len(strange) > 8 else "")
        raise ValueError(f"text: {few}: need characters of the alphabet {alphabet!r}; the first is at {at}")
    return torch.tensor([places[character] for character in text], dtype=torch.long)


def decode(numbers: Tensor, alphabet: str, mask: str = "_") -> str:
    """The string of numbers (characters,), places in ``alphabet``; S becomes ``mask``. ValueError for others."""
    values = numbers.long().tolist()
    if values and not 0 <= min(values) <= max(values) <= len(alphabet):
        raise ValueError(f"numbers: {min(values)} to {max(values)}: need 0 to {len(alphabet)}, the mask")
    return "".join((alphabet + mask[:1])[value] for value in values)


def book(length: int = 128) -> Text:
    """This book's prose, its chapters in three groups: most to train, VALIDATION, and HELD_OUT."""
    parts = chapters()
    groups = {"validation": VALIDATION, "test": HELD_OUT, "train": set(parts) - {*VALIDATION, *HELD_OUT}}
    split = {
        group: tuple(encode(text) for slug, text in parts.items() if slug in names) for group, names in groups.items()
    }
    return Text("text", ALPHABET, length, **split)


def chapters() -> dict[str, str]:
    """The prose of each chapter, by its name: a line for each paragraph."""
    parts = results.path("prose.txt").read_text(encoding="ascii").split(HEADING)[1:]
    return dict(part.split("\n", 1) for part in parts)  # type: ignore[misc]


def own(path: str | Path, length: int = 128) -> Text:
    """A text file (UTF-8): its alphabet is what occurs in it; the last tenth is held out, validation is the one before.

    ValueError where it cannot be read, is no UTF-8, has fewer than two kinds of character or more than 1000, or is too
    short for windows of this length.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"text: {path}: need UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ValueError(f"text: {path}: {error.strerror}") from None
    alphabet = "".join(sorted(set(text)))
    if not 2 <= len(alphabet) <= MOST_CHARACTERS:
        kinds = f"{len(alphabet)} kinds of character" if text else "empty"
        raise ValueError(f"text: {path}: {kinds}: need 2 to {MOST_CHARACTERS} kinds, and 10 windows' length")
    numbers, tenth = encode(text, alphabet), len(text) // 10
    train, validation, test = numbers.tensor_split((len(text) - 2 * tenth, len(text) - tenth))
    return Text(f"text:{path}", alphabet, length, (train,), (validation,), (test,))


def record(text: Text) -> dict[str, Any]:
    """How many characters are in each group."""
    return {group: sum(len(part) for part in getattr(text, group)) for group in ("train", "validation", "test")}
