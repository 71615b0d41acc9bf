"""Columns of frames → tables that the core reads in place, by the rules that single records are read by."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.arrow import angles, decoded, doubles, is_number, log_densities
from streammix.core.rules import UNSEEN, explain_composition, fits_composition, transformed_column
from streammix.core.table import ARROW_KINDS, Table
from streammix.core.times import time_of
from streammix.core.values import LONGEST_TEXT, level_key, listed
from streammix.errors import RecordError
from streammix.families import Fixed
from streammix.frames import Arrays, Frame, check_names

__all__ = ["Encoded", "Encoder", "Rule", "Unknown"]

FloatArray = NDArray[np.float64]
Rule = tuple[str, str, float, float, dict[Any, int] | None, int, int]  # see core/rules.pyx
Unknown = tuple[int, int, Any]  # row, column, the key of a level that the model doesn't know


def _is_too_long(key: Any) -> bool:
    return isinstance(key, str) and len(key) > LONGEST_TEXT


@dataclass(frozen=True)
class Encoded:
    """Rows as the core reads them.

    Parameters
    ----------
    table
        The rows.
    made
        The columns that were made for them: codes of levels, which may still change, among them.
    unknown
        The unknown levels in order.
    """

    table: Table
    made: Mapping[int, FloatArray]
    unknown: list[Unknown]

    @classmethod
    def of_rows(cls, rows: FloatArray, unknown: list[Unknown]) -> "Encoded":
        """Return the rows of a matrix."""
        columns: list[Any] = list(rows.T)
        return cls(Table(columns, len(rows)), dict(enumerate(columns)), unknown)

    def recode(
        self, column: int, begin: int, places: NDArray[np.intp], other: int, keys: Sequence[Any]
    ) -> list[Unknown]:
        """Give levels their new codes from a row on; return those that are unknown by now.

        Parameters
        ----------
        column, begin
            A column of levels, and the row.
        places
            The new code of each old one.
        other
            The code of what unknown levels were folded into.
        keys
            The levels' keys by their old codes.
        """
        values = self.made[column][begin:]
        known = np.flatnonzero(values < len(places))
        old = values[known].astype(np.intp)
        values[known] = np.where(places[old] == other, UNSEEN, places[old])
        return [
            (begin + int(i), column, keys[code])
            for i, code in zip(known, old.tolist(), strict=True)
            if places[code] == other
        ]


@dataclass(frozen=True)
class _Plan:
    """How the columns of frames of one schema are read.

    Parameters
    ----------
    key
        The schema, or the names of the columns of arrays.
    columns
        For each column (field, kind) of what is read where it lies, None for what is missing or made.
    selection
        The places of those fields, where the frame has many others; None: fields are counted among all.
    made
        The columns that are made.
    low, high, whole
        What is checked where columns lie.
    logs
        The columns that hold functions of their values, and which.
    """

    key: pa.Schema | list[str]
    columns: list[tuple[int, int] | None]
    selection: list[int] | None
    made: list[int]
    low: FloatArray
    high: FloatArray
    whole: NDArray[np.uint8]
    transforms: list[tuple[int, str]]

    def fits(self, frame: Frame) -> bool:
        """Tell whether it was made for such a frame."""
        if isinstance(frame, Arrays):
            return frame.column_names == self.key
        return isinstance(self.key, pa.Schema) and bool(frame.schema.equals(self.key))


class Encoder:
    """Reads frames as the reader of these rules, externals and compositions reads records."""

    def __init__(
        self,
        rules: Sequence[Rule],
        externals: Sequence[tuple[int, tuple[str, ...], Fixed]],
        explain: Callable[[int, Any], str],
        compositions: Sequence[tuple[list[int], Sequence[str]]],
    ) -> None:
        self._rules = rules
        self._externals = externals
        self._explain = explain
        self._compositions = compositions
        self._plan: _Plan | None = None
        self._awaited: frozenset[str] = frozenset()

    def look_out(self, awaited: Iterable[str]) -> None:
        """Take frames of missing values that have none but fields that are awaited."""
        self._awaited = frozenset(awaited)

    def encode(self, frame: Frame) -> Encoded:
        """Encode a frame.

        Raises
        ------
        RecordError
            For the first row that is refused; `row` says which.
        """
        plan = self._plan
        if plan is None or not plan.fits(frame):
            plan = self._plan = self._make_plan(frame)
        n = frame.num_rows
        unknown: list[Unknown] = []
        refusals: list[tuple[int, RecordError]] = []
        made: dict[int, FloatArray] = {}
        for column in plan.made:
            try:
                made[column] = self._make(column, frame, unknown)
            except RecordError as error:
                refusals.append((column, error))
                made[column] = np.full(n, np.nan)
        columns: list[Any] = list(plan.columns)
        source = None
        if isinstance(frame, Arrays):
            columns = [None if place is None else frame.columns[place[0]] for place in columns]
        else:
            source = frame if plan.selection is None else frame.select(plan.selection) if plan.selection else None
        for column, values in made.items():
            columns[column] = values
        table = Table(columns, n, source)
        for column, row in table.check(plan.low, plan.high, plan.whole).items():
            name = self._rules[column][0]
            value = frame.column(name)[row].as_py()
            refusals.append((column, RecordError(self._explain(column, value), field=name, row=row)))
        self._check_shared(frame, made, refusals)
        if not refusals:
            self._check_compositions(n, made, refusals)
        if refusals:
            first = min(refusals, key=lambda refusal: (refusal[1].row or 0, refusal[0]))[1]
            raise RecordError(f"row {first.row}: {first}", field=first.field, row=first.row)
        for column, kind in plan.transforms:
            table.transform(column, kind)
        unknown.sort(key=lambda found: (found[0], found[1]))
        return Encoded(table, made, unknown)

    def _make_plan(self, frame: Frame) -> _Plan:
        check_names(frame.column_names)
        places = {name: i for i, name in enumerate(frame.column_names)}
        n = len(self._rules) + len(self._externals)
        columns: list[tuple[int, int] | None] = [None] * n
        low, high, whole = np.full(n, -np.inf), np.full(n, np.inf), np.zeros(n, dtype=np.uint8)
        made, transforms = [], []
        shares = {column for own, _ in self._compositions for column in own}
        for column, (name, rule, least, most, codes, _, is_shared) in enumerate(self._rules):
            place = places.get(name)
            if place is None or (isinstance(frame, pa.Table) and pa.types.is_null(frame.schema.types[place])):
                continue
            kind = 0 if isinstance(frame, Arrays) else ARROW_KINDS.get(str(frame.schema.types[place]))
            if codes is not None or is_shared or kind is None or column in shares or rule in ("day", "week"):
                made.append(column)
                continue
            columns[column] = (place, kind)
            low[column], high[column], whole[column] = least, most, rule == "whole"
            if rule not in ("real", "whole"):
                transforms.append((column, rule))
        made += [column for column, _, _ in self._externals]
        used = {rule[0] for rule in self._rules} | {name for _, names, _ in self._externals for name in names}
        if not (used | self._awaited) & set(places):
            raise RecordError(f"row 0: the frame has none of the model's fields: {listed(sorted(used))}", row=0)
        if isinstance(frame, Arrays):
            return _Plan(frame.column_names, columns, None, made, low, high, whole, transforms)
        read = sorted({column[0] for column in columns if column is not None})
        selection = read if 2 * len(read) < len(places) else None
        if selection is not None:
            columns = [None if column is None else (read.index(column[0]), column[1]) for column in columns]
        return _Plan(frame.schema, columns, selection, made, low, high, whole, transforms)

    def _make(self, column: int, frame: Frame, unknown: list[Unknown]) -> FloatArray:
        if column >= len(self._rules):
            _, names, distribution = self._externals[column - len(self._rules)]
            sources = {name: frame.column(name) for name in names if name in frame.column_names}
            return log_densities(names, distribution, sources, frame.num_rows)
        source = frame.column(self._rules[column][0])
        if self._rules[column][4] is not None:
            return self._make_levels(column, source, unknown)
        if self._rules[column][1] in ("day", "week"):
            return self._make_times(column, source)
        return self._make_numbers(column, source)

    def _make_numbers(self, column: int, source: pa.ChunkedArray) -> FloatArray:
        name, kind, low, high = self._rules[column][:4]
        if pa.types.is_dictionary(source.type):
            source = decoded(source)
        if not is_number(source.type):
            row = next((i for i in range(len(source)) if source[i].is_valid), None)
            if row is None:
                return np.full(len(source), np.nan)
            raise RecordError(self._explain(column, source[row].as_py()), field=name, row=row)
        values = doubles(source)
        bad = ~((values >= low) & (values <= high)) & ~np.isnan(values)
        if kind == "whole":
            with np.errstate(invalid="ignore"):
                bad |= (values != np.floor(values)) & ~np.isnan(values)
        if bad.any():
            if self._rules[column][6]:
                values = np.where(bad, np.inf, values)
            else:
                row = int(np.argmax(bad))
                raise RecordError(self._explain(column, source[row].as_py()), field=name, row=row)
        if kind not in ("real", "whole"):
            inside = np.isfinite(values)
            values = np.where(inside, transformed_column(kind, np.where(inside, values, 0.5)), values)
        return values

    def _make_times(self, column: int, source: pa.ChunkedArray) -> FloatArray:
        name, rule = self._rules[column][:2]
        if pa.types.is_dictionary(source.type):
            source = decoded(source)
        kind = source.type
        fits = pa.types.is_date(kind) if rule == "week" else pa.types.is_time(kind)
        if pa.types.is_timestamp(kind) or fits:
            return angles(source, rule == "week")
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            return self._make_numbers(column, source)
        values = np.full(len(source), np.nan)
        for row, text in enumerate(source.to_pylist()):
            if text is not None:
                found = time_of(text, rule == "week")
                if found is None:
                    raise RecordError(self._explain(column, text), field=name, row=row)
                values[row] = found
        return values

    def _make_levels(self, column: int, source: pa.ChunkedArray, unknown: list[Unknown]) -> FloatArray:
        codes, is_open = self._rules[column][4:6]
        assert codes is not None
        if pa.types.is_dictionary(source.type):
            source = decoded(source)
        if pa.types.is_nested(source.type):
            row = next((i for i in range(len(source)) if source[i].is_valid), 0)
            raise RecordError(self._explain(column, source[row].as_py()), field=self._rules[column][0], row=row)
        encoded = source.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
        table: list[float] = []
        new: dict[int, Any] = {}
        for i, value in enumerate(encoded.dictionary.to_pylist()):
            key = level_key(value)
            if key is not None and key in codes:
                table.append(float(codes[key]))
            elif key == ("null", None):
                table.append(math.nan)
            elif key is None or not is_open or (is_open == 2 and not isinstance(key, str)) or _is_too_long(key):
                row = encoded.indices.index(pa.scalar(i, encoded.indices.type)).as_py()
                raise RecordError(self._explain(column, value), field=self._rules[column][0], row=row)
            else:
                new[i] = key
                table.append(float(UNSEEN))
        missing = float(codes.get(("null", None), math.nan))
        indices = encoded.indices.fill_null(len(table)).to_numpy(zero_copy_only=False)
        values = np.array([*table, missing])[indices]
        found = np.flatnonzero(values == UNSEEN).tolist()
        unknown.extend((at, column, new[int(indices[at])]) for at in found)
        return np.asarray(values)

    def _check_compositions(
        self, n: int, made: Mapping[int, FloatArray], refusals: list[tuple[int, RecordError]]
    ) -> None:
        """Refuse shares that don't sum to 1, by the rule that single records are read by."""
        for own, names in self._compositions:
            total, gaps = np.zeros(n), np.zeros(n, dtype=np.int64)
            for column in own:
                values = made.get(column, np.full(n, np.nan))
                gaps += np.isnan(values)
                total += np.where(np.isnan(values), 0.0, values)
            doubtful = np.flatnonzero((gaps < len(own)) & ~((gaps == 0) & (np.abs(total - 1.0) < 1e-7)))
            for row in doubtful.tolist():
                if not fits_composition(total[row], gaps[row], len(own)):
                    text = explain_composition(names, float(total[row]), int(gaps[row]))
                    refusals.append((own[0], RecordError(text, field=names[0], row=row)))
                    break

    def _check_shared(
        self, frame: Frame, made: Mapping[int, FloatArray], refusals: list[tuple[int, RecordError]]
    ) -> None:
        """Refuse values that lie outside the support of every component's family."""
        for column, rule in enumerate(self._rules):
            if rule[6] != 1 or column not in made or not frame.num_rows:
                continue
            outside = np.ones(frame.num_rows, dtype=bool)
            for other, also in enumerate(self._rules):
                if also[0] == rule[0]:
                    outside &= made[other] == np.inf
            if outside.any():
                row = int(np.argmax(outside))
                text = self._explain(column, frame.column(rule[0])[row].as_py())
                refusals.append((len(self._rules) + column, RecordError(text, field=rule[0], row=row)))
