"""Small figures of synthetic data for the browser tests."""

from itertools import pairwise

import numpy as np

from dpm_lib.widgets import LiveSampler, ScheduleBars, TrajectoryPlayer

T = 20


def player(n: int = 1000, T: int = T, **text: str) -> TrajectoryPlayer:
    """A ring that dissolves, and comes back."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * rng.random(n)
    ring = 1.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mix = np.linspace(0, 1, T + 1)[:, None, None]
    forward, reverse = (np.sqrt(1 - mix) * ring + np.sqrt(mix) * rng.normal(size=(n, 2)) for _ in range(2))
    axis = np.linspace(-2.5, 2.5, 13)
    at = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    drift = np.arange(T + 1)[:, None, None] / T * (1.4 * at / np.linalg.norm(at + 1e-9, axis=1, keepdims=True) - at)
    return TrajectoryPlayer(forward, reverse, at, drift, **text)


def schedule(T: int = T, **text: str) -> ScheduleBars:
    """Two Gaussian directions of different width: all forms differ, and the bound can be computed."""
    grid = np.linspace(-10, 6, 40)
    tau = np.exp(grid)[:, None, None]
    width = np.exp(np.random.default_rng(0).normal(size=(1, 20, 1))) * np.array([1.0, 0.01])
    log_c = np.log(width * tau / (width + tau))
    constant = np.repeat(np.log(np.exp(log_c).mean(axis=(1, 2), keepdims=True)), 2, axis=2)
    presets = {"log": np.geomspace(1e-4, 0.9, T), "linear": np.linspace(1e-4, 0.6, T)}
    return ScheduleBars(grid, {"full": log_c, "constant": constant}, presets["log"], -0.9, presets, **text)


def sampler(width: int = 16, T: int = T, **text: str) -> LiveSampler:
    """An untrained network: it samples, though not well."""
    rng = np.random.default_rng(0)
    sizes = [2 + 2 * 16 + 2 * 4, width, width, width, 5]
    layers = [(rng.normal(size=(o, i)) / np.sqrt(i), np.zeros(o)) for i, o in pairwise(sizes)]
    log_tau = np.concatenate([[-np.inf], np.linspace(-9, 6, T)])
    target = rng.normal(size=(300, 2)) * [1.5, 0.1]
    return LiveSampler(rng.normal(size=(2, 16)), rng.normal(size=4), layers, "full", log_tau, target, **text)
