"""Whether a stream dwells: records of one component follow one another, for a while, again and again.

Such a stream does not drift. What forgets fast chases the component of the moment, and predicts the next record the
better for it; a mixture of the stream it is not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dwell"]

FloatArray = NDArray[np.float64]

TICKS = 20  # that are looked at
LAG = 4  # ticks after which the shares of components have forgotten what they were
PERSISTS, ENDS = 0.6, 0.3  # of a component from a record to the next, beyond chance
RETURNS = 0.7  # of the shares' variance that lies between ticks so far apart; less is a change for good
CHANGING = 0.05  # variance of the shares between ticks, that is no chance
MOST = 0.6  # share of a tick that is one component's
SEPARATE = 0.08  # by how much a record is more like itself than by chance: with less, nobody knows


class Dwell:
    """How components follow one another, tick by tick.

    Examples
    --------
    >>> import numpy as np
    >>> dwell = Dwell()
    >>> for tick in range(20):
    ...     dwell.add(np.eye(2)[np.repeat([0, 1, 0] if tick % 3 else [1, 0, 1], [60, 280, 160])])
    ...     dwell.close()
    >>> dwell.is_on
    True
    """

    def __init__(self) -> None:
        self.is_on = False
        self.ticks: list[list[float]] = []  # of each: how like neighbours are, how like itself a record is, the shares
        self._open: list[float] = []

    def add(self, responsibilities: FloatArray) -> None:
        """Take in the responsibilities of records that follow one another, (n, K), n > 1."""
        r = responsibilities
        like = float(np.einsum("ij,ij->", r[1:], r[:-1])) * len(r) / (len(r) - 1)
        sums = [float(len(r)), like, float(np.einsum("ij,ij->", r, r)), *r.sum(axis=0).tolist()]
        self._open = sums if len(self._open) != len(sums) else [a + b for a, b in zip(self._open, sums, strict=True)]

    def close(self, may_be: bool = True) -> None:
        """End a tick, and decide, where the stream may be one that dwells."""
        n, *sums = self._open
        self._open = []
        self.ticks = [*self.ticks, [total / n for total in sums]][-TICKS:]
        persistence, returns = self.look()
        does = persistence > ENDS if self.is_on else persistence > PERSISTS and returns > RETURNS
        self.is_on = does and may_be

    @property
    def is_left(self) -> bool:
        """Whether the background has most of the last two ticks."""
        return len(self.ticks) > 1 and all(sum(tick[2:]) < 1.0 - MOST for tick in self.ticks[-2:])

    def passes(self) -> bool:
        """Tell whether components come for longer than a tick, and don't come back."""
        if len(self.ticks) < TICKS or len({len(tick) for tick in self.ticks}) > 1:
            return False
        shares = np.array(self.ticks)[:, 2:]
        variance, returns = _between(shares)
        leads = shares.argmax(axis=1)[shares.max(axis=1) > MOST]
        runs = leads[np.flatnonzero(np.diff(leads, prepend=-1))].tolist()
        return variance > CHANGING and (returns <= RETURNS or len(runs) == len(set(runs)) > 1)

    def look(self) -> tuple[float, float]:
        """Return (persistence of components beyond chance, how far shares return); zeros where that can't be told."""
        if len(self.ticks) < TICKS or len({len(tick) for tick in self.ticks}) > 1:
            return 0.0, 0.0
        found = np.array(self.ticks)
        like, own, shares = found[:, 0], found[:, 1], found[:, 2:]
        by_chance = (shares**2).sum(axis=1)  # within a tick: what changes from tick to tick doesn't count
        beyond = float((own - by_chance).sum())
        if beyond < SEPARATE * TICKS:
            return 0.0, 0.0
        persistence = float((like - by_chance).sum()) / beyond
        return persistence, _between(shares)[1]

    def to_json(self) -> list[Any]:
        """Return everything as JSON can hold it."""
        return [self.is_on, list(self._open), [list(tick) for tick in self.ticks]]

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> "Dwell":
        """Return what `to_json` was called of."""
        made = cls()
        is_on, now, ticks = document
        made.is_on, made._open = bool(is_on), [float(value) for value in now]
        made.ticks = [[float(value) for value in tick] for tick in ticks]
        return made


def _between(shares: FloatArray) -> tuple[float, float]:
    """Return (the variance of shares between ticks, the part of it that lies between ticks far enough apart)."""
    variance = float(shares.var(axis=0).sum())
    apart = float(((shares[LAG:] - shares[:-LAG]) ** 2).sum(axis=1).mean())
    return variance, apart / (2 * max(variance, 1e-12))
