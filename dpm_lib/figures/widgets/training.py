"""Training in the page: the book's model learns what the reader chooses or draws, with K beside the exact limit."""

import traitlets

from dpm_lib.core import checks
from dpm_lib.core.constants import LN2
from dpm_lib.core.random import seeded
from dpm_lib.figures.palette import PALETTE
from dpm_lib.figures.scripts import script, style
from dpm_lib.figures.widgets.base import Figure, panels, picture, png
from dpm_lib.probability.swiss_roll import SwissRoll

KINDS = ("roll", "moons", "clumps", "k", "s")
CHOICES = {
    "T": (5, 10, 20, 40, 100),
    "width": (16, 32, 64, 128),
    "steps": (500, 1000, 2000, 4000, 8000),
}


class LiveTraining(Figure):
    """A diffusion model of points in the plane that is trained in the page, with K in bits beside -H(X0).

    kind:    what it is trained on at first, one of ``KINDS``; readers choose, or draw, their own
    noise:   the width of the blur, in units of the drawing, which is 32 of them wide: of the roll, scikit-learn's
    T, width, steps:  of the recipe "swiss-roll", which the page follows in all else; one of ``CHOICES``
    Raises ``ValueError`` that names the argument and the offending value.
    """

    _esm = script("training.js")
    _css = style("figure.css", "training.css")
    start = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        kind: str = "roll",
        noise: float = 0.25,
        T: int = 40,
        width: int = 64,
        steps: int = 2000,
        *,
        label: str = "A model that is trained in the page",
        caption: str = "",
    ) -> None:
        settings = {"T": T, "width": width, "steps": steps}
        for name, value in settings.items():
            if value not in CHOICES[name]:
                raise ValueError(f"{name}: {value}: need one of {', '.join(map(str, CHOICES[name]))}")
        start = {
            "kind": checks.one_of("kind", kind, KINDS),
            "noise": checks.positive("noise", noise),
            "settings": settings,
        }
        super().__init__(label=label, caption=caption, start=start)

    def poster(self) -> bytes:
        law = SwissRoll(0.25)
        generator = seeded(0)
        figure = picture(6.4, 2.6)
        clouds = {"the data": ("data", 0.0), "with noise, τ = 0.05": ("drift", 0.05), "τ = 1": ("model", 1.0)}
        for axes, (words, (ink, tau)) in zip(panels(figure, 1, 3), clouds.items(), strict=True):
            x = law.sample(900, generator)
            x = (x + tau**0.5 * x.new_empty(x.shape).normal_(generator=generator)) / (1 + tau) ** 0.5
            axes.scatter(x[:, 0], x[:, 1], s=2, color=PALETTE[ink], linewidths=0)
            axes.set(title=words, aspect="equal")
        figure.suptitle(f"Limit of K for the swiss roll: −H(X₀) = {-law.entropy() / LN2:.3f} bits", size=9)
        return png(figure)
