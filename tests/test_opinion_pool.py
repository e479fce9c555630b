"""The pool of opinions: its file, and bad input. Its formula stands with the equations of the chapter."""

import pytest
import torch

from dpm_lib.core.files import BrokenFile, save_tensors
from dpm_lib.core.random import seeded
from dpm_lib.networks import opinion_pool
from dpm_lib.networks.opinion_pool import OpinionPool


def test_a_pool_in_a_file_is_the_same_pool(tmp_path):
    pool = OpinionPool(2, 1, generator=seeded(0))
    path = tmp_path / "pool.safetensors"
    opinion_pool.save(path, pool, laws=["a", "b"])
    again, record = opinion_pool.load(path)
    log_p, facts = torch.randn(3, 2, 5, generator=seeded(1)).log_softmax(-1), torch.rand(3, 1, generator=seeded(2))
    assert torch.equal(again(log_p, facts), pool(log_p, facts)) and record == {"laws": ["a", "b"]}
    save_tensors(path, pool.state_dict(), {"opinion_pool": {"laws": 3, "facts": 1, "width": 32}})
    with pytest.raises(BrokenFile, match=r"pool.safetensors: no opinion pool: .*size mismatch"):
        opinion_pool.load(path)
    with pytest.raises(ValueError, match="laws: 0: need"):
        OpinionPool(0, 1)
