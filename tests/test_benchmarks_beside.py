"""The benchmarks beside other libraries run to their end, with a moment's work and peers that are pretended here."""

import annealing
import chains_beside
import fokker_planck
import free_energies
import models_beside
import numpy as np
import peer
import pytest
import sde_beside
import torch
from test_benchmarks import MEASURED, keys, run
from test_image_recipes import little

from dpm_lib.core import results
from dpm_lib.core.files import load_json
from dpm_lib.core.random import normal, seeded
from dpm_lib.markov import markov_chains
from dpm_lib.training import catalogue


class Pretended:
    """A peer whose answers are given by ``ANSWERS``."""

    def __init__(self, name):
        if name not in ANSWERS:
            raise peer.Missing(f"{name}: not pretended")
        self.name, self.versions = name, {name: "0"}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, **request):
        return ANSWERS[self.name](request), 0.01


def scheme(request):
    return {"error": 0.3 / request["steps"], "stderr": 0.001, "seconds": 0.01}


def density(request):
    return {"p": request["start"], "seconds": 0.01}


def tempered(request):
    if "points" in request:
        target = next(t for t in annealing.TARGETS.values() if type(t).__name__ == request["target"])
        return target.log_prob(torch.tensor(request["points"], dtype=torch.float64)).tolist()
    return [[0.1 * (-1) ** seed, 2 * request["n"]] for seed in request["seeds"]]


def works(request):
    if request["to"] is None:
        return 3
    up = 1.0 + normal((50,), seeded(request["from"])).double()
    found = {"forward": up.tolist(), "reverse": (-up).tolist()}
    return found | {key: free_energies.ours(found)[key] for key in free_energies.ESTIMATES}


def law(request):
    if "N" in request:
        return [[0.5, 0.5, 0.0], [request["epsilon"], 0.5, 0.5 - request["epsilon"]], [0.0, 0.5, 0.5]]
    if "urns" in request:
        return [[0.5, 0.5], [0.25, 0.75]]
    P = np.array(request["P"])
    values, vectors = np.linalg.eig(P.T)
    pi = np.real(vectors[:, values.real.argmax()])
    return {"law": (pi / pi.sum()).tolist(), "seconds": 0.01, "gap": markov_chains.spectral_gap(P)}


def roll(request):
    """The better, the larger the rate."""
    elbo = [-10 - 1e-3 / request["lr"]] * len(request["held_out"])
    bound = {"fixed_small": [value - 5 for value in elbo], "fixed_large": elbo}
    return {"bound": bound, "steps": 3, "parameters": 5, "samples, 100 calls": request["held_out"]}


def digits(request):
    bits = 3 + request["lr"]  # the better, the smaller the rate
    return {"bits": {"fixed_small": [bits + 1, 0.1], "fixed_large": [bits, 0.1]}, "steps": 3, "parameters": 5}


ANSWERS = {
    "smalldiffusion": roll,
    "ddpm_pytorch": digits,
    **dict.fromkeys(("torchsde", "diffrax"), scheme),
    **dict.fromkeys(("pypde", "fplanck", "fipy"), density),
    **dict.fromkeys(("particles", "blackjax", "pymc"), tempered),
    "pymbar": works,
    **dict.fromkeys(("quantecon", "pydtmc"), law),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    monkeypatch.setattr(peer, "Peer", Pretended)
    return tmp_path


def small(monkeypatch, script, **settings):
    for name, value in settings.items():
        monkeypatch.setattr(script, name, value)


def same_form(place, name):
    """The record, of which nothing is missing that the measured one has, but for the versions of peers."""
    found, measured = load_json(place / f"{name}.json"), load_json(MEASURED / f"{name}.json")
    apart = ("provenance/", "versions/", "10-D")  # versions are of what was asked, and one target is enough here
    missing = {key for key in keys(measured) - keys(found) if not any(part in key for part in apart)}
    assert not missing and found["provenance"]["command"].startswith("python ")
    return found


def test_schemes(place, monkeypatch):
    small(monkeypatch, sde_beside, PATHS=200, STEPS=(2, 4), TURNS=1, EPSILON=0.3)
    run(monkeypatch, sde_beside)
    row = same_form(place, "sde-beside")["theirs"]["torchsde"]["euler"]
    assert row["slope"] == pytest.approx(-1) and row["error"] <= 0.3 and row["ratio"] > 0


def test_fokker_planck(place, monkeypatch):
    measured = load_json(MEASURED / "fokker-planck.json")
    small(monkeypatch, fokker_planck, ROUNDS=1, TURN=0.0, SIZES=(60, 120, 240), apart=measured["scaling"].get)
    run(monkeypatch, fokker_planck)
    found = same_form(place, "fokker-planck")
    assert found["ours"]["tr-bdf2, 25 steps"]["l1_error"] < 1e-4 < found["fplanck"]["expm_multiply"]["l1_error"]
    assert found["cells"]["slope"]["pypde"] == 0.0  # it is told to take as long for any number of cells


def test_annealing(place, monkeypatch):
    one = {"2-D mixture": annealing.TARGETS["2-D mixture"]}
    small(monkeypatch, annealing, BUDGET=400, TARGETS=one, speed=lambda target: 1.0)
    monkeypatch.setattr(annealing.sys, "argv", ["annealing"])
    annealing.main(4)
    rows = same_form(place, "annealing")["problems"]["2-D mixture"]["rows"]
    assert rows["particles"]["rmse"] == 0.1 and rows["AIS"]["beside"]["pymc"]["ratio"] > 0


def test_free_energies(place, monkeypatch):
    run(monkeypatch, free_energies)
    found = same_form(place, "free-energies")
    assert found["legs"]["Coulomb"]["largest_difference"]["bar"] == [0.0, 0.0]
    low, high = found["end_to_end"]["ours"]["between"]
    assert low <= high


def test_chains(place, monkeypatch):
    small(monkeypatch, chains_beside, TURNS=1, SHORT=1e-4)
    run(monkeypatch, chains_beside)
    rows = load_json(place / "chains-beside.json")["matrices"]
    assert all(row["ours"]["worst"] < 1e-14 and row["pydtmc"]["worst"] < 1e-7 for row in rows.values())


def test_models(place, monkeypatch):
    """Each peer gets the seconds that ours took, at its best rate, and the better of its variances counts."""
    tiny = {
        "swiss-roll": catalogue.get("swiss-roll").override(steps=3, batch=16, width=8, T=6),
        "digits": little("digits"),
    }
    monkeypatch.setattr(catalogue, "RECIPES", catalogue.RECIPES | tiny)
    small(monkeypatch, models_beside, POINTS=40, PICTURES=4, CALLS=2)
    for part in ("roll", "digits"):
        models_beside.job(part, getattr(models_beside, part))
    found = same_form(place, "models-beside")
    theirs = found["roll"]["smalldiffusion"]
    assert theirs["rate"] == max(models_beside.RATES) and theirs["variance"] == "fixed_large"
    assert theirs["cpu_seconds"] == found["roll"]["ours"]["cpu_seconds"]
    bits = found["digits"]["denoising-diffusion-pytorch"]["bits_per_dimension"]
    assert bits == [3 + min(models_beside.RATES), 0.1]


def test_the_law_in_fractions_is_exact():
    P = np.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(chains_beside.exact(P), np.array([2.0, 4.0, 1.0]) / 7)


@pytest.mark.parametrize("script", [chains_beside, free_energies])
def test_a_peer_that_cannot_be_had_is_skipped_with_a_word(script, place, monkeypatch, capsys):
    monkeypatch.setattr(peer, "Peer", lambda name: (_ for _ in ()).throw(peer.Missing(f"{name}: no network")))
    run(monkeypatch, script)
    assert "no network" in capsys.readouterr().out
