"""The command line: its exit codes, its one-line errors, its JSON, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from problems import close_mean, rng
from runs import interrupt

from dpm_lib import __version__
from dpm_lib.cli import main
from dpm_lib.core import files
from dpm_lib.core.files import load_json, load_lines, load_tensors, save_json
from dpm_lib.diffusion import batches
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.samplers import draw
from dpm_lib.training import loop, objective
from dpm_lib.training.catalogue import RECIPES, get
from dpm_lib.training.checkpoints import load_model
from dpm_lib.training.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[1]
TINY = {"width": 8, "depth": 1, "frequencies": 2, "T": 5, "batch": 32, "steps": 60}
KEYS = {
    "recipe", "seed", "device", "steps", "seconds", "bound_bits", "bound_bits_stderr", "entropy_limit_bits",
    "gap_bits", "gap_bits_stderr", "beta_1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """One thread, few held-out points, and the handler that ``main`` sets taken away again."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    monkeypatch.setattr(loop, "evaluate", partial(evaluate, n=400))
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


def tiny(**settings: object) -> list[str]:
    return [text for key, value in (TINY | settings).items() for text in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "swiss-roll", "--device", "cpu", "--out", str(folder), "--seed", "4", *tiny()]) == 0
    return folder


def fails(capsys, *arguments: object) -> str:
    """Exit code 2 and one line on stderr, nothing on stdout; returns the line."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    return err.strip()


# What works


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name, recipe in RECIPES.items():
        assert f"{name}: {recipe.about}" in out
    assert f"T={get('swiss-roll-thin').T} " in out and "covariance=diagonal" in out


def test_cost_says_what_it_counts(capsys):
    assert main(["cost", "textures-small", "--set", "batch=32", "--set", "steps=2000"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("textures-small: 98,170 weights; 0.0192 GFLOP for one row")
    assert (
        "2,000 steps of 32 rows (2.13 epochs of 30,000 images), 0.00369 PFLOP: at least 0.001 hours at 1 TFLOP/s" in out
    )
    assert "memory: 1.97 MB whatever the batch, and 0.547 MB for each row of it: 19.5 MB" in out
    assert "recipe: 'texture' is not known" in fails(capsys, "cost", "texture")
    assert "--set width: 'x': need int" in fails(capsys, "cost", "textures", "--set", "width=x")


def test_train_prints_the_json_that_it_writes(tmp_path, capsys):
    folder = tmp_path / "run"
    command = ["train", "swiss-roll", "--device", "cpu", "--seed", "3", "--out", str(folder)]
    assert main([*command, *tiny(covariance="diagonal", noise="0.5")]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and "K = " in err  # the progress bar shows the bound
    metrics = json.loads(out)
    assert metrics == json.loads((folder / "metrics.json").read_text()) and set(metrics) >= KEYS
    assert (metrics["recipe"], metrics["seed"], metrics["device"], metrics["steps"]) == ("swiss-roll", 3, "cpu", 60)
    assert metrics["beta_1"] == pytest.approx(get("swiss-roll").beta_1)
    assert round(metrics["entropy_limit_bits"], 3) == -1.949
    assert metrics["bound_bits"] <= metrics["ceiling_bits"] + 3 * metrics["bound_bits_stderr"]
    assert metrics["gap_bits"] > 0 and metrics["seconds"] > 0
    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 3 and config["recipe"]["covariance"] == "diagonal" and config["recipe"]["noise"] == 0.5
    assert (folder / "summary.png").read_bytes().startswith(b"\x89PNG")
    assert load_model(folder / "model.safetensors")[1].to_dict() == config["recipe"]


def test_precision_is_a_setting(tmp_path, capsys):
    command = ["train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path / "run"), *tiny(steps=2)]
    assert main([*command, "--precision", "bf16"]) == 0
    assert load_model(tmp_path / "run" / "model.safetensors")[1].precision == "bf16"


def test_minutes_choose_the_steps(tmp_path, capsys, monkeypatch):
    """33 steps by a clock of a second each; so half a minute is 30."""
    ticks = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: 30 * next(ticks)))
        assert loop.steps_within(0.5, get("swiss-roll").override(**TINY)) == 30
    free = [part for key, value in TINY.items() if key != "steps" for part in ("--set", f"{key}={value}")]
    assert main(["train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path), "--minutes", "0.005", *free]) == 0
    metrics, config = json.loads(capsys.readouterr().out), json.loads((tmp_path / "config.json").read_text())
    assert metrics["steps"] == config["recipe"]["steps"] >= 1
    error = fails(capsys, "train", "swiss-roll", "--device", "cpu", "--out", tmp_path / "b", "--minutes", "0", *free)
    assert error == "error: minutes: 0.0 is not positive, or not finite"
    assert "leave out --set steps" in fails(capsys, "train", "swiss-roll", "--minutes", "1", "--set", "steps=3")
    for minutes in ("0", "1"):
        assert "--resume takes the recipe" in fails(capsys, "train", "--resume", tmp_path, "--minutes", minutes)


def test_help_has_the_commands(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "torchrun --standalone --nproc_per_node 2 -m dpm_lib train" in capsys.readouterr().out


def test_the_default_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "swiss-roll", "--device", "cpu", "--seed", "7", *tiny(steps=2)]) == 0
    assert (tmp_path / "runs" / "swiss-roll-7" / "metrics.json").exists()
    assert "runs/swiss-roll-7: holds a run already" in fails(capsys, "train", "swiss-roll", "--seed", "7", *tiny())


def test_evaluate_repeats_the_metrics_of_the_run(run, capsys):
    for path in (run, run / "model.safetensors"):
        assert main(["evaluate", str(path), "--seed", "4", "--device", "cpu"]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        again, metrics = json.loads(out), json.loads((run / "metrics.json").read_text())
        assert again == {key: metrics[key] for key in again} and "gap_bits" in again and again["recipe"] == "swiss-roll"
    assert main(["evaluate", str(run), "--n", "300", "--seed", "5", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["gap_bits"] != metrics["gap_bits"]


def test_sample_as_csv_and_as_tensors(run, tmp_path, capsys):
    command = ["sample", str(run), "--n", "500", "--seed", "9", "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "x.safetensors")]) == 0
    tensors, record = load_tensors(tmp_path / "x.safetensors")
    x = load_model(run / "model.safetensors")[0].sample(500, rng(9))
    assert torch.equal(tensors["x"], x) and record == {"recipe": "swiss-roll", "seed": 9}
    assert main([*command, "--out", str(tmp_path / "x.csv")]) == 0
    assert capsys.readouterr().out == ""
    assert main(command) == 0
    on_screen = capsys.readouterr().out
    assert on_screen == (tmp_path / "x.csv").read_text()
    rows = torch.tensor([[float(v) for v in line.split(",")] for line in on_screen.splitlines()], dtype=torch.float64)
    torch.testing.assert_close(rows, x, rtol=1e-5, atol=1e-8)
    close_mean(x.square().sum(-1), 2.0, errors=10)  # untrained, yet of the scale of the data


def test_sample_by_a_sampler(run, tmp_path, capsys):
    command = ["sample", str(run), "--n", "50", "--seed", "9", "--device", "cpu"]
    out = tmp_path / "x.safetensors"
    assert main([*command, "--sampler", "ddim", "--calls", "4", "--eta", "0.5", "--out", str(out)]) == 0
    tensors, record = load_tensors(out)
    model = load_model(run / "model.safetensors")[0]
    assert torch.equal(tensors["x"], draw(model, 50, rng(9), "ddim", 4, eta=0.5))
    assert record == {"recipe": "swiss-roll", "seed": 9, "name": "ddim", "calls": 4, "eta": 0.5}
    assert main([*command, "--sampler", "heun", "--calls", "9"]) == 0
    on_screen = capsys.readouterr().out
    rows = torch.tensor([[float(v) for v in line.split(",")] for line in on_screen.splitlines()], dtype=torch.float64)
    torch.testing.assert_close(rows, draw(model, 50, rng(9), "heun", 9), rtol=1e-5, atol=1e-8)
    for arguments, message in {
        ("--sampler", "ddim"): "--sampler: ddim needs --calls, how often it may call the network",
        ("--calls", "8"): "--calls: 8 goes with --sampler; there are: ancestral, ddim,",
        ("--eta", "0.5"): "--eta: 0.5 goes with --sampler",
        ("--sampler", "heun", "--calls", "8", "--eta", "1"): "--eta: 1.0 goes with --sampler ddim, and not heun",
        ("--sampler", "ddim", "--calls", "6"): "calls: 6: need at most 5, the levels from T = 5 to 1",
        ("--sampler", "ddim", "--calls", "0"): "calls: 0: need at least 1",
        ("--sampler", "ddim", "--calls", "4", "--eta", "-1"): "eta: -1.0: need a finite number, at least 0",
    }.items():
        assert message in fails(capsys, *command, *arguments), arguments


# What does not


def test_mistakes_of_the_user(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not installed
    out = tmp_path / "run"
    train = ("train", "swiss-roll", "--out", out)
    cases = {
        ("train",): "train: name a recipe; there are: swiss-roll, ",
        ("train", "roll", "--out", out): "recipe: 'roll' is not known; there are: swiss-roll, ",
        (*train, "--set", "nose=1"): "--set nose: no such setting; there are: ",
        (*train, "--set", "noise"): "--set noise: need KEY=VALUE",
        (*train, "--set", "noise=much"): "--set noise: 'much': need float",
        (*train, "--set", "noise=-1"): "noise: -1.0 is not positive",
        (*train, "--set", "steps=1e3"): "--set steps: '1e3': need int",
        (*train, "--set", "covariance=banded"): "covariance: 'banded' is not one of ",
        (*train, "--set", "data=faces"): "data: 'faces' is not known",
        (*train, "--set", "beta_1=0.99"): "tau_T: ",
        (*train, "--device", "tpu"): "device: 'tpu' is not one of auto, cpu, cuda",
        (*train, "--seed", 10**30): f"--seed: {10**30} is not between",
        ("evaluate", out, "--seed", "-1"): "--seed: -1 is not between",
        (*train, "--tensorboard"): "tensorboard: the package is not installed",
        ("train", "--resume", out, "--precision", "bf16"): "--resume takes the recipe and its settings",
        (*train, "--resume", out): "--resume takes the recipe and its settings from the run folder",
        ("train", "--resume", out): f"{out}: no such run folder",
        ("evaluate", out): f"{out}: no such run folder",
        ("evaluate", out / "model.safetensors"): "model.safetensors: no such file",
        ("sample", out): f"{out}: no such run folder",
        ("sample", out, "--n", "0"): "--n: 0 is less than 1",
        ("sample", out, "--out", "x.pdf"): "--out: x.pdf should end in .csv, .png, .safetensors or .txt",
    }
    if not torch.cuda.is_available():
        cases[(*train, "--device", "cuda")] = "device: 'cuda' was asked for, and PyTorch sees no GPU"
    for arguments, message in cases.items():
        assert message in fails(capsys, *arguments), arguments
        assert not out.exists(), arguments


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "swiss-roll", "--seed", "x"], ["list", "--all"]])
def test_a_command_that_cannot_be_read(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_broken_run_folders(run, tmp_path, capsys):
    assert "holds a run already; go on with --resume" in fails(capsys, "train", "swiss-roll", "--out", run)
    folder = tmp_path / "run"
    folder.mkdir()
    assert "config.json: no such file" in fails(capsys, "train", "--resume", folder)
    for command in ("evaluate", "sample"):
        assert f"{folder}: has no model.safetensors: the run has not ended" in fails(capsys, command, folder)
    recipe = get("swiss-roll").to_dict()
    for config, message in (
        ({"recipe": recipe}, "config.json: 'seed'"),
        ({"recipe": recipe | {"colour": 1}, "seed": 0}, "config.json: recipe: unknown fields colour"),
        ({"recipe": recipe | {"T": 1}, "seed": 0}, "config.json: T: 1 is less than 2"),
        ({"recipe": None, "seed": 0}, "config.json: "),
        ({"recipe": recipe, "seed": 1.7}, "config.json: seed: 1.7 is no whole number"),
        ({"recipe": recipe, "seed": -(10**30)}, "config.json: seed: -1000000000000000000000000000000 is not between"),
    ):
        save_json(folder / "config.json", config)
        assert message in fails(capsys, "train", "--resume", folder, "--device", "cpu")
    for text in ('{"recipe": ', '{"a":' * 100_000):
        (folder / "config.json").write_text(text)
        assert "config.json: cannot be read as JSON" in fails(capsys, "train", "--resume", folder)
    content = (run / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    for command in ("evaluate", "sample"):
        line = fails(capsys, command, folder)
        assert "model.safetensors: not a whole safetensors file" in line
    (tmp_path / "file").write_text("x")
    line = fails(capsys, "train", "swiss-roll", "--out", tmp_path / "file", *tiny(steps=1))
    assert f"--out: {tmp_path / 'file'} is a file, not a folder" in line


def test_other_mistakes_with_a_good_run(run, tmp_path, capsys):
    assert "n: 1: need at least 2" in fails(capsys, "evaluate", run, "--n", "1")
    assert "device: 'tpu'" in fails(capsys, "sample", run, "--device", "tpu")
    for name in ("x.csv", "x.safetensors"):
        line = fails(capsys, "sample", run, "--n", "2", "--out", tmp_path / "none" / name)
        assert f"--out: {tmp_path / 'none'}: no such folder" in line
    assert "the data are no pictures" in fails(capsys, "sample", run, "--out", tmp_path / "x.png")
    content = (run / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "checkpoint.safetensors"):
        line = fails(capsys, "sample", run, "--n", "2", "--out", run / name)
        assert f"{name} holds something else than samples" in line
    assert (run / "model.safetensors").read_bytes() == content
    assert main(["sample", str(run), "--n", "2", "--out", str(tmp_path / "x.safetensors"), "--device", "cpu"]) == 0
    for command in ("evaluate", "sample"):
        line = fails(capsys, command, tmp_path / "x.safetensors")
        assert "x.safetensors: holds samples of 'swiss-roll', no model" in line
        assert "checkpoint.safetensors: is a checkpoint, no model" in fails(
            capsys, command, run / "checkpoint.safetensors"
        )
    assert main(["sample", str(run), "--n", "3", "--out", str(tmp_path / "x.safetensors"), "--device", "cpu"]) == 0
    longer = fails(capsys, "train", "--resume", run, "--set", "steps=90")
    assert "--resume takes the recipe" in longer and "a run is not made longer" in longer
    assert "--resume takes the recipe" in fails(capsys, "train", "--resume", run, "--seed", "4")
    assert "--data: goes with --resume" in fails(capsys, "train", "swiss-roll", "--out", tmp_path / "b", "--data", "x")
    clash = ("--precision", "bf16", "--set", "precision=fp32")
    assert "--precision: another is set" in fails(capsys, "train", "swiss-roll", "--out", tmp_path / "b", *clash)


def test_memory_that_runs_out_is_one_line(run, capsys, monkeypatch):
    """As PyTorch says it on the CPU, where a hundred million million points were asked for."""

    def sample(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(DiffusionModel, "sample", sample)
    assert "out of memory: ask for less" in fails(capsys, "sample", run, "--device", "cpu")


def test_a_csv_that_cannot_be_written_leaves_the_old_one(run, tmp_path, capsys, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    line = fails(capsys, "sample", run, "--n", "5", "--out", path, "--device", "cpu")
    assert "x.csv: cannot be written: No space left on device; what was there before is kept" in line
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_parts_of_a_large_sample_are_drawn_one_after_the_other(run, tmp_path, capsys, monkeypatch):
    sizes, sample = [], DiffusionModel.sample
    monkeypatch.setattr(batches, "NUMBERS", 40)
    monkeypatch.setattr(DiffusionModel, "sample", lambda model, n, g: sizes.append(n) or sample(model, n, g))
    assert main(["sample", str(run), "--n", "50", "--device", "cpu"]) == 0
    assert sizes == [20, 20, 10] and capsys.readouterr().out.count("\n") == 50


def test_a_picture_that_fails_loses_no_result(tmp_path, capsys, monkeypatch):
    from dpm_lib.figures import plots

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "save_run_summary", fail)
    assert main(["train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path / "run"), *tiny(steps=1)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["steps"] == 1 and "no summary.png" in err and "No space left" in err


def test_an_evaluation_that_fails_loses_no_model(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(loop, "evaluate", fail)
    assert main(["train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path / "run"), *tiny(steps=1)]) == 2
    assert load_model(tmp_path / "run" / "model.safetensors")[1].steps == 1


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"dpm_lib {__version__}\n"


def test_a_reader_who_leaves_is_no_error(tmp_path):
    """As in `list | head -1`: nothing on stderr."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = f"{sys.executable} -m dpm_lib list | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""


def test_a_run_that_ended_before_its_first_checkpoint_goes_on(run, tmp_path):
    """Its folder has config.json and some of the log, as after a kill: it starts anew, to the same end."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_bytes((run / "config.json").read_bytes())
    (broken / "metrics.jsonl").write_text('{"step": 50, "bound_bits": -9.0, "seconds": 1.0}\n')
    assert main(["train", "--resume", str(broken), "--device", "cpu"]) == 0
    assert (broken / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert [line["step"] for line in load_lines(broken / "metrics.jsonl")] == [50, 60]


@pytest.mark.parametrize("steps", [1, 50])
def test_a_run_that_diverges_is_one_line(tmp_path, capsys, monkeypatch, steps):
    monkeypatch.setattr(objective, "WARMUP", 1)
    command = ["train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path / "run"), *tiny(steps=steps, lr="1e30")]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err and err.splitlines()[-1].startswith("error: ")


def test_a_settings_error_of_the_shell_has_no_traceback(tmp_path):
    """The same through the real program."""
    command = [sys.executable, "-m", "dpm_lib", "train", "swiss-rol"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: recipe: 'swiss-rol' is not known") and done.stderr.count("\n") == 1


# Ctrl-C


LONGER = ["train", "swiss-roll", "--device", "cpu", *tiny(steps=200, noise="0.5", checkpoint_every=10_000), "--out"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a longer run that was left alone."""
    folder = tmp_path_factory.mktemp("cli") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "evaluate", partial(evaluate, n=400))
        assert main([*LONGER, str(folder)]) == 0
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_to_the_same_end(whole, tmp_path, capsys, number):
    """The signal falls wherever it falls in a real process; the resumed run ends as one that was left alone."""
    folder = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "dpm_lib", *LONGER, str(folder)]
    process = subprocess.Popen(
        program, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = interrupt(process, folder / "metrics.jsonl", lambda: process.send_signal(number))
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    assert err.splitlines()[-1] == f"interrupted; go on with: python -m dpm_lib train --resume {folder}"
    step = load_tensors(folder / "checkpoint.safetensors")[1]["step"]
    assert 50 <= step < 200
    assert f"{folder}: has no model.safetensors" in fails(capsys, "sample", folder)
    assert main(["train", "--resume", str(folder), "--device", "cpu"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    uninterrupted = load_json(whole / "metrics.json")
    del resumed["seconds"], uninterrupted["seconds"]
    assert resumed == uninterrupted
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_ends_a_run_interrupts_it(tmp_path, capsys, monkeypatch, number):
    """And one that is ignored, as SIGHUP is under nohup, stays so."""
    monkeypatch.setattr(loop, "fit", lambda *_, **__: signal.raise_signal(number))
    assert main(["train", "swiss-roll", "--out", str(tmp_path / "run")]) == 130
    if number == signal.SIGHUP:
        before = signal.signal(number, signal.SIG_IGN)
        try:
            monkeypatch.setattr(loop, "fit", lambda *_, **__: signal.raise_signal(number) or 1 / 0)
            with pytest.raises(ZeroDivisionError):
                main(["train", "swiss-roll", "--out", str(tmp_path / "run")])
        finally:
            signal.signal(number, before)


def test_an_interruption_before_there_is_anything_to_keep(tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "fit", stop)
    assert main(["train", "swiss-roll", "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_bits_from_training_to_samples(tmp_path, capsys):
    """The heartbeat recipe end to end: limits in the metrics, zeros and ones on the screen, a picture in the folder."""
    folder = tmp_path / "beats"
    settings = tiny(T=4, knots=2, steps=20, frequencies=0)
    assert main(["train", "heartbeat", "--device", "cpu", "--out", str(folder), *settings]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["entropy_limit_bits"] == pytest.approx(-2.321928, abs=1e-6)
    assert metrics["bound_bits_paired"] <= metrics["exact_limit_bits"] < metrics["ceiling_bits"]
    assert (folder / "summary.png").stat().st_size > 1000
    assert main(["sample", str(folder), "--n", "3", "--device", "cpu"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 3 and all(len(row) == 20 and set(row) <= {"0", "1"} for row in rows)
    line = fails(capsys, "sample", folder, "--device", "cpu", "--sampler", "ddim", "--calls", "5")
    assert "--sampler: ddim moves points, and the states of heartbeat are bits" in line


def test_a_schedule_that_ends_in_noise_trains_and_resumes(tmp_path):
    """alpha_bar_T = 0: minus infinity in the model file and in the averages."""
    folder = tmp_path / "beats"
    settings = tiny(T=5, steps=20, frequencies=0, beta_1=0.2, batch=32)
    assert main(["train", "heartbeat-paper", "--device", "cpu", "--out", str(folder), *settings]) == 0
    model, _ = load_model(folder / "model.safetensors")
    assert float(model.schedule.log_alpha_bar[-1]) == -float("inf")
    assert bool(torch.isfinite(model.trajectory_weights(torch.zeros(1, 20), 3, rng()).log_weights).all())
    assert main(["train", "--resume", str(folder), "--device", "cpu"]) == 0


# Pictures of the user's


def fill(folder: Path, n: int, start: int = 0, brightness: int = 100) -> None:
    folder.mkdir(exist_ok=True)
    for i in range(start, n):
        values = np.random.default_rng(i).integers(brightness, brightness + 100, size=(4, 4, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{i}.png")


def pictures(**settings: object) -> list[str]:
    given = {"T": 4, "width": 4, "depth": 1, "scales": 1, "steps": 2, "batch": 4, "side": 4, "precision": "fp32"}
    return [text for key, value in (given | settings).items() for text in ("--set", f"{key}={value}")]


def test_a_folder_of_pictures_from_end_to_end(tmp_path, monkeypatch, capsys):
    """In the folder itself, by the defaults: 30 pictures, of which 3 are held out; the runs are no pictures."""
    fill(tmp_path, 30)
    monkeypatch.chdir(tmp_path)
    found = []
    for seed in ("0", "1"):
        assert main(["train", "folder", "--device", "cpu", "--seed", seed, *pictures()]) == 0
        out, err = capsys.readouterr()
        found.append(json.loads(out))
        assert "folder:.: 25 to train, 2 for validation, 3 held out" in err and "no summary.png" not in err
        assert (tmp_path / "runs" / f"folder-{seed}" / "summary.png").stat().st_size > 1000
    assert found[0]["data_set"] == found[1]["data_set"] and found[0]["held_out"] == 3
    assert main(["evaluate", "runs/folder-0", "--device", "cpu"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == {key: found[0][key] for key in again} and "bits_per_dimension" in again
    assert main(["sample", "runs/folder-0", "--n", "3", "--out", "runs/folder-0/x.png", "--device", "cpu"]) == 0
    assert main(["evaluate", "runs/folder-0", "--device", "cpu"]) == 0
    line = fails(capsys, "train", "folder", "--out", tmp_path, *pictures(data=f"folder:{tmp_path}"))
    assert "holds the pictures; a run needs a folder of its own" in line


def test_a_run_is_evaluated_on_its_own_pictures_alone(tmp_path, capsys):
    """Others of the same names, or more of them, are refused; moved, they are found by --data; sampling needs none."""
    fill(tmp_path / "a", 12)
    run = str(tmp_path / "run")
    settings = pictures(data=f"folder:{tmp_path / 'a'}", covariance="levels")
    assert main(["train", "folder", "--device", "cpu", "--out", run, *settings]) == 0
    bits = json.loads(capsys.readouterr().out)["bits_per_dimension"]
    (tmp_path / "a").rename(tmp_path / "b")
    assert main(["evaluate", run, "--data", str(tmp_path / "b"), "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_dimension"] == bits
    assert main(["train", "--resume", run, "--data", str(tmp_path / "b"), "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_dimension"] == bits
    for command in (["evaluate", run], ["train", "--resume", run]):
        line = fails(capsys, *command, "--device", "cpu")
        assert "a is no folder; where those of the run are now is said with --data PATH" in line
    assert main(["sample", run, "--n", "2", "--device", "cpu"]) == 0
    values = np.loadtxt(capsys.readouterr().out.splitlines(), delimiter=",")
    assert values.shape == (2, 48) and 80 < values.mean() < 220  # levels, not units of the chain
    fill(tmp_path / "a", 12, brightness=0)
    fill(tmp_path / "b", 24, start=12)
    for place in ("a", "b"):
        line = fails(capsys, "evaluate", run, "--data", tmp_path / place, "--device", "cpu")
        assert "data: the model was trained on others: data train" in line
