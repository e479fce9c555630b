"""Training: ascend the bound K by stochastic gradient, with all times in every batch.

One loop for one CPU, one GPU or several processes (through Accelerate). All randomness of a run comes from one
generator on the CPU, whose state is in the checkpoint: a run that was interrupted and resumed ends bit for bit where an
uninterrupted one does, and every process draws the same global batch and keeps its share of it.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm.auto import tqdm

from dpm_lib import bound
from dpm_lib.bound import LN2
from dpm_lib.checkpoints import (
    BrokenFile,
    load_lines,
    load_state,
    load_tensors,
    save_json,
    save_model,
    save_tensors,
    write_atomically,
)
from dpm_lib.data import Data
from dpm_lib.diffusion import DiffusionModel
from dpm_lib.evaluation import evaluate
from dpm_lib.recipes import Recipe, build, load_data

WARMUP = 100  # steps
LOG_EVERY = 50  # steps


class Objective(nn.Module):
    """-K of a batch, in nats: what is minimised."""

    def __init__(self, model: DiffusionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return -bound.estimate(self.model, x0, t, noise).mean()


def accelerator_for(device: str) -> Accelerator:
    """An Accelerator on "cpu" or "cuda", or "auto": a GPU where there is one. ValueError for another device.

    Chains are kept in float64, which Apple's GPUs do not have: there, "auto" is the CPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: {device!r} is not one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, and PyTorch sees no GPU")
    return Accelerator(cpu=device == "cpu" or not torch.cuda.is_available())


def draw_batch(data: Data, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A global batch: data x0 (n, d), times (n,) spread evenly over 2..T, and standard normal noise (n, d)."""
    x0 = data.batch(recipe.batch, generator)
    offset = torch.rand(1, generator=generator, dtype=torch.float64)
    t = 2 + ((torch.arange(recipe.batch) + offset) * ((recipe.T - 1) / recipe.batch)).long()
    return x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine to zero; ``step`` counts from 0."""
    return recipe.lr * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


class Run:
    """The state of a run: everything that has to survive an interruption, and the files it lives in."""

    def __init__(
        self, recipe: Recipe, seed: int, device: str = "auto", folder: Path | None = None, data: Data | None = None
    ) -> None:
        self.recipe, self.seed, self.folder = recipe, seed, folder
        self.accelerator = accelerator_for(device)
        if recipe.batch % self.accelerator.num_processes:
            raise ValueError(f"batch: {recipe.batch} cannot be split over {self.accelerator.num_processes} processes")
        self.data = load_data(recipe) if data is None else data
        self.generator = torch.Generator().manual_seed(seed)
        objective = Objective(build(recipe, seed, self.data.dim))
        optimizer = torch.optim.Adam(objective.parameters(), lr=recipe.lr, betas=(0.9, 0.99), fused=True)
        self.objective, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.model: DiffusionModel = self.accelerator.unwrap_model(self.objective).model
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        self.recent: list[float] = []  # K of the batches since the last line of the log, bits

    def advance(self) -> float:
        """One step of training; returns the batch's estimate of K in bits."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        device = self.accelerator.device
        x0, t, noise = (a[share].to(device) for a in draw_batch(self.data, self.recipe, self.generator))
        loss = self.objective(x0, t, noise)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return -float(self.accelerator.reduce(loss.detach(), reduction="mean")) / LN2

    def _update_average(self) -> None:
        keep = min(self.recipe.ema, self.step / (self.step + 9))
        for name, value in self.model.named_parameters():  # buffers stay as they are, infinite ones too
            self.average[name].lerp_(value.detach(), 1 - keep)

    def averaged_model(self) -> DiffusionModel:
        """A copy of the model with the averaged weights: the one that is evaluated and saved."""
        model = build(self.recipe, self.seed, self.data.dim).to(self.accelerator.device)
        model.load_state_dict(self.average)
        return model.requires_grad_(False)

    def save_checkpoint(self) -> None:
        """Write the folder's checkpoint; FloatingPointError, and the old one stays, where a weight is not finite."""
        if not all(torch.isfinite(value).all() for value in self.model.parameters()):
            raise FloatingPointError(f"step {self.step}: weights not finite; try a smaller lr than {self.recipe.lr}")
        if self.folder is None or not self.accelerator.is_main_process:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        tensors["random"] = self.generator.get_state()
        record = {
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "step": self.step,
            "seconds": self.seconds,
            "recent": self.recent,
        }
        save_tensors(self.folder / "checkpoint.safetensors", tensors, record)

    def load_checkpoint(self) -> None:
        """Go back to the folder's checkpoint; BrokenFile where it is not a whole checkpoint of this recipe."""
        assert self.folder is not None
        path = self.folder / "checkpoint.safetensors"
        tensors, record = load_tensors(path)
        if record.get("recipe") != self.recipe.to_dict() or record.get("seed") != self.seed:
            raise BrokenFile(f"{path}: is of another recipe or seed than {self.folder / 'config.json'}")
        load_state(self.model, _group(tensors, "model"), path)
        try:
            average = _group(tensors, "average")
            self.average = {name: average[name].to(value.device) for name, value in self.average.items()}
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in _group(tensors, "optimizer").items():
                index, name = key.split(".", 1)
                state.setdefault(int(index), {})[name] = value
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state, "param_groups": groups})
            self.generator.set_state(tensors["random"])
            self.step, self.seconds = int(record["step"]), float(record["seconds"])
            self.recent = [float(value) for value in record["recent"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BrokenFile(f"{path}: {error}") from None


def _group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


def fit(
    recipe: Recipe,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: bool = True,
    data: Data | None = None,
) -> tuple[DiffusionModel, dict[str, Any]]:
    """Train ``recipe``, on its own data or on ``data``; returns the averaged model and its metrics (``evaluate``).

    With a ``folder``, writes config.json, metrics.jsonl (the course of training), checkpoint.safetensors,
    model.safetensors and metrics.json there. ``resume`` goes on from the folder's checkpoint. On Ctrl-C a checkpoint
    is saved before KeyboardInterrupt is raised again. FloatingPointError where the bound is no longer finite; the last
    good checkpoint is kept.
    """
    folder = None if folder is None else Path(folder)
    run = Run(recipe, seed, device, folder, data)
    main = run.accelerator.is_main_process
    if resume:
        run.load_checkpoint()
    if folder is not None and main:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(folder / "config.json", {"recipe": recipe.to_dict(), "seed": seed})
    log = folder / "metrics.jsonl" if folder is not None and main else None
    if log is not None:
        _cut_log(log, run.step)
    _train(run, log, progress and main)
    run.save_checkpoint()
    model = run.averaged_model()
    metrics = {
        "recipe": recipe.name,
        "seed": seed,
        "device": _device_name(run.accelerator.device),
        "steps": run.step,
        "seconds": round(run.seconds, 2),
        **evaluate(model, run.data, seed=seed),
    }
    if folder is not None and main:
        save_model(folder / "model.safetensors", model, recipe, seed=seed, steps=run.step)
        save_json(folder / "metrics.json", metrics)
    return model, metrics


def _train(run: Run, log: Path | None, progress: bool) -> None:
    recipe, start, before = run.recipe, time.perf_counter(), run.seconds
    bar = tqdm(total=recipe.steps, initial=run.step, disable=not progress, desc=recipe.name, unit="step")
    try:
        with _whole_steps() as let_through:
            while run.step < recipe.steps:
                run.recent.append(_advance(run))
                run.seconds = before + time.perf_counter() - start
                bar.update()
                if run.step % LOG_EVERY == 0 or run.step == recipe.steps:
                    mean = sum(run.recent) / len(run.recent)
                    run.recent.clear()
                    bar.set_postfix_str(f"K = {mean:.3f} bits")
                    _append(log, {"step": run.step, "bound_bits": mean, "seconds": round(run.seconds, 3)})
                if run.step % recipe.checkpoint_every == 0:
                    run.save_checkpoint()
                let_through()
    except KeyboardInterrupt:
        run.save_checkpoint()
        raise
    finally:
        bar.close()


def _advance(run: Run) -> float:
    """One step; FloatingPointError where the bound is not finite, or a covariance is not positive definite."""
    try:
        K = run.advance()
    except torch.linalg.LinAlgError:
        K = math.nan
    if not math.isfinite(K):
        raise FloatingPointError(f"step {run.step}: the bound is {K}; try a smaller lr than {run.recipe.lr}")
    return K


@contextmanager
def _whole_steps() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C and SIGTERM back while a step is under way; the function it yields lets them through between steps.

    A step that stops half-way has drawn its batch but not used it: a checkpoint of that would not resume exactly.
    """
    held: list[signal.Signals] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    main = threading.current_thread() is threading.main_thread()  # only there can handlers be set
    ours = {number: handler for number, handler in handlers.items() if main and callable(handler)}

    def let_through() -> None:
        if held:
            number = held.pop()
            ours[number](number, None)

    for number in ours:
        signal.signal(number, lambda number, _: held.append(signal.Signals(number)))
    try:
        yield let_through
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    let_through()


def _append(log: Path | None, record: dict[str, Any]) -> None:
    if log is not None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _cut_log(log: Path, step: int) -> None:
    """Drop the lines after ``step``, which a resumed run will write again."""
    kept = [record for record in load_lines(log) if record["step"] <= step]
    write_atomically(log, "".join(json.dumps(record) + "\n" for record in kept).encode())


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
