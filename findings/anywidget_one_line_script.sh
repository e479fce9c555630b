#!/bin/sh
# anywidget: when is the string in `_esm` a script, and when the path of a file?
#
# Guess, written down before: it is source, unless it is the path of a file that exists. A script that begins with
# `export default` surely is source.
#
# Seen (0.11.0): a string of one line whose end looks like a file's name is a path, whatever stands before: a minified
# script that closes with its version (`... // widget v1.2`) or with its source map (`... //# sourceMappingURL=a.js.map`)
# cannot be put into a widget at all: FileNotFoundError, when its class is defined. A line's end, or any other last
# character, and the same text is a script.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check anywidget==0.11.0 2>"$folder/said" || {
  cat "$folder/said"
  exit 1
}
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

import anywidget

assert version("anywidget") == "0.11.0"


def taken(source):
    try:
        made = type("Widget", (anywidget.AnyWidget,), {"_esm": source})()
    except FileNotFoundError:
        return "a path"
    return "source" if made._esm == source else "something else"


script = "export default{render({el}){el.append(1)}}"
for source, seen in (
    (script, "source"),
    (script + " // widget v1.2", "a path"),
    (script + " //# sourceMappingURL=a.js.map", "a path"),
    (script + " // widget v1.2\n", "source"),
    (script + " // widget v1.2;", "source"),
):
    print(f"{source!r}: {taken(source)}")
    assert taken(source) == seen, source
PY
