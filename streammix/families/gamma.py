"""The gamma distribution of a positive field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.core.engine import digamma_gap
from streammix.families.base import POSITIVE, Family, FloatArray, Interval

__all__ = ["Gamma"]


@dataclass(frozen=True, repr=False)
class Gamma(Family):
    """Gamma distribution.

    p(x) = x**(shape - 1) exp(-x / scale) / (Gamma(shape) scale**shape), for x > 0.

    It is ``scipy.stats.gamma(shape, scale=scale)``. Its mean is shape * scale. A learnt shape lies between about 1e-6
    and 1e10: a field that hardly varies does not make it infinite.

    Parameters
    ----------
    shape
        The shape, a positive number.
    scale
        The scale, a positive number.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only one of the two is given.

    References
    ----------
    Minka, T. P. (2002). Estimating a Gamma distribution. Microsoft Research technical report.

    Johnson, N. L., Kotz, S. and Balakrishnan, N. (1994). Continuous Univariate Distributions, volume 1,
    chapter 17.

    Examples
    --------
    >>> from streammix.families import Gamma
    >>> Gamma(shape=2, scale=1.5).expectation()
    3.0
    """

    shape: float | None = None
    scale: float | None = None

    core: ClassVar[str] = "gamma"
    domains: ClassVar[Mapping[str, Interval]] = {"shape": POSITIVE, "scale": POSITIVE}

    @property
    def support(self) -> Interval:
        """The positive numbers."""
        return POSITIVE

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean of x, and its logarithm less the mean of log x."""
        shape, _ = self.parameters
        return np.asarray(self.expectation()), np.asarray(digamma_gap(shape))

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n positive numbers."""
        shape, scale = self.parameters
        return np.maximum(rng.gamma(shape, scale, n), 5e-324)

    def expectation(self) -> float:
        """Return the mean, shape * scale."""
        shape, scale = self.parameters
        return float(shape * scale)
