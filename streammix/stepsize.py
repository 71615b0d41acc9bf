"""Step sizes: how far the n-th record moves the running statistics, as small frozen values."""

import difflib
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import timedelta
from typing import Any

from streammix.errors import ConfigError

__all__ = ["HalfLife", "PowerDecay", "RunningMean", "StepSize", "step_size_from_json", "step_size_to_json"]

_UNITS = {"w": 604_800_000_000, "d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
_UNITS["min"] = _UNITS["m"]
_PART = re.compile(r"(\d+(?:\.\d+)?) ?(ms|min|w|d|h|m|s)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern} ?)+", re.ASCII)
LONGEST = 1000 * 366 * _UNITS["d"]


@dataclass(frozen=True)
class PowerDecay:
    """Steps that fall as a power of the number of records.

    gamma(n, n0) = (1 / n0) * (1 + n / n0) ** -alpha, for the n-th record after a warm-up of n0 records.

    The first record after the warm-up weighs about 1 against n0. A smaller `alpha` forgets the warm-up sooner
    and is noisier; ``alpha=1`` is the running mean.

    Parameters
    ----------
    alpha
        The power, above 0.5 and at most 1: the sum of the steps diverges and the sum of their squares does
        not.

    Raises
    ------
    ConfigError
        If `alpha` is outside (0.5, 1].

    References
    ----------
    Cappé, O. and Moulines, E. (2009). On-line expectation-maximization algorithm for latent data models.
    Journal of the Royal Statistical Society B 71(3), 593-613.

    Examples
    --------
    >>> from streammix.stepsize import PowerDecay
    >>> step = PowerDecay(alpha=1.0)
    >>> step(1, 1), step(3, 1)
    (0.5, 0.25)
    """

    alpha: float = 0.6

    def __post_init__(self) -> None:
        expected = "a number above 0.5 and at most 1"
        alpha = _number("PowerDecay", "alpha", self.alpha, 0.5, 1.0, expected)
        object.__setattr__(self, "alpha", alpha)

    def __call__(self, n: float, n0: float) -> float:
        """Return the step of the n-th record after a warm-up of n0 records (n0 > 0)."""
        return float((1.0 / n0) * (1.0 + n / n0) ** -self.alpha)

    @property
    def core(self) -> tuple[int, float]:
        """The code and value by which the compiled core knows this step size."""
        return 0, self.alpha


@dataclass(frozen=True)
class RunningMean:
    """Steps under which every record so far, the warm-up's included, weighs the same.

    gamma(n, n0) = 1 / (n0 + n), for the n-th record after a warm-up of n0 records.

    References
    ----------
    Neal, R. M. and Hinton, G. E. (1998). A view of the EM algorithm that justifies incremental, sparse, and
    other variants. Learning in Graphical Models, 355-368.

    Examples
    --------
    >>> from streammix.stepsize import RunningMean
    >>> RunningMean()(1, 3)
    0.25
    """

    def __call__(self, n: float, n0: float) -> float:
        """Return the step of the n-th record after a warm-up of n0 records (n0 + n > 0)."""
        return 1.0 / (n0 + n)

    @property
    def core(self) -> tuple[int, float]:
        """The code and value by which the compiled core knows this step size."""
        return 0, 1.0


@dataclass(frozen=True)
class HalfLife:
    """Forgetting at a constant rate: a record's weight halves every so many records, or every so much event time.

    By records, gamma = 1 - 2 ** (-1 / records). By event time, the n-th record of weight w moves the statistics by
    gamma = w / (w + sum of w_i 2 ** (-(t - t_i) / half-life) over those before it). The model follows a drifting stream
    and never comes to rest.

    Parameters
    ----------
    records
        The half-life: in records, a positive number, at most 1e15; or in time, where `field` is given: a
        `datetime.timedelta`, or text such as "2h", "30m", "1d", "1h30m", of the units ms, s, m (or min), h, d and w.
    field
        The field that holds the time of an event; docs/records.md says what a time may be, and what becomes of records
        that are late or have none.

    Raises
    ------
    ConfigError
        If `records` is not a positive number, at most 1e15, or with `field` not a positive duration of at most a
        thousand years.

    References
    ----------
    Roberts, S. W. (1959). Control chart tests based on geometric moving averages. Technometrics 1(3),
    239-250.

    Examples
    --------
    >>> from streammix.stepsize import HalfLife
    >>> round((1 - HalfLife(1000)(1, 500)) ** 1000, 12)
    0.5
    >>> HalfLife("120m", field="at")
    HalfLife('2h', field='at')
    """

    records: float | str | timedelta
    field: str | None = None

    def __post_init__(self) -> None:
        if self.field is None:
            if isinstance(self.records, timedelta) or (
                isinstance(self.records, str) and _DURATION.fullmatch(self.records)
            ):
                raise ConfigError(f"HalfLife: {self.records!r} of time needs field=, the field that holds it")
            # beyond, 1 - gamma rounds to 1 and nothing is ever forgotten
            records = _number("HalfLife", "records", self.records, 0.0, 1e15, "a positive number, at most 1e15")
            object.__setattr__(self, "records", records)
            return
        if not isinstance(self.field, str) or not self.field:
            raise ConfigError(f"HalfLife: field must be the name of a field, not {self.field!r}")
        object.__setattr__(self, "records", _written(_microseconds(self.records)))

    def __repr__(self) -> str:
        if self.field is None:
            return f"HalfLife(records={self.records!r})"
        return f"HalfLife({self.records!r}, field={self.field!r})"

    def __call__(self, n: float, n0: float) -> float:
        """Return the step of the n-th record after a warm-up of n0 records; by event time, if all had the same time."""
        return self.core[1] if self.field is None else RunningMean()(n, n0)

    @property
    def core(self) -> tuple[int, float]:
        """The code and value by which the compiled core knows this step size."""
        if self.field is not None:  # a running mean, in which later records weigh more: see clock.py
            return RunningMean().core
        assert isinstance(self.records, float)
        # expm1 keeps the digits that 1 - 2**(-1/records) loses at long half-lives
        return 1, -math.expm1(-math.log(2.0) / self.records)

    @property
    def microseconds(self) -> int:
        """The half-life in event time."""
        return _microseconds(self.records)


StepSize = PowerDecay | RunningMean | HalfLife
STEP_SIZES: dict[str, type[StepSize]] = {kind.__name__: kind for kind in (PowerDecay, RunningMean, HalfLife)}


def step_size_to_json(step_size: StepSize) -> dict[str, Any]:
    """Return a step size as a plain dict.

    Examples
    --------
    >>> from streammix.stepsize import PowerDecay, step_size_to_json
    >>> step_size_to_json(PowerDecay(0.7))
    {'step_size': 'PowerDecay', 'alpha': 0.7}
    """
    values = asdict(step_size)
    if isinstance(step_size, HalfLife):
        values = {"records": step_size.records} if step_size.field is None else _timed(step_size)
    return {"step_size": type(step_size).__name__, **values}


def step_size_from_json(declared: str | Mapping[str, Any]) -> StepSize:
    """Return the step size that a name or a plain dict declares.

    Raises
    ------
    ConfigError
        If the name is unknown, a parameter is unknown or missing, or a value is outside its range.

    Examples
    --------
    >>> from streammix.stepsize import step_size_from_json
    >>> step_size_from_json({"step_size": "HalfLife", "records": 500})
    HalfLife(records=500.0)
    >>> step_size_from_json({"step_size": "HalfLife", "time": "2h", "field": "at"})
    HalfLife('2h', field='at')
    >>> step_size_from_json("RunningMean")
    RunningMean()
    """
    if not isinstance(declared, (str, Mapping)):
        raise ConfigError(f"a step size is declared by its name or by a table with the key step_size, not {declared!r}")
    values: dict[str, Any] = {"step_size": declared} if isinstance(declared, str) else dict(declared)
    name = values.pop("step_size", None)
    if not isinstance(name, str) or name not in STEP_SIZES:
        close = difflib.get_close_matches(str(name), STEP_SIZES, 1, 0.4)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(STEP_SIZES)}"
        raise ConfigError(f"unknown step size {name!r}: {hint}")
    kind = STEP_SIZES[name]
    if kind is HalfLife and "time" in values:
        if "records" in values:
            raise ConfigError("step size HalfLife has records or time, not both")
        values["records"] = values.pop("time")
    known = [field.name for field in fields(kind)]
    if unknown := [key for key in values if key not in known]:
        raise ConfigError(f"step size {name} has no parameter {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    if absent := [field.name for field in fields(kind) if field.default is MISSING and field.name not in values]:
        raise ConfigError(f"step size {name} needs {', '.join(absent)}")
    return kind(**values)


def _number(kind: str, name: str, value: Any, low: float, high: float, expected: str) -> float:
    """Return a float in (low, high], or refuse the value in a sentence."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not low < value <= high:
        raise ConfigError(f"{kind}: {name} must be {expected}, not {value!r}")
    return float(value)


def _timed(step_size: HalfLife) -> dict[str, Any]:
    return {"time": step_size.records, "field": step_size.field}


def _microseconds(duration: Any) -> int:
    """Return a duration, or refuse it in a sentence."""
    expected = 'a duration such as "2h", "30m", "1d" or a timedelta, positive and at most a thousand years'
    if isinstance(duration, timedelta):
        found = duration // timedelta(microseconds=1)
    elif isinstance(duration, str) and _DURATION.fullmatch(duration):
        found = round(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(duration)))
    else:
        raise ConfigError(f"HalfLife: with field= it must be {expected}, not {duration!r}")
    if not 0 < found <= LONGEST:
        raise ConfigError(f"HalfLife: it must be {expected}, not {duration!r}")
    return found


def _written(microseconds: int) -> str:
    """Return a duration in the largest unit that it is a whole number of; fractions of a second as such."""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        if microseconds % _UNITS[unit] == 0:
            return f"{microseconds // _UNITS[unit]}{unit}"
    return f"{microseconds / _UNITS['ms']!r}ms"
