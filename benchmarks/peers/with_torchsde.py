"""torchsde: sinh(W) by one of its schemes for Ito's sense, and its error on its own path."""

import time

import torch
import torchsde
from answering import serve


class Sinh(torch.nn.Module):
    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, x):
        return 0.5 * x

    def g(self, t, x):
        return (1 + x.square()).sqrt()


def answer(request):
    torch.manual_seed(request["seed"])
    n, steps = request["paths"], request["steps"]
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    area = "space-time" if request["scheme"] == "srk" else "none"
    path = torchsde.BrownianInterval(0.0, 1.0, size=(n, 1), dtype=torch.float64, levy_area_approximation=area)
    x0 = torch.zeros(n, 1, dtype=torch.float64)
    start = time.process_time()
    with torch.no_grad():
        x = torchsde.sdeint(Sinh(), x0, times[[0, -1]], bm=path, method=request["scheme"], dt=1 / steps)[-1]
    spent = time.process_time() - start
    off = (x - path(0.0, 1.0).sinh()).abs()
    return {"error": float(off.mean()), "stderr": float(off.std()) / n**0.5, "seconds": spent}


torch.set_num_threads(1)
serve(answer, "torchsde", "torch")
