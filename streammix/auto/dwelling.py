"""Whether a stream dwells: records of a component come in long runs, and again and again."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["dwells"]

FloatArray = NDArray[np.float64]

ALIKE = 0.3  # correlation of a record with the next one
BLOCK = 50  # records
TURNS = 4  # at least, of the blocks' means from one side to the other
FEWEST = 2_000  # records


def dwells(rows: FloatArray) -> bool:
    """Tell whether records, in their order, come in runs: neighbours are alike, and runs of both kinds come back.

    Parameters
    ----------
    rows
        The last records as numbers, (n, columns); NaN where missing.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mixed = rng.normal(size=(4_000, 1)) + 5 * rng.integers(2, size=(4_000, 1))
    >>> runs = rng.normal(size=(4_000, 1)) + 5 * (np.arange(4_000) // 300 % 2)[:, None]
    >>> dwells(mixed), dwells(runs)
    (False, True)
    """
    n = len(rows) // BLOCK * BLOCK
    if n < FEWEST:
        return False
    points = np.where(np.isfinite(rows[-n:]), rows[-n:], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = ~np.isnan(points)
        mean = np.where(seen, points, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        centred = np.where(seen, points - mean, 0.0)
        spread = np.sqrt((centred**2).mean(axis=0))
    centred = centred[:, spread > 0.0] / spread[spread > 0.0]
    if not centred.shape[1]:
        return False
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    line = centred @ axis
    halves = np.split(line, 2)
    if min(_correlation(half) for half in halves) < ALIKE:
        return False
    means = line.reshape(-1, BLOCK).mean(axis=1)
    sides = means[np.abs(means) > 0.5 * means.std()] > 0.0
    return int((sides[1:] != sides[:-1]).sum()) >= TURNS


def _correlation(values: FloatArray) -> float:
    """Of each value with the next."""
    centred = values - values.mean()
    return float(centred[1:] @ centred[:-1] / max(float(centred @ centred), 1e-300))
