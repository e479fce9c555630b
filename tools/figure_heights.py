"""How high each figure of the built book is, on a phone, a tablet and a laptop, so that its page keeps room for it.

    python tools/figure_heights.py [SITE]

SITE is `_build/html` by default. The heights go to `book/_ext/figure_heights.json`, by the figures' names, which
`book/_ext/figure_files.py` reads: a new figure jumps into its page until this has run, and the browser tests say so.
"""

import argparse
import json
from pathlib import Path

from chromium import chromium

ROOT = Path(__file__).resolve().parent.parent
HEIGHTS = ROOT / "book" / "_ext" / "figure_heights.json"
SCREENS = {"phone": 375, "tablet": 768, "laptop": 1280}
READ = """() => [...document.querySelectorAll(".figure-place")].map((place) =>
  [place.querySelector(".dpm-figure")?.getAttribute("aria-label"), Math.round(place.getBoundingClientRect().height)])"""


def measured(site: Path) -> dict[str, dict[str, int]]:
    """The heights in pixels, by name and screen."""
    heights: dict[str, dict[str, int]] = {}
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(120_000)
        for path in sorted((site / "book").glob("*.html")):
            if "widget-view+json" not in path.read_text(encoding="utf-8"):
                continue
            page.set_viewport_size({"width": SCREENS["phone"], "height": 740})
            page.goto(path.as_uri())
            page.wait_for_function("() => performance.getEntriesByName('figures-done').length")
            for screen, width in SCREENS.items():
                page.set_viewport_size({"width": width, "height": 740})
                page.wait_for_timeout(400)
                for name, height in page.evaluate(READ):
                    if name:
                        heights.setdefault(name, {})[screen] = height
    return heights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", nargs="?", type=Path, default=ROOT / "_build" / "html")
    heights = measured(parser.parse_args().site.resolve())
    HEIGHTS.write_text(json.dumps(heights, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(heights)} figures")


if __name__ == "__main__":
    main()
