"""Models of diffusers: beside its own `step` at the same noise, its equivalences with their conditions, its traps.

Small networks, made here, briefly trained, saved by diffusers and loaded from disk. Nothing is downloaded.
"""

import json
import math
import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from dpm_lib.core.random import normal, seeded
from dpm_lib.diffusion import bound, samplers, schedules
from dpm_lib.interop import from_denoiser, from_diffusers

if os.environ.get("CI"):
    import diffusers
else:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: the extra of that name brings it")
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UNet2DModel,
)

SIDE, T = 8, 20
SHAPE = (1, SIDE, SIDE)


def unet(seed=0, steps=0, **changes):
    """A small network, drawn from a seed and trained for so many steps on smooth pictures, to say the noise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = UNet2DModel(
            **{"sample_size": SIDE, "in_channels": 1, "out_channels": 1, "block_out_channels": (8, 16),
               "down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D"),
               "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8} | changes
        )  # fmt: skip
        optimiser = torch.optim.Adam(made.parameters(), 1e-2)
        table = DDPMScheduler(T, beta_end=0.5)
        for _ in range(steps):
            x0, noise, t = pictures(32), torch.randn(32, *SHAPE), torch.randint(0, T, (32,))
            loss = (made(table.add_noise(x0, noise, t), t).sample[:, :1] - noise).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return made.eval()


def pictures(n):
    """Slopes of grey between -1 and 1."""
    line = torch.linspace(-1, 1, SIDE)
    a, b = torch.rand(2, n, 1, 1, 1) - 0.5
    return (a * line.view(1, 1, SIDE, 1) + b * line.view(1, 1, 1, SIDE)).clamp(-1, 1)


@pytest.fixture(scope="module")
def network():
    return unet(steps=40)


@pytest.fixture(scope="module")
def wide():
    """Two channels out for one in."""
    return unet(1, out_channels=2)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline")
    DDPMPipeline(network, DDPMScheduler(T, beta_end=0.5, variance_type="fixed_large")).save_pretrained(path)
    return path


def theirs(scheduler, network, seed, x, steps=None, **options):
    """The path of diffusers' own `step` through all T levels, or those of ``steps``: [x_T, ..., x_0]."""
    path, generator = [x], torch.Generator().manual_seed(seed)
    for t in range(len(scheduler.betas) - 1, -1, -1) if steps is None else steps:
        with torch.no_grad():
            raw = network(path[-1], torch.tensor(int(t))).sample
        path.append(scheduler.step(raw, t, path[-1], generator=generator, **options).prev_sample)
    return path


def ours(model, seed, x):
    """The path of our chain at the same noise, float32 draws; the last step without noise, as theirs."""
    shape, state, generator = x.shape, x.double().flatten(1), torch.Generator().manual_seed(seed)
    path = [x]
    for t in range(model.T, 0, -1):
        if t > 1:
            law = model.reverse_step(state, t)
            state = law.from_noise(torch.randn(shape, generator=generator).double().flatten(1))
        else:
            state = model.reverse.moments(state, 1, model.kernel)[0]
        path.append(state.float().reshape(shape))
    return path


def apart(first, second):
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


def start(n=2, seed=3):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


TABLES = {
    "linear": {"beta_end": 0.5},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_end": 0.5},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "trained": {"trained_betas": torch.linspace(0.002, 0.6, T).tolist()},
}


FORMS = [
    (table, prediction, ("fixed_small", "fixed_large", "fixed_small_log")[(i + j) % 3], bool((i + j + k) % 2))
    for i, table in enumerate(TABLES)
    for j, prediction in enumerate(("epsilon", "sample", "v_prediction"))
    for k in range(1 + (j == 0))
]


@pytest.mark.parametrize(("table", "prediction", "variance", "clip"), FORMS)
@torch.no_grad()
def test_the_same_noise_gives_the_same_path(network, table, prediction, variance, clip):
    """Through all T levels, to what float32 tables leave: the guesses of a cosine end at alpha_bar_T = 1e-9."""
    scheduler = DDPMScheduler(T, prediction_type=prediction, variance_type=variance, clip_sample=clip, **TABLES[table])
    model = from_diffusers(network, scheduler)
    path = theirs(scheduler, network, 5, start())
    size = max(1.0, *(float(x.abs().max()) for x in path))
    assert apart(path, ours(model, 5, start())) < 1e-3 * size
    assert model.facts["clip"] == (1.0 if clip else "none")


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
@torch.no_grad()
def test_a_learned_variance_too(wide, variance):
    class Positive(torch.nn.Module):  # "learned" takes the output for a variance: here one that can be
        def __init__(self):
            super().__init__()
            self.wide, self.config = wide, wide.config

        def forward(self, x, t):
            raw = self.wide(x, t).sample
            return SimpleNamespace(sample=torch.cat([raw[:, :1], 0.01 + raw[:, 1:].square()], 1))

    Positive.__name__ = "UNet2DModel"
    used = Positive() if variance == "learned" else wide
    scheduler = DDPMScheduler(T, variance_type=variance, beta_end=0.5)
    model = from_diffusers(used, scheduler)
    assert apart(theirs(scheduler, used, 5, start()), ours(model, 5, start())) < 1e-3
    with pytest.raises(ValueError, match="t: 1: need t >= 2 with variance"):
        model.reverse(start().double().flatten(1), 1, model.kernel)


@torch.no_grad()
def test_a_learned_range_is_not_clamped(wide):
    """v = 3 lies beyond beta_t, on the line of logarithms: at t = 501, 0.010069."""

    class Three(torch.nn.Module):
        config = wide.config

        def forward(self, x, t):
            return SimpleNamespace(sample=torch.cat([x, torch.full_like(x, 3.0)], 1))

    Three.__name__ = "UNet2DModel"
    three = Three()
    three.weight = torch.nn.Parameter(torch.zeros(1))
    scheduler = DDPMScheduler(variance_type="learned_range")
    law = from_diffusers(three, scheduler).reverse_step(torch.zeros(1, SIDE**2).double(), 501)
    assert law.scale.square().flatten()[0] == pytest.approx(0.010069, rel=1e-4)
    said = scheduler._get_variance(500, predicted_variance=torch.tensor(3.0)).exp()
    assert law.scale.square().flatten()[0] == pytest.approx(float(said), rel=1e-3)
    last = from_diffusers(three, scheduler, last="levels").reverse_step(torch.zeros(1, SIDE**2).double(), 1)
    beta, small = float(scheduler.betas[0]), float(scheduler._get_variance(1, torch.tensor(-1.0)).exp())
    assert last.scale.square().flatten()[0] == pytest.approx(beta**2 / small, rel=1e-3)  # v = 3: twice as far in logs


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
@torch.no_grad()
def test_zero_terminal_snr(network, prediction):
    """alpha_bar_T is 0 exactly, and stays so; a guess of the noise says nothing there, and is refused."""
    table = {"rescale_betas_zero_snr": True, "beta_end": 0.5}
    scheduler = DDPMScheduler(T, prediction_type=prediction, **table)
    model = from_diffusers(network, scheduler)
    assert model.schedule.alpha_bar[-1] == 0 and "alpha_bar_T=0)" in repr(model)
    assert apart(theirs(scheduler, network, 5, start()), ours(model, 5, start())) < 1e-3
    assert torch.isfinite(bound.terms(model, normal((2, SIDE**2), seeded(0)), seeded(1)).K).all()
    with pytest.raises(ValueError, match=r"epsilon with zero terminal SNR.*trained on v_prediction or sample"):
        from_diffusers(network, DDPMScheduler(T, **table))


# Equivalences, each with its condition, and what happens without it

TAME = {"clip_sample": False, "beta_end": 0.5}


@pytest.mark.parametrize(("clip", "own", "equal"), [(False, False, True), (True, False, False), (True, True, True)])
@torch.no_grad()
def test_ddpm_fixed_small_is_ddim_with_eta_1_unless_one_clips(network, clip, own, equal):
    """DDIM takes the noise of the guess before it is clipped; use_clipped_model_output mends that."""
    ddpm, ddim = (kind(T, beta_end=0.5, clip_sample=clip) for kind in (DDPMScheduler, DDIMScheduler))
    ddim.set_timesteps(T)
    path = theirs(ddim, network, 5, start(), eta=1.0, use_clipped_model_output=own)
    gap = apart(theirs(ddpm, network, 5, start())[:-1], path[:-1])
    assert (gap < 5e-4) if equal else (gap > 0.05)
    assert apart(ours(from_diffusers(network, ddpm), 5, start())[:-1], path[:-1]) == pytest.approx(gap, abs=5e-4)


@torch.no_grad()
def test_fixed_large_is_no_ddim(network):
    ddim = DDIMScheduler(T, **TAME)
    ddim.set_timesteps(T)
    model = from_diffusers(network, DDPMScheduler(T, variance_type="fixed_large", **TAME))
    assert apart(theirs(ddim, network, 5, start(), eta=1.0)[:-1], ours(model, 5, start())[:-1]) > 0.01


@torch.no_grad()
def test_euler_ancestral_is_our_chain_in_the_exploding_picture(network):
    """With all timesteps, and the start scaled by sqrt(sigma_T^2 + 1): z = x sqrt(1 + tau)."""
    model = from_diffusers(network, DDPMScheduler(T, **TAME))
    euler = EulerAncestralDiscreteScheduler(T, beta_end=0.5)
    euler.set_timesteps(T)
    scale = (euler.sigmas.double().square() + 1).sqrt()
    z, generator, path = start() * float(scale[0]), torch.Generator().manual_seed(5), [start()]
    for i, t in enumerate(euler.timesteps):
        raw = network(euler.scale_model_input(z, t), t.long()).sample
        z = euler.step(raw, t, z, generator=generator).prev_sample
        path.append((z / scale[i + 1]).float())
    assert apart(path[:-1], ours(model, 5, start())[:-1]) < 1e-3


@torch.no_grad()
def test_sde_dpm_solver_of_order_1_is_our_chain(network):
    """With the timesteps as a list, and the final sigma zero."""
    solver = DPMSolverMultistepScheduler(
        T, beta_end=0.5, algorithm_type="sde-dpmsolver++", solver_order=1, final_sigmas_type="zero"
    )
    solver.set_timesteps(timesteps=list(range(T - 1, -1, -1)))
    model = from_diffusers(network, DDPMScheduler(T, **TAME))
    path = theirs(solver, network, 5, start(), solver.timesteps.tolist())
    assert apart(path[:-1], ours(model, 5, start())[:-1]) < 1e-3


@torch.no_grad()
def test_smalldiffusion_with_gam_1_and_mu_half_is_our_chain(network):
    """z' = z - (sigma_t - sigma_p) eps + eta n, sigma_p = sigma_s^mu' form: up to its last step, which stops at 1."""
    model = from_diffusers(network, DDPMScheduler(T, **TAME))
    sigma = model.schedule.tau.sqrt()
    generator, x = torch.Generator().manual_seed(5), start().double().flatten(1)
    z, path, mu = x / model.schedule.alpha_bar[T].sqrt(), [start()], 0.5
    for t in range(T, 1, -1):
        s = float(sigma[t - 1])
        p = (s / float(sigma[t]) ** mu) ** (1 / (1 - mu))  # its sampler's own names: sig_p, eta
        eta = math.sqrt(s**2 - p**2)
        x0_hat = model.denoise(z * model.schedule.alpha_bar[t].sqrt(), t)
        eps = (z - x0_hat) / sigma[t]
        noise = torch.randn(start().shape, generator=generator).double().flatten(1)
        z = z - (sigma[t] - p) * eps + eta * noise
        path.append((z * model.schedule.alpha_bar[t - 1].sqrt()).float().reshape(start().shape))
    assert apart(path, ours(model, 5, start())[:-1]) < 1e-4


def test_levels_of_k_diffusion_are_eulers_linspace():
    """Both interpolate log sigma at even places from T - 1 to 0: k-diffusion's get_sigmas(n), written out."""
    euler, table = EulerDiscreteScheduler(timestep_spacing="linspace"), schedules.linear(1000, 1e-4, 0.02)
    euler.set_timesteps(10)
    places = torch.linspace(999, 0, 10, dtype=torch.float64)
    low = places.floor().long().clamp(max=998)
    log_sigma = 0.5 * table.log_tau[1:]
    sigmas = torch.lerp(log_sigma[low], log_sigma[low + 1], places - low).exp()
    assert euler.sigmas[:-1].double().numpy() == pytest.approx(sigmas.numpy(), rel=5e-4)


def test_cosine_betas_are_those_of_denoising_diffusion_pytorch():
    """Its formula: alpha_bar at T + 1 even places, betas capped at 0.999. One is at the cap, the last."""
    x = torch.linspace(0, 1000, 1001, dtype=torch.float64)
    abar = torch.cos((x / 1000 + 0.008) / 1.008 * math.pi / 2).square()
    betas = (1 - abar[1:] / abar[:-1]).clamp(0, 0.999)
    model = from_diffusers(unet(), DDPMScheduler(beta_schedule="squaredcos_cap_v2"))
    assert model.schedule.beta[1:].numpy() == pytest.approx(betas.numpy(), rel=1e-5, abs=1e-9)
    assert model.facts["alpha_bar_T"] == pytest.approx(2.43e-9, rel=0.01)


# What the tables say, whatever was done to the scheduler


class Exact(torch.nn.Module):
    """The exact network of data N(0, sd^2), in the place of the trained one: it says the noise."""

    def __init__(self, sd, scheduler):
        super().__init__()
        self.sd, self.weight = sd, torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.config = {"sample_size": 1, "in_channels": 1, "out_channels": 1}
        self.abar = torch.cumprod(1 - scheduler.betas.double(), 0)

    def forward(self, x, t):
        assert t.dtype == torch.int64 and x.dtype == torch.float64
        abar = self.abar[t].view(-1, 1, 1, 1)
        return SimpleNamespace(sample=(1 - abar).sqrt() / (abar * self.sd**2 + 1 - abar) * x)


Exact.__name__ = "UNet2DModel"


@pytest.mark.parametrize("clip", [None, 1.0])
def test_an_exact_network_is_the_exact_denoiser(clip):
    """Whose K is known in closed form (tests/test_denoiser.py): 5.07 nats of KL, and 757 where guesses are clipped."""
    scheduler = DDPMScheduler(clip_sample=clip is not None)
    model = from_diffusers(Exact(1.0, scheduler), scheduler)
    guess = lambda z, s: z / (1 + s.square()).view(-1, 1, 1, 1)  # noqa: E731
    other = from_denoiser(guess, model.schedule.log_tau, (1, 1, 1), dtype=torch.float64, clip=clip)
    t = torch.arange(2, 1001).repeat(8)
    x0, noise = normal((2, len(t), 1), seeded(0))
    mine, exact = (bound.step_kl(m, x0, t, noise) for m in (model, other))
    assert torch.allclose(mine, exact, rtol=1e-6, atol=1e-8)
    assert bool(mine.reshape(8, -1).sum(1).mean() > 300) == (clip is not None)


def test_a_sampling_run_leaves_no_mark(network, folder):
    """diffusers' own variance at t = 11 changes after a run of 5 steps; ours was read from the table."""
    pipeline = DDPMPipeline.from_pretrained(folder)
    before = from_diffusers(network, pipeline.scheduler)
    said = float(pipeline.scheduler._get_variance(10))
    pipeline.set_progress_bar_config(disable=True)
    pipeline(num_inference_steps=5, generator=torch.Generator().manual_seed(0), output_type="np")
    after = from_diffusers(network, pipeline.scheduler)
    x = start().double().flatten(1)
    assert torch.equal(before.reverse_step(x, 9).scale, after.reverse_step(x, 9).scale)
    assert float(pipeline.scheduler._get_variance(8)) != pytest.approx(said, rel=0.5)
    assert float(before.reverse_step(x, 9).scale.square()) == pytest.approx(float(before.schedule.beta[9]))


def test_the_table_counts_and_not_the_config():
    """A scheduler converted in memory has other betas than its config; one of another class is refused."""
    scheduler = DDPMScheduler(T)
    scheduler.betas = torch.linspace(1e-3, 0.3, T)
    with pytest.raises(ValueError, match=r"scheduler: its alphas_cumprod ends at .* somebody changed one table"):
        from_diffusers(unet(), scheduler)
    scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas, 0)
    model = from_diffusers(unet(), scheduler)
    assert model.schedule.beta[-1] == pytest.approx(0.3) and scheduler.config.beta_end == 0.02
    scheduler.betas.fill_(0.5)  # a copy was taken
    assert model.schedule.beta[-1] == pytest.approx(0.3)
    heun = HeunDiscreteScheduler.from_config(DDPMScheduler().config)
    with pytest.raises(ValueError, match="scheduler: HeunDiscreteScheduler: need the DDPMScheduler or DDIMScheduler"):
        from_diffusers(unet(), heun)


def test_trained_betas_decide_the_number_of_steps():
    """Ten of them leave num_train_timesteps at 1000; the chain has ten steps."""
    assert from_diffusers(unet(), DDPMScheduler(trained_betas=[0.1] * 10)).T == 10


def test_H_of_the_first_step_is_that_of_the_float64_table():
    """diffusers' float32 alpha_bar gives 8.3e-5 nats a dimension more."""
    scheduler = DDPMScheduler()
    H = 0.5 * math.log(float(from_diffusers(unet(), scheduler).schedule.beta[1]))
    theirs = 0.5 * math.log(1 - float(scheduler.alphas_cumprod[0]))
    assert theirs - H == pytest.approx(8.3e-5, rel=0.05)


# Clipping


@pytest.mark.parametrize(
    ("config", "clip", "found"),
    [
        ({}, "own", 1.0),
        ({"clip_sample": False}, "own", "none"),
        ({"clip_sample_range": 2.0}, "own", 2.0),
        ({"thresholding": True, "clip_sample_range": 2.0}, "own", 1.0),
        ({"thresholding": True, "sample_max_value": 2.0}, None, "none"),
        ({}, False, "none"),
        ({"clip_sample": False}, 1.5, 1.5),
    ],
)
@torch.no_grad()
def test_clipping_is_said(network, config, clip, found):
    scheduler = DDPMScheduler(T, beta_end=0.5, **config)
    model = from_diffusers(network, scheduler, clip=clip)
    assert model.facts["clip"] == found and f"clip={found}" in repr(model)
    if clip == "own":
        assert apart(theirs(scheduler, network, 5, start()), ours(model, 5, start())) < 1e-3


def test_thresholding_is_refused():
    scheduler = DDPMScheduler(thresholding=True, sample_max_value=2.0)
    with pytest.raises(ValueError, match=r"clip: the scheduler thresholds up to 2.*say clip=1.0 or clip=None"):
        from_diffusers(unet(), scheduler)


# Folders


def test_a_folder_is_the_two_objects(folder, network):
    model = from_diffusers(folder)
    assert "UNet2DModel, scheduler=DDPMScheduler, prediction=epsilon, dtype=float32, variance=fixed_large" in repr(
        model
    )
    assert "clip=1.0, last=edge, T=20, alpha_bar_T=" in repr(model)
    x0 = pictures(2).double().flatten(1)
    scheduler = DDPMScheduler(T, beta_end=0.5, variance_type="fixed_large")
    assert torch.equal(
        bound.terms(model, x0, seeded(0)).K, bound.terms(from_diffusers(network, scheduler), x0, seeded(0)).K
    )
    assert "dtype=float64" in repr(from_diffusers(str(folder), dtype=torch.float64))
    drawn = samplers.ddim(model, normal((2, SIDE**2), seeded(0)), [20, 10, 5, 0], seeded(1))
    assert drawn.shape == (2, SIDE**2)


def test_a_ddim_folder_keeps_the_variance_it_was_trained_with(network, tmp_path):
    """diffusers hides it in the config, on disk too. Without one it is fixed_small, DDIM's own eta = 1."""
    converted = DDIMScheduler.from_config(DDPMScheduler(T, variance_type="fixed_large").config)
    DDIMPipeline(network, converted).save_pretrained(tmp_path)
    assert from_diffusers(tmp_path).facts["variance"] == "fixed_large"
    assert from_diffusers(network, DDIMScheduler(T)).facts["variance"] == "fixed_small"
    assert from_diffusers(network, DDIMScheduler(T), variance="fixed_large").facts["variance"] == "fixed_large"


def edited(path, name, change):
    file = path / name
    record = json.loads(file.read_text(encoding="utf-8"))
    change(record)
    file.write_text(json.dumps(record), encoding="utf-8")


def latent(path):
    edited(path, "model_index.json", lambda r: r.update(_class_name="LDMPipeline", vqvae=["diffusers", "VQModel"]))


def text(path):
    edited(path, "model_index.json", lambda r: r.update(
        _class_name="StableDiffusionPipeline", text_encoder=["transformers", "CLIPTextModel"]))  # fmt: skip


def euler(path):
    edited(path, "model_index.json", lambda r: r.update(scheduler=["diffusers", "EulerDiscreteScheduler"]))


def old(path):
    edited(path, "scheduler/scheduler_config.json", lambda r: r.update(predict_epsilon=False))


def pickled(path):
    (path / "unet" / "diffusion_pytorch_model.safetensors").rename(path / "unet" / "diffusion_pytorch_model.bin")


def cut(path):
    file = path / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def other(path):
    edited(path, "unet/config.json", lambda r: r.update(block_out_channels=[8, 24]))


def more(path):
    edited(path, "unet/config.json", lambda r: r.update(down_block_types=["DownBlock2D", "AttnDownBlock2D"]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (latent, "is a LDMPipeline: need a DDPMPipeline or DDIMPipeline, of pixels; its network works on a code"),
        (text, "is a StableDiffusionPipeline: .*; its network is told a text"),
        (euler, "has a EulerDiscreteScheduler: need the DDPMScheduler or DDIMScheduler"),
        (old, 'has predict_epsilon, .*: need "prediction_type": "sample" in its place'),
        (pickled, "has diffusion_pytorch_model.bin, a pickle, which is not read"),
        (cut, "diffusers cannot load it"),
        (other, "diffusers cannot load it|does not fit"),
        (more, "its weights are of another network: .* does not fit"),
        (lambda path: (path / "model_index.json").unlink(), r"model_index.json: no such file"),
        (lambda path: (path / "unet" / "config.json").unlink(), r"config.json: no such file"),
        (lambda path: (path / "unet" / "diffusion_pytorch_model.safetensors").unlink(), "has no weights"),
        (lambda path: (path / "model_index.json").write_text("{"), "cannot be read as JSON"),
    ],
)
def test_a_folder_of_something_else_is_refused(folder, tmp_path, spoil, message):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    spoil(copy)
    with pytest.raises(ValueError, match=message):
        from_diffusers(copy)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(ValueError, match="no such folder; nothing is downloaded"):
        from_diffusers(tmp_path / "google" / "ddpm-cat-256")


# Networks


def test_classes(network):
    """A class has its own law: K is of p(x | class)."""
    classes = unet(num_class_embeds=3)
    with torch.no_grad():
        classes.class_embedding.weight.normal_(generator=torch.Generator().manual_seed(0)).mul_(5)
    scheduler, x0 = DDPMScheduler(T), pictures(2).double().flatten(1)
    K = [bound.terms(from_diffusers(classes, scheduler, label=label), x0, seeded(0)).K for label in (0, 2)]
    assert (K[0] - K[1]).abs().min() > 1e-3
    assert "label=2" in repr(from_diffusers(classes, scheduler, label=2))
    for label, message in ((None, "label: None: this network has 3 classes: say which"), (3, "label: 3: need one of")):
        with pytest.raises(ValueError, match=message):
            from_diffusers(classes, scheduler, label=label)
    with pytest.raises(ValueError, match="label: 1: this network has no classes"):
        from_diffusers(network, scheduler, label=1)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"time_embedding_type": "fourier"}, {}, "unet: time_embedding_type 'fourier' takes a sigma"),
        ({"class_embed_type": "identity"}, {}, "unet: class_embed_type 'identity': need classes"),
        ({"sample_size": None}, {}, "unet: its config has no sample_size"),
        ({"out_channels": 2}, {}, "unet: 2 channels out of 1, .* say variance='learned_range'"),
        ({}, {"variance": "learned_range"}, "'learned_range' needs 2; say variance='fixed_small' or 'fixed_large'"),
        ({}, {"variance": "huge"}, "variance: 'huge' is not one of"),
        ({}, {"clip": True}, "clip: True: need the number"),
        ({}, {"clip": "hard"}, "clip: 'hard': need 'own', None, or a number"),
        ({}, {"clip": 0.0}, "clip: 0.0: need a positive"),
        ({}, {"last": "first"}, "last: 'first' is not one of"),
        ({}, {"dtype": torch.float64}, r"dtype: torch.float64: is for a folder"),
    ],
)
def test_a_network_of_another_kind_is_refused(changes, options, message):
    with pytest.raises(ValueError, match=message):
        from_diffusers(unet(**changes), DDPMScheduler(T), **options)


def test_other_objects_are_refused(network, folder):
    with pytest.raises(ValueError, match="unet: Linear: need a UNet2DModel"):
        from_diffusers(torch.nn.Linear(2, 2), DDPMScheduler(T))
    with pytest.raises(ValueError, match="scheduler: NoneType: need"):
        from_diffusers(network)
    with pytest.raises(ValueError, match="scheduler: is in the pipeline's folder"):
        from_diffusers(folder, DDPMScheduler(T))
    kind = type("DDPMScheduler", (SimpleNamespace,), {})
    config = kind(config=dict(DDPMScheduler(T).config) | {"predict_epsilon": False})
    with pytest.raises(ValueError, match=r"predict_epsilon, of an old version.* say prediction_type 'sample'"):
        from_diffusers(network, config)
    drops = unet(dropout=0.1)
    from_diffusers(drops, DDPMScheduler(T))
    with pytest.raises(ValueError, match=r"unet: is in training mode.*unet.eval\(\) first"):
        from_diffusers(drops.train(), DDPMScheduler(T))
    bad = kind(betas=torch.tensor([0.1, 0.0]), alphas_cumprod=torch.tensor([0.9, 0.9]), config={})
    with pytest.raises(ValueError, match=r"scheduler: its table of betas is no schedule: beta: beta\[2\] = 0.0"):
        from_diffusers(network, bad)


def test_without_diffusers_the_extra_is_named(folder, monkeypatch):
    from dpm_lib.core.extras import NotInstalled

    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(NotInstalled, match=r"diffusers: is not installed; .* pip install \"dpm_lib\[diffusers\]\""):
        from_diffusers(folder)
