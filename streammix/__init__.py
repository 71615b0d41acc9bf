"""Finite mixture models learnt from event streams by online expectation-maximisation."""

TYPE_CHECKING = False  # as in `typing`, which is long to load
if TYPE_CHECKING:
    from typing import Any

    from streammix import batch
    from streammix.adapters import AsDetector, AsFeatures
    from streammix.auto.automixture import AutoMixture
    from streammix.errors import CheckpointError, ConfigError, RecordError, StreammixError
    from streammix.families import (
        Bernoulli,
        Beta,
        Binomial,
        Categorical,
        Dirichlet,
        Exponential,
        Fixed,
        Gamma,
        Geometric,
        InverseGaussian,
        LogNormal,
        Multinomial,
        MultivariateNormal,
        NegativeBinomial,
        Normal,
        Poisson,
        StudentT,
        Uniform,
        VonMises,
        ZeroInflated,
    )
    from streammix.mixture import Ingested, Mixture
    from streammix.stepsize import HalfLife, PowerDecay, RunningMean
    from streammix.store import Checkpoint, CheckpointStore, load, save

__version__ = "0.1.0"

__all__ = [
    "AsDetector",
    "AsFeatures",
    "AutoMixture",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Checkpoint",
    "CheckpointError",
    "CheckpointStore",
    "ConfigError",
    "Dirichlet",
    "Exponential",
    "Fixed",
    "Gamma",
    "Geometric",
    "HalfLife",
    "Ingested",
    "InverseGaussian",
    "LogNormal",
    "Mixture",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "PowerDecay",
    "RecordError",
    "RunningMean",
    "StreammixError",
    "StudentT",
    "Uniform",
    "VonMises",
    "ZeroInflated",
    "batch",
    "load",
    "save",
]

# Where each name lives; it is imported when it is first asked for, so that the command line starts at once.
_HOMES = {
    "streammix.adapters": ("AsDetector", "AsFeatures"),
    "streammix.auto.automixture": ("AutoMixture",),
    "streammix.batch": ("batch",),
    "streammix.errors": ("CheckpointError", "ConfigError", "RecordError", "StreammixError"),
    "streammix.families": (
        "Bernoulli",
        "Beta",
        "Binomial",
        "Categorical",
        "Dirichlet",
        "Exponential",
        "Fixed",
        "Gamma",
        "Geometric",
        "InverseGaussian",
        "LogNormal",
        "Multinomial",
        "MultivariateNormal",
        "NegativeBinomial",
        "Normal",
        "Poisson",
        "StudentT",
        "Uniform",
        "VonMises",
        "ZeroInflated",
    ),
    "streammix.mixture": ("Ingested", "Mixture"),
    "streammix.stepsize": ("HalfLife", "PowerDecay", "RunningMean"),
    "streammix.store": ("Checkpoint", "CheckpointStore", "load", "save"),
}


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            module = import_module(home)
            found = module if home == f"{__name__}.{name}" else getattr(module, name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
