"""Training: it climbs, it resumes bit for bit, and it fails cleanly."""

import json
import math

import pytest
import runs
import torch
from problems import blob_data, close, rng, tiny_recipe
from runs import interrupt_at, lines, same_runs, train

from dpm_lib.core.files import BrokenFile, load_lines, load_tensors
from dpm_lib.diffusion import bound
from dpm_lib.training.checkpoints import load_model
from dpm_lib.training.objective import draw_batch, learning_rate
from dpm_lib.training.trainer import Run


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    with runs.quick(monkeypatch):
        yield


# The loop


def test_every_batch_holds_every_time_evenly():
    data = blob_data()
    for T, batch in ((5, 32), (40, 64), (7, 6), (100, 1024)):
        recipe = tiny_recipe(T=T, batch=batch)
        for seed in range(20):
            x0, t, noise = draw_batch(data, recipe, rng(seed))
            assert x0.shape == noise.shape == (batch, 2) and t.shape == (batch,)
            counts = torch.bincount(t, minlength=T + 1)
            assert counts[:2].sum() == 0 and len(counts) == T + 1
            assert counts[2:].min() >= batch // (T - 1) and counts[2:].max() <= -(-batch // (T - 1))


def test_no_time_is_favoured():
    """Where the batch is no multiple of T - 1, the surplus moves around."""
    recipe, generator = tiny_recipe(T=7, batch=8), rng()
    counts = torch.stack(
        [torch.bincount(draw_batch(blob_data(), recipe, generator)[1], minlength=8) for _ in range(2000)]
    )
    share = counts[:, 2:].double()
    assert bool(((share.mean(0) - 8 / 6).abs() < 4 * share.std(0) / math.sqrt(2000)).all())


def test_learning_rate_warms_up_and_ends_at_zero():
    recipe = tiny_recipe(steps=1000, lr=0.01)
    close(learning_rate(recipe, 0), 0.01 / 100)
    close(learning_rate(recipe, 49), 0.01 * 0.5 * 0.5 * (1 + math.cos(math.pi * 0.049)))
    close(learning_rate(recipe, 500), 0.01 / 2)
    assert learning_rate(recipe, 999) < 1e-7
    rates = [learning_rate(recipe, step) for step in range(100, 1000)]
    assert rates == sorted(rates, reverse=True)


def test_one_step_is_adam_on_the_bound():
    """The first step of Adam moves each weight by the learning rate against the sign of its gradient."""
    run = Run(tiny_recipe(), 0, "cpu", data=blob_data())
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    batch = draw_batch(run.data, run.recipe, rng(0))
    K = bound.estimate(run.model, *batch).mean()
    gradients = dict(zip(before, torch.autograd.grad(K, list(run.model.parameters())), strict=True))
    close(run.advance(), K.item() / math.log(2))
    rate, moved = learning_rate(run.recipe, 0), 0
    for name, p in run.model.named_parameters():
        large = gradients[name].abs() > 1e-3
        moved += int(large.sum())
        close((p.detach() - before[name])[large], rate * gradients[name][large].sign(), rtol=1e-3, atol=1e-9)
    assert moved > 10


def test_the_average_trails_the_weights():
    run = Run(tiny_recipe(ema=0.5), 0, "cpu", data=blob_data())
    name, expected = "reverse.network.layers.1.bias", None
    for step in range(1, 30):
        run.advance()
        value, keep = run.model.state_dict()[name].double(), min(0.5, step / (step + 9))
        start = torch.zeros_like(value) if expected is None else expected
        expected = keep * start + (1 - keep) * value
        close(run.average[name], expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(run.averaged_model().state_dict()[name], run.average[name])


@pytest.mark.parametrize(
    "settings",
    [
        {"covariance": "full"},
        {"covariance": "diagonal", "network": "rbf"},
        {"covariance": "constant", "learn_schedule": False},
        {"covariance": "isotropic", "schedule": "cosine"},
        {"covariance": "posterior"},
    ],
    ids=lambda settings: settings["covariance"],
)
def test_the_bound_improves_and_stays_below_its_ceiling(settings):
    _, before = train(steps=1, lr=1e-9, **settings)
    model, after = train(steps=200, lr=0.03, **settings)
    assert after["gap_bits"] < before["gap_bits"] - 3 * before["gap_bits_stderr"]
    assert after["bound_bits"] <= after["ceiling_bits"] + 3 * after["bound_bits_stderr"]
    assert after["ceiling_bits"] <= after["entropy_limit_bits"] + 1e-6
    close(model.schedule.beta[1], after["beta_1"])
    close(after["beta_1"], tiny_recipe().beta_1, rtol=1e-9)


def test_beta_2_to_T_are_learned_and_beta_1_is_kept():
    model, _ = train(steps=100, lr=0.02)
    start = Run(tiny_recipe(), 0, "cpu", data=blob_data()).model.schedule
    close(model.schedule.beta[1], start.beta[1].detach(), rtol=1e-9)
    assert bool(((model.schedule.beta / start.beta).log().abs()[2:] > 1e-3).all())


def test_the_seed_decides_the_run(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, seed=seed)
    same_runs(tmp_path / "a", tmp_path / "b")
    assert lines(tmp_path / "a") != lines(tmp_path / "c")


def test_the_files_of_a_run(tmp_path):
    model, metrics = train(tmp_path / "deep" / "run", steps=120)
    folder = tmp_path / "deep" / "run"
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.safetensors", "config.json", "metrics.json", "metrics.jsonl", "model.safetensors",
    ]  # fmt: skip
    assert json.loads((folder / "config.json").read_text()) == {
        "recipe": tiny_recipe(steps=120, data="blobs").to_dict(),
        "seed": 0,
    }
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert [record["step"] for record in load_lines(folder / "metrics.jsonl")] == [50, 100, 120]
    again, recipe = load_model(folder / "model.safetensors")
    assert recipe == tiny_recipe(steps=120, data="blobs")  # not the recipe's own
    assert torch.equal(model.sample(5, rng()), again.sample(5, rng()))


def test_the_log_is_the_mean_bound_of_its_batches(tmp_path):
    train(tmp_path, steps=60)
    run = Run(tiny_recipe(steps=60), 0, "cpu", data=blob_data())
    course = [run.advance() for _ in range(60)]
    logged = [record["bound_bits"] for record in load_lines(tmp_path / "metrics.jsonl")]
    assert logged == pytest.approx([math.fsum(course[:50]) / 50, math.fsum(course[50:]) / 10], rel=1e-12)


# Interruption


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of 120 steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("loop") / "whole"
    with pytest.MonkeyPatch.context() as patch, runs.quick(patch):
        train(folder, steps=120)
    return folder


@pytest.mark.parametrize("step", [1, 37, 50, 99, 119, 120])
def test_interrupted_and_resumed_is_uninterrupted(whole, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", steps=120)
    assert load_tensors(tmp_path / "broken" / "checkpoint.safetensors")[1]["step"] == step
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    train(tmp_path / "broken", resume=True, steps=120)
    same_runs(whole, tmp_path / "broken")


def test_interrupted_twice(whole, tmp_path, monkeypatch):
    for resume in (False, True):
        with monkeypatch.context() as patch:
            interrupt_at(patch, 35)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "broken", resume=resume, steps=120)
    train(tmp_path / "broken", resume=True, steps=120)
    same_runs(whole, tmp_path / "broken")


def test_a_crash_falls_back_to_an_older_checkpoint(tmp_path, monkeypatch):
    """The log then runs ahead of the checkpoint, and ends in half a line: both are cut."""
    train(tmp_path / "whole", steps=200, checkpoint_every=40)
    advance, calls = Run.advance, []

    def crash(run):
        calls.append(run)
        if len(calls) == 111:
            raise MemoryError
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", crash)
        with pytest.raises(MemoryError):
            train(tmp_path / "broken", steps=200, checkpoint_every=40)
    log = tmp_path / "broken" / "metrics.jsonl"
    assert load_tensors(tmp_path / "broken" / "checkpoint.safetensors")[1]["step"] == 80
    assert [record["step"] for record in load_lines(log)] == [50, 100]
    with open(log, "a") as file:
        file.write('{"step": 15')
    train(tmp_path / "broken", resume=True, steps=200, checkpoint_every=40)
    same_runs(tmp_path / "whole", tmp_path / "broken")


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    train(tmp_path / "whole")
    before = {path.name: path.read_bytes() for path in tmp_path.joinpath("whole").iterdir()}
    train(tmp_path / "whole", resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.joinpath("whole").iterdir()} == before


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path):
    train(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for change in ({"lr": 1e-5}, {"width": 16}, {"seed": 5}):
        with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: is of another recipe, seed or data set"):
            train(tmp_path, resume=True, **change)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_broken_checkpoints_are_refused(tmp_path):
    with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: no such file"):
        train(tmp_path, resume=True)
    train(tmp_path)
    with pytest.raises(ValueError, match="holds a run already; go on with resume"):
        train(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: not a whole"):
        train(tmp_path, resume=True)
    path.write_bytes((tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(BrokenFile, match=r"checkpoint\.safetensors: "):
        train(tmp_path, resume=True)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(tmp_path, covariance):
    train(tmp_path, steps=5, covariance=covariance)
    good = (tmp_path / "checkpoint.safetensors").read_bytes()
    for lr in (1e8, 1e300):
        (tmp_path / "config.json").unlink()  # or the folder would be refused
        with pytest.raises(FloatingPointError, match=r"step \d+: .* try a smaller lr than"):
            train(tmp_path, steps=50, lr=lr, covariance=covariance)
        assert (tmp_path / "checkpoint.safetensors").read_bytes() == good


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    train(tmp_path, steps=5)
    good = (tmp_path / "checkpoint.safetensors").read_bytes()
    run = Run(tiny_recipe(steps=5), 0, "cpu", tmp_path, blob_data())
    next(run.model.parameters()).data.view(-1)[1] = math.inf
    with pytest.raises(FloatingPointError, match="weights not finite"):
        run.save_checkpoint()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == good
