"""The last records that the background took, and whether they lie together: a component that K leaves no place for."""

import math

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import Box
from streammix.auto.reservoir import Reservoir
from streammix.core.engine import Engine
from streammix.core.table import table_of
from streammix.em import Layout

__all__ = ["Strays"]

FloatArray = NDArray[np.float64]

KEPT = 100
FEWEST = 20  # that are a group
STRAYED = 0.5  # probability that the background made a record
APART = 0.999  # and the middle of a group, which else is but the tail of a component
NUMBERS = ("normal", "lognormal", "mvn")
DEVIATION = 1.4826  # of a normal, over the median of absolute deviations
REACH = 5.0  # deviations from the middle of a group
TOGETHER = 1.0  # nats a field that a normal gives a group's records beyond the background


class Strays:
    """Rows that the background took, each with how many records there were."""

    def __init__(self, n_columns: int) -> None:
        self.kept = Reservoir(KEPT, n_columns)

    def add(self, rows: FloatArray, responsibilities: FloatArray, n_seen: int) -> None:
        """Take in those of some rows that no component explains."""
        strayed = responsibilities.sum(axis=1) < 1.0 - STRAYED
        if strayed.any():
            self.kept.add(rows[strayed], np.full(int(strayed.sum()), float(n_seen)))

    def group(self, engine: Engine, box: Box, layout: Layout, since: int, n_seen: int) -> tuple[int, float]:
        """Return how many of them lie together by a model of the present, and their share; (0, 0.0) where none do."""
        rows, numbers = self.kept.last(KEPT)
        rows = rows[numbers > since]
        if len(rows) < FEWEST:
            return 0, 0.0
        first, rows = float(numbers[numbers > since][0]), rows[_away(engine, rows) > STRAYED]
        columns = [c for kind, own, _, is_fixed, _ in layout if kind in NUMBERS and not is_fixed for c in own]
        columns = [c for c in columns if not np.isnan(rows[:, c]).all() and box.high[c] > box.low[c]]
        if len(rows) < FEWEST or not columns:
            return 0, 0.0
        middle = _medians(rows[:, columns])
        away = np.abs(rows[:, columns] - middle)
        width = (box.high - box.low)[columns]
        deviation = np.maximum(DEVIATION * _medians(away), 1e-9 * width)
        gain = float(np.log(width / deviation).mean()) - 0.5 * math.log(2 * math.pi * math.e)
        near = ~(away > REACH * deviation).any(axis=1)
        lone = np.full((1, rows.shape[1]), np.nan)
        lone[0, columns] = middle
        if gain < TOGETHER or near.sum() < FEWEST or _away(engine, lone)[0] < APART:
            return 0, 0.0
        return int(near.sum()), float(near.sum()) / max(n_seen - first, 1.0)


def _away(engine: Engine, rows: FloatArray) -> FloatArray:
    """The probability that the background made each row."""
    responsibilities, log_density = np.empty((len(rows), engine.n_components)), np.empty(len(rows))
    engine.accumulate(table_of(np.ascontiguousarray(rows)), 0, len(rows), out_r=responsibilities, out_lp=log_density)
    return np.asarray(1.0 - responsibilities.sum(axis=1))


def _medians(rows: FloatArray) -> FloatArray:
    """The median of what is there of each column: `np.nanmedian` takes a hundred times as long where rows are few."""
    return np.array([np.median(column[~np.isnan(column)]) for column in rows.T])
