"""The record of a training run: everything that defines it, flat, so that a run folder can hold it as JSON."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np

from dpm_lib.data import image_datasets, text
from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.loss_weights import OBJECTIVES
from dpm_lib.diffusion.reverse_kernels import COVARIANCES

SCHEDULES = {  # from T, beta_1 and tau_T; the last two choose their own end
    "geometric": schedules.geometric,
    "cosine": schedules.cosine,
    "linear": lambda T, beta_1, _: schedules.linear(T, beta_1, min(0.2, 20 / T)),
    "even": lambda T, beta_1, _: schedules.even(T, beta_1),
}
TOKENS = ("binomial", "mask", "uniform")  # kernels of strings, of bits or of other tokens
KERNELS = ("gaussian", *TOKENS)
KERNELS_OF = {"swiss-roll": ("gaussian",), "heartbeat": TOKENS}
NETWORKS = ("mlp", "rbf", "text")
IMAGE_NETWORKS = ("unet", "multi-scale")
FORMS = (*COVARIANCES, "levels", "paper")
OWN_VARIANCE = ("posterior", "fixed_large")  # forms that leave a network nothing but its guess of x_0
PRECISIONS = ("fp32", "bf16")
COUNTS = ("width", "depth", "units", "channels", "length", "scales", "steps", "batch", "checkpoint_every")
MAY_BE_ZERO = ("frequencies", "side", "cells", "classes", "clip", "sample_every", "validate_every")
APPLIES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # where each setting does something; all others always do
    "noise": ("data=swiss-roll", lambda r: r.data == "swiss-roll"),
    "tau_T": ("schedule=geometric or cosine", lambda r: r.schedule in ("geometric", "cosine")),
    "knots": ("learn_schedule=true", lambda r: r.learn_schedule),
    "covariance": ("kernel=gaussian", lambda r: r.kernel == "gaussian"),
    "objective": ("kernel=gaussian; bits have the bound alone", lambda r: r.kernel == "gaussian"),
    "tokens": ("kernel=mask or uniform", lambda r: r.kernel in ("mask", "uniform")),
    "width": ("another network than rbf", lambda r: r.network != "rbf"),
    "depth": ("another network than rbf", lambda r: r.network != "rbf"),
    "units": ("network=rbf", lambda r: r.network == "rbf"),
    "frequencies": ("network=mlp or unet", lambda r: r.network in ("mlp", "unet")),
    "scale": ("network=mlp with frequencies", lambda r: r.network == "mlp" and bool(r.frequencies)),
    "scales": ("pictures, by networks with side=N", lambda r: bool(r.side)),
    "channels": ("pictures, by networks with side=N", lambda r: bool(r.side)),
    "length": ("data=text or text:PATH", lambda r: text.known(r.data)),
    "dropout": ("network=unet or text", lambda r: r.network in ("unet", "text")),
    "validate_every": ("pictures, by networks with side=N, or data=text", lambda r: bool(r.side) or text.known(r.data)),
    "cells": ("covariance=levels", lambda r: r.covariance == "levels"),
    "classes": ("network=unet", lambda r: r.network == "unet"),
    "label_dropout": ("classes=N", lambda r: bool(r.classes)),
}


@dataclass(frozen=True)
class Recipe:
    """A training run. Raises ValueError, naming the field and its value, where a value makes no sense or does nothing.

    APPLIES says which settings do something where. Those that do not are at their default, or zero.
    """

    name: str
    about: str
    data: str = "swiss-roll"
    noise: float = 0.25  # scikit-learn's, before the roll is scaled to E|x0|^2 = 2
    T: int = 40  # steps of the chain
    kernel: str = "gaussian"  # or "binomial", for data of bits; "mask" or "uniform", of tokens
    tokens: int = 2  # how many there are, [MASK] not counted
    beta_1: float = 1e-6  # fixed rate of the first step
    tau_T: float = 20.0  # noise-to-signal ratio of the last step, at the start of training
    schedule: str = "geometric"  # where the schedule starts, or stays
    learn_schedule: bool = True  # learn beta_2..beta_T through the bound
    knots: int = 0  # of the learned schedule; 0: every step is learned by itself
    covariance: str = "full"  # of the reverse kernel, if Gaussian; for images also "levels" and "paper"
    objective: str = "bound"  # what is minimised; "simple", "score", "v", "edm", "flow": see diffusion.loss_weights
    network: str = "mlp"
    width: int = 64
    depth: int = 3
    frequencies: int = 16  # Fourier features of x; 0 for none
    scale: float = 4.0  # their standard deviation at the start
    units: int = 16  # of the RBF network
    channels: int = 1  # of images
    side: int = 0  # of images, in pixels; 0 for other data
    length: int = 128  # of the windows of a text, in characters
    cells: int = 0  # of "levels": neighbouring levels are put together into so many; 0 for every level by itself
    scales: int = 2  # resolutions of a network for images
    dropout: float = 0.0  # share of the numbers in a U-Net, or a network for text, that a step of training leaves out
    classes: int = 0  # labels that the network is told, as many as the data have; 0: none
    label_dropout: float = 0.1  # share of the labels that a step of training withholds
    steps: int = 8000  # of training
    batch: int = 1024
    lr: float = 1e-2  # peak learning rate of Adam, warmed up over 100 steps, then a cosine to zero
    ema: float = 0.999  # averaging of the weights
    checkpoint_every: int = 500
    validate_every: int = 0  # steps between looks at validation data, if there are any; the best average is kept
    clip: float = 0.0  # greatest norm of the gradient; 0: any
    precision: str = "fp32"  # of the network's matrix products: "fp32" or "bf16"; all else is float64
    compile: bool = False  # the step through torch.compile: a minute or so at the start, then faster
    sample_every: int = 0  # steps between files of samples; 0: none

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            fits = isinstance(value, field.type) or (field.type is float and isinstance(value, int))  # type: ignore[arg-type]
            if not fits or isinstance(value, bool) != (field.type is bool):
                raise ValueError(f"{field.name}: {value!r}: need {field.type.__name__}")  # type: ignore[union-attr]
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.name}: {value} is not finite")
        for name in COUNTS + MAY_BE_ZERO:
            least = 0 if name in MAY_BE_ZERO else 1
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is less than {least}")
        for name in ("noise", "scale", "lr", "tau_T"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        if self.T < 2:
            raise ValueError(f"T: {self.T} is less than 2")
        if self.knots != 0 and not 2 <= self.knots <= self.T - 1:
            raise ValueError(f"knots: {self.knots} is not 0, nor between 2 and T - 1 = {self.T - 1}")
        self._check_data()
        learned = self.T + 1 - self.first
        if self.batch < learned and not self.side and not text.known(self.data):
            count = "T" if self.first == 1 else "T - 1"
            raise ValueError(f"batch: {self.batch} is less than {count} = {learned}: every batch holds every time")
        if not 0 < self.beta_1 < 1:
            raise ValueError(f"beta_1: {self.beta_1} is outside (0, 1)")
        for name in ("ema", "dropout", "label_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is outside [0, 1)")
        for name, known in (
            ("kernel", KERNELS),
            ("covariance", FORMS if self.side else COVARIANCES),
            ("objective", OBJECTIVES),
            ("network", IMAGE_NETWORKS if self.side else NETWORKS),
            ("schedule", tuple(SCHEDULES)),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(known)}")
        for name, where in _idle(asdict(self)).items():
            value, default = getattr(self, name), DEFAULTS[name]
            if value not in (default, 0):
                raise ValueError(f"{name}: {value!r} does nothing here: it applies to {where}")
        self._check_objective()
        if self.tokens < 2:
            raise ValueError(f"tokens: {self.tokens} is less than 2")
        if self.kernel == "mask" and (self.schedule != "even" or self.learn_schedule):
            raise ValueError("kernel: 'mask': need schedule=even, learn_schedule=false: at T all has to be masked")
        if self.network == "text" and self.kernel != "mask":
            raise ValueError(f"network: 'text': need kernel=mask, for it is told no time, got {self.kernel!r}")

    @property
    def first(self) -> int:
        """The first step back that is learned: 2, but for a mask, whose kernel does not lead back, 1."""
        return 1 if self.kernel == "mask" else 2

    def _check_objective(self) -> None:
        """That a weighted squared error, if that is minimised, is all that there is to learn."""
        if self.objective == "bound":
            return
        name, forms = self.objective, " or ".join(OWN_VARIANCE)
        if self.covariance not in OWN_VARIANCE:
            raise ValueError(
                f"objective: {name!r}: need covariance={forms}, for it teaches none, got {self.covariance!r}"
            )
        if self.learn_schedule:
            raise ValueError(f"objective: {name!r}: need learn_schedule=false: what it says of a schedule is no bound")
        if name == "score" and self.schedule == "even":
            raise ValueError(f"objective: {name!r}: need another schedule than 'even', which ends at tau_T = infinity")

    def _check_data(self) -> None:
        """That kernel, side and channels are those of data that are known by name."""
        pictures = image_datasets.known(self.data)
        fit = KERNELS_OF.get(self.data, ("gaussian",) if pictures or self.side else KERNELS)
        fit = ("mask", "uniform") if text.known(self.data) else fit
        if self.kernel not in fit and self.kernel in KERNELS:
            need = " or ".join(map(repr, fit))
            raise ValueError(f"kernel: {self.kernel!r} does not fit the data {self.data!r}, which need {need}")
        if self.side and (self.data in KERNELS_OF or text.known(self.data)):
            raise ValueError(f"side: {self.side} is for pictures, and the data {self.data!r} are none")
        if self.data.startswith("folder:") and not self.side:
            raise ValueError(f"side: 0 is less than 1: say how many pixels the pictures of {self.data} are to have")
        channels, side = image_datasets.SHAPES.get(self.data, (self.channels, self.side))
        if self.side and self.side != side:
            raise ValueError(f"side: {self.data} has images of {side} pixels a side, not {self.side}")
        if self.side and self.channels != channels:
            raise ValueError(f"channels: {self.data} has {channels}, not {self.channels}")

    def override(self, **changes: Any) -> "Recipe":
        """This recipe with some settings replaced. ValueError for one that does nothing here, by APPLIES.

        What no longer applies with the changes goes back to its default.
        """
        known = [field.name for field in fields(self) if field.name not in ("name", "about")]
        if unknown := [name for name in changes if name not in known]:
            raise ValueError(f"{unknown[0]}: no such setting; there are: {', '.join(known)}")
        changes = {name: _plain(name, value) for name, value in changes.items()}
        values = asdict(self) | changes
        idle = _idle(values)
        for name in changes:
            if name in idle and changes[name] != 0:
                raise ValueError(f"{name}: {changes[name]!r} does nothing here: it applies to {idle[name]}")
        return Recipe(**values | {name: DEFAULTS[name] for name in idle if values[name] != 0})

    def settings(self) -> dict[str, Any]:
        """The settings that do something in this recipe, by APPLIES."""
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in ("name", "about", *_idle(values))}

    def to_dict(self) -> dict[str, Any]:
        """All settings, with name and words, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Recipe":
        """The recipe of a record; what does nothing in it, as older records may hold, goes to its default."""
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(record) - names):
            raise ValueError(f"recipe: unknown fields {', '.join(unknown)}")
        if missing := sorted({"name", "about"} - set(record)):
            raise ValueError(f"recipe: missing fields {', '.join(missing)}")
        values = DEFAULTS | record
        return cls(**values | {name: DEFAULTS[name] for name in _idle(values) if values[name] != 0})


DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in fields(Recipe) if field.name not in ("name", "about")
}


def _plain(name: str, value: Any) -> Any:
    """A NumPy number as Python's, and a whole number as a float where one is meant."""
    value = value.item() if isinstance(value, np.generic) else value
    return float(value) if type(value) is int and type(DEFAULTS[name]) is float else value


def _idle(values: dict[str, Any]) -> dict[str, str]:
    """The settings that do nothing in a record, with where they would."""
    r = SimpleNamespace(**values)
    return {name: where for name, (where, applies) in APPLIES.items() if not applies(r)}


def parse(pairs: Iterable[str]) -> dict[str, Any]:
    """Settings from text such as "steps=500", each of its type, as ``--set`` gives it. ValueError that names it."""
    types: dict[str, Any] = {field.name: field.type for field in fields(Recipe) if field.name not in ("name", "about")}
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: need KEY=VALUE")
        if key not in types:
            raise ValueError(f"--set {key}: no such setting; there are: {', '.join(types)}")
        settings[key] = _parsed(key, text, types[key])
    return settings


def _parsed(key: str, text: str, kind: Any) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"--set {key}: {text!r}: need true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"--set {key}: {text!r}: need {kind.__name__}") from None
