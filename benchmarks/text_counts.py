"""The masked network of this book's prose pooled with counts that see both sides: python benchmarks/text_counts.py

`text.safetensors` says what may stand at a hidden place, and so does an n-gram model, exactly, by summing over all that
is hidden; and one that reads backwards. A pool of the three learns on the validation chapter when to trust which. All
are measured on the same masks of the held-out windows. Writes book/results/text-counts.json, and text-pool.safetensors,
the pool.

With DPM_RUNS the laws of each group of windows are kept, and a run that was interrupted goes on.
"""

import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from common import main, write
from torch import Tensor
from torch.nn.functional import cross_entropy

from dpm_lib.core import results
from dpm_lib.core.files import load_tensors, save_tensors
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import text, text_baselines
from dpm_lib.data.n_gram_conditionals import NGramConditionals
from dpm_lib.diffusion import masked_strings
from dpm_lib.networks import opinion_pool, text_network

ORDER = 7  # of the n-grams; one more doubles the time
DRAWS = {"validation": 6, "test": 2}  # masks for each window
EPOCHS = 15
GROUP = 25  # windows at a time
BINS = 8  # of the curve

Cases = dict[str, Tensor]


def cases(laws: list[masked_strings.Network], x: Tensor, mask: int, at: Tensor) -> Cases:
    """What each law says of the hidden places ``at`` of strings x (n, L): log p (m, laws, S) and what stands there.

    With ``hidden``, how many are in each string, and ``row``, which string it is, (m,).
    """
    with torch.no_grad():
        said = [law(torch.where(at, mask, x))[at].float().log_softmax(-1) for law in laws]
    row, _ = at.nonzero(as_tuple=True)
    return {"log_p": torch.stack(said, 1), "y": x[at], "hidden": at.sum(1)[row], "row": row}


def collected(group: str, data: text.Text, laws: list[masked_strings.Network]) -> Cases:
    """The cases of all windows of a group, each with a comb of masks."""
    x, draws = data.windows(group), DRAWS[group]
    folder, found = os.environ.get("DPM_RUNS"), []
    for first in range(0, len(x), GROUP):
        path = Path(folder) / f"text-counts-{group}-{first}.safetensors" if folder else None
        if path and path.exists():
            found.append(load_tensors(path)[0])
            continue
        part, generator = x[first : first + GROUP].repeat_interleave(draws, 0), seeded(first)
        counts = torch.cat([masked_strings.comb(draws, data.length, generator) for _ in range(len(part) // draws)])
        at = masked_strings.hidden(tuple(part.shape), counts, generator)  # type: ignore[arg-type]
        found.append(cases(laws, part, data.characters, at))
        found[-1]["row"] = first + found[-1]["row"] // draws
        print(group, first, f"{time.process_time():.0f} s", flush=True)
        if path:
            save_tensors(path, found[-1], {})
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def backwards(data: text.Text, order: int) -> masked_strings.Network:
    """The conditionals of an n-gram model that reads from right to left: another joint law."""
    model = text_baselines.KneserNey([part.flip(0) for part in data.train], data.characters, order)
    counted = NGramConditionals(model)
    return lambda x: counted(x.flip(1)).flip(1)


def costs(logits: Tensor, found: Cases) -> Tensor:
    """Bits of each case."""
    return cross_entropy(logits, found["y"], reduction="none") / math.log(2)


def by_window(bits: Tensor, found: Cases, draws: int) -> Tensor:
    """The bound in bits per character, of each window: the mean over its masks of the mean over what they hide."""
    windows = int(found["row"].max()) + 1
    return torch.zeros(windows, dtype=torch.float64).index_add(0, found["row"], bits.double() / found["hidden"]) / draws


def curve(bits: Tensor, found: Cases, length: int) -> list[float]:
    """Bits of a hidden character, by how many are hidden: BINS of equal width."""
    place = (found["hidden"] - 1) * BINS // length
    weight = 1 / found["hidden"].double()
    return [float((bits * weight)[place == k].sum() / weight[place == k].sum()) for k in range(BINS)]


def measure() -> None:
    """Ask both of all masks, fit the pool on validation, and measure all on the held-out windows."""
    data = text.book()
    network, _ = text_network.load(results.path("text.safetensors"))
    model = text_baselines.KneserNey(data.train, data.characters, ORDER)
    best, best_order = text_baselines.n_gram(data)
    start = time.process_time()
    counted = NGramConditionals(model)
    built = time.process_time() - start
    laws: dict[str, masked_strings.Network] = {
        "network": network,
        "n-gram": counted,
        "backwards": backwards(data, ORDER),
    }
    groups = {group: collected(group, data, list(laws.values())) for group in DRAWS}
    pool = opinion_pool.OpinionPool(len(laws), 1, generator=seeded(0))
    facts = {group: found["hidden"].unsqueeze(1) / data.length for group, found in groups.items()}
    mine = groups["validation"]
    pool.fit(mine["log_p"], facts["validation"], mine["y"], 1 / mine["hidden"], seeded(1), EPOCHS)
    opinion_pool.save(results.folder() / "text-pool.safetensors", pool, laws=list(laws), order=ORDER)
    found = groups["test"]
    with torch.no_grad():
        parts = zip(found["log_p"].split(4096), facts["test"].split(4096), strict=True)
        logits = {name: found["log_p"][:, k] for k, name in enumerate(laws)}
        logits["pool"] = torch.cat([pool(log_p, fact) for log_p, fact in parts])
    bits = {name: costs(said, found) for name, said in logits.items()}
    raw = {name: by_window(one, found, DRAWS["test"]) for name, one in bits.items()}
    x = data.windows()
    onward = {
        name: torch.stack([-own.log2_prob(row).mean() for row in x])
        for name, own in (("n-gram", model), ("best n-gram", best))
    }
    luck = raw["n-gram"] - onward["n-gram"]  # of the masks: the n-gram's bound is an equality
    each = {name: raw[name] - luck for name in raw if name != "n-gram"} | onward
    less = {name: each["pool"] - line for name, line in each.items() if name != "pool"}
    record: dict[str, Any] = {
        "order": ORDER,
        "best_order": best_order,
        "contexts": counted.states,
        "strings": sum(len(order.codes) for order in model.orders),
        "draws": DRAWS,
        "windows": len(x),
        "models": {name: _mean(line) for name, line in each.items()},
        "pool_less": {name: _mean(line) for name, line in less.items()},
        "bound_less_own": _mean(luck),
        "without_control": {name: _mean(line) for name, line in raw.items()},
        "curve": {name: curve(one, found, data.length) for name, one in bits.items()},
        "built_in_cpu_seconds": round(built, 1),
    }
    write("text-counts", record, "python benchmarks/text_counts.py")
    print(record)


def _mean(bits: Tensor) -> dict[str, float]:
    """Of bits per character (n,) of n windows: mean and standard error."""
    return {"bits": float(bits.mean()), "stderr": stderr(bits)}


if __name__ == "__main__":
    main({"text-counts": measure}, usual=["text-counts"])
