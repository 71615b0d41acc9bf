"""Lines out of a stream of bytes, each with its byte position."""

from collections.abc import Callable

import numpy as np

from streammix.core.json_lines import line_ends
from streammix.pipeline.flow import Batch, Integers, Lines, Refusal

__all__ = ["LineReader", "Read"]

BLOCK = 1 << 21
RAW_KEPT = 4096  # bytes of a line that is too long, kept for the dead-letter file
_NONE: Integers = np.zeros(0, np.int64)

Read = Callable[[int], bytes | None]  # some bytes, at most so many; b"" at the end; None: nothing just now


class LineReader:
    """Cuts a stream of bytes into lines. A last line without a line break is a line like any other, unless held.

    Parameters
    ----------
    name
        The source's name, for its batches.
    read
        Gives the bytes from `offset` on.
    offset
        Where the first line begins.
    longest
        A line of more bytes is refused, and never held in memory whole.
    holds
        Tells of a last line without a line break whether it is left unread, since the rest of it may follow.
    is_torn
        Whether `offset` stands inside a line whose first part was read before: what is left of it is refused.
    unread
        Takes back so many of the bytes that `read` gave last: they come again. So the lines of a block lie as they were
        read, where otherwise a line that goes on in the next block takes a copy of that.

    Examples
    --------
    >>> import io
    >>> reader = LineReader("stdin", io.BytesIO(b"one\\ntwo").read, 0, 100)
    >>> batch = reader.take(10)
    >>> list(batch.texts), batch.offsets, reader.offset
    ([b'one'], array([0]), 4)
    """

    def __init__(
        self,
        name: str,
        read: Read,
        offset: int,
        longest: int,
        holds: Callable[[bytes], bool] | None = None,
        is_torn: bool = False,
        unread: Callable[[int], object] | None = None,
    ) -> None:
        self.name = name
        self._read = read
        self._longest = longest
        self._base = offset  # the position of the buffer's first byte
        self._data = b""
        self._begin = 0  # of the next line, in the buffer
        self._ends = _NONE  # of the lines in the buffer
        self._next = 0  # of these
        self._holds = holds
        self._is_torn = is_torn
        self._unread = unread
        self._n_unread = 0  # bytes at the buffer's end that come again
        self.has_held = False  # whether a last line without a line break was left unread
        self._dropped = 0  # bytes of the line at `_begin` that were too many to keep

    @property
    def offset(self) -> int:
        """The position of the next line's first byte."""
        return self._base + self._begin

    def take(self, limit: int) -> Batch | None:
        """Return the next lines, at most `limit`, undecoded; none if there are none yet, None at the end."""
        if self._next == len(self._ends):
            batch = self._fill()
            if batch is not None or not len(self._ends):
                return batch
        if self._is_torn:
            self._is_torn = False
            if self._data[self._begin : int(self._ends[self._next])].strip():
                return self._refuse_next("the line went on after it was read without a line end: the rest of it")
        ends = self._ends[self._next : self._next + limit]
        starts = np.concatenate(([self._begin], ends[:-1] + 1))
        if len(too_long := np.flatnonzero(ends - starts > self._longest)):
            ends, starts = ends[: too_long[0]], starts[: too_long[0]]
            if not len(ends):
                return self._refuse_next()
        self._advance(len(ends))
        return Batch(self.name, starts + self._base, texts=Lines(self._data, starts, ends))

    def _advance(self, lines: int) -> None:
        self._next += lines
        self._begin = min(int(self._ends[self._next - 1]) + 1, len(self._data))

    def _fill(self) -> Batch | None:
        """Read one block; return a batch if that gives one without a line of it."""
        rest = len(self._data) - self._n_unread
        self._data, self._base = self._data[self._begin : rest], self._base + self._begin
        self._begin, self._next, self._ends, self._n_unread = 0, 0, _NONE, 0
        block = self._read(BLOCK)
        if block:
            newlines = line_ends(block)
        if block and len(newlines):
            self._ends = newlines + len(self._data)
            if self._unread is not None and (begun := len(block) - 1 - int(newlines[-1])):
                self._unread(begun)
                self._n_unread = begun
            self._data += block
            return self._refuse_next() if self._dropped else None
        if block == b"":
            self.has_held = (
                bool(self._data) and self._holds is not None and (self._dropped > 0 or self._holds(self._data))
            )
            if self.has_held:
                return None
            self._ends = np.array([len(self._data)] if self._data else [], np.int64)
            return self._refuse_next() if self._dropped else None
        self._data += block or b""
        if len(self._data) > self._longest + RAW_KEPT:
            self._dropped += len(self._data) - RAW_KEPT
            self._data = self._data[:RAW_KEPT]
        return Batch(self.name, _NONE, texts=[])

    def _refuse_next(self, reason: str = "") -> Batch:
        begin, end = self._begin, int(self._ends[self._next])
        length = end - begin + self._dropped
        kind = "undecodable" if reason else "too_long"
        reason = reason or f"a line of {length} bytes; the longest allowed is {self._longest} (max_record_bytes)"
        refused = Refusal(self.name, self.offset, reason, self._data[begin : min(end, begin + RAW_KEPT)], kind)
        self._advance(1)
        self._base += self._dropped
        self._dropped = 0
        return Batch(self.name, _NONE, texts=[], refused=[refused])
