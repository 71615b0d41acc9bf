"""The multinomial distribution of counts in several classes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streammix.errors import ConfigError
from streammix.families.base import COUNT, Family, FloatArray, Interval

__all__ = ["Multinomial"]


@dataclass(frozen=True, repr=False)
class Multinomial(Family):
    """Multinomial distribution of how a total is split up: a group of fields that are counts.

    p(x) = n! prod_j probabilities_j**x_j / x_j!, for counts x_j = 0, 1, 2, ... and their sum n.

    It is ``scipy.stats.multinomial(n, probabilities)`` with n the record's own sum: the total is taken as given and
    tells nothing about the component (a `Poisson` field of its own would). So it is where some counts are missing:
    those that are there are multinomial given *their* sum, with their probabilities over the sum of these. In
    learning, a missing count stands as its expectation, the sum of the others times its probability over the sum of
    theirs. The probabilities may be given as an array and are kept as a tuple.

    Parameters
    ----------
    probabilities
        The D probabilities, numbers from 0 to 1, two or more, which sum to 1 within 1e-6.
    total
        The mean of n, a positive number; 1 where left out. It is learnt, too, and is no part of the density: it
        counts where there is no record, for `sample`, for expectations, and for what an explicit start weighs (as many
        records with this total). A sample's n is `total`, rounded up or down at random so that its mean is right.

    Raises
    ------
    ConfigError
        If `probabilities` is not such a list, or `total` is outside its domain or given alone.

    References
    ----------
    Johnson, N. L., Kotz, S. and Balakrishnan, N. (1997). Discrete Multivariate Distributions, chapters 35 and 36.

    Examples
    --------
    >>> from streammix.families import Multinomial
    >>> Multinomial([0.5, 0.25, 0.25], 12)
    Multinomial(probabilities=(0.5, 0.25, 0.25), total=12.0)
    >>> Multinomial([0.5, 0.25, 0.25], 12).expectation()
    array([6., 3., 3.])
    """

    probabilities: ArrayLike | None = None
    total: float | None = None

    core: ClassVar[str] = "multinomial"
    domains: ClassVar[Mapping[str, Interval]] = {
        "total": Interval(0.0, 1e70, low_open=True, what="a positive number up to 1e70")
    }

    def __post_init__(self) -> None:
        if self.probabilities is not None and self.total is None:
            object.__setattr__(self, "total", 1.0)
        super().__post_init__()
        if not self.is_given:
            return
        try:
            values = np.asarray(self.probabilities)
        except ValueError:  # rows of unequal length
            values = np.array(None)
        is_valid = values.ndim == 1 and values.size > 1 and values.dtype.kind in "iuf"
        if not is_valid or not ((values >= 0) & (values <= 1)).all() or abs(math.fsum(values.tolist()) - 1.0) > 1e-6:
            expected = "a list of two numbers from 0 to 1 or more, whose sum is 1 within 1e-6"
            raise ConfigError(f"Multinomial: probabilities must be {expected}, not {self.probabilities!r}")
        object.__setattr__(self, "probabilities", tuple(values.astype(np.float64).tolist()))

    @property
    def support(self) -> Interval:
        """The whole numbers from 0, of each count."""
        return COUNT

    @property
    def n_fields(self) -> int | None:
        """How many fields the family spans: any number, until it has parameters."""
        return len(self.parameters[0]) if self.is_given else None

    def statistics(self) -> tuple[FloatArray, ...]:
        """Return the mean counts, D numbers."""
        return (self.expectation(),)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw n rows of D counts."""
        probabilities, total = self.parameters
        shares = np.array(probabilities)
        whole = math.floor(min(total, 2.0**53))
        sizes = whole + (rng.random(n) < min(total, 2.0**53) - whole)
        return rng.multinomial(sizes, shares / shares.sum())

    def expectation(self) -> FloatArray:
        """Return the mean of each count, the total times its probability."""
        probabilities, total = self.parameters
        return np.asarray(total * np.array(probabilities))
