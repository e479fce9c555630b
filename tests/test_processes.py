"""Several processes, over gloo on the CPU: they are one run, and Ctrl-C stops them together."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import runs
import torch
from problems import tiny_recipe
from runs import lines
from test_image_recipes import little, some_images

from dpm_lib.core.files import load_tensors
from dpm_lib.training.catalogue import get
from dpm_lib.training.loop import fit
from dpm_lib.training.trainer import Run

ROOT = Path(__file__).resolve().parents[1]
# `accelerate launch` starts several processes on GPUs; on the CPU it starts one, whatever --num_processes says.
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


def launch(folder: Path, *arguments: str) -> subprocess.Popen:
    """Two processes, in a process group of their own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command, pipe = [sys.executable, *LAUNCH, *arguments], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def course(settings: dict, steps: int) -> tuple[list[float], dict[str, torch.Tensor], int]:
    """K of each global batch, the averaged weights, and the place of the generator; the network in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        run = Run(tiny_recipe(**settings), 0, "cpu", data=runs.blob_data())
        for _ in range(steps):
            run.advance()
    finally:
        torch.set_default_dtype(before)
    run.collect()
    return run.recent, run.average, int(run.generator.get_state().double().sum())


def images_course(name: str) -> list[float]:
    """K of each global batch of a tiny recipe for images, in its own precision, clipped."""
    recipe = little(name, width=8, batch=16, side=8, clip=0.5, precision="bf16")
    run = Run(recipe, 0, "cpu", data=some_images(recipe))
    for _ in range(8):
        run.advance()
    run.collect()
    return run.recent


IMAGES = ("digits", "dead-leaves-paper")
SETTINGS = {"plain": {}, "clipped": {"clip": 0.5, "ema": 0.9, "lr": 0.03}}
SCRIPT = f"""
import sys, torch
from accelerate import PartialState
from dpm_lib.core.files import save_tensors
from pathlib import Path
from test_processes import course, images_course
torch.set_num_threads(1)
for name, settings in {SETTINGS}.items():
    K, average, place = course(settings, 40)
    path = Path(f"{{name}}-{{PartialState().process_index}}.safetensors")
    save_tensors(path, average, {{"K": K, "place": place}})
for name in {IMAGES}:
    K = images_course(name)
    save_tensors(Path(f"{{name}}-{{PartialState().process_index}}.safetensors"), {{}}, {{"K": K}})
"""


def test_two_processes_are_one(tmp_path):
    """With a float64 network, so that only the order of sums differs: every K of 40 steps, and every average."""
    (tmp_path / "script.py").write_text(SCRIPT)
    process = launch(tmp_path, "script.py")
    _, err = process.communicate()
    assert process.returncode == 0 and "Warning" not in err, err[-3000:]
    for name, settings in SETTINGS.items():
        K, average, place = course(settings, 40)
        assert len(set(K)) == 40
        for index in (0, 1):
            tensors, record = load_tensors(tmp_path / f"{name}-{index}.safetensors")
            assert record["K"] == pytest.approx(K, rel=1e-9, abs=1e-9) and record["place"] == place
            for key, value in average.items():
                torch.testing.assert_close(tensors[key], value, rtol=1e-8, atol=1e-9)
    for name in IMAGES:  # float32 and bfloat16: sums in another order are not the same
        K = images_course(name)
        for index in (0, 1):
            assert load_tensors(tmp_path / f"{name}-{index}.safetensors")[1]["K"] == pytest.approx(K, rel=1e-4)


def test_two_processes_stop_together_and_one_goes_on(tmp_path):
    """Ctrl-C in a terminal reaches both, each in a step of its own; what they saved ends as one process would."""
    settings = tiny_recipe(steps=150, checkpoint_every=10_000)
    changed = {key: value for key, value in settings.to_dict().items() if value != getattr(get("swiss-roll"), key)}
    options = [text for key, value in changed.items() for text in ("--set", f"{key}={value}")]
    process = launch(tmp_path, "-m", "dpm_lib", "train", "swiss-roll", "--device", "cpu", "--out", "two", *options)
    folder = tmp_path / "two"
    out, err = runs.interrupt(process, folder / "metrics.jsonl", lambda: os.killpg(process.pid, signal.SIGINT))
    assert process.returncode != 0 and out == "", err[-3000:]
    assert err.count("interrupted; go on with: python -m dpm_lib train --resume two\n") == 1, err[-3000:]
    step = load_tensors(folder / "checkpoint.safetensors")[1]["step"]
    assert 50 <= step < 150 and step % 10 == 0
    fit(settings, 0, folder, "cpu", resume=True, progress=False)
    fit(settings, 0, tmp_path / "one", "cpu", progress=False)
    for a, b in zip(lines(tmp_path / "one"), lines(folder), strict=True):
        assert a["step"] == b["step"] and a["bound_bits"] == pytest.approx(b["bound_bits"], abs=1e-4)
    one, two = (json.loads((f / "metrics.json").read_text()) for f in (tmp_path / "one", folder))
    assert abs(one["bound_bits"] - two["bound_bits"]) < 1e-3
