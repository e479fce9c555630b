"""The converter of schedules: numbers of the reader's under all the names that noise levels have."""

import traitlets

from dpm_lib.core import checks
from dpm_lib.diffusion import schedules
from dpm_lib.diffusion.interpolants import LINEAR
from dpm_lib.diffusion.noise_levels import NAMES, write
from dpm_lib.diffusion.schedules import Schedule
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, picture, png, quiet

SCHEDULES = {
    "DDPM, linear": lambda T: schedules.linear(T, 1e-4, 0.02),
    "cosine, as published": schedules.published_cosine,
    "Stable Diffusion, scaled linear": schedules.scaled_linear,
    "EDM, Karras": schedules.karras,
    "2015 paper's for bits": schedules.even,
    "geometric": schedules.geometric,
    "straight path (rectified flow)": LINEAR.schedule,
}
PREDICTIONS = ("x0", "epsilon", "v", "score", "flow")
CURVES = {"snr": ("SNR", "data"), "sigma": ("σ", "model"), "beta": ("β", "drift"), "alpha_bar": ("ᾱ", "limit")}


class LevelConverter(Figure):
    """A schedule that is typed, pasted or chosen by its name, level by level, under every name; and, at one level, each
    prediction from each other.

    schedule:  one of ``SCHEDULES``, at first
    T:         its levels, 2 to 1000
    quantity:  what the numbers are, one of ``noise_levels.NAMES``
    source:    what a network says, one of ``PREDICTIONS``
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("converter.js")
    _css = style("figure.css", "converter.css")
    start = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        schedule: str = "DDPM, linear",
        T: int = 1000,
        quantity: str = "beta",
        source: str = "epsilon",
        *,
        label: str = "A schedule under all its names",
        caption: str = "",
    ) -> None:
        start = {
            "name": checks.one_of("schedule", schedule, tuple(SCHEDULES)),
            "T": checks.count("T", T, 2, 1000),
            "quantity": checks.one_of("quantity", quantity, NAMES),
            "source": checks.one_of("source", source, PREDICTIONS),
        }
        super().__init__(label=label, caption=caption, start=start)

    @property
    def schedule(self) -> Schedule:
        """The schedule that the figure opens with."""
        return SCHEDULES[self.start["name"]](self.start["T"])

    def poster(self) -> bytes:
        log_tau = self.schedule.log_tau[1:]
        figure = picture(6.4, 2.8)
        axes = figure.subplots()
        for name, (words, ink) in CURVES.items():
            axes.plot(range(1, len(log_tau) + 1), write(name, log_tau), color=PALETTE[ink], label=words)
        axes.legend(fontsize=8)
        axes.set(xlabel="level, from data to noise", yscale="log")
        quiet(axes)
        return png(figure)
