"""Citations that can be told apart: where two works have the same authors' label and year, the years get letters.

"Song et al. [2021]" would be two papers; they become [2021a] and [2021b], in the order of their keys, in the text and
in the list of references.
"""

from collections import defaultdict
from collections.abc import Mapping

from pybtex.database import Entry
from sphinx.application import Sphinx


def names(entry: Entry) -> str:
    """The authors as a citation has them: one, two, or the first et al."""
    people = [
        " ".join(
            str(part)
            for part in (*person.rich_prelast_names, *person.rich_last_names)
        )
        for person in entry.persons["author"]
    ]
    return f"{people[0]} et al." if len(people) > 2 else " and ".join(people)


def tell_apart(entries: Mapping[str, Entry]) -> None:
    """Put letters behind the years of works whose citations would read the same; twice does no more than once."""
    alike = defaultdict(list)
    for entry in (entries[key] for key in sorted(entries)):
        year = entry.fields["year"].rstrip("abcdefghijklmnopqrstuvwxyz")
        alike[names(entry), year].append(entry)
    for (_, year), works in alike.items():
        letters = "abcdefghijklmnopqrstuvwxyz" if len(works) > 1 else ("",)
        for work, letter in zip(works, letters, strict=False):
            work.fields["year"] = year + letter


def mark(app: Sphinx) -> None:
    tell_apart(app.env.get_domain("cite").bibdata.data.entries)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
