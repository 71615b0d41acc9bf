"""The Poisson distribution of a count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streammix.families.base import COUNT, POSITIVE, Family, FloatArray, Interval, poisson

__all__ = ["Poisson"]


@dataclass(frozen=True, repr=False)
class Poisson(Family):
    """Poisson distribution.

    p(x) = rate**x exp(-rate) / x!, for x = 0, 1, 2, ...

    It is ``scipy.stats.poisson(mu=rate)``.

    Parameters
    ----------
    rate
        The mean count, a positive number.

    Raises
    ------
    ConfigError
        If `rate` is not a positive finite number.

    References
    ----------
    Johnson, N. L., Kemp, A. W. and Kotz, S. (2005). Univariate Discrete Distributions, chapter 4.

    Examples
    --------
    >>> from streammix.families import Poisson
    >>> Poisson(3)
    Poisson(rate=3.0)
    """

    rate: float | None = None

    core: ClassVar[str] = "poisson"
    domains: ClassVar[Mapping[str, Interval]] = {"rate": POSITIVE}

    @property
    def support(self) -> Interval:
        """The whole numbers from 0."""
        return COUNT

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean."""
        return (np.asarray(self.expectation()),)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Draw n counts."""
        return poisson(self.expectation(), n, rng)

    def expectation(self) -> float:
        """Return the mean, which is the rate."""
        (rate,) = self.parameters
        return float(rate)
