"""What a recipe costs, counted on the CPU before anything is trained: arithmetic and memory. No data are downloaded.

A real run is made, on a few rows of zeros and ones in place of the data, and two kinds of memory are told apart:

- the state of training, which does not depend on the batch: weights, their gradients, Adam's two moments, the average
  of the weights, the best average where the recipe looks at validation images, and the copies in 16 bits that autocast
  makes of the weights where ``precision`` is bf16;
- what a forward pass keeps for the backward one, which grows with the batch: the activations.

The peak of a step is more, for the backward pass needs room for what it is working on, and a GPU for its libraries; or
it is a little less, where weights are many and the batch is small, for gradients come when activations go. On the CPU,
``measured_peak`` is 0.9 to 2.2 times ``Cost.bytes`` for the book's recipes, most where cells of levels are in float64.
"""

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dpm_lib.data import image_datasets, text
from dpm_lib.data.dataset import DATA, Data
from dpm_lib.training.build import load_data
from dpm_lib.training.objective import draw_batch
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run

BACKWARD = 2  # times the arithmetic of the forward pass: gradients of the inputs, and of the weights, of every layer
SAME_SHAPE = {"mnist": "mnist-5k"}  # what "levels" has to know: which of them are rare
NOT_AT_HAND = ("cifar10", "folder:")


@dataclass(frozen=True)
class Cost:
    """What ``count`` finds: numbers of weights and operations, and bytes."""

    parameters: int
    flop_per_row: int  # of one pass of the network over one row of data
    state_bytes: int  # of training, whatever the batch
    bytes_per_row: int  # kept for the backward pass, for each row of the batch

    def flop(self, recipe: Recipe) -> int:
        """Floating-point operations of the whole training."""
        return (1 + BACKWARD) * self.flop_per_row * recipe.batch * recipe.steps

    def bytes(self, recipe: Recipe, processes: int = 1) -> int:
        """Of memory in each of several processes that share the batch."""
        return self.state_bytes + self.bytes_per_row * math.ceil(recipe.batch / processes)


@dataclass(frozen=True, kw_only=True)
class Shapes(Data):
    """Zeros and ones of ``size`` entries, as bits or as numbers: in place of data that may not be at hand."""

    size: int
    kinds: int = 0
    target: Any = field(default=None, init=False)

    @property
    def dim(self) -> int:
        return self.size

    def batch(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(2, (n, self.size), generator=generator).double()

    @property
    def classes(self) -> int:
        return self.kinds

    def labelled(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.batch(n, generator), torch.randint(self.kinds, (n,), generator=generator)


def count(recipe: Recipe) -> Cost:
    """The cost of ``recipe``; ValueError where its network cannot be built without data that are not at hand."""
    fewest = 2 if recipe.side or text.known(recipe.data) else recipe.T + 1 - recipe.first
    runs = [trial(recipe, rows) for rows in (fewest, 2 * fewest)]
    small, large = (kept_bytes(partial(loss, run), run.model) for run in runs)
    runs[0].advance()
    network: Any = runs[0].model.reverse.network  # type: ignore[attr-defined]
    x, t = torch.zeros(1, runs[0].data.dim), torch.ones(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, t, torch.zeros(1))
    return Cost(
        parameters=sum(p.numel() for p in network.parameters()),
        flop_per_row=counter.get_total_flops(),
        state_bytes=state_bytes(runs[0]) + 2 * small - large,
        bytes_per_row=round((large - small) / fewest),
    )


def epochs(recipe: Recipe) -> float | None:
    """How often training draws each picture, on average; none for data drawn afresh, or a folder nobody has counted.

    Hundreds are an invitation to learn them by heart: see ``validate_every`` and ``dropout`` of a recipe.
    """
    pictures = image_datasets.TRAINING.get(recipe.data)
    return recipe.batch * recipe.steps / pictures if pictures else None


def words(recipe: Recipe, cost: Cost) -> str:
    """``cost`` for a reader, in three lines."""
    passes = epochs(recipe)
    often = f" ({passes:.3g} epochs of {image_datasets.TRAINING[recipe.data]:,} images)" if passes else ""
    state, row, total = (size / 1e6 for size in (cost.state_bytes, cost.bytes_per_row, cost.bytes(recipe)))
    hours = cost.flop(recipe) / 1e12 / 3600
    return (
        f"{cost.parameters:,} weights; {cost.flop_per_row / 1e9:.3g} GFLOP for one row of data through the network\n"
        f"training: {recipe.steps:,} steps of {recipe.batch} rows{often}, {cost.flop(recipe) / 1e15:.3g} PFLOP: "
        f"at least {hours:.2g} hours at 1 TFLOP/s, and less in proportion where more are sustained\n"
        f"memory: {state:.3g} MB whatever the batch, and {row:.3g} MB for each row of it: {total:.3g} MB in all "
        "(counted; the peak of a step may be twice that)"
    )


def trial(recipe: Recipe, rows: int) -> Run:
    """A run of ``recipe`` on the CPU with ``rows`` rows a batch, on data that have nothing but the right shape.

    ValueError where what it takes depends on the data.
    """
    if recipe.covariance == "levels" and recipe.data.startswith(NOT_AT_HAND):
        raise ValueError(f"covariance: 'levels' of {recipe.data} depends on the pictures; count covariance=diagonal")
    if not recipe.side and recipe.data not in DATA and not text.known(recipe.data):
        raise ValueError(f"side: 0 does not fit {recipe.data}, which are images or not known")
    recipe = replace(recipe, data=SAME_SHAPE.get(recipe.data, recipe.data), batch=rows, compile=False)
    dim = recipe.channels * recipe.side**2 if recipe.side else recipe.length
    if recipe.data in DATA:
        dim = load_data(recipe).dim
    return Run(recipe, 0, "cpu", data=Shapes(name=recipe.data, size=dim, kinds=recipe.classes))


def state_bytes(run: Run) -> int:
    """Bytes of what ``run`` holds after a step: weights, gradients, the state of the optimizer, averages, the best."""
    parameters = list(run.objective.parameters())
    tensors = [*run.model.state_dict().values(), *run.average.values(), *(p.grad for p in parameters)]
    tensors += [*run.best.values()] if run.best else []
    tensors += [value for state in run.optimizer.state.values() for value in state.values()]
    return sum(value.nbytes for value in tensors if value is not None)


def kept_bytes(forward: Callable[[], Tensor], model: torch.nn.Module) -> int:
    """Bytes that ``forward`` keeps for its backward pass: each storage once, of any shape, but ``model``'s own."""
    own = {value.untyped_storage().data_ptr() for value in [*model.parameters(), *model.buffers()]}
    kept = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage  # kept alive, so that no other gets its address
        return value

    with saved_tensors_hooks(keep, lambda value: value):
        result = forward()
    del result
    return sum(storage.nbytes() for place, storage in kept.items() if place not in own)


def loss(run: Run) -> Tensor:
    """The objective of one batch of ``run``, a scalar."""
    return run.objective(*draw_batch(run.data, run.recipe, run.generator))[0]


def measured_peak(recipe: Recipe) -> int:
    """Bytes that a training step of ``recipe`` really needs at its peak, on the CPU, by PyTorch's profiler.

    What the libraries below PyTorch take for themselves is not in it.
    """
    run = trial(recipe, recipe.batch)
    run.advance()
    for parameter in run.objective.parameters():
        parameter.grad = None
    return state_bytes(run) + peak(run.advance)


def peak(job: Callable[[], object]) -> int:
    """The most bytes that PyTorch holds on the CPU during ``job``, beyond what it held before, by its profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        job()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    return max(accumulate((size for _, size in changes), initial=0))
