"""The beta distribution of a share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.core.engine import digamma_gap
from streammix.families.base import POSITIVE, Family, FloatArray, Interval

__all__ = ["Beta"]


@dataclass(frozen=True, repr=False)
class Beta(Family):
    """Beta distribution.

    p(x) = x**(a - 1) (1 - x)**(b - 1) / B(a, b), for 0 < x < 1.

    It is ``scipy.stats.beta(a, b)``. Its mean is a / (a + b). A learnt a + b lies between 1e-6 and 2e10: a field that
    hardly varies does not make it infinite.

    Parameters
    ----------
    a
        The weight of x, a positive number.
    b
        The weight of 1 - x, a positive number.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only one of the two is given.

    References
    ----------
    Johnson, N. L., Kotz, S. and Balakrishnan, N. (1995). Continuous Univariate Distributions, volume 2,
    chapter 25.

    Examples
    --------
    >>> from streammix.families import Beta
    >>> Beta(a=1, b=3).expectation()
    0.25
    """

    a: float | None = None
    b: float | None = None

    core: ClassVar[str] = "beta"
    domains: ClassVar[Mapping[str, Interval]] = {"a": POSITIVE, "b": POSITIVE}

    @property
    def support(self) -> Interval:
        """The numbers between 0 and 1, without either."""
        return Interval(0.0, 1.0, low_open=True, high_open=True, what="a number between 0 and 1, without either")

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the means of x and 1 - x, and their logarithms less the means of log x and log(1 - x)."""
        both = np.array(self.parameters)
        total = float(both.sum())
        gaps = [digamma_gap(value) - digamma_gap(total) for value in both.tolist()]
        return both / total, np.maximum(gaps, 0.0)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n numbers between 0 and 1."""
        a, b = self.parameters
        return np.clip(rng.beta(a, b, n), 5e-324, math.nextafter(1.0, 0.0))

    def expectation(self) -> float:
        """Return the mean, a / (a + b)."""
        a, b = self.parameters
        return float(a / (a + b))
