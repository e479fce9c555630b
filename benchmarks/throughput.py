"""How fast the training step is, beside a plain loop around the same network, and what holds it up.

    python benchmarks/throughput.py [RECIPE] [KEY=VALUE ...]           (swiss-roll by default, on a GPU if there is one)

Measures the rows of data (images) per second of five kinds of step, all with the recipe's batch:

- "library": the step of ``dpm_lib.run``, as ``python -m dpm_lib train`` takes it;
- "library-bf16", "library-compiled", "library-both": the same with precision=bf16, compile=true, and both;
- "plain": eager float32, as one would write it first: draw on the CPU, move, K, backward, Adam, read the loss.

Counts the floating-point operations of a step with torch.utils.flop_counter, and on a GPU times a large matrix product
and a large copy: with the operations and the bytes of a step they give the least time a step can take, whichever of
arithmetic and bandwidth needs longer. Writes book/results/throughput-RECIPE-DEVICE.json.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dpm_lib import bound, checkpoints, devices, recipes, results
from dpm_lib.objective import draw_batch
from dpm_lib.recipes import Recipe
from dpm_lib.run import Run

VARIANTS: dict[str, dict[str, str]] = {
    "library": {},
    "library-bf16": {"precision": "bf16"},
    "library-compiled": {"compile": "true"},
    "library-both": {"precision": "bf16", "compile": "true"},
}
ROUNDS, SECONDS = 5, 2.0  # each variant is timed so often, for about so long


def wait(device: torch.device) -> None:
    """Return when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_step(recipe: Recipe, device: torch.device) -> Callable[[], float]:
    """The first loop one would write: float32 network, eager, one read of the loss a step."""
    data = recipes.load_data(recipe)
    model = recipes.build(recipe, 0, data.dim).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    generator = torch.Generator().manual_seed(0)

    def step() -> float:
        x0, t, noise = (part.to(device) for part in draw_batch(data, recipe, generator))
        loss = -bound.estimate(model, x0, t, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def seconds_a_step(steps: dict[str, Callable[[], Any]], device: torch.device) -> dict[str, list[float]]:
    """Seconds a step of each variant, ROUNDS times, in turn, so that a slow minute of the machine hits all of them."""
    counts = {}
    for name, step in steps.items():
        for _ in range(3):  # compiles, allocates
            step()
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        counts[name] = max(3, round(SECONDS / ROUNDS / (time.perf_counter() - start)))
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                step()
            wait(device)
            taken[name].append((time.perf_counter() - start) / counts[name])
    return taken


def flops_a_step(step: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions of one step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def least_bytes(run: Run) -> int:
    """Bytes that a step cannot but move: weights, gradients, Adam's two moments and the average, in and out; the batch.

    The activations come on top, so that this is a lower bound.
    """
    weights = sum(p.numel() * p.element_size() for p in run.model.parameters())
    return 10 * weights + 2 * run.recipe.batch * run.data.dim * 8


def ceilings(device: torch.device) -> dict[str, float]:
    """What this GPU does: operations a second of large matrix products, bytes a second of a large copy."""

    def best(work: Callable[[], Any], amount: float) -> float:
        work()
        wait(device)
        times = []
        for _ in range(10):
            start = time.perf_counter()
            work()
            wait(device)
            times.append(time.perf_counter() - start)
        return amount / min(times)

    n, found = 8192, {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(n, n, device=device, dtype=dtype)
        found[f"{name}_flops_per_second"] = best(lambda a=a: a @ a, 2 * n**3)
    x = torch.empty(2**30, dtype=torch.uint8, device=device)
    y = torch.empty_like(x)
    found["bytes_per_second"] = best(lambda: y.copy_(x), 2 * x.nbytes)
    return found


def what_binds(row: dict[str, Any], flops: int, moved: int, precision: str, card: dict[str, float]) -> dict[str, Any]:
    """The two least times of a step, and which of them, if any, the measured one is near."""
    arithmetic, bandwidth = flops / card[f"{precision}_flops_per_second"], moved / card["bytes_per_second"]
    share = max(arithmetic, bandwidth) / row["seconds_a_step"]
    binds = "arithmetic" if arithmetic > bandwidth else "bandwidth"
    near = share > 0.5
    return {
        "least_seconds_arithmetic": arithmetic,
        "least_seconds_bandwidth": bandwidth,
        "share_of_ceiling": round(share, 4),
        "binds": binds if near else f"neither: launches and small kernels ({binds} would be next)",
    }


def main(arguments: list[str]) -> None:
    """Measure one recipe with the settings given."""
    name = arguments[0] if arguments else "swiss-roll"
    settings = dict(pair.split("=", 1) for pair in arguments[1:])
    recipe = recipes.get(name).override(settings)
    runs = {variant: Run(recipe.override(changes), 0) for variant, changes in VARIANTS.items()}
    device = runs["library"].accelerator.device
    steps: dict[str, Callable[[], Any]] = {variant: run.advance for variant, run in runs.items()}
    steps["plain"] = plain_step(recipe, device)
    flops = flops_a_step(steps["plain"])
    taken = seconds_a_step(steps, device)
    plain = min(taken["plain"])
    card = ceilings(device) if device.type == "cuda" else None
    rows = {}
    for variant, seconds in taken.items():
        best = min(seconds)
        rows[variant] = {
            "seconds_a_step": best,
            "seconds_all": seconds,
            "rows_per_second": round(recipe.batch / best, 1),
            "times_plain": round(plain / best, 3),
        }
        if card:
            precision = runs[variant].recipe.precision if variant in runs else "fp32"
            rows[variant] |= what_binds(rows[variant], flops, least_bytes(runs["library"]), precision, card)
    record = {
        "settings": recipe.to_dict(),
        "device": devices.name(device),
        "flops_a_step": flops,
        "least_bytes_a_step": least_bytes(runs["library"]),
        "card": card or "not measured on a GPU",
        "rows": rows,
        "provenance": results.provenance(" ".join(["python benchmarks/throughput.py", *arguments])),
    }
    checkpoints.save_json(results.folder() / f"throughput-{name}-{device.type}.json", record)
    for variant, row in rows.items():
        speed = f"{row['rows_per_second']:12.0f} rows/s  {row['times_plain']:6.2f} x plain"
        print(f"{variant:18}{speed}  {row.get('binds', 'not measured on a GPU')}")


if __name__ == "__main__":
    main(sys.argv[1:])
