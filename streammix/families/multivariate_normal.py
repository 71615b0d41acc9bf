"""The normal distribution of several fields together."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from streammix.errors import ConfigError
from streammix.families.base import Family, FloatArray

__all__ = ["MultivariateNormal"]


@dataclass(frozen=True, repr=False)
class MultivariateNormal(Family):
    """Multivariate normal distribution with a full covariance.

    p(x) = exp(-(x - mean)' covariance^-1 (x - mean) / 2) / sqrt(det(2 pi covariance)), for x of D real
    numbers.

    It is ``scipy.stats.multivariate_normal(mean, covariance)``. The parameters may be given as arrays and are
    kept as tuples.

    Where values repeat, a component may narrow onto one of them without end; `AutoMixture` stops it at half a step from
    one value to the next, about.

    Parameters
    ----------
    mean
        The D means, finite numbers.
    covariance
        The D x D covariance, symmetric and positive definite.

    Raises
    ------
    ConfigError
        If a parameter has another shape or is outside its domain, or only one of the two is given.

    References
    ----------
    Anderson, T. W. (2003). An Introduction to Multivariate Statistical Analysis, 3rd edition, chapter 2.

    Examples
    --------
    >>> from streammix.families import MultivariateNormal
    >>> MultivariateNormal([0, 1], [[1, 0.5], [0.5, 2]])
    MultivariateNormal(mean=(0.0, 1.0), covariance=((1.0, 0.5), (0.5, 2.0)))
    """

    mean: ArrayLike | None = None
    covariance: ArrayLike | None = None

    core: ClassVar[str] = "mvn"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.is_given:
            return
        mean = _finite(self.mean)
        if mean is None or mean.ndim != 1 or not mean.size:
            raise ConfigError(f"MultivariateNormal: mean must be a list of finite numbers, not {self.mean!r}")
        covariance = _finite(self.covariance)
        size = mean.size
        if covariance is None or covariance.shape != (size, size) or not _is_positive_definite(covariance):
            expected = f"a symmetric positive definite {size} x {size} matrix"
            raise ConfigError(f"MultivariateNormal: covariance must be {expected}, not {self.covariance!r}")
        rows = (covariance + covariance.T) / 2
        object.__setattr__(self, "mean", tuple(mean.tolist()))
        object.__setattr__(self, "covariance", tuple(tuple(row) for row in rows.tolist()))

    @property
    def n_fields(self) -> int | None:
        """How many fields the family spans: any number, until it has parameters."""
        return len(self.parameters[0]) if self.is_given else None

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean (D,) and the central second moment (D, D)."""
        mean, covariance = self.parameters
        return np.array(mean), np.array(covariance)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n rows of D numbers."""
        mean, covariance = self.statistics()
        return mean + rng.standard_normal((n, mean.size)) @ np.linalg.cholesky(covariance).T

    def expectation(self) -> FloatArray:
        """Return the mean."""
        return self.statistics()[0]


def _finite(values: Any) -> FloatArray | None:
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal length
        return None
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        return None
    return array.astype(np.float64)


def _is_positive_definite(matrix: FloatArray) -> bool:
    variances = np.diag(matrix)
    if not (variances > 0).all():
        return False
    scales = np.sqrt(variances)
    if not (np.abs(matrix - matrix.T) <= 1e-8 * np.outer(scales, scales)).all():
        return False
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True
