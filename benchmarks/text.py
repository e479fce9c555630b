"""A masked model of this book's prose beside other models of the same text: python benchmarks/text.py

Two small networks of one size are trained for the same number of steps: one fills gaps, one says what comes next. With
them, an n-gram model and lossless coders (those of Python, and PPMd and Zstandard where pyppmd and zstandard are
installed). Writes book/results/text.json, and text.safetensors, the masked network. With DPM_RUNS a training that was
interrupted goes on. `python benchmarks/text.py masked` or `causal` trains one of them and writes nothing else.
"""

import copy
import importlib.util
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import main, write
from torch import Tensor

from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import text, text_baselines
from dpm_lib.diffusion import masked_strings
from dpm_lib.networks.text_network import TextNetwork, load, save
from dpm_lib.training.weight_average import update_average

BATCH, WARM_UP, AVERAGE, PIECE = 8, 100, 0.999, 400
COUNTS = (1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 120, 124, 126, 127, 128)  # hidden places
TOGETHER = (1, 2, 4, 8, 16, 32, 128)  # places at a call
DRAWS, SAMPLES, ORDERS, PPM_ORDER = 16, 16, 8, 8
LEGS = {
    "masked": ((6000, 3e-3), (6000, 2e-3)),
    "causal": ((6000, 3e-3),),
}  # steps, and the rate that falls to 0 in them
DROPOUT = {
    "masked": 0.0,
    "causal": 0.2,
}  # without, the causal network is at its best after 1600 steps, and then learns by heart


def next_character(network: TextNetwork, x: Tensor, mask: int) -> Tensor:
    """-log p of each character of x (n, L) given those before it in its row, (n, L), nats."""
    before = torch.cat([torch.full_like(x[:, :1], mask), x[:, :-1]], 1)
    return torch.nn.functional.cross_entropy(network(before).transpose(1, 2), x, reduction="none")


class Training:
    """One of the two networks on its way; ``causal`` says which."""

    def __init__(self, data: text.Text, causal: bool) -> None:
        self.data, self.causal, self.step, self.cpu_seconds = data, causal, 0, 0.0
        self.generator = seeded(0)
        self.kind = "causal" if causal else "masked"
        self.steps = sum(steps for steps, _ in LEGS[self.kind])
        dropout = DROPOUT[self.kind]
        self.network = TextNetwork(data.characters, causal=causal, dropout=dropout, generator=self.generator)
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimiser = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.98))
        self.best = copy.deepcopy(self.average)  # on validation
        self.course: list[dict[str, float]] = []
        folder = os.environ.get("DPM_RUNS")
        self.path = Path(folder) / f"text-{self.kind}.pt" if folder else None
        if self.path and self.path.exists():
            self.restore(torch.load(self.path, weights_only=True))

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.best.load_state_dict(state.get("best", state["average"]))
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.step, self.cpu_seconds, self.course = state["step"], state["cpu_seconds"], state["course"]

    def save(self) -> None:
        state = {name: getattr(self, name).state_dict() for name in ("network", "average", "best", "optimiser")}
        state |= {"generator": self.generator.get_state(), "course": self.course}
        state |= {"step": self.step, "cpu_seconds": self.cpu_seconds}
        if self.path:
            torch.save(state, self.path.with_suffix(".tmp"))
            self.path.with_suffix(".tmp").replace(self.path)

    def validation(self) -> float:
        """Bits per character on the validation windows."""
        x, mask = self.data.windows("validation"), self.data.characters
        if not self.causal:
            nats = masked_strings.bound(self.average, x, mask, seeded(1), 4).mean()
            return float(nats) / self.data.length / math.log(2)
        with torch.no_grad():
            return float(next_character(self.average, x, mask).mean()) / math.log(2)

    def rate(self) -> float:
        """A cosine to zero in each leg, after a warm-up."""
        step, warm = self.step, min(1.0, (self.step + 1) / WARM_UP)
        for steps, rate in LEGS[self.kind]:
            if step < steps:
                return warm * rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            step -= steps
        return 0.0

    def advance(self) -> None:
        self.optimiser.param_groups[0]["lr"] = self.rate()
        if DROPOUT[self.kind]:
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=self.generator)))
        x, mask = self.data.batch(BATCH, self.generator).long(), self.data.characters
        if self.causal:
            loss = next_character(self.network, x, mask).mean()
        else:
            loss = masked_strings.loss(self.network, x, mask, self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        update_average(dict(self.average.named_parameters()), self.network, self.step, AVERAGE)

    def finish(self) -> None:
        """Train to the end."""
        while self.step < self.steps:
            start = time.process_time()
            for _ in range(min(PIECE, self.steps - self.step)):
                self.advance()
            self.cpu_seconds += time.process_time() - start
            bits = self.validation()
            if bits < min((line["validation_bits"] for line in self.course), default=math.inf):
                self.best.load_state_dict(self.average.state_dict())
            self.course.append({"step": self.step, "validation_bits": bits, "cpu_seconds": round(self.cpu_seconds)})
            print(self.kind, self.course[-1], flush=True)
            self.save()


def coders() -> dict[str, Callable[[bytes], bytes]]:
    """Those of Python, and PPMd and Zstandard where they are installed."""
    found = dict(text_baselines.CODERS)
    if ppmd := _installed("pyppmd"):
        found["PPMd"] = lambda content: ppmd.compress(content, max_order=PPM_ORDER, mem_size=2**26)
    if zstd := _installed("zstandard"):
        found["zstd"] = lambda content: zstd.ZstdCompressor(level=22).compress(content)
    return found


def _installed(name: str) -> Any:
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def mean(bits: Tensor) -> dict[str, float]:
    """Bits per character (n,) of n windows: mean and standard error."""
    return {"bits": float(bits.mean()), "stderr": stderr(bits)}


def rows(masked: Training, causal: Training, data: text.Text) -> dict[str, Any]:
    """Bits per character of the held-out windows under each model, and of one less the other, on the same windows."""
    x, mask, unit = data.windows(), data.characters, data.length * math.log(2)
    model, order = text_baselines.n_gram(data)
    running = [-model.log2_prob(part)[: len(part) // data.length * data.length] for part in data.test]
    with torch.no_grad():
        batches = x.split(64)
        alone = torch.cat([next_character(causal.best, part, mask).double().sum(1) for part in batches])
        whole = [next_character(causal.best, part.unsqueeze(0), mask)[0].double() for part in data.test]
    kept = [part[: len(part) // data.length * data.length] for part in whole]
    each = {
        "masked": masked_strings.bound(masked.best, x, mask, seeded(2), DRAWS) / unit,
        "causal": alone / unit,
        "causal, running on": torch.cat(kept).view(-1, data.length).sum(1) / unit,
        "n-gram": torch.stack([-model.log2_prob(row).mean() for row in x]),
        "n-gram, running on": torch.cat(running).view(-1, data.length).mean(1),
    }
    less = {name: mean(each["masked"] - bits) for name, bits in each.items() if name != "masked"}
    return {
        "windows": len(x),
        "order": order,
        "models": {name: mean(bits) for name, bits in each.items()},
        "masked_less": less,
    }


def curve(network: TextNetwork, data: text.Text) -> list[dict[str, float]]:
    """Bits for a hidden character where k of a window's are hidden."""
    x, generator, lines = data.windows(), seeded(3), []
    for k in COUNTS:
        at = masked_strings.hidden((len(x), data.length), torch.full((len(x),), k), generator)
        with torch.no_grad():
            nats = masked_strings.masked_cross_entropy(network, x, at, data.characters).double().sum(1) / k
        lines.append({"hidden": k, **mean(nats / math.log(2))})
    return lines


def samples(network: TextNetwork, data: text.Text) -> list[dict[str, Any]]:
    """Windows drawn with several places at each call, judged by the n-gram model: its bits per character, and one."""
    judge, _ = text_baselines.n_gram(data)
    lines = []
    for together in TOGETHER:
        empty = torch.full((SAMPLES, data.length), data.characters)
        drawn = masked_strings.fill(network, empty, data.characters, seeded(4), together)
        bits = torch.stack([-judge.log2_prob(row).mean() for row in drawn])
        lines.append({"together": together, **mean(bits), "example": data.decode(drawn[0])})
    return lines


def orders(network: TextNetwork, data: text.Text) -> dict[str, float]:
    """How much the orders of one string disagree, in bits per character, and what their average in p gains."""
    x, unit = data.windows()[:: len(data.windows()) // 8][:8], data.length * math.log(2)
    repeated = x.repeat_interleave(ORDERS, 0)
    drawn = torch.rand(repeated.shape, generator=seeded(5)).argsort(1)
    bits = -masked_strings.log_prob(network, repeated, drawn, data.characters).view(len(x), ORDERS) / unit
    tight = -(torch.logsumexp(-bits * unit, 1) - math.log(ORDERS)) / unit
    return {
        "windows": len(x),
        "orders": ORDERS,
        "bits": float(bits.mean()),
        "std_over_orders": float(bits.std(1).mean()),
        "gained_by_averaging": float((bits.mean(1) - tight).mean()),
    }


def measure() -> None:
    """Train what is not trained, and measure all."""
    data = text.book()
    masked, causal = Training(data, causal=False), Training(data, causal=True)
    for training in (masked, causal):
        training.finish()
    path = results.folder() / "text.safetensors"
    save(path, masked.best, alphabet=data.alphabet, trained_on=data.length)
    masked.best, _ = load(path)  # in half precision, as all will have it
    record: dict[str, Any] = {
        "characters": text.record(data),
        "length": data.length,
        "parameters": {t.kind: sum(p.numel() for p in t.network.parameters()) for t in (masked, causal)},
        "trainings": {
            t.kind: {"batch": BATCH, "legs": LEGS[t.kind], "dropout": DROPOUT[t.kind], "course": t.course}
            for t in (masked, causal)
        },
        **rows(masked, causal, data),
        "coders": {
            name: {
                way: text_baselines.coded(data, coder, way == "after_training") for way in ("after_training", "alone")
            }
            for name, coder in coders().items()
        },
        "curve": curve(masked.best, data),
        "samples": samples(masked.best, data),
        "orders": orders(masked.best, data),
    }
    versions = {name: module.__version__ for name in ("pyppmd", "zstandard") if (module := _installed(name))}
    write("text", record, "python benchmarks/text.py", **versions)
    print({key: record[key] for key in ("models", "masked_less", "coders", "orders")})


if __name__ == "__main__":
    main(
        {
            "text": measure,
            "masked": lambda: Training(text.book(), False).finish(),
            "causal": lambda: Training(text.book(), True).finish(),
        },
        usual=["text"],
    )
