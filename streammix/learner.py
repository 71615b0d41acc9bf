"""What a mixture does with records: gather the first ones, start, then step; one by one or in mini-batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix import average, em, families
from streammix.core.engine import Engine, Table
from streammix.core.reader import as_record, is_missing, short
from streammix.declaration import Declaration
from streammix.errors import RecordError
from streammix.schema import Encoded, Schema
from streammix.state import Snapshot, State
from streammix.warmup import choose_families, given_state, needed_records, warm_state

__all__ = ["IMPOSSIBLE", "Learner"]

FloatArray = NDArray[np.float64]

IMPOSSIBLE = "no component gives the record a positive density"
EXPLICIT_START = 100  # records that explicit parameters count as
_FORK = 2


class Learner:
    """The moving parts of a mixture: schema, statistics, the records that wait."""

    def __init__(self, declaration: Declaration, rng: np.random.Generator) -> None:
        self.declaration = declaration
        self.rng = rng
        self.n_seen = 0
        self.chosen = declaration.fields
        self.schema: Schema | None = None
        self.state: State | None = None
        self.average: State | None = None
        self.engine: Engine | None = None
        self.average_engine: Engine | None = None
        self.pending = np.empty((0, 0))
        self.pending_weights = np.empty(0)
        self.buffer: list[dict[str, Any]] = []
        self.buffer_weights: list[float] = []
        self._types: dict[str, str] = {}
        self._needed: int | None = declaration.warm_up
        if declaration.components is not None:
            self.schema = Schema(declaration.components)
            assert declaration.weights is not None
            self.state = given_state(self.schema, declaration.weights, declaration.warm_up or EXPLICIT_START)
            self._begin()
        elif declaration.fields is not None:
            self.schema = Schema([declaration.fields] * declaration.n_components)

    @property
    def is_warm(self) -> bool:
        """Whether there is a state: the warm-up is over."""
        return self.state is not None

    @property
    def published(self) -> Engine | None:
        """The engine whose parameters are shown: of the average, where the model averages."""
        return self.average_engine or self.engine

    @property
    def published_state(self) -> State | None:
        """The state whose parameters are shown."""
        return self.average or self.state

    def learn_record(self, x: Any, weight: float) -> None:
        """Learn one record, by any way but the fast one."""
        check_weight(weight)
        record = x if type(x) is dict else as_record(x)
        if self.state is None:
            self._wait(record, weight)
            return
        assert self.schema is not None and self.engine is not None
        row, unseen = self.schema.reader.row(record)
        if self.schema.may_refuse and self.engine.expect(row) is None:
            raise RecordError(f"{IMPOSSIBLE}: {short(record)}")
        unknown = [(0, column, key) for column, key in unseen]
        self.absorb(Encoded(list(row[:, None]), unknown), np.array([weight]))

    def learn_table(self, table: pa.Table, weights: FloatArray | None) -> None:
        """Learn the rows of a table, all or, where one is refused, none."""
        taken = self._wait_for(table, weights) if self.state is None else 0
        rest = table.slice(taken)
        if rest.num_rows:
            assert self.schema is not None
            try:
                encoded = self.schema.encode(rest)
                bad = self.absorb(encoded, None if weights is None else weights[taken:])
            except RecordError as error:
                raise _shifted(error, taken) from None
            if bad:
                raise RecordError(f"row {bad[0] + taken}: {IMPOSSIBLE}", row=bad[0] + taken)

    def ingest(
        self, records: Sequence[Any] | pa.Table
    ) -> tuple[FloatArray, FloatArray, list[int], list[tuple[int, RecordError]]]:
        """Score each record as the model stands before it, then learn it; a refused one is left out."""
        n, k = len(records), self.declaration.n_components
        responsibilities, log_density = np.full((n, k), 1 / k), np.zeros(n)
        good: list[int] = []
        refused: list[tuple[int, RecordError]] = []
        at = 0
        rows = records.slice(0, self._missing_records()).to_pylist() if isinstance(records, pa.Table) else records
        while self.state is None and at < n:
            if at >= len(rows):
                assert isinstance(records, pa.Table)
                rows = rows + records.slice(at, self._missing_records()).to_pylist()
            try:
                self._wait(rows[at], 1.0)
                good.append(at)
            except RecordError as error:
                refused.append((at, error))
            at += 1
        if at < n:
            encoded, kept, refusals = self.encode(records.slice(at) if isinstance(records, pa.Table) else records[at:])
            out_r, out_lp = np.empty((len(kept), k)), np.empty(len(kept))
            bad = set(self.absorb(encoded, None, out_r, out_lp)) if kept else set()
            wanted = [i for i in range(len(kept)) if i not in bad]
            places = [at + kept[i] for i in wanted]
            responsibilities[places], log_density[places] = out_r[wanted], out_lp[wanted]
            refused += [(at + i, error) for i, error in refusals]
            refused += [(at + kept[i], RecordError(IMPOSSIBLE)) for i in bad]
            good += places
        refused.sort(key=lambda refusal: refusal[0])
        return responsibilities[good], log_density[good], good, refused

    def evaluate(self, encoded: Encoded) -> tuple[FloatArray, FloatArray]:
        """Return (responsibilities, log densities) of rows; nothing is learnt."""
        engine = self.published
        assert engine is not None
        n = len(encoded.columns[0])
        responsibilities, log_density = np.empty((n, self.declaration.n_components)), np.empty(n)
        engine.accumulate(Table(encoded.columns), 0, n, None, None, None, responsibilities, log_density)
        responsibilities[np.isneginf(log_density)] = engine.weights
        return responsibilities, log_density

    def absorb(
        self,
        encoded: Encoded,
        weights: FloatArray | None,
        out_r: FloatArray | None = None,
        out_lp: FloatArray | None = None,
    ) -> list[int]:
        """Learn rows; return those that no component can have made, which are left out."""
        assert self.schema is not None
        n = len(encoded.columns[0])
        table = Table(encoded.columns)
        bad: list[int] = []
        at = 0
        for row, column, key in encoded.unknown:
            codes = self.schema.codes[self.schema.reader.rules[column][0]]
            if key not in codes:
                self._absorb_range(table, encoded.columns, at, row, weights, out_r, out_lp, bad)
                at = row
                self._add_level(column, key)
            encoded.columns[column][row] = self.schema.add_level(column, key)
        self._absorb_range(table, encoded.columns, at, n, weights, out_r, out_lp, bad)
        return bad

    def restore(self, snapshot: Snapshot) -> None:
        """Become what the snapshot was taken of; its arrays are copied."""
        self.n_seen = snapshot.n_seen
        self.rng.bit_generator.state = snapshot.random_state
        self.buffer = [dict(record) for record in snapshot.buffer]
        self.buffer_weights = list(snapshot.buffer_weights)
        if self.declaration.fields is None and self.declaration.components is None:
            for record in self.buffer:
                self._types |= {name: self.check_type(name, value) for name, value in record.items() if value is not None}
        if self.buffer:
            self._missing_records()
        if snapshot.state is None:
            return
        if snapshot.fields is not None:
            self.chosen = {tuple(names): families.from_json(form) for names, form in snapshot.fields}
            if self.declaration.fields is not None:
                self.chosen = self.declaration.fields
            self.schema = Schema([self.chosen] * self.declaration.n_components)
        assert self.schema is not None
        for name, keys in snapshot.levels.items():
            self.schema.set_levels(name, keys)
        self.state = snapshot.state.copy()
        self.average = snapshot.average.copy() if snapshot.average is not None else None
        self._begin()
        self.pending = snapshot.pending.copy()
        self.pending_weights = snapshot.pending_weights.copy()

    def rebind(self) -> None:
        """Bind engines to the states anew, after an array was replaced."""
        assert self.schema is not None and self.state is not None
        layout, step = self.schema.layout(), self.declaration.step_size.core
        self.engine = Engine(layout, self.state, step)
        self.average_engine = Engine(layout, self.average, step) if self.average is not None else None

    def fork(self, units: Sequence[tuple[int, int]]) -> None:
        """Give units masses of their own."""
        for block, unit in units:
            for state in (self.state, self.average):
                if state is not None:
                    state.fork(block, unit)
        self.rebind()

    def check_type(self, name: str, value: Any) -> str:
        """Return what a value of an undeclared field is: text, or a number (booleans count as numbers)."""
        kind = "text" if isinstance(value, str) else "number"
        known = self._types.get(name, kind)
        if known != kind:
            raise RecordError(f"field {name!r}: expected a {known}, as before, got {short(value)}", field=name)
        return kind

    def warm_start(self, records: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> None:
        """Make the first state from records; they then count as its start."""
        k = self.declaration.n_components
        if self.chosen is None:
            self.chosen = choose_families(records, k)
        self.schema = Schema([self.chosen] * k)
        rows, _, unknown, refused = self.schema.reader.rows(list(records))
        if refused:
            raise refused[0][1]
        for row, column, key in unknown:
            rows[row, column] = self.schema.add_level(column, key)
        given = np.array(weights, dtype=np.float64)
        columns = [np.ascontiguousarray(rows[:, j]) for j in range(rows.shape[1])]
        self.state = warm_state(self.schema, columns, None if (given == 1.0).all() else given, k, self.rng)
        self._begin()

    def _begin(self) -> None:
        assert self.schema is not None and self.state is not None
        self.pending = np.empty((0, self.schema.reader.n_columns))
        self.pending_weights = np.empty(0)
        if self.declaration.averaging and self.average is None:
            self.average = self.state.copy()
        self.rebind()

    def _missing_records(self) -> int:
        """How many records the warm-up still takes, at least."""
        if self._needed is None and len(self.buffer) >= 1_000:
            fields = self.chosen or choose_families(self.buffer, self.declaration.n_components)
            levels: dict[str, set[Any]] = {}
            for record in self.buffer:
                for name, value in record.items():
                    if isinstance(value, str):
                        levels.setdefault(name, set()).add(value)
            sizes = {name: len(values) for name, values in levels.items()}
            self._needed = needed_records(fields, self.declaration.n_components, sizes)
        return max((self._needed or 1_000) - len(self.buffer), 1)

    def _wait(self, record: Any, weight: float) -> None:
        """Put a record into the warm-up's buffer, and start where it is full."""
        kept = self.plain(record if type(record) is dict else as_record(record))
        if self.declaration.fields is None:
            self._types |= {name: self.check_type(name, value) for name, value in kept.items() if value is not None}
        full = self._needed is not None and len(self.buffer) + 1 >= self._needed
        self.buffer.append(kept)
        self.buffer_weights.append(weight)
        if not full:
            self._missing_records()
            full = self._needed is not None and len(self.buffer) >= self._needed
        if full:
            self.warm_start(self.buffer, self.buffer_weights)
            self.buffer, self.buffer_weights = [], []
        self.n_seen += 1

    def _wait_for(self, table: pa.Table, weights: FloatArray | None) -> int:
        """Let the warm-up take its rows of a table; return how many it took."""
        taken = 0
        while self.state is None and taken < table.num_rows:
            for record in table.slice(taken, self._missing_records()).to_pylist():
                try:
                    self._wait(record, 1.0 if weights is None else float(weights[taken]))
                except RecordError as error:
                    raise _shifted(error, taken, f"row {taken}: {error}") from None
                taken += 1
        return taken

    def plain(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record as it waits: plain values of the fields in use, checked."""
        if self.schema is not None:
            self.schema.reader.row(record)
            names = {name for group in self.schema.fields for name in group}
            return {name: plain_value(name, value) for name, value in record.items() if name in names}
        if not record:
            raise RecordError("the record is empty")
        for name in record:
            if not isinstance(name, str):
                raise RecordError(f"a field's name must be a string, not {short(name)}")
        kept = {name: plain_value(name, value) for name, value in record.items()}
        if all(value is None for value in kept.values()):
            raise RecordError(f"the record {short(record)} has no value")
        return kept

    def encode(
        self, records: Sequence[Any] | pa.Table
    ) -> tuple[Encoded, list[int], list[tuple[int, RecordError]]]:
        """Encode records one by one or, where no row is refused, as a table: (rows, their indices, refusals)."""
        assert self.schema is not None
        if isinstance(records, pa.Table):
            try:
                return self.schema.encode(records), list(range(len(records))), []
            except RecordError:
                return self.encode(records.to_pylist())
        rows, good, unknown, refused = self.schema.reader.rows(list(records))
        return Encoded([rows[:, j] for j in range(rows.shape[1])], unknown), good, refused

    def take_levels(self, encoded: Encoded) -> None:
        """Learn the unknown levels of rows, and write their codes into them."""
        assert self.schema is not None
        for row, column, key in encoded.unknown:
            if key not in self.schema.codes[self.schema.reader.rules[column][0]]:
                self._add_level(column, key)
            encoded.columns[column][row] = self.schema.add_level(column, key)

    def _add_level(self, column: int, key: Any) -> None:
        assert self.schema is not None
        self.schema.add_level(column, key)
        block = self.schema.block_of(column)
        size = self.schema.size(self.schema.blocks[block])
        for state in (self.state, self.average):
            if state is not None:
                state.make_room(block, size)
        self.rebind()

    def _absorb_range(
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
        if self.declaration.batch_size > 1:
            self._absorb_batches(table, columns, begin, end, weights, out_r, out_lp, bad)
            return
        while begin < end:
            assert self.engine is not None and self.state is not None and self.schema is not None
            stop = end
            if self.average is not None:
                stop = min(end, begin + average.EVERY - self.n_seen % average.EVERY)
            learnt, status = self.engine.learn_rows(table, begin, stop, weights, out_r, out_lp)
            self.n_seen += learnt
            begin += learnt
            if learnt and self.average is not None and self.n_seen % average.EVERY == 0:
                self._average()
            if status == _FORK:
                row = [column[begin : begin + 1] for column in columns]
                self.fork(em.forks_needed(self.schema.layout(), self.state, row))
            elif status:
                bad.append(begin)
                begin += 1

    def _absorb_batches(
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
        size = self.declaration.batch_size
        while begin < end:
            assert self.engine is not None and self.schema is not None
            stop = min(end, begin + size - len(self.pending))
            if out_lp is not None or self.schema.may_refuse:
                densities = np.empty(table.n_rows) if out_lp is None else out_lp
                engine = self.published
                assert engine is not None
                engine.accumulate(table, begin, stop, None, None, None, out_r, densities)
                found = begin + np.flatnonzero(np.isneginf(densities[begin:stop]))
                if found.size:
                    bad.append(int(found[0]))
                    if found[0] == begin:
                        begin += 1
                        continue
                    stop = int(found[0])
            if stop - begin == size:
                self._step(table, columns, begin, stop, weights)
            else:
                rows = np.stack([column[begin:stop] for column in columns], axis=1)
                own = np.ones(stop - begin) if weights is None else weights[begin:stop]
                self.pending = np.concatenate([self.pending, rows])
                self.pending_weights = np.concatenate([self.pending_weights, own])
                if len(self.pending) == size:
                    full = [np.ascontiguousarray(self.pending[:, j]) for j in range(self.pending.shape[1])]
                    own = self.pending_weights
                    self.pending, self.pending_weights = self.pending[:0], own[:0]
                    self._step(Table(full), full, 0, size, own)
            self.n_seen += stop - begin
            begin = stop

    def _step(
        self, table: Table, columns: list[FloatArray], begin: int, end: int, weights: FloatArray | None
    ) -> None:
        """One stepwise EM step: a mini-batch at fixed parameters."""
        assert self.engine is not None and self.state is not None and self.schema is not None
        if self.engine.need_fork(table, begin, end):
            rows = [column[begin:end] for column in columns]
            self.fork(em.forks_needed(self.schema.layout(), self.state, rows))
        gamma, total = self.engine.compounded(table, begin, end, weights)
        acc, _, _ = em.collect(self.engine, table, begin, end, weights)
        self.engine.blend(acc, gamma, total)
        self.state.clocks += total
        self.engine.maximize()
        clock = self.state.clocks[0]
        if self.average is not None and (clock - total[0]) // average.EVERY != clock // average.EVERY:
            self._average()

    def _average(self) -> None:
        assert self.schema is not None and self.state is not None and self.average is not None
        assert self.average_engine is not None
        times = max(int(self.state.clocks[0]) // average.EVERY, 1)
        average.take_in(self.average_engine, self.schema.layout(), self.average, self.state, times)


def check_weight(weight: float) -> None:
    """Refuse a weight that is not a positive number of a sensible size."""
    if not 0.0 < weight <= 1e9:
        raise RecordError(f"a record's weight must be a positive number up to 1e9, not {weight!r}")


def plain_value(name: str, value: Any) -> Any:
    """Return a value as a plain bool, int, float, str or None.

    Raises
    ------
    RecordError
        If it is infinite, or anything else.
    """
    if is_missing(value):
        return None
    if hasattr(value, "item") and hasattr(value, "dtype"):
        value = value.item() if getattr(value, "ndim", 1) == 0 else value
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) or (hasattr(type(value), "__float__") and not isinstance(value, (list, bytes))):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("inf")
        if number != number:
            return None
        if abs(number) <= 1e100:
            return value if isinstance(value, int) else number
    raise RecordError(f"field {name!r}: expected a finite number, a string or a boolean, got {short(value)}", field=name)


def _shifted(error: RecordError, by: int, text: str | None = None) -> RecordError:
    """The same refusal, of a row of a slice, told as of the whole table."""
    row = by if error.row is None else error.row + by
    message = text or str(error).replace(f"row {error.row}:", f"row {row}:", 1)
    return RecordError(message, field=error.field, row=row)
