"""`dpm bits`: exact where K is known, the same in parts, again and from few calls; and one clear line otherwise."""

import json
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

from dpm_lib.cli import _cut_note, main
from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.data.registry import load
from dpm_lib.diffusion import sampled_bound, schedules
from dpm_lib.diffusion.forward_kernels import GaussianKernel
from dpm_lib.interop import from_denoiser
from dpm_lib.interop.denoiser import DenoiserReverse, grey_units
from dpm_lib.training import bits
from dpm_lib.training.bits import BitsRun

RUN = str(results.path("digits.safetensors"))


def model(last="edge", T=30):
    """A crude denoiser of pictures of 2 x 2 pixels: shrinking, and a cut."""
    made = from_denoiser(
        lambda z, s: (z / (1 + s.square().view(-1, 1, 1, 1))).clamp(-1, 1),
        schedules.geometric(T, 1e-4, 100.0).log_tau, (1, 2, 2), dtype=torch.float64, last=last,
    )  # fmt: skip
    made.data_set = grey_units((1, 2, 2), 256)
    return made


def pictures(n=150):
    return torch.randint(0, 256, (n, 4), generator=seeded(0), dtype=torch.uint8)


def finished(run):
    return run.report([run.measure(number) for number in run.parts])


@pytest.mark.parametrize("last", ["edge", "levels"])
def test_few_calls_and_all_calls_agree(last):
    """And neither is below the entropy of what they measure: even levels take 8 bits."""
    made = model(last)
    few = finished(BitsRun(made, pictures(), made.data_set, 3))
    whole = finished(BitsRun(made, pictures(), made.data_set, 29))
    error = math.hypot(few["bits_per_dimension_stderr"], whole["bits_per_dimension_stderr"])
    assert abs(few["bits_per_dimension"] - whole["bits_per_dimension"]) < 4 * error
    for record in (few, whole):
        split = record["prior_bits"] + record["steps_bits"] + record["last_bits"]
        assert split == pytest.approx(record["bits_per_dimension"], rel=1e-12)
        assert sum(value for *_, value in record["along"]) == pytest.approx(record["steps_bits"], rel=1e-12)
        assert record["along"][0][0] == 2 and record["along"][-1][1] == 30
        assert record["bits_per_dimension"] > 8
    assert whole["calls"] == whole["calls_of_the_full_sum"] == 150 * (29 + (last == "levels"))
    assert few["calls"] == 150 * (3 + (last == "levels")) + BitsRun(made, pictures(), made.data_set, 3)._plan().calls


def test_the_combs_of_all_parts_are_one(monkeypatch):
    estimate, firsts = sampled_bound.estimate, []
    monkeypatch.setattr(sampled_bound, "estimate", lambda *args: firsts.append(args[5]) or estimate(*args))
    made = model()
    finished(BitsRun(made, pictures(), made.data_set, 3))
    assert firsts == [0, bits.PART, 2 * bits.PART]


def test_a_guess_is_cut_where_it_is_beyond():
    kernel = GaussianKernel(3, schedules.geometric(5, 1e-3, 9.0))
    reverse = DenoiserReverse(lambda x, t: (2 * x, None), kernel, "fixed_small", clip=0.5)
    guess, _ = reverse.guess(torch.tensor([[-1.0, 0.2, 0.3]], dtype=torch.float64), 2, kernel)
    assert guess.tolist() == [[-0.5, 0.4, 0.5]]


def test_parts_in_any_order_make_the_same_numbers(tmp_path):
    """So it is with several processes, and after an interruption."""
    made = model()
    wanted = finished(BitsRun(made, pictures(), made.data_set, 3, 7))
    folder = tmp_path / "out"
    first = BitsRun(made, pictures(), made.data_set, 3, 7, folder)
    first.measure(2)
    again = BitsRun(made, pictures(), made.data_set, 3, 7, folder)
    kept = (folder / "part-00002.json").read_bytes()
    others = {number: again.measure(number) for number in (1, 0, 2)}
    assert again.report([others[number] for number in again.parts]) == wanted
    assert (folder / "part-00002.json").read_bytes() == kept
    assert (
        finished(BitsRun(made, pictures(), made.data_set, 3, 8))["bits_per_dimension"] != wanted["bits_per_dimension"]
    )
    with pytest.raises(ValueError, match="holds another measurement, of other calls: need another folder"):
        BitsRun(made, pictures(), made.data_set, 4, 7, folder)


def test_what_cannot_be_measured_is_refused():
    made = model()
    with pytest.raises(ValueError, match=r"pictures: need \(n, 4\), n at least 2, got \(1, 4\)"):
        BitsRun(made, pictures(1), made.data_set, 3)
    with pytest.raises(ValueError, match="calls: 0"):
        BitsRun(made, pictures(), made.data_set, 0)
    nan = from_denoiser(lambda z, s: z / 0 * 0, schedules.geometric(5).log_tau, (1, 2, 2))
    with pytest.raises(FloatingPointError, match="bits: nan at picture 0: the network fails there"):
        BitsRun(nan, pictures(), made.data_set, 4).measure(0)


def test_the_bits_of_a_run_are_those_that_evaluate_finds(capsys):
    """The digits model: 50 pictures, full sum and few calls, beside the record of the training."""
    assert main(["bits", RUN, "--n", "60", "--calls", "4", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out.splitlines()[-1])
    recorded = results.read("digits.json")["bits_per_dimension"]
    assert abs(record["bits_per_dimension"] - recorded) < 5 * record["bits_per_dimension_stderr"]
    assert record["recipe"] == "digits" and record["pictures"] == 60 and "bits a dimension" in err
    assert len(out.splitlines()) == len(record["along"]) + 2 and out.startswith(" " * 11 + "t = 2 ")
    assert out.splitlines()[-2] == bits.in_words(record)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "bits: name the folder of a run, or --diffusers FOLDER"),
        ([RUN, "--diffusers", "x"], "bits: name the folder of a run, or --diffusers FOLDER"),
        ([RUN, "--calls", "0"], "--calls: 0: need at least 1"),
        ([RUN, "--n", "1"], "--n: 1: need at least 2"),
        ([RUN, "--clip", "1"], "--clip: is for --diffusers"),
        ([str(results.path("swiss-roll.safetensors"))], "its data are no pictures; take: dpm evaluate"),
        (["--diffusers", "nowhere", "--data", "digits"], "nowhere: no such folder; nothing is downloaded"),
        (["--diffusers", "nowhere"], "--data: name folder:PICTURES"),
        (
            ["--diffusers", "nowhere", "--data", "digits", "--clip", "hard"],
            "--clip: 'hard': need own, none, or a number",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert main(["bits", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_the_parts_in_words():
    record = {"prior_bits": 0.5, "steps_bits": 3.25, "last_bits": -1.0, "bits_per_dimension_stderr": 0.01}
    said = bits.in_words(record | {"bits_per_dimension": 2.75})
    assert said == "2.7500 +- 0.0100 bits a dimension: prior 0.5000, steps 3.2500, last step -1.0000"


def test_bars_are_as_long_as_bits():
    lines = []
    bits.drawing([[2, 2, 1.0], [3, 5, 0.5], [6, 9, 0.0]], lines.append, width=8)
    assert lines == ["           t = 2    1.00000  ########", "        t = 3..5    0.50000  ####",
                     "        t = 6..9    0.00000  "]  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "options", "said"),
    [
        (17, {"clip": 1.0}, "cut to [-1, 1], and dequantised pictures of 17 levels reach 1.06"),
        (17, {"clip": 1.06}, ""),  # beyond by 0.0025, less than the first noise of 0.01
        (256, {"clip": 1.0}, ""),  # half a level is 0.004
        (17, {"clip": 1.0, "last": "levels"}, ""),
        (17, {}, ""),
    ],
)
def test_a_clip_that_costs_bits_is_remarked(levels, options, said):
    log_tau = schedules.geometric(9, 1e-4, 100.0).log_tau
    made = from_denoiser(lambda z, s: z, log_tau, 4, count=levels, **options)
    assert said in _cut_note(made, levels) and bool(said) == bool(_cut_note(made, levels))


# Pipelines of diffusers


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    if not os.environ.get("CI"):
        pytest.importorskip("diffusers", reason="diffusers is not installed: the extra of that name brings it")
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
        )  # fmt: skip
    folder = tmp_path_factory.mktemp("pipeline")
    DDPMPipeline(unet, DDPMScheduler(20, beta_end=0.5)).save_pretrained(folder)
    return folder


def saved(folder, n=6, side=8):
    folder.mkdir()
    for i in range(n):
        shade = np.random.default_rng(i).integers(0, 256, (side, side), dtype=np.uint8)
        Image.fromarray(shade).save(folder / f"{i}.png")
    return folder


def test_a_pipeline_on_a_folder_of_pictures(pipeline, tmp_path, capsys):
    shades = saved(tmp_path / "shades")
    wanted = {}
    for last in ("edge", "levels"):
        asked = ["bits", "--diffusers", str(pipeline), "--data", f"folder:{shades}", "--last", last, "--calls", "19"]
        assert main([*asked, "--device", "cpu", "--out", str(tmp_path / last)]) == 0
        wanted[last] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert wanted[last]["pictures"] == 6 and wanted[last]["last"] == last and wanted[last]["clip"] == 1.0
        assert main([*asked, "--device", "cpu", "--out", str(tmp_path / last)]) == 0  # read, not computed
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == wanted[last]
    assert wanted["edge"]["steps_bits"] != wanted["levels"]["steps_bits"]  # other draws: dequantised, and not
    assert main([*asked, "--clip", "none", "--out", str(tmp_path / "levels")]) == 2
    assert "holds another measurement, of other clip" in capsys.readouterr().err


def test_a_pipeline_that_cuts_digits_says_so(pipeline, capsys):
    asked = ["bits", "--diffusers", str(pipeline), "--data", "digits", "--n", "2", "--calls", "1", "--device", "cpu"]
    for more, said in (([], 1), (["--clip", "none"], 0)):
        assert main([*asked, *more]) == 0
        assert capsys.readouterr().err.count("note: guesses are cut to [-1, 1]") == said


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ("folder:wrong", (), "0.png: is 9 x 9 pixels, and 8 x 8 are needed; resize it, or say --resize"),
        ("folder:nowhere", (), "nowhere is no folder"),
        ("mnist-5k", (), "side: mnist-5k has images of 28 pixels a side, not 8"),
        ("swiss-roll", (), "--data: swiss-roll is no pictures, and the network takes 1 x 8 x 8"),
        ("digits", ("--label", "3"), "label: 3: this network has no classes"),
        ("digits", ("--variance", "learned"), "unet: 1 channels out of 1, and 'learned' needs 2"),
    ],
)
def test_a_mistake_with_a_pipeline_is_one_line(pipeline, tmp_path, monkeypatch, data, more, message, capsys):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "wrong", side=9)
    assert main(["bits", "--diffusers", str(pipeline), "--data", data, *more]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("error: ") == 1
    assert load("digits").levels == 17
