"""What a mixture does with records: gather the first ones, start, and hand on to what runs."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix import families
from streammix.answers import Told
from streammix.clock import Look, clock_of
from streammix.columns import Encoded
from streammix.core.json_lines import JsonLines
from streammix.core.values import as_record, short
from streammix.declaration import Declaration, to_json
from streammix.errors import RecordError
from streammix.families import Family, Normal
from streammix.frames import Frame, check_names, first_seen
from streammix.gathering import Gathering
from streammix.inference import TIMES, Inferred, Ready, Values, infer, ready, tell, tell_declared
from streammix.newcomers import MOST_FIELDS, AllBut, Newcomers
from streammix.packing import check_fields, check_layout
from streammix.plain import IMPOSSIBLE, check_weight
from streammix.running import Running
from streammix.schema import Schema
from streammix.standing import Names
from streammix.state import Snapshot
from streammix.steps import Steps, at_once
from streammix.warmup import given_state, needed_records, newcomer_state, warm_state

__all__ = ["FIRST_LOOK", "Learner"]

FloatArray = NDArray[np.float64]

EXPLICIT_START = 100  # records that explicit parameters count as
FIRST_LOOK = 1_000  # records after which the warm-up's length is settled
READ_AT_ONCE = 500  # of the first records

#: The families of the fields, their schema, and the first records as columns, with their weights.
Start = tuple[dict[Names, Family], Schema, list[FloatArray], FloatArray | None]


class Learner:
    """A mixture's moving parts: the records that wait, then what runs."""

    has_labels = False  # whether components have numbers other than their places

    def __init__(self, declaration: Declaration, rng: np.random.Generator) -> None:
        self.declaration = declaration
        self.rng = rng
        self.chosen = None if declaration.infers else declaration.fields
        self.newcomers = Newcomers()
        self.clock = clock_of(declaration.step_size)
        self._undeclared_time: tuple[str, ...] = ()  # the field of event time, where it would be taken for another
        if self.clock is not None and declaration.infers and self.clock.field not in declaration.declared_names:
            self._undeclared_time = (self.clock.field,)
        self.running: Running | None = None
        self.schema: Schema | None = None
        self.buffer: list[dict[str, Any]] = []
        self.buffer_weights: list[float] = []
        self.n_witnesses = self.inferred_for = declaration.n_components
        self._needed: int | None = declaration.warm_up
        if declaration.components is not None:
            assert declaration.weights is not None
            self.schema = Schema(declaration.components)
            state = given_state(self.schema, declaration.weights, declaration.warm_up or EXPLICIT_START)
            self.running = Running(declaration, self.schema, state)
        elif self.chosen is not None:
            self.schema = Schema([self.chosen] * declaration.n_components)
        declared = self.schema
        if declaration.infers and declaration.fields:
            declared = Schema([declaration.fields] * declaration.n_components)
        self.gathering = Gathering(declaration, declared, self._undeclared_time)

    @property
    def n_seen(self) -> int:
        """Records learnt, or waiting to be."""
        return len(self.buffer) if self.running is None else self.running.n_seen

    @property
    def names(self) -> list[str]:
        """The fields by name, in the order of their declaration, those that wait to join among them."""
        assert self.schema is not None
        if self.declaration.fields is None or self.declaration.infers:
            return [*self.schema.names, *self.newcomers.awaited]
        return [name for names in self.declaration.fields for name in names]

    @property
    def ignored(self) -> Container[str]:
        """The fields that are known to be left out, where others that are unknown may join; else none."""
        if not self.is_open:
            return ()
        if not self._takes_any:
            return AllBut(self.newcomers.awaited)
        return {*self.newcomers.left_out, *self.declaration.ignored, *self._undeclared_time}

    @property
    def is_gathering(self) -> bool:
        """Whether records are still kept as they come: what the fields are, and the statistics, may be made anew."""
        return self.running is None

    @property
    def is_open(self) -> bool:
        """Whether fields that are not known yet may join, or declared ones that wait."""
        return not self.is_gathering and (bool(self.newcomers.awaited) or self._takes_any)

    @property
    def _takes_any(self) -> bool:
        """Whether fields that nobody declared may join."""
        if self.running is None or not self.declaration.infers:
            return False
        return len(self.running.schema.names) + len(self.newcomers.left_out) < MOST_FIELDS

    def inferred(self) -> tuple[dict[str, str], dict[str, Any]]:
        """What was inferred, in words by field, and as the arguments that would declare it; empty until then."""
        if self.running is None or self.chosen is None:
            return {}, {}
        if not self.declaration.infers:
            return self.newcomers.waiting_for(), {}
        return self.newcomers.told(self.chosen, self.declaration)

    def learn_record(self, x: Any, weight: float, told: Told | None = None) -> None:
        """Learn one record, by any way but the fast one; `told` as in `Running.absorb`."""
        check_weight(weight)
        record = x if isinstance(x, dict) else as_record(x)
        running = self.running
        if running is None or self.is_gathering:
            self.wait(record, weight, told)
            return
        row, unseen = running.schema.reader.row(record)
        news = self.newcomers.read(running.schema.reader.new_fields, self.gathering.declared)
        expected = running.engine.expect(row) if news or running.schema.may_refuse else (0.0, row)
        if expected is None:
            raise RecordError(f"{IMPOSSIBLE}: {short(record)}")
        responsibilities = np.ones(1) if self.n_witnesses == 1 else expected[1].copy()
        encoded = Encoded.of_rows(row[None, :], [(0, column, key) for column, key in unseen])
        running.absorb(encoded, np.array([weight]), told)
        if news:
            self._let_join(self.newcomers.add(news, responsibilities, weight))

    def go_on(self, look: Look) -> bool:
        """Let the clock go on after a record that was learnt; tell whether all weights so far were halved."""
        assert self.clock is not None
        if not self.clock.take(look):
            return False
        self.buffer_weights = [weight * 0.5 for weight in self.buffer_weights]
        if self.running is not None:
            self.running.halve()
        return True

    def may_refuse(self, frame: Frame) -> bool:
        """Whether a row of a frame may be refused when others before it are learnt."""
        running = self.running
        if running is None or self.is_gathering:
            return True
        return running.schema.may_refuse or bool(self.clock) or self.has_new_fields(frame)

    def has_new_fields(self, frame: Frame) -> bool:
        """Whether a frame has values of fields that the model doesn't know, but may get to know."""
        return first_seen(frame, self.unknown(frame), self.newcomers.constant, 0) < frame.num_rows

    def unknown(self, frame: Frame) -> list[str]:
        """The columns of a frame that may be fields to join."""
        if not self.is_open or self.running is None:
            return []
        known, ignored = set(self.running.schema.names), self.ignored
        return [name for name in frame.column_names if name not in known and name not in ignored]

    def _let_join(self, names: Sequence[str]) -> None:
        """Let fields join whose values have waited long enough, or leave them out."""
        assert self.running is not None
        for name in names:
            own = self.newcomers.waiting.pop(name)
            records = [{name: value} for value in own.values]
            inferred = self._settle(name, Values(records))
            tell(inferred)
            self.newcomers.left_out |= inferred.left_out
            self.newcomers.constant |= inferred.constant
            for families_of_it in [inferred.fields] if inferred.fields else []:
                alone, rows = at_once(self._read_first(families_of_it, records))
                columns = [np.ascontiguousarray(rows[:, j]) for j in range(rows.shape[1])]
                state = newcomer_state(alone, columns, np.array(own.weights), np.array(own.responsibilities))
                assert self.chosen is not None
                self.chosen = self.chosen | families_of_it
                self.schema = self._schema_of(self.chosen)
                for field, codes in (self.running.schema.codes | alone.codes).items():
                    self.schema.set_levels(field, list(codes))
                self.running.join(self.schema, state, rows)
        self.look_out()

    def look_out(self) -> None:
        """Let the reader notice fields that may join."""
        assert self.running is not None
        assert self.chosen is not None or self.declaration.components is not None
        used, declared = set(self.running.schema.names), self.declaration.fields or {}
        self.newcomers.awaited = {
            name: family if len(names) == 1 else Normal()
            for names, family in declared.items()
            for name in names
            if name not in used
        }
        ignored = self.ignored if self.is_open else None
        self.running.schema.look_out(ignored, self.newcomers.constant, self.newcomers.awaited)

    def look_away(self) -> None:
        """Let the reader pass over the fields that may join."""
        assert self.running is not None
        self.running.schema.look_out(None, {}, self.newcomers.awaited)

    def _settle(self, name: str, values: Values) -> Inferred:
        """What becomes of a field whose values have waited long enough."""
        if name not in self.newcomers.awaited:
            return infer(values, self.inferred_for, has_others=True)
        found = ready({(name,): self.newcomers.awaited[name]}, values, has_others=True)
        return Inferred(found.fields, {}, found.constant)

    def _schema_of(self, fields: Mapping[Names, Family]) -> Schema:
        """The schema of all components; fields of levels that were inferred hold text."""
        inferred = {name for names in fields for name in names} - self.declaration.declared_names
        return Schema([fields] * self.declaration.n_components, inferred if self.declaration.infers else ())

    def _read_first(
        self, fields: Mapping[Names, Family], records: Sequence[Mapping[str, Any]]
    ) -> Steps[tuple[Schema, FloatArray]]:
        """Read the first records, some in each step; return the schema of the fields, and the rows."""
        schema = self._schema_of(fields)
        parts, unknown = [], []
        for at in range(0, len(records), READ_AT_ONCE):
            some = records[at : at + READ_AT_ONCE]
            rows, _, new, refused = schema.reader.rows([schema.whole(record) for record in some])
            if refused:
                raise refused[0][1]
            parts.append(rows)
            unknown += [(at + row, column, key) for row, column, key in new]
            yield
        rows = np.concatenate(parts)
        for column in sorted({column for _, column, _ in unknown}):
            found = [(row, key) for row, own, key in unknown if own == column]
            rows[[row for row, _ in found], column] = schema.first_levels(column, [key for _, key in found])
        return schema, rows

    def encode(
        self, records: list[Any] | JsonLines | Frame
    ) -> tuple[Encoded, Sequence[int], list[tuple[int, RecordError]]]:
        """Encode records one by one or, where no row is refused, as a frame: (rows, their indices, refusals)."""
        assert self.schema is not None
        if not isinstance(records, list | JsonLines):
            try:
                return self.schema.encode(records), range(len(records)), []
            except RecordError:
                return self.encode(self.records_of(records))
        reader = self.schema.reader
        rows, good, unknown, refused = reader.rows(records) if isinstance(records, list) else records.rows(reader)
        return Encoded.of_rows(rows, unknown), good, refused

    def first(self, frame: Frame, n: int, at: int = 0) -> list[dict[str, Any]]:
        """Return some rows of a frame as records, without fields that aren't in use."""
        return self.records_of(frame.slice(at, n))

    def records_of(self, frame: Frame) -> list[dict[str, Any]]:
        """The rows of a frame as records, without fields that aren't in use."""
        check_names(frame.column_names)
        if self.schema is not None and not (self.is_gathering and self.declaration.infers):
            wanted = {*self.schema.names, *self.unknown(frame)}
            if self.clock is not None:
                wanted.add(self.clock.field)
            frame = frame.select([name for name in frame.column_names if name in wanted])
        records: list[dict[str, Any]] = frame.to_pylist()
        return records

    def start(self, records: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> Running:
        """Make the first state from records; they then count as its start."""
        chosen, schema, columns, given = at_once(self.read_start(records, weights, self.choose(Values(records))))
        return self.set_out(chosen, schema, self._begin(schema, columns, given), len(records))

    def read_start(
        self, records: Sequence[Mapping[str, Any]], weights: Sequence[float], found: tuple[Inferred, Ready]
    ) -> Steps[Start]:
        """Read the first records as columns, in steps, by what was found of their fields."""
        tell(found[0])
        tell_declared(found[1], len(records))
        chosen = self.take_up(*found)
        schema, rows = yield from self._read_first(chosen, records)
        given = np.array(weights, dtype=np.float64)
        columns = [np.ascontiguousarray(rows[:, j]) for j in range(rows.shape[1])]
        return chosen, schema, columns, None if (given == 1.0).all() else given

    def choose(self, values: Values) -> tuple[Inferred, Ready]:
        """Return what becomes of undeclared fields, and of declared ones, by the first records."""
        inferred = self._infer(values) if self.declaration.infers else Inferred({}, {}, {})
        inferred.left_out.update({name: TIMES for name, kind in self.gathering.types.items() if kind == "time"})
        return inferred, ready(self.declaration.fields or {}, values, bool(inferred.fields))

    def take_up(self, inferred: Inferred, found: Ready) -> dict[Names, Family]:
        """Take down which fields are left out or wait; return the families of the others."""
        self.newcomers.left_out = inferred.left_out
        self.newcomers.constant = inferred.constant | found.constant
        return {**found.fields, **inferred.fields}

    def set_out(self, chosen: dict[Names, Family], schema: Schema, running: Running, n: int) -> Running:
        """Go on from a first state, which n records made."""
        self.chosen, self.schema, self.running = chosen, schema, running
        running.n_seen = n
        self.buffer, self.buffer_weights = [], []
        self.look_out()
        return running

    def _begin(self, schema: Schema, columns: Sequence[FloatArray], weights: FloatArray | None) -> Running:
        """What runs on from the rows of the warm-up, as columns."""
        state = warm_state(schema, columns, weights, self.declaration.n_components, self.rng)
        return Running(self.declaration, schema, state)

    def _infer(self, values: Values) -> Inferred:
        """What becomes of the fields that nobody declared."""
        known = self.declaration.declared_names | {*self._undeclared_time}
        return infer(values, self.inferred_for, bool(self.declaration.fields), known)

    def snapshot(self, n_seen: int, seed: int | None) -> Snapshot:
        """Everything that a mixture is, after so many records."""
        running, waiting = self.running, self.running.waiting if self.running is not None else None
        rows, weights = (np.empty((0, 0)), np.empty(0)) if waiting is None else (waiting.rows, waiting.weights)
        n = 0 if waiting is None else waiting.n
        chosen = self.chosen if running is not None else None
        return Snapshot(
            declaration=to_json(self.declaration, seed),
            fields=None if chosen is None else [[list(names), family.to_json()] for names, family in chosen.items()],
            levels={} if running is None else {name: list(codes) for name, codes in running.schema.codes.items()},
            n_seen=n_seen,
            random_state=dict(self.rng.bit_generator.state),
            state=None if running is None else running.state.copy(),
            average=None if running is None or running.average is None else running.average.copy(),
            pending=rows[:n].copy(),
            pending_weights=weights[:n].copy(),
            buffer=[dict(record) for record in self.buffer],
            buffer_weights=list(self.buffer_weights),
            new_fields=self.newcomers.to_json(),
            clock=None if self.clock is None else self.clock.to_json(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Become what the snapshot was taken of; its arrays are copied."""
        self.rng.bit_generator.state = snapshot.random_state
        self.buffer = [dict(record) for record in snapshot.buffer]
        self.buffer_weights = list(snapshot.buffer_weights)
        if self.clock is not None and snapshot.clock is not None:
            self.clock.restore(snapshot.clock)
        self.newcomers = Newcomers.from_json(snapshot.new_fields, self.n_witnesses)
        for record in self.buffer:
            self._note_types(record)
        times = {name: "time" for name, why in self.newcomers.left_out.items() if why == TIMES}
        self.gathering.types = times | self.gathering.types
        if snapshot.state is None:
            return
        if snapshot.fields is not None and self.declaration.components is None:
            declared = self.declaration.fields or {}
            self.chosen = {
                tuple(names): declared.get(tuple(names)) or families.from_json(form) for names, form in snapshot.fields
            }
        if self.chosen is not None:
            check_fields(self.chosen, snapshot.state)
            self.schema = self._schema_of(self.chosen)
        assert self.schema is not None
        for name, keys in snapshot.levels.items():
            self.schema.set_levels(name, keys)
        check_layout(snapshot, self.schema.layout())
        self.running = self._resume(self.schema, snapshot)
        self.running.n_seen = snapshot.n_seen
        if self.running.waiting is not None:
            self.running.waiting.add(snapshot.pending, snapshot.pending_weights)
        self.look_out()

    def _resume(self, schema: Schema, snapshot: Snapshot) -> Running:
        """What runs on from a snapshot."""
        assert snapshot.state is not None
        mean = snapshot.average.copy() if snapshot.average is not None else None
        return Running(self.declaration, schema, snapshot.state.copy(), mean)

    def plain(self, record: dict[Any, Any]) -> dict[str, Any]:
        """Return a record as it waits: plain values of the fields in use, checked."""
        return self.gathering.plain(record)

    def _kept(self, record: Any) -> dict[str, Any]:
        """Return one of the first records as it waits, and take down what its fields are."""
        given = record if isinstance(record, dict) else as_record(record)
        kept = self.plain(given)
        self.gathering.check_last(kept, self.buffer, self._needed or FIRST_LOOK)
        self._note_types(given)
        return kept

    def wait(self, record: Any, weight: float, told: Told | None = None) -> None:
        """Put a record into the warm-up's buffer, and start where it is full; nothing is said of it before."""
        kept = self._kept(record)
        self.buffer.append(kept)
        self.buffer_weights.append(weight)
        if self.missing_records() == 0:
            self.start(self.buffer, self.buffer_weights)

    def missing_records(self) -> int:
        """How many records the warm-up still takes; as far as can be told before the first look at them."""
        if self._needed is None and len(self.buffer) >= FIRST_LOOK:
            self._needed = self._needed_by(Values(self.buffer[:FIRST_LOOK]))
        return max((self._needed or FIRST_LOOK) - len(self.buffer), 0)

    def _needed_by(self, values: Values) -> int:
        """How many records a warm-up takes, by the first of them."""
        fields = {**(self.declaration.fields or {}), **(self._infer(values).fields if self.declaration.infers else {})}
        return needed_records(fields, self.declaration.n_components, values.count_levels(self.gathering.codes))

    def _note_types(self, record: Mapping[str, Any]) -> None:
        """Remember what each undeclared field is; times are left out."""
        self.newcomers.left_out |= dict.fromkeys(self.gathering.note_types(record), TIMES)
