"""Every benchmark runs to its end, with a moment's work, and writes what stands in book/results: the same keys.

Those of annealing and Fokker-Planck need packages that are not here; ``test_throughput`` has the one of throughput.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import bits
import bits_of_models
import common
import cost_slopes
import guidance
import heartbeat
import images
import information
import inpainting
import kolmogorov
import ladder
import objectives
import on_a_gpu
import pytest
import samplers
import sampling_costs
import straight
import swiss_roll
import swiss_roll_limits
import text
import text_counts
import torch
from runs import quick
from test_image_recipes import little

from dpm_lib.core import results
from dpm_lib.core.files import load_json
from dpm_lib.data.text import Text, encode
from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.networks import opinion_pool
from dpm_lib.networks.text_network import load
from dpm_lib.probability.swiss_roll import SwissRoll
from dpm_lib.training import catalogue, checkpoints, loop, trainer

MEASURED = results.folder()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder for results that has the book's trained models, and recipes that take a moment."""
    for name in ("swiss-roll", "digits"):
        (tmp_path / f"{name}.safetensors").symlink_to(MEASURED / f"{name}.safetensors")
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    monkeypatch.setattr(SwissRoll, "entropy", lambda self, t=0.0: 3.0 + t)  # a quadrature that takes half a second
    monkeypatch.delenv("DPM_RUNS", raising=False)
    short = {"steps": 4, "batch": 16, "width": 8}
    tiny = {name: catalogue.get(name).override(**short, T=14) for name in ("swiss-roll", "heartbeat")}
    monkeypatch.setattr(catalogue, "RECIPES", catalogue.RECIPES | tiny | {"digits": little("digits")})
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    with quick(monkeypatch):
        yield tmp_path


def run(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    script.main()


def keys(record) -> set[str]:
    """All paths of keys in a record, through the first entry of each list."""
    if isinstance(record, list):
        record = {"0": record[0]} if record else {}
    if not isinstance(record, dict):
        return {""}
    return {f"{name}/{rest}" for name, value in record.items() for rest in keys(value)}


def same_form(place, name: str) -> dict:
    """The record ``name``, of which nothing is missing that the measured one has."""
    found = load_json(place / f"{name}.json")
    missing = keys(load_json(MEASURED / f"{name}.json")) - keys(found)
    assert not missing and found["provenance"]["command"].startswith("python ")
    return found


def test_guidance(place, monkeypatch):
    """The model first, which has then learned enough for its classes to differ; and all that is measured on it."""
    recipe = little("digits-classes", steps=40, T=20, lr=0.03, batch=32)
    monkeypatch.setattr(catalogue, "RECIPES", catalogue.RECIPES | {"digits-classes": recipe})
    small = {
        "SCALES": [0.0, 1.0],
        "REPAIRED": [2.0],
        "EACH": 3,
        "SHOWN": 2,
        "CALLS": 3,
        "PULLED": 6,
        "TIMES": 2,
        "COURSE_EVERY": 10,
    }
    for name, value in small.items():
        monkeypatch.setattr(guidance, name, value)
    run(monkeypatch, guidance)
    same_form(place, "digits-classes")
    found = same_form(place, "guidance-digits")
    assert [row["w"] for row in found["rows"]] == [0.0, 1.0, 2.0, 2.0] and found["pictures"]["shape"][:3] == [2, 10, 2]
    low, high = found["interval_log_tau"]
    assert low < high and found["K"]["gain_bits_per_picture"]["mixed"]["mean"] < found["K"]["entropy_of_classes_bits"]


def test_swiss_roll(place, monkeypatch):
    monkeypatch.setattr(swiss_roll, "RUNS", {"swiss-roll-fixed": ("swiss-roll", {"learn_schedule": False})})
    monkeypatch.setattr(swiss_roll, "COURSE_EVERY", 2)
    monkeypatch.setattr(swiss_roll, "WEIGHTS", ("swiss-roll-fixed",))
    run(monkeypatch, swiss_roll, "swiss-roll-fixed")
    record = same_form(place, "swiss-roll-fixed")
    assert [line["step"] for line in record["course"]] == [2, 4] and not record["settings"]["learn_schedule"]
    assert record["provenance"]["command"] == "python -m dpm_lib train swiss-roll --set learn_schedule=False"
    assert 0 <= record["cpu_seconds_with_evaluation"] < 60  # it is rounded to a tenth
    assert checkpoints.load_model(place / "swiss-roll-fixed.safetensors")[1].name == "swiss-roll"
    swiss_roll.measure_sampling(n=10, repeats=1)
    same_form(place, "swiss-roll-sampling")


def test_samplers(place, monkeypatch):
    (place / "digits-ddpm.safetensors").symlink_to(MEASURED / "digits-ddpm.safetensors")
    monkeypatch.setattr(samplers, "CALLS", [2])
    monkeypatch.setattr(samplers, "DIGIT_CALLS", (1,))
    monkeypatch.setattr(samplers, "ROUNDS", 2)
    run(monkeypatch, samplers)
    ways = same_form(place, "sampler-race")["wasserstein"]["one normal"]["sigma"]
    assert ways["ddim 0"] == ways["2m"] != ways["heun"]  # two steps of them are two of DDIM's
    rows = same_form(place, "sampler-digits")["rows"]
    assert len(rows) == 15 and len({row["distance"] for row in rows if row["clock"] == "steps"}) == 1  # one guess


def test_bits(place, monkeypatch):
    """On 52 levels; the measured record has the standard error of 999 calls from a twentieth of them, and fewer."""
    trained, recipe = checkpoints.load_model(place / "digits.safetensors")
    few = DiffusionModel(GaussianKernel(64, schedules.geometric(52, 1e-7, 400.0)), trained.reverse)
    monkeypatch.setattr(results, "path", lambda name: place / name)
    monkeypatch.setattr(bits.dpm_lib, "load_model", lambda path: (few, recipe))
    monkeypatch.setattr(bits, "PICTURES", 4)
    bits.digits()
    same_form(place, "bits")
    ways = load_json(MEASURED / "bits.json")["ways"]
    assert ways["10 calls"]["share_of_calls"] < 1 / 20 and ways["10 calls"]["stderr_over_full"] < 1
    for name in ("50 calls", "10 calls", "1 call"):
        assert abs(ways[name]["paired_difference"]) < 4 * ways[name]["paired_difference_stderr"]


def test_bits_of_models(place, monkeypatch):
    """With a diffusers model of a few steps; what was measured adds up, and takes more bits with steps on levels."""
    pytest.importorskip("diffusers")
    trained, recipe = checkpoints.load_model(place / "digits.safetensors")
    few = DiffusionModel(GaussianKernel(64, schedules.geometric(52, 1e-7, 400.0)), trained.reverse)
    monkeypatch.setattr(bits_of_models.dpm_lib, "load_model", lambda path: (few, recipe))
    monkeypatch.setattr(results, "path", lambda name: place / name)
    small = {"STEPS": 2, "BATCH": 4, "T": 9, "PICTURES": 4, "SAMPLES": 4, "CALLS": 2, "BINS": 5, "WARMUP": 1}
    for name, value in (small | {"WIDTHS": (8, 8)}).items():
        monkeypatch.setattr(bits_of_models, name, value)
    monkeypatch.setattr(bits_of_models, "digit_features", lambda: lambda x: x)
    bits_of_models.measure()
    same_form(place, "bits-of-models")
    for model in load_json(MEASURED / "bits-of-models.json")["models"].values():
        ways = model["ways"]
        assert ways["levels"]["bits_per_dimension"] > ways["edge"]["bits_per_dimension"] + 0.5
        parts = model["prior_bits"] + sum(model["steps"]) + model["last_bits"]
        assert abs(parts - model["bits_per_dimension"]) < 1e-3 and len(model["steps"]) == len(model["log_tau"]) - 1


def test_heartbeat(place, monkeypatch):
    monkeypatch.setattr(heartbeat, "RUNS", {"heartbeat-50": ("heartbeat", {"T": 13})})
    monkeypatch.setattr(heartbeat, "FRAMES", [0, 2, 99])
    run(monkeypatch, heartbeat, "heartbeat-50", "heartbeat-learning")
    assert "course" not in same_form(place, "heartbeat-50") and not (place / "heartbeat-50.safetensors").exists()
    assert [frame["step"] for frame in same_form(place, "heartbeat-learning")["frames"]] == [0, 2, 4]
    heartbeat.follow("swiss-roll", heartbeat.Roll(levels=6))
    assert [frame["step"] for frame in same_form(place, "swiss-roll-learning")["frames"]] == [0, 2, 4]


def test_images(place, monkeypatch):
    """A run, with its folder kept; resumed, when it is asked for again; and what else is measured of digits."""
    (place / "digits.safetensors").unlink()
    monkeypatch.setenv("DPM_RUNS", str(place / "runs"))
    run(monkeypatch, images, "digits", "digits-baselines")
    assert [line["step"] for line in same_form(place, "digits")["course"]] == [2]
    monkeypatch.setattr(images.image_baselines, "baselines", lambda data, rows: {})
    run(monkeypatch, images, "digits")
    record = load_json(place / "digits.json")
    assert record["resumed"] and "cpu_seconds_with_evaluation" not in record
    assert (place / "digits.safetensors").read_bytes() == (place / "runs/digits/model.safetensors").read_bytes()
    images.measure_longer(steps=2, every=1, n=3)
    assert [row["step"] for row in same_form(place, "digits-longer")["rows"]] == [1, 2]


def test_ladder(place, monkeypatch):
    monkeypatch.setattr(ladder, "BUDGET", ladder.BUDGET // 500)
    for name, value in {
        "SEEDS": range(1),
        "JUDGED": 100,
        "HELD_OUT": 90,
        "WEIGHED": 3,
        "PATHS": 2,
        "ROUNDS": 1,
    }.items():
        monkeypatch.setattr(ladder, name, value)
    run(monkeypatch, ladder)
    for name in ("ladder", "ladder-cold", "ladder-seconds"):
        same_form(place, name)


def weight_passes(contender) -> float:
    """What one step really costs: each weight of a layer, for each row, once forwards, and twice more backwards."""
    modules = [value for value in vars(contender).values() if isinstance(value, torch.nn.Module)]
    modules += [value for part in vars(contender).values() for value in getattr(part, "__dict__", {}).values()]
    layers = {part for root in modules if isinstance(root, torch.nn.Module) for part in root.modules()}
    spent = []

    def count(layer, given, out):
        size = sum(weight.numel() for weight in layer.parameters())
        spent.append(size * len(given[0]) * (3 if torch.is_grad_enabled() else 1))

    hooks = [layer.register_forward_hook(count) for layer in layers if isinstance(layer, torch.nn.Linear)]
    contender.advance(0)
    for hook in hooks:
        hook.remove()
    return sum(spent)


def test_contenders_on_the_swiss_roll_have_one_budget():
    for name, rate in ladder.RATES.items():
        contender = ladder.make(name, rate, 0)
        passes = weight_passes(contender)
        assert passes * contender.steps == pytest.approx(ladder.BUDGET * (2.5 if name == "gan-long" else 1), rel=1e-2)
        assert contender.sample(3, torch.Generator().manual_seed(0)).shape == (3, 2)


def test_on_a_gpu(place, monkeypatch, capsys):
    monkeypatch.setenv("DPM_RUNS", str(place / "runs"))
    monkeypatch.setattr(loop, "steps_within", lambda minutes, recipe: 3)
    on_a_gpu.main(["1", "digits", "lr=0.01"])
    record = load_json(place / "digits-gpu.json")
    assert record["steps"] == 3 and record["settings"]["lr"] == 0.01 and "3 steps" in capsys.readouterr().out
    assert record["provenance"]["command"] == "python benchmarks/on_a_gpu.py 1 digits lr=0.01"
    with pytest.raises(SystemExit, match="holds a finished run"):
        on_a_gpu.main(["1", "digits"])
    (place / "runs/digits-gpu/metrics.json").unlink()
    on_a_gpu.main(["1", "digits", "lr=0.5"])
    record = load_json(place / "digits-gpu.json")
    assert record["resumed"] and record["settings"]["lr"] == 0.01


def test_inpainting(place, monkeypatch):
    for name, value in {
        "ProcessPoolExecutor": ThreadPoolExecutor, "LEVELS": [0, 60, 200], "MEASURED": 1, "N": 4, "DRAWS": 2,
        "SHOWN": 1, "PLACES": 1,
    }.items():  # fmt: skip
        monkeypatch.setattr(inpainting, name, value)
    inpainting.main("1")
    assert same_form(place, "digits-inpainting")["T"] == 2


def test_the_others(place, monkeypatch):
    monkeypatch.setattr(information, "POINTS", 20)
    information.main()
    same_form(place, "information")
    monkeypatch.setattr(kolmogorov, "STATES", 100)
    kolmogorov.main()
    same_form(place, "kolmogorov")
    for name, value in {"BUDGET": 100, "RUNS": 3, "DIMS": (2,)}.items():
        monkeypatch.setattr(sampling_costs, name, value)
    sampling_costs.main()
    same_form(place, "sampling-costs")


def test_cost_slopes(place, monkeypatch):
    """At three sizes, one turn each; what was measured grows as it should, and its memory does not."""
    (place / "text.safetensors").symlink_to(MEASURED / "text.safetensors")
    monkeypatch.setattr(cost_slopes, "SIZES", {name: (4, 6, 8) for name in cost_slopes.SIZES} | {"cells": (50, 60, 70)})
    monkeypatch.setattr(cost_slopes, "ROUNDS", 1)
    monkeypatch.setattr(cost_slopes, "DRAWS", 10)
    monkeypatch.setattr(cost_slopes.batches, "NUMBERS", 64)
    run(monkeypatch, cost_slopes)
    same_form(place, "cost-slopes")
    measured = load_json(MEASURED / "cost-slopes.json")
    for name, row in measured["rows"].items():
        assert abs(row["slope"] - row["expected"]) < 0.3, name
    *more, longer = measured["memory"]["MiB_beside_the_draws"]
    assert max(more) < 1.1 * more[0] and longer < 1.1 * more[0]
    assert measured["draws"]["layers"] + measured["draws"]["noise"] < measured["draws"]["whole"]


@pytest.mark.parametrize("exponent", [0.5, 2.0])
def test_slopes_are_of_logarithms_and_of_the_larger_sizes(exponent):
    sizes = (1, 2, 4, 8, 16)
    times = [9.0, 9.0, *(3.0 * size**exponent for size in sizes[2:])]
    assert cost_slopes.slope(sizes, times) == pytest.approx((exponent, 0.0), abs=1e-7)


def test_straight(place, monkeypatch):
    short = catalogue.get("swiss-roll-ddpm").override(steps=4, width=8, T=20, batch=64)
    monkeypatch.setattr(catalogue, "RECIPES", catalogue.RECIPES | {"swiss-roll-ddpm": short})
    for name in ("POINTS", "FITTED", "SAMPLES"):
        monkeypatch.setattr(objectives, name, {"roll": 30, "digits": 20})
    for name, value in {"POINTS": 30, "SAMPLES": 40, "CALLS": (4, 8), "STEPS": 8, "BENDS": 10}.items():
        monkeypatch.setattr(straight, name, value)
    monkeypatch.setenv("DPM_RUNS", str(place / "runs"))
    run(monkeypatch, straight, "0", "1")
    record = same_form(place, "straight-roll")
    flow = record["models"]["flow"]
    assert flow["seed"] == [0, 1] and len(flow["energy_distance"]["ddim"]) == 2
    assert flow["flow_missing"]["mean"] > 0 and flow["bend"]["mean"] > 0


def test_swiss_roll_limits(place, monkeypatch):
    """With bounds made up: the real ones take minutes."""

    class Table:
        FORMS = ("full",)

        def __init__(self, *arguments, seed, **options):
            self.seed = seed

        def best_schedule(self, T, form):
            return schedules.geometric(T, 1e-6, 20.0), -0.1 * self.seed

    monkeypatch.setattr(swiss_roll_limits, "BestReverse", Table)
    monkeypatch.setattr(swiss_roll_limits, "best_bound", lambda target, schedule, seed: -0.1 * seed)
    run(monkeypatch, swiss_roll_limits)
    assert len(same_form(place, "swiss-roll-limits")["rows"]) == 4
    assert len(same_form(place, "swiss-roll-schedules")["rows"]) == 6


def test_an_unknown_name_is_told(monkeypatch):
    for script in (swiss_roll, heartbeat, images, ladder, swiss_roll_limits):
        with pytest.raises(SystemExit, match="unknown: nothing; there are: "):
            run(monkeypatch, script, "nothing")


def test_watched():
    """The averages on the way are those of a run after so many steps."""
    recipe = catalogue.get("swiss-roll")
    found = dict(common.watched(recipe, [3, 0, 2]))
    assert list(found) == [0, 2, 3]
    alone = trainer.Run(recipe, 0, "cpu")
    for step in range(4):
        model = found.get(step, alone.averaged_model())
        pairs = zip(model.parameters(), alone.averaged_model().parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), step
        alone.advance()


def test_objectives(place, monkeypatch):
    tiny = {"swiss-roll-ddpm": (20, 64), "digits-ddpm": (6, 8)}
    short = {name: catalogue.get(name).override(steps=4, width=8, T=T, batch=b) for name, (T, b) in tiny.items()}
    monkeypatch.setattr(catalogue, "RECIPES", catalogue.RECIPES | short)
    for name, sizes in (("POINTS", (30, 20)), ("FITTED", (30, 20)), ("SAMPLES", (30, 20))):
        monkeypatch.setattr(objectives, name, dict(zip(("roll", "digits"), sizes, strict=True)))
    monkeypatch.setenv("DPM_RUNS", str(place / "runs"))
    names = [f"{kind}-{which}-0" for kind, models in objectives.MODELS.items() for which in models]
    run(monkeypatch, objectives, *names, "digits-simple-1", "chain")
    assert set(same_form(place, "objectives-digits-chain")["K"]) == {"own", "ddpm"}
    for kind in ("roll", "digits"):
        record = same_form(place, f"objectives-{kind}")
        simple = record["models"]["simple"]
        assert simple["objective"] == "simple" and record["models"]["bound"]["objective"] == "bound"
        assert len(simple["K"]["fixed_small"]["each"]) == (2 if kind == "digits" else 1)
        costs = [level["below"] for level in simple["levels"]]
        assert costs == sorted(costs) and costs[0] > 0
    model, recipe = checkpoints.load_model(place / "digits-ddpm.safetensors")
    assert recipe.name == "digits-ddpm" and model.T == 6


def test_text(place, monkeypatch):
    """Networks that have seen four windows, and all that is measured on them; a training goes on where it stood."""
    part = encode("abcabcaabbccabcab" * 12, "\nabc")
    monkeypatch.setattr(text.text, "book", lambda: Text("text", "\nabc", 16, (part,), (part[:40],), (part, part)))
    monkeypatch.setattr(text, "LEGS", {"masked": ((2, 1e-3), (2, 1e-3)), "causal": ((4, 1e-3),)})
    for name, value in {"COUNTS": (1, 16), "TOGETHER": (4, 16), "PIECE": 2, "SAMPLES": 2, "ORDERS": 2}.items():
        monkeypatch.setattr(text, name, value)
    monkeypatch.setattr(text.text_baselines, "ORDERS", (2, 3))
    monkeypatch.setenv("DPM_RUNS", str(place))
    text.Training(text.text.book(), causal=True).finish()
    text.measure()
    record = load_json(place / "text.json")
    missing = keys(load_json(MEASURED / "text.json")) - keys(record)
    installed = {"PPMd", "zstd", "pyppmd", "zstandard"}  # or not
    assert all(installed & set(name.split("/")) for name in missing)
    assert [line["step"] for line in record["trainings"]["causal"]["course"]] == [2, 4]
    assert record["windows"] == 24 and record["models"]["masked"]["bits"] > record["models"]["n-gram"]["bits"]
    difference = record["models"]["masked"]["bits"] - record["models"]["causal"]["bits"]
    assert record["masked_less"]["causal"]["bits"] == pytest.approx(difference)
    assert load(place / "text.safetensors")[0].sizes["characters"] == 4
    monkeypatch.setattr(text_counts, "ORDER", 3)
    text_counts.measure()
    counted = same_form(place, "text-counts")
    assert counted["pool_less"]["network"]["bits"] == pytest.approx(
        counted["models"]["pool"]["bits"] - counted["models"]["network"]["bits"]
    )
    assert opinion_pool.load(place / "text-pool.safetensors")[1]["order"] == 3
