"""The network for text: what it sees, and its file."""

import pytest
import torch

from dpm_lib.core.files import BrokenFile, save_tensors
from dpm_lib.core.random import seeded
from dpm_lib.networks.text_network import DILATIONS, TAPS, TextNetwork, load, save


def network(**sizes):
    own = TextNetwork(5, width=4, generator=seeded(0), **sizes)
    with torch.no_grad():
        own.out.weight.normal_(generator=seeded(1))
    return own


@pytest.mark.parametrize("causal", [False, True])
def test_how_far_it_sees(causal):
    own, depth = network(depth=3, causal=causal), 3
    x = torch.zeros(1, 60, dtype=torch.long)
    other = x.clone()
    other[0, 30] = 4
    changed = (own(x) - own(other)).abs().sum(2)[0] > 0
    far = (TAPS - 1 if causal else TAPS // 2) * sum(DILATIONS[:depth])
    seen_from = torch.arange(30 if causal else 30 - far, 30 + far + 1)
    assert changed.nonzero().flatten().tolist() == seen_from.tolist()


def test_at_the_start_all_characters_are_alike():
    logits = TextNetwork(7, width=4, generator=seeded(0))(torch.tensor([[0, 7, 3]]))
    assert logits.shape == (1, 3, 7) and not bool(logits.any())
    with pytest.raises(ValueError, match="width: 0: need at least 1"):
        TextNetwork(7, width=0)


def test_a_file_holds_the_network(tmp_path):
    own, path = network(depth=2), tmp_path / "own.safetensors"
    save(path, own, alphabet="abcde")
    again, record = load(path)
    x = torch.randint(0, 6, (2, 9), generator=seeded(2))
    assert record == {"alphabet": "abcde"}
    assert torch.allclose(own(x), again(x), atol=0.02) and again.sizes == own.sizes
    save_tensors(path, own.state_dict(), {"text_network": {**own.sizes, "width": 1_000_000}})
    with pytest.raises(BrokenFile, match=r"own\.safetensors: no network for text: sizes: .* need those of its letters"):
        load(path)
    save_tensors(path, own.state_dict(), {})
    with pytest.raises(BrokenFile, match="no network for text: 'text_network'"):
        load(path)
