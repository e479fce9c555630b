"""Training in the page beside dpm_lib: the time to bring the swiss roll to a gap of 0.25 bits. Writes in-the-page.json.

    python benchmarks/in_the_page.py

Both train the recipe swiss-roll, on one thread each, in one process after the other: 25 steps in the page, then 25 of
dpm_lib, so that both meet the same machine. After each 25 the gap is estimated on 4096 new points with the averaged
weights, which is not counted. Needs Chromium.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import write
from playwright.sync_api import Page

from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.diffusion import bound
from dpm_lib.figures.scripts import bundle
from dpm_lib.probability import SwissRoll
from dpm_lib.training import catalogue
from dpm_lib.training.trainer import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from chromium import chromium

GAP, EVERY, POINTS, SEEDS = 0.25, 25, 4096, range(5)
OPEN = """async ({ source, seed, noise }) => {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const page = await import(address);
  window.run = page.openRun({ drawing: { kind: "roll", noise }, settings: page.recipeSettings(), seed });
  return window.run.network.fast;
}"""
TRAIN = """(steps) => {
  const start = performance.now();
  for (let i = 0; i < steps; i++) run.advance();
  return (performance.now() - start) / 1000;
}"""
LOOK = "(points) => { const { gap, error } = run.look(points); return [gap, error]; }"


class InThePage:
    """The page's own code, in a page."""

    def __init__(self, page: Page, seed: int, noise: float) -> None:
        self.page = page
        page.goto("about:blank")
        assert page.evaluate(OPEN, {"source": bundle("training_run.js"), "seed": seed, "noise": noise}), "no SIMD"

    def train(self, steps: int) -> float:
        return self.page.evaluate(TRAIN, steps)

    def gap(self) -> tuple[float, float]:
        gap, error = self.page.evaluate(LOOK, POINTS)
        return gap / LN2, error / LN2


class InPython:
    """dpm_lib, on one thread."""

    def __init__(self, seed: int) -> None:
        recipe = catalogue.get("swiss-roll")
        self.run, self.roll, self.generator = Run(recipe, seed, "cpu"), SwissRoll(recipe.noise), seeded(1000 + seed)

    def train(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            self.run.advance()
        return time.perf_counter() - start

    def gap(self) -> tuple[float, float]:
        x = self.roll.sample(POINTS, self.generator)
        lost = self.roll.log_prob(x) - bound.terms(self.run.averaged_model(), x, self.generator).K
        return float(lost.mean()) / LN2, float(lost.std()) / math.sqrt(POINTS) / LN2


def race(runs: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Each run until its gap is small, by turns."""
    spent, steps, found = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, 0), {}
    while len(found) < len(runs):
        for name, run in runs.items():
            if name in found:
                continue
            spent[name] += run.train(EVERY)
            steps[name] += EVERY
            gap, error = run.gap()
            if gap <= GAP:
                found[name] = {"seconds": spent[name], "steps": steps[name], "gap_bits": gap, "gap_bits_stderr": error}
    return found


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def measure(show: Callable[[str], None] = print) -> None:
    torch.set_num_threads(1)
    noise, races = catalogue.get("swiss-roll").noise, []
    with chromium() as browser:
        page = browser.new_page()
        for seed in SEEDS:
            races.append(race({"page": InThePage(page, seed, noise), "dpm_lib": InPython(seed)}))
            show(f"seed {seed}: {races[-1]}")
        version = browser.version
    seconds = [one["page"]["seconds"] / one["dpm_lib"]["seconds"] for one in races]
    pace = [
        one["page"]["seconds"] / one["page"]["steps"] / (one["dpm_lib"]["seconds"] / one["dpm_lib"]["steps"])
        for one in races
    ]
    record = {
        "gap_bits": GAP,
        "races": races,
        "ratio_of_seconds": summary(seconds),
        "ratio_of_seconds_a_step": summary(pace),
    }
    write("in-the-page", record, "python benchmarks/in_the_page.py", chromium=version)


if __name__ == "__main__":
    measure()
