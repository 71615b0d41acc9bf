"""The background: a component whose density is one over the volume of all that was ever seen."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import INFLATING, Engine, width_of
from streammix.em import Layout
from streammix.schema import Schema
from streammix.state import State

__all__ = ["AWAY", "Box", "engine_of", "takes_background"]

FloatArray = NDArray[np.float64]

AWAY = 0.05  # the share that it starts with
GAUSSIAN = ("normal", "lognormal", "mvn")
COUNTS = ("poisson", "geometric", "negative_binomial", "binomial", "multinomial")
NARROWEST = 1e-3  # width of a field that hardly varies, of its size


def takes_background(layout: Layout) -> bool:
    """Tell whether a mixture of these blocks has a background where nobody says otherwise: if it has Gaussian ones."""
    return any(kind.removeprefix(INFLATING) in GAUSSIAN and not is_fixed for kind, _, _, is_fixed, _ in layout)


def engine_of(schema: Schema, state: State, step: tuple[int, float], spread: FloatArray | None) -> Engine:
    """Return an engine that is bound to a state and, where there is one, to a background."""
    engine = Engine(schema.layout(), state, step)
    if spread is not None:
        engine.set_background(spread)
    return engine


class Box:
    """The least and the greatest value of each column so far, and what follows for the background's density."""

    def __init__(self, n_columns: int) -> None:
        self.low = np.full(n_columns, np.inf)
        self.high = np.full(n_columns, -np.inf)
        self.spread = np.zeros((2, n_columns))  # in place: engines are bound to it
        self._sizes: list[Any] = []  # of the blocks, levels among them, when it was last written for a beat

    def add(self, rows: FloatArray, layout: Layout) -> None:
        """Take in rows."""
        sizes = [size for _, _, size, _, _ in layout]
        if ((rows < self.low) | (rows > self.high)).any() or sizes != self._sizes:
            seen = np.where(np.isfinite(rows), rows, np.nan)
            np.fmin(self.low, np.fmin.reduce(seen, axis=0), out=self.low)
            np.fmax(self.high, np.fmax.reduce(seen, axis=0), out=self.high)
            self._sizes = sizes
            self.refresh(layout)

    def refresh(self, layout: Layout) -> None:
        """Write the density's logarithm: of one column for each unit, the slope where it is one of log x."""
        widths, slopes = self.spread
        for kind, columns, size, is_fixed, _ in layout:
            bare, width = kind.removeprefix(INFLATING), width_of(kind, size)
            for first in columns if bare in ("mvn", "multinomial") else columns[::width]:
                widths[first], slopes[first] = self._width(bare, size, is_fixed, first), bare == "lognormal"
                if kind != bare:
                    slopes[first] = 0.0
                if kind == "external":
                    slopes[first] = -1.0

    def _width(self, kind: str, size: Any, is_fixed: bool, column: int) -> float:
        if kind == "bernoulli":
            return math.log(2.0)
        if kind == "categorical":
            return math.log(max(size, 1))
        if kind == "vonmises":
            return math.log(size)
        if kind == "uniform":
            return math.log(size[1] - size[0])
        if kind == "dirichlet":
            return -math.lgamma(size)
        low, high = float(self.low[column]), float(self.high[column])
        if kind in ("beta", "external") or not low <= high:
            return 0.0
        if kind in COUNTS:
            return math.log(high - low + 1.0)
        width = max(high - low, NARROWEST * max(abs(low), abs(high)))
        return math.log(max(width, 1e-100)) if width > 0.0 else 0.0  # of what has always been 0 no scale is known

    def widen(self, at: int, more: int) -> None:
        """Make room for columns that no record so far has."""
        self.low = np.insert(self.low, [at] * more, np.inf)
        self.high = np.insert(self.high, [at] * more, -np.inf)
        self.spread = np.zeros((2, len(self.low)))
