"""FiPy: the Ornstein-Uhlenbeck equation on a line of cells, by implicit steps with its exponential scheme."""

import os
import time

os.environ["FIPY_SOLVERS"] = "scipy"

import numpy as np
from answering import serve
from fipy import CellVariable, DiffusionTerm, ExponentialConvectionTerm, Grid1D, TransientTerm


def answer(request):
    reach, start, steps = request["reach"], np.array(request["start"]), request["settings"]["steps"]
    mesh = Grid1D(nx=len(start), Lx=2 * reach)
    mesh = mesh + [[-reach]]  # noqa: RUF005 (it moves the mesh)
    p = CellVariable(mesh=mesh, value=start)
    begun = time.process_time()
    equation = TransientTerm() == DiffusionTerm(coeff=1.0) + ExponentialConvectionTerm(coeff=mesh.faceCenters)
    for _ in range(steps):
        equation.solve(var=p, dt=request["T"] / steps)
    return {"p": p.value.tolist(), "seconds": time.process_time() - begun}


serve(answer, "fipy", "numpy", "scipy")
