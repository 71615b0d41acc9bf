"""Redis Streams: entries in the order of their ids, which only grow.

An entry is a record: its fields are the record's, their values read as a CSV's cells are (see `decode`); or one of its
fields holds the record as JSON. Nothing is deleted or acknowledged in Redis: the position is the last id that was read,
and reading goes on after it, so each entry is learnt exactly once. An offset is an id in one number, the milliseconds
times 2**20 plus the sequence number.

Entries that Redis trims (``MAXLEN``) before they are read are lost to it; a warning says so, from Redis 7 on, which
counts the entries that were ever added.
"""

import json
import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from streammix.errors import ConfigError, StreammixError
from streammix.pipeline.decode import cell_value, cell_value_as
from streammix.pipeline.flow import Batch, Refusal
from streammix.pipeline.redis_link import in_words
from streammix.pipeline.sources.lines import RAW_KEPT
from streammix.pipeline.sources.messages import message_batch

__all__ = ["RedisSource", "number_of"]

BLOCK = 200  # milliseconds to wait for entries
AT_ONCE = 2000
SEQUENCE_BITS = 20

log = logging.getLogger("streammix")


class RedisSource:
    """Reads a stream of Redis.

    Parameters
    ----------
    client
        The connection; it is closed with the source.
    stream
        The stream's key.
    position
        Where an earlier run stood.
    field
        The field that holds the record as JSON; None if the fields are the record's.
    start
        Where to begin without a position: ``"earliest"`` or ``"latest"``.
    stop_at_end
        Whether to end at the entry that was the last one at the start.
    as_text
        The fields whose values stay text.
    longest
        A JSON text of more bytes is refused.
    infers
        Whether a field's first value decides if it is text.

    Raises
    ------
    ConfigError
        If the key holds something else than a stream, the earlier run read another one, or there is no such stream
        and none is waited for.
    StreammixError
        If Redis refuses the password, or the stream was made anew since it was read.
    UnavailableError
        If Redis does not answer.
    """

    is_steady = True

    def __init__(
        self,
        client: Any,
        stream: str,
        position: dict[str, Any] | None = None,
        field: str | None = None,
        start: str = "earliest",
        stop_at_end: bool = False,
        as_text: Collection[str] = (),
        longest: int = 1 << 20,
        infers: bool = False,
    ) -> None:
        if position and position["stream"] != stream:
            raise ConfigError(f"stream is {stream}, but the checkpoint was reading {position['stream']}")
        self._client, self._stream, self._field = client, stream, field
        self._as_text, self._longest = as_text, longest
        self._kinds: dict[str, str] | None = dict((position or {}).get("columns", {})) if infers else None
        with in_words(f"stream {stream}"):
            last, added, length, removed = self._ends()
        if last is None and stop_at_end and not position:
            raise ConfigError(f"stream: there is no stream {stream!r}")
        if last is None and not position:
            log.warning("there is no stream %s yet; waiting for its first entry", stream)
        last = last or "0-0"
        self._stop = last if stop_at_end else None
        if position:
            self._id, self._read = position["id"], position["read"]
            if _parts(last) < _parts(self._id):
                raise StreammixError(
                    f"the stream {stream} ends at {last}, but {self._id} was read before: it was made anew; "
                    "start anew with another checkpoint directory"
                )
            if not self._note_lost(last, added, length) and _parts(removed) > _parts(self._id):
                log.warning(
                    "%s: entries after %s, up to %s, were deleted before they were read", stream, self._id, removed
                )
        elif start == "latest":
            self._id, self._read = last, added
        else:
            self._id, self._read = "0-0", max(added - length, 0)
        self._added, self._last = added, last

    def read(self, limit: int) -> Batch | None:
        """Return the next entries; none if none came for a while."""
        if self._stop is not None and _parts(self._id) >= _parts(self._stop):
            return None
        with in_words(f"stream {self._stream}"):
            reply = self._client.xread({self._stream: self._id}, min(limit, AT_ONCE), BLOCK)
        entries: list[tuple[bytes, dict[bytes, bytes] | None]] = reply[0][1] if reply else []
        if self._stop is not None:
            entries = [entry for entry in entries if _parts(entry[0].decode()) <= _parts(self._stop)]
        if not entries:
            return Batch(self._stream, np.zeros(0, np.int64), [])
        self._id = entries[-1][0].decode()
        self._read += len(entries)
        return self._as_json(entries, self._field.encode()) if self._field is not None else self._as_fields(entries)

    def position(self) -> dict[str, Any]:
        """Return the last id that was read, and how many entries were."""
        columns = {"columns": dict(self._kinds)} if self._kinds else {}
        return {"kind": "redis", "stream": self._stream, "id": self._id, "read": self._read, **columns}

    def acknowledge(self) -> None:
        """Learn how long the stream is by now, and what was lost; there is nothing to acknowledge."""
        with in_words(f"stream {self._stream}"):
            last, self._added, length, _ = self._ends()
        self._last = last or "0-0"
        self._note_lost(self._last, self._added, length)

    def lag(self) -> int:
        """Return the number of entries that lay ahead at the last checkpoint, less those read since."""
        return 0 if self._id == self._last else max(self._added - self._read, 0)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _note_lost(self, last: str, added: int, length: int) -> bool:
        """Warn of entries that are gone and were not read, as far as their numbers tell by now."""
        passed = added if self._id == last else added - length  # at the end, all are behind us; before, those gone are
        if (lost := passed - self._read) <= 0:
            return False
        log.warning("%s: %s entries up to now were gone before they were read", self._stream, f"{lost:,}")
        self._read = passed
        return True

    def _ends(self) -> tuple[str | None, int, int, str]:
        """Return the last id, how many entries were ever added, how many are there, and the last id deleted.

        The last id is None where there is no stream. Before Redis 7, as many were added as are there.
        """
        kind = self._client.type(self._stream)
        if kind == b"none":
            return None, 0, 0, "0-0"
        if kind != b"stream":
            raise ConfigError(f"stream: the key {self._stream} holds a {kind.decode()}, not a stream")
        found = self._client.xinfo_stream(self._stream)
        length = int(found["length"])
        return (
            found["last-generated-id"].decode(),
            int(found.get("entries-added", length)),
            length,
            found.get("max-deleted-entry-id", b"0-0").decode(),
        )

    def _as_json(self, entries: list[tuple[bytes, dict[bytes, bytes] | None]], field: bytes) -> Batch:
        offsets = [number_of(name.decode()) for name, _ in entries]
        values = [(fields or {}).get(field) for _, fields in entries]
        batch = message_batch(self._stream, offsets, values, self._longest)
        if None in values:
            reason = f"an entry without the field {self._field!r}"
            lacking = {
                at: _entry_text(fields or {})
                for at, value, (_, fields) in zip(offsets, values, entries, strict=True)
                if value is None
            }
            batch.refused = [
                replace(refusal, reason=reason, raw=lacking[refusal.offset]) if refusal.offset in lacking else refusal
                for refusal in batch.refused
            ]
        return batch

    def _as_fields(self, entries: list[tuple[bytes, dict[bytes, bytes] | None]]) -> Batch:
        offsets: list[int] = []
        records: list[dict[str, Any]] = []
        refused: list[Refusal] = []
        for name, fields in entries:
            offset = number_of(name.decode())
            try:
                records.append({key.decode(): self._value(key, value) for key, value in (fields or {}).items()})
                offsets.append(offset)
            except UnicodeDecodeError as error:
                refused.append(Refusal(self._stream, offset, f"not UTF-8: {error.reason}", error.object))
        return Batch(self._stream, np.array(offsets, np.int64), records, refused=refused)

    def _value(self, key: bytes, value: bytes) -> Any:
        field, cell = key.decode(), value.decode()
        if field in self._as_text:
            return cell or None
        return cell_value(cell) if self._kinds is None else cell_value_as(self._kinds, field, cell)


def number_of(name: str) -> int:
    """Return an entry's id as one number.

    Raises
    ------
    StreammixError
        If it does not fit into 63 bits.

    Examples
    --------
    >>> number_of("5-1") - number_of("5-0"), number_of("5-0") >> 20
    (1, 5)
    """
    time, sequence = _parts(name)
    if time >> (63 - SEQUENCE_BITS) or sequence >> SEQUENCE_BITS:
        raise StreammixError(f"the entry id {name} is beyond what an offset can hold (2**43 - 1 ms, 2**20 - 1 a ms)")
    return time << SEQUENCE_BITS | sequence


def _entry_text(fields: dict[bytes, bytes]) -> bytes:
    """Return an entry as JSON, cut where it is long; bytes that are not UTF-8 are escaped."""
    known = {
        key.decode(errors="backslashreplace"): value.decode(errors="backslashreplace") for key, value in fields.items()
    }
    return json.dumps(known, ensure_ascii=False).encode()[:RAW_KEPT]


def _parts(name: str) -> tuple[int, int]:
    time, _, sequence = name.partition("-")
    return int(time), int(sequence)
