"""Numeric questions at the end of a chapter's sections, whose answers are numbers that the notebook has computed.

A notebook shows the question, with hint and answer folded; the built page also takes an answer and checks it
(`book/_static/questions.js`).
"""

import html
import math
import re
from dataclasses import dataclass
from typing import Any

ROLE = re.compile(r"\{[\w:-]+\}`")
LARGEST_SHARE = 0.25  # of the answer that a tolerance may be: half of it, twice it and its negative are wrong


@dataclass(frozen=True)
class Question:
    """What ``ask`` makes of a question: ``shown`` is the answer to as many digits as its tolerance allows."""

    text: str
    shown: str
    within: str
    unit: str
    hint: str

    @property
    def answer(self) -> str:
        """The answer in words, with its unit and its tolerance."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.shown}{unit} (anything within {self.within} of it is right)"

    def _repr_markdown_(self) -> str:
        """Markdown that each notebook program can show, in tags by which the page knows it."""
        data = {"answer": self.shown, "within": self.within, "unit": self.unit}
        attributes = "".join(f' data-{name}="{html.escape(value)}"' for name, value in data.items())
        return "\n\n".join(
            [
                f'<div class="question"{attributes}>',
                f"**Question.** {self.text}",
                '<details class="question-hint"><summary>Hint</summary>',
                self.hint,
                "</details>",
                f'<details class="question-answer"><summary>Answer</summary>{html.escape(self.answer)}</details>',
                "</div>",
            ]
        )

    def __repr__(self) -> str:
        return f"Question. {self.text}\nHint: {self.hint}\nAnswer: {self.answer}"


def ask(
    text: str, answer: Any, *, hint: str, unit: str = "", within: float | None = None, stderr: float = 0.0
) -> Question:
    """A numeric question about what was just read, which its page can check: the last line of a cell.

    ``text`` and ``hint`` are Markdown with formulas in dollars; no roles, which only the built page would understand.
    ``answer`` is a number that the notebook has computed. What is ``within`` (absolute) of it counts as right; without
    it, what is within a hundredth of the answer. For a Monte Carlo estimate give its ``stderr``: the tolerance must be
    three times as large, or who knows the exact value might be told that it is wrong. ValueError for a text, hint or
    unit that cannot be shown, for an answer that is not finite, and for a tolerance that is not positive, or so wide
    that half the answer, or twice it, would be right.
    """
    for name, given in (("text", text), ("hint", hint)):
        if not isinstance(given, str) or not given.strip():
            raise ValueError(f"{name}: {given!r}: need words")
        if role := ROLE.search(given):
            raise ValueError(f"{name}: {role[0]!r}: need Markdown without roles: notebooks do not know them")
    if not isinstance(unit, str) or re.search(r"[$<>\n]", unit):
        raise ValueError(f"unit: {unit!r}: need plain words")
    value = _number("answer", answer)
    if stderr < 0 or not math.isfinite(stderr):
        raise ValueError(f"stderr: {stderr}: need a standard error, 0 where the answer is exact")
    if within is None and value == 0:
        raise ValueError("within: None: need a tolerance where the answer is 0")
    width = abs(_digits(value, 6)) / 100 if within is None else _number("within", within)
    if width <= 0:
        raise ValueError(f"within: {width}: need a positive number")
    if value and width > LARGEST_SHARE * abs(value):
        raise ValueError(f"within: {width}: need at most a quarter of the answer, {value}")
    tolerance = _digits(width, 2)
    if tolerance < 3 * stderr:
        raise ValueError(f"within: {width}: need at least three standard errors, {3 * stderr:.3g}")
    shown = _round(value, 10.0 ** math.floor(math.log10(tolerance / 2)))
    return Question(text.strip(), shown, f"{tolerance:.12g}", unit.strip(), hint.strip())


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {value!r}: need a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: {number}: need a finite number")
    return _digits(number, 9)  # so that what is 1/8 but for rounding is shown as 1/8 is


def _digits(value: float, digits: int) -> float:
    """``value`` with so many digits: what is made of it is the same on other processors."""
    return float(f"{value:.{digits - 1}e}")


def _round(value: float, step: float) -> str:
    """``value`` to a multiple of ``step``, a power of ten that is at most half the tolerance."""
    places = max(0, -round(math.log10(step)))
    nearest = round(value / step) * step + 0.0  # no -0
    if 0 < abs(nearest) < 1e-4:
        return f"{nearest:.{max(0, math.floor(math.log10(abs(nearest))) + places)}e}"
    return f"{nearest:.{places}f}"
