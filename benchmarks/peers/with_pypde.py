"""py-pde: the Ornstein-Uhlenbeck equation on a line of cells, by its own steppers or SciPy's."""

import functools
import time
import warnings

import pde
from answering import serve

warnings.filterwarnings("ignore", category=UserWarning, module="pde")


@functools.cache
def equation(reach):
    # outward slope + x p = 0: no current. (A zero slope of p, "derivative": 0, is no wall where there is a drift.)
    wall = {"type": "mixed", "value": reach, "const": 0}
    return pde.PDE({"p": "d_dx(x * p) + laplace(p)"}, bc=wall)


def answer(request):
    reach, start = request["reach"], request["start"]
    field = pde.ScalarField(pde.CartesianGrid([[-reach, reach]], len(start)), start)
    begun = time.process_time()
    p = equation(reach).solve(field, t_range=request["T"], tracker=None, **request["settings"]).data
    return {"p": p.tolist(), "seconds": time.process_time() - begun}


serve(answer, "py-pde", "numpy", "scipy", "numba")
