"""How fast the training step is, beside a plain loop around the same network, and what holds it up.

    python benchmarks/throughput.py [RECIPE ...] [KEY=VALUE ...]

on a GPU if there is one. Without a name: the three recipes that the book asks of a GPU, mnist-5k, dead-leaves and
textures. Each is measured with its own batch, in rows of data (images) per second, in five kinds of step:

- "library": the step of ``dpm_lib.training.trainer``, as ``dpm train`` takes it: precision=fp32, no compiling;
- "library-bf16", "library-compiled", "library-both": the same with precision=bf16, compile=true, and both;
- "plain": eager float32, as one would write it first: rows drawn on the CPU and moved, times and noise drawn on the
  device, K, backward, Adam, read the loss. No clipping and no averaging of the weights, which the library does.

All are eager PyTorch's defaults otherwise: on a GPU that has TF32, convolutions in float32 use it. What is counted:

- operations: those of the convolutions and matrix products of a step, by torch.utils.flop_counter;
- bytes, least: what these products read and write, forward and backward, and what Adam and the average do, as if all
  else were fused into them; bytes, eager: what every operation of the step reads and writes, each by itself.

On a GPU, a large matrix product and a large copy are timed. With them, operations and bytes (least for compiled steps,
eager for the others) give the time that arithmetic and bandwidth need at least; the longer one binds, if the measured
step is near it. The caches of a GPU can hold part of the bytes, so this is a yardstick, not a law. Writes
book/results/throughput-RECIPE-DEVICE.json for each recipe as soon as it is measured; what fails is recorded as such.
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import common
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.diffusion import bound
from dpm_lib.training import build, catalogue, devices
from dpm_lib.training.recipe import Recipe, parse
from dpm_lib.training.trainer import Run

DEFAULT = ["mnist-5k", "dead-leaves", "textures"]
VARIANTS: dict[str, dict[str, Any]] = {
    "library": {"precision": "fp32", "compile": False},
    "library-bf16": {"precision": "bf16", "compile": False},
    "library-compiled": {"precision": "fp32", "compile": True},
    "library-both": {"precision": "bf16", "compile": True},
}
ROUNDS, SECONDS = 5, 2.0  # each variant is timed so often, for about so long
ATEN = torch.ops.aten
PRODUCTS = ("convolution", "mm", "addmm", "bmm", "baddbmm", "attention")  # in the names of operations


def wait(device: torch.device) -> None:
    """Return when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain_step(recipe: Recipe, device: torch.device) -> Callable[[], float]:
    """The first loop one would write: float32 network, eager, one read of the loss a step."""
    data = build.load_data(recipe)
    model = build.build(recipe, 0, data.dim).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    generator = seeded(0)

    def step() -> float:
        x0 = data.batch(recipe.batch, generator).to(device)
        t = torch.randint(2, recipe.T + 1, (recipe.batch,), device=device)
        loss = -bound.estimate(model, x0, t, torch.randn_like(x0)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


class Traffic(TorchDispatchMode):
    """Bytes that operations read and write, each by itself: ``eager`` by all of them, ``products`` by the products."""

    def __init__(self) -> None:
        super().__init__()
        self.eager = self.products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.is_view or function.overloadpacket in (ATEN.detach, ATEN.empty, ATEN.empty_like, ATEN._unsafe_view):
            return result
        read, written = ([x for x in tree_leaves(part) if isinstance(x, Tensor)] for part in ((args, kwargs), result))
        moved = sum(x.numel() * x.element_size() for x in read + written)
        self.eager += moved
        if any(name in function.name() for name in PRODUCTS):
            self.products += moved
        return result


def counted(run: Run) -> dict[str, int]:
    """Operations of one step of ``run``, and its bytes, least and eager."""
    run.advance()  # so that Adam has its moments
    with FlopCounterMode(display=False) as counter, Traffic() as traffic:
        run.advance()
    weights = sum(p.numel() * p.element_size() for p in run.model.parameters())
    update = 9 * weights  # gradient in; weights, Adam's two moments and the average, in and out
    return {
        "flops": counter.get_total_flops(),
        "least_bytes": traffic.products + update + 2 * run.recipe.batch * run.data.dim * 8,
        "eager_bytes": traffic.eager,
    }


def seconds_a_step(steps: dict[str, Callable[[], Any]], device: torch.device) -> tuple[dict[str, Any], dict[str, str]]:
    """Seconds a step of each variant, ROUNDS times, in turn, so that a slow minute of the machine hits all of them.

    And what was said, or went wrong, on the way to the first of them.
    """
    counts, said = {}, {}
    for name, step in steps.items():
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(3):  # compiles, allocates, looks for the fastest convolutions
                    step()
                wait(device)
            if words := [str(warning.message) for warning in caught]:
                said[name] = "; ".join(dict.fromkeys(words))
            start = time.perf_counter()
            step()
            wait(device)
            counts[name] = max(3, round(SECONDS / ROUNDS / (time.perf_counter() - start)))
        except Exception as error:  # the others are measured all the same
            said[name] = f"failed: {type(error).__name__}: {error}"[:500]
    taken: dict[str, Any] = {name: [] for name in counts}
    for _ in range(ROUNDS):
        for name, count in counts.items():
            start = time.perf_counter()
            for _ in range(count):
                steps[name]()
            wait(device)
            taken[name].append((time.perf_counter() - start) / count)
    return taken, said


def ceilings(device: torch.device) -> dict[str, float]:
    """What this GPU does: operations a second of large matrix products, bytes a second of a large copy.

    "fp32" is as float32 convolutions run: in TF32, where PyTorch lets them.
    """

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

    def product(dtype: torch.dtype) -> float:
        a = torch.randn(8192, 8192, device=device, dtype=dtype)
        return best(lambda: a @ a, 2 * 8192**3)

    full, before = product(torch.float32), torch.get_float32_matmul_precision()
    if torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    tensor = product(torch.float32)
    torch.set_float32_matmul_precision(before)
    x = torch.empty(2**30, dtype=torch.uint8, device=device)
    y = torch.empty_like(x)
    return {
        "fp32_flops_per_second": tensor,
        "fp32_without_tf32_flops_per_second": full,
        "bf16_flops_per_second": product(torch.bfloat16),
        "bytes_per_second": best(lambda: y.copy_(x), 2 * x.nbytes),
    }


def what_binds(seconds: float, work: dict[str, int], variant: str, card: dict[str, float]) -> dict[str, Any]:
    """The two least times of a step of ``seconds``, and which of them, if any, it is near."""
    precision = VARIANTS.get(variant, {}).get("precision", "fp32")
    bytes_ = work["least_bytes" if VARIANTS.get(variant, {}).get("compile") else "eager_bytes"]
    arithmetic, bandwidth = work["flops"] / card[f"{precision}_flops_per_second"], bytes_ / card["bytes_per_second"]
    share = max(arithmetic, bandwidth) / seconds
    binds = "arithmetic" if arithmetic > bandwidth else "bandwidth"
    return {
        "least_seconds_arithmetic": arithmetic,
        "least_seconds_bandwidth": bandwidth,
        "share_of_ceiling": round(share, 4),
        "binds": binds if share > 0.5 else f"neither is near ({binds} would be next)",
    }


def measure(name: str, settings: dict[str, Any], command: str) -> None:
    """Measure one recipe and write what was found."""
    recipe = catalogue.get(name).override(**settings)
    runs = {variant: Run(recipe.override(**changes), 0) for variant, changes in VARIANTS.items()}
    device = runs["library"].device
    work = {precision: counted(runs[f"library{precision}"]) for precision in ("", "-bf16")}
    steps: dict[str, Callable[[], Any]] = {variant: run.advance for variant, run in runs.items()}
    taken, said = seconds_a_step(steps | {"plain": plain_step(recipe, device)}, device)
    card = ceilings(device) if device.type == "cuda" else None
    rows: dict[str, dict[str, Any]] = {variant: {"said": words} for variant, words in said.items()}
    for variant, seconds in taken.items():
        best = min(seconds)
        rows.setdefault(variant, {}).update(
            seconds_a_step=best,
            seconds_all=seconds,
            rows_per_second=round(recipe.batch / best, 1),
            times_plain=round(min(taken["plain"]) / best, 3) if "plain" in taken else None,
        )
        if card:
            half = VARIANTS.get(variant, {}).get("precision") == "bf16"
            rows[variant] |= what_binds(best, work["-bf16" if half else ""], variant, card)
    record = {
        "settings": recipe.to_dict(),
        "device": devices.name(device),
        "work_a_step": {"fp32": work[""], "bf16": work["-bf16"]},
        "card": card or "not measured on a GPU",
        "rows": rows,
    }
    common.write(f"throughput-{name}-{device.type}", record, command)
    print(f"{name} on {record['device']}, batches of {recipe.batch}")
    for variant, row in rows.items():
        speed = f"{row['rows_per_second']:12.0f} rows/s  {row['times_plain']} x plain" if variant in taken else ""
        print(
            f"  {variant:18}{speed}  {row.get('binds', '' if card else 'not measured on a GPU')} {row.get('said', '')}"
        )


def main(arguments: list[str]) -> None:
    """Measure the recipes named, with the settings given."""
    settings = parse(pair for pair in arguments if "=" in pair)
    if clash := sorted({"precision", "compile"} & settings.keys()):
        raise SystemExit(f"{', '.join(clash)}: each kind of step has its own")
    names = results.chosen([name for name in arguments if "=" not in name], list(catalogue.RECIPES))
    command = " ".join(["python benchmarks/throughput.py", *arguments])
    for name in names if len(names) < len(catalogue.RECIPES) else DEFAULT:
        measure(name, settings, command)


if __name__ == "__main__":
    main(sys.argv[1:])
