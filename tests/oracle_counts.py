"""The oracle's multinomial: ("multinomial", probabilities, mean total) of counts given their sum.

Of counts that are there in part, the density is the multinomial of those, given *their* sum. Missing counts are latent:
the counts of the other classes while those that are there come to their sum, a negative multinomial.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

__all__ = ["expectation", "log_density", "maximize", "statistics_of", "sums"]


def log_density(distribution: tuple[Any, ...], x: Array) -> Array:
    """log p(x) of each row, NaN where a count is missing."""
    result = np.zeros(len(x))
    for i, row in enumerate(x):
        there = ~np.isnan(row)
        if there.sum() > 1:
            p = np.asarray(distribution[1], float)[there]
            result[i] = stats.multinomial.logpmf(row[there], row[there].sum(), p / p.sum())
    return result


def expectation(distribution: tuple[Any, ...], row: Array) -> Array:
    """The counts of a row, the missing ones by their expectations; those of a row without any are mean counts."""
    there, p = ~np.isnan(row), np.asarray(distribution[1], float)
    if not there.any():
        return np.asarray(distribution[2] * p)
    if row[there].sum() == 0:
        return np.where(there, row, 0.0)
    latent = [stats.nbinom.mean(row[there].sum(), p[there].sum() / (p[there].sum() + q)) for q in p]
    return np.where(there, row, latent)


def sums(distribution: tuple[Any, ...], x: Array, r: Array) -> Array:
    """Weighted sums of the counts."""
    filled = np.array([expectation(distribution, row) for row in x]).reshape(len(x), -1)
    return np.asarray(r @ filled)


def statistics_of(distribution: tuple[Any, ...]) -> Array:
    """The mean counts."""
    return np.asarray(distribution[2] * np.asarray(distribution[1], float))


def maximize(means: Sequence[Any]) -> tuple[Any, ...]:
    """Probabilities and mean total from the mean counts."""
    counts = np.asarray(means[0], float)
    return ("multinomial", tuple((counts / counts.sum()).tolist()), float(counts.sum()))
