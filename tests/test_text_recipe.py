"""The recipe `text`: a file of one's own through training, resume, evaluation and samples, by the command line."""

import json
import math
import shutil

import pytest
import torch
from problems import close

from dpm_lib.cli import main
from dpm_lib.core.files import load_lines
from dpm_lib.core.random import seeded
from dpm_lib.data import text
from dpm_lib.data.registry import load
from dpm_lib.diffusion import masked_strings
from dpm_lib.diffusion.categorical_kernel import CategoricalKernel, mask
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.schedules import even
from dpm_lib.training import costs, text_evaluation
from dpm_lib.training.catalogue import get
from dpm_lib.training.checkpoints import load_model

WORDS = "the cat sat on the mat. a dog ate a red hat: so it was, été too.\n" * 40
SMALL = ["T=8", "beta_1=0.125", "steps=4", "width=8", "depth=1", "length=16", "validate_every=2", "checkpoint_every=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "own.txt").write_text(WORDS, encoding="utf-8")
    settings = [part for pair in (*SMALL, f"data=text:{folder / 'own.txt'}") for part in ("--set", pair)]
    assert main(["train", "text", "--out", str(folder / "run"), "--device", "cpu", *settings]) == 0
    return folder


def test_a_file_of_ones_own_is_trained_on_evaluated_and_written(run, capsys):
    model, recipe = load_model(run / "run" / "model.safetensors")
    alphabet = "".join(sorted(set(WORDS)))
    assert recipe.tokens == len(alphabet) == model.kernel.vocabulary and model.data_set["alphabet"] == alphabet
    looks = [line for line in load_lines(run / "run" / "metrics.jsonl") if "validation_bits" in line]
    assert [line["step"] for line in looks] == [2, 4]
    drawn = (run / "run" / "summary.txt").read_text(encoding="utf-8").split("\n----\n")
    assert len(drawn) == 4 and all(set(part) <= set(alphabet) for part in drawn)

    capsys.readouterr()
    assert main(["evaluate", str(run / "run"), "--device", "cpu"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    kept = json.loads((run / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert all(kept[key] == value for key, value in metrics.items())
    assert metrics["n_gram_bits_per_character"] < 1.5 < metrics["unigram_bits_per_character"]  # it knows the text
    gain = metrics["n_gram_bits_per_character"] - metrics["bits_per_character"]
    assert metrics["gain_bits_per_character"] == pytest.approx(gain)
    assert metrics["bound_bits"] == pytest.approx(-16 * metrics["bits_per_character"])

    out = run / "drawn.txt"
    assert main(["sample", str(run / "run"), "--n", "3", "--device", "cpu", "--out", str(out)]) == 0
    assert main(["sample", str(run / "run"), "--n", "3", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == out.read_text(encoding="utf-8")
    assert [len(part) for part in out.read_text(encoding="utf-8").removesuffix("\n").split("\n----\n")] == [16] * 3
    assert main(["sample", str(run / "run"), "--n", "2", "--device", "cpu", "--out", str(run / "drawn.csv")]) == 0
    assert len((run / "drawn.csv").read_text(encoding="utf-8").split("\n")[0].split(",")) == 16
    assert main(["sample", str(run / "run"), "--device", "cpu", "--out", str(run / "drawn.png")]) == 2


def test_a_run_on_text_goes_on_bit_for_bit_where_its_file_is_now(run, tmp_path):
    """From its checkpoint of step 2, taken by a run that was ended there, to the same weights."""
    from dpm_lib.training import trainer

    _, recipe = load_model(run / "run" / "model.safetensors")
    halfway = trainer.Run(recipe, 0, "cpu", tmp_path / "half")
    for _ in range(2):
        halfway.advance()
    halfway.look()
    halfway.save_checkpoint()
    shutil.copy(run / "run" / "config.json", tmp_path / "half")
    moved = shutil.copy(run / "own.txt", tmp_path / "moved.txt")
    assert main(["train", "--resume", str(tmp_path / "half"), "--device", "cpu", "--data", str(moved)]) == 0
    ours, theirs = (load_model(f / "model.safetensors")[0].state_dict() for f in (tmp_path / "half", run / "run"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "own.txt: empty: need 2 to 1000 kinds"),
        (b"aaaa" * 100, "own.txt: 1 kinds of character: need 2"),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 1001))).encode() * 2, "1001 kinds of character: need 2 to 1000"),
        (b"ab" * 100, "validation of .* has 20 characters: need 128, a window"),
        (b"abc\xff" * 100, "own.txt: need UTF-8: invalid start byte at byte 3"),
        (None, "own.txt: No such file"),
    ],
)
def test_a_text_that_will_not_do_is_named(tmp_path, capsys, content, message):
    path = tmp_path / "own.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(f"text:{path}")
    assert main(["train", "text", "--out", str(tmp_path / "run"), "--set", f"data=text:{path}"]) == 2
    assert f"error: data: text:{path}: " in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_settings_that_do_not_go_with_text():
    for settings, message in (
        ({"kernel": "uniform"}, "network: 'text': need kernel=mask"),
        ({"kernel": "binomial"}, "kernel: 'binomial' does not fit the data 'text'"),
        ({"side": 8}, "side: 8 is for pictures"),
        ({"length": 0}, "length: 0 is less than 1"),
    ):
        with pytest.raises(ValueError, match=message):
            get("text").override(**settings)
    assert costs.count(get("text").override(T=4, width=8)).flop_per_row > 0


class Counting(torch.nn.Module):
    """Of strings of one character alone: the more of it is seen, the surer."""

    def forward(self, x, t=None, log_tau=None):
        seen = torch.nn.functional.one_hot(x.long(), 5)[..., :4].sum(1, keepdim=True)
        return 0.5 * seen.expand(*x.shape, 4).double()


def test_K_of_the_chain_is_that_of_any_order_as_its_steps_grow_short():
    """The chain's own bound at random times, masked cross-entropies of hidden places, and the sum by hand."""
    kernel = CategoricalKernel(16, even(4000), mask(4))
    model = DiffusionModel(kernel, CategoricalReverse(Counting(), kernel))
    x = torch.arange(2000).remainder(4).unsqueeze(1).expand(-1, 16).contiguous()
    exact = -sum(math.log1p(3 * math.exp(-seen / 2)) for seen in range(16))  # {eq}`eq-mk-bound`
    for K in (
        text_evaluation.text_bounds(model, x.double(), draws=4),
        -masked_strings.bound(Counting(), x, 4, seeded(2), 4),
    ):
        error = float(K.std()) / math.sqrt(len(x))
        assert abs(float(K.mean()) - exact) < 4 * error < 0.1 * abs(exact)


def test_the_states_of_text_are_its_windows():
    data = text.book(32)
    x = data.held_out(5)
    assert x.dtype == torch.float64 and x.shape == (5, data.dim)
    close(data.held_out()[:, :3], data.windows()[:, :3])
    assert bool((x.unsqueeze(1) == data.windows().unsqueeze(0)).all(-1).any(-1).all())
    look, labels = data.validation_rows(9, seeded(0))
    assert labels is None and len(look) == len(data.windows("validation"))
