"""A member: statistics that stream along, and how they compare with the champion's."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.auto.background import engine_of
from streammix.auto.evidence import Paired
from streammix.core.engine import Engine
from streammix.core.table import Table, table_of
from streammix.schema import Schema
from streammix.state import State

__all__ = ["Member", "densities"]

FloatArray = NDArray[np.float64]
Step = tuple[int, float]


class Member:
    """A state, its engine, the step by which it moves, and its evidence."""

    def __init__(
        self,
        schema: Schema,
        state: State,
        step: Step,
        spread: FloatArray | None,
        born: int = 0,
        about: Any = None,
    ) -> None:
        self.schema = schema
        self.spread = spread
        self.state = state
        self.step = step
        self.born = born
        self.about = about
        self.scores = Paired()
        self.bind()

    def bind(self) -> None:
        """Bind an engine to the state anew."""
        self.engine = engine_of(self.schema, self.state, self.step, self.spread)

    def set_step(self, step: Step) -> None:
        """Move by another step."""
        self.step = step
        self.engine.set_step(step)

    def become(self, state: State) -> None:
        """Start again from a copy of other statistics, without evidence."""
        self.scores = Paired()
        if self.state.takes(state):
            self.state.assign(state)
            self.engine.maximize()
        else:
            self.state = state.copy()
            self.bind()

    def learn(
        self, table: Table, n: int, weights: FloatArray, responsibilities: FloatArray, log_density: FloatArray
    ) -> None:
        """Learn the first n rows as one mini-batch; write down the responsibilities and log densities before it."""
        while not self.engine.learn_batches(table, 0, n, n, weights, responsibilities, log_density)[0]:
            for block, unit in self.engine.forks_needed(table, 0, n):
                self.state.fork(block, unit)
            self.bind()

    def catch_up(self, rows: FloatArray, weights: FloatArray, size: int) -> None:
        """Learn rows, in mini-batches of a size."""
        table, done = table_of(rows), 0
        while True:
            done += self.engine.learn_batches(table, done, len(rows), size, weights)[0]
            if len(rows) - done < size:
                return
            for block, unit in self.engine.forks_needed(table, done, done + size):
                self.state.fork(block, unit)
            self.bind()


def densities(engine: Engine, table: Table, begin: int, end: int) -> FloatArray:
    """Return the log densities of some rows."""
    log_density = np.empty(end)
    engine.accumulate(table, begin, end, out_lp=log_density)
    return log_density[begin:]
