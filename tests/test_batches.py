"""Draws in batches: the same states as one batch after another, in memory that does not grow with their number."""

import json
from itertools import accumulate

import pytest
import torch
from problems import affine_model, bit_model, rng, short_schedule
from test_labels import model_of_classes
from torch.profiler import ProfilerActivity, profile

from dpm_lib.core import results
from dpm_lib.diffusion import batches
from dpm_lib.training import checkpoints


def peak(job, path) -> int:
    """The most bytes that PyTorch held during a job beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        job()
    recorded.export_chrome_trace(str(path))
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    return max(accumulate(size for _, size in changes))


def test_rows_at_a_time():
    assert [batches.rows(dim) for dim in (1, 2, 64, 784, 100_000)] == [65_536, 32_768, 1024, 83, 16]


@pytest.mark.parametrize(("n", "sizes"), [(0, [0]), (1, [1]), (16, [16]), (17, [16, 1]), (40, [16, 16, 8])])
def test_each_batch_follows_on_the_last(n, sizes, monkeypatch):
    """With room for 16 rows: what one call after another with the same generator gives; up to 16 it is one call."""
    for model in (affine_model(short_schedule()), bit_model(short_schedule())):
        generator = rng(3)
        by_hand = torch.cat([model.sample(size, generator) for size in sizes])
        with monkeypatch.context() as patch:
            patch.setattr(batches, "NUMBERS", 32)
            found = model.sample(n, rng(3))
        assert found.shape == (n, 2) and found.dtype == torch.float64 and torch.equal(found, by_hand)


def test_a_label_for_each_row_is_drawn_at_once(monkeypatch):
    model, labels = model_of_classes(), torch.arange(20) % 3
    whole = model.given(labels).sample(20, rng(1))
    monkeypatch.setattr(batches, "NUMBERS", 16 * 16)
    assert torch.equal(model.given(labels).sample(20, rng(1)), whole)
    assert not torch.equal(model.given(1).sample(20, rng(1)), whole)


def test_the_memory_of_draws_is_constant(tmp_path, monkeypatch):
    """Beside the result, 4 and 16 batches of the book's swiss roll take what 2 do; all at once they take far more."""
    model, _ = checkpoints.load_model(results.path("swiss-roll.safetensors"))
    short = type(model)(type(model.kernel)(2, short_schedule()), model.reverse)
    monkeypatch.setattr(batches, "NUMBERS", 2 * 512)
    beside = {
        n: peak(lambda n=n: short.sample(512 * n, rng(1)), tmp_path / "trace.json") - 16 * 512 * n for n in (2, 4, 16)
    }
    assert max(beside.values()) < 1.05 * beside[2]
    monkeypatch.setattr(batches, "NUMBERS", 2**16)
    assert peak(lambda: short.sample(512 * 16, rng(1)), tmp_path / "trace.json") > 8 * beside[2]
