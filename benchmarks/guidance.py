"""A model of classes, and what guidance makes of its samples.

    OMP_NUM_THREADS=1 python benchmarks/guidance.py [digits-classes|digits]

Writes book/results/digits-classes.json and digits-classes.safetensors (the recipe, trained: a minute of one core), and
then guidance-digits.json (two minutes):

- for each w, digits of each class by DDIM: the share that two classifiers take for what was asked, the spread within a
  class beside that of real digits, and the energy distance to held-out digits of the class, in a classifier's features;
- the same with guidance in an interval of noise alone, and with a worse model in the place of the unconditional one:
  the recipe's own after a tenth of its steps;
- K of held-out digits with their class told, with none told, and with each other class;
- how far the class moves the guess, level by level;
- pictures for the figure, from the same noise at each w.
"""

import base64
import math
from functools import lru_cache
from typing import Any

import common
import torch
from torch import Tensor

from dpm_lib.core import results
from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.core.standard_error import stderr
from dpm_lib.data.digit_features import digit_features
from dpm_lib.data.images import Images
from dpm_lib.data.registry import load
from dpm_lib.diffusion import sampled_bound
from dpm_lib.diffusion.guidance import Guided
from dpm_lib.diffusion.model import DiffusionModel
from dpm_lib.diffusion.samplers import Denoising, ddim, levels_of
from dpm_lib.probability import energy_distance
from dpm_lib.training import catalogue, checkpoints

SCALES = [0.5 * k for k in range(11)]
REPAIRED = [2.0, 3.0]  # scales at which the repairs are measured
MIDDLE = 0.8  # of the class's pull: the interval in which guidance is limited
EACH, SHOWN, CALLS = 40, 12, 20  # digits of a class measured, and shown; calls of either network for a digit
TIMES = 50  # of the 999 KL terms of a digit's K, drawn
COURSE_EVERY = 50  # steps
PULLED = 40  # levels at which the class's pull is measured
VISIBLE, FAINT = 1e-4, 1e-3  # tau below which noise is not seen in a picture, and hides no class


def train() -> None:
    """The recipe, trained, with its course."""
    name = "digits-classes"
    recipe = catalogue.get(name)
    common.train(name, recipe, f"python benchmarks/guidance.py {name}", course_every=COURSE_EVERY, keep_model=True)


def drawn(model: Denoising, labels: Tensor) -> Tensor:
    """A digit (n, 64) for each of the ``labels`` (n,), from noise that is the same for every model."""
    last = int((model.schedule.tau >= VISIBLE).nonzero()[0])
    noise = torch.randn(len(labels), 64, generator=seeded(0), dtype=torch.float64)
    return ddim(model, noise, levels_of(model.schedule, CALLS, "karras", last))


def judged(x: Tensor, labels: Tensor, data: Images) -> dict[str, Any]:
    """Samples x (n, 64) of classes ``labels`` (n,): agreement, spread and distance, each with its standard error."""
    see = digit_features()
    real, held_out = see(data.dequantised(data.train, seeded(1))), see(data.held_out())
    spreads, distances = [], []
    for c in range(data.classes):
        ours, theirs = see(x[labels == c]), real[data.labels["train"] == c]
        spreads.append(relative(spread(ours), spread(theirs)))
        distances.append(energy_distance.of_all_pairs(ours, held_out[data.labels["test"] == c]))
    agrees = see.classes(x) == labels
    return {
        "agreement": share(agrees),
        "second": share(second_classes(x) == labels),
        "spread": averaged(spreads),
        "energy_distance": averaged(distances),
        "by_class": [round(float(agrees[labels == c].double().mean()), 4) for c in range(data.classes)],
    }


@lru_cache
def second_classifier() -> Any:
    """Another kind of classifier, which learned from the held-out digits alone: from none that the model saw."""
    from sklearn.svm import SVC

    data = load("digits")
    return SVC(C=10).fit(data.held_out().numpy(), data.labels["test"].numpy())  # type: ignore[attr-defined]


def second_classes(x: Tensor) -> Tensor:
    """Its answer, 0..9, (n,), for digits x (n, 64)."""
    return torch.as_tensor(second_classifier().predict(x.numpy()))


def share(right: Tensor) -> dict[str, float]:
    """How many of (n,) are true, and the standard error of that share."""
    return pair(float(right.double().mean()), stderr(right.double()))


def spread(features: Tensor) -> tuple[float, float]:
    """The trace of the covariance of features (n, d), and its standard error."""
    n = len(features)
    squares = (features - features.mean(0)).square().sum(1) * n / (n - 1)
    return float(squares.mean()), stderr(squares)


def relative(ours: tuple[float, float], theirs: tuple[float, float]) -> tuple[float, float]:
    """The ratio of two independent numbers, and its standard error to first order."""
    ratio = ours[0] / theirs[0]
    return ratio, ratio * math.hypot(ours[1] / ours[0], theirs[1] / theirs[0])


def averaged(found: list[tuple[float, float]]) -> dict[str, float]:
    """The mean over classes of independent estimates, and its standard error."""
    means, errors = zip(*found, strict=True)
    return pair(sum(means) / len(means), math.hypot(*errors) / len(errors))


def pair(mean: float, error: float) -> dict[str, float]:
    """Mean and standard error, to five digits behind the point."""
    return {"mean": round(mean, 5), "stderr": round(error, 5)}


def of_real_digits(data: Images) -> dict[str, dict[str, float]]:
    """The same of real digits: each classifier on those that it has not seen, the held-out spread beside that of the
    training digits, and the distance of the one to the other."""
    see, labels = digit_features(), data.labels
    seen, held_out = data.dequantised(data.train, seeded(1)), data.held_out()
    parts = [(see(seen[labels["train"] == c]), see(held_out[labels["test"] == c])) for c in range(data.classes)]
    return {
        "agreement": share(see.classes(held_out) == labels["test"]),
        "second": share(second_classes(seen) == labels["train"]),
        "spread": averaged([relative(spread(held), spread(train)) for train, held in parts]),
        "energy_distance": averaged([energy_distance.of_all_pairs(train, held) for train, held in parts]),
    }


@torch.no_grad()
def told_and_not(model: DiffusionModel, data: Images) -> dict[str, Any]:
    """K of each held-out digit under each class and under none, all at the same times and with the same noise."""
    x0, true, shares = data.held_out(), data.labels["test"], torch.bincount(data.labels["train"]) / len(data.train)
    plan = sampled_bound.pilot(model, x0, seeded(1))
    *told_each, none = (
        sampled_bound.estimate(model.given(c), x0, plan, TIMES, seeded(0)).K for c in (*range(data.classes), None)
    )
    each = torch.stack(told_each, 1)
    told = each.gather(1, true.unsqueeze(1)).squeeze(1)
    joint = each + shares.double().log()
    mixed = joint.logsumexp(1)
    per_pixel = {"told": told, "none": none, "mixed": mixed}
    bits = {"none": (told - none) / LN2, "mixed": (told - mixed) / LN2}
    return {
        "bits_per_pixel": {name: pair(float(b.mean()), stderr(b)) for name, b in
            ((name, data.bits_per_dimension(K)) for name, K in per_pixel.items())},
        "gain_bits_per_picture": {name: pair(float(gain.mean()), stderr(gain)) for name, gain in bits.items()},
        "gain_by_class": [pair(float(bits["none"][true == c].mean()), stderr(bits["none"][true == c]))
            for c in range(data.classes)],
        "entropy_of_classes_bits": round(float(-(shares * shares.log2()).sum()), 5),
        "right_by_K": share(joint.argmax(1) == true),
        "digits": len(x0),
    }  # fmt: skip


@torch.no_grad()
def pull(model: DiffusionModel, data: Images) -> dict[str, Any]:
    """What the class moves the guess by, level by level, in bits a picture and unit of log tau, and what that gains.

    ``moved`` is E|x0_c - x0_u|^2 / 2 tau, ``gained`` (E|x0 - x0_u|^2 - E|x0 - x0_c|^2) / 2 tau, the same
    for exact guesses.
    """
    x0, true = data.held_out(), data.labels["test"]
    told, log_tau = model.given(true), model.schedule.log_tau
    marks = torch.linspace(math.log(FAINT), float(log_tau[-1]), PULLED)
    rows, generator = [], seeded(2)
    for t in sorted({int((log_tau - mark).abs().argmin()) for mark in marks}):
        xt = model.kernel.marginal(x0, t).sample(generator)
        ours, none = told.denoise(xt, t), model.denoise(xt, t)
        unit = 1 / (2 * float(model.schedule.tau[t]) * LN2)
        moved = (ours - none).square().sum(1) * unit
        gained = ((x0 - none).square() - (x0 - ours).square()).sum(1) * unit
        rows.append({
            "log_tau": round(float(log_tau[t]), 4),
            "moved": pair(float(moved.mean()), stderr(moved)),
            "gained": pair(float(gained.mean()), stderr(gained)),
        })  # fmt: skip
    whole = {}
    for name in ("moved", "gained"):
        places, values = (torch.tensor(v) for v in zip(*((r["log_tau"], r[name]["mean"]) for r in rows), strict=True))
        errors = torch.tensor([r[name]["stderr"] for r in rows])
        step = float(places.diff().mean())
        whole[name] = pair(float(torch.trapezoid(values, places)), step * float(errors.norm()))
    return {"levels": rows, "bits": whole}


def middle(levels: list[dict[str, Any]]) -> tuple[float, float]:
    """The ends in log tau of the middle MIDDLE of the area below ``moved``."""
    places = torch.tensor([row["log_tau"] for row in levels])
    below = torch.cumulative_trapezoid(torch.tensor([row["moved"]["mean"] for row in levels]), places)
    ends = (below[-1] * share for share in (0.5 - MIDDLE / 2, 0.5 + MIDDLE / 2))
    low, high = (round(float(places[1:][below >= end][0]), 2) for end in ends)
    return low, high


def digits() -> None:
    """All that is measured on the trained model, in one record."""
    model, recipe = checkpoints.load_model(results.path("digits-classes.safetensors"))
    data = load("digits")
    assert isinstance(data, Images)
    labels = torch.arange(data.classes).repeat_interleave(EACH)
    told, pulled = model.given(labels), pull(model, data)
    interval = middle(pulled["levels"])
    ((_, worse),) = common.watched(recipe, [recipe.steps // 10])
    ways: list[tuple[str, float, Denoising]] = [("whole", w, Guided(told, model, w)) for w in SCALES]
    ways += [("interval", w, Guided(told, model, w, interval)) for w in REPAIRED]
    ways += [("worse model", w, Guided(told, worse.given(labels), w)) for w in REPAIRED]
    rows, shown = [], {}
    for way, w, guided in ways:
        x = drawn(guided, labels)
        rows.append({"way": way, "w": w, **judged(x, labels, data)})
        print(rows[-1], flush=True)
        if way == "whole":
            shown[w] = x.reshape(data.classes, EACH, -1)[:, :SHOWN]
    grey = torch.stack([data.pixels(x)[..., 0, :, :] / data.levels for x in shown.values()]).clamp(0, 1)
    record = {
        "model": "digits-classes",
        "sampler": "ddim",
        "calls": CALLS,
        "each": EACH,
        "interval_log_tau": interval,
        "worse_steps": recipe.steps // 10,
        "real": of_real_digits(data),
        "rows": rows,
        "K": told_and_not(model, data),
        "pull": pulled,
        "pictures": {
            "shape": list(grey.shape),
            "uint8": base64.b64encode((255 * grey).round().to(torch.uint8).numpy().tobytes()).decode(),
        },
    }
    common.write("guidance-digits", record, "python benchmarks/guidance.py digits")


def main() -> None:
    """Do what the command line names, or all of it."""
    common.main({"digits-classes": train, "digits": digits})


if __name__ == "__main__":
    main()
