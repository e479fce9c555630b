"""Training: it climbs, it resumes bit for bit, it fails cleanly, and two processes are one."""

import json
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from problems import blob_data, close, rng, tiny_recipe

from dpm_lib import bound, training
from dpm_lib import run as run_module
from dpm_lib.checkpoints import BrokenFile, load_lines, load_model, load_tensors
from dpm_lib.devices import accelerator_for
from dpm_lib.evaluation import evaluate
from dpm_lib.objective import draw_batch, learning_rate
from dpm_lib.run import Run
from dpm_lib.training import fit

ROOT = Path(__file__).resolve().parents[1]
INEXACT = ("seconds",)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """One thread, so that sums are in one order; few held-out points; and no handler left behind."""
    threads, handlers = torch.get_num_threads(), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "evaluate", partial(evaluate, n=400))
    yield
    torch.set_num_threads(threads)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def train(folder=None, resume=False, seed=0, **settings):
    recipe = tiny_recipe(**settings)
    return fit(recipe, seed, folder, "cpu", resume=resume, progress=False, data=blob_data())


def lines(folder) -> list[dict]:
    return [{k: v for k, v in record.items() if k not in INEXACT} for record in load_lines(folder / "metrics.jsonl")]


def same_runs(a, b):
    """Weights, averages, optimizer, random state, log and metrics, bit for bit; only seconds may differ."""
    for name in ("model.safetensors", "checkpoint.safetensors"):
        (left, record), (right, other) = load_tensors(a / name), load_tensors(b / name)
        assert set(left) == set(right)
        for key in left:
            assert torch.equal(left[key], right[key]), key
        assert {k: v for k, v in record.items() if k not in INEXACT} == {
            k: v for k, v in other.items() if k not in INEXACT
        }
    assert lines(a) == lines(b)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (a, b)]
    for record in metrics:
        del record["seconds"]
    assert metrics[0] == metrics[1]


# The loop


def test_every_batch_holds_every_time_evenly():
    data = blob_data()
    for T, batch in ((5, 32), (40, 64), (7, 6), (100, 1024)):
        recipe = tiny_recipe(T=T, batch=batch)
        for seed in range(20):
            x0, t, noise = draw_batch(data, recipe, rng(seed))
            assert x0.shape == noise.shape == (batch, 2) and t.shape == (batch,)
            counts = torch.bincount(t, minlength=T + 1)
            assert counts[:2].sum() == 0 and len(counts) == T + 1
            assert counts[2:].min() >= batch // (T - 1) and counts[2:].max() <= -(-batch // (T - 1))


def test_no_time_is_favoured():
    """Where the batch is no multiple of T - 1, the surplus moves around."""
    recipe, generator = tiny_recipe(T=7, batch=8), rng()
    counts = torch.stack(
        [torch.bincount(draw_batch(blob_data(), recipe, generator)[1], minlength=8) for _ in range(2000)]
    )
    share = counts[:, 2:].double()
    assert bool(((share.mean(0) - 8 / 6).abs() < 4 * share.std(0) / math.sqrt(2000)).all())


def test_learning_rate_warms_up_and_ends_at_zero():
    recipe = tiny_recipe(steps=1000, lr=0.01)
    close(learning_rate(recipe, 0), 0.01 / 100)
    close(learning_rate(recipe, 49), 0.01 * 0.5 * 0.5 * (1 + math.cos(math.pi * 0.049)))
    close(learning_rate(recipe, 500), 0.01 / 2)
    assert learning_rate(recipe, 999) < 1e-7
    rates = [learning_rate(recipe, step) for step in range(100, 1000)]
    assert rates == sorted(rates, reverse=True)


def test_one_step_is_adam_on_the_bound():
    """The first step of Adam moves each weight by the learning rate against the sign of its gradient."""
    run = Run(tiny_recipe(), 0, "cpu", data=blob_data())
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    batch = draw_batch(run.data, run.recipe, rng(0))
    K = bound.estimate(run.model, *batch).mean()
    gradients = dict(zip(before, torch.autograd.grad(K, list(run.model.parameters())), strict=True))
    close(run.advance(), K.item() / math.log(2))
    rate, moved = learning_rate(run.recipe, 0), 0
    for name, p in run.model.named_parameters():
        large = gradients[name].abs() > 1e-3
        moved += int(large.sum())
        close((p.detach() - before[name])[large], rate * gradients[name][large].sign(), rtol=1e-3, atol=1e-9)
    assert moved > 10


def test_the_average_trails_the_weights():
    run = Run(tiny_recipe(ema=0.5), 0, "cpu", data=blob_data())
    name, expected = "reverse.network.layers.1.bias", None
    for step in range(1, 30):
        run.advance()
        value, keep = run.model.state_dict()[name].double(), min(0.5, step / (step + 9))
        start = torch.zeros_like(value) if expected is None else expected
        expected = keep * start + (1 - keep) * value
        close(run.average[name], expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(run.averaged_model().state_dict()[name], run.average[name])


@pytest.mark.parametrize(
    "settings",
    [
        {"covariance": "full"},
        {"covariance": "diagonal", "network": "rbf"},
        {"covariance": "constant", "learn_schedule": "false"},
        {"covariance": "isotropic", "schedule": "cosine"},
        {"covariance": "posterior"},
    ],
    ids=lambda settings: settings["covariance"],
)
def test_the_bound_improves_and_stays_below_its_ceiling(settings):
    _, before = train(steps=1, lr=1e-9, **settings)
    model, after = train(steps=400, lr=0.03, **settings)
    assert after["gap_bits"] < before["gap_bits"] - 3 * before["gap_bits_stderr"]
    assert after["bound_bits"] <= after["ceiling_bits"] + 3 * after["bound_bits_stderr"]
    assert after["ceiling_bits"] <= after["entropy_limit_bits"] + 1e-6
    close(model.schedule.beta[1], after["beta_1"])
    close(after["beta_1"], tiny_recipe().beta_1, rtol=1e-9)


def test_beta_2_to_T_are_learned_and_beta_1_is_kept():
    model, _ = train(steps=100, lr=0.02)
    start = Run(tiny_recipe(), 0, "cpu", data=blob_data()).model.schedule
    close(model.schedule.beta[1], start.beta[1].detach(), rtol=1e-9)
    assert bool(((model.schedule.beta / start.beta).log().abs()[2:] > 1e-3).all())


def test_the_seed_decides_the_run(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, seed=seed)
    same_runs(tmp_path / "a", tmp_path / "b")
    assert lines(tmp_path / "a") != lines(tmp_path / "c")


def test_the_files_of_a_run(tmp_path):
    model, metrics = train(tmp_path / "deep" / "run", steps=120)
    folder = tmp_path / "deep" / "run"
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.safetensors", "config.json", "metrics.json", "metrics.jsonl", "model.safetensors",
    ]  # fmt: skip
    assert json.loads((folder / "config.json").read_text()) == {"recipe": tiny_recipe(steps=120).to_dict(), "seed": 0}
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert [record["step"] for record in load_lines(folder / "metrics.jsonl")] == [50, 100, 120]
    again, recipe = load_model(folder / "model.safetensors")
    assert recipe == tiny_recipe(steps=120)
    assert torch.equal(model.sample(5, rng()), again.sample(5, rng()))


def test_the_log_is_the_mean_bound_of_its_batches(tmp_path):
    train(tmp_path, steps=60)
    run = Run(tiny_recipe(steps=60), 0, "cpu", data=blob_data())
    course = [run.advance() for _ in range(60)]
    logged = [record["bound_bits"] for record in load_lines(tmp_path / "metrics.jsonl")]
    assert logged == [sum(course[:50]) / 50, sum(course[50:]) / 10]


# Interruption


def interrupt_at(monkeypatch, step: int, number=signal.SIGINT):
    """A signal in the middle of a step: after its batch has been drawn, before it is used."""
    draws, draw = [], run_module.draw_batch

    def draw_and_interrupt(*arguments):
        draws.append(draw(*arguments))
        if len(draws) == step:
            signal.raise_signal(number)
        return draws[-1]

    monkeypatch.setattr(run_module, "draw_batch", draw_and_interrupt)


@pytest.mark.parametrize("step", [1, 37, 50, 99, 119, 120])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, monkeypatch, step):
    train(tmp_path / "whole", steps=120)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", steps=120)
    assert load_tensors(tmp_path / "broken" / "checkpoint.safetensors")[1]["step"] == step
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    train(tmp_path / "broken", resume=True, steps=120)
    same_runs(tmp_path / "whole", tmp_path / "broken")


def test_interrupted_twice(tmp_path, monkeypatch):
    train(tmp_path / "whole", steps=120)
    for resume in (False, True):
        with monkeypatch.context() as patch:
            interrupt_at(patch, 35)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "broken", resume=resume, steps=120)
    train(tmp_path / "broken", resume=True, steps=120)
    same_runs(tmp_path / "whole", tmp_path / "broken")


def test_a_crash_falls_back_to_an_older_checkpoint(tmp_path, monkeypatch):
    """The log then runs ahead of the checkpoint, and ends in half a line: both are cut."""
    train(tmp_path / "whole", steps=200, checkpoint_every=40)
    advance, calls = Run.advance, []

    def crash(run):
        calls.append(run)
        if len(calls) == 111:
            raise MemoryError
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", crash)
        with pytest.raises(MemoryError):
            train(tmp_path / "broken", steps=200, checkpoint_every=40)
    log = tmp_path / "broken" / "metrics.jsonl"
    assert load_tensors(tmp_path / "broken" / "checkpoint.safetensors")[1]["step"] == 80
    assert [record["step"] for record in load_lines(log)] == [50, 100]
    with open(log, "a") as file:
        file.write('{"step": 15')
    train(tmp_path / "broken", resume=True, steps=200, checkpoint_every=40)
    same_runs(tmp_path / "whole", tmp_path / "broken")


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    train(tmp_path / "whole")
    before = {path.name: path.read_bytes() for path in tmp_path.joinpath("whole").iterdir()}
    train(tmp_path / "whole", resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.joinpath("whole").iterdir()} == before


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path):
    train(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for change in ({"lr": 1e-5}, {"width": 16}, {"seed": 5}):
        with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: is of another recipe or seed"):
            train(tmp_path, resume=True, **change)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_broken_checkpoints_are_refused(tmp_path):
    with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: no such file"):
        train(tmp_path, resume=True)
    train(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: not a whole"):
        train(tmp_path, resume=True)
    path.write_bytes((tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: "):
        train(tmp_path, resume=True)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(tmp_path, covariance):
    train(tmp_path, steps=5, covariance=covariance)
    good = (tmp_path / "checkpoint.safetensors").read_bytes()
    for lr in (1e8, 1e300):
        with pytest.raises(FloatingPointError, match=r"step \d+: .* try a smaller lr than"):
            train(tmp_path, steps=50, lr=lr, covariance=covariance)
        assert (tmp_path / "checkpoint.safetensors").read_bytes() == good


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    train(tmp_path, steps=5)
    good = (tmp_path / "checkpoint.safetensors").read_bytes()
    run = Run(tiny_recipe(steps=5), 0, "cpu", tmp_path, blob_data())
    next(run.model.parameters()).data.view(-1)[1] = math.inf
    with pytest.raises(FloatingPointError, match="weights not finite"):
        run.save_checkpoint()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == good


# Devices


def test_devices():
    assert accelerator_for("cpu").device.type == "cpu"
    with pytest.raises(ValueError, match="device: 'tpu' is not one of auto, cpu, cuda"):
        accelerator_for("tpu")
    if not torch.cuda.is_available():
        assert accelerator_for("auto").device.type == "cpu"
        with pytest.raises(ValueError, match="device: 'cuda' was asked for, and PyTorch sees no GPU"):
            accelerator_for("cuda")


def test_two_processes_are_one(tmp_path):
    """The same curve, and one JSON line, from two processes over gloo."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "dpm_lib", "train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path / "two")]
    settings = ("width=8", "depth=1", "frequencies=2", "T=5", "steps=60", "batch=32", "checkpoint_every=500")
    for setting in settings:
        command += ["--set", setting]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert printed == [json.loads((tmp_path / "two" / "metrics.json").read_text())]
    recipe = tiny_recipe(steps=60, checkpoint_every=500)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["recipe"] == recipe.to_dict()
    fit(recipe, 0, tmp_path / "one", "cpu", progress=False)
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert a["step"] == b["step"] and a["bound_bits"] == pytest.approx(b["bound_bits"], abs=1e-6, rel=1e-6)
    one, two = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_each_process_keeps_its_share_of_the_batch():
    """Two processes see disjoint halves, with every time in each, and together the whole batch."""
    halves = []
    for index in (0, 1):
        run = Run(tiny_recipe(), 0, "cpu", data=blob_data())
        run.accelerator = Pretend(run.accelerator, index)
        run.objective.register_forward_pre_hook(lambda _, given: halves.append(given))
        run.advance()
    whole = draw_batch(blob_data(), tiny_recipe(), rng(0))
    for position, full in enumerate(whole):
        assert torch.equal(torch.stack([half[position] for half in halves], 1).flatten(0, 1), full)
    assert all(set(half[1].tolist()) == {2, 3, 4, 5} for half in halves)


class Pretend:
    """An accelerator that says it is one process of two."""

    num_processes = 2

    def __init__(self, accelerator, index: int) -> None:
        self.accelerator, self.process_index = accelerator, index

    def __getattr__(self, name):
        return getattr(self.accelerator, name)


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    class Three:
        num_processes = 3

    monkeypatch.setattr(run_module, "accelerator_for", lambda device: Three())
    with pytest.raises(ValueError, match="batch: 32 cannot be split over 3 processes"):
        Run(tiny_recipe(), 0, "cpu", data=blob_data())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_curve(tmp_path):
    """The same batches; sums in another order: close at first, and as good in the end."""
    for device in ("cpu", "cuda"):
        fit(tiny_recipe(steps=100), 0, tmp_path / device, device, progress=False, data=blob_data())
    for a, b in zip(lines(tmp_path / "cpu"), lines(tmp_path / "cuda"), strict=True):
        assert a["bound_bits"] == pytest.approx(b["bound_bits"], rel=1e-3)
    cpu, cuda = (json.loads((tmp_path / d / "metrics.json").read_text()) for d in ("cpu", "cuda"))
    assert abs(cpu["gap_bits"] - cuda["gap_bits"]) < 4 * (cpu["gap_bits_stderr"] + cuda["gap_bits_stderr"])
    assert cuda["device"] == torch.cuda.get_device_name()
    assert load_model(tmp_path / "cuda" / "model.safetensors")[0].schedule.log_alpha_bar.device.type == "cpu"
