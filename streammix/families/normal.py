"""The normal distribution of one field."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.families.base import POSITIVE, REAL, Family, FloatArray, Interval

__all__ = ["Normal"]


@dataclass(frozen=True, repr=False)
class Normal(Family):
    """Normal distribution.

    p(x) = exp(-(x - mean)**2 / (2 variance)) / sqrt(2 pi variance), for any real x.

    It is ``scipy.stats.norm(loc=mean, scale=sqrt(variance))``. Several fields with a Normal each are a normal
    distribution with a diagonal covariance.

    Where values repeat, a component may narrow onto one of them without end; `AutoMixture` stops it at half a step from
    one value to the next, about.

    Parameters
    ----------
    mean
        The mean, a finite number.
    variance
        The variance (not the standard deviation), a positive number.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only one of the two is given.

    References
    ----------
    Johnson, N. L., Kotz, S. and Balakrishnan, N. (1994). Continuous Univariate Distributions, volume 1,
    chapter 13.

    Examples
    --------
    >>> from streammix.families import Normal
    >>> Normal()
    Normal()
    >>> Normal(1, 4).expectation()
    1.0
    """

    mean: float | None = None
    variance: float | None = None

    core: ClassVar[str] = "normal"
    domains: ClassVar[Mapping[str, Interval]] = {"mean": REAL, "variance": POSITIVE}

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean and the central second moment."""
        mean, variance = self.parameters
        return np.asarray(mean), np.asarray(variance)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n numbers."""
        mean, variance = self.parameters
        return rng.normal(mean, math.sqrt(variance), n)

    def expectation(self) -> float:
        """Return the mean."""
        mean, _ = self.parameters
        return float(mean)
