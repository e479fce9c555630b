"""A masked model of this book's prose beside other models of the same text: python benchmarks/text.py

Two small networks of one size are trained for the same number of steps: one fills gaps, one says what comes next. With
them, an n-gram model and lossless coders (those of Python, and PPMd and Zstandard where pyppmd and zstandard are
installed). Writes book/results/text.json, and text.safetensors, the masked network. With DPM_RUNS a training that was
interrupted goes on. `python benchmarks/text.py masked` or `causal` trains one of them and writes nothing else.
"""

import copy
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from common import main
from torch import Tensor

from dpm_lib.core.random import seeded
from dpm_lib.data import text
from dpm_lib.diffusion import masked_strings
from dpm_lib.networks.text_network import TextNetwork
from dpm_lib.training.weight_average import update_average

BATCH, WARM_UP, AVERAGE, PIECE = 8, 100, 0.999, 400
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
        x, mask = self.data.batch(BATCH, self.generator), self.data.characters
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


if __name__ == "__main__":
    main(
        {
            "masked": lambda: Training(text.book(), False).finish(),
            "causal": lambda: Training(text.book(), True).finish(),
        }
    )
