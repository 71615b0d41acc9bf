"""The log-normal distribution of a positive field."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.families.base import POSITIVE, REAL, Family, FloatArray, Interval

__all__ = ["LogNormal"]


@dataclass(frozen=True, repr=False)
class LogNormal(Family):
    """Log-normal distribution: log x is normal.

    p(x) = exp(-(log x - mean)**2 / (2 variance)) / (x sqrt(2 pi variance)), for x > 0.

    It is ``scipy.stats.lognorm(s=sqrt(variance), scale=exp(mean))``. Both parameters are of log x.

    Where values repeat, a component may narrow onto one of them without end; `AutoMixture` stops it at half a step from
    one value to the next, about.

    Parameters
    ----------
    mean
        The mean of log x, a finite number.
    variance
        The variance of log x, a positive number.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only one of the two is given.

    References
    ----------
    Johnson, N. L., Kotz, S. and Balakrishnan, N. (1994). Continuous Univariate Distributions, volume 1,
    chapter 14.

    Examples
    --------
    >>> from streammix.families import LogNormal
    >>> round(LogNormal(0, 1).expectation(), 6)
    1.648721
    """

    mean: float | None = None
    variance: float | None = None

    core: ClassVar[str] = "lognormal"
    domains: ClassVar[Mapping[str, Interval]] = {"mean": REAL, "variance": POSITIVE}

    @property
    def support(self) -> Interval:
        """The positive numbers."""
        return POSITIVE

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean and the central second moment of log x."""
        mean, variance = self.parameters
        return np.asarray(mean), np.asarray(variance)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n positive numbers."""
        mean, variance = self.parameters
        return rng.lognormal(mean, math.sqrt(variance), n)

    def expectation(self) -> float:
        """Return the mean of x, exp(mean + variance / 2): infinite where that is past the largest float."""
        mean, variance = self.parameters
        try:
            return math.exp(mean + variance / 2)
        except OverflowError:
            return math.inf
