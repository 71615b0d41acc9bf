"""What every family of distributions shares: its support, its parameters, its JSON form.

A family is one short file holding one frozen dataclass. To add one:

1. Its dataclass fields are the arguments that people write. A field that is learnt defaults to None; any
   other field belongs to the declaration (`Binomial.n`, a period). Order: as in the docstring's formula.
2. `core` names the kind in the compiled core, where its log density and M-step live: they are not written
   here.
3. `domains` gives each plain number among the fields its interval; a field of another shape is checked by
   overriding `__post_init__` (see `MultivariateNormal`) and turned to and from JSON by `_json_values` (see
   `Categorical`).
4. `support`, `statistics`, `sample` and `expectation` say the rest, and the family's line in
   `families/__init__.py` makes it known by name.
"""

import math
import numbers
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streammix.errors import ConfigError
from streammix.families.levels import Levels

__all__ = ["COUNT", "POSITIVE", "PROBABILITY", "REAL", "Family", "FloatArray", "Interval", "poisson"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """The numbers between two ends: the support of a family or the domain of a parameter.

    Infinite ends are never members.

    Examples
    --------
    >>> from streammix.families.base import Interval
    >>> heads = Interval(0, 10, integer=True, what="a whole number from 0 to 10")
    >>> heads.contains(10), heads.contains(11), heads.contains(0.5)
    (True, False, False)
    """

    low: float
    high: float
    integer: bool = False
    low_open: bool = False
    high_open: bool = False
    what: str = "a finite number"

    def contains(self, x: float) -> bool:
        """Tell whether a number is in the interval; NaN and infinities are not."""
        if not -sys.float_info.max <= x <= sys.float_info.max:  # exact for whole numbers too large for a float
            return False
        above = x > self.low if self.low_open else x >= self.low
        below = x < self.high if self.high_open else x <= self.high
        return bool(above and below and (not self.integer or x % 1 == 0))

    def describe(self) -> str:
        """Say in words what is a member, as in "a positive number"."""
        return self.what


REAL = Interval(-math.inf, math.inf)
POSITIVE = Interval(0.0, math.inf, low_open=True, what="a positive number")
COUNT = Interval(0.0, math.inf, integer=True, what="a whole number, 0 or more")
PROBABILITY = Interval(0.0, 1.0, what="a number from 0 to 1")


@dataclass(frozen=True, repr=False)
class Family:
    """A family of distributions, with its parameters or, to be learnt, without them: a small frozen value."""

    core: ClassVar[str]
    domains: ClassVar[Mapping[str, Interval]] = {}

    def __post_init__(self) -> None:
        for name, domain in self.domains.items():
            value = getattr(self, name)
            if value is not None or name not in self.parameter_names:
                object.__setattr__(self, name, self._number(name, value, domain))
        absent = [name for name in self.parameter_names if getattr(self, name) is None]
        if 0 < len(absent) < len(self.parameter_names):
            raise ConfigError(f"{type(self).__name__}: {', '.join(absent)} is missing; give all parameters or none")

    def __repr__(self) -> str:
        given = (f"{name}={value!r}" for name in self._field_names() if (value := getattr(self, name)) is not None)
        return f"{type(self).__name__}({', '.join(given)})"

    @property
    def support(self) -> Interval | Levels:
        """The values that a record's field may take."""
        return REAL

    @property
    def n_fields(self) -> int | None:
        """How many fields of a record the family spans; None for any number."""
        return 1

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the parameters that are learnt, in order."""
        return tuple(field.name for field in fields(self) if field.default is None)

    @property
    def is_given(self) -> bool:
        """Whether the family has parameters."""
        return all(getattr(self, name) is not None for name in self.parameter_names)

    @property
    def parameters(self) -> tuple[Any, ...]:
        """The values of the parameters that are learnt, in order.

        Raises
        ------
        ConfigError
            If the family was named without parameters.
        """
        if not self.is_given:
            raise ConfigError(f"{self!r} has no parameters yet")
        return tuple(getattr(self, name) for name in self.parameter_names)

    def with_parameters(self, *values: Any) -> Self:
        """Return the same declaration with these parameters, in order."""
        return replace(self, **dict(zip(self.parameter_names, values, strict=True)))

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the expected sufficient statistics at the parameters: the inverse of the M-step."""
        raise NotImplementedError

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[Any] | list[Any]:
        """Draw n values."""
        raise NotImplementedError

    def expectation(self) -> Any:
        """Return the value that stands for the whole distribution: its mean, or its most probable level."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the declaration as a plain dict that JSON can hold."""
        return {"family": type(self).__name__, **self._json_values()}

    @classmethod
    def from_json_values(cls, values: Mapping[str, Any]) -> "Family":
        """Return the family that the dict of `to_json`, without its name, declares.

        Raises
        ------
        ConfigError
            If a parameter is unknown, missing or outside its domain.
        """
        name, known = cls.__name__, cls._field_names()
        if unknown := [key for key in values if key not in known]:
            raise ConfigError(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(known)}")
        required = [field.name for field in fields(cls) if field.default is MISSING]
        if absent := [key for key in required if key not in values]:
            raise ConfigError(f"{name} needs {', '.join(absent)}")
        return cls(**values)

    def _json_values(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self._field_names()}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    @classmethod
    @cache
    def _field_names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    def _number(self, name: str, value: Any, domain: Interval) -> float | int:
        number = value.item() if isinstance(value, np.generic) else value
        is_number = isinstance(number, numbers.Real) and not isinstance(number, bool)
        if not is_number or not domain.contains(number):
            raise ConfigError(f"{type(self).__name__}: {name} must be {domain.describe()}, not {value!r}")
        return int(number) if domain.integer else float(number)


def poisson(rates: ArrayLike, n: int, rng: np.random.Generator) -> NDArray[Any]:
    """Draw n Poisson counts; beyond 1e15, where the generator ends, whole numbers near a normal's."""
    rate = np.broadcast_to(np.asarray(rates, dtype=np.float64), n)
    large = rate > 1e15
    counts = rng.poisson(np.where(large, 0.0, rate))
    if not large.any():
        return counts
    normal = np.rint(rate + np.sqrt(rate) * rng.standard_normal(n))
    return np.where(large, normal, counts)


def _plain(value: Any) -> Any:
    if isinstance(value, Family):
        return value.to_json()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
