#!/bin/sh
# PyDTMC: the spectral gap of an ergodic chain that changes sides once in half a million steps.
#
# Guess, written down before: 2e-6, to ten digits; no trouble before the gap comes near rounding, 1e-15.
#
# Seen (8.7.0): 0.5, the gap of the third eigenvalue. Eigenvalues that numpy.isclose takes for 1, from 0.99999 on, are left
# out before the second largest is looked for, so that the slow one is lost with the 1 of the stationary law. The chain
# is called ergodic, and implied_timescales, which does not leave it out, has the right 500,000 steps beside a gap of 0.5.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check PyDTMC==8.7.0 2>"$folder/said" || {
  cat "$folder/said"
  exit 1
}
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version

import numpy as np
import pydtmc

assert version("PyDTMC") == "8.7.0"
for c, seen in ((1e-3, 2e-3), (1e-5, 2e-5), (1e-6, 0.5)):
    P = np.array([[0.75 - c, 0.25, c, 0.0], [0.25, 0.75 - c, 0.0, c], [c, 0.0, 0.75 - c, 0.25], [0.0, c, 0.25, 0.75 - c]])
    chain = pydtmc.MarkovChain(P)
    true = 1 - np.sort(np.linalg.eigvalsh(P))[-2]
    print(f"c = {c:g}: ergodic {chain.is_ergodic}, gap {chain.spectral_gap:.3g}, true {true:.3g}")
    slowest = chain.implied_timescales[1]
    print(f"    slowest timescale {slowest:.4g} steps")
    assert chain.is_ergodic and abs(slowest * 2 * c - 1) < 2e-3 and abs(chain.spectral_gap / seen - 1) < 1e-3 and abs(true / (2 * c) - 1) < 1e-3
PY
