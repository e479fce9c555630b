"""The bundles of the figures' scripts: depth, order, collisions, and what is refused."""

import os
import pkgutil
import re
import subprocess
import sys

import pytest

from dpm_lib.figures import scripts
from dpm_lib.figures.scripts import SCRIPTS, bundle

PLAIN = {
    "a.js": 'import { b } from "./b.js";\nimport { c } from "./c.js";\n\nexport default { render: () => b + c };\n',
    "b.js": 'import { c, d } from "./c.js";\n\nexport const b = c + d;\nconst own = 1;\n',
    "c.js": "export const c = 1;\nexport function d() {}\nexport const { e, f: g } = {};\nasync function h() {}\n",
}


@pytest.fixture
def folder(tmp_path):
    def write(**changes):
        for name, text in (PLAIN | {f"{key}.js": text for key, text in changes.items()}).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_imports_are_followed_to_any_depth_and_each_module_stands_once_before_its_users(folder):
    text = bundle("a.js", folder())
    assert text.count("const c = 1") == 1 and not re.search(r"^(import|export (?!default))", text, re.MULTILINE)
    assert text.index("const c = 1") < text.index("const b =") < text.index("export default")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"c": PLAIN["c.js"] + "const own = 2;\n"}, "a.js: c.js and b.js both declare own"),
        ({"c": PLAIN["c.js"] + "const { own } = {};\n"}, "a.js: c.js and b.js both declare own"),
        ({"c": PLAIN["c.js"] + "class own {}\n"}, "a.js: c.js and b.js both declare own"),
        ({"a": PLAIN["a.js"].replace("{ b }", "{ own }")}, "a.js: imports 'own' from b.js, which does not export it"),
        ({"a": PLAIN["a.js"].replace("{ c }", "{ c, h }")}, "a.js: imports 'h' from c.js, which does not export it"),
        ({"c": 'import { b } from "./b.js";\n' + PLAIN["c.js"]}, "b.js: imports itself, by way of c.js"),
        ({"a": 'import * as b from "./b.js";\n'}, "a.js: 'import * as b from"),
        ({"b": "const b = 1;\nexport { b };\n"}, "b.js: 'export { b };'"),
    ],
)
def test_what_a_bundle_cannot_hold_is_refused_by_name(folder, changes, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        bundle("a.js", folder(**changes))


def test_a_missing_module_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.js"):
        bundle("a.js", folder(b='import { c } from "./nowhere.js";\nexport const b = c;\n'))


def test_names_from_a_pattern_are_those_it_declares():
    declared = lambda source: list(scripts._declared(source))  # noqa: E731
    assert declared("const { a, b: c, d = 1 } = x;\nlet [e, f] = y;\nfunction* g() {}\n  const inner = 1;\n") == [
        *"acdefg"
    ]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.js")), ids=lambda path: path.stem)
def test_every_script_can_be_bundled(path):
    text = bundle(path.name)
    assert text.endswith("\n") and text.count("export default") == path.read_text(encoding="utf-8").count(
        "export default"
    )


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.js")), ids=lambda path: path.stem)
def test_a_twin_that_a_script_names_is_there(path):
    for name in re.findall(r"\bdpm_lib(?:\.\w+)+", path.read_text(encoding="utf-8")):
        if name != f"dpm_lib.{path.name}":
            assert isinstance(pkgutil.resolve_name(name), object), name


BUILT = """
from dpm_lib.figures import widgets
state = widgets.ChainEditor().get_state()
print(state["_esm"], state["_css"], sep="\\n")
"""


@pytest.mark.parametrize("named", [True, False])
def test_while_the_book_is_built_a_widget_carries_names(named):
    environment = {**os.environ, scripts.NAMED: "named" if named else ""}
    said = subprocess.run([sys.executable, "-c", BUILT], env=environment, capture_output=True, text=True, check=True)
    assert (said.stdout == "// dpm_lib: chain.js\n\n/* dpm_lib: figure.css chains.css */\n\n") == named
    assert ("export default" in said.stdout) != named


def test_bundling_needs_the_standard_library_alone():
    code = "import sys, dpm_lib.figures.scripts; print(len({'torch', 'numpy', 'anywidget'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "0\n"


def test_no_selector_stands_in_two_sheets():
    """What figures share is said once, in figure.css; within a media query a sheet may bend it."""
    homes: dict[str, str] = {}
    for path in sorted(SCRIPTS.glob("*.css")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        selectors = {
            one for rule in re.findall(r"^([^\s@}][^{}]*) \{$", text, re.MULTILINE) for one in rule.split(",\n")
        }
        assert selectors, path.name
        for selector in selectors:
            assert selector not in homes, f"{selector}: in {homes[selector]} and {path.name}"
            homes[selector] = path.name
