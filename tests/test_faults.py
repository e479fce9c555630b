"""What goes wrong in a long run: a full disk, a kill in mid-save, no memory, damaged files, no compiler."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import runs
import torch
from problems import blob_data, rng, tiny_recipe
from runs import interrupt_at, same_runs, train
from safetensors.torch import save_file

from dpm_lib.cli import main
from dpm_lib.core import files
from dpm_lib.core.files import BrokenFile, load_tensors
from dpm_lib.data.images import Images
from dpm_lib.training import checkpoints, devices, loop, trainer
from dpm_lib.training.build import build
from dpm_lib.training.loop import fit
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["checkpoint.safetensors", "config.json", "metrics.jsonl"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class FullDisk:
    """A file that takes half of what it is given; then the disk is full."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_checkpoint_and_the_run_goes_on_later(tmp_path, monkeypatch, capsys):
    train(tmp_path / "whole", checkpoint_every=20)
    folder, saves = tmp_path / "broken", []

    def limited(path, mode="r", **more):
        saves.append(path) if "checkpoint" in str(path) else None
        file = open(path, mode, **more)
        return FullDisk(file) if "checkpoint" in str(path) and len(saves) == 2 else file

    with monkeypatch.context() as patch:
        patch.setattr(files, "open", limited, raising=False)
        message = r"checkpoint\.safetensors: cannot be written: No space left on device; what was there before is kept"
        with pytest.raises(OSError, match=message):
            train(folder, checkpoint_every=20)
    assert names(folder) == NAMES
    assert load_tensors(folder / "checkpoint.safetensors")[1]["step"] == 20
    train(folder, resume=True, checkpoint_every=20)
    same_runs(tmp_path / "whole", folder)


def test_a_full_disk_while_interrupted_is_what_is_reported(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    interrupt_at(monkeypatch, 5)
    monkeypatch.setattr(files.os, "fsync", lambda _: full() if (tmp_path / "metrics.jsonl").exists() else None)
    with pytest.raises(OSError, match=r"checkpoint\.safetensors: cannot be written: No space left on device$"):
        train(tmp_path)


def test_no_process_waits_for_one_that_could_not_save(monkeypatch):
    """The others learn of it, and raise too."""
    run = Run(tiny_recipe(), 0, "cpu", data=blob_data())
    monkeypatch.setattr(run, "any", lambda failed: True)
    with pytest.raises(OSError, match=r"checkpoint\.safetensors: the main process could not write it"):
        run.save_checkpoint()


KILLED = """
import os, signal, sys
from dpm_lib.core import files
from dpm_lib.training.loop import fit
from problems import blob_data, tiny_recipe
saves, replace = [], os.replace
def fsync(descriptor):
    saves.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    if sum("checkpoint" in name for name in saves) == 2:
        os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
files.os.fsync = fsync
fit(tiny_recipe(checkpoint_every=20), 0, sys.argv[1], "cpu", progress=False, data=blob_data())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_in_mid_save(tmp_path):
    """SIGKILL while half of the second checkpoint is written: the first is whole, and the run ends as if unhurt."""
    folder = tmp_path / "broken"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    [left] = [name for name in names(folder) if name.endswith(".tmp")]
    assert left.startswith(".checkpoint.safetensors.")
    assert load_tensors(folder / "checkpoint.safetensors")[1]["step"] == 20
    train(folder, resume=True, checkpoint_every=20)
    train(tmp_path / "whole", checkpoint_every=20)
    same_runs(tmp_path / "whole", folder)
    assert not [name for name in names(folder) if name.endswith(".tmp")]


# Memory


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
    ids=("gpu", "cpu", "python"),
)
def test_out_of_memory_is_one_line_that_says_what_to_change(tmp_path, monkeypatch, capsys, error):
    advance = Run.advance

    def hungry(run):
        if run.step == 25:
            raise error
        return advance(run)

    monkeypatch.setattr(Run, "advance", hungry)
    tiny = {"T": 5, "width": 8, "depth": 1, "frequencies": 2, "batch": 32, "steps": 60, "checkpoint_every": 20}
    settings = [f"{key}={value}" for key, value in tiny.items()]
    command = ["train", "swiss-roll", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(command + [text for setting in settings for text in ("--set", setting)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: step 25: out of memory on cpu, 32 rows of data a process; the checkpoint of step 20 is kept; use more "
        "processes, or a smaller --set batch (now 32), a smaller --set width (now 8), or --precision bf16"
    )
    assert load_tensors(tmp_path / "run" / "checkpoint.safetensors")[1]["step"] == 20


def test_other_errors_are_not_called_out_of_memory(monkeypatch):
    def fail(run):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Run, "advance", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train()


# Numbers that run away


def test_the_first_bound_that_is_not_finite_is_named(tmp_path):
    """Bounds are read 50 steps at a time, yet the message has the step; what was saved before stays."""
    run = Run(tiny_recipe(covariance="posterior"), 0, "cpu", tmp_path, blob_data())
    for _ in range(7):
        run.advance()
    run.save_checkpoint()
    next(run.model.reverse.network.parameters()).data.fill_(torch.inf)
    for _ in range(3):
        run.advance()
    with pytest.raises(FloatingPointError, match=r"step 8: the bound is nan; try a smaller lr than 0\.01, or clip the"):
        run.collect()
    assert load_tensors(tmp_path / "checkpoint.safetensors")[1]["step"] == 7
    assert run.kept() == "the checkpoint of step 7 is kept"


# Damage


def test_a_damaged_checkpoint_is_noticed(tmp_path):
    """One bit in the middle of the weights: every number is still a number."""
    train(tmp_path, steps=5)
    path = tmp_path / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: is damaged: it has another SHA-256"):
        train(tmp_path, resume=True, steps=5)


def test_a_checkpoint_of_another_recipe_says_what_differs(tmp_path):
    train(tmp_path, steps=5)
    with pytest.raises(
        BrokenFile, match=r"of another recipe, seed or data set: width 8, not 16; clip 0\.0, not 2\.0; seed 0, not 1"
    ):
        train(tmp_path, resume=True, seed=1, steps=5, width=16, clip=2)


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    """A folder of images that has changed, say: one pixel is enough."""
    values = torch.randint(256, (20, 2), generator=rng(0)).to(torch.uint8)

    def folder(values):
        return Images("folder", train=values[:16], test=values[16:], shape=(1, 1, 2), levels=256, split="the last 4")

    _, metrics = train(tmp_path, data=folder(values), steps=5)
    assert metrics["data_set"] == folder(values).record() and metrics["data_set"]["held_out"] == 4
    train(tmp_path, resume=True, data=folder(values), steps=5)
    values[3, 1] ^= 1
    with pytest.raises(BrokenFile, match=r"or data set: data train_sha256 \w{64}, not \w{64}$"):
        train(tmp_path, resume=True, data=folder(values), steps=5)


# No compiler


def test_without_a_compiler_a_run_goes_on_and_says_so(monkeypatch):
    import torch._inductor.config as config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    calls = []

    def double(x):
        calls.append(x)
        return 2 * x

    use = devices.compiled(double)
    with pytest.warns(UserWarning, match="compile: goes on without.*: InvalidCxxCompiler"):
        assert use(torch.ones(3)).tolist() == [2, 2, 2]
    assert use(torch.ones(2)).tolist() == [2, 2] and len(calls) >= 2
    torch._dynamo.reset()


# Two at once


def test_a_run_in_a_folder_keeps_others_out(tmp_path):
    """A second one, to resume or anew, is refused while the first is at work, and the folder is free after it."""
    with files.claimed(tmp_path), pytest.raises(BlockingIOError, match="another process is at work"):
        train(tmp_path, steps=5)
    train(tmp_path, steps=5)
    with files.claimed(tmp_path), pytest.raises(BlockingIOError, match="another process is at work"):
        train(tmp_path, resume=True, steps=5)
    train(tmp_path, resume=True, steps=5)


def test_of_two_runs_that_start_together_one_is_refused(tmp_path, monkeypatch):
    """The second trains from start to end while the first still loads its data: all files are the second's."""
    first, before = [], trainer.Run

    def slow(*given):
        if not first:
            first.append(given)
            train(tmp_path, steps=5, seed=99)
        return before(*given)

    monkeypatch.setattr(loop, "Run", slow)
    with pytest.raises(ValueError, match="holds a run already"):
        train(tmp_path, steps=5, seed=1)
    seeds = [load_tensors(tmp_path / f"{name}.safetensors")[1]["seed"] for name in ("model", "checkpoint")]
    assert seeds == [99, 99] and files.load_json(tmp_path / "config.json")["seed"] == 99


# Damage


def test_every_flipped_bit_of_a_header_is_noticed_or_harmless(tmp_path):
    """All of the safetensors header: the file is refused, or says the same."""
    path = tmp_path / "x.safetensors"
    files.save_tensors(path, {"a": torch.arange(6.0).reshape(2, 3)}, {"step": 40, "seed": 3, "lr": 1e-7})
    content = path.read_bytes()
    good, length = load_tensors(path), 8 + int.from_bytes(content[:8], "little")
    for place in range(8, length):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                tensors, record = load_tensors(path)
            except BrokenFile:
                continue
            assert record == good[1] and tensors["a"].dtype == torch.float32
            assert torch.equal(tensors["a"], good[0]["a"])


def test_a_file_without_a_digest_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata={"record": '{"step": 1}'})
    with pytest.raises(BrokenFile, match=r"x\.safetensors: is damaged: it has another SHA-256 .*, or none"):
        load_tensors(path)


@pytest.mark.parametrize(
    "sizes",
    [{"width": 10**6}, {"T": 10**9, "batch": 10**9}, {"frequencies": 10**9}, {"depth": 100_000}, {"dim": 10**9},
     {"network": "rbf", "units": 10**9, "frequencies": 16, "width": 64, "depth": 3}],
    ids=str,
)  # fmt: skip
def test_sizes_that_no_tensor_has_are_refused_before_memory_is_taken(tmp_path, sizes):
    """Of a model of a few kilobytes whose record asks for gigabytes; and the same of a checkpoint."""
    recipe = tiny_recipe()
    model, path = build(recipe), tmp_path / "model.safetensors"
    dim = sizes.pop("dim", 2)
    record = {"recipe": recipe.to_dict() | sizes, "dim": dim}
    files.save_tensors(path, model.state_dict(), record)
    with pytest.raises(BrokenFile, match=r"model\.safetensors: .* fits none of its tensors"):
        checkpoints.load_model(path)
    if dim == 2:
        record |= {"seed": 0, "data_set": {"name": "swiss-roll"}}
        files.save_tensors(tmp_path / "checkpoint.safetensors", model.state_dict(), record)
        with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: .* fits none of its tensors"):
            Run(Recipe.from_dict(record["recipe"]), 0, "cpu", tmp_path, resume=True)


def test_a_bad_line_of_the_log_is_named(tmp_path):
    train(tmp_path, steps=5)
    log = tmp_path / "metrics.jsonl"
    log.write_text("nonsense\n" + log.read_text())
    with pytest.raises(BrokenFile, match=r"metrics\.jsonl: line 1 is no JSON: Expecting value"):
        train(tmp_path, resume=True, steps=5)


def test_a_terminal_that_has_gone_does_not_stop_the_checkpoint(tmp_path, monkeypatch):
    """SIGHUP, and every write to stderr fails from then on: the run ends as after Ctrl-C."""

    class Gone:
        def write(self, *_):
            raise OSError(errno.EIO, "Input/output error")

        flush = write

    def hang_up(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGHUP, hang_up)
    try:
        with monkeypatch.context() as patch:
            interrupt_at(patch, 20, signal.SIGHUP)
            patch.setattr(sys, "stderr", Gone())
            with pytest.raises(KeyboardInterrupt):
                fit(tiny_recipe(), 0, tmp_path, "cpu", data=blob_data())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert load_tensors(tmp_path / "checkpoint.safetensors")[1]["step"] == 20
