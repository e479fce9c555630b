"""Bits per dimension from few network calls beside the full sum: python benchmarks/bits.py

The digits network that was trained as DDPM does, T = 1000, on the same held-out digits: a full sum of 999 calls for
each, and 50, 10 and 1 call. Writes book/results/bits.json: for each way the calls in all, the pilot's included, bits
a dimension, its standard error, and what the same calls would give a full sum.
"""

import time
from typing import Any

import torch
from common import main, write

import dpm_lib
from dpm_lib.core import results
from dpm_lib.data.registry import load
from dpm_lib.training.bits import BitsRun

PICTURES, CALLS, COMMAND = 192, (50, 10, 1), "python benchmarks/bits.py"


def measured(run: BitsRun) -> tuple[dict[str, Any], torch.Tensor]:
    """The report of a run, with its processor seconds, and the bits of each picture (n,)."""
    start = time.process_time()
    parts = [run.measure(number) for number in run.parts]
    record = run.report(parts)
    record["cpu_seconds"] = round(time.process_time() - start, 1)
    return record, torch.tensor([value for part in parts for value in part["bits"]], dtype=torch.float64)


def digits() -> None:
    """All ways on the same pictures."""
    model, recipe = dpm_lib.load_model(results.path("digits-ddpm.safetensors"))
    images = load("digits")
    pictures, units = images.test[:PICTURES], {**images.record(), **model.data_set}
    full, whole = measured(BitsRun(model, pictures, units, model.T))
    rows = {"full sum": full}
    for calls in CALLS:
        row, bits = measured(BitsRun(model, pictures, units, calls, seed=1))
        ratio = row["bits_per_dimension_stderr"] / full["bits_per_dimension_stderr"]
        row["stderr_over_full"] = ratio
        row["share_of_calls"] = row["calls"] / full["calls"]
        row["share_of_calls_at_equal_error"] = row["share_of_calls"] * ratio**2
        row["paired_difference"] = float((bits - whole).mean())
        row["paired_difference_stderr"] = float((bits - whole).std()) / len(bits) ** 0.5
        rows[f"{calls} calls" if calls > 1 else "1 call"] = row
        print(calls, {key: value for key, value in row.items() if key != "along"}, flush=True)
    write("bits", {"model": "digits-ddpm", "recipe": recipe.name, "T": model.T, "ways": rows}, COMMAND)


if __name__ == "__main__":
    main({"digits": digits})
