"""What a step of training costs beside an earlier commit of this repository. Writes training-step.json.

    python benchmarks/training_step.py [COMMIT]

Each side trains the recipes for some steps in a process of its own, on one thread, by turns: so both meet the same
machine. What counts is the processor time of a step, the median of a turn; a ratio is that of two neighbouring turns.
By default the commit is the last one before schedules were held for a step. It needs the whole history (git fetch
--unshallow).
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import write

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "b1990d6"
STEPS, TURNS = {"swiss-roll": 150, "digits": 25, "heartbeat": 100}, 7
TURN = """
import statistics, sys, time, torch
from dpm_lib.training import catalogue
from dpm_lib.training.trainer import Run
torch.set_num_threads(1)
run, times = Run(catalogue.get(sys.argv[1]), 0, "cpu"), []
for step in range(int(sys.argv[2]) + 5):
    start = time.process_time()
    run.advance()
    times.append(time.process_time() - start)
print(statistics.median(times[5:]))
"""


def turn(tree: Path, recipe: str) -> float:
    """Seconds of the processor for a step of ``recipe``, as the checkout ``tree`` does it: the median of a turn."""
    own = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TURN, recipe, str(STEPS[recipe])]
    done = subprocess.run(command, cwd=tree, env=own, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    commit = sys.argv[1] if len(sys.argv) > 1 else BEFORE
    ratios: dict[str, list[float]] = {recipe: [] for recipe in STEPS}
    with tempfile.TemporaryDirectory() as scratch:
        old = Path(scratch) / "old"
        added = subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(old), commit], cwd=ROOT)
        if added.returncode:
            print(f"training_step: there is no commit {commit} here: not measured")
            return
        try:
            for k in range(TURNS):
                for recipe, found in ratios.items():
                    sides = [old, ROOT] if k % 2 else [ROOT, old]
                    spent = {tree: turn(tree, recipe) for tree in sides}
                    found.append(spent[ROOT] / spent[old])
                    print(f"{recipe}: {found[-1]:.2f}", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=ROOT, check=True)
    record = {
        recipe: {"ratio": statistics.median(found), "range": [min(found), max(found)], "steps": STEPS[recipe]}
        for recipe, found in ratios.items()
    }
    write("training-step", {"before": commit, "turns": TURNS, "recipes": record}, "python benchmarks/training_step.py")


if __name__ == "__main__":
    main()
