"""Messages of a broker, each the text of one record, as a batch."""

from collections.abc import Sequence

import numpy as np

from streammix.pipeline.flow import Batch, Lines, Refusal
from streammix.pipeline.sources.lines import RAW_KEPT

__all__ = ["message_batch"]

LAST_SPACE = 32


def message_batch(source: str, offsets: Sequence[int], values: Sequence[bytes | None], longest: int) -> Batch:
    """Return messages as a batch; what holds no record, or more than `longest` bytes, as refused.

    Examples
    --------
    >>> batch = message_batch("events/0", [3, 4, 6], [b'{"a": 1}', None, b'{"a": 2}'], 100)
    >>> list(batch.texts), batch.offsets, batch.refused[0].reason
    ([b'{"a": 1}', b'{"a": 2}'], array([3, 6]), 'a message without a value (a tombstone)')
    """
    places = np.array(offsets, np.int64)
    texts: list[bytes] = [value or b"" for value in values] if None in values else list(values)  # type: ignore[arg-type]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    refused = []
    if len(texts) and not (lengths.min() > 0 and lengths.max() <= longest):
        kept = (lengths > 0) & (lengths <= longest)
        refused = [_refusal(source, offsets[i], values[i], longest) for i in np.flatnonzero(~kept).tolist()]
        texts = [text for text, is_kept in zip(texts, kept.tolist(), strict=True) if is_kept]
        lengths, places = lengths[kept], places[kept]
    ends = np.cumsum(lengths + 1) - 1
    lines = Lines(b"\n".join(texts), ends - lengths, ends)
    blank = [i for i in _may_be_blank(lines) if texts[i].isspace()]
    if blank:
        refused += [_refusal(source, int(places[i]), texts[i], longest) for i in blank]
        refused.sort(key=lambda refusal: refusal.offset)
        is_text = np.ones(len(lines), bool)
        is_text[blank] = False
        places, lines = places[is_text], Lines(lines.data, lines.starts[is_text], lines.ends[is_text])
    return Batch(source, places, texts=lines, refused=refused)


def _may_be_blank(lines: Lines) -> list[int]:
    text = np.frombuffer(lines.data, np.uint8)
    return np.flatnonzero(text[lines.starts] <= LAST_SPACE).tolist() if len(lines) else []


def _refusal(source: str, offset: int, value: bytes | None, longest: int) -> Refusal:
    if value is None:
        return Refusal(source, offset, "a message without a value (a tombstone)", b"")
    if len(value) > longest:
        reason = f"a message of {len(value)} bytes; the longest allowed is {longest} (max_record_bytes)"
        return Refusal(source, offset, reason, value[:RAW_KEPT], "too_long")
    return Refusal(source, offset, "a blank message", value)
