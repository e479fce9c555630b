"""Files of a run: whole or refused with their name, never half-written, never unpickled."""

import errno
import math
import os
import pickle

import pytest
import torch
from problems import randn, rng, tiny_recipe
from safetensors.torch import save_file

from dpm_lib.core import files
from dpm_lib.core.files import (
    BrokenFile,
    load_json,
    load_lines,
    load_tensors,
    save_json,
    save_tensors,
    write_atomically,
)
from dpm_lib.training.build import build
from dpm_lib.training.catalogue import get
from dpm_lib.training.checkpoints import load_model, load_state, save_model

RECIPE = get("swiss-roll").override(width=8, depth=1, frequencies=2, T=5)


def trained():
    """A model whose every weight is off its start."""
    model = build(RECIPE)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * randn(*parameter.shape, seed=i))
    return model


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_model_comes_back_as_it_was(tmp_path):
    model = trained()
    save_model(tmp_path / "model.safetensors", model, RECIPE, seed=3)
    again, recipe = load_model(str(tmp_path / "model.safetensors"))
    assert recipe == RECIPE and names(tmp_path) == ["model.safetensors"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]) and value.dtype == again.state_dict()[name].dtype
    assert torch.equal(model.sample(9, rng()), again.sample(9, rng()))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_tensors_and_record_come_back(tmp_path):
    tensors = {"a": randn(3, 2).T, "b": torch.arange(4), "c": torch.tensor(0.5)}  # a is not contiguous
    record = {"text": "β", "list": [1, 2.5, None], "value": 0.1 + 0.2}
    save_tensors(tmp_path / "x.safetensors", tensors, record)
    again, same = load_tensors(tmp_path / "x.safetensors")
    assert same == record and set(again) == set(tensors)
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)


def test_json_comes_back(tmp_path):
    save_json(tmp_path / "x.json", {"a": [1, 2], "b": "β"})
    assert load_json(tmp_path / "x.json") == {"a": [1, 2], "b": "β"}


def test_lines_leave_out_one_that_was_cut_short(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert load_lines(tmp_path / "x.jsonl") == [{"step": 1}, {"step": 2}]
    assert load_lines(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, call):
    """The disk is full, or the rename is refused: the old content stays, and nothing is left beside it."""
    path = tmp_path / "model.safetensors"
    save_model(path, build(RECIPE), RECIPE)
    old = path.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, trained(), RECIPE)
    monkeypatch.undo()
    assert path.read_bytes() == old and names(tmp_path) == ["model.safetensors"]
    save_model(path, trained(), RECIPE)
    assert path.read_bytes() != old


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path, monkeypatch):
    """At the moment of the rename the new content is complete beside the old, and flushed to disk."""
    path, seen = tmp_path / "x.json", []
    path.write_text("old")
    synced, rename = [], os.replace

    def watched(source, target):
        seen.append((path.read_text(), open(source).read(), bool(synced)))
        rename(source, target)

    monkeypatch.setattr(files.os, "fsync", lambda fd: synced.append(fd))
    monkeypatch.setattr(files.os, "replace", watched)
    write_atomically(path, b"new")
    assert seen == [("old", "new", True)] and path.read_text() == "new" and names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_a_truncated_model_is_refused(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    save_model(path, build(RECIPE), RECIPE)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(BrokenFile, match=r"model\.safetensors: not a whole safetensors file"):
        load_model(path)


class Bomb:
    def __reduce__(self):
        return os.abort, ()


@pytest.mark.parametrize("write", [pickle.dump, lambda content, file: torch.save(content, file)])
def test_nothing_is_unpickled(tmp_path, write):
    """A pickle that would end this process is refused as a file of another kind."""
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        write({"weights": Bomb()}, file)
    for load in (load_model, load_tensors):
        with pytest.raises(BrokenFile, match=r"model\.safetensors: not a whole safetensors file"):
            load(path)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(BrokenFile, match=r"none\.safetensors: no such file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(BrokenFile, match=str(tmp_path)):
        load_tensors(tmp_path)
    save_file({"x": torch.zeros(2)}, tmp_path / "theirs.safetensors")
    with pytest.raises(BrokenFile, match=r"theirs\.safetensors: not a whole safetensors file of ours"):
        load_tensors(tmp_path / "theirs.safetensors")
    for record in ("[1]", "{nonsense"):
        save_file({"x": torch.zeros(2)}, tmp_path / "odd.safetensors", metadata={"record": record})
        with pytest.raises(BrokenFile, match=r"odd\.safetensors: "):
            load_tensors(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "recipe"),
        ({"recipe": 5}, "not iterable"),
        ({"recipe": {**RECIPE.to_dict(), "colour": 1}}, "recipe: unknown fields colour"),
        ({"recipe": {"name": "a"}}, "recipe: missing fields about"),
        ({"recipe": {**RECIPE.to_dict(), "T": -3}}, "T: -3 is less than 2"),
        ({"recipe": {**RECIPE.to_dict(), "beta_1": 0.999}}, "tau_T: "),
    ],
)
def test_a_broken_recipe_inside_a_model_is_refused(tmp_path, record, message):
    path = tmp_path / "model.safetensors"
    save_tensors(path, build(RECIPE).state_dict(), record)
    with pytest.raises(BrokenFile, match=rf"model\.safetensors: .*{message}"):
        load_model(path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path, tensors = tmp_path / "model.safetensors", build(RECIPE).state_dict()
    first = next(name for name in tensors if name.endswith("weight"))
    cases = {
        f"{first} holds NaN": tensors | {first: torch.full_like(tensors[first], math.nan)},
        "Missing key": {name: value for name, value in tensors.items() if name != first},
        "Unexpected key": tensors | {"extra": torch.zeros(2)},
        "size mismatch": tensors | {first: torch.zeros(3, 3)},
    }
    for message, content in cases.items():
        save_tensors(path, content, {"recipe": RECIPE.to_dict()})
        with pytest.raises(BrokenFile, match=rf"model\.safetensors: .*{message}") as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


def test_one_nan_among_many_is_found(tmp_path):
    layer = torch.nn.Linear(50, 50)
    weight = layer.weight.detach().clone()
    weight[37, 11] = math.nan
    with pytest.raises(BrokenFile, match=r"f: weight holds NaN"):
        load_state(layer, {"weight": weight, "bias": layer.bias.detach()}, tmp_path.with_name("f"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read as JSON"), (b'{"a": 1', "cannot be read as JSON"), (b"[1, 2]", "holds no JSON object"),
     (b"\xff\xfe\x00", "cannot be read as JSON")],
)  # fmt: skip
def test_broken_json_is_refused(tmp_path, content, message):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BrokenFile, match=rf"x\.json: {message}"):
        load_json(tmp_path / "x.json")


def test_json_that_is_not_there(tmp_path):
    with pytest.raises(BrokenFile, match=r"x\.json: no such file"):
        load_json(tmp_path / "x.json")
    with pytest.raises(BrokenFile, match=str(tmp_path)):
        load_json(tmp_path)


def test_a_model_of_another_dimension_comes_back(tmp_path):
    recipe = tiny_recipe()
    model = build(recipe, dim=3)
    save_model(tmp_path / "model.safetensors", model, recipe)
    again, _ = load_model(tmp_path / "model.safetensors")
    assert again.kernel.dim == 3
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
