"""The binomial distribution of successes among n trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streammix.families.base import PROBABILITY, Family, FloatArray, Interval

__all__ = ["Binomial"]


@dataclass(frozen=True, repr=False)
class Binomial(Family):
    """Binomial distribution.

    p(x) = n! / (x! (n - x)!) p**x (1 - p)**(n - x), for x = 0, 1, ..., n.

    It is ``scipy.stats.binom(n, p)``. The number of trials belongs to the declaration: ``Binomial(10)`` is to
    be learnt. A probability is a double: within 1e-12 of 1, 1 - p has but a few digits left, and so has the log density
    of a failure (4e-6 off). There, let failures be what is counted.

    Parameters
    ----------
    n
        The number of trials, a whole number from 1 to 2**53.
    p
        The probability of success, a number from 0 to 1.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain.

    References
    ----------
    Johnson, N. L., Kemp, A. W. and Kotz, S. (2005). Univariate Discrete Distributions, chapter 3.

    Examples
    --------
    >>> from streammix.families import Binomial
    >>> Binomial(10)
    Binomial(n=10)
    >>> Binomial(10, 0.4).expectation()
    4.0
    """

    n: int
    p: float | None = None

    core: ClassVar[str] = "binomial"
    domains: ClassVar[Mapping[str, Interval]] = {
        # past 2**53 a float can't tell one count from the next
        "n": Interval(1.0, 2.0**53, integer=True, what="a whole number from 1 to 2**53"),
        "p": PROBABILITY,
    }

    @property
    def support(self) -> Interval:
        """The whole numbers from 0 to n."""
        return Interval(0.0, float(self.n), integer=True, what=f"a whole number from 0 to {self.n}")

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean."""
        return (np.asarray(self.expectation()),)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw n counts of successes."""
        (p,) = self.parameters
        return rng.binomial(self.n, p, n)

    def expectation(self) -> float:
        """Return the mean, n p."""
        (p,) = self.parameters
        return float(self.n * p)
