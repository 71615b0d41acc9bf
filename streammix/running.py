"""A mixture that is past its warm-up: schema, statistics, and the steps they take."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streammix import average, em
from streammix.core.engine import Engine, Table
from streammix.core.records import Waiting
from streammix.declaration import Declaration
from streammix.schema import Encoded, Schema
from streammix.state import State

__all__ = ["Running"]

FloatArray = NDArray[np.float64]

_FORK = 2  # why the core stopped: a mass has to be made for a field that is missing


class Running:
    """The statistics of a mixture, and what moves them."""

    def __init__(self, declaration: Declaration, schema: Schema, state: State, mean: State | None = None) -> None:
        self.schema = schema
        self.state = state
        self.average = mean
        self.n_seen = 0
        self.waiting: Waiting | None = None
        self._step_size = declaration.step_size.core
        if declaration.batch_size > 1:
            self.waiting = Waiting(declaration.batch_size, schema.reader.n_columns)
        if declaration.averaging and mean is None:
            self.average = state.copy()
        self.rebind()

    @property
    def published(self) -> Engine:
        """The engine whose parameters are shown: of the average, where the model averages."""
        return self.average_engine or self.engine

    @property
    def published_state(self) -> State:
        """The state whose parameters are shown."""
        return self.average or self.state

    def rebind(self) -> None:
        """Bind engines to the states anew, after an array was replaced."""
        layout = self.schema.layout()
        self.engine = Engine(layout, self.state, self._step_size)
        self.average_engine = Engine(layout, self.average, self._step_size) if self.average is not None else None

    def fork(self, units: Sequence[tuple[int, int]]) -> None:
        """Give units masses of their own."""
        for block, unit in units:
            for state in (self.state, self.average):
                if state is not None:
                    state.fork(block, unit)
        self.rebind()

    def fork_for(self, columns: Sequence[FloatArray]) -> None:
        """Give masses of their own to the units that are missing from some of the rows."""
        self.fork(em.forks_needed(self.schema.layout(), self.state, columns))

    def code_of(self, column: int, key: object) -> int:
        """Return the code of a level; an unknown one joins the statistics."""
        key = self.schema.key_in_use(column, key)
        if key not in self.schema.codes[self.schema.reader.rules[column][0]]:
            self.schema.add_level(column, key)
            block = self.schema.block_of(column)
            size = self.schema.size(self.schema.blocks[block])
            for state in (self.state, self.average):
                if state is not None:
                    state.make_room(block, size)
            self.rebind()
        return self.schema.add_level(column, key)

    def evaluate(self, encoded: Encoded) -> tuple[FloatArray, FloatArray]:
        """Return (responsibilities, log densities) of rows; nothing is learnt."""
        engine = self.published
        n = len(encoded.columns[0])
        responsibilities, log_density = np.empty((n, engine.n_components)), np.empty(n)
        engine.accumulate(Table(encoded.columns), 0, n, out_r=responsibilities, out_lp=log_density)
        responsibilities[np.isneginf(log_density)] = engine.weights
        return responsibilities, log_density

    def absorb(
        self,
        encoded: Encoded,
        weights: FloatArray | None,
        out_r: FloatArray | None = None,
        out_lp: FloatArray | None = None,
    ) -> list[int]:
        """Learn rows; return those that no component can have made, which are left out.

        Where `out_r` and `out_lp` are given, they receive each row's responsibilities and log density by the
        parameters that stood before it.
        """
        learn = self._learn_batches if self.waiting is not None else self._learn_rows
        columns, bad, at = encoded.columns, list[int](), 0
        table = Table(columns)
        for row, column, key in encoded.unknown:
            if row < at:
                continue  # found impossible by another of its levels
            if self.schema.key_in_use(column, key) not in self.schema.codes[self.schema.reader.rules[column][0]]:
                learn(table, columns, at, row, weights, out_r, out_lp, bad)
                at = row
                if self.schema.may_refuse and self.engine.expect(np.array([c[row] for c in columns])) is None:
                    bad.append(row)
                    at = row + 1
                    continue
            columns[column][row] = self.code_of(column, key)
        learn(table, columns, at, table.n_rows, weights, out_r, out_lp, bad)
        return bad

    def _learn_rows(
        self,
        table: Table,
        columns: list[FloatArray],
        begin: int,
        end: int,
        weights: FloatArray | None,
        out_r: FloatArray | None,
        out_lp: FloatArray | None,
        bad: list[int],
    ) -> None:
        while begin < end:
            stop = end
            if self.average is not None:
                stop = min(end, begin + average.EVERY - self.n_seen % average.EVERY)
                if out_lp is not None:  # the average, which predicts, stands still from one time to the next
                    self.published.accumulate(table, begin, stop, out_r=out_r, out_lp=out_lp)
            own = (out_r, out_lp) if self.average is None else (None, None)
            learnt, status = self.engine.learn_rows(table, begin, stop, weights, *own)
            self.n_seen += learnt
            begin += learnt
            if learnt and self.n_seen % average.EVERY == 0:
                self._average()
            if status == _FORK:
                self.fork_for([column[begin : begin + 1] for column in columns])
            elif status:
                bad.append(begin)
                begin += 1

    def _learn_batches(
        self,
        table: Table,
        columns: list[FloatArray],
        begin: int,
        end: int,
        weights: FloatArray | None,
        out_r: FloatArray | None,
        out_lp: FloatArray | None,
        bad: list[int],
    ) -> None:
        waiting = self.waiting
        assert waiting is not None
        while begin < end:
            stop = min(end, begin + waiting.size - waiting.n)
            if out_lp is not None or self.schema.may_refuse:
                densities = np.empty(table.n_rows) if out_lp is None else out_lp
                self.published.accumulate(table, begin, stop, out_r=out_r, out_lp=densities)
                impossible = np.flatnonzero(np.isneginf(densities[begin:stop]))
                if impossible.size:
                    stop = begin + int(impossible[0])
                    bad.append(stop)
            self.n_seen += stop - begin
            if stop - begin == waiting.size:
                self._step(table, columns, begin, stop, weights)
            else:
                rows = np.stack([column[begin:stop] for column in columns], axis=1)
                waiting.add(rows, 1.0 if weights is None else weights[begin:stop])
                if waiting.n == waiting.size:
                    full = [np.ascontiguousarray(column) for column in waiting.rows.T]
                    waiting.n = 0
                    self._step(Table(full), full, 0, waiting.size, waiting.weights)
            begin = stop + 1 if bad and bad[-1] == stop else stop

    def _step(self, table: Table, columns: list[FloatArray], begin: int, end: int, weights: FloatArray | None) -> None:
        """One stepwise EM step: a mini-batch at fixed parameters."""
        if self.engine.need_fork(table, begin, end):
            self.fork_for([column[begin:end] for column in columns])
        gamma, total = self.engine.compounded(table, begin, end, weights)
        acc, _, _ = em.collect(self.engine, table, begin, end, weights)
        self.engine.blend(acc, gamma, total)
        self.state.clocks += total
        self.engine.maximize()
        if (self.n_seen - (end - begin)) // average.EVERY != self.n_seen // average.EVERY:
            self._average()

    def _average(self) -> None:
        if self.average is None or self.average_engine is None:
            return
        times = max(self.n_seen // average.EVERY, 1)
        average.take_in(self.average_engine, self.schema.layout(), self.average, self.state, times)
