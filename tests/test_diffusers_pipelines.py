"""Models written for diffusers: trained here, loaded and sampled there, on the same path; and what cannot go."""

import json
import os

import pytest
import torch

import dpm_lib
from dpm_lib.core import results
from dpm_lib.core.random import seeded
from dpm_lib.diffusion import bound, schedules
from dpm_lib.interop import from_denoiser, from_diffusers, to_diffusers

if os.environ.get("CI"):
    import diffusers
else:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: the extra of that name brings it")
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

T, SIDE = 10, 8
WORDS = {"data": "slopes of grey", "licence": "cc0-1.0"}


def fresh(prediction="epsilon", **options):
    classes = options.pop("num_class_embeds", None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=SIDE, in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=4, num_class_embeds=classes,
        )  # fmt: skip
    scheduler = DDPMScheduler(T, trained_betas=[0.01 + 0.06 * i for i in range(T)], prediction_type=prediction)
    return from_diffusers(unet, scheduler, **options)


def slopes(n, generator):
    a = torch.rand(n, 1, generator=generator, dtype=torch.float64) - 0.5
    return 2 * a * torch.linspace(-1, 1, SIDE**2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("prediction", "options"),
    [
        ("epsilon", {"variance": "fixed_large", "clip": None}),
        ("sample", {"last": "levels"}),
        ("v_prediction", {"clip": 2.0}),
    ],
)
def test_a_model_trained_here_is_sampled_there(prediction, options, tmp_path):
    """Descended on its own bound; then diffusers' steps at our noise, and K after the way out and in."""
    model, g = fresh(prediction, **options), seeded(0)
    trainable = fresh(prediction, **options | {"last": "edge"})
    trainable.reverse = model.reverse  # the same network: a last step on levels is not trained on
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    course = []
    for _ in range(12):
        x0, t = slopes(16, g), torch.randint(2, T + 1, (16,), generator=g)
        noise = torch.randn(x0.shape, generator=g, dtype=torch.float64)
        loss = -bound.estimate(trainable, x0, t, noise).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.append(float(loss.detach()))
    assert sum(course[-4:]) < sum(course[:4])

    folder = to_diffusers(model, tmp_path / "out", **WORDS, steps=20)
    pipeline = DDPMPipeline.from_pretrained(folder)
    x = torch.randn(2, 1, SIDE, SIDE, generator=g)
    state, (one, other) = x, (torch.Generator().manual_seed(5) for _ in range(2))
    ours = x.double().flatten(1)
    with torch.no_grad():
        for t in range(T, 0, -1):
            raw = pipeline.unet(state, torch.tensor(t - 1)).sample
            state = pipeline.scheduler.step(raw, t - 1, state, generator=one).prev_sample
            if t > 1:
                ours = model.reverse_step(ours, t).from_noise(torch.randn(x.shape, generator=other).double().flatten(1))
        ours = model.reverse.moments(ours, 1, model.kernel)[0]
    assert torch.allclose(state.double().flatten(1), ours, atol=2e-3 * float(ours.abs().max().clamp(min=1)))
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(num_inference_steps=T, output_type="np", generator=torch.Generator().manual_seed(0)).images
    assert drawn.shape == (1, SIDE, SIDE, 1) and 0 <= drawn.min() <= drawn.max() <= 1

    back = from_diffusers(folder, last=options.get("last", "edge"))
    x0 = slopes(2, g) if options.get("last") != "levels" else (slopes(2, g) * 127.5 + 127.5).round() / 127.5 - 1
    there, here = (bound.terms(m, x0, seeded(1)).K for m in (back, model))
    assert torch.allclose(there, here, rtol=1e-5)
    same = ("prediction", "variance", "clip", "T")
    assert {key: back.facts[key] for key in same} == {key: model.facts[key] for key in same}


def test_the_card_says_what_it_is_worth(tmp_path):
    bits = {"bits_per_dimension": 3.70123, "bits_per_dimension_stderr": 0.0123, "pictures": 100, "last": "levels"}
    folder = to_diffusers(fresh(), tmp_path, **WORDS, bits=bits, steps=700)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: diffusers\nlicense: cc0-1.0\n")
    for words in (
        "3.7012 +- 0.0123 bits a dimension on 100 pictures of slopes of grey, last step levels",
        "Data: slopes of grey (licence: cc0-1.0)", "Steps of training: 700", "prediction: epsilon", "T: 10",
    ):  # fmt: skip
        assert words in text
    betas = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))["trained_betas"]
    assert betas == fresh().schedule.beta[1:].tolist()
    with pytest.raises(FileExistsError, match="holds something already"):
        to_diffusers(fresh(), folder, **WORDS)


def test_what_diffusers_has_no_place_for_is_refused(tmp_path):
    own, _ = dpm_lib.load_model(results.path("digits.safetensors"))
    heart, _ = dpm_lib.load_model(results.path("heartbeat.safetensors"))
    plain = from_denoiser(lambda z, s: z, schedules.geometric(5).log_tau, (1, 8, 8))
    units = fresh()
    units.data_set = {"mean": 0.0, "std": 1.0}
    for model, message in (
        (own, "model: LevelReverse around UNet: diffusers has no such network; need a UNet2DModel"),
        (heart, "model: BernoulliReverse around MLP: diffusers has no such network"),
        (plain, "model: guesses by <lambda>: need a UNet2DModel"),
        (fresh(num_class_embeds=3, label=1), "model: is that of class 1: a DDPMPipeline has no place"),
        (units, r"model: its data's mean is 0.0: need 128.0, for levels as numbers from -1 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            to_diffusers(model, tmp_path / "out", **WORDS)
    for words, name in (({"data": ""}, "data: ''"), ({"licence": "a: b"}, "licence: 'a: b'")):
        with pytest.raises(ValueError, match=f"{name}: need one line of words"):
            to_diffusers(fresh(), tmp_path / "out", **WORDS | words)
    assert not (tmp_path / "out").exists()
