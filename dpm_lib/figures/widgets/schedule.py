"""A beta schedule to bend, above the bars of KL_t that it causes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from dpm_lib.core import checks
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script
from dpm_lib.figures.widgets.base import Figure, checked, picture, png, quiet


class ScheduleBars(Figure):
    """The bound K of the best Gaussian reverse kernel, term by term, under a schedule the reader can bend.

    log_tau_grid: (G,), increasing and evenly spaced; tau = 1 / alpha_bar - 1
    log_c:        {form: (G, S, d)}, logarithms of the variances of x_0 given x_t at S samples of x_t, by the
                  form of the covariance ('full': eigenvalues; 'diagonal': the diagonal; 'constant': S = 1)
    beta:         (T,), the schedule shown first: beta_1, ..., beta_T in (0, 1]
    limit_bits:   -H(X_0), which no bound exceeds
    presets:      {name: (T,)}, schedules to choose from
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("schedule.js")
    log_tau_grid = traitlets.List(traitlets.Float()).tag(sync=True)
    log_c = traitlets.Bytes(help="float32, the forms one after the other").tag(sync=True)
    log_c_sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    forms = traitlets.List(traitlets.Unicode()).tag(sync=True)
    d = traitlets.Int().tag(sync=True)
    beta = traitlets.List(traitlets.Float()).tag(sync=True)
    limit_bits = traitlets.Float().tag(sync=True)
    presets = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        log_tau_grid: object,
        log_c: Mapping[str, object],
        beta: object,
        limit_bits: float,
        presets: Mapping[str, object],
        *,
        label: str = "The bars of KL_t under a beta schedule",
        caption: str = "",
    ) -> None:
        grid = checked("log_tau_grid", log_tau_grid, ("G",))
        if len(grid) < 2 or grid[1] <= grid[0] or not np.allclose(np.diff(grid), grid[1] - grid[0], rtol=1e-4):
            raise ValueError(f"log_tau_grid: need two or more, increasing and evenly spaced, got {grid}")
        tables = {
            form: checked(f"log_c[{form!r}]", c, (len(grid), "S", "d"))
            for form, c in checks.some("log_c", log_c).items()
        }
        sizes = {form: table.shape[2] for form, table in tables.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"log_c: need the same d for every form, got {sizes}")
        first = _checked_beta("beta", beta, "T")
        super().__init__(
            label=label,
            caption=caption,
            log_tau_grid=grid.tolist(),
            log_c=b"".join(table.astype("<f4").tobytes() for table in tables.values()),
            log_c_sizes=[table.size for table in tables.values()],
            forms=list(tables),
            d=next(iter(sizes.values())),
            beta=first.tolist(),
            limit_bits=checks.between("limit_bits", limit_bits, -math.inf),
            presets={k: _checked_beta(f"presets[{k!r}]", v, len(first)).tolist() for k, v in presets.items()},
        )

    @classmethod
    def from_best(cls, best: Any, presets: Mapping[str, Any], **options: Any) -> "ScheduleBars":
        """The figure of a ``BestReverse`` table; ``presets`` are schedules, of which the first is shown first.

        The variances of a level are sorted and averaged in 64 groups, dimension by dimension, so that the page stays
        small: KL_t is a mean over them, and does not care which goes with which.
        """
        log_c = {form: _grouped(best.variances[form], 64).log() for form in ("full", "diagonal", "constant")}
        betas = {name: schedule.beta.detach()[1:] for name, schedule in presets.items()}
        limit_bits = -best.target.entropy() / math.log(2)
        return cls(best.log_tau, log_c, next(iter(betas.values())), limit_bits, betas, **options)

    def poster(self) -> bytes:
        figure = picture(6.4, 4.2)
        schedule, bars = figure.subplots(2, 1, sharex=True)
        times = np.arange(1, len(self.beta) + 1)
        schedule.semilogy(times, self.beta, color=PALETTE["data"])
        schedule.set(ylabel="beta")
        table = np.frombuffer(self.log_c, "<f4")[: self.log_c_sizes[0]].reshape(len(self.log_tau_grid), -1, self.d)
        bars.bar(times[1:], kl_bits(self.beta, self.log_tau_grid, table), color=PALETTE["model"])
        bars.set(xlabel="t", ylabel="KL, bits")
        quiet(schedule)
        quiet(bars)
        return png(figure)


def kl_bits(beta: Sequence[float], log_tau_grid: Sequence[float], log_c: np.ndarray) -> np.ndarray:
    """KL_2, ..., KL_T (T - 1,) in bits, as the figure computes them; ``log_c`` (G, S, d) of one form.

    KL_t = 1/2 mean over samples of sum_i log(1 + (1/tau_{t-1} - 1/tau_t) c_i(tau_t)) nats
    """
    log_alpha_bar = np.log1p(-np.clip(beta, 1e-9, 1 - 1e-9)).cumsum()
    tau = np.expm1(-log_alpha_bar)
    columns = log_c.reshape(len(log_c), -1).T
    log_variance = np.stack([np.interp(np.log(tau[1:]), np.asarray(log_tau_grid), column) for column in columns])
    kl = np.log1p((1 / tau[:-1] - 1 / tau[1:]) * np.exp(log_variance))
    return 0.5 * log_c.shape[2] * kl.mean(axis=0) / np.log(2)


def _grouped(variances: Any, groups: int) -> Any:
    """(G, S, d) reduced to (G, at most ``groups``, d) by averaging neighbours in order of size."""
    levels, samples, d = variances.shape
    groups = math.gcd(samples, groups)  # equal groups, or their mean would not be the samples'
    return variances.sort(dim=1).values.reshape(levels, groups, samples // groups, d).mean(2)


def _checked_beta(name: str, values: object, length: int | str) -> np.ndarray:
    beta = checked(name, values, (length,))
    if len(beta) < 2:
        raise ValueError(f"{name}: {len(beta)} steps: need at least two")
    if (beta <= 0).any() or (beta > 1).any():
        wrong = beta[(beta <= 0) | (beta > 1)][0]
        raise ValueError(f"{name}: {wrong}: need rates in (0, 1]")
    return beta
