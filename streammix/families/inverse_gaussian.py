"""The inverse Gaussian distribution of a positive field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.families.base import POSITIVE, Family, FloatArray, Interval

__all__ = ["InverseGaussian"]


@dataclass(frozen=True, repr=False)
class InverseGaussian(Family):
    """Inverse Gaussian (Wald) distribution: how long a drifting Brownian motion takes to a level.

    p(x) = sqrt(shape / (2 pi x**3)) exp(-shape (x - mean)**2 / (2 mean**2 x)), for x > 0.

    It is ``scipy.stats.invgauss(mean / shape, scale=shape)``. Its variance is mean**3 / shape. A learnt shape lies
    between 1e-12 and 1e12 times the mean: a field that hardly varies does not make it infinite.

    Parameters
    ----------
    mean
        The mean, a positive number.
    shape
        The shape, a positive number.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only one of the two is given.

    References
    ----------
    Tweedie, M. C. K. (1957). Statistical properties of inverse Gaussian distributions I. Annals of Mathematical
    Statistics 28.

    Johnson, N. L., Kotz, S. and Balakrishnan, N. (1994). Continuous Univariate Distributions, volume 1,
    chapter 15.

    Examples
    --------
    >>> from streammix.families import InverseGaussian
    >>> InverseGaussian(mean=3, shape=12).expectation()
    3.0
    """

    mean: float | None = None
    shape: float | None = None

    core: ClassVar[str] = "inverse_gaussian"
    domains: ClassVar[Mapping[str, Interval]] = {"mean": POSITIVE, "shape": POSITIVE}

    @property
    def support(self) -> Interval:
        """The positive numbers."""
        return POSITIVE

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean of x, and that times the mean of 1 / x less 1, which is mean / shape."""
        mean, shape = self.parameters
        return np.asarray(mean), np.asarray(mean / shape)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n positive numbers."""
        mean, shape = self.parameters
        square = rng.chisquare(1, n) * (mean / shape)  # has two roots, of which the smaller is the more probable
        root = 1.0 / (1.0 + square / 2 + np.sqrt(square * (1.0 + square / 4)))
        larger = rng.uniform(size=n) * (1.0 + root) > 1.0
        return np.asarray(np.maximum(mean * np.where(larger, 1.0 / root, root), 5e-324))

    def expectation(self) -> float:
        """Return the mean."""
        mean, _ = self.parameters
        return float(mean)
