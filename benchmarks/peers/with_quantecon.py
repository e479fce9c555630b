"""QuantEcon.py: the matrix that its tests of stationary laws are made of, and its own stationary law of a matrix."""

import time

import numpy as np
import quantecon
from answering import serve
from quantecon.markov.tests.test_gth_solve import KMR_Markov_matrix_sequential


def answer(request):
    if "N" in request:
        return KMR_Markov_matrix_sequential(request["N"], request["p"], request["epsilon"]).tolist()
    P, start = np.array(request["P"]), time.process_time()
    for _ in range(request["times"]):
        law = quantecon.MarkovChain(P).stationary_distributions[0]
    return {"law": law.tolist(), "seconds": (time.process_time() - start) / request["times"]}


serve(answer, "quantecon", "numpy", "numba")
