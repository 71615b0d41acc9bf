"""The geometric distribution of a count."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streammix.families.base import COUNT, Family, FloatArray, Interval

__all__ = ["Geometric"]


@dataclass(frozen=True, repr=False)
class Geometric(Family):
    """Geometric distribution: how many failures come before the first success.

    P(x) = p (1 - p)**x, for x = 0, 1, 2, ...

    It is ``scipy.stats.geom(p, loc=-1)``. Its mean is (1 - p) / p.

    Parameters
    ----------
    p
        The probability of success, a number above 0, up to 1.

    Raises
    ------
    ConfigError
        If `p` is not a number above 0, up to 1.

    References
    ----------
    Johnson, N. L., Kemp, A. W. and Kotz, S. (2005). Univariate Discrete Distributions, chapter 5.

    Examples
    --------
    >>> from streammix.families import Geometric
    >>> Geometric(p=0.2).expectation()
    4.0
    """

    p: float | None = None

    core: ClassVar[str] = "geometric"
    domains: ClassVar[Mapping[str, Interval]] = {
        "p": Interval(0.0, 1.0, low_open=True, what="a number above 0, up to 1")
    }

    @property
    def support(self) -> Interval:
        """The whole numbers from 0."""
        return COUNT

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean."""
        return (np.asarray(self.expectation()),)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Draw n counts."""
        (p,) = self.parameters
        if p < 1e-15:  # an exponential, in steps too small to see
            return np.asarray(np.floor(rng.exponential(size=n) / max(p, 1e-300)))
        return rng.geometric(p, n) - 1

    def expectation(self) -> float:
        """Return the mean, (1 - p) / p, where it is not beyond 1e300."""
        (p,) = self.parameters
        return float((1.0 - p) / max(p, 1e-300))
