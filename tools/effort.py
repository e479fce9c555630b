"""How hard an exercise is: what its author says in the directive, and how the book says it.

`:class: minutes-15 pen code` in an exercise: about how many minutes it takes somebody who has read the chapter, and
whether with pen, with code, or both. The book's extension `exercises`, the copies and the chapter contract read it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

GRADES = {5: "Easy", 15: "Medium", 40: "Hard"}
TOOLS = ("pen", "code")


@dataclass(frozen=True)
class Effort:
    minutes: int
    tools: tuple[str, ...]

    @property
    def grade(self) -> str:
        return GRADES[self.minutes]

    @property
    def words(self) -> str:
        return f"{self.grade}: about {self.minutes} minutes, with {' and '.join(self.tools)}"


def effort(classes: Iterable[str]) -> Effort:
    """Of the words of the option `class`. ValueError if they do not say it."""
    given = set(classes)
    minutes = [minutes for minutes in GRADES if f"minutes-{minutes}" in given]
    tools = tuple(tool for tool in TOOLS if tool in given)
    if len(minutes) != 1 or not tools:
        need = ", ".join(f"minutes-{minutes}" for minutes in GRADES)
        raise ValueError(f"class: {' '.join(sorted(given))!r}: need one of {need}, and one or both of pen and code")
    return Effort(minutes[0], tools)
