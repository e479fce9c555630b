"""Three figures of time in both directions: a rate matrix to edit, paths that jump, and one step run backwards."""

from collections.abc import Mapping

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.exact.reverse_step_on_a_grid import step_back, two_clumps
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet
from dpm_lib.figures.widgets.chains import INKS
from dpm_lib.markov import gillespie, kolmogorov

SHEET = style("figure.css", "chains.css", "rates.css")
RATES: dict[str, list[list[float]]] = {
    "one way round": [[-1.1, 1.0, 0.1], [0.1, -0.6, 0.5], [1.8, 0.2, -2.0]],
    "balanced": [[-1.0, 0.6, 0.4], [0.3, -0.8, 0.5], [0.4, 1.0, -1.4]],
    "a trap": [[-1.0, 1.0, 0.0], [0.5, -1.0, 0.5], [0.0, 0.0, 0.0]],
    "two wells": [[-1.5, 1.5, 0.0, 0.0], [1.5, -1.6, 0.1, 0.0], [0.0, 0.1, -1.6, 1.5], [0.0, 0.0, 1.5, -1.5]],
    "a queue": [
        [-1.0, 1.0, 0.0, 0.0, 0.0],
        [1.5, -2.5, 1.0, 0.0, 0.0],
        [0.0, 1.5, -2.5, 1.0, 0.0],
        [0.0, 0.0, 1.5, -2.5, 1.0],
        [0.0, 0.0, 0.0, 1.5, -1.5],
    ],
}


def _checked_rates(name: str, Q: object) -> np.ndarray:
    try:
        rates = kolmogorov.checked_generator(np.array(Q, dtype=np.float64))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not 2 <= len(rates) <= len(INKS):
        raise ValueError(f"{name}: {len(rates)} states: need 2 to {len(INKS)}")
    return rates


class RatePlayground(Figure):
    """A rate matrix of 2 to 5 states to edit: the law forward, a function backward, and the chain reversed by Bayes.

    presets: {name: (n, n) rates, rows sum to 0, none above 3}, of which the first is shown first
    horizon: the time T at which the function is given
    Raises ``ValueError`` that names the preset and what is wrong with it.
    """

    _esm = script("rates.js")
    _css = SHEET
    presets: traitlets.List = traitlets.List(help="pairs of a name and a matrix, in order").tag(sync=True)
    horizon = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        presets: Mapping[str, object] = RATES,
        horizon: float = 3.0,
        *,
        label: str = "A rate matrix to edit, its law forward and its functions backward",
        caption: str = "",
    ) -> None:
        chains = {name: _checked_rates(f"presets[{name!r}]", Q) for name, Q in checks.some("presets", presets).items()}
        for name, Q in chains.items():
            if (Q > 3).any():
                raise ValueError(f"presets[{name!r}]: a rate of {Q.max()}: need at most 3")
        values = [[name, Q.tolist()] for name, Q in chains.items()]
        super().__init__(label=label, caption=caption, presets=values, horizon=checks.positive("horizon", horizon))

    def poster(self) -> bytes:
        Q = np.array(self.presets[0][1])
        times = np.linspace(0, self.horizon, 121)
        weights = 3.0 ** -np.arange(len(Q))
        laws = kolmogorov.forward(weights / weights.sum(), Q, times)
        ahead = kolmogorov.backward(np.eye(len(Q))[-1], Q, times)
        figure = picture(6.4, 2.9)
        axes = figure.subplots()
        for law, u, ink in zip(laws.T, ahead.T, INKS, strict=False):
            axes.plot(times, law, color=ink)
            axes.plot(times, u, color=ink, linestyle="--")
        axes.set(xlabel="s; solid: law forward, dashed: function backward", ylim=(0, 1.02))
        quiet(axes)
        return png(figure)


class JumpWalkers(Figure):
    """Walkers that wait and jump, run by the page, against the law from the forward equation.

    rates:   (n, n) generator, 2 to 5 states
    horizon: how long they walk
    Raises ``ValueError`` that names the argument and what is wrong with it.
    """

    _esm = script("jumps.js")
    _css = SHEET
    rates: traitlets.List = traitlets.List().tag(sync=True)
    laws: traitlets.List = traitlets.List().tag(sync=True)
    horizon = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        rates: object,
        horizon: float = 8.0,
        *,
        label: str = "Walkers that wait and jump, against their law",
        caption: str = "",
    ) -> None:
        Q = _checked_rates("rates", rates)
        times = np.linspace(0, checks.positive("horizon", horizon), 201)
        laws = [kolmogorov.forward(start, Q, times).round(9).tolist() for start in np.eye(len(Q))]
        super().__init__(label=label, caption=caption, rates=Q.tolist(), laws=laws, horizon=float(horizon))

    def poster(self) -> bytes:
        figure = picture(6.4, 2.4)
        axes = figure.subplots()
        for seed in range(3):
            times, states = gillespie.path(self.rates, 0, self.horizon, np.random.default_rng(seed))
            ends = np.append(times, self.horizon)
            axes.step(ends, np.append(states, states[-1]) + 1 + 0.06 * seed, where="post", color=INKS[seed])
        axes.set(xlabel="t", ylabel="state", yticks=range(1, len(self.rates) + 1))
        quiet(axes)
        return png(figure)


class StepBack(Figure):
    """The step back from x_t for data of two clumps at -1 and 1, against the best Gaussian, with beta on a slider.

    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("stepback.js")
    _css = SHEET
    x_t = traitlets.Float().tag(sync=True)
    beta = traitlets.Float().tag(sync=True)
    std = traitlets.Float().tag(sync=True)

    def __init__(
        self,
        x_t: float = 0.3,
        beta: float = 0.5,
        std: float = 0.5,
        *,
        label: str = "One step of a diffusion run backwards, against a Gaussian",
        caption: str = "",
    ) -> None:
        x_t, beta = checks.between("x_t", x_t, -2, 2), checks.between("beta", beta, 0.001, 0.9)
        std = checks.one_of("std", std, (0.2, 0.35, 0.5, 1.0))
        super().__init__(label=label, caption=caption, x_t=x_t, beta=beta, std=std)

    def poster(self) -> bytes:
        back = step_back(lambda x: two_clumps(x, self.std), self.x_t, self.beta)
        figure = picture(6.4, 2.6)
        axes = figure.subplots()
        shown = np.abs(back.grid) < 2.2
        x = back.grid[shown]
        fit = np.exp(-0.5 * (x - back.mean) ** 2 / back.variance) / np.sqrt(2 * np.pi * back.variance)
        axes.fill_between(x, np.exp(two_clumps(x, self.std)), color=INK, alpha=0.2)
        axes.plot(x, np.exp(back.log_density[shown]), color=PALETTE["data"])
        axes.plot(x, fit, color=PALETTE["model"], linestyle="--")
        axes.set(xlabel="solid: exact step back, dashed: best Gaussian", yticks=[])
        quiet(axes)
        return png(figure)
