"""pymbar: estimates of free energies from alchemtest's data on benzene in water (CC0), and the works themselves."""

import functools

import numpy as np
from alchemlyb.parsing.gmx import extract_u_nk
from alchemtest.gmx import load_benzene
from answering import serve
from pymbar import bar, exp, timeseries


@functools.cache
def windows(leg):
    """For each state of the leg the reduced energies (samples, states) of independent samples, and their number."""
    found = []
    for path in load_benzene().data[leg]:
        table = extract_u_nk(path, T=300)
        energies = table.to_numpy()
        state = float(table.index.get_level_values("fep-lambda")[0])
        own = [float(c) for c in table.columns].index(state)
        other = own + 1 if own + 1 < energies.shape[1] else own - 1
        keep = timeseries.subsample_correlated_data(energies[:, other] - energies[:, own])
        found.append((own, energies[keep]))
    return [energies for _, energies in sorted(found, key=lambda pair: pair[0])]


def answer(request):
    """Works between two states of a leg, forward and in reverse, and what pymbar makes of them."""
    states, a, b = windows(request["leg"]), request["from"], request["to"]
    if b is None:
        return len(states)
    forward, reverse = states[a][:, b] - states[a][:, a], states[b][:, a] - states[b][:, b]
    found = bar(forward, reverse)
    up, down = exp(forward), exp(reverse)
    return {
        "forward": np.asarray(forward).tolist(),
        "reverse": np.asarray(reverse).tolist(),
        "bar": [float(found["Delta_f"]), float(found["dDelta_f"])],
        "exp": [float(up["Delta_f"]), float(up["dDelta_f"])],
        "exp_reverse": [-float(down["Delta_f"]), float(down["dDelta_f"])],
    }


serve(answer, "pymbar", "alchemtest", "alchemlyb")
