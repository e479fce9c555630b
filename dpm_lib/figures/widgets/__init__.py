"""Interactive figures: they play in Jupyter, in Colab and in the built book, where no kernel runs."""

from dpm_lib.core.extras import extra

with extra("figures"):  # before any module here imports them
    import anywidget  # noqa: F401
    import IPython  # noqa: F401
    import matplotlib  # noqa: F401
    import traitlets  # noqa: F401

from dpm_lib.figures.widgets.annealing import AnnealedParticles, WorkHistograms
from dpm_lib.figures.widgets.base import Figure
from dpm_lib.figures.widgets.bits import HeartbeatPlayer, LearningCourse, OwnBits
from dpm_lib.figures.widgets.bits_along import BitsAlong, RoundedStep
from dpm_lib.figures.widgets.bound import ClosingGap, EntropyBand, Ledger
from dpm_lib.figures.widgets.chains import ChainEditor, DoubleWellWalk
from dpm_lib.figures.widgets.comparing import BesideOthers, TakingTurns
from dpm_lib.figures.widgets.converter import LevelConverter
from dpm_lib.figures.widgets.costs import TrainingCost
from dpm_lib.figures.widgets.diffusion import BentPotential, StepsOfOneNoise, WalkLimit
from dpm_lib.figures.widgets.guided_digits import GuidedDigits
from dpm_lib.figures.widgets.images import ImagePlayer, LevelPosterior
from dpm_lib.figures.widgets.information import InformationArea, InformationScales
from dpm_lib.figures.widgets.kolmogorov import JumpWalkers, RatePlayground, StepBack
from dpm_lib.figures.widgets.masks import MaskedEntropy, MaskedString, ParallelDecoding
from dpm_lib.figures.widgets.objectives import LossWeights
from dpm_lib.figures.widgets.player import TrajectoryPlayer
from dpm_lib.figures.widgets.posteriors import BiasOnALine, DigitStrip, PaintedPosterior
from dpm_lib.figures.widgets.sampler import LiveSampler
from dpm_lib.figures.widgets.samplers import ContinuousBound, SamplerRace
from dpm_lib.figures.widgets.schedule import ScheduleBars
from dpm_lib.figures.widgets.score_matching import BlindShare, LangevinLevels, LossFloor
from dpm_lib.figures.widgets.steering import GuidedMixture
from dpm_lib.figures.widgets.straight import FewSteps, ThreePaths, TwoLaws
from dpm_lib.figures.widgets.text_unmasking import TextUnmasking
from dpm_lib.figures.widgets.training import LiveTraining
from dpm_lib.figures.widgets.tweedie import GuessField, TwoPictures, WaysBack
from dpm_lib.figures.widgets.vae import Contest, Rungs

__all__ = [
    "AnnealedParticles",
    "BentPotential",
    "BesideOthers",
    "BiasOnALine",
    "BitsAlong",
    "BlindShare",
    "ChainEditor",
    "ClosingGap",
    "Contest",
    "ContinuousBound",
    "DigitStrip",
    "DoubleWellWalk",
    "EntropyBand",
    "FewSteps",
    "Figure",
    "GuessField",
    "GuidedDigits",
    "GuidedMixture",
    "HeartbeatPlayer",
    "ImagePlayer",
    "InformationArea",
    "InformationScales",
    "JumpWalkers",
    "LangevinLevels",
    "LearningCourse",
    "Ledger",
    "LevelConverter",
    "LevelPosterior",
    "LiveSampler",
    "LiveTraining",
    "LossFloor",
    "LossWeights",
    "MaskedEntropy",
    "MaskedString",
    "OwnBits",
    "PaintedPosterior",
    "ParallelDecoding",
    "RatePlayground",
    "RoundedStep",
    "Rungs",
    "SamplerRace",
    "ScheduleBars",
    "StepBack",
    "StepsOfOneNoise",
    "TakingTurns",
    "TextUnmasking",
    "ThreePaths",
    "TrainingCost",
    "TrajectoryPlayer",
    "TwoLaws",
    "TwoPictures",
    "WalkLimit",
    "WaysBack",
    "WorkHistograms",
]
