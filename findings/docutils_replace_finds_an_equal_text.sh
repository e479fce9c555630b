#!/bin/sh
# docutils: which child does `parent.replace(child, new)` replace?
#
# Guess, written down before: the child that is handed over. It is a node of the tree, it knows its parent, and two nodes
# are two objects.
#
# Seen (0.21.2): the first child that is *equal*. Elements are equal only to themselves, but a Text node is a string, and
# equal to every text that says the same. So in "*one*, *two*, `f(x)`, *three*" to replace the third ", " changes the
# first, and the comma that was meant stays. `parent.index` and `parent.remove` go by the same rule. An extension that
# moves punctuation works until a sentence has two commas. What does not fail: `parent[i] = new`, by place.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check docutils==0.21.2 2>"$folder/said" || {
  cat "$folder/said"
  exit 1
}
"$folder/venv/bin/python" - <<'PY'
from docutils import __version__, nodes
from docutils.core import publish_doctree

assert __version__ == "0.21.2"
text = "*one*, *two*, ``f(x)``, *three*"


def paragraph():
    return publish_doctree(text).next_node(nodes.paragraph)


row = paragraph()
third = row.children[-2]
assert isinstance(third, nodes.Text) and third == ", " and third.parent is row
print("index of the third comma:", row.index(third), "of", [child.astext() for child in row])
row.replace(third, nodes.Text(" AND "))
print("replaced:", row.astext())
assert row.astext() == "one AND two, f(x), three"

row = paragraph()
row.remove(row.children[-2])
print("removed: ", row.astext())
assert row.astext() == "onetwo, f(x), three"

row = paragraph()
row[len(row) - 2] = nodes.Text(" AND ")
print("by place:", row.astext())
assert row.astext() == "one, two, f(x) AND three"
PY
