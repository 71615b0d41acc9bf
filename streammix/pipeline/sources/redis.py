"""Redis Streams: entries in the order of their ids, which only grow.

An entry is a record: its fields are the record's, their values read as a CSV's cells are (see `decode`); or one of its
fields holds the record as JSON. Nothing is deleted or acknowledged in Redis: the position is the last id that was read,
and reading goes on after it, so each entry is learnt exactly once. An offset is an id in one number, the milliseconds
times 2**20 plus the sequence number.

Entries that Redis trims (``MAXLEN``) before they are read are lost to it; a warning says so.
"""

import logging
from collections.abc import Collection
from typing import Any

import numpy as np

from streammix.errors import ConfigError, StreammixError
from streammix.pipeline.decode import cell_value, cell_value_as
from streammix.pipeline.flow import Batch, Refusal
from streammix.pipeline.redis_link import in_words
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
        If the key holds something else than a stream, or the earlier run read another one.
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
        self._stop = last if stop_at_end else None
        if position:
            self._id, self._read = position["id"], position["read"]
            if _parts(last) < _parts(self._id):
                raise StreammixError(
                    f"the stream {stream} ends at {last}, but {self._id} was read before: it was made anew; "
                    "start anew with another checkpoint directory"
                )
            if _parts(removed) > _parts(self._id):
                log.warning("%s: entries up to %s are gone; %s was the last that was read", stream, removed, self._id)
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
        """Learn how long the stream is by now; there is nothing to acknowledge."""
        with in_words(f"stream {self._stream}"):
            self._last, self._added, _, _ = self._ends()

    def lag(self) -> int:
        """Return the number of entries that lay ahead at the last checkpoint, less those read since."""
        return 0 if self._id == self._last else max(self._added - self._read, 0)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ends(self) -> tuple[str, int, int, str]:
        """Return the last id, how many entries were ever added, how many are there, and the last id removed."""
        kind = self._client.type(self._stream)
        if kind == b"none":
            return "0-0", 0, 0, "0-0"
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
        batch.refused = [
            refusal
            if refusal.raw
            else Refusal(self._stream, refusal.offset, f"an entry without the field {self._field!r}", b"")
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


def _parts(name: str) -> tuple[int, int]:
    time, _, sequence = name.partition("-")
    return int(time), int(sequence)
