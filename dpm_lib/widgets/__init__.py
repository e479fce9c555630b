"""Interactive figures: they play in Jupyter, in Colab and in the built book, where no kernel runs."""

from dpm_lib.extras import extra

with extra("figures"):  # before any module here imports them
    import anywidget  # noqa: F401
    import IPython  # noqa: F401
    import matplotlib  # noqa: F401
    import traitlets  # noqa: F401

from dpm_lib.widgets.annealing import AnnealedParticles, WorkHistograms
from dpm_lib.widgets.base import Figure
from dpm_lib.widgets.bits import HeartbeatPlayer, LearningCourse, OwnBits
from dpm_lib.widgets.bound import ClosingGap, EntropyBand, Ledger
from dpm_lib.widgets.chains import ChainEditor, DoubleWellWalk
from dpm_lib.widgets.costs import TrainingCost
from dpm_lib.widgets.diffusion import BentPotential, StepsOfOneNoise, WalkLimit
from dpm_lib.widgets.images import ImagePlayer, LevelPosterior
from dpm_lib.widgets.information import InformationArea, InformationScales
from dpm_lib.widgets.kolmogorov import JumpWalkers, RatePlayground, StepBack
from dpm_lib.widgets.player import TrajectoryPlayer
from dpm_lib.widgets.posteriors import BiasOnALine, DigitStrip, PaintedPosterior
from dpm_lib.widgets.sampler import LiveSampler
from dpm_lib.widgets.schedule import ScheduleBars
from dpm_lib.widgets.tweedie import GuessField, TwoPictures, WaysBack
from dpm_lib.widgets.vae import Contest, Rungs

__all__ = [
    "AnnealedParticles",
    "BentPotential",
    "BiasOnALine",
    "ChainEditor",
    "ClosingGap",
    "Contest",
    "DigitStrip",
    "DoubleWellWalk",
    "EntropyBand",
    "Figure",
    "GuessField",
    "HeartbeatPlayer",
    "ImagePlayer",
    "InformationArea",
    "InformationScales",
    "JumpWalkers",
    "LearningCourse",
    "Ledger",
    "LevelPosterior",
    "LiveSampler",
    "OwnBits",
    "PaintedPosterior",
    "RatePlayground",
    "Rungs",
    "ScheduleBars",
    "StepBack",
    "StepsOfOneNoise",
    "TrainingCost",
    "TrajectoryPlayer",
    "TwoPictures",
    "WalkLimit",
    "WaysBack",
    "WorkHistograms",
]
