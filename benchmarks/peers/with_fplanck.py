"""fplanck: the Ornstein-Uhlenbeck equation on a line of cells, by its matrix and SciPy's expm_multiply."""

import time

import fplanck
import numpy as np
from answering import serve
from scipy.constants import k


def answer(request):
    reach, start = request["reach"], np.array(request["start"])
    width = 2 * reach / len(start)
    begun = time.process_time()
    system = fplanck.fokker_planck(
        temperature=1 / k,
        drag=1.0,
        extent=2 * reach,
        resolution=width,
        boundary=fplanck.boundary.reflecting,
        potential=lambda x: 0.5 * x * x,
    )
    place = np.asarray(system.grid[0]).ravel()
    p = system.propagate(
        lambda x: np.interp(x, np.linspace(-reach + width / 2, reach - width / 2, len(start)), start), request["T"]
    )
    spent = time.process_time() - begun
    assert len(place) == len(start) and abs(place[0] + reach - width / 2) < 1e-9 * reach, place[:2]
    return {"p": (np.asarray(p).ravel() / width).tolist(), "seconds": spent}


serve(answer, "fplanck", "numpy", "scipy")
