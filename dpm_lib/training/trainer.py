"""The state of a run, one step of it, and the files from which it goes on as if nothing had happened.

All randomness of a run comes from one generator on the CPU, whose state is in the checkpoint. Examples are drawn with
replacement, so that no place in an epoch has to be kept; every process draws the same global batch and keeps its share
of it. So a run that was stopped anywhere and resumed ends, on the CPU, bit for bit where an uninterrupted one does, if
machine, PyTorch and number of threads are the same (``OMP_NUM_THREADS=1`` settles the last). Else the two agree up to
the rounding of sums, which grows with the steps. Several processes do what one does, up to that rounding, and on a
GPU, where sums are not always in one order, a resumed run does too. Nothing is read back from the device between the
steps: the bounds stay there until ``collect``.
(One kind of model asks the GPU once a step: Cholesky factors, of covariance "full", are checked.)

Dropout draws from PyTorch's own generators, which a step that has any seeds anew from the run's; of several processes
each draws its own.

K is in the log of every run. Of one with another objective than the bound it is estimated from the same passes of the
network, and what is minimised stands beside it under its own name, ``loss``.

While it trains, a run can look at validation data, of pictures or text: K of its averaged weights there, always with
the same noise. The best weights are kept, and are what it ends with: learning for longer than is good does no harm but
to the time. Best is by K, or by the loss where that is minimised.

Images that are not too large are moved to the GPU once; their batches are then drawn there, from a generator of that
device which the one on the CPU seeds anew for each step.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpm_lib.core.constants import LN2
from dpm_lib.core.files import BrokenFile, load_json, load_tensors, save_picture, save_tensors
from dpm_lib.core.random import seeded
from dpm_lib.data.contact_sheet import picture
from dpm_lib.data.dataset import Data, differences
from dpm_lib.data.images import Images
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.training.build import build, load_data, recipe_for
from dpm_lib.training.checkpoints import check_sizes, load_state
from dpm_lib.training.devices import accelerator_for, compiled, keep_buffers_apart, moved, warn_of_slow_bf16
from dpm_lib.training.objective import Objective, draw_batch, learning_rate, step_weights, validation_batch
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.weight_average import update_average


def resides(data: Data, device: torch.device) -> bool:
    """Whether batches of ``data`` are drawn on ``device`` itself, a GPU."""
    return device.type != "cpu" and data.draws_on(device)


class Run:
    """The state of a run: everything that has to survive an interruption, and the files it lives in.

    ValueError for a batch that cannot be split over the processes; BrokenFile for what is no checkpoint of this run.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        device: str = "auto",
        folder: Path | None = None,
        data: Data | None = None,
        resume: bool = False,
    ) -> None:
        """A run at its start, or, with ``resume``, at the checkpoint in its folder."""
        self.data = load_data(recipe) if data is None else data
        recipe = recipe_for(recipe, self.data)
        self.recipe, self.seed, self.folder = recipe, seed, folder
        self.accelerator = accelerator_for(device)
        if recipe.batch % self.accelerator.num_processes:
            raise ValueError(f"batch: {recipe.batch} cannot be split over {self.accelerator.num_processes} processes")
        self.device = self.accelerator.device  # Accelerate's own would change with a later run on another device
        if recipe.precision == "bf16":
            warn_of_slow_bf16(self.device)
        self.data_set = self.data.record()
        found = self._read_checkpoint() if resume else None
        self.generator = seeded(seed)
        objective = Objective(self._built(), recipe.precision, step_weights(recipe)).train()
        keep_buffers_apart(objective)
        self.objective = self.accelerator.prepare(objective)
        self.optimizer = torch.optim.Adam(self.objective.parameters(), lr=recipe.lr, betas=(0.9, 0.99), fused=True)
        self.loss = compiled(self.objective) if recipe.compile else self.objective
        self.model: DiffusionModel = self.accelerator.unwrap_model(self.objective).model
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.validates = bool(recipe.validate_every) and self.data.validates
        self.best = self._copy() if recipe.validate_every else None  # of the averages, those best on validation images
        self.best_step: int | None = None
        self.best_bits = -math.inf  # K then; of another objective than the bound, minus its loss
        self.step = 0
        self.saved: int | None = None  # step of the checkpoint in the folder
        self.seconds = 0.0
        self.recent: list[float] = []  # K of the batches since the last line of the log, bits
        self.recent_losses: list[float] = []  # the same for what is minimised, if that is not -K
        self._pending: list[Tensor] = []  # K and loss of the latest, still on the device, from this process's share
        if found:
            self._restore(*found)

    def advance(self) -> Tensor:
        """One step of training; returns the estimate of K in bits from this process's share of the batch, a scalar."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        share = self._draw_share()
        if self.recipe.dropout:
            masks = int(torch.randint(2**62, (1,), generator=self.generator))
            torch.manual_seed(masks + self.accelerator.process_index)
        loss, K = self.loss(*share)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        if self.recipe.clip:
            self.accelerator.clip_grad_norm_(self.objective.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        update_average(self.average, self.model, self.step, self.recipe.ema)
        self._pending.append(torch.stack([K / LN2, loss.detach()]))
        return self._pending[-1][0]

    def _draw_share(self) -> list[Tensor]:
        """This process's share of the next global batch."""
        device, generator = self.device, self.generator
        if resides(self.data, device):
            seed = int(torch.randint(2**62, (1,), generator=generator))
            generator = seeded(seed, device)
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        return [moved(part[share], device) for part in draw_batch(self.data, self.recipe, generator)]

    def collect(self) -> None:
        """Add the bounds of the latest steps to ``recent``, as means over all processes.

        FloatingPointError at the first one that is not finite.
        """
        if self._pending:
            bounds = self.accelerator.reduce(torch.stack(self._pending), reduction="mean").tolist()
            self._pending.clear()
            for step, (value, loss) in enumerate(bounds, self.step - len(bounds) + 1):
                if not math.isfinite(value + loss):
                    raise FloatingPointError(f"step {step}: the bound is {value}; {self.advice()}")
                self.recent.append(value)
                if self.recipe.objective != "bound":
                    self.recent_losses.append(loss)

    def means(self) -> dict[str, float]:
        """Of the steps since the last call: ``bound_bits``, and ``loss`` where something else is minimised."""
        found = {"bound_bits": self.recent} | ({"loss": self.recent_losses} if self.recent_losses else {})
        means = {name: sum(values) / len(values) for name, values in found.items()}
        self.recent.clear()
        self.recent_losses.clear()
        return means

    def advice(self) -> str:
        """What to change when the numbers run away, and what is left."""
        clip = "" if self.recipe.clip else ", or clip the gradient: --set clip=1"
        return f"try a smaller lr than {self.recipe.lr}{clip}; {self.kept()}"

    def kept(self) -> str:
        """Which checkpoint there is, in words."""
        return "there is no checkpoint yet" if self.saved is None else f"the checkpoint of step {self.saved} is kept"

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; all processes have to ask."""
        if self.accelerator.num_processes == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        return bool(self.accelerator.reduce(votes, reduction="sum"))

    def averaged_model(self) -> DiffusionModel:
        """A copy of the model with the averaged weights."""
        return self._model_with(self.average)

    def kept_model(self) -> DiffusionModel:
        """The model that is evaluated and saved: with the averaged weights, of the best look if there were any."""
        return self._model_with(self.average if self.best is None or self.best_step is None else self.best)

    def _model_with(self, weights: dict[str, Tensor]) -> DiffusionModel:
        model = self._built().to(self.device)
        model.load_state_dict(weights)
        model.data_set = self.data_set
        return model.requires_grad_(False)

    def _built(self) -> DiffusionModel:
        """The recipe's model for the data of this run, with fresh weights."""
        recipe, data = self.recipe, self.data
        edges = data.edges(recipe.cells) if isinstance(data, Images) and recipe.covariance == "levels" else None
        return build(recipe, self.seed, data.dim, edges)

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.average.items()}

    @torch.no_grad()
    def look(self) -> dict[str, float]:
        """``validation_bits``: K of the averaged weights on the validation data; ``validation_loss``, if not -K.

        The weights are kept where no look was better.

        FloatingPointError where it is not finite.
        """
        objective = Objective(self.averaged_model(), self.recipe.precision, step_weights(self.recipe)).to(self.device)
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        batch = [part[share].split(self.recipe.batch) for part in validation_batch(self.data, self.recipe)]
        found = torch.zeros(3, dtype=torch.float64, device=self.device)  # sums of losses and bounds, and of how many
        for parts in zip(*batch, strict=True):
            rows = len(parts[0])
            loss, K = objective(*(moved(part, self.device) for part in parts))
            found += rows * torch.stack([loss, K, torch.ones_like(K)])
        losses, bounds, n = self.accelerator.reduce(found, reduction="sum").tolist()
        bits, loss = bounds / n / LN2, losses / n
        if not math.isfinite(bits):
            raise FloatingPointError(f"step {self.step}: the bound on validation images is {bits}; {self.advice()}")
        by_bound = self.recipe.objective == "bound"
        value = bits if by_bound else -loss
        if value > self.best_bits:
            self.best, self.best_step, self.best_bits = self._copy(), self.step, value
        return {"validation_bits": bits} | ({} if by_bound else {"validation_loss": loss})

    def write(self, name: str, content: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]) -> None:
        """Let the main process write tensors of any shape and a record to the folder, if there is one.

        OSError in every process where that fails, so that none is left waiting for the others.
        """
        error: OSError | None = None
        if self.folder is not None and self.accelerator.is_main_process:
            try:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                save_tensors(path, *content())
            except OSError as caught:
                error = caught
        if self.any(error is not None):
            raise error or OSError(f"{name}: the main process could not write it")

    def save_samples(self, n: int = 64) -> None:
        """Write n draws of the averaged model to samples/, always from the same noise; the run's own is not touched.

        Of pictures also a PNG.
        """
        name = f"samples/step-{self.step:07d}"

        def samples() -> tuple[dict[str, Tensor], dict[str, Any]]:
            x = self.averaged_model().sample(n, seeded(self.seed, self.device)).cpu()
            if isinstance(self.data, Images) and self.folder is not None:
                save_picture(self.folder / f"{name}.png", picture(x, self.data_set))
            return {"x": x}, {"recipe": self.recipe.name, "seed": self.seed, "step": self.step}

        self.write(f"{name}.safetensors", samples)

    def save_checkpoint(self) -> None:
        """Write the folder's checkpoint; FloatingPointError, and the old one stays, where a number is not finite."""
        self.collect()
        if not all(torch.isfinite(value).all() for value in self.model.parameters()):
            raise FloatingPointError(f"step {self.step}: weights not finite; {self.advice()}")
        self.write("checkpoint.safetensors", self._state)
        self.saved = None if self.folder is None else self.step

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        looked = self.best is not None and self.best_step is not None
        tensors |= {f"best.{name}": value for name, value in self.best.items()} if looked and self.best else {}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        tensors["random"] = self.generator.get_state()
        record = {
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "data_set": self.data_set,
            "step": self.step,
            "seconds": self.seconds,
            "recent": self.recent,
            "recent_losses": self.recent_losses,
            "best": [self.best_step, self.best_bits] if looked else None,
        }
        return tensors, record

    def _read_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What the folder's checkpoint holds; None, to start at step 0, for a run that ended before its first one.

        BrokenFile where it is of another recipe, seed or data, or tells sizes that its tensors do not have. So nothing
        is built of a wrong size.
        """
        assert self.folder is not None
        path, config = self.folder / "checkpoint.safetensors", self.folder / "config.json"
        if config.exists() and not path.exists():
            self._check(config, load_json(config) | {"data_set": {}})
            return None
        tensors, record = load_tensors(path)
        self._check(path, record)
        try:
            check_sizes(self.recipe, self.data.dim, tensors)
        except ValueError as error:
            raise BrokenFile(f"{path}: {error}") from None
        return tensors, record

    def _restore(self, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        """Go back to what a checkpoint holds; BrokenFile where it is not whole."""
        assert self.folder is not None
        path = self.folder / "checkpoint.safetensors"
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
            self.recent_losses = [float(value) for value in record.get("recent_losses", [])]
            if record.get("best"):
                best = _group(tensors, "best")
                self.best = {name: best[name].to(value.device) for name, value in self.average.items()}
                self.best_step, self.best_bits = int(record["best"][0]), float(record["best"][1])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BrokenFile(f"{path}: {error}") from None
        self.saved = self.step

    def _check(self, path: Path, record: dict[str, Any]) -> None:
        """BrokenFile, with what differs, unless a checkpoint is of this run's recipe, seed and data."""
        if "data_set" not in record:
            raise BrokenFile(f"{path}: does not say what data it was trained on: not a checkpoint of this version")
        try:
            theirs = Recipe.from_dict(record["recipe"]).to_dict() | {"seed": record["seed"]}
            differs = differences(record["data_set"], self.data_set)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BrokenFile(f"{path}: is not a checkpoint of a run: {error}") from None
        ours = self.recipe.to_dict() | {"seed": self.seed}
        differs = [f"{key} {theirs[key]}, not {ours[key]}" for key in ours if ours[key] != theirs[key]] + differs
        if differs:
            longer = theirs | {"steps": self.recipe.steps} == ours and theirs != ours
            hint = "; a run is not made longer: its learning rate has gone to zero" if longer else ""
            raise BrokenFile(f"{path}: is of another recipe, seed or data set: {'; '.join(differs)}{hint}")


def _group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}
