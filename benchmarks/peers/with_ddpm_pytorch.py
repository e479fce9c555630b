"""denoising-diffusion-pytorch: its U-Net and loss on the book's digits; bits of held-out digits.

dpm_lib can be imported here too: it gives the data, and reads the trained network by ``from_denoiser``.
"""

# ruff: noqa: E402
import sys
import time
from unittest import mock

# PyPI's torchvision does not load beside a CPU build of PyTorch; the package needs it for files of pictures alone.
for name in ("torchvision", "torchvision.transforms", "torchvision.utils", "torchvision.datasets", "pytorch_fid"):
    sys.modules[name] = mock.MagicMock()
sys.modules["pytorch_fid.inception"] = sys.modules["pytorch_fid.fid_score"] = mock.MagicMock()

import torch
from answering import serve
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from ema_pytorch import EMA

from dpm_lib.data import load
from dpm_lib.interop import from_denoiser
from dpm_lib.training.bits import BitsRun

torch.set_num_threads(1)
T, BATCH, CALLS = 1000, 128, 100


def answer(request):
    torch.manual_seed(request["seed"])
    images = load("digits")
    clean = (images.train.float() / 16).reshape(-1, 1, 8, 8)
    network = Unet(dim=16, dim_mults=(1, 2), channels=1, flash_attn=False)
    diffusion = GaussianDiffusion(network, image_size=8, timesteps=T)
    optimiser = torch.optim.Adam(diffusion.parameters(), request["lr"], betas=(0.9, 0.99))  # those of its Trainer
    average = EMA(diffusion, beta=0.995, update_every=10)
    start, steps = time.process_time(), 0
    while time.process_time() - start < request["seconds"]:
        loss = diffusion(clean[torch.randint(len(clean), (BATCH,))])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimiser.step()
        average.update()
        steps += 1
    best = average.ema_model.eval()
    log_tau = (1 / best.alphas_cumprod.double() - 1).log()
    guess = lambda x, t: best.model_predictions(x, t - 1, clip_x_start=False).pred_x_start  # noqa: E731
    found = {"steps": steps, "parameters": sum(p.numel() for p in network.parameters()), "bits": {}}
    for variance in ("fixed_small", "fixed_large"):
        shape = (1, 8, 8)
        model = from_denoiser(
            guess, log_tau, shape, picture="variance-preserving", variance=variance, last="levels", count=images.levels
        )
        run = BitsRun(model, images.test[: request["pictures"]], {**images.record(), **model.data_set}, CALLS, seed=1)
        report = run.report([run.measure(number) for number in run.parts])
        found["bits"][variance] = [report["bits_per_dimension"], report["bits_per_dimension_stderr"]]
    return found


serve(answer, "denoising-diffusion-pytorch", "torch")
