"""Some records, as rows: the last in a ring, or a sample of all."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "Kept", "Reservoir", "reservoir_size"]

FloatArray = NDArray[np.float64]

SMALLEST, LARGEST = 4_000, 20_000  # records
PER_PARAMETER = 10


def reservoir_size(n_parameters: int) -> int:
    """Return how many records are kept: ten a parameter, from 4,000 to 20,000."""
    return min(max(SMALLEST, PER_PARAMETER * n_parameters), LARGEST)


class Reservoir:
    """Rows and their weights: the last, by `add`, or a sample of all, by `sample`."""

    def __init__(self, size: int, n_columns: int) -> None:
        self.rows = np.empty((size, n_columns))
        self.weights = np.zeros(size)
        self.n = 0  # of all time

    def add(self, rows: FloatArray, weights: FloatArray) -> None:
        """Take in rows in order, the oldest make room."""
        size = len(self.rows)
        first, after = self.n % size, self.n % size + len(rows)
        if after <= size:
            self.rows[first:after], self.weights[first:after] = rows, weights
            self.n += len(rows)
            return
        places = np.arange(self.n, self.n + len(rows))[-size:] % size
        self.rows[places] = rows[-size:]
        self.weights[places] = weights[-size:]
        self.n += len(rows)

    def last(self, n: int) -> tuple[FloatArray, FloatArray]:
        """Return the last n rows, or as many as there are, in order, and their weights."""
        n = min(n, self.n, len(self.rows))
        places = np.arange(self.n - n, self.n) % len(self.rows)
        return self.rows[places], self.weights[places]

    def between(self, begin: int, end: int) -> tuple[FloatArray, FloatArray]:
        """Return the rows from one number of all time to another, of those that are still there, and their weights."""
        places = np.arange(max(begin, self.n - len(self.rows)), end) % len(self.rows)
        return self.rows[places], self.weights[places]

    def some(self, last: int, n: int) -> FloatArray:
        """Return n of the last rows at the most, evenly spaced."""
        last = max(min(last, self.n, len(self.rows)), 1)
        return self.rows[np.arange(self.n - last, self.n, -(-last // n)) % len(self.rows)]

    def all(self) -> tuple[FloatArray, FloatArray]:
        """Return all rows as they lie, and their weights."""
        n = min(self.n, len(self.rows))
        return self.rows[:n].copy(), self.weights[:n].copy()

    def sample(self, rows: FloatArray, weights: FloatArray, rng: np.random.Generator) -> None:
        """Take in rows so that all there ever were are kept with equal probability (algorithm R)."""
        size = len(self.rows)
        fit = min(max(size - self.n, 0), len(rows))
        self.add(rows[:fit], weights[:fit])
        places = rng.integers(np.arange(self.n + 1, self.n + 1 + len(rows) - fit))
        for i in np.flatnonzero(places < size).tolist():
            self.rows[places[i]], self.weights[places[i]] = rows[fit + i], weights[fit + i]
        self.n += len(rows) - fit

    def make_room(self, size: int) -> None:
        """Let there be room for so many rows, at least as many as there are."""
        if size <= len(self.rows):
            return
        rows, weights = self.all()
        self.rows = np.empty((size, self.rows.shape[1]))
        self.weights = np.zeros(size)
        self.rows[: len(rows)], self.weights[: len(rows)] = rows, weights

    def widen(self, at: int, more: int) -> None:
        """Make room for columns that no record so far has."""
        gaps = np.full((len(self.rows), more), np.nan)
        self.rows = np.hstack([self.rows[:, :at], gaps, self.rows[:, at:]])


class Kept(NamedTuple):
    """The records that are kept.

    Parameters
    ----------
    last
        The last ones.
    sample
        Of all.
    """

    last: Reservoir
    sample: Reservoir

    def typical(self, n: int) -> FloatArray:
        """Return n rows, half of them the last ones, half from the whole stream: what components are compared by."""
        there = min(self.sample.n, len(self.sample.rows))
        return np.vstack([self.last.last(n // 2)[0], self.sample.rows[: there : max(2 * there // n, 1)]])
