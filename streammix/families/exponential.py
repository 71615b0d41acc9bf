"""The exponential distribution of a field that is 0 or more."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.families.base import POSITIVE, Family, FloatArray, Interval

__all__ = ["Exponential"]


@dataclass(frozen=True, repr=False)
class Exponential(Family):
    """Exponential distribution.

    p(x) = rate exp(-rate x), for x >= 0.

    It is ``scipy.stats.expon(scale=1 / rate)``.

    Parameters
    ----------
    rate
        The rate, a positive number: 1 / mean.

    Raises
    ------
    ConfigError
        If `rate` is not a positive finite number.

    References
    ----------
    Johnson, N. L., Kotz, S. and Balakrishnan, N. (1994). Continuous Univariate Distributions, volume 1,
    chapter 19.

    Examples
    --------
    >>> from streammix.families import Exponential
    >>> Exponential(rate=4).expectation()
    0.25
    """

    rate: float | None = None

    core: ClassVar[str] = "exponential"
    domains: ClassVar[Mapping[str, Interval]] = {"rate": POSITIVE}

    @property
    def support(self) -> Interval:
        """The numbers from 0."""
        return Interval(0.0, math.inf, what="a number, 0 or more")

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean."""
        return (np.asarray(self.expectation()),)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n numbers."""
        return rng.exponential(self.expectation(), n)

    def expectation(self) -> float:
        """Return the mean, 1 / rate."""
        (rate,) = self.parameters
        return float(1.0 / rate)
