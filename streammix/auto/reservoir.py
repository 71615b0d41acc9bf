"""The last records, as rows in a ring."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reservoir"]

FloatArray = NDArray[np.float64]


class Reservoir:
    """The last `size` rows and their weights."""

    def __init__(self, size: int, n_columns: int) -> None:
        self.rows = np.empty((size, n_columns))
        self.weights = np.empty(size)
        self.n = 0  # of all time

    def add(self, rows: FloatArray, weights: FloatArray) -> None:
        """Take in rows in order, the oldest make room."""
        size = len(self.rows)
        places = np.arange(self.n, self.n + len(rows))[-size:] % size
        self.rows[places] = rows[-size:]
        self.weights[places] = weights[-size:]
        self.n += len(rows)

    def last(self, n: int) -> tuple[FloatArray, FloatArray]:
        """Return the last n rows, or as many as there are, in order, and their weights."""
        n = min(n, self.n, len(self.rows))
        places = np.arange(self.n - n, self.n) % len(self.rows)
        return self.rows[places], self.weights[places]

    def widen(self, at: int, more: int) -> None:
        """Make room for columns that no record so far has."""
        gaps = np.full((len(self.rows), more), np.nan)
        self.rows = np.hstack([self.rows[:, :at], gaps, self.rows[:, at:]])
