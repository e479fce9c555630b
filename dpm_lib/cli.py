"""The command line: ``python -m dpm_lib list | cost RECIPE | train RECIPE | evaluate RUN | sample RUN``.

    python -m dpm_lib cost textures                                counts arithmetic and memory; trains nothing
    python -m dpm_lib train swiss-roll --out runs/roll             on a GPU if there is one; or --device cpu, cuda
    python -m dpm_lib train swiss-roll --set steps=500 --precision bf16
    python -m dpm_lib train textures --minutes 8                   as many steps as take so long here
    python -m dpm_lib train --resume runs/roll                     goes on, with the settings that the folder holds
    python -m dpm_lib train folder --set data=folder:PATH          your pictures; or points: swiss-roll data=FILE.npy
    python -m dpm_lib train text --set data=text:FILE.txt          a text of your own (UTF-8); `sample` prints text
    python -m dpm_lib bits --diffusers FOLDER --data folder:PICTURES  bits per dimension of a pipeline of diffusers
    python -m dpm_lib sample runs/folder-0 --out sheet.png         64 pictures; or .csv, .safetensors, in data units
    python -m dpm_lib sample runs/folder-0 --sampler ddim --calls 20 --out sheet.png      at 20 of the levels alone
    python -m dpm_lib sample runs/digits-classes-0 --label 3 --guidance 2 --sampler ddim --calls 20 --out threes.png
    accelerate launch --num_processes 8 -m dpm_lib train swiss-roll                       on eight GPUs
    torchrun --standalone --nproc_per_node 2 -m dpm_lib train swiss-roll --device cpu     two processes on the CPU

A batch is the same whatever the number of processes, which may change at a resume. Numbers repeat to the last bit with
the same number of threads (OMP_NUM_THREADS), and to rounding with another.
"""

import argparse
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from dpm_lib import __version__
from dpm_lib.core import checks
from dpm_lib.core.extras import NotInstalled
from dpm_lib.core.files import BrokenFile, load_json, load_tensors, save_picture, save_tensors, write_atomically
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data import text
from dpm_lib.data.contact_sheet import picture
from dpm_lib.data.dataset import Data, differences, original
from dpm_lib.data.image_folder import check_sizes
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load
from dpm_lib.diffusion import batches
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.guidance import Guided
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.samplers import SAMPLERS, draw
from dpm_lib.interop.denoiser import LASTS
from dpm_lib.interop.diffusers_models import OWN, from_diffusers, load_pipeline
from dpm_lib.training import costs, devices, loop
from dpm_lib.training.bits import BitsRun, drawing, in_words
from dpm_lib.training.build import load_data
from dpm_lib.training.catalogue import RECIPES, get
from dpm_lib.training.checkpoints import load_model
from dpm_lib.training.devices import accelerator_for
from dpm_lib.training.evaluation import evaluate
from dpm_lib.training.interruption import ENDINGS
from dpm_lib.training.recipe import PRECISIONS, Recipe, parse

SUFFIXES = (".csv", ".png", ".safetensors", ".txt")
TEXTS = 4  # windows that are drawn where nobody says how many
MISTAKES = (ValueError, FloatingPointError, OSError, MemoryError, torch.cuda.OutOfMemoryError, torch.linalg.LinAlgError)


OUT = (
    "a .csv or .safetensors file, in the data's own units (of pictures: levels, with the uniform noise on top), or the "
    "pictures as one .png, text as .txt (default: on the screen, as CSV or text)"
)


class Failure(Exception):
    """A mistake of the user's: printed on one line, exit code 2."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for a mistake of the user's (a Failure), 130 when
    interrupted.
    """
    options = _parser().parse_args(arguments)
    ours = [number for number in ENDINGS[1:] if signal.getsignal(number) != signal.SIG_IGN]  # `nohup` ignores SIGHUP
    before = {number: signal.signal(number, _interrupt) for number in ours}
    try:
        if not 0 <= (getattr(options, "seed", None) or 0) < 2**62:
            raise Failure(f"--seed: {options.seed} is not between 0 and 2^62")
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Failure, NotInstalled, *MISTAKES) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not devices.out_of_memory(error):
            raise
        print("error: out of memory: ask for less: fewer --n, say, or a smaller model", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        where = getattr(options, "resume", None) or getattr(options, "out", None)
        kept = where if where and (Path(where) / "config.json").exists() else None
        hint = f"; go on with: python -m dpm_lib train --resume {kept}" if kept else ""
        if os.environ.get("RANK", "0") == "0":  # the first of the processes that `accelerate launch` started
            print(f"interrupted{hint}", file=sys.stderr)
        return 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="python -m dpm_lib", description=__doc__, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"dpm_lib {__version__}")
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
    command.add_argument("--seed", type=int, help="default: 0")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--minutes", type=float, help="choose steps so that training takes about so long here")
    command.add_argument("--precision", choices=PRECISIONS, help="short for --set precision=...")
    command.add_argument(
        "--resume", metavar="DIR", help="go on with an interrupted run: bit for bit, if OMP_NUM_THREADS is the same"
    )
    command.add_argument("--data", metavar="PATH", help="where the data are now, of a run to resume")
    command.add_argument("--tensorboard", action="store_true", help="write the course for TensorBoard too")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    command.set_defaults(run=_train)

    command = commands.add_parser("evaluate", help="the bound of a trained run on held-out data")
    command.add_argument("folder", metavar="RUN", help="folder of the run, or its model.safetensors")
    command.add_argument("--n", type=int, help="held-out points, or pictures (default: as many as training takes)")
    command.add_argument(
        "--data", metavar="PATH", help="where the data are now: a folder of pictures, a text, or a .npy"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("bits", help="bits per dimension of pictures, under a run or a pipeline of diffusers")
    command.add_argument("folder", nargs="?", metavar="RUN", help="folder of a run, or its model.safetensors")
    command.add_argument("--diffusers", metavar="FOLDER", help="instead of a run: a pipeline that diffusers saved")
    command.add_argument("--data", metavar="DATA", help="folder:PICTURES, all of them; or a set's name: held-out ones")
    command.add_argument(
        "--n", "--pictures", dest="n", type=int, help="of how many (default: all); torchrun wants the long name"
    )
    command.add_argument("--calls", type=int, default=50, help="of the network, for each picture; T - 1: the full sum")
    command.add_argument("--clip", help="of a pipeline: own (default), none, or a number at which guesses are cut")
    command.add_argument("--last", choices=LASTS, help="of a pipeline: the last step, edge (default) or levels")
    command.add_argument("--variance", help="of a pipeline: another than its scheduler's, such as fixed_large")
    command.add_argument("--label", type=int, help="of a pipeline with classes: which")
    command.add_argument("--dtype", choices=("float32", "float64"), help="of a pipeline's network (default: float32)")
    command.add_argument("--resize", action="store_true", help="pictures of another size are made to fit")
    command.add_argument("--out", metavar="DIR", help="keep each part there: the same command goes on where it was")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.set_defaults(run=_bits)

    command = commands.add_parser("sample", help="draw from a trained run")
    command.add_argument("folder", metavar="RUN", help="folder of the run, or its model.safetensors")
    command.add_argument("--n", type=int, help="how many (default: 64 pictures, 4 windows of text, or 10,000 points)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--out", metavar="FILE", help=OUT)
    command.add_argument("--sampler", choices=SAMPLERS, help="with --calls (default: the chain itself, at all levels)")
    command.add_argument("--calls", type=int, metavar="N", help="how often --sampler may call the network, at most")
    command.add_argument(
        "--eta", type=float, help="of --sampler ddim: 0, its default, draws no noise; 1 is DDPM's chain"
    )
    command.add_argument("--label", type=int, help="of a run with classes: which (default: it is told none)")
    command.add_argument(
        "--guidance", type=float, metavar="W", help="with --label and --sampler: 0 leaves the class out, 1 adds nothing"
    )
    command.set_defaults(run=_sample)
    return parser


def _list(options: argparse.Namespace) -> None:
    for recipe in RECIPES.values():
        print(f"{recipe.name}: {recipe.about}")
        settings = recipe.settings()
        print("    " + " ".join(f"{key}={value}" for key, value in settings.items()))


def _cost(options: argparse.Namespace) -> None:
    recipe = get(options.recipe).override(**parse(options.set))
    print(f"{recipe.name}: {costs.words(recipe, costs.count(recipe))}")


def _train(options: argparse.Namespace) -> None:
    data = None
    if options.resume:
        given = options.recipe or options.out or options.set or options.precision
        if given or options.minutes is not None or options.seed is not None:
            more = any(pair.startswith("steps=") for pair in options.set)
            longer = ": a run is not made longer, its learning rate has gone to zero; train anew" if more else ""
            raise Failure(
                "--resume takes the recipe and its settings from the run folder; give only --device or --data "
                f"with it{longer}"
            )
        folder = _run_folder(options.resume)
        record = load_json(folder / "config.json")
        try:
            recipe, seed = Recipe.from_dict(record["recipe"]), loop.checked_seed(record["seed"])
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
        if options.data:
            raise Failure("--data: goes with --resume; of a new run, --set data=...")
        recipe, seed = get(options.recipe).override(**settings), options.seed or 0
        folder = Path(options.out or f"runs/{recipe.name}-{seed}")
        if folder.exists() and not folder.is_dir():
            raise Failure(f"--out: {folder} is a file, not a folder")
        if (folder / "config.json").exists():
            raise Failure(f"{folder}: holds a run already; go on with --resume {folder}, or name another --out")
        if options.minutes is not None:
            data = load_data(recipe)
            steps = loop.steps_within(options.minutes, recipe, options.device, data)
            recipe = recipe.override(steps=steps)
        options.out = folder
    resume, tensorboard = bool(options.resume), options.tensorboard
    if data is None:
        data = _data(recipe, options.data) if options.resume else load_data(recipe)
    model, metrics = loop.fit(recipe, seed, folder, options.device, resume, data=data, tensorboard=tensorboard)
    from accelerate import PartialState  # here, for it is slow to import

    if PartialState().is_main_process:
        print(json.dumps(metrics), flush=True)
        _draw(folder / "summary.png", model, data, seed)


def _draw(path: Path, model: DiffusionModel, data: Data, seed: int) -> None:
    """The picture of a run, or of one on text some of it; what goes wrong in it is said, and loses nothing."""
    try:
        if isinstance(data, text.Text):
            drawn = model.sample(TEXTS, seeded(seed, model.schedule.log_alpha_bar.device)).cpu()
            write_atomically(path.with_suffix(".txt"), _written(drawn, data.alphabet).encode())
            return
        from dpm_lib.figures import plots  # needs the extra of figures, which training itself does not

        if isinstance(data, Images) and model.T > 200:
            print(f"drawing {path}", file=sys.stderr)
        plots.save_run_summary(path, model, data, seed)
    except Exception as error:
        print(f"no {path.name}: {path.parent}: {' '.join(str(error).split())}", file=sys.stderr)


def _evaluate(options: argparse.Namespace) -> None:
    model, recipe = _load(options)
    metrics = {"recipe": recipe.name, "seed": options.seed}
    metrics |= evaluate(model, _data(recipe, options.data), options.n, options.seed)
    print(json.dumps(metrics))


def _bits(options: argparse.Namespace) -> None:
    """Bits per dimension: a bar with the estimate so far, where along t they lie, their parts, and a line of JSON."""
    if (options.folder is None) == (options.diffusers is None):
        raise Failure("bits: name the folder of a run, or --diffusers FOLDER")
    for name, value in (("--calls", options.calls), ("--n", options.n)):
        if value is not None and value < (2 if name == "--n" else 1):
            raise Failure(f"{name}: {value}: need at least {2 if name == '--n' else 1}")
    model, images, pictures, facts = _their_bits(options) if options.diffusers else _our_bits(options)
    accelerator = accelerator_for(options.device)
    model = model.to(accelerator.device)
    out = None if options.out is None else Path(options.out)
    if out is not None and out.exists() and not out.is_dir():
        raise Failure(f"--out: {out} is a file, not a folder")
    asked = {"data": images.name, **facts}
    if accelerator.is_main_process and (note := _cut_note(model, images.levels)):
        print(note, file=sys.stderr)
    run = BitsRun(model, pictures[: options.n], model.data_set, options.calls, options.seed, out, asked)
    mine = list(run.parts)[accelerator.process_index :: accelerator.num_processes]
    done: list[dict[str, Any]] = []
    with tqdm(mine, unit="part", disable=not accelerator.is_main_process) as bar:
        for number in bar:
            done.append(run.measure(number))
            bits = torch.tensor([value for part in done for value in part["bits"]], dtype=torch.float64)
            error = f" +- {stderr(bits):.3f}" if len(bits) > 1 else ""
            bar.set_postfix_str(f"{float(bits.mean()):.3f}{error} bits a dimension")
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        found = dict(gather_object(list(zip(mine, done, strict=True))))
        done = [found[number] for number in run.parts]
    if accelerator.is_main_process:
        record = {**asked, "seed": options.seed, **run.report(done)}
        drawing(record["along"], print)
        print(in_words(record))
        print(json.dumps(record), flush=True)


def _cut_note(model: DiffusionModel, levels: int) -> str:
    """A line where dequantised pictures reach beyond the clip by more than the first noise: that is dear. Else none."""
    clip, end = getattr(model, "facts", {}).get("clip", "none"), 1 + 1 / (levels - 1)
    if model.last is not None or clip == "none" or end - clip < float(model.schedule.tau[1]) ** 0.5:
        return ""
    return (
        f"note: guesses are cut to [-{clip:g}, {clip:g}], and dequantised pictures of {levels} levels reach {end:.3g}: "
        "that costs bits; see --clip none, and --last levels"
    )


def _their_bits(options: argparse.Namespace) -> tuple[DiffusionModel, Images, torch.Tensor, dict[str, Any]]:
    """Model, data, pictures (n, d) and facts, for a pipeline of diffusers."""
    if options.data is None:
        raise Failure("--data: name folder:PICTURES, or a data set")
    words: dict[str | None, Any] = {None: OWN, "own": OWN, "none": None}
    try:
        clip = words[options.clip] if options.clip in words else float(options.clip)
    except ValueError:
        raise Failure(f"--clip: {options.clip!r}: need own, none, or a number") from None
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    unet, scheduler = load_pipeline(Path(options.diffusers), dtype)
    settings: dict[str, Any] = {"clip": clip, "variance": options.variance, "label": options.label}
    channels, height, width = from_diffusers(unet, scheduler, **settings).data_set["shape"]
    if height != width:
        raise Failure(f"--diffusers: its pictures are {height} x {width} pixels, and data here are square")
    folder = options.data.startswith("folder:")
    if folder and not options.resize:
        check_sizes(options.data.removeprefix("folder:"), width)
    images = load(options.data, side=width, channels=channels)
    if not isinstance(images, Images) or images.shape != (channels, height, width):
        kind = " x ".join(str(size) for size in images.shape) if isinstance(images, Images) else "no pictures"
        raise Failure(f"--data: {options.data} is {kind}, and the network takes {channels} x {height} x {width}")
    model = from_diffusers(unet, scheduler, last=options.last or "edge", count=images.levels, **settings)
    rest = [part for part in (images.train, images.validation) if part is not None]
    pictures = torch.cat([images.test, *rest]) if folder else images.test
    return model, images, pictures, model.facts


def _our_bits(options: argparse.Namespace) -> tuple[DiffusionModel, Images, torch.Tensor, dict[str, Any]]:
    """Model, data, held-out pictures (n, d) and facts, for a run of our own."""
    for name in ("clip", "last", "variance", "label", "dtype"):
        if getattr(options, name) is not None:
            raise Failure(f"--{name}: is for --diffusers; a run has its own")
    model, recipe = _load(options)
    images = _data(recipe, options.data)
    if not isinstance(images, Images):
        raise Failure(f"{options.folder}: its data are no pictures; take: dpm evaluate {options.folder}")
    if differs := differences(model.data_set, images.record()):
        raise Failure(f"--data: the model was trained on others: {'; '.join(differs)}")
    model.data_set = {**images.record(), **model.data_set}  # older files hold no units
    return model, images, images.test, {"recipe": recipe.name}


def _data(recipe: Recipe, path: str | None = None) -> Data:
    """The data of a run, from where they are now if a ``path`` says so."""
    if path is None:
        try:
            return load_data(recipe)
        except ValueError as error:
            raise Failure(f"{error}; where those of the run are now is said with --data PATH") from None
    moved = path if path.endswith(".npy") else f"folder:{path}"
    moved = f"text:{path}" if text.known(recipe.data) else moved
    return replace(load(moved, recipe.noise, recipe.side, recipe.channels, recipe.length), name=recipe.data)


def _sample(options: argparse.Namespace) -> None:
    if options.n is not None and options.n < 1:
        raise Failure(f"--n: {options.n} is less than 1")
    out, chosen = _checked_out(options.out), _sampler(options)
    model, recipe = _load(options)
    steered = _steered(model, options)
    if chosen and not isinstance(model.kernel, GaussianKernel):
        raise Failure(f"--sampler: {options.sampler} moves points, and the states of {recipe.name} are bits")
    units = _units(model, recipe)
    pictures = "shape" in units
    if out is not None and out.suffix == ".png" and not pictures:
        raise Failure(f"--out: {out}: the data are no pictures; name a .csv or .safetensors file")
    if out is not None and out.suffix == ".txt" and "alphabet" not in units:
        raise Failure(f"--out: {out}: the data are no text; name a .csv or .safetensors file")
    n = options.n or (64 if pictures else TEXTS if "alphabet" in units else 10_000)
    generator = seeded(options.seed, model.schedule.log_alpha_bar.device)
    size = batches.rows(model.kernel.dim)
    parts = [min(size, n - start) for start in range(0, n, size)]
    bar = tqdm(parts, desc=recipe.name, unit="part", delay=5, disable=len(parts) == 1)
    draws = (draw(steered, part, generator, **chosen) if chosen else steered.sample(part, generator) for part in bar)
    x = torch.cat([part.cpu() for part in draws])
    if out is not None and out.suffix == ".png":
        save_picture(out, picture(x, units, columns=max(8, round(n**0.5))))
        return
    x = original(x, units)
    if out is not None and out.suffix == ".safetensors":
        save_tensors(out, {"x": x}, {"recipe": recipe.name, "seed": options.seed} | chosen | _class(options))
        return
    if "alphabet" in units and (out is None or out.suffix == ".txt"):
        lines = _written(x, units["alphabet"])
    else:
        lines = "".join(",".join(f"{value:.6g}" for value in row) + "\n" for row in x.tolist())
    if out is None:
        print(lines, end="")
    else:
        write_atomically(out, lines.encode())


def _written(x: torch.Tensor, alphabet: str) -> str:
    """Strings x (n, L) as text, with a line of dashes between them."""
    return "\n----\n".join(text.decode(row, alphabet) for row in x) + "\n"


def _sampler(options: argparse.Namespace) -> dict[str, Any]:
    """What `draw` is told of the sampler: its name, calls and eta; {} where none was asked for."""
    if options.sampler is None:
        for name in ("calls", "eta"):
            if getattr(options, name) is not None:
                raise Failure(
                    f"--{name}: {getattr(options, name)} goes with --sampler; there are: {', '.join(SAMPLERS)}"
                )
        return {}
    if options.calls is None:
        raise Failure(f"--sampler: {options.sampler} needs --calls, how often it may call the network")
    if options.eta is None:
        return {"name": options.sampler, "calls": options.calls}
    if options.sampler != "ddim":
        raise Failure(f"--eta: {options.eta} goes with --sampler ddim, and not {options.sampler}")
    return {"name": options.sampler, "calls": options.calls, "eta": options.eta}


def _class(options: argparse.Namespace) -> dict[str, Any]:
    """Which class was asked for, and how strongly, for the record of samples; {} where none was."""
    asked = {"label": options.label, "guidance": options.guidance}
    return {name: value for name, value in asked.items() if value is not None}


def _steered(model: DiffusionModel, options: argparse.Namespace) -> Any:
    """The model that is told the class, if one is asked for, or guided towards it; Failure where that does not go."""
    w, told = options.guidance, model.given(options.label)
    if w is None:
        return told
    for name in ("label", "sampler"):
        if getattr(options, name) is None:
            raise Failure(f"--guidance: {w} goes with --label and --sampler, and --{name} is missing")
    return Guided(told, model, checks.between("--guidance", w, 0))


def _units(model: DiffusionModel, recipe: Recipe) -> dict[str, Any]:
    """The record of the data that the model was trained on; older files of pictures hold no units."""
    if recipe.side and "mean" not in model.data_set:
        return load_data(recipe).record()
    return model.data_set


def _checked_out(name: str | None) -> Path | None:
    """Where samples go; Failure where they cannot, before anything is drawn."""
    if name is None:
        return None
    out = Path(name)
    if out.suffix not in SUFFIXES:
        raise Failure(f"--out: {out} should end in .csv, .png, .safetensors or .txt")
    if not out.parent.is_dir():
        raise Failure(f"--out: {out.parent}: no such folder")
    if not os.access(out.parent, os.W_OK):
        raise Failure(f"--out: {out.parent}: nothing can be written there")
    if out.suffix == ".safetensors" and out.exists():
        try:
            samples = isinstance(load_tensors(out)[1].get("recipe"), str)
        except BrokenFile:
            samples = False
        if not samples:
            raise Failure(f"--out: {out} holds something else than samples; name another file")
    return out


def _load(options: argparse.Namespace) -> tuple[DiffusionModel, Recipe]:
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
