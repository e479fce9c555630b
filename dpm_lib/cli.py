"""The command line: ``python -m dpm_lib list | cost RECIPE | train RECIPE | evaluate RUN | sample RUN``.

    python -m dpm_lib cost textures                                counts arithmetic and memory; trains nothing
    python -m dpm_lib train swiss-roll --out runs/roll             on a GPU if there is one; or --device cpu, cuda
    python -m dpm_lib train swiss-roll --set steps=500 --precision bf16
    python -m dpm_lib train textures --minutes 8                   as many steps as take so long here
    python -m dpm_lib train --resume runs/roll                     goes on, with the settings that the folder holds
    accelerate launch --num_processes 8 -m dpm_lib train swiss-roll                       on eight GPUs
    torchrun --standalone --nproc_per_node 2 -m dpm_lib train swiss-roll --device cpu     two processes on the CPU

A batch is the same whatever the number of processes, which may change at a resume.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import PartialState

from dpm_lib import costs, training
from dpm_lib.checkpoints import load_json, load_model, save_tensors
from dpm_lib.devices import accelerator_for
from dpm_lib.evaluation import evaluate
from dpm_lib.recipes import PRECISIONS, RECIPES, Recipe, get, load_data, parse

MISTAKES = (ValueError, FloatingPointError, OSError, MemoryError, torch.cuda.OutOfMemoryError, torch.linalg.LinAlgError)


class Failure(Exception):
    """A mistake of the user's: printed on one line, exit code 2."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for a mistake of the user's, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        if not 0 <= getattr(options, "seed", 0) < 2**62:
            raise Failure(f"--seed: {options.seed} is not between 0 and 2^62")
        options.run(options)
    except (Failure, *MISTAKES) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        where = getattr(options, "resume", None) or getattr(options, "out", None)
        kept = where if where and (Path(where) / "checkpoint.safetensors").exists() else None
        hint = f"; go on with: python -m dpm_lib train --resume {kept}" if kept else ""
        if os.environ.get("RANK", "0") == "0":  # the first of the processes that `accelerate launch` started
            print(f"interrupted{hint}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="python -m dpm_lib", description=__doc__, formatter_class=form)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="the recipes, and their settings")
    command.set_defaults(run=_list)

    command = commands.add_parser("cost", help="what training a recipe takes, counted: operations and memory")
    command.add_argument("recipe", metavar="RECIPE", help="a name that `list` shows")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    command.set_defaults(run=_cost)

    command = commands.add_parser("train", help="train a recipe, or resume a run")
    command.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name that `list` shows")
    command.add_argument("--out", metavar="DIR", help="folder of the run (default: runs/RECIPE-SEED)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--minutes", type=float, help="choose steps so that training takes about so long here")
    command.add_argument("--precision", choices=PRECISIONS, help="short for --set precision=...")
    command.add_argument(
        "--resume", metavar="DIR", help="go on with an interrupted run: bit for bit, if OMP_NUM_THREADS is the same"
    )
    command.add_argument("--tensorboard", action="store_true", help="write the course for TensorBoard too")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    command.set_defaults(run=_train)

    command = commands.add_parser("evaluate", help="the bound of a trained run on held-out data")
    command.add_argument("folder", metavar="RUN", help="folder of the run, or its model.safetensors")
    command.add_argument("--n", type=int, default=20_000, help="held-out points")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("sample", help="draw from a trained run")
    command.add_argument("folder", metavar="RUN", help="folder of the run, or its model.safetensors")
    command.add_argument("--n", type=int, default=10_000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--out", metavar="FILE", help="a .csv or .safetensors file (default: CSV on the screen)")
    command.set_defaults(run=_sample)
    return parser


def _list(options: argparse.Namespace) -> None:
    for recipe in RECIPES.values():
        print(f"{recipe.name}: {recipe.about}")
        settings = {key: value for key, value in recipe.to_dict().items() if key not in ("name", "about")}
        print("    " + " ".join(f"{key}={value}" for key, value in settings.items()))


def _cost(options: argparse.Namespace) -> None:
    recipe = get(options.recipe).override(**parse(options.set))
    print(f"{recipe.name}: {costs.words(recipe, costs.count(recipe))}")


def _train(options: argparse.Namespace) -> None:
    if options.resume:
        if options.recipe or options.out or options.set or options.precision or options.minutes is not None:
            raise Failure("--resume takes the recipe and its settings from the run folder; give only --device with it")
        folder = _run_folder(options.resume)
        record = load_json(folder / "config.json")
        try:
            recipe, seed = Recipe.from_dict(record["recipe"]), int(record["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise Failure(f"{folder / 'config.json'}: {error}") from None
    else:
        if not options.recipe:
            raise Failure(f"train: name a recipe; there are: {', '.join(RECIPES)}")
        settings = parse(options.set)
        if options.minutes is not None and "steps" in settings:
            raise Failure("--minutes chooses the steps: leave out --set steps=...")
        if options.precision:
            if settings.get("precision", options.precision) != options.precision:
                raise Failure("--precision: another is set by --set precision=...; give one of them")
            settings["precision"] = options.precision
        recipe, seed = get(options.recipe).override(**settings), options.seed
        folder = Path(options.out or f"runs/{recipe.name}-{seed}")
        if (folder / "config.json").exists():
            raise Failure(f"{folder}: holds a run already; go on with --resume {folder}, or name another --out")
        if options.minutes is not None:
            steps = training.steps_within(options.minutes, recipe, options.device)
            recipe = recipe.override(steps=steps)
        options.out = folder
    resume, tensorboard = bool(options.resume), options.tensorboard
    model, metrics = training.fit(recipe, seed, folder, options.device, resume, tensorboard=tensorboard)
    if PartialState().is_main_process:
        try:
            from dpm_lib import plots  # needs the notebooks' packages, which training itself does not
        except ModuleNotFoundError as error:
            print(f"no summary.png: {error}", file=sys.stderr)
        else:
            plots.save_run_summary(folder / "summary.png", model, load_data(recipe), seed)
        print(json.dumps(metrics))


def _evaluate(options: argparse.Namespace) -> None:
    model, recipe = _load(options)
    metrics = {"recipe": recipe.name, "seed": options.seed}
    metrics |= evaluate(model, load_data(recipe), options.n, options.seed)
    print(json.dumps(metrics))


def _sample(options: argparse.Namespace) -> None:
    if options.n < 1:
        raise Failure(f"--n: {options.n} is less than 1")
    out = Path(options.out) if options.out else None
    if out is not None and out.suffix not in (".csv", ".safetensors"):
        raise Failure(f"--out: {out} should end in .csv or .safetensors")
    model, recipe = _load(options)
    generator = torch.Generator(model.schedule.log_alpha_bar.device).manual_seed(options.seed)
    x = model.sample(options.n, generator).cpu()
    if out is not None and out.suffix == ".safetensors":
        save_tensors(out, {"x": x}, {"recipe": recipe.name, "seed": options.seed})
        return
    lines = "".join(",".join(f"{value:.6g}" for value in row) + "\n" for row in x.tolist())
    if out is None:
        print(lines, end="")
    else:
        out.write_text(lines, encoding="utf-8")


def _load(options: argparse.Namespace) -> tuple[Any, Recipe]:
    path = Path(options.folder)
    if path.suffix != ".safetensors":
        path = _run_folder(path) / "model.safetensors"
        if not path.exists():
            raise Failure(f"{path.parent}: has no model.safetensors: the run has not ended; go on with --resume")
    model, recipe = load_model(path)
    return model.to(accelerator_for(options.device).device), recipe


def _run_folder(name: str | Path) -> Path:
    folder = Path(name)
    if not folder.is_dir():
        raise Failure(f"{folder}: no such run folder")
    return folder
