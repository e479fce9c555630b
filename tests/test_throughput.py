"""What the benchmark of throughput counts, and which ceiling it names."""

import json

import pytest
import throughput
import torch
from pretend_gpu import PretendAccelerator, PretendGPU
from runs import quick
from test_image_recipes import little, some_images

from dpm_lib.core import results
from dpm_lib.training import build, catalogue
from dpm_lib.training import trainer as run_module
from dpm_lib.training.trainer import Run


def test_traffic_of_a_product_and_a_sum():
    """(2, 3) times (3, 5), float32, and one added to it: views cost nothing."""
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    with throughput.Traffic() as traffic:
        (a @ b).mT.add(1)
    assert traffic.products == 4 * (6 + 15 + 10) and traffic.eager == traffic.products + 4 * (10 + 10)


def test_work_of_a_step(monkeypatch):
    """Operations do not depend on precision, bytes do; and the least is less than what eager operations move."""
    with quick(monkeypatch):
        found = {}
        for precision in ("fp32", "bf16"):
            recipe = little("dead-leaves", side=8, precision=precision)
            found[precision] = throughput.counted(Run(recipe, 0, "cpu", data=some_images(recipe)))
    full, half = found["fp32"], found["bf16"]
    assert full["flops"] == half["flops"] > 0
    assert half["least_bytes"] < full["least_bytes"] < full["eager_bytes"]


@pytest.mark.parametrize(
    ("seconds", "variant", "binds"),
    [
        (2.5, "plain", "bandwidth"),  # 2 s of eager bytes, 1 s of operations in fp32
        (1.2, "library-compiled", "arithmetic"),  # 0.5 s of least bytes
        (0.6, "library-both", "bandwidth"),  # 0.25 s of operations in bf16
        (50.0, "library", "neither is near (bandwidth would be next)"),
    ],
)
def test_what_binds(seconds, variant, binds):
    card = {"fp32_flops_per_second": 100.0, "bf16_flops_per_second": 400.0, "bytes_per_second": 10.0}
    work = {"flops": 100, "least_bytes": 5, "eager_bytes": 20}
    assert throughput.what_binds(seconds, work, variant, card)["binds"] == binds


def test_a_variant_that_fails_does_not_stop_the_others(monkeypatch):
    monkeypatch.setattr(throughput, "SECONDS", 0.01)
    taken, said = throughput.seconds_a_step({"good": lambda: 1, "bad": lambda: 1 / 0}, torch.device("cpu"))
    assert len(taken["good"]) == throughput.ROUNDS and "bad" not in taken
    assert said == {"bad": "failed: ZeroDivisionError: division by zero"}


def test_the_record_of_a_gpu(tmp_path, monkeypatch, capsys):
    """On a pretended one, whose ceilings are pretended too."""
    recipe, card = little("textures", side=8), {"bytes_per_second": 1e9}
    card |= {f"{kind}_flops_per_second": 1e12 for kind in ("fp32", "fp32_without_tf32", "bf16")}
    monkeypatch.setattr(run_module, "accelerator_for", lambda device: PretendAccelerator())
    for module, name, ours in (
        (run_module, "load_data", some_images), (build, "load_data", some_images),
        (catalogue, "RECIPES", {**catalogue.RECIPES, recipe.name: recipe}), (build.image_datasets, "load", None),
        (torch, "compile", lambda function: function),
        (throughput, "wait", lambda device: None), (throughput, "ceilings", lambda device: card),
        (throughput, "SECONDS", 0.01), (throughput, "ROUNDS", 1), (results, "folder", lambda: tmp_path),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, ours)
    with quick(monkeypatch), PretendGPU():
        throughput.main(["textures", "lr=0.01"])
    record = json.loads((tmp_path / "throughput-textures-cuda.json").read_text())
    assert set(record["rows"]) == {*throughput.VARIANTS, "plain"} and record["device"] == "a pretended GPU"
    assert all(row["rows_per_second"] > 0 and row["binds"] for row in record["rows"].values())
    assert record["settings"]["lr"] == 0.01
    assert capsys.readouterr().out.count("x plain") == 5
