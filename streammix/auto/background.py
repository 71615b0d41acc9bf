"""The background: a component whose density is one over the volume of all that was ever seen."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import INFLATING, Engine, width_of
from streammix.em import Layout
from streammix.scales import LEAST_VARIANCE
from streammix.schema import Schema
from streammix.state import State

__all__ = ["AWAY", "Box", "engine_of", "give_background", "takes_background"]

FloatArray = NDArray[np.float64]

AWAY = 0.05  # the share that it starts with
GAUSSIAN = ("normal", "lognormal", "mvn")
COUNTS = ("poisson", "geometric", "negative_binomial", "binomial", "multinomial")
ROUNDED = 1e-9  # a range that is less, of the values' size, may be nothing but rounding
NARROWEST = 1e-3  # the width in its place, of their size
FEWEST_STEPS = 20  # in a box: what has fewer values is none of records that nothing explains
LEAST_WIDTH = 100 * math.sqrt(LEAST_VARIANCE)  # a narrower one would be denser than components can be


def takes_background(layout: Layout) -> bool:
    """Tell whether a mixture of these blocks has a background where nobody says otherwise: if it has Gaussian ones."""
    return any(kind.removeprefix(INFLATING) in GAUSSIAN and not is_fixed for kind, _, _, is_fixed, _ in layout)


def engine_of(schema: Schema, state: State, step: tuple[int, float], spread: FloatArray | None) -> Engine:
    """Return an engine that is bound to a state and, where there is one, to a background."""
    engine = Engine(schema.layout(), state, step)
    if spread is not None:
        engine.set_background(spread, points_of(schema.layout(), spread.shape[1]))
    return engine


def give_background(state: State, share: float) -> None:
    """Let the background have a share of the records, at least."""
    own = state.masses[0, : state.n_components]
    total = float(own.sum())
    if total > 1.0 - share > 0.0:
        own *= (1.0 - share) / total


def has_point(kind: str) -> bool:
    """Tell whether a zero has a probability where other values have a density."""
    return kind.startswith(INFLATING) and kind.removeprefix(INFLATING) not in COUNTS


def points_of(layout: Layout, n_columns: int) -> FloatArray:
    """Return what a zero is in each column where it has a probability by itself; NaN in the others."""
    points = np.full(n_columns, np.nan)
    for kind, columns, size, _, _ in layout:
        if has_point(kind):
            points[columns[:: width_of(kind, size)]] = -np.inf if kind.endswith("lognormal") else 0.0
    return points


def ends_of(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the least and the greatest finite value of each column: infinite where there is none."""
    seen = np.where(np.isfinite(rows), rows, np.nan)
    return np.fmin.reduce(seen, axis=0, initial=np.inf), np.fmax.reduce(seen, axis=0, initial=-np.inf)


class Box:
    """The least and the greatest value of each column so far, and what follows for the background's density."""

    def __init__(self, n_columns: int) -> None:
        self.low = np.full(n_columns, np.inf)
        self.high = np.full(n_columns, -np.inf)
        self.steps = np.zeros(n_columns)  # from one value of a column to the next, where they repeat
        self.spread = np.zeros((2, n_columns))  # in place: engines are bound to it
        self._sizes: list[Any] = []  # of the blocks, levels among them, when it was last written for a beat

    @property
    def volume(self) -> float:
        """Its logarithm."""
        return float(self.spread[0].sum())

    def add(self, rows: FloatArray, layout: Layout) -> None:
        """Take in rows."""
        sizes = [size for _, _, size, _, _ in layout]
        if ((rows < self.low) | (rows > self.high)).any() or sizes != self._sizes:
            low, high = ends_of(rows)
            np.minimum(self.low, low, out=self.low)
            np.maximum(self.high, high, out=self.high)
            self._sizes = sizes
            self.refresh(layout)

    def refresh(self, layout: Layout) -> None:
        """Write the density's logarithm: of one column for each unit, the slope where it is one of log x."""
        widths, slopes = self.spread
        for kind, columns, size, is_fixed, _ in layout:
            bare, width = kind.removeprefix(INFLATING), width_of(kind, size)
            for first in columns if bare in ("mvn", "multinomial") else columns[::width]:
                widths[first], slopes[first] = self._width(bare, size, is_fixed, first), bare == "lognormal"
                if has_point(kind):
                    widths[first] += math.log(2.0)
                if kind == "external":
                    slopes[first] = -1.0

    def _width(self, kind: str, size: Any, is_fixed: bool, column: int) -> float:
        if kind == "bernoulli":
            return math.log(2.0)
        if kind == "categorical":
            return math.log(max(size, 1))
        if kind == "vonmises":
            return math.log(size)
        if kind == "dirichlet":
            return -math.lgamma(size)
        low, high = float(self.low[column]), float(self.high[column])
        if kind in ("beta", "external") or not low <= high:
            return 0.0
        if kind in COUNTS:
            return math.log(high - low + 1.0)
        size = max(abs(low), abs(high))
        width = high - low if high - low > ROUNDED * size else NARROWEST * size
        width = max(width, FEWEST_STEPS * float(self.steps[column]))
        return math.log(max(width, LEAST_WIDTH)) if width > 0.0 else 0.0  # of what has always been 0 no scale is known

    def widen(self, at: int, rows: FloatArray) -> None:
        """Make room for the columns of a field that joins, of which there are these rows so far."""
        low, high = ends_of(rows)
        self.low = np.insert(self.low, [at] * len(low), low)
        self.high = np.insert(self.high, [at] * len(high), high)
        self.steps = np.zeros(len(self.low))
        self.spread = np.zeros((2, len(self.low)))
