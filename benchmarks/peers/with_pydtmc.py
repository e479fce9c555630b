"""PyDTMC: the matrix of one of its own models, and its stationary law and spectral gap of a matrix."""

import time

import numpy as np
import pydtmc
from answering import serve


def answer(request):
    if "urns" in request:
        return pydtmc.MarkovChain.urn_model("bernoulli-laplace", request["urns"]).p.tolist()
    P, start = np.array(request["P"]), time.process_time()
    for _ in range(request["times"]):
        law = pydtmc.MarkovChain(P).pi[0]
    spent = (time.process_time() - start) / request["times"]
    return {"law": np.asarray(law).tolist(), "seconds": spent, "gap": pydtmc.MarkovChain(P).spectral_gap}


serve(answer, "pydtmc", "numpy", "scipy")
