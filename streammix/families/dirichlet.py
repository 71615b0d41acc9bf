"""The Dirichlet distribution of shares that sum to 1."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from streammix.core.engine import digamma_gap
from streammix.errors import ConfigError
from streammix.families.base import Family, FloatArray, Interval

__all__ = ["Dirichlet"]


@dataclass(frozen=True, repr=False)
class Dirichlet(Family):
    """Dirichlet distribution of a composition: a group of fields that are positive and sum to 1.

    p(x) = Gamma(sum of concentration) prod_j x_j**(concentration_j - 1) / Gamma(concentration_j), for positive x of D
    shares that sum to 1.

    It is ``scipy.stats.dirichlet(concentration)``. A record's shares may miss the sum of 1 by 1e-6. Where some are
    missing, the others must leave something for them, and the missing ones are integrated out. The concentration may
    be given as an array and is kept as a tuple. A learnt sum of it lies between 1e-6 and 2e10.

    Parameters
    ----------
    concentration
        The D concentrations, positive numbers, two or more.

    Raises
    ------
    ConfigError
        If `concentration` is not a list of two positive finite numbers or more.

    References
    ----------
    Minka, T. P. (2000). Estimating a Dirichlet distribution. Technical report, MIT.

    Kotz, S., Balakrishnan, N. and Johnson, N. L. (2000). Continuous Multivariate Distributions, volume 1,
    chapter 49.

    Examples
    --------
    >>> from streammix.families import Dirichlet
    >>> Dirichlet([1, 2, 5]).expectation()
    array([0.125, 0.25 , 0.625])
    """

    concentration: ArrayLike | None = None

    core: ClassVar[str] = "dirichlet"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.is_given:
            return
        try:
            values = np.asarray(self.concentration)
        except ValueError:  # rows of unequal length
            values = np.array(None)
        is_valid = values.ndim == 1 and values.size > 1 and values.dtype.kind in "iuf"
        if not is_valid or not np.isfinite(values).all() or not (values > 0).all():
            expected = "a list of two positive numbers or more"
            raise ConfigError(f"Dirichlet: concentration must be {expected}, not {self.concentration!r}")
        object.__setattr__(self, "concentration", tuple(values.astype(np.float64).tolist()))

    @property
    def support(self) -> Interval:
        """The numbers between 0 and 1, without either; a composition's sum to 1."""
        return Interval(0.0, 1.0, low_open=True, high_open=True, what="a share between 0 and 1, without either")

    @property
    def n_fields(self) -> int | None:
        """How many fields the family spans: any number, until it has parameters."""
        return len(self.parameters[0]) if self.is_given else None

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the means of x, and their logarithms less the means of log x: D numbers each."""
        (concentration,) = self.parameters
        total = sum(concentration)
        gaps = [digamma_gap(value) - digamma_gap(total) for value in concentration]
        return self.expectation(), np.maximum(gaps, 0.0)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n rows of D shares."""
        (concentration,) = self.parameters
        return np.clip(rng.dirichlet(concentration, n), 5e-324, math.nextafter(1.0, 0.0))

    def expectation(self) -> FloatArray:
        """Return the mean of each share."""
        (concentration,) = self.parameters
        values = np.array(concentration)
        return np.asarray(values / values.sum())
