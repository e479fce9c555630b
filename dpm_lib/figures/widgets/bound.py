"""The figures of the chapter on the bound: the ledger, the entropy of each reverse step, and how the gap closes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion.schedules import geometric
from dpm_lib.exact import bound_derivation, enumeration
from dpm_lib.figures.palette import INK, PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet
from dpm_lib.probability.mixtures import Mixture

SHEET = style("figure.css", "bound.css")
LOG_2PIE = 1 + math.log(2 * math.pi)


class TinyFigure(Figure):
    """A figure of ``enumeration.coupled_bits``, recomputed in the page.

    ``settings``: coupling, field, coin, beta (2 to 4 rates), error, joint, as in ``coupled_bits``, which raises
    ``ValueError`` for the bad ones.
    """

    _css = SHEET
    settings = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        coupling: float = 0.8,
        beta: Sequence[float] = (0.04, 0.4, 0.7),
        error: float = 0.1,
        *,
        field: float = 0.3,
        coin: float = 0.5,
        joint: bool = False,
        label: str = "The bound on three bits, by enumeration",
        caption: str = "",
    ) -> None:
        rates = [float(b) for b in checked("beta", beta, ("T",))]
        if not 2 <= len(rates) <= 4:
            raise ValueError(f"beta: {len(rates)} rates: need 2 to 4")
        enumeration.coupled_bits(coupling, rates, error, field=field, coin=coin, joint=joint)
        settings = {"coupling": coupling, "field": field, "coin": coin, "beta": rates, "error": error, "joint": joint}
        super().__init__(label=label, caption=caption, settings=settings)

    def chains(self) -> enumeration.FiniteChains:
        """The same two chains, in NumPy."""
        return enumeration.coupled_bits(**self.settings)


class Ledger(TinyFigure):
    """Every line of the derivation of K with its value, and where each bit goes."""

    _esm = script("ledger.js")

    def poster(self) -> bytes:
        """The value of each line, and what it lacks."""
        chains = self.chains()
        values = [sum(line.values()) / math.log(2) for line in bound_derivation.lines(chains).values()]
        limit = bound_derivation.account(chains)["limit"] / math.log(2)
        figure = picture(6.4, 3.2)
        axes = figure.subplots()
        axes.barh(range(1, 11), [limit - v for v in values], left=values, color=PALETTE["model"], height=0.5)
        axes.plot(values, range(1, 11), "o", color=PALETTE["data"])
        axes.axvline(limit, color=PALETTE["limit"], linestyle="--")
        axes.set(xlabel="bits; dashed: -H(X0)", ylabel="line", yticks=range(1, 11))
        axes.invert_yaxis()
        quiet(axes)
        return png(figure)


class ClosingGap(TinyFigure):
    """The log of the mean of n weights, run again and again, against log p and the delta method."""

    _esm = script("closing.js")

    def poster(self) -> bytes:
        """The gap over n, and the delta method's."""
        w, q = (rows[0] for rows in self.chains().weight_laws)
        p = float(w @ q)
        n = 2 ** np.arange(9)
        draws = np.random.default_rng(0).choice(w, (400, 256), p=q / q.sum())
        gaps = [math.log2(p) - float(np.log2(draws[:, :k].mean(1)).mean()) for k in n]
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        axes.loglog(n, q @ (w / p - 1) ** 2 / (2 * n * math.log(2)), "--", color=PALETTE["limit"])
        axes.loglog(n, gaps, "o", color=PALETTE["model"])
        axes.set(xlabel="trajectories n", ylabel="gap to log p, bits")
        quiet(axes)
        return png(figure)


class EntropyBand(Figure):
    """The exact entropy of each reverse step between its bounds, for data of any variance and any T.

    tables:   {name: {"grid": (G,) log tau, even, "short": (G,), "dim": d}}, see ``entropy_table``
    variance: of the data at first, per dimension, 0.1 to 10
    T:        number of steps at first, 3 to 60
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("entropy.js")
    _css = SHEET
    tables = traitlets.Dict().tag(sync=True)
    variance = traitlets.Float().tag(sync=True)
    T = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        variance: float = 1.0,
        T: int = 20,
        *,
        label: str = "The entropy of each reverse step between its bounds",
        caption: str = "",
    ) -> None:
        variance, T = checks.between("variance", variance, 0.1, 10), checks.count("T", T, 3, 60)
        kept = {}
        for name, table in checks.some("tables", tables).items():
            grid = checked(f"tables[{name!r}]['grid']", table["grid"], ("G",))
            short = checked(f"tables[{name!r}]['short']", table["short"], (len(grid),))
            if len(grid) < 2 or not np.allclose(np.diff(grid), grid[1] - grid[0]) or grid[1] <= grid[0]:
                raise ValueError(f"tables[{name!r}]['grid']: need two or more, increasing and even, got {grid}")
            kept[name] = {"grid": grid.round(6).tolist(), "short": short.round(7).tolist(), "dim": int(table["dim"])}
        super().__init__(label=label, caption=caption, tables=kept, variance=variance, T=T)

    def poster(self) -> bytes:
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        rows = entropy_rows(geometric_beta(self.T).tolist(), next(iter(self.tables.values())), self.variance)[1:]
        t = range(2, self.T + 1)
        for row, ink, mark in (("lower", "data", "-"), ("upper", "drift", "--"), ("exact", "model", "o")):
            axes.plot(t, [(each[row] - each["step"]) / math.log(2) for each in rows], mark, color=PALETTE[ink])
        axes.axhline(0, color=PALETTE["limit"])
        axes.set(xlabel="t", ylabel="bits, less the forward step's")
        axes.tick_params(colors=INK)
        quiet(axes)
        return png(figure)


def entropy_table(target: Mixture, nodes: int = 25, points: int = 321) -> dict[str, Any]:
    """What ``EntropyBand`` needs to know of data with E|y|^2 = d: how far H(y + sqrt(tau) noise) is from Gaussian.

    ``short`` is that entropy minus (d/2) log(2 pi e (1 + tau)), nats, computed at ``nodes`` values of log tau from -12
    to 8 and splined onto ``points``. Raises ``ValueError`` if E|y|^2 is not d.
    """
    from scipy.interpolate import CubicSpline  # here, for it is slow to import

    d = target.dim
    if abs(target.mean_square - d) > 1e-6:
        raise ValueError(f"target: E|y|^2 = {target.mean_square}: need {d}")
    at = np.linspace(-12, 8, nodes)
    short = [target.entropy(math.exp(a), nodes=8) - 0.5 * d * (LOG_2PIE + math.log1p(math.exp(a))) for a in at]
    grid = np.linspace(-12, 8, points)
    return {"grid": grid, "short": CubicSpline(at, short)(grid), "dim": d}


def geometric_beta(T: int) -> np.ndarray:
    """beta_1..beta_T (T,) of the figure's schedule: even in log tau from beta_1 = 0.001 to tau_T = 50."""
    return geometric(T, 0.001, 50.0).beta[1:].numpy()


def entropy_rows(beta: Sequence[float], table: Mapping[str, Any], variance: float) -> list[dict[str, float]]:
    """The numbers of ``EntropyBand``, nats, for t = 1..T, as the page computes them."""
    half = 0.5 * table["dim"]

    def entropy(kept: float) -> float:
        tau = (1 / kept - 1) / variance
        short = np.interp(math.log(tau) if tau > 0 else -math.inf, table["grid"], table["short"])
        return float(half * (LOG_2PIE + math.log(kept * variance * (1 + tau))) + short)

    rows, kept = [], 1.0
    for t, b in enumerate(beta, 1):
        after = kept * (1 - b)
        step = half * (LOG_2PIE + math.log(b))
        lower = step + half * math.log((1 - kept) / (1 - after)) if t > 1 else -math.inf
        upper = step + half * (kept - after) * (variance - 1)
        exact = step + entropy(kept) - entropy(after)
        rows.append({"step": step, "lower": lower, "printed": step, "upper": upper, "exact": exact})
        kept = after
    return rows
