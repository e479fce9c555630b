"""A run: clipping, precision, compilation, data on the device, samples on the way, and shares of a batch."""

import json
import math

import pytest
import runs
import torch
from problems import blob_data, close, rng, tiny_recipe
from runs import interrupt_at, lines, same_runs, train
from test_image_recipes import some_images

from dpm_lib.core.files import load_tensors
from dpm_lib.data import images
from dpm_lib.data.images import Images
from dpm_lib.training import trainer as run_module
from dpm_lib.training.catalogue import get
from dpm_lib.training.checkpoints import load_model
from dpm_lib.training.devices import accelerator_for
from dpm_lib.training.loop import fit
from dpm_lib.training.objective import draw_batch
from dpm_lib.training.trainer import Run


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


def a_run(**settings) -> Run:
    return Run(tiny_recipe(**settings), 0, "cpu", data=blob_data())


def gradient(run: Run) -> torch.Tensor:
    return torch.cat([p.grad.double().flatten() for p in run.model.parameters()])


# Clipping


def test_the_gradient_is_clipped_as_a_whole():
    free, clipped, loose = a_run(), a_run(clip=0.01), a_run(clip=1e6)
    for run in (free, clipped, loose):
        run.advance()
    norm = gradient(free).norm()
    assert norm > 0.1
    close(gradient(clipped), gradient(free) * 0.01 / norm, rtol=1e-4, atol=1e-9)
    assert torch.equal(gradient(loose), gradient(free))


# Precision


def test_bf16_is_for_the_network_alone():
    """Its layers give bfloat16; chain, schedule and bound stay float64, and K is that of float32 to 3 digits."""
    full, half, seen = a_run(), a_run(precision="bf16"), []
    half.model.reverse.network.layers[0].register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    for name, p in full.model.named_parameters():  # off the start, where the last layer is zero
        p.data += 0.1 * torch.randn(p.shape, generator=rng(1), dtype=p.dtype)
        half.model.get_parameter(name).data.copy_(p.data)
    K, rough = full.advance(), half.advance()
    assert seen == [torch.bfloat16] and K.dtype == rough.dtype == torch.float64
    assert K != rough and abs(K - rough) < 1e-2 * abs(K)
    for name, p in half.model.named_parameters():
        assert p.dtype == p.grad.dtype == full.model.get_parameter(name).dtype
    close(half.model.schedule.log_increments.grad, full.model.schedule.log_increments.grad, rtol=0.05, atol=0.02)


def test_bf16_reaches_the_same_bound():
    """After 150 steps K differs by less than 0.02 bits, at the same held-out points and noise."""
    (_, full), (_, half) = (train(steps=150, lr=0.03, precision=precision) for precision in ("fp32", "bf16"))
    assert full["bound_bits"] != half["bound_bits"]
    assert abs(full["bound_bits"] - half["bound_bits"]) < 0.02


# Compilation


def test_a_compiled_run_is_the_same_run(tmp_path, monkeypatch):
    """Traced but not compiled, which takes a minute: the same files, names and numbers, and it resumes."""
    compile_, made = torch.compile, []
    monkeypatch.setattr(torch, "compile", lambda f: made.append(f) or compile_(f, backend="eager"))
    train(tmp_path / "plain")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 25)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "compiled", compile=True)
    train(tmp_path / "compiled", resume=True, compile=True)
    assert len(made) == 2
    a, b = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("plain", "compiled"))
    assert all(torch.equal(a[name], b[name]) for name in a) and set(a) == set(b)
    assert lines(tmp_path / "plain") == lines(tmp_path / "compiled")


# Data on the device


def shelf() -> Images:
    """Images of two pixels."""
    values = torch.randint(256, (120, 2), generator=rng(3)).to(torch.uint8)
    return Images("shelf", train=values[:100], test=values[100:], shape=(1, 1, 2), levels=256, split="the last 20")


def test_what_resides_on_a_gpu(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert run_module.resides(shelf(), cuda)
    assert not run_module.resides(shelf(), cpu) and not run_module.resides(blob_data(), cuda)
    monkeypatch.setattr(images, "RESIDENT", 199)  # bytes
    assert not run_module.resides(shelf(), cuda)


@pytest.fixture
def residing(monkeypatch):
    """As on a GPU, but on the CPU."""
    monkeypatch.setattr(run_module, "resides", lambda data, device: isinstance(data, Images))


def test_images_are_moved_once_and_drawn_by_index(residing):
    data = shelf()
    run, given, moved = Run(tiny_recipe(), 0, "cpu", data=data), [], []
    run.objective.register_forward_pre_hook(lambda _, batch: given.append(batch))
    for _ in range(3):
        run.advance()
        if not moved:  # a tensor of its own, as on a GPU: there, moving again would make another
            data._moved[run.device] = data._moved[run.device].clone()
        moved.append(data._moved[run.device])
    assert moved[0] is moved[2] and torch.equal(moved[0], data.train)
    rows = {tuple(row) for row in data.train.tolist()}
    assert all(tuple(row) in rows for x0, _, _ in given for row in data.pixels(x0).flatten(1).long().tolist())
    assert not torch.equal(given[0][0], given[1][0]) and not torch.equal(given[0][2], given[1][2])


def test_a_resident_run_resumes_bit_for_bit(tmp_path, monkeypatch, residing):
    train(tmp_path / "whole", data=shelf())
    with monkeypatch.context() as patch:
        interrupt_at(patch, 33)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", data=shelf())
    train(tmp_path / "broken", resume=True, data=shelf())
    same_runs(tmp_path / "whole", tmp_path / "broken")


# Samples on the way


def test_samples_on_the_way_change_nothing_else(tmp_path):
    train(tmp_path / "without")
    model, _ = train(tmp_path / "with", sample_every=30)
    folder = tmp_path / "with" / "samples"
    assert sorted(path.name for path in folder.iterdir()) == ["step-0000030.safetensors", "step-0000060.safetensors"]
    a, b = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("without", "with"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    tensors, record = load_tensors(folder / "step-0000060.safetensors")
    assert torch.equal(tensors["x"], model.sample(64, rng(0))) and tensors["x"].shape == (64, 2)
    assert record == {"recipe": "swiss-roll", "seed": 0, "step": 60}


# Shares of a batch


class Pretend:
    """An accelerator that says it is one process of two."""

    num_processes = 2

    def __init__(self, accelerator, index: int) -> None:
        self.accelerator, self.process_index = accelerator, index

    def __getattr__(self, name):
        return getattr(self.accelerator, name)


@pytest.mark.parametrize("data", [blob_data, shelf])
def test_each_process_keeps_its_share_of_the_batch(data, residing):
    """Two processes see disjoint halves, with every time in each, and together the batch that one would see."""
    halves, whole = [], []
    for index in (0, 1):
        run = Run(tiny_recipe(), 0, "cpu", data=data())
        run.accelerator = Pretend(run.accelerator, index)
        run.objective.register_forward_pre_hook(lambda _, given: halves.append(given))
        run.advance()
    run = Run(tiny_recipe(), 0, "cpu", data=data())
    run.objective.register_forward_pre_hook(lambda _, given: whole.extend(given))
    run.advance()
    if data is blob_data:
        assert all(torch.equal(a, b) for a, b in zip(whole, draw_batch(data(), tiny_recipe(), rng(0)), strict=True))
    for position, full in enumerate(whole):
        assert torch.equal(torch.stack([half[position] for half in halves], 1).flatten(0, 1), full)
    assert all(set(half[1].tolist()) == {2, 3, 4, 5} for half in halves)


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    class Three:
        num_processes = 3

    monkeypatch.setattr(run_module, "accelerator_for", lambda device: Three())
    with pytest.raises(ValueError, match="batch: 32 cannot be split over 3 processes"):
        a_run()


# Devices


def test_devices():
    assert accelerator_for("cpu").device.type == "cpu"
    with pytest.raises(ValueError, match="device: 'tpu' is not one of auto, cpu, cuda"):
        accelerator_for("tpu")
    if not torch.cuda.is_available():
        assert accelerator_for("auto").device.type == "cpu"
        with pytest.raises(ValueError, match="device: 'cuda' was asked for, and PyTorch sees no GPU"):
            accelerator_for("cuda")


def test_precision_is_the_recipes_alone(monkeypatch):
    """`accelerate launch --mixed_precision bf16` sets this; a run in fp32 stays one."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert accelerator_for("cpu").mixed_precision == "no"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, {"compile": True}], ids=str)
def test_a_gpu_gives_the_same_curve(tmp_path, settings):
    """The same batches; sums in another order, or rounded: close at first, and as good in the end."""
    for device, options in (("cpu", {}), ("cuda", settings)):
        fit(tiny_recipe(steps=100, **options), 0, tmp_path / device, device, progress=False, data=blob_data())
    tolerance = 0.03 if "precision" in settings else 1e-3
    for a, b in zip(lines(tmp_path / "cpu"), lines(tmp_path / "cuda"), strict=True):
        assert a["bound_bits"] == pytest.approx(b["bound_bits"], rel=tolerance)
    cpu, cuda = (json.loads((tmp_path / d / "metrics.json").read_text()) for d in ("cpu", "cuda"))
    assert abs(cpu["gap_bits"] - cuda["gap_bits"]) < 4 * (cpu["gap_bits_stderr"] + cuda["gap_bits_stderr"])
    assert cuda["device"] == torch.cuda.get_device_name()
    assert load_model(tmp_path / "cuda" / "model.safetensors")[0].schedule.log_alpha_bar.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_data_resides_on_the_gpu_and_the_run_resumes_there(tmp_path, monkeypatch):
    data = shelf()
    run = Run(tiny_recipe(), 0, "cuda", data=data)
    assert math.isfinite(run.advance()) and [moved.device.type for moved in data._moved.values()] == ["cuda"]
    fit(tiny_recipe(), 0, tmp_path / "whole", "cuda", progress=False, data=shelf())
    with monkeypatch.context() as patch:
        interrupt_at(patch, 33)
        with pytest.raises(KeyboardInterrupt):
            fit(tiny_recipe(), 0, tmp_path / "broken", "cuda", progress=False, data=shelf())
    fit(tiny_recipe(), 0, tmp_path / "broken", "cuda", resume=True, progress=False, data=shelf())
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "broken"), strict=True):
        assert a == pytest.approx(b, rel=1e-6)  # sums on a GPU are not always in one order


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("name", "compile"),
    [("digits", False), ("digits", True), ("dead-leaves", False), ("dead-leaves-paper", False)],
)
def test_no_step_waits_for_the_gpu(name, compile):
    """By PyTorch's own watch over what waits; after two steps, which move the images and compile."""
    recipe = get(name).override(T=20, width=8, batch=16, clip=1, compile=compile)
    run = Run(recipe, 0, "cuda", data=some_images(recipe))
    for step in range(4):
        torch.cuda.set_sync_debug_mode("error" if step > 1 else "default")
        try:
            run.advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    run.collect()
    assert all(math.isfinite(K) for K in run.recent)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["digits", "textures", "dead-leaves-paper"])
def test_the_bound_and_its_gradient_are_those_of_the_cpu(name):
    """The same weights and batch in float32 on both; TF32, which convolutions may use, has 10 bits."""
    recipe = get(name).override(T=20, width=8, batch=16, precision="fp32")
    data, found = some_images(recipe), {}
    for device in ("cpu", "cuda"):
        run = Run(recipe, 0, device, data=data)
        for number, p in enumerate(run.model.parameters()):  # off the start, where the last layer is zero
            p.data += 0.05 * torch.randn(p.shape, generator=rng(number), dtype=p.dtype).to(p.device)
        batch = [part.to(run.device) for part in draw_batch(data, recipe, rng(1))]
        loss = run.loss(*batch)
        loss.backward()
        found[device] = loss.item(), gradient(run).cpu()
    assert found["cuda"][0] == pytest.approx(found["cpu"][0], rel=1e-2)
    off = (found["cuda"][1] - found["cpu"][1]).norm() / found["cpu"][1].norm()
    assert off < 3e-2
