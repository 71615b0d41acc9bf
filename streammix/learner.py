"""What a mixture does with records: gather the first ones, start, and hand on to what runs."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix import families
from streammix.columns import Encoded
from streammix.core.values import as_record, is_missing, is_sound_text, level_key, level_of, short
from streammix.declaration import Declaration, to_json
from streammix.errors import RecordError
from streammix.frames import Frame, check_names
from streammix.packing import check_layout
from streammix.running import Running
from streammix.schema import LARGEST_JOINT, Schema
from streammix.state import Snapshot
from streammix.warmup import choose_families, given_state, needed_records, warm_state

__all__ = ["IMPOSSIBLE", "Learner", "check_weight"]

FloatArray = NDArray[np.float64]

IMPOSSIBLE = "no component gives the record a positive density"
EXPLICIT_START = 100  # records that explicit parameters count as
LARGEST_WEIGHT = 1e100
TIMES = (date, time, timedelta, np.datetime64, np.timedelta64)  # not inferred: say what is meant by them
FIRST_LOOK = 1_000  # records after which the warm-up's length is settled


class Learner:
    """A mixture's moving parts: the records that wait, then what runs."""

    def __init__(self, declaration: Declaration, rng: np.random.Generator) -> None:
        self.declaration = declaration
        self.rng = rng
        self.chosen = declaration.fields
        self.running: Running | None = None
        self.schema: Schema | None = None
        self.buffer: list[dict[str, Any]] = []
        self.buffer_weights: list[float] = []
        self._types: dict[str, str] = {}
        self._needed: int | None = declaration.warm_up
        if declaration.components is not None:
            assert declaration.weights is not None
            self.schema = Schema(declaration.components)
            state = given_state(self.schema, declaration.weights, declaration.warm_up or EXPLICIT_START)
            self.running = Running(declaration, self.schema, state)
        elif declaration.fields is not None:
            self.schema = Schema([declaration.fields] * declaration.n_components)

    @property
    def n_seen(self) -> int:
        """Records learnt, or waiting to be."""
        return len(self.buffer) if self.running is None else self.running.n_seen

    def learn_record(self, x: Any, weight: float) -> None:
        """Learn one record, by any way but the fast one."""
        check_weight(weight)
        record = x if isinstance(x, dict) else as_record(x)
        running = self.running
        if running is None:
            self._wait(record, weight)
            return
        row, unseen = running.schema.reader.row(record)
        if running.schema.may_refuse and running.engine.expect(row) is None:
            raise RecordError(f"{IMPOSSIBLE}: {short(record)}")
        encoded = Encoded.of_rows(row[None, :], [(0, column, key) for column, key in unseen])
        running.absorb(encoded, np.array([weight]))

    def learn_frame(self, frame: Frame, weights: FloatArray | None) -> None:
        """Learn the rows of a frame. A refusal leaves what came before it learnt."""
        taken = 0
        while self.running is None and taken < frame.num_rows:
            for record in self.first(frame, self._missing_records(), taken):
                try:
                    self._wait(record, 1.0 if weights is None else float(weights[taken]))
                except RecordError as error:
                    raise RecordError(f"row {taken}: {error}", field=error.field, row=taken) from None
                taken += 1
        if self.running is None or taken == frame.num_rows:
            return
        try:
            encoded = self.running.schema.encode(frame.slice(taken) if taken else frame)
        except RecordError as error:
            row = taken + (error.row or 0)
            text = str(error).replace(f"row {error.row}:", f"row {row}:", 1)
            raise RecordError(text, field=error.field, row=row) from None
        bad = self.running.absorb(encoded, None if weights is None else weights[taken:])
        if bad:
            raise RecordError(f"row {bad[0] + taken}: {IMPOSSIBLE}", row=bad[0] + taken)

    def ingest(
        self, records: list[Any] | Frame
    ) -> tuple[FloatArray, FloatArray, list[int], list[tuple[int, RecordError]]]:
        """Score each record as the model stands before it, then learn it; a refused one is left out."""
        n, k = len(records), self.declaration.n_components
        good: list[int] = []
        refused: list[tuple[int, RecordError]] = []
        at = 0
        while self.running is None and at < n:
            for record in (
                records[at:] if isinstance(records, list) else self.first(records, self._missing_records(), at)
            ):
                try:
                    self._wait(record, 1.0)
                    good.append(at)
                except RecordError as error:
                    refused.append((at, error))
                at += 1
                if self.running is not None:
                    break
        if self.running is not None and at < n:
            rest = records if not at else records[at:] if isinstance(records, list) else records.slice(at)
            encoded, kept, refusals = self.encode(rest)
            out_r, out_lp = np.empty((len(kept), k)), np.empty(len(kept))
            bad = self.running.absorb(encoded, None, out_r, out_lp) if kept else []
            if bad:
                wanted = np.setdiff1d(np.arange(len(kept)), bad)
                out_r, out_lp = out_r[wanted], out_lp[wanted]
            if not at and len(out_lp) == n:
                return out_r, out_lp, kept, []
            responsibilities, log_density = np.full((n, k), 1 / k), np.zeros(n)
            places = [at + kept[i] for i in wanted] if bad else [at + i for i in kept]
            responsibilities[places], log_density[places] = out_r, out_lp
            good += places
            refused += [(at + i, error) for i, error in refusals]
            refused += [(at + kept[i], RecordError(IMPOSSIBLE)) for i in bad]
        else:
            responsibilities, log_density = np.full((n, k), 1 / k), np.zeros(n)
        refused.sort(key=lambda refusal: refusal[0])
        return responsibilities[good], log_density[good], good, refused

    def encode(self, records: list[Any] | Frame) -> tuple[Encoded, list[int], list[tuple[int, RecordError]]]:
        """Encode records one by one or, where no row is refused, as a frame: (rows, their indices, refusals)."""
        assert self.schema is not None
        if not isinstance(records, list):
            try:
                return self.schema.encode(records), list(range(len(records))), []
            except RecordError:
                return self.encode(self._records(records))
        rows, good, unknown, refused = self.schema.reader.rows(records)
        return Encoded.of_rows(rows, unknown), good, refused

    def first(self, frame: Frame, n: int, at: int = 0) -> list[dict[str, Any]]:
        """Return some rows of a frame as records, without fields that aren't in use."""
        return self._records(frame.slice(at, n))

    def _records(self, frame: Frame) -> list[dict[str, Any]]:
        """The rows of a frame as records, without fields that aren't in use."""
        check_names(frame.column_names)
        if self.schema is not None:
            frame = frame.select([name for name in frame.column_names if name in self.schema.names])
        records: list[dict[str, Any]] = frame.to_pylist()
        return records

    def start(self, records: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> Running:
        """Make the first state from records; they then count as its start."""
        k = self.declaration.n_components
        chosen = choose_families(records, k) if self.chosen is None else self.chosen
        schema = Schema([chosen] * k)
        nothing = {schema.fields[0][0]: None}  # a record whose every field is missing
        rows, _, unknown, refused = schema.reader.rows([record or nothing for record in records])
        if refused:
            raise refused[0][1]
        for row, column, key in unknown:
            rows[row, column] = schema.add_level(column, key)
        given = np.array(weights, dtype=np.float64)
        columns = [np.ascontiguousarray(rows[:, j]) for j in range(rows.shape[1])]
        state = warm_state(schema, columns, None if (given == 1.0).all() else given, k, self.rng)
        self.chosen, self.schema = chosen, schema
        self.running = Running(self.declaration, schema, state)
        self.running.n_seen = len(records)
        self.buffer, self.buffer_weights = [], []
        return self.running

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
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Become what the snapshot was taken of; its arrays are copied."""
        self.rng.bit_generator.state = snapshot.random_state
        self.buffer = [dict(record) for record in snapshot.buffer]
        self.buffer_weights = list(snapshot.buffer_weights)
        for record in self.buffer:
            self._note_types(record)
        if snapshot.state is None:
            return
        if snapshot.fields is not None and self.chosen is None:
            self.chosen = {tuple(names): families.from_json(form) for names, form in snapshot.fields}
        if self.chosen is not None:
            self.schema = Schema([self.chosen] * self.declaration.n_components)
        assert self.schema is not None
        for name, keys in snapshot.levels.items():
            self.schema.set_levels(name, keys)
        check_layout(snapshot, self.schema.layout())
        mean = snapshot.average.copy() if snapshot.average is not None else None
        self.running = Running(self.declaration, self.schema, snapshot.state.copy(), mean)
        self.running.n_seen = snapshot.n_seen
        if self.running.waiting is not None:
            self.running.waiting.add(snapshot.pending, snapshot.pending_weights)

    def plain(self, record: dict[Any, Any]) -> dict[str, Any]:
        """Return a record as it waits: plain values of the fields in use, checked."""
        if self.schema is not None:
            row, _ = self.schema.reader.row(record)
            if self.schema.is_impossible(row):
                raise RecordError(f"{IMPOSSIBLE}: {short(record)}")
            levels = self.schema.codes
            names = {name for group in self.schema.fields for name in group}
            kept = {
                name: level_of(level_key(value)) if name in levels else _number(plain_value(name, value, math.inf))
                for name, value in record.items()
                if name in names
            }
            return _present(kept)
        if not record:
            raise RecordError("the record is empty")
        for name in record:
            if not isinstance(name, str) or not is_sound_text(name):
                raise RecordError(f"a field's name must be a string, not {short(name)}")
        present = _present(
            {
                name: plain_value(name, value, LARGEST_JOINT)
                for name, value in record.items()
                if not isinstance(value, TIMES)
            }
        )
        if not present:
            raise RecordError(f"the record {short(record)} has no value, and its fields aren't known yet")
        return present

    def _wait(self, record: Any, weight: float) -> None:
        """Put a record into the warm-up's buffer, and start where it is full."""
        kept = self.plain(record if isinstance(record, dict) else as_record(record))
        self._note_types(kept)
        self.buffer.append(kept)
        self.buffer_weights.append(weight)
        if self._missing_records() == 0:
            self.start(self.buffer, self.buffer_weights)

    def _missing_records(self) -> int:
        """How many records the warm-up still takes; as far as can be told before the first look at them."""
        if self._needed is None and len(self.buffer) >= FIRST_LOOK:
            fields = self.chosen or choose_families(self.buffer[:FIRST_LOOK], self.declaration.n_components)
            levels: dict[str, set[Any]] = {}
            known = {} if self.schema is None else self.schema.codes
            for record in self.buffer[:FIRST_LOOK]:
                for name, value in record.items():
                    if isinstance(value, str) or name in known:
                        levels.setdefault(name, set()).add(level_key(value))
            sizes = {name: len(values) for name, values in levels.items()}
            self._needed = needed_records(fields, self.declaration.n_components, sizes)
        return max((self._needed or FIRST_LOOK) - len(self.buffer), 0)

    def _note_types(self, record: Mapping[str, Any]) -> None:
        """Remember what each undeclared field is, text or number; refuse a record in which one has changed."""
        if self.declaration.fields is not None or self.declaration.components is not None:
            return
        kinds = {
            name: "text" if isinstance(value, str) else "number" for name, value in record.items() if value is not None
        }
        for name, kind in kinds.items():
            known = self._types.get(name, kind)
            if known != kind:
                raise RecordError(
                    f"field {name!r}: expected a {known}, as before, got {short(record[name])}", field=name
                )
        self._types |= kinds


def _present(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what is missing, in one order, however it was written."""
    return {name: record[name] for name in sorted(record) if record[name] is not None}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, bool) else value


def check_weight(weight: float) -> None:
    """Refuse a weight that is not a positive number of a sensible size."""
    if not 0.0 < weight <= LARGEST_WEIGHT:
        raise RecordError(f"a record's weight must be a positive number up to {LARGEST_WEIGHT:g}, not {weight!r}")


def plain_value(name: str, value: Any, largest: float) -> Any:
    """Return a value as a plain bool, float, str or None.

    Raises
    ------
    RecordError
        If it is infinite, or anything else.
    """
    if is_missing(value):
        return None
    if hasattr(value, "item") and hasattr(value, "dtype") and value.dtype.kind in "biufU":
        value = value.item() if getattr(value, "ndim", 1) == 0 else value
    if isinstance(value, str):
        if not is_sound_text(value):
            raise RecordError(f"field {name!r}: expected text without surrogate pairs, got {short(value)}", field=name)
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) or (hasattr(type(value), "__float__") and not hasattr(value, "dtype")):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("inf")
        if number != number:
            return None
        if abs(number) <= largest and abs(number) != math.inf:
            return number
    raise RecordError(
        f"field {name!r}: expected a finite number, a string or a boolean, got {short(value)}", field=name
    )
