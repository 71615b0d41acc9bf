"""Bytes into records.

A decoder is a callable that takes a batch and returns it with its `records`, having moved what it can't read
to `refused`. Batches that come with records pass unchanged. That is all that it takes to read another format, and
`streammix.pipeline.commands.run` takes it as `decode`; the source cuts the text into lines:

>>> def decode_pairs(batch):  # lines such as a=1;b=2
...     if batch.texts is None:
...         return batch
...     kept, records, refused = [], [], list(batch.refused)
...     for i, text in enumerate(batch.texts):
...         try:
...             records.append({name: float(x) for name, x in (pair.split("=") for pair in text.decode().split(";"))})
...             kept.append(i)
...         except ValueError as error:
...             refused.append(Refusal(batch.source, int(batch.offsets[i]), str(error), text))
...     return Batch(batch.source, batch.offsets[kept], records, [batch.texts[i] for i in kept], refused)
>>> batch = decode_pairs(Batch("stdin", np.array([0, 8]), texts=[b"a=1;b=2", b"a=one"]))
>>> batch.records, len(batch.refused)
([{'a': 1.0, 'b': 2.0}], 1)

The rules for JSON: one object a line (or a message). A blank line is no record. Of a key that stands twice,
the last value counts. ``NaN`` and ``Infinity`` are not JSON: such a line is refused; a missing value is
written ``null`` or left out. Numbers beyond a double's range, broken UTF-8 and half a surrogate pair are
refused as well.

The rules for CSV: comma-separated, a header row, UTF-8 (a byte-order mark is skipped), fields quoted with
``"``, at most max_record_bytes a record. An empty cell is missing. A column that the model declares
categorical stays text. In any other column a cell is a whole number (digits alone), a number, ``true`` or
``false`` if it reads as one, otherwise text; ``nan`` is a missing number. Where the model's fields are
inferred, a column's first cell that is not missing decides for the column: if it reads as text, or is digits
with a leading zero, then the column stays text.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from streammix.core.json_lines import JsonLines
from streammix.core.names import Names
from streammix.errors import RecordError
from streammix.pipeline.flow import Batch, Lines, Refusal
from streammix.pipeline.no_json import what_is_wrong

__all__ = [
    "BOM",
    "Decoder",
    "JsonDecoder",
    "UndecodableError",
    "cell_value",
    "cell_value_as",
    "decode_json",
    "is_unfinished",
    "without",
]

Decoder = Callable[[Batch], Batch]

BOM = b"\xef\xbb\xbf"
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_ANY = msgspec.json.Decoder()
_OPEN, _CLOSE, _RETURN = b"{}\r"
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def decode_json(batch: Batch) -> Batch:
    """Decode one JSON object a text.

    Examples
    --------
    >>> batch = decode_json(Batch("stdin", np.array([0, 9, 11]), texts=[b'{"a": 1}', b"", b"[1]"]))
    >>> batch.records, batch.offsets, batch.refused[0].reason
    ([{'a': 1}], array([0]), 'expected a JSON object, got array')
    """
    if batch.records is not None or batch.texts is None:
        return batch
    records = _decode_block(batch.texts) if isinstance(batch.texts, Lines) else None
    return replace(batch, records=records) if records is not None else _decode_each(batch, batch.texts)


class UndecodableError(RecordError):
    """A line is no JSON object."""


class JsonDecoder:
    """Decodes as `decode_json` does, faster where records are alike.

    The core reads lines where they lie; what is out of the ordinary in them goes the way of `decode_json`,
    and a line that is no JSON is refused then. What comes out is the same.

    Examples
    --------
    >>> text = b'{"a": 1}\\n{"a": 2}'
    >>> batch = JsonDecoder()(Batch("stdin", np.array([0, 9]), texts=Lines(text, np.array([0, 9]), np.array([8, 17]))))
    >>> batch.records[1]
    {'a': 2}
    """

    def __init__(self) -> None:
        self._names = Names(_value)

    def __call__(self, batch: Batch) -> Batch:
        """Decode a batch."""
        lines = batch.texts
        if batch.records is not None or not isinstance(lines, Lines):
            return decode_json(batch)
        records = JsonLines(lines.data, lines.starts, lines.ends, self._names, _record)
        return replace(batch, records=records) if records.begin_as_objects() else decode_json(batch)


def without(fields: Collection[str], decode: Decoder = decode_json) -> Decoder:
    """Return a decoder that leaves fields out of the records.

    Examples
    --------
    >>> batch = Batch("stdin", np.array([0]), texts=[b'{"id": 17, "a": 1}'])
    >>> without({"id"})(batch).records
    [{'a': 1}]
    """

    def decoded(batch: Batch) -> Batch:
        batch = decode(batch)
        if isinstance(batch.records, pa.RecordBatch):
            names = [name for name in batch.records.schema.names if name not in fields]
            return replace(batch, records=batch.records.select(names))
        if isinstance(batch.records, JsonLines):
            return replace(batch, records=batch.records.without(fields))
        records = [{name: value for name, value in x.items() if name not in fields} for x in batch.records or []]
        return replace(batch, records=records)

    return decoded if fields else decode


def cell_value(cell: str) -> Any:
    """Return what a CSV cell reads as.

    Examples
    --------
    >>> [cell_value(cell) for cell in ("7", "2.50", "", "true", "1_000")]
    [7, 2.5, None, True, '1_000']
    """
    if not cell:
        return None
    if not cell.isascii() or "_" in cell:  # Python reads 1_000 and other scripts' digits as numbers
        return cell
    if cell.isdigit() and len(cell) < 19:
        return int(cell)
    try:
        return float(cell)
    except ValueError:
        return _BOOLEANS.get(cell, cell)


def cell_value_as(kinds: dict[str, str], column: str, cell: str) -> Any:
    """Return what a CSV cell reads as in a column whose first cell has decided, or decides now.

    Examples
    --------
    >>> kinds = {}
    >>> [cell_value_as(kinds, "code", cell) for cell in ("0001", "ab0", "17", "")], kinds
    (['0001', 'ab0', '17', None], {'code': 'text'})
    """
    if kinds.get(column) == "text":
        return cell or None
    value = cell_value(cell)
    if column not in kinds and value is not None and value == value:  # nan is missing
        is_code = len(cell) > 1 and cell[0] == "0" and isinstance(value, int) and cell.isdigit()
        kinds[column] = "text" if is_code or isinstance(value, str) else "number"
        return cell if is_code else value
    return value


def is_unfinished(text: bytes) -> bool:
    """Tell whether more bytes could make a JSON object of a line that is none yet; blank counts as none yet.

    Examples
    --------
    >>> [is_unfinished(text) for text in (b'{"a": {"b": 1}', b'{"a": 1}', b"{'a': 1}", b"[1]", b" ")]
    [True, False, False, False, True]
    """
    text = text.removeprefix(BOM).strip()
    if not text or text in (BOM[:1], BOM[:2]):
        return True
    try:
        _OBJECT.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return text[0] == _OPEN and ("truncated" in str(error) or text[-1] != _CLOSE)
    return False


def _decode_block(lines: Lines) -> list[dict[str, Any]] | None:
    """Decode all lines in one call, or return None where that could not be told from decoding each."""
    try:
        return _decoded(lines, _OBJECT) if _are_objects(lines) else None if len(lines) else []
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _are_objects(lines: Lines) -> bool:
    """Tell whether every line begins with { and ends with }.

    The decoder takes any white space between objects. But then no object can span lines (JSON has no line breaks
    inside strings), and as many objects as lines means one a line.
    """
    text = np.frombuffer(lines.data, np.uint8)
    if not len(lines) or (lines.starts == lines.ends).any() or (text[lines.starts] != _OPEN).any():
        return False
    last = text[lines.ends - 1]
    if (last == _CLOSE).all():
        return True
    return bool((np.where(last == _RETURN, text[lines.ends - 2], last) == _CLOSE).all())


def _decoded(lines: Lines, decoder: msgspec.json.Decoder[Any]) -> list[Any] | None:
    records: list[Any] = decoder.decode_lines(memoryview(lines.data)[lines.starts[0] : lines.ends[-1]])
    return records if len(records) == len(lines) else None


def _value(text: bytes) -> Any:
    try:
        return _ANY.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        reason = str(error)
    raise RecordError(reason)  # from here, so that it does not hold the other one, too


def _record(line: bytes) -> dict[str, Any]:
    try:
        return _OBJECT.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        reason = what_is_wrong(error, line)
    raise UndecodableError(reason)


def _decode_each(batch: Batch, texts: Sequence[bytes]) -> Batch:
    records: list[dict[str, Any]] = []
    kept: list[int] = []
    refused = list(batch.refused)
    for i, text in enumerate(texts):
        if not text or text.isspace():
            continue
        try:
            records.append(_OBJECT.decode(text.removeprefix(BOM) if batch.offsets[i] == 0 else text))
            kept.append(i)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            refused.append(Refusal(batch.source, int(batch.offsets[i]), what_is_wrong(error, text), text))
    return Batch(batch.source, batch.offsets[kept], records, [texts[i] for i in kept], refused)
