"""The scripts of the figures: ES modules in ``widgets/js``, bundled to one text for each figure.

A widget carries its whole script, so that it works wherever a notebook is opened. While the book is built, the
environment variable DPM_FIGURES=named makes it carry a name instead: the page then loads the script from a file, and a
change in a script needs no chapter to be executed again. (The name ends with a line's end, or anywidget takes
it for a path.) Python's standard library alone, so that tools start quickly.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).parent / "widgets" / "js"
NAMED = "DPM_FIGURES"
NAMED_SCRIPT = re.compile(r"// dpm_lib: ([\w-]+\.js)\n")
NAMED_SHEETS = re.compile(r"/\* dpm_lib: ([\w. -]+) \*/\n")
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_KINDS = r"(?:const|let|var|(?:async )?function\*?|class)"
_EXPORT = re.compile(rf"^export (?={_KINDS} )", re.MULTILINE)
_DECLARED = re.compile(rf"^(?:export )?{_KINDS} (\w+|\{{[^}}]*\}}|\[[^\]]*\])", re.MULTILINE)
_STRAY = re.compile(rf"^(?:import\b|export (?!default\b|{_KINDS} )).*", re.MULTILINE)


def script(name: str) -> str:
    """What a widget carries as its script: ``bundle(name)``, or, while the book is built, a comment with the name."""
    return f"// dpm_lib: {name}\n" if os.environ.get(NAMED) == "named" else bundle(name)


def style(*names: str) -> str:
    """What a widget carries as its style: the sheets, one after the other, or, while the book is built, their names."""
    return f"/* dpm_lib: {' '.join(names)} */\n" if os.environ.get(NAMED) == "named" else sheet(*names)


def sheet(*names: str) -> str:
    """The texts of style sheets, joined. FileNotFoundError for one that is not there."""
    return "\n".join((SCRIPTS / name).read_text(encoding="utf-8") for name in names)


def bundle(name: str, folder: Path = SCRIPTS) -> str:
    """The module ``name`` and all that it imports, at any depth, as one module: each once, before who imports it.

    Raises ValueError where two of the modules declare the same name, an imported name is not exported, an import has a
    form that is not followed, or modules import each other in a circle; FileNotFoundError for a module that is missing.
    """
    order: list[str] = []
    sources: dict[str, str] = {}
    _collect(name, folder, (), order, sources)
    homes: dict[str, str] = {}
    for module in order:
        for declared in _declared(sources[module]):
            if declared in homes:
                raise ValueError(f"{name}: {homes[declared]} and {module} both declare {declared}")
            homes[declared] = module
    parts = [_IMPORT.sub("", sources[module]) for module in order]
    return "\n".join([*(_EXPORT.sub("", part) for part in parts[:-1]), parts[-1]])


def _collect(name: str, folder: Path, path: tuple[str, ...], order: list[str], sources: dict[str, str]) -> None:
    """Put ``name``, after all that it imports, into ``order``, and its text into ``sources``."""
    if name in path:
        raise ValueError(f"{name}: imports itself, by way of {' and '.join(path[path.index(name) + 1 :]) or name}")
    if name in order:
        return
    source = (folder / name).read_text(encoding="utf-8")
    rest = _IMPORT.sub("", source)
    if stray := _STRAY.search(rest):
        raise ValueError(
            f'{name}: {stray.group(0)!r}: need import {{ names }} from "./x.js"; or a declaration\'s export'
        )
    for names, other in _IMPORT.findall(source):
        _collect(other, folder, (*path, name), order, sources)
        exported = set(_declared("\n".join(re.findall(r"^export .*", sources[other], re.MULTILINE))))
        for wanted in (one.strip() for one in names.split(",") if one.strip()):
            if wanted not in exported:
                raise ValueError(f"{name}: imports {wanted!r} from {other}, which does not export it")
    order.append(name)
    sources[name] = source


def _declared(source: str) -> Iterator[str]:
    """The names that a module declares at its top level."""
    for found in _DECLARED.findall(source):
        yield from re.findall(r"[A-Za-z_$]\w*(?=\s*[,}\]=])", found) if found[0] in "{[" else (found,)
