"""Training on a GPU, rehearsed without one: see ``pretend_gpu`` for what that can find, and what it cannot.

And what torch.compile would be given: the step as one graph, traced once. What it makes of it is not tried here.
"""

import json
import warnings
from dataclasses import replace

import pytest
import runs
import torch
from pretend_gpu import CPU, GPU, PretendAccelerator, PretendGPU
from problems import blob_data
from runs import interrupt_at, same_runs
from test_image_recipes import some_images
from torch._dynamo.utils import counters

from dpm_lib import cli
from dpm_lib.data.dataset import Data
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load
from dpm_lib.diffusion import bound, conditioning, inpainting
from dpm_lib.training import build, devices, image_evaluation
from dpm_lib.training import trainer as run_module
from dpm_lib.training.catalogue import get
from dpm_lib.training.checkpoints import load_model
from dpm_lib.training.evaluation import evaluate
from dpm_lib.training.loop import fit
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run

FAMILIES = (
    "swiss-roll", "heartbeat", "digits", "digits-classes", "mnist-5k", "dead-leaves", "dead-leaves-paper", "cifar10",
)  # fmt: skip
TINY = {"T": 4, "width": 4, "depth": 1, "steps": 3, "batch": 8, "clip": 1}


def tiny(name: str, **settings: object) -> Recipe:
    recipe = get(name)
    small = {"side": 8} if recipe.data in ("dead-leaves", "textures") else {}
    return recipe.override(**TINY | small | ({"knots": 2} if recipe.knots else {}) | settings)


def data_of(recipe: Recipe) -> Data:
    if recipe.classes:
        images = some_images(recipe)
        labels = {"train": torch.arange(8).clamp(max=6) + 3, "test": torch.arange(4)}
        return replace(images, labels=labels)
    return some_images(recipe) if recipe.side else blob_data() if recipe.data == "swiss-roll" else load(recipe.data)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(run_module, "accelerator_for", lambda device: PretendAccelerator())
    monkeypatch.setattr(cli, "accelerator_for", lambda device: PretendAccelerator())
    monkeypatch.setattr(build.image_datasets, "load", lambda name, *_: some_images(tiny("mnist-5k")))
    with PretendGPU() as pretended:
        yield pretended


# Whole runs


@pytest.fixture
def strict(gpu, monkeypatch):
    """No step may wait after the first, which moves the images. But for what Run says: Cholesky factors are checked."""
    advance = Run.advance

    def never_waiting(run: Run) -> torch.Tensor:
        besides = ["aten._linalg_check_errors"] if run.recipe.covariance == "full" else []
        if isinstance(run.data, Images) and not run.data._moved:
            besides.append("to cuda")
        with gpu.never_waiting(*besides):
            K = advance(run)
        assert K.device == GPU and {p.grad.device for p in run.model.parameters()} == {GPU}
        return K

    monkeypatch.setattr(Run, "advance", never_waiting)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_on_a_gpu_never_waits_between_steps(name, strict, gpu, tmp_path):
    """Trained and evaluated; the file of the model is for any device."""
    recipe = tiny(name)
    model, metrics = fit(recipe, 0, tmp_path, "cuda", progress=False, data=data_of(recipe))
    assert metrics["device"] == "a pretended GPU" and {p.device for p in model.parameters()} == {GPU}
    assert {v.device for v in load_model(tmp_path / "model.safetensors")[0].parameters()} == {CPU}


@pytest.mark.parametrize("name", ["swiss-roll", "dead-leaves-paper"])
def test_a_run_on_a_gpu_is_interrupted_and_resumed(name, strict, gpu, tmp_path, monkeypatch):
    recipe = tiny(name, sample_every=2)
    data = data_of(recipe)
    fit(recipe, 0, tmp_path / "whole", "cuda", progress=False, data=data)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, 0, tmp_path / "broken", "cuda", progress=False, data=data)
    fit(recipe, 0, tmp_path / "broken", "cuda", resume=True, progress=False, data=data)
    same_runs(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("name", ["swiss-roll", "heartbeat"])
def test_data_drawn_on_the_cpu_give_the_run_that_the_cpu_would(name, gpu, monkeypatch):
    recipe = tiny(name)
    K = [float(Run(recipe, 0, "cuda", data=data_of(recipe)).advance())]
    monkeypatch.undo()
    assert K == [float(Run(recipe, 0, "cpu", data=data_of(recipe)).advance())]


def test_the_command_line_on_a_gpu(gpu, tmp_path, capsys):
    """Train with its summary, evaluate, sample."""
    run, out = str(tmp_path / "run"), str(tmp_path / "x.safetensors")
    settings = [text for key, value in {**TINY, "knots": "2"}.items() for text in ("--set", f"{key}={value}")]
    assert cli.main(["train", "heartbeat", "--device", "cuda", "--out", run, *settings]) == 0
    assert json.loads(capsys.readouterr().out)["device"] == "a pretended GPU"
    assert (tmp_path / "run" / "summary.png").stat().st_size > 1000
    assert cli.main(["evaluate", run, "--device", "cuda", "--n", "50"]) == 0
    assert cli.main(["sample", run, "--device", "cuda", "--n", "5", "--out", out]) == 0


@pytest.mark.parametrize("name", ["digits", "heartbeat"])
def test_sampling_and_the_bound_wait_at_their_ends_only(name, gpu):
    recipe = tiny(name)
    data, model = data_of(recipe), Run(tiny(name), 0, "cuda", data=data_of(recipe)).averaged_model()
    generator = torch.Generator("cuda").manual_seed(0)
    x0 = data.held_out(3).to("cuda")
    with gpu.never_waiting():
        assert model.sample(3, generator).device == GPU
    gpu.waits.clear()
    bound.terms(model, x0, generator)
    assert sum(gpu.waits.values()) <= 1  # are the data finite, or bits?


@pytest.mark.parametrize("method", conditioning.METHODS)
@pytest.mark.parametrize("name", ["dead-leaves", "heartbeat", "swiss-roll"])
def test_inpainting_on_a_gpu(name, method, gpu):
    """What is known, and the mask, come from the CPU."""
    recipe = tiny(name)
    data = data_of(recipe)
    model = Run(recipe, 0, "cuda", data=data).averaged_model()
    x0, mask = data.held_out(2)[0], torch.arange(data.dim) % 2 == 0
    generator = torch.Generator("cuda").manual_seed(0)
    samples = inpainting.inpaint(model, x0, mask, method, n=4, generator=generator)
    assert samples.x.device == samples.log_weights.device == GPU
    assert inpainting.clamp(model, x0, mask, 4, generator).log_weights.device == GPU


# What it finds


def test_a_tensor_of_the_wrong_device_in_the_step_is_found(gpu):
    run = Run(tiny("digits"), 0, "cuda", data=some_images(tiny("digits")))
    run.advance()
    for slip, words in (
        (lambda x0: x0[:, 0] * torch.arange(len(x0)), r"aten.mul.Tensor: tensors on both devices: .*'cuda'.*'cpu'"),
        (lambda x0: torch.rand(2, generator=run.generator, device=x0.device), "rand: its generator is on cpu"),
        (lambda x0: float(x0.mean()), "the CPU would wait for the GPU: aten._local_scalar_dense"),
        (lambda x0: x0[x0 > 0], "the CPU would wait for the GPU: aten.index"),
        (lambda x0: x0 if x0.max() > 0 else -x0, "the CPU would wait for the GPU: aten._local_scalar_dense"),
        (lambda x0: x0 + torch.tensor(1.0, device=x0.device), "the CPU would wait for the GPU: tensor cuda"),
        (lambda x0: x0.cpu(), "the CPU would wait for the GPU: cpu cpu"),
        (lambda x0: x0.numpy(), "can't convert cuda:0"),
    ):
        hook = run.objective.register_forward_pre_hook(lambda _, given, slip=slip: slip(given[0]) and None)
        with pytest.raises((RuntimeError, TypeError), match=words), gpu.never_waiting():
            run.advance()
        hook.remove()
    with gpu.never_waiting():
        run.advance()


# Devices


def test_bf16_on_an_old_gpu_is_warned_of(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.warns(UserWarning, match="bf16 is slow on a pretended GPU, which imitates it; fp32 is faster"):
        Run(tiny("heartbeat", precision="bf16"), 0, "cuda")
    with warnings.catch_warnings(action="error"):
        Run(tiny("heartbeat"), 0, "cuda")


def test_a_gpu_evaluates_on_more_images(gpu, monkeypatch):
    asked, measure = [], image_evaluation.image_bounds
    monkeypatch.setattr(image_evaluation, "image_bounds", lambda *given: asked.append(given[2]) or measure(*given))
    run = Run(tiny("digits"), 0, "cuda", data=some_images(tiny("digits")))
    for model in (run.averaged_model(), run.averaged_model().to("cpu")):
        assert evaluate(model, run.data)["held_out"] == len(run.data.test)
    assert asked == [1_000_000_000 // (4 * 64), 20_000_000 // (4 * 64)]


@pytest.mark.parametrize("text", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"])
def test_memory_that_runs_out_in_a_library_is_known(text):
    assert devices.out_of_memory(RuntimeError(text)) and not devices.out_of_memory(RuntimeError("CUDA error: launch"))


def test_one_process_may_change_its_device(monkeypatch):
    """Accelerate alone would go on on the first one, in silence, or refuse."""
    run = Run(tiny("digits"), 0, "cpu", data=some_images(tiny("digits")))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            patch.setattr(torch.backends.cudnn, "benchmark", False)
            assert devices.accelerator_for("auto").device.type == "cuda"
            assert run.accelerator.device.type == "cuda" and run.device.type == "cpu"  # a run stays where it is
    finally:
        assert devices.accelerator_for("cpu").device.type == "cpu"


# The compiled step


@pytest.mark.parametrize("name", ["mnist-5k", "dead-leaves-paper"])
def test_the_step_is_one_graph_and_is_traced_once(name, monkeypatch):
    recipe = tiny(name)
    monkeypatch.setattr(build.image_datasets, "load", lambda *_: some_images(recipe))
    run = Run(recipe, 0, "cpu", data=some_images(recipe))
    torch._dynamo.reset()
    counters.clear()
    run.loss = torch.compile(run.objective, backend="eager", fullgraph=True)
    for _ in range(3):
        run.advance()
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"] and not counters["recompiles"]
    torch._dynamo.reset()
