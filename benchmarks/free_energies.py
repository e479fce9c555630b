"""Jarzynski's estimate, two bounds and Bennett's ratio beside pymbar, on a real molecule. Writes free-energies.json.

    python benchmarks/free_energies.py

The data are alchemtest's simulations of benzene in water (CC0; GROMACS, 300 K): 4 steps that take away its charges and
15 that take away the rest of it, each with samples at both ends, thinned by pymbar until they pass for independent. A
work is the reduced energy that a sample would gain at the other end, so exp(-work) is an importance weight, and the
difference of free energies is -log Z, in units of kT. Both libraries get the same works. The record keeps those from
end to end of the first leg, which chapter 3 shows: at most 400 of each direction, to four decimals.
"""

from typing import Any

import common
import peer
import torch

from dpm_lib.montecarlo import bennett
from dpm_lib.probability.weighted_samples import WeightedSamples

KEPT = 400


def weights(work: list[float]) -> WeightedSamples:
    log_w = -torch.tensor(work, dtype=torch.float64)
    return WeightedSamples(log_w.unsqueeze(-1), log_w)


def ours(found: dict[str, Any]) -> dict[str, list[float]]:
    """The differences of free energies, kT, each with its standard error, and the two bounds."""
    up, down = weights(found["forward"]), weights(found["reverse"])
    log_z, error = bennett(up, down)
    return {
        "bar": [-log_z, error],
        "exp": [-float(up.log_z), float(up.log_z_stderr)],
        "exp_reverse": [float(down.log_z), float(down.log_z_stderr)],
        "between": [float(down.elbo), -float(up.elbo)],
    }


def main() -> None:
    try:
        with peer.Peer("pymbar") as other:
            legs = {leg: measured(other, leg) for leg in ("Coulomb", "VDW")}
            versions = other.versions
            first = legs["Coulomb"]["steps"]
            whole = other.ask(leg="Coulomb", **{"from": 0, "to": first})[0]
    except peer.Missing as missing:
        print(f"skipped: {missing}")
        return
    record: dict[str, Any] = {"legs": legs}
    for way in ("forward", "reverse"):
        whole[way] = [round(work, 4) for work in whole[way][:: max(1, -(-len(whole[way]) // KEPT))]]
    record["end_to_end"] = {"forward": whole["forward"], "reverse": whole["reverse"], "ours": ours(whole)}
    common.write("free-energies", record, "python benchmarks/free_energies.py", **versions)
    print({name: leg["largest_difference"] for name, leg in legs.items()})


def measured(other: peer.Peer, leg: str) -> dict[str, Any]:
    """Both libraries on all steps of a leg: sums, and by how much they differ at most."""
    steps = other.ask(leg=leg, **{"from": 0, "to": None})[0] - 1
    rows = []
    for k in range(steps):
        theirs = other.ask(leg=leg, **{"from": k, "to": k + 1})[0]
        mine = ours(theirs)
        rows.append({"n": len(theirs["forward"]), "ours": mine, "theirs": {key: theirs[key] for key in ESTIMATES}})
    apart = {
        key: [max(abs(row["ours"][key][i] - row["theirs"][key][i]) for row in rows) for i in range(2)]
        for key in ESTIMATES
    }
    return {
        "steps": steps,
        "bar": [sum(row["ours"]["bar"][0] for row in rows), sum(row["ours"]["bar"][1] ** 2 for row in rows) ** 0.5],
        "largest_difference": apart,
        "rows": rows,
    }


ESTIMATES = ("bar", "exp", "exp_reverse")

if __name__ == "__main__":
    main()
