"""What a playing figure costs: the processor's time for each frame that it draws, on its own page of a built book.

    python tools/frames.py SITE [SITE2] [--pages 05 07] [--seconds 2] [--rounds 1] [--slower 4]

SITE is a folder of built pages, such as _build/html. With two, each figure plays in both by turns, and the last column
is the second's time over the first's. `main` is what the main thread takes, in milliseconds, for each frame that the
figure draws; `script`, `style` and `layout` are parts of it. `fps` is what was seen, with the processor slowed as
`--slower` says; `input` is the longest wait for a frame after a slider's step, in milliseconds.
"""

import argparse
from pathlib import Path
from typing import Any

from chromium import chromium
from playwright.sync_api import Page

READY = """() => {
  const places = [...document.querySelectorAll(".figure-place")];
  return places.every((place) => place.dataset.figure === "ready");
}"""
COUNT = """() => {
  window.drawn = 0;
  new PerformanceObserver((list) => (window.drawn += list.getEntriesByName("figure-frame").length))
    .observe({ type: "measure" });
}"""
TOUCH = """(range) => new Promise((done) => {
  const at = Number(range.value), low = Number(range.min || 0), high = Number(range.max || 100);
  range.value = at + (high - low) / 7 > high ? low : at + (high - low) / 7;
  const start = performance.now();
  range.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => { const channel = new MessageChannel();
    channel.port1.onmessage = () => done(performance.now() - start); channel.port2.postMessage(0); });
})"""
PARTS = {"main": "TaskDuration", "script": "ScriptDuration", "style": "RecalcStyleDuration", "layout": "LayoutDuration"}


def measured(page: Page, client: Any, place: int, seconds: float, slower: float) -> dict[str, float]:
    """What one figure of an open page takes."""
    figure = page.locator(".dpm-figure").nth(place)
    figure.evaluate("(f) => f.scrollIntoView({ block: 'start' })")
    client.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    sums = {}
    play = figure.locator(".dpm-play")
    if play.count():
        play.first.evaluate("(b) => b.click()")
        page.wait_for_timeout(500)
        read = lambda: {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}  # noqa: E731
        drawn, before = page.evaluate("[drawn, performance.now()]"), read()
        page.wait_for_timeout(1000 * seconds)
        after, now = read(), page.evaluate("[drawn, performance.now()]")
        frames = max(1, now[0] - drawn[0])
        sums = {k: 1000 * (after[name] - before[name]) / frames for k, name in PARTS.items()}
        sums |= {"fps": 1000 * frames / (now[1] - drawn[1])}
        sums |= {"layouts": (after["LayoutCount"] - before["LayoutCount"]) / frames}
        if figure.get_attribute("data-playing") == "true":
            play.first.evaluate("(b) => b.click()")
    page.wait_for_timeout(100)
    sliders = figure.locator("input[type=range]").all()
    sums["input"] = max((each.evaluate(TOUCH) for each in sliders if each.is_visible()), default=0.0)
    client.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    return sums


def opened(browser: Any, path: Path) -> tuple[Page, Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.resolve().as_uri())
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate(COUNT)
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})
    return page, client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path, nargs="+")
    parser.add_argument("--pages", nargs="*", default=[""], help="the beginnings of pages' names")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--slower", type=float, default=4.0)
    options = parser.parse_args()
    names = sorted(
        p.name for p in (options.sites[0] / "book").glob("*.html") if p.name.startswith(tuple(options.pages))
    )
    print(f"{'page':<22}{'figure':<26}" + "".join(f"{k:>9}" for k in (*PARTS, "layouts", "fps", "input")) + "   ratio")
    with chromium() as browser:
        for name in names:
            pages = [opened(browser, site / "book" / name) for site in options.sites]
            kinds = pages[0][0].evaluate("[...document.querySelectorAll('.dpm-figure')].map((f) => f.classList[1])")
            for place, kind in enumerate(kinds):
                rounds: list[list[dict[str, float]]] = [[] for _ in pages]
                for _ in range(options.rounds):
                    for each, (page, client) in zip(rounds, pages, strict=True):
                        page.bring_to_front()
                        each.append(measured(page, client, place, options.seconds, options.slower))
                times = []
                for each in rounds:
                    middle = {k: sorted(r[k] for r in each)[len(each) // 2] for k in each[0]}
                    times.append(middle.get("main", 0.0))
                    row = "".join(f"{middle.get(k, 0):9.2f}" for k in (*PARTS, "layouts", "fps", "input"))
                    ratio = f"{times[-1] / times[0]:8.2f}" if len(times) > 1 and times[0] else ""
                    print(f"{name[:21]:<22}{kind[4:]:<26}{row}{ratio}", flush=True)
            for page, _ in pages:
                page.close()


if __name__ == "__main__":
    main()
