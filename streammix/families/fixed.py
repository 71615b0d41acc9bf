"""A known distribution: its parameters never move, only its component's weight is learnt."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streammix.errors import ConfigError, RecordError
from streammix.families import scipy_stats
from streammix.families.base import Family, FloatArray, Interval
from streammix.families.levels import Levels

__all__ = ["Fixed"]


@dataclass(frozen=True, repr=False, eq=False)
class Fixed(Family):
    """Fixed distribution: any known one, in a mixture that learns the other components and the weights.

    log p(x) = distribution's own log density, for any x in its support.

    Parameters
    ----------
    distribution
        A family with parameters; or a distribution of scipy.stats; or any object with a method ``logpdf`` or
        ``logpmf`` from a value (for several fields, a 1-D array) to a number. It needs ``rvs`` to be sampled
        from.

    Raises
    ------
    ConfigError
        If `distribution` is a family without parameters, has neither method, or has parameters outside its
        domain.

    References
    ----------
    McLachlan, G. J. and Peel, D. (2000). Finite Mixture Models, section 2.3.

    Examples
    --------
    >>> import scipy.stats
    >>> from streammix.families import Bernoulli, Fixed
    >>> Fixed(Bernoulli(0.8))
    Fixed(Bernoulli(p=0.8))
    >>> Fixed(scipy.stats.norm(0, scale=2))
    Fixed(scipy.stats.norm(0, scale=2))
    """

    distribution: Any

    core: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        given = self.distribution
        if isinstance(given, Fixed):
            raise ConfigError(f"{given!r} is fixed already")
        if isinstance(given, Family):
            if not given.is_given:
                raise ConfigError(f"Fixed needs a family with parameters, not {given!r}")
            return
        if isinstance(given, type) or not (_has(given, "logpdf") or _has(given, "logpmf")):
            raise ConfigError(f"Fixed needs a family or an object with logpdf or logpmf, not {given!r}")
        object.__setattr__(self, "distribution", scipy_stats.frozen(given))

    def __repr__(self) -> str:
        return f"Fixed({scipy_stats.describe(self.distribution)})"

    def __eq__(self, other: object) -> bool:
        return self._identity == other._identity if isinstance(other, Fixed) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def is_foreign(self) -> bool:
        """Whether the distribution is an object from elsewhere, with a log density of its own."""
        return not isinstance(self.distribution, Family)

    @property
    def support(self) -> Interval | Levels:
        """The family's support; any finite number for an object from elsewhere."""
        inner = self.distribution
        return inner.support if isinstance(inner, Family) else super().support

    @property
    def n_fields(self) -> int | None:
        """How many fields the distribution spans; None for an object that doesn't say."""
        inner = self.distribution
        if isinstance(inner, Family):
            return inner.n_fields
        return 1 if scipy_stats.is_frozen(inner) else None

    def log_density(self, values: ArrayLike) -> FloatArray:
        """Return the log density of an object from elsewhere at each value, or row of values.

        The object is asked for one value at a time, so that the results don't depend on which values come
        together.

        Raises
        ------
        ConfigError
            If the object's answer is not one number.
        RecordError
            If it is NaN or infinitely dense; `row` says at which value.
        """
        rows = np.asarray(values, dtype=np.float64)
        known: dict[bytes, float] = {}
        result = np.empty(len(rows))
        for i, value in enumerate(rows):
            key = value.tobytes()
            if key not in known:
                known[key] = self._log_density_one(value)
                if not known[key] < math.inf:
                    at = f"at {value.tolist()!r}, expected a finite number or -inf"
                    raise RecordError(f"{self!r} has the log density {known[key]} {at}", row=i)
            result[i] = known[key]
        return result

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the family's expected statistics; none for an object from elsewhere."""
        inner = self.distribution
        return inner.statistics() if isinstance(inner, Family) else ()

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[Any] | list[Any]:
        """Draw n values.

        Raises
        ------
        ConfigError
            If the object has no method ``rvs``.
        """
        inner = self.distribution
        if isinstance(inner, Family):
            return inner.sample(n, rng)
        if not _has(inner, "rvs"):
            raise ConfigError(f"{self!r} can't be sampled from: it has no method rvs")
        return np.asarray(inner.rvs(size=n, random_state=rng))

    def expectation(self) -> Any:
        """Return the distribution's mean; NaN for an object that has none."""
        inner = self.distribution
        if isinstance(inner, Family):
            return inner.expectation()
        mean = getattr(inner, "mean", math.nan)
        value = np.asarray(mean() if callable(mean) else mean, dtype=np.float64)
        return value if value.ndim else float(value)

    @classmethod
    def from_json_values(cls, values: Mapping[str, Any]) -> Family:
        """Return the distribution that the dict of `to_json`, without its name, declares.

        A distribution of scipy.stats is looked up by name among scipy.stats's own and nowhere else.

        Raises
        ------
        ConfigError
            If the name is not one of scipy.stats's, a parameter is not a number, or the distribution was an
            object that JSON can't hold.
        """
        if "object" in values:
            raise ConfigError(f"Fixed({values['object']}) can't be read from a file: it has to be given again")
        if "scipy" not in values:
            return super().from_json_values(values)
        return cls(scipy_stats.from_json(values))

    @property
    def _identity(self) -> object:
        return scipy_stats.call(self.distribution) or self.distribution

    def _json_values(self) -> dict[str, Any]:
        if not self.is_foreign:
            return super()._json_values()
        return scipy_stats.to_json(self.distribution) or {"object": scipy_stats.describe(self.distribution)}

    def _log_density_one(self, value: Any) -> float:
        method = "logpdf" if _has(self.distribution, "logpdf") else "logpmf"
        answer = np.asarray(getattr(self.distribution, method)(value))
        if answer.size != 1 or answer.dtype.kind not in "iuf":
            raise ConfigError(f"{self!r}: {method} must return one number for {value.tolist()!r}, not {answer!r}")
        density = float(answer.item())
        if density == math.inf and _has(self.distribution, "logpmf"):
            # an object with both may be discrete: its pdf is a spike wherever its pmf is positive
            mass = float(self.distribution.logpmf(value))
            return mass if mass > -math.inf else density
        return density


def _has(thing: object, method: str) -> bool:
    return callable(getattr(thing, method, None))
