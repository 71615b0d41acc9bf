"""Paired comparisons of prequential scores, tick by tick."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Paired", "add_paired", "z_of"]

FloatArray = NDArray[np.float64]
Sums = tuple[int, float, float]

KEPT = 16  # ticks
FIRST = 2  # ticks that do not count for the long run: a new member's statistics still settle
FEWEST = 100  # records that say anything at once
LARGEST = 100.0  # nats: what one record can say


def z_of(sums: Sums) -> tuple[float, float]:
    """Return (mean, z) of a difference's (records, sum, sum of squares).

    Examples
    --------
    >>> z_of((4, 8.0, 20.0))
    (2.0, 4.0)
    """
    if sums[0] < 2:
        return 0.0, 0.0
    mean, error = _mean_and_error(sums)
    return mean, mean / error


class Paired:
    """How much more a member gave the records than the champion did: log density differences, summed up by ticks."""

    def __init__(self) -> None:
        self.ticks: list[Sums] = []
        self.n_ticks = 0
        self._open: Sums = (0, 0.0, 0.0)
        self._total: Sums = (0, 0.0, 0.0)

    def add(self, differences: FloatArray) -> None:
        """Take in the differences of some records."""
        add_paired([self], differences[None, :])

    def take(self, sums: Sums) -> None:
        """Take in the sums of some records."""
        self._open = _plus(self._open, sums)

    def close(self) -> None:
        """End a tick."""
        self.ticks = [*self.ticks, self._open][-KEPT:]
        self.n_ticks += 1
        if self.n_ticks > FIRST:
            self._total = _plus(self._total, self._open)
        self._open = (0, 0.0, 0.0)

    def last(self, ticks: int) -> tuple[float, float]:
        """Return (mean, z) over the last ticks; (0, 0) where there are not as many yet."""
        return z_of(_sum(self.ticks[-ticks:])) if len(self.ticks) >= ticks else (0.0, 0.0)

    def at_most(self, ticks: int, errors: float) -> float:
        """Return what lies so many standard errors above the mean over the last ticks."""
        mean, error = _mean_and_error(_sum(self.ticks[-ticks:]))
        return mean + errors * error

    def latest(self) -> list[tuple[float, float]]:
        """Return (mean, z) over the tick that goes on, and over it and the last one, of a hundred records or more."""
        both = _plus(self._open, self.ticks[-1]) if self.ticks else self._open
        return [z_of(sums) for sums in (self._open, both) if sums[0] >= FEWEST]

    def long_run(self) -> tuple[float, float]:
        """Return (mean, z) over all ticks but the first two."""
        return z_of(self._total)

    def by_ticks(self) -> tuple[float, float]:
        """Return (mean, z) over the ticks that are kept but the first two, a tick counting as one value.

        Records that depend on one another say less than their number; ticks far enough apart don't.
        """
        found = [total / n for n, total, _ in self.ticks[max(0, FIRST - (self.n_ticks - len(self.ticks))) :] if n]
        return z_of((len(found), sum(found), sum(value * value for value in found)))

    def against(self, other: "Paired") -> "Paired":
        """Return the evidence against another member, of the ticks that both have; its spread is at most this.

        Both were compared with the same champion, and how their differences from it go together is not known.
        """
        made = Paired()
        n_ticks = min(len(self.ticks), len(other.ticks))
        for (n, total, squares), (m, theirs, their_squares) in zip(
            self.ticks[len(self.ticks) - n_ticks :], other.ticks[len(other.ticks) - n_ticks :], strict=True
        ):
            difference, deviation = total - theirs, 0.0
            for count, part, part_squares in ((n, total, squares), (m, theirs, their_squares)):
                deviation += math.sqrt(max(part_squares / count - (part / count) ** 2, 0.0))
            made._open = n, difference, n * (deviation**2 + (difference / n) ** 2)
            made.close()
        return made

    def to_json(self) -> list[Any]:
        """Return everything as JSON can hold it."""
        return [self.n_ticks, list(self._open), list(self._total), [list(tick) for tick in self.ticks]]

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> "Paired":
        """Return what `to_json` was called of."""
        made = cls()
        n_ticks, now, total, ticks = document
        made.n_ticks = int(n_ticks)
        made._open, made._total = _sums(now), _sums(total)
        made.ticks = [_sums(tick) for tick in ticks]
        return made


def add_paired(members: Sequence[Paired], differences: FloatArray) -> None:
    """Let each of the members take in its differences of some records, (members, n)."""
    clipped = np.minimum(np.maximum(differences, -LARGEST), LARGEST)
    totals, squares = clipped.sum(axis=1).tolist(), np.einsum("ij,ij->i", clipped, clipped).tolist()
    for member, total, square in zip(members, totals, squares, strict=True):
        member.take((differences.shape[1], total, square))


def _mean_and_error(sums: Sums) -> tuple[float, float]:
    n, total, squares = sums
    mean = total / n
    return mean, math.sqrt(max(squares / n - mean * mean, 1e-24) / n)


def _plus(a: Sums, b: Sums) -> Sums:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _sum(ticks: Sequence[Sums]) -> Sums:
    total: Sums = (0, 0.0, 0.0)
    for tick in ticks:
        total = _plus(total, tick)
    return total


def _sums(document: Sequence[Any]) -> Sums:
    n, total, squares = document
    return int(n), float(total), float(squares)
