"""The von Mises distribution of an angle, or of anything else that comes round again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.families.base import REAL, Family, FloatArray, Interval

__all__ = ["VonMises"]

TURNS = {"day": 24.0, "week": 7.0}  # times: hours of the day, days of the week


@dataclass(frozen=True, repr=False)
class VonMises(Family):
    """Von Mises distribution: the normal distribution of the circle.

    p(x) = exp(concentration cos(2 pi (x - mean) / period)) / (period I0(concentration)), for any real x; whole
    periods make no difference, and p integrates to 1 over one of them.

    It is ``scipy.stats.vonmises(concentration, loc=mean, scale=period / (2 pi))``. The period belongs to the
    declaration: ``VonMises(period=24)`` is an hour of the day to be learnt, ``VonMises(period=360)`` a direction in
    degrees.

    ``VonMises(period="day")`` and ``VonMises(period="week")`` take times: datetimes, Arrow's, pandas's and NumPy's
    timestamps, text in ISO 8601. They count as hours of the day, from 0 to 24, and as days of the
    week, from 0 (Monday, 0:00) to 7. Each is taken by the clock that it is written in: "2026-01-01T09:30+05:00" is
    9.5 hours, and so is half past nine of any other zone, or of none. Numbers in these units are understood as well.

    Parameters
    ----------
    mean
        The mean direction in the period's unit, a finite number; a learnt one lies between 0 and the period.
    concentration
        How close the values are to the mean, from 0 (anywhere) to 1e12; for large ones the variance is
        (period / (2 pi))**2 / concentration.
    period
        After how much the same value comes again, from 1e-50 to 1e50, or "day" or "week" for times.

    Raises
    ------
    ConfigError
        If a parameter is outside its domain, or only one of the two that are learnt is given.

    References
    ----------
    Mardia, K. V. and Jupp, P. E. (2000). Directional Statistics, sections 3.5.4 and 5.3.1.

    Examples
    --------
    >>> from streammix.families import VonMises
    >>> VonMises(period=24)
    VonMises(period=24.0)
    >>> VonMises(mean=23.5, concentration=4, period=24).expectation()
    23.5
    """

    mean: float | None = None
    concentration: float | None = None
    period: float | str = 2 * math.pi

    core: ClassVar[str] = "vonmises"
    domains: ClassVar[Mapping[str, Interval]] = {
        "mean": REAL,
        "concentration": Interval(0.0, 1e12, what="a number from 0 to 1e12"),
        "period": Interval(1e-50, 1e50, what='a number from 1e-50 to 1e50, "day" or "week"'),
    }

    def __post_init__(self) -> None:
        if not isinstance(self.period, str) or self.period not in TURNS:
            super().__post_init__()
            return
        name = self.period
        object.__setattr__(self, "period", self.turn)
        super().__post_init__()
        object.__setattr__(self, "period", name)

    @property
    def turn(self) -> float:
        """The period as a number."""
        return TURNS[self.period] if isinstance(self.period, str) else self.period

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean direction, and 1 less the mean cosine of the angle from it."""
        mean, concentration = self.parameters
        return np.asarray(mean), np.asarray(spread(concentration))

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n numbers between 0 and the period."""
        mean, concentration = self.parameters
        turns = rng.vonmises(0.0, concentration, n) / (2 * math.pi)
        return np.mod(math.fmod(mean, self.turn) + turns * self.turn, self.turn)

    def expectation(self) -> float:
        """Return the mean direction."""
        mean, _ = self.parameters
        return float(mean)


def spread(concentration: float) -> float:
    """Return 1 - I1(concentration) / I0(concentration), without loss where it is small."""
    if concentration == 0.0:
        return 1.0
    if concentration < 50.0:
        ratio = 0.0
        for n in range(100, 0, -1):
            ratio = 1.0 / (2 * n / concentration + ratio)
        return 1.0 - ratio
    # the ratio's series in 1 / concentration, from its differential equation A' = 1 - A / kappa - A**2
    series, total = [1.0], 0.0
    for n in range(1, 16):
        products = sum(series[i] * series[n - i] for i in range(1, n))
        series.append(((n - 2) * series[n - 1] - products) / 2)
        total -= series[n] / concentration**n
    return total
