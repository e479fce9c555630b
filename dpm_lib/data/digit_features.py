"""Features of scikit-learn's digits: what a small classifier sees in a picture, to tell samples from data by.

An energy distance between pictures themselves hardly sees shapes: noise of a pixel's width weighs as much as a missing
stroke. Between the features of a classifier that was trained on the training digits it asks whether samples are digits,
of all classes, each in its variety. (As Inception's features are used for photographs, Heusel et al. 2017.)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dpm_lib.core.checks import checked_width
from dpm_lib.core.extras import extra
from dpm_lib.core.random import seeded
from dpm_lib.data import image_datasets

UNITS, ROUNDS = 64, 60  # hidden units, and passes over the training digits


@dataclass(frozen=True)
class DigitFeatures:
    """The hidden layer of the classifier: max(0, x @ weight + bias) / scale, for states x (n, 64) of the chain.

    ``scale`` is the root mean square distance of a training digit's features from their mean, so that this is 1.
    ``readout`` and ``readout_bias`` are the layer behind it, and ``accuracy`` the share of held-out digits it gets
    right.
    """

    weight: Tensor
    bias: Tensor
    readout: Tensor
    readout_bias: Tensor
    scale: float
    accuracy: float

    def __call__(self, x: Tensor) -> Tensor:
        """Features (n, 64) of digits x (n, 64) in units of the chain, or of samples. ValueError for another width."""
        x = checked_width("x", torch.as_tensor(x, dtype=torch.float64), len(self.weight))
        return (x @ self.weight + self.bias).clamp(min=0) / self.scale

    def classes(self, x: Tensor) -> Tensor:
        """The classifier's answer, 0..9, (n,), for digits x (n, 64) in units of the chain."""
        return (self(x) * self.scale @ self.readout + self.readout_bias).argmax(-1)


@lru_cache
def digit_features() -> DigitFeatures:
    """The features, of a classifier trained in a second or two on the 1500 digits that models are trained on.

    The same each time on one machine; on another, up to the rounding of sums.
    """
    with extra("pictures"):
        from sklearn.neural_network import MLPClassifier
    data = image_datasets.load("digits")
    x = data.dequantised(data.train, seeded(0))
    network = MLPClassifier((UNITS,), alpha=1e-2, max_iter=ROUNDS, n_iter_no_change=ROUNDS, random_state=0, tol=0.0)
    with np.errstate(all="ignore"):
        _fit(network, x.numpy(), data.labels["train"].numpy())
    weight, readout = (torch.as_tensor(part, dtype=torch.float64) for part in network.coefs_)
    bias, readout_bias = (torch.as_tensor(part, dtype=torch.float64) for part in network.intercepts_)
    hidden = (x @ weight + bias).clamp(min=0)
    scale = float((hidden - hidden.mean(0)).square().sum(1).mean().sqrt())
    right = network.predict(data.held_out().numpy()) == data.labels["test"].numpy()
    return DigitFeatures(weight, bias, readout, readout_bias, scale, float(right.mean()))


def _fit(network: object, x: np.ndarray, labels: np.ndarray) -> None:
    """Train it, without the warning that it might go on for longer."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.fit(x, labels)  # type: ignore[attr-defined]
