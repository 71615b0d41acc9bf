"""A mixture that is past its warm-up: schema, statistics, and the steps they take."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix import average
from streammix.answers import Told
from streammix.columns import Encoded
from streammix.core.engine import Engine
from streammix.core.records import Waiting
from streammix.core.table import Table, table_of
from streammix.declaration import Declaration
from streammix.schema import MAX_LEVELS, OTHER, Schema
from streammix.state import State, stacked

__all__ = ["Running", "joined"]

FloatArray = NDArray[np.float64]

_IMPOSSIBLE = 1  # why the core stopped: no component can have made a row
_FORK = 2  # a mass has to be made for a field that is missing


@dataclass
class _Rows:
    """Rows on their way into the statistics, what each weighs, and what becomes of them.

    Parameters
    ----------
    table
        The rows.
    weights
        Their weights; None where all are 1.
    told
        Where goes what is said of each row by the parameters that stood before it; None where nobody wants it.
    bad
        The rows that no component can have made: they are left out.
    """

    table: Table
    weights: FloatArray | None
    told: Told | None
    bad: list[int] = field(default_factory=list)

    @property
    def out(self) -> tuple[FloatArray | None, FloatArray | None]:
        """Where each row's responsibilities and log density go."""
        return (None, None) if self.told is None else (self.told.responsibilities, self.told.log_density)


class Running:
    """The statistics of a mixture, and what moves them."""

    def __init__(self, declaration: Declaration, schema: Schema, state: State, mean: State | None = None) -> None:
        self.schema = schema
        self.state = state
        self.average = mean
        self.n_seen = 0
        self.waiting: Waiting | None = None
        self.step_size = declaration.step_size.core
        if declaration.batch_size > 1:
            self.waiting = Waiting(declaration.batch_size, schema.reader.n_columns)
            self._full = table_of(self.waiting.rows)
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
        self.engine = Engine(layout, self.state, self.step_size)
        self.average_engine = Engine(layout, self.average, self.step_size) if self.average is not None else None

    def states(self) -> list[State]:
        """Return all statistics that are kept."""
        return [self.state] if self.average is None else [self.state, self.average]

    def engines(self) -> list[Engine]:
        """Return the engines that are bound to them."""
        return [self.engine] if self.average_engine is None else [self.engine, self.average_engine]

    def join(self, schema: Schema, part: State, rows: FloatArray) -> None:
        """Take in a field that `schema` has last, with the statistics that its rows so far make by themselves."""
        old = self.schema
        self.state = joined(self.state, old, schema, part)
        if self.average is not None:
            self.average = joined(self.average, old, schema, part.copy())
        self._read_by(schema)
        self.rebind()

    def _read_by(self, schema: Schema) -> None:
        """Take a schema that has more columns; the rows that wait have gaps there."""
        old, waiting = self.schema, self.waiting
        self.schema = schema
        if waiting is not None:
            at, more = len(old.reader.rules), schema.reader.n_columns - old.reader.n_columns
            self.waiting = Waiting(waiting.size, schema.reader.n_columns)
            gaps = np.full((waiting.n, more), np.nan)
            rows = waiting.rows[: waiting.n]
            self.waiting.add(np.hstack([rows[:, :at], gaps, rows[:, at:]]), waiting.weights[: waiting.n])
            self._full = table_of(self.waiting.rows)

    def halve(self) -> None:
        """Let all records so far, those that wait as well, weigh half of what they did."""
        for state in self.states():
            state.halve()
        if self.waiting is not None:
            self.waiting.weights[: self.waiting.n] *= 0.5
        self.rebind()

    def fork(self, units: Sequence[tuple[int, int]]) -> None:
        """Give units masses of their own."""
        for block, unit in units:
            for state in self.states():
                state.fork(block, unit)
        self.rebind()

    def fork_for(self, table: Table, begin: int, end: int) -> None:
        """Give masses of their own to the units that are missing from some of the rows."""
        self.fork(self.engine.forks_needed(table, begin, end))

    def code_of(self, column: int, key: Any) -> tuple[int, NDArray[np.intp] | None]:
        """Return the code of a level; an unknown one joins the statistics.

        Where there was no room for it, the rarest levels are folded into one, and the levels' new codes, one an old
        code, are returned as well.
        """
        codes = self.schema.levels(column)
        code = codes.get(key)
        if code is not None:
            return code, None
        block = self.schema.block_of(column)
        places = self._fold(column, block) if len(codes) >= MAX_LEVELS else None
        code = codes[key] = len(codes)
        moved = [state.make_room(block, len(codes), MAX_LEVELS) for state in self.states()]
        if any(moved):
            self.rebind()
        else:
            for engine in self.engines():
                engine.set_levels(block, len(codes))
        return code, places

    def codes_of(self, unseen: Sequence[tuple[int, Any]]) -> list[int] | None:
        """Return the codes of levels, (column, key); None where the engine was replaced by one with more room."""
        engine = self.engine
        codes = [self.code_of(column, key)[0] for column, key in unseen]
        return codes if self.engine is engine else None

    def _fold(self, column: int, block: int) -> NDArray[np.intp]:
        """Fold the levels that the fewest records have, of those that wait, too; return the levels' new codes."""
        n = len(self.schema.levels(column))
        counts, waiting = self.state.level_counts(block, n), self.waiting
        own = waiting.rows[: waiting.n, column] if waiting is not None else np.empty(0)
        seen = ~np.isnan(own)
        if waiting is not None:
            counts += np.bincount(own[seen].astype(np.intp), waiting.weights[: waiting.n][seen], n)
        places = self.schema.fold_levels(column, counts)
        own[seen] = places[own[seen].astype(np.intp)]
        for state in self.states():
            state.fold_levels(block, places, self.schema.levels(column)[OTHER])
        return places

    def evaluate(self, table: Table) -> tuple[FloatArray, FloatArray]:
        """Return (responsibilities, log densities) of rows; nothing is learnt. Each component's lie together."""
        engine = self.published
        columns, log_density = np.empty((engine.n_components, table.n_rows)), np.empty(table.n_rows)
        _, impossible = engine.accumulate(table, 0, table.n_rows, out_r=columns, out_lp=log_density, by_component=True)
        responsibilities = columns.T
        if impossible >= 0:
            responsibilities[np.isneginf(log_density)] = engine.weights
        return responsibilities, log_density

    def tell(self, table: Table) -> Told:
        """Return all that is said of rows; nothing is learnt."""
        return Told(*self.evaluate(table))

    def tell_each(self, table: Table) -> Told:
        """Do as `tell`, to the last bit as of each row by itself."""
        return Told(*self._evaluate_each(table))

    def _evaluate_each(self, table: Table, outliers: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        engine = self.published
        responsibilities, log_density = np.empty((table.n_rows, engine.n_components)), np.empty(table.n_rows)
        engine.expect_rows(table, responsibilities, log_density, outliers)
        responsibilities[np.isnan(responsibilities[:, 0])] = engine.weights
        return responsibilities, log_density

    def log_densities(self, table: Table) -> FloatArray:
        """Return the log densities of rows."""
        log_density = np.empty(table.n_rows)
        self.published.accumulate(table, 0, table.n_rows, out_lp=log_density)
        return log_density

    def absorb(
        self,
        encoded: Encoded,
        weights: FloatArray | None,
        told: Told | None = None,
    ) -> list[int]:
        """Learn rows; return those that no component can have made, which are left out.

        Where `told` is given, it receives what is said of each row by the parameters that stood before it.
        """
        learn = self._learn_batches if self.waiting is not None else self._learn_rows
        table, at = encoded.table, 0
        rows = _Rows(table, weights, told)
        unknown = deque(encoded.unknown)
        while unknown:
            row, column, key = unknown.popleft()
            if row < at:
                continue  # found impossible by another of its levels
            if key not in self.schema.levels(column):
                learn(rows, at, row)
                at = row
                if self.schema.may_refuse and self.engine.expect(table.rows(row, row + 1)[0]) is None:
                    rows.bad.append(row)
                    at = row + 1
                    continue
            before = list(self.schema.levels(column)) if len(self.schema.levels(column)) >= MAX_LEVELS else []
            encoded.made[column][row], places = self.code_of(column, key)
            if places is not None:
                folded = encoded.recode(column, row + 1, places, self.schema.levels(column)[OTHER], before)
                unknown = deque(sorted([*unknown, *folded], key=lambda found: found[:2]))
        learn(rows, at, table.n_rows)
        return rows.bad

    def _learn_rows(self, rows: _Rows, begin: int, end: int) -> None:
        own = rows.out if self.average is None else (None, None)
        while begin < end:
            stop = end
            if self.average is not None:
                stop = min(end, begin + average.EVERY - self.n_seen % average.EVERY)
                if rows.told is not None:  # the average, which predicts, stands still from one time to the next
                    self.published.accumulate(rows.table, begin, stop, None, None, None, *rows.out)
            learnt, status = self.engine.learn_rows(rows.table, begin, stop, rows.weights, *own)
            self.count(learnt, learnt)
            begin += learnt
            if status == _FORK:
                self.fork_for(rows.table, begin, begin + 1)
            elif status == _IMPOSSIBLE:
                rows.bad.append(begin)
                begin += 1

    def _learn_batches(self, rows: _Rows, begin: int, end: int) -> None:
        waiting = self.waiting
        assert waiting is not None
        while begin < end and self.average is None:
            begin = self._learn_stretch(rows, begin, end)
        while begin < end:
            is_whole = waiting.n == 0 and begin + waiting.size <= end
            begin = self._learn_whole(rows, begin, end) if is_whole else self._let_wait(rows, begin, end)

    def _learn_stretch(self, rows: _Rows, begin: int, end: int) -> int:
        """Learn rows until all are learnt or wait, or something is out of the ordinary; return the next row."""
        waiting = self.waiting
        assert waiting is not None
        own = waiting.rows, waiting.weights, waiting.n
        learnt, waiting.n, status = self.engine.learn_stretch(
            rows.table, begin, end, self._full, *own, rows.weights, *rows.out, careful=self.schema.may_refuse
        )
        self.n_seen += learnt
        begin += learnt
        if waiting.n == waiting.size:
            waiting.n = 0
            self._learn_waiting(waiting.size, 0)
        elif status == _FORK:
            self.fork_for(rows.table, begin, begin + waiting.size)
        elif status == _IMPOSSIBLE:
            return self._let_wait(rows, begin, min(end, begin + waiting.size - waiting.n))
        return begin

    def _learn_whole(self, rows: _Rows, begin: int, end: int) -> int:
        """Learn a mini-batch where it lies, if all of it can be, while the average predicts; return the next row."""
        assert self.waiting is not None
        end = begin + self.waiting.size
        is_careful = rows.told is not None or self.schema.may_refuse
        if is_careful and self.published.accumulate(rows.table, begin, end, None, None, None, *rows.out)[1] >= 0:
            return self._let_wait(rows, begin, end)
        learnt, status = self.engine.learn_batches(rows.table, begin, end, self.waiting.size, rows.weights)
        self.count(learnt, learnt)
        begin += learnt
        if status == _FORK:
            self.fork_for(rows.table, begin, end)
        return begin

    def _let_wait(self, rows: _Rows, begin: int, end: int) -> int:
        """Add rows to those that wait until there is a mini-batch of them; return the next row."""
        waiting = self.waiting
        assert waiting is not None
        stop, impossible = min(end, begin + waiting.size - waiting.n), -1
        if rows.told is not None or self.schema.may_refuse:
            impossible = self._score(rows, begin, stop)
        if impossible >= 0:
            rows.bad.append(impossible)
            stop = impossible
        waiting.add(rows.table.rows(begin, stop), 1.0 if rows.weights is None else rows.weights[begin:stop])
        if waiting.n < waiting.size:
            self.n_seen += stop - begin
        else:
            waiting.n = 0
            self._learn_waiting(waiting.size, stop - begin)
        return stop if impossible < 0 else stop + 1

    def _score(self, rows: "_Rows", begin: int, end: int) -> int:
        """Score rows where that is wanted; return the first one that no component can have made, or -1."""
        return self.published.accumulate(rows.table, begin, end, None, None, None, *rows.out)[1]

    def settle(self) -> None:
        """Let the rows that wait make a step by themselves."""
        waiting = self.waiting
        if waiting is not None and waiting.n:
            n, waiting.n = waiting.n, 0
            self._learn_waiting(n, 0)

    def _learn_waiting(self, n: int, added: int) -> None:
        """Learn the n rows that have waited as a mini-batch; the last `added` of them are not counted yet."""
        waiting = self.waiting
        assert waiting is not None
        while not self.engine.learn_batches(self._full, 0, n, n, waiting.weights)[0]:
            self.fork_for(self._full, 0, n)
        self.count(added, n)

    def count(self, learnt: int, step: int) -> None:
        """Count records, the last `step` of which moved the statistics; the average takes them in at each hundred."""
        self.n_seen += learnt
        if self.average is not None and (self.n_seen - step) // average.EVERY != self.n_seen // average.EVERY:
            self.take_average()

    def take_average(self) -> None:
        """Let the average take the statistics in, where there is one."""
        if self.average is None or self.average_engine is None:
            return
        times = max(self.n_seen // average.EVERY, 1)
        average.take_in(self.average_engine, self.average, self.state, times)


def joined(state: State, old: Schema, new: Schema, part: State) -> State:
    """Return a state with one more unit, which has a mass of its own."""
    places = {names: (i, u) for i, block in enumerate(old.blocks) for u, names in enumerate(block.names)}
    statistics, priors, units = [], [], []
    for block in new.blocks:
        known = [places[names] for names in block.names if names in places]
        own = [state.mass_units[i][u] for i, u in known]
        values, prior = [state.statistics[i] for i, _ in known[:1]], [state.priors[i] for i, _ in known[:1]]
        if len(known) < len(block.names):
            own.append(len(state.masses))
            values.append(part.statistics[0])
            prior.append(part.priors[0])
        statistics.append(stacked(*values))
        priors.append(stacked(*prior))
        units.append(own)
    return State(
        state.n_components,
        stacked(state.masses, part.masses),
        stacked(state.counts, part.counts),
        stacked(state.clocks, part.clocks),
        stacked(state.starts, part.starts),
        units,
        statistics,
        priors,
        state.prior_weight,
    )
