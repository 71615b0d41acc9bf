"""The categorical distribution of a field that takes one of several levels."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from streammix.errors import ConfigError
from streammix.families.base import PROBABILITY, Family, FloatArray
from streammix.families.levels import Level, Levels, Probabilities

__all__ = ["Categorical"]


@dataclass(frozen=True, repr=False)
class Categorical(Family):
    """Categorical distribution.

    p(x) = probabilities[x], for each level x.

    Levels are strings, whole numbers, booleans and None, and each keeps its identity: 1, True and "1" are
    three levels.

    Parameters
    ----------
    probabilities
        A mapping level -> probability, or pairs (level, probability), which can hold both 1 and True. The
        probabilities sum to 1 within 1e-6.

    Raises
    ------
    ConfigError
        If a level is of another type or named twice, a probability is outside [0, 1], or they don't sum to 1.

    References
    ----------
    Murphy, K. P. (2012). Machine Learning: A Probabilistic Perspective, section 2.3.2.

    Examples
    --------
    >>> from streammix.families import Categorical
    >>> country = Categorical({"FR": 0.75, "DE": 0.25})
    >>> country.probabilities["DE"]
    0.25
    >>> country.expectation()
    'FR'
    """

    probabilities: Mapping[Any, float] | None = None

    core: ClassVar[str] = "categorical"

    def __post_init__(self) -> None:
        if self.probabilities is None:
            return
        try:
            given = [(level, p) for level, p in _pairs(self.probabilities)]
        except (TypeError, ValueError):
            raise ConfigError(
                f"Categorical: probabilities must be a mapping from levels to probabilities, not {self.probabilities!r}"
            ) from None
        shares = Probabilities(
            (level, self._number(f"the probability of {level!r}", p, PROBABILITY)) for level, p in given
        )
        total = math.fsum(shares.values())
        if not abs(total - 1.0) <= 1e-6:
            raise ConfigError(f"Categorical: probabilities must sum to 1 within 1e-6, not to {total!r}")
        object.__setattr__(self, "probabilities", shares)

    @property
    def support(self) -> Levels:
        """The values that can be levels."""
        return Levels()

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the expected one-hot: the probabilities, in the order of `probabilities`."""
        (probabilities,) = self.parameters
        return (np.array(list(probabilities.values())),)

    def sample(self, n: int, rng: np.random.Generator) -> list[Level]:
        """Draw n levels."""
        (probabilities,) = self.parameters
        (p,) = self.statistics()
        levels = list(probabilities)
        return [levels[i] for i in rng.choice(len(levels), n, p=p / p.sum())]

    def expectation(self) -> Level:
        """Return the most probable level, the first among equals."""
        (probabilities,) = self.parameters
        likeliest: Level = max(probabilities, key=probabilities.__getitem__)
        return likeliest

    def _json_values(self) -> dict[str, Any]:
        # pairs, since the keys of a JSON object are strings
        return (
            {} if self.probabilities is None else {"probabilities": [list(pair) for pair in self.probabilities.items()]}
        )


def _pairs(probabilities: Any) -> Iterable[Any]:
    return probabilities.items() if isinstance(probabilities, Mapping) else probabilities
