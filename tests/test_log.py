"""The course of a run: its log, TensorBoard's, and the estimate of how long it takes."""

import errno
import sys
import types

import pytest
import runs
from runs import train

from dpm_lib.training import log, loop
from dpm_lib.training.log import Course, Estimate, clock


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


def test_times_in_words():
    assert [clock(s) for s in (0.2, 59.4, 59.6, 150, 3599.7, 3900, 90_000)] == [
        "0 s", "59 s", "1 min 0 s", "2 min 30 s", "1 h 0 min", "1 h 5 min", "25 h 0 min",
    ]  # fmt: skip


def test_the_estimate_comes_once_after_the_warm_up(monkeypatch):
    """Slow first steps do not count: 100 s each, then half a second."""
    now, waited = [0.0], []
    monkeypatch.setattr(log.time, "perf_counter", lambda: now[0])
    estimate, said = Estimate(1000, 2000, wait=lambda: waited.append(now[0])), {}
    for step in range(1001, 1100):
        now[0] += 100 if step <= 1003 else 0.5
        said[step] = estimate.words(step)
    assert {step: words for step, words in said.items() if words} == {
        1013: "500 ms a step; the 987 steps that are left take about 8 min 14 s"
    }
    assert waited == [300.0, 305.0]


def test_the_estimate_is_shown_beside_the_bar(tmp_path, capsys):
    loop.fit(runs.tiny_recipe(), 0, tmp_path, "cpu", data=runs.blob_data())
    assert "swiss-roll: " in capsys.readouterr().err.replace("\r", "\n").split(" ms a step; the 47 steps that are")[0]
    train()
    assert capsys.readouterr().err == ""


def test_a_full_disk_names_the_log(tmp_path, monkeypatch):
    log = Course(tmp_path)
    log.add(1, bound_bits=-2.0)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match=r"metrics\.jsonl: cannot be written: No space left on device"):
        log.add(2, bound_bits=-1.0)
    monkeypatch.undo()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "bound_bits": -2.0}\n'


# TensorBoard


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="tensorboard: the package is not installed; try: pip install tensorboard"):
        loop.fit(runs.tiny_recipe(), 0, tmp_path / "run", "cpu", tensorboard=True, data=runs.blob_data())
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="tensorboard: needs a folder"):
        loop.fit(runs.tiny_recipe(), 0, None, "cpu", tensorboard=True, data=runs.blob_data())


def test_tensorboard_gets_what_the_log_gets(tmp_path, monkeypatch):
    said = []

    class Writer:
        def __init__(self, folder, purge_step):
            said.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            said.append((name, value, step))

        def close(self):
            said.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    loop.fit(runs.tiny_recipe(), 0, tmp_path, "cpu", progress=False, data=runs.blob_data(), tensorboard=True)
    assert said[0] == (str(tmp_path), 1) and said[-1] == "closed"
    logged = {step: value for name, value, step in said[1:-1] if name == "bound_bits"}
    assert logged == {record["step"]: record["bound_bits"] for record in runs.lines(tmp_path)}
