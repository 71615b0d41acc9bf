"""The Bernoulli distribution of a yes or no."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from streammix.families.base import PROBABILITY, Family, FloatArray, Interval

__all__ = ["Bernoulli"]


@dataclass(frozen=True, repr=False)
class Bernoulli(Family):
    """Bernoulli distribution.

    p(1) = p and p(0) = 1 - p; True and False stand for 1 and 0.

    It is ``scipy.stats.bernoulli(p)``.

    Parameters
    ----------
    p
        The probability of 1, a number from 0 to 1.

    Raises
    ------
    ConfigError
        If `p` is not a number from 0 to 1.

    References
    ----------
    Johnson, N. L., Kemp, A. W. and Kotz, S. (2005). Univariate Discrete Distributions, chapter 3.

    Examples
    --------
    >>> from streammix.families import Bernoulli
    >>> Bernoulli(0.8).support.describe()
    '0 or 1'
    """

    p: float | None = None

    core: ClassVar[str] = "bernoulli"
    domains: ClassVar[Mapping[str, Interval]] = {"p": PROBABILITY}

    @property
    def support(self) -> Interval:
        """0 and 1."""
        return Interval(0.0, 1.0, integer=True, what="0 or 1")

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean."""
        return (np.asarray(self.expectation()),)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw n zeros and ones."""
        return rng.binomial(1, self.expectation(), n)

    def expectation(self) -> float:
        """Return the mean, which is p."""
        (p,) = self.parameters
        return float(p)
