"""Training runs for the tests: short ones, interrupted ones, and what makes two of them the same."""

import json
import signal
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from problems import blob_data, tiny_recipe

from dpm_lib.core.files import load_lines, load_tensors
from dpm_lib.training import loop
from dpm_lib.training import trainer as run_module
from dpm_lib.training.evaluation import evaluate

INEXACT = ("seconds",)


@contextmanager
def quick(monkeypatch):
    """One thread, so that sums are in one order; few held-out points; and no handler left behind."""
    threads, handlers = torch.get_num_threads(), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    torch.set_num_threads(1)
    monkeypatch.setattr(loop, "evaluate", partial(evaluate, n=400))
    yield
    torch.set_num_threads(threads)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def train(folder=None, resume=False, seed=0, data=None, **settings):
    recipe, data = tiny_recipe(**settings), blob_data() if data is None else data
    return loop.fit(recipe, seed, folder, "cpu", resume=resume, progress=False, data=data)


def lines(folder) -> list[dict]:
    return [{k: v for k, v in record.items() if k not in INEXACT} for record in load_lines(folder / "metrics.jsonl")]


def same_runs(a, b):
    """Weights, averages, optimizer, random state, log and metrics, bit for bit; only seconds may differ."""
    for name in ("model.safetensors", "checkpoint.safetensors"):
        (left, record), (right, other) = load_tensors(a / name), load_tensors(b / name)
        assert set(left) == set(right)
        for key in left:
            assert torch.equal(left[key], right[key]), key
        assert {k: v for k, v in record.items() if k not in INEXACT} == {
            k: v for k, v in other.items() if k not in INEXACT
        }
    assert lines(a) == lines(b)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (a, b)]
    for record in metrics:
        del record["seconds"]
    assert metrics[0] == metrics[1]


def interrupt(process: subprocess.Popen, log: Path, send) -> tuple[str, str]:
    """Once a run in another process has logged, calls `send`; returns what the run then says, and leaves none behind.

    However long the machine takes: only pytest's own limit ends the waiting.
    """
    try:
        while not (log.exists() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.01)
        send()
        return process.communicate()
    finally:
        process.kill()


def interrupt_at(monkeypatch, step: int, number=signal.SIGINT):
    """A signal in the middle of a step: after its batch has been drawn, before it is used."""
    draws, draw = [], run_module.draw_batch

    def draw_and_interrupt(*arguments):
        draws.append(draw(*arguments))
        if len(draws) == step:
            signal.raise_signal(number)
        return draws[-1]

    monkeypatch.setattr(run_module, "draw_batch", draw_and_interrupt)
