"""The levels of a categorical field: strings, whole numbers, booleans and None, each with its own identity.

Python holds that True == 1, and a dict keeps one of the two; in a stream of JSON records they are two levels.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from streammix.errors import ConfigError

__all__ = ["Level", "Levels", "Probabilities", "as_level"]

Level = str | int | bool | None
_WHAT = "a string, a whole number, a boolean or None"


class Levels:
    """The support of a categorical field."""

    def contains(self, x: object) -> bool:
        """Tell whether a value can be a level."""
        return x is None or isinstance(x, (str, int, np.bool_, np.integer))

    def describe(self) -> str:
        """Say in words what can be a level."""
        return _WHAT


def as_level(x: object) -> Level:
    """Return a level as a plain Python value: no NumPy scalar, no enumeration.

    Raises
    ------
    ConfigError
        If the value can't be a level.
    """
    if x is None:
        return None
    if isinstance(x, (bool, np.bool_)):
        return bool(x)
    if isinstance(x, (int, np.integer)):
        return int(x)
    if isinstance(x, str):
        return str.__str__(x)
    raise ConfigError(f"a category's level must be {_WHAT}, not {x!r}")


class Probabilities(Mapping[Level, float]):
    """An immutable, hashable mapping level -> probability in which True and 1 are two levels.

    Parameters
    ----------
    pairs
        Pairs (level, probability).

    Raises
    ------
    ConfigError
        If a level is of another type or named twice.

    Examples
    --------
    >>> from streammix.families.levels import Probabilities
    >>> p = Probabilities([(1, 0.25), (True, 0.75)])
    >>> p[True], p[1]
    (0.75, 0.25)
    >>> p
    [(1, 0.25), (True, 0.75)]
    >>> Probabilities([("a", 0.25), (None, 0.75)])
    {'a': 0.25, None: 0.75}
    """

    def __init__(self, pairs: Iterable[tuple[Any, float]]) -> None:
        self._pairs: dict[tuple[type, Level], float] = {}
        for level, p in pairs:
            plain = as_level(level)
            key = (type(plain), plain)
            if key in self._pairs:
                raise ConfigError(f"a category's level {plain!r} is named twice")
            self._pairs[key] = p

    def __getitem__(self, level: Level) -> float:
        try:
            return self._pairs[type(level), level]
        except KeyError:
            raise KeyError(level) from None

    def __contains__(self, level: object) -> bool:
        return (type(level), level) in self._pairs

    def __iter__(self) -> Iterator[Level]:
        return (level for _, level in self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        theirs = {(type(level), level): p for level, p in other.items()}
        return self._pairs == theirs

    def __hash__(self) -> int:
        return hash(frozenset(self._pairs.items()))

    def __repr__(self) -> str:
        pairs = list(self.items())
        return repr(dict(pairs) if len(dict(pairs)) == len(pairs) else pairs)
