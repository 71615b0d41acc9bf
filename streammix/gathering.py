"""The records of a warm-up, as they wait: checked, and plain values of the fields that are or may be in use."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from streammix.core.times import is_time
from streammix.core.values import is_sound_text, level_key, level_of, short
from streammix.declaration import Declaration
from streammix.errors import RecordError
from streammix.plain import IMPOSSIBLE, kind_of, number, plain_value, present
from streammix.schema import LARGEST_JOINT, Schema

__all__ = ["Gathering"]


class Gathering:
    """Reads the records of a warm-up: declared fields by their rules, the values of others by their kind.

    Parameters
    ----------
    declaration
        The mixture's arguments.
    schema
        Of the declared fields; None where there are none.
    hidden
        Fields that are read for another purpose, and not to be inferred.
    """

    def __init__(self, declaration: Declaration, schema: Schema | None, hidden: tuple[str, ...]) -> None:
        self.declaration = declaration
        self.schema = schema
        self.hidden = hidden
        self.types: dict[str, str] = {}

    @property
    def codes(self) -> dict[str, dict[Any, int]]:
        """The codes of the levels of declared fields."""
        return {} if self.schema is None else self.schema.codes

    def plain(self, record: dict[Any, Any]) -> dict[str, Any]:
        """Return a record as it waits: plain values of the fields in use, checked."""
        if not self.declaration.infers:
            return present(self.declared(record))
        if not record:
            raise RecordError("the record is empty")
        for name in record:
            if name not in self.types and (not isinstance(name, str) or not is_sound_text(name)):
                raise RecordError(f"a field's name must be a string, not {short(name)}")
        if any(name in record for name in self.hidden):
            record = {name: value for name, value in record.items() if name not in self.hidden}
            if not record:
                raise RecordError("the record has a time and nothing else")
        declared = self.declaration.declared_names
        kept = {
            name: plain_value(name, value, LARGEST_JOINT)
            for name, value in record.items()
            if name not in declared and kind_of(value) != "time"
        }
        if self.schema is not None and not declared.isdisjoint(record):
            kept |= self.declared({name: record[name] for name in record if name in declared})
        if not _may_tell(kept):
            raise RecordError(f"the record {short(record)} has times and nothing else")
        return present(kept)

    def check_last(self, record: Mapping[str, Any], before: Sequence[Mapping[str, Any]], n: int) -> None:
        """Refuse a record, as it waits, if it would end a warm-up of n that has no value of a field to learn."""
        if len(before) != n - 1 or self.declaration.fields:
            return
        if not any(_may_tell(one) for one in (record, *before) if one):
            raise RecordError(f"none of the first {n} records has a value, and their fields aren't known yet")

    def declared(self, record: dict[Any, Any]) -> dict[str, Any]:
        """Return the values of declared fields as they wait, checked."""
        schema = self.schema
        assert schema is not None
        row, _ = schema.reader.row(record)
        if schema.is_impossible(row):
            raise RecordError(f"{IMPOSSIBLE}: {short(record)}")
        kept = {}
        for name, value in record.items():
            kind = schema.kind_of(name)
            if kind == "level":
                kept[name] = level_of(level_key(value))
            elif kind in ("day", "week"):
                angle = float(row[schema.column_of(name)])
                kept[name] = None if math.isnan(angle) else angle
            elif kind is not None:
                kept[name] = number(plain_value(name, value, math.inf))
        return kept

    def note_types(self, record: Mapping[str, Any]) -> list[str]:
        """Remember what each undeclared field is, text or number, and return those that are times.

        Raises
        ------
        RecordError
            If one has changed.
        """
        if not self.declaration.infers:
            return []
        declared = self.declaration.declared_names
        kinds = {
            name: kind
            for name, value in record.items()
            if name not in declared and (kind := kind_of(value)) is not None
        }
        for name, kind in kinds.items():
            known = self.types.get(name, kind)
            if known != kind:
                text = f"field {name!r}: expected a {known}, as before, got {short(record[name])}"
                raise RecordError(text, field=name)
        self.types |= kinds
        return [name for name, kind in kinds.items() if kind == "time"]


def _may_tell(record: Mapping[str, Any]) -> bool:
    """Whether a record has a field that is not a time, be it missing."""
    return not all(isinstance(value, str) and is_time(value) for value in record.values())
