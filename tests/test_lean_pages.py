"""A built site loses the theme's icon script, and every source map, that of the script included."""

from types import SimpleNamespace

import pytest
from lean_pages import lighten


@pytest.fixture
def site(tmp_path):
    scripts = tmp_path / "_static" / "scripts"
    scripts.mkdir(parents=True)
    for name in ("fontawesome.js", "fontawesome.js.map", "theme.js", "theme.js.map"):
        (scripts / name).touch()
    page = '<head>\n<script defer src="_static/scripts/{}?digest=1"></script></head>'
    for name in ("fontawesome", "theme"):
        (tmp_path / f"{name}.html").write_text(page.format(f"{name}.js"), encoding="utf-8")
    return SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(format="html"))


def test_the_icon_script_and_all_maps_go_and_nothing_else(site):
    lighten(site, None)
    assert [path.name for path in site.outdir.rglob("*.js*")] == ["theme.js"]
    assert (site.outdir / "fontawesome.html").read_text(encoding="utf-8") == "<head></head>"
    assert "theme.js" in (site.outdir / "theme.html").read_text(encoding="utf-8")
    lighten(site, None)  # as when a build changed one page


def test_a_build_that_failed_is_left_alone(site):
    lighten(site, ValueError())
    assert len(list(site.outdir.rglob("*.js*"))) == 4
