"""The negative binomial distribution of a count that varies more than a Poisson's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import digamma_gap
from streammix.families.base import COUNT, POSITIVE, Family, FloatArray, Interval, poisson

__all__ = ["NegativeBinomial"]


@dataclass(frozen=True, repr=False)
class NegativeBinomial(Family):
    """Negative binomial distribution.

    p(x) = Gamma(x + size) / (Gamma(size) x!) (size / (size + mean))**size (mean / (size + mean))**x, for
    x = 0, 1, 2, ...

    It is ``scipy.stats.nbinom(size, size / (size + mean))``: a Poisson whose rate is gamma distributed with shape
    `size` and mean `mean`. Its variance is mean + mean**2 / size. It is learnt through the expectations of that rate
    and its logarithm given each count. A learnt size lies between about 1e-6 and 1e10.

    Parameters
    ----------
    mean
        The mean count, a positive number.
    size
        The shape of the rate's distribution, a positive number: the larger, the nearer to a Poisson.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only one of the two is given.

    References
    ----------
    Johnson, N. L., Kemp, A. W. and Kotz, S. (2005). Univariate Discrete Distributions, 3rd edition, chapter 5.

    Adamidis, K. (1999). An EM algorithm for estimating negative binomial parameters. Australian & New Zealand
    Journal of Statistics 41(2), 213-221.

    Examples
    --------
    >>> from streammix.families import NegativeBinomial
    >>> NegativeBinomial(mean=3, size=2).expectation()
    3.0
    """

    mean: float | None = None
    size: float | None = None

    core: ClassVar[str] = "negative_binomial"
    domains: ClassVar[Mapping[str, Interval]] = {"mean": POSITIVE, "size": POSITIVE}

    @property
    def support(self) -> Interval:
        """The whole numbers from 0."""
        return COUNT

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean of the latent rate, and its logarithm less the mean of the rate's logarithm."""
        mean, size = self.parameters
        return np.asarray(mean), np.asarray(digamma_gap(size))

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[Any]:
        """Draw n counts."""
        mean, size = self.parameters
        return poisson(rng.gamma(size, mean / size, n), n, rng)

    def expectation(self) -> float:
        """Return the mean."""
        return float(self.parameters[0])
