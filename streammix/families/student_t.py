"""Student's t distribution of one field: a normal distribution that forgives what lies far out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.families.base import POSITIVE, REAL, Family, FloatArray, Interval

__all__ = ["StudentT"]


@dataclass(frozen=True, repr=False)
class StudentT(Family):
    """Student's t distribution.

    p(x) = Gamma((df + 1) / 2) / (Gamma(df / 2) sqrt(pi df) scale)
    (1 + (x - location)**2 / (df scale**2))**(-(df + 1) / 2), for any real x.

    It is ``scipy.stats.t(df, loc=location, scale=scale)``. ``StudentT()`` learns all three parameters, within the
    domain of `df`; ``StudentT(df=4)`` learns location and scale, and keeps the degrees of freedom.

    Parameters
    ----------
    df
        The degrees of freedom, from 0.1 (one value in a hundred lies beyond 1e20 scales already) to 1e6 (nothing tells
        it from a normal distribution).
    location
        The centre, a finite number: the median, and the mean where df is above 1.
    scale
        The scale, a positive number; the variance is scale**2 df / (df - 2) where df is above 2.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only some are given, but for `df` alone.

    References
    ----------
    Liu, C. and Rubin, D. B. (1995). ML estimation of the t distribution using EM and its extensions, ECM and ECME.
    Statistica Sinica 5, 19-39.

    Examples
    --------
    >>> from streammix.families import StudentT
    >>> StudentT(df=4)
    StudentT(df=4.0)
    >>> StudentT(4, 1.5, 2).expectation()
    1.5
    """

    df: float | None = None
    location: float | None = None
    scale: float | None = None

    core: ClassVar[str] = "student"
    domains: ClassVar[Mapping[str, Interval]] = {
        "df": Interval(0.1, 1e6, what="a number from 0.1 to 1e6"),
        "location": REAL,
        "scale": POSITIVE,
    }

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the parameters that are learnt: without `df` where it alone is given."""
        names = super().parameter_names
        return names[1:] if self.held_df else names

    @property
    def held_df(self) -> float:
        """The degrees of freedom that the declaration keeps; 0 where they are learnt."""
        return self.df if self.df is not None and self.location is None and self.scale is None else 0.0

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return location, scale**2, and the mean of u - 1 - log u over the latent scales u of the precision."""
        df, location, scale = self.parameters
        return np.asarray(location), np.asarray(scale**2), np.asarray(log_less_digamma(df / 2))

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n numbers."""
        df, location, scale = self.parameters
        with np.errstate(over="ignore"):
            return np.asarray(location + scale * rng.standard_t(df, n))

    def expectation(self) -> float:
        """Return the location: the median, and the mean where there is one."""
        _, location, _ = self.parameters
        return float(location)


def log_less_digamma(y: float) -> float:
    """Return log(y) - digamma(y) for a positive y, without loss where it is small."""
    total = 0.0
    while y < 20.0:
        total += 1.0 / y + math.log1p(-1.0 / (y + 1.0))
        y += 1.0
    s = 1.0 / (y * y)
    return total + 0.5 / y + s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132)))))
