"""Finite mixture models learnt from event streams by online expectation-maximisation."""

from streammix import batch
from streammix.adapters import AsDetector, AsFeatures
from streammix.errors import CheckpointError, ConfigError, RecordError, StreammixError
from streammix.families import (
    Bernoulli,
    Binomial,
    Categorical,
    Exponential,
    Fixed,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
)
from streammix.mixture import Ingested, Mixture
from streammix.stepsize import HalfLife, PowerDecay, RunningMean
from streammix.store import Checkpoint, CheckpointStore, load, save

__version__ = "0.1.0"

__all__ = [
    "AsDetector",
    "AsFeatures",
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Checkpoint",
    "CheckpointError",
    "CheckpointStore",
    "ConfigError",
    "Exponential",
    "Fixed",
    "HalfLife",
    "Ingested",
    "LogNormal",
    "Mixture",
    "MultivariateNormal",
    "Normal",
    "Poisson",
    "PowerDecay",
    "RecordError",
    "RunningMean",
    "StreammixError",
    "batch",
    "load",
    "save",
]
