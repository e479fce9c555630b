"""smalldiffusion: its network for points in the plane and its training loop on the book's roll; K and samples of it.

dpm_lib can be imported here too: it gives the data, and reads the trained network by ``from_denoiser``.
"""

# ruff: noqa: E402
import sys
import time
from unittest import mock

# The package imports torchvision's transforms for its pictures. PyPI's torchvision does not load beside a CPU build of
# PyTorch, and points need none of it.
sys.modules["torchvision"] = mock.MagicMock()

import torch
from accelerate import Accelerator
from answering import serve
from smalldiffusion import ScheduleLogLinear, TimeInputMLP, samples, training_loop
from torch.utils.data import DataLoader

from dpm_lib.core.random import seeded
from dpm_lib.data import load
from dpm_lib.interop import from_denoiser

torch.set_num_threads(1)
NETWORK = (16, 128, 256, 128, 16)  # its default
LEVELS = {"N": 200, "sigma_min": 0.005, "sigma_max": 10}  # those of its own example on a roll


def answer(request):
    torch.manual_seed(request["seed"])
    accelerator, data = Accelerator(cpu=True), load("swiss-roll")
    points = data.batch(request["points"], seeded(request["seed"])).float()
    network, schedule = TimeInputMLP(hidden_dims=NETWORK), ScheduleLogLinear(**LEVELS)
    loader = DataLoader(points, batch_size=2048, shuffle=True)
    start, steps = time.process_time(), 0
    for _ in training_loop(loader, network, schedule, accelerator, epochs=10**9, lr=request["lr"]):
        steps += 1
        if time.process_time() - start > request["seconds"]:
            break
    network.eval()
    guess = lambda z, sigma: z - sigma.view(-1, 1) * network.predict_eps(z, sigma.view(-1, 1))  # noqa: E731
    found = {"steps": steps, "parameters": sum(p.numel() for p in network.parameters()), "bound": {}}
    x0 = torch.tensor(request["held_out"], dtype=torch.float64)
    for variance in ("fixed_small", "fixed_large"):
        model = from_denoiser(guess, 2 * schedule.sigmas.double().log(), 2, variance=variance)
        found["bound"][variance] = model.trajectory_weights(x0, 1, seeded(1)).elbo.tolist()
    for calls in (20, 100):
        *_, last = samples(network, schedule.sample_sigmas(calls), 1.0, 0.5, batchsize=len(x0), accelerator=accelerator)
        found[f"samples, {calls} calls"] = last.tolist()
    return found


serve(answer, "smalldiffusion", "torch")
