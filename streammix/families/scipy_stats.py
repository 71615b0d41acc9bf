"""The distributions of scipy.stats, by name and numbers: a file can hold them and loading runs no code."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from streammix.errors import ConfigError
from streammix.families.base import REAL

__all__ = ["call", "describe", "from_json", "frozen", "is_frozen", "to_json"]


def is_frozen(distribution: Any) -> bool:
    """Tell whether an object is a distribution of scipy.stats's kind, with its parameters."""
    from scipy import stats  # it takes half a second to load

    return isinstance(distribution, stats.distributions.rv_frozen)


def frozen(distribution: Any, args: Any = (), kwds: Any = None) -> Any:
    """Return a distribution with its parameters, checked; an object of another kind as it is.

    Raises
    ------
    ConfigError
        If a parameter is missing, unknown, not a number, or outside its domain, or there are several
        distributions in one.
    """
    from scipy import stats

    if isinstance(distribution, (stats.rv_continuous, stats.rv_discrete)):
        try:
            distribution = distribution(*args, **(kwds or {}))
        except (TypeError, ValueError) as error:
            why = str(error).removeprefix("_parse_args() ")
            raise ConfigError(f"scipy.stats.{distribution.name}: {why}") from None
    if is_frozen(distribution):
        name, numbers, named = _numbers(distribution)
        low, high = distribution.support()
        if np.ndim(low) or np.ndim(high):
            raise ConfigError(f"scipy.stats.{name}: parameters of several distributions: {numbers} {named}")
        if np.isnan([low, high]).any():
            raise ConfigError(f"scipy.stats.{name}: parameters outside the domain: {numbers} {named}")
    return distribution


def call(distribution: Any) -> tuple[Any, ...] | None:
    """Return what makes one of scipy.stats's own, its name and its numbers; None for another object."""
    if not is_frozen(distribution) or type(distribution.dist) is not type(_own(distribution.dist.name)):
        return None
    name, args, kwds = _numbers(distribution)
    return name, args, tuple(sorted(kwds.items()))


def describe(distribution: Any) -> str:
    """Return a representation that is the same in every process."""
    if (made := call(distribution)) is not None:
        name, args, kwds = made
        arguments = [repr(value) for value in args] + [f"{key}={value!r}" for key, value in kwds]
        return f"scipy.stats.{name}({', '.join(arguments)})"
    kind = type(distribution)
    # the default repr holds an address, which is another one in the next process
    has_own = repr(distribution) != object.__repr__(distribution)
    return repr(distribution) if has_own else f"{kind.__module__}.{kind.__qualname__}"


def to_json(distribution: Any) -> dict[str, Any] | None:
    """Return one of scipy.stats's own distributions as a plain dict; None for another object."""
    if (made := call(distribution)) is None:
        return None
    name, args, kwds = made
    named = {key: _to_json_number(value) for key, value in kwds}
    return {"scipy": name, "args": _to_json_number(args), "kwds": named}


def from_json(values: Mapping[str, Any]) -> Any:
    """Return the distribution that the dict of `to_json` declares, looked up among scipy.stats's own.

    Raises
    ------
    ConfigError
        If the name is not one of scipy.stats's or a parameter is not a number that it takes.
    """
    if unknown := [key for key in values if key not in ("scipy", "args", "kwds")]:
        raise ConfigError(f"Fixed: unknown key {unknown[0]!r} beside scipy, args and kwds")
    name, args, kwds = values["scipy"], values.get("args", []), values.get("kwds", {})
    if not isinstance(args, (list, tuple)) or not isinstance(kwds, Mapping):
        raise ConfigError(f"Fixed: args must be a list and kwds a mapping, not {args!r} and {kwds!r}")
    if (own := _own(name)) is None:
        raise ConfigError(f"scipy.stats has no distribution named {name!r}")
    named = {str(key): _from_json_number(name, value) for key, value in kwds.items()}
    return frozen(own, _from_json_number(name, args), named)


def _own(name: object) -> Any:
    from scipy import stats

    own = vars(stats).get(name) if isinstance(name, str) else None
    return own if isinstance(own, (stats.rv_continuous, stats.rv_discrete)) else None


def _numbers(distribution: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    name = distribution.dist.name
    named = {key: _number(name, value) for key, value in distribution.kwds.items()}
    return name, _number(name, distribution.args), named


def _number(name: str, value: Any) -> Any:
    """Return a parameter as a plain number or, where scipy takes a list (poisson_binom), a tuple of them."""
    plain = value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
    if isinstance(plain, (list, tuple)):
        return tuple(_number(name, item) for item in plain)
    is_number = isinstance(plain, (int, float)) and not isinstance(plain, bool)
    if not is_number or not (REAL.contains(plain) or abs(plain) == math.inf):
        raise ConfigError(f"scipy.stats.{name}: a parameter must be a number, not {value!r}")
    return plain


def _to_json_number(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json_number(item) for item in value]
    # JSON has no infinity, and truncnorm takes one
    return str(value) if math.isinf(value) else value


def _from_json_number(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_from_json_number(name, item) for item in value]
    return _number(name, float(value) if value in ("inf", "-inf") else value)
