"""The uniform distribution between two given ends: a background for what no other component explains."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from streammix.errors import ConfigError
from streammix.families.base import Family, FloatArray, Interval

__all__ = ["Uniform"]


@dataclass(frozen=True, repr=False)
class Uniform(Family):
    """Uniform distribution, which never moves: only its component's weight is learnt.

    p(x) = 1 / (high - low), for low <= x <= high.

    It is ``scipy.stats.uniform(low, high - low)``. As a component beside learnt ones it takes what lies far from
    all of them.

    Parameters
    ----------
    low
        The lowest value, from -1e70 to 1e70.
    high
        The highest value, more than `low`.

    Raises
    ------
    ConfigError
        If an end is outside its domain, or `high` is not more than `low`.

    References
    ----------
    Banfield, J. D. and Raftery, A. E. (1993). Model-based Gaussian and non-Gaussian clustering. Biometrics 49,
    803-821.

    Examples
    --------
    >>> from streammix.families import Uniform
    >>> Uniform(0, 10).expectation()
    5.0
    """

    low: float
    high: float

    core: ClassVar[str] = "uniform"
    domains: ClassVar[Mapping[str, Interval]] = {
        "low": Interval(-1e70, 1e70, what="a number from -1e70 to 1e70"),
        "high": Interval(-1e70, 1e70, what="a number from -1e70 to 1e70"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.high - self.low > 1e-100:
            raise ConfigError(f"Uniform: high must be more than low = {self.low!r}, not {self.high!r}")

    @property
    def support(self) -> Interval:
        """The numbers from low to high."""
        return Interval(self.low, self.high, what=f"a number from {self.low:g} to {self.high:g}")

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the width."""
        return (np.asarray(self.high - self.low),)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Draw n numbers."""
        return rng.uniform(self.low, self.high, n)

    def expectation(self) -> float:
        """Return the middle."""
        return self.low + (self.high - self.low) / 2
