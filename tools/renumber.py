"""Make the numbers in the names of files those of the pages.

`python tools/renumber.py` reads the order of chapters from `_toc.yml`, renames each notebook and its tests to the
number that its page has, and mends every mention of these names. So a chapter is added or moved in `_toc.yml`, under
any number, and then this is run. Then read `git diff`: only names should have changed.
"""

import argparse
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from chapters import ROOT, chapter_numbers


def renamed(stems: dict[str, str]) -> dict[str, str]:
    """Old and new names of those chapters (name: number on the page) whose name has another number."""
    new = {stem: f"{int(number):02d}-{re.sub(r'^[0-9]+-', '', stem)}" for stem, number in stems.items()}
    if len(set(new.values())) < len(new):
        raise ValueError("two chapters have one name, apart from their numbers: one would replace the other")
    return {old: name for old, name in new.items() if old != name}


def rewritten(text: str, names: dict[str, str]) -> str:
    """``text`` with every whole mention of the old names replaced, as it stands or with _ for -, all at once."""
    both = names | {old.replace("-", "_"): new.replace("-", "_") for old, new in names.items()}
    pattern = "|".join(re.escape(old) for old in sorted(both, key=len, reverse=True))
    return re.sub(rf"(?<![0-9A-Za-z-])({pattern})(?![A-Za-z0-9-])", lambda found: both[found[1]], text)


def renumber(root: Path, files: Iterable[str], names: dict[str, str]) -> list[str]:
    """Do it to ``files`` below ``root``; returns those that changed. Files that are no text keep what they hold."""
    changed, moves = [], []
    for file in files:
        path = root / file
        target = root / rewritten(file, names)
        try:
            before = path.read_text(encoding="utf-8")
            after = rewritten(before, names)
        except UnicodeDecodeError:
            before = after = ""
        if after != before:
            path.write_text(after, encoding="utf-8")
        if target != path:
            moves.append((path, target))
        if after != before or target != path:
            changed.append(file)
    for path, _ in moves:  # first all away, since a new name may be the old name of another
        path.rename(path.with_name(path.name + ".moving"))
    for path, target in moves:
        path.with_name(path.name + ".moving").rename(target)
    return changed


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    files = [file for file in listed if (ROOT / file).is_file() and file != "CHANGELOG.md"]
    names = renamed(chapter_numbers())
    changed = renumber(ROOT, files, names) if names else []
    print("\n".join([*(f"{old} -> {new}" for old, new in names.items()), f"{len(changed)} files changed"]))
