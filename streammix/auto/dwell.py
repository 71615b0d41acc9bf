"""Whether a stream dwells: records of one component follow one another, for a while, again and again.

Such a stream does not drift. What forgets fast chases the component of the moment, and predicts the next record the
better for it; a mixture of the stream it is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dwell"]

FloatArray = NDArray[np.float64]

TICKS = 20  # that are looked at
LAG = 4  # ticks after which the shares of components have forgotten what they were
PERSISTS, ENDS = 0.6, 0.3  # of a component from a record to the next, beyond chance
FAINT = 0.15  # likeness of neighbours in most ticks, over that of a record and itself: overlap makes it small
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
        # of each tick how like a record and the last but one are, or its neighbour, or itself; and the shares
        self.ticks: list[list[float]] = []
        self._open: list[float] = []

    def add(self, responsibilities: FloatArray) -> None:
        """Take in the responsibilities of records that follow one another, (n, K), n > 2."""
        r, n = responsibilities, len(responsibilities)
        like = [float(np.einsum("ij,ij->", r[lag:], r[: n - lag])) * n / (n - lag) for lag in (2, 1, 0)]
        sums = [float(n), *like, *r.sum(axis=0).tolist()]
        self._open = sums if len(self._open) != len(sums) else [a + b for a, b in zip(self._open, sums, strict=True)]

    def close(self, may_be: bool = True) -> None:
        """End a tick, and decide, where the stream may be one that dwells."""
        n, *sums = self._open
        self._open = []
        self.ticks = [*self.ticks, [total / n for total in sums]][-TICKS:]
        persistence, returns = self.look()
        if not self.is_on:
            self.is_on = may_be and persistence > PERSISTS and returns > RETURNS
        elif len(self._beyond()):  # else stays are so long that nobody knows
            self.is_on = may_be and persistence > ENDS

    @property
    def is_left(self) -> bool:
        """Whether the background has most of the last two ticks."""
        return len(self.ticks) > 1 and all(sum(tick[3:]) < 1.0 - MOST for tick in self.ticks[-2:])

    def passes(self) -> bool:
        """Tell whether components come for longer than a tick, and don't come back."""
        if len(self.ticks) < TICKS or len({len(tick) for tick in self.ticks}) > 1:
            return False
        shares = np.array(self.ticks)[:, 3:]
        variance, returns = _between(shares)
        leads = shares.argmax(axis=1)[shares.max(axis=1) > MOST]
        runs = leads[np.flatnonzero(np.diff(leads, prepend=-1))].tolist()
        return variance > CHANGING and (returns <= RETURNS or len(runs) == len(set(runs)) > 1)

    def look(self) -> tuple[float, float]:
        """Return (persistence of components, how far shares return); zeros where that can't be told.

        Where components overlap, neighbours are less alike than they persist: by as much as records two apart are.
        """
        beyond = self._beyond()
        if not len(beyond):
            return 0.0, 0.0
        two_apart, neighbours, _ = beyond.sum(axis=0).tolist()
        mixed = beyond[beyond[:, 2] >= SEPARATE]
        is_usual = np.median(mixed[:, 1] / mixed[:, 2]) > FAINT  # a sorted start has ticks that are of two stays, too
        persistence = two_apart / neighbours if is_usual and neighbours > 0.0 else 0.0
        return persistence, _between(np.array(self.ticks)[:, 3:])[1]

    def _beyond(self) -> FloatArray:
        """How much more alike than by chance records two apart are, neighbours, and each itself; (ticks or 0, 3)."""
        if len(self.ticks) < TICKS or len({len(tick) for tick in self.ticks}) > 1:
            return np.empty((0, 3))
        found = np.array(self.ticks)
        by_chance = (found[:, 3:] ** 2).sum(axis=1)  # within a tick: what changes from tick to tick doesn't count
        beyond: FloatArray = found[:, :3] - by_chance[:, None]
        return beyond if beyond[:, 2].mean() >= SEPARATE else np.empty((0, 3))

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {"is_on": self.is_on, "open": list(self._open), "ticks": [list(tick) for tick in self.ticks]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | Sequence[Any]) -> "Dwell":
        """Return what `to_json` was called of; once records two apart were not compared, and the tick begins anew."""
        made = cls()
        if isinstance(document, Mapping):
            made.is_on, made._open = bool(document["is_on"]), [float(value) for value in document["open"]]
            made.ticks = [[float(value) for value in tick] for tick in document["ticks"]]
            return made
        made.is_on = bool(document[0])
        made.ticks = [[float(value) for value in (tick[0], *tick)] for tick in document[2]]
        return made


def _between(shares: FloatArray) -> tuple[float, float]:
    """Return (the variance of shares between ticks, the part of it that lies between ticks far enough apart)."""
    variance = float(shares.var(axis=0).sum())
    apart = float(((shares[LAG:] - shares[:-LAG]) ** 2).sum(axis=1).mean())
    return variance, apart / (2 * max(variance, 1e-12))
