"""Iterations of EM over set rows that can be interrupted, and saved, between any rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import engine_of
from streammix.core.table import Table
from streammix.em import iterate
from streammix.errors import CheckpointError
from streammix.schema import Schema
from streammix.state import State

__all__ = ["CALL", "ROW", "Climb"]

FloatArray = NDArray[np.float64]

CONVERGED = 1e-7  # nats a record
FEWEST = 256  # rows that are taken at once

# Work is counted in (rows x parameters), about a fifth of a nanosecond's each
CALL = 100_000  # of a call, however few its rows
ROW = 40  # parameters that a row costs in any case


class Climb:
    """A state on its way up.

    Parameters
    ----------
    schema
        The model's.
    state
        The statistics to start from; they are moved.
    spread
        Of the background's density, where there is one.
    table, weights
        The rows, the first `n_rows` of which count, and their weights; None where all are 1.
    n_rows
        How many rows there are to go by.
    iterations
        How many there are to be, at the most.
    each
        What a row costs.
    """

    def __init__(
        self,
        schema: Schema,
        state: State,
        spread: FloatArray | None,
        table: Table,
        weights: FloatArray | None,
        n_rows: int,
        iterations: int,
        each: int,
    ) -> None:
        self.schema = schema
        self.state = state
        self.spread = spread
        self.table = table
        self.weights = weights
        self.n_rows = n_rows
        self.left = iterations
        self.each = each
        self.row = 0
        self.before = -np.inf
        self.sums: FloatArray | None = None
        self.log_likelihood = 0.0
        self.bind()
        self.totals = self.engine.compounded(table, 0, n_rows, weights)[1]

    def bind(self) -> None:
        """Bind an engine anew, after arrays were replaced; an iteration that no longer fits them starts again."""
        self.engine = engine_of(self.schema, self.state, (0, 1.0), self.spread)
        if self.sums is not None and self.sums.shape != self.engine.accumulator().shape:
            self.row, self.sums, self.log_likelihood = 0, None, 0.0

    def go(self, budget: int) -> int:
        """Go on by an iteration or less, as the budget allows; return what it cost."""
        end = min(self.n_rows, self.row + max((budget - CALL) // self.each, FEWEST))
        sums, log_likelihood, _ = self.engine.collect(self.table, self.row, end, self.weights)
        cost = CALL + (end - self.row) * self.each
        self.log_likelihood += log_likelihood
        self.row = end
        if self.sums is not None or end < self.n_rows:
            self.sums = self.engine.accumulator() if self.sums is None else self.sums
            self.sums += sums
            sums = self.sums
        if end < self.n_rows:
            return cost
        iterate(self.engine, self.state, sums, self.totals)
        self.left -= 1
        if self.log_likelihood - self.before < CONVERGED * float(self.totals[0]):
            self.left = 0
        self.before, self.row, self.sums, self.log_likelihood = self.log_likelihood, 0, None, 0.0
        return cost

    def to_json(self) -> dict[str, Any]:
        """Return everything but states and arrays, as JSON can hold it."""
        return {
            "left": self.left,
            "n_rows": self.n_rows,
            "row": self.row,
            "before": self.before if np.isfinite(self.before) else None,
            "log_likelihood": self.log_likelihood,
        }

    def resume(self, document: dict[str, Any], sums: FloatArray | None) -> None:
        """Go on from where `to_json` was called, with the sums of that moment."""
        self.left, self.row = int(document["left"]), int(document["row"])
        if not 0 <= self.row <= self.n_rows:
            raise CheckpointError("the checkpoint's challenge contradicts itself")
        self.before = -np.inf if document["before"] is None else float(document["before"])
        self.log_likelihood = float(document["log_likelihood"])
        if sums is not None:
            self.sums = self.engine.accumulator()
            self.sums[...] = sums
