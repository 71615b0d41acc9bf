"""Step sizes: how far the n-th record moves the running statistics, as small frozen values."""

import difflib
import math
import numbers
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from streammix.errors import ConfigError

__all__ = ["HalfLife", "PowerDecay", "RunningMean", "StepSize", "step_size_from_json", "step_size_to_json"]


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
    """A constant step, under which a record's weight halves every `records` records.

    gamma = 1 - 2 ** (-1 / records). The model follows a drifting stream and never comes to rest.

    Parameters
    ----------
    records
        The half-life in records, a positive number, at most 1e15.

    Raises
    ------
    ConfigError
        If `records` is not a positive number, at most 1e15.

    References
    ----------
    Roberts, S. W. (1959). Control chart tests based on geometric moving averages. Technometrics 1(3),
    239-250.

    Examples
    --------
    >>> from streammix.stepsize import HalfLife
    >>> round((1 - HalfLife(1000)(1, 500)) ** 1000, 12)
    0.5
    """

    records: float

    def __post_init__(self) -> None:
        # beyond, 1 - gamma rounds to 1 and nothing is ever forgotten
        records = _number("HalfLife", "records", self.records, 0.0, 1e15, "a positive number, at most 1e15")
        object.__setattr__(self, "records", records)

    def __call__(self, n: float, n0: float) -> float:
        """Return the step, the same for every record."""
        return self.core[1]

    @property
    def core(self) -> tuple[int, float]:
        """The code and value by which the compiled core knows this step size."""
        # expm1 keeps the digits that 1 - 2**(-1/records) loses at long half-lives
        return 1, -math.expm1(-math.log(2.0) / self.records)


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
    return {"step_size": type(step_size).__name__, **asdict(step_size)}


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
