"""A source that may deliver a record again, as one that delivers each exactly once.

Queues that deliver at least once repeat records after a crash, and may send one again or late. Where each record has an
offset that grows within its source, that can be told: what is not beyond the last one is passed over.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from streammix.pipeline.flow import Batch, Lines, Source

__all__ = ["Once"]

log = logging.getLogger("streammix")

Position = dict[str, Any] | None


class Once:
    """Passes over what was delivered before; records that come late, after later ones, are passed over as well.

    Parameters
    ----------
    open_source
        Opens the source that repeats, at a recorded position or before it.
    position
        Where an earlier run stood.

    Examples
    --------
    >>> class Repeating:
    ...     def __init__(self, position=None):
    ...         self.batches = [[0, 1, 2], [1, 2, 3], [4]]
    ...     def read(self, limit):
    ...         if not self.batches:
    ...             return None
    ...         offsets = self.batches.pop(0)
    ...         return Batch("queue", np.array(offsets), [{"n": n} for n in offsets])
    ...     def position(self):
    ...         return {}
    >>> source = Once(Repeating)
    >>> [source.read(10).records for _ in range(3)]
    [[{'n': 0}, {'n': 1}, {'n': 2}], [{'n': 3}], [{'n': 4}]]
    """

    def __init__(self, open_source: Callable[[Position], Source], position: Position = None) -> None:
        recorded = position or {"source": None, "last": {}}
        self._last: dict[str, int] = dict(recorded["last"])
        self._source = open_source(recorded["source"])

    @classmethod
    def over(cls, open_source: Callable[[Position], Source]) -> "Callable[[Position], Once]":
        """Return what opens such a source, for `streammix.pipeline.commands.run`."""
        return partial(cls, open_source)

    def read(self, limit: int) -> Batch | None:
        """Return the next records that were not delivered before."""
        batch = self._source.read(limit)
        if batch is None or not len(batch):
            return batch
        last = self._last.get(batch.source, -1)
        offsets = np.array([*batch.offsets.tolist(), *(refusal.offset for refusal in batch.refused)])
        refused, seen = [], last
        highest = np.maximum.accumulate(np.concatenate(([last], batch.offsets)))
        kept = np.flatnonzero(batch.offsets > highest[:-1])
        for refusal in batch.refused:
            if refusal.offset > seen:
                seen = refusal.offset
                refused.append(refusal)
        self._last[batch.source] = max(last, int(offsets.max()))
        if again := len(batch) - len(kept) - len(refused):
            log.warning("%s: %d records came again or late, up to %d; passed over", batch.source, again, last)
        if len(kept) == len(batch.offsets):
            batch.refused = refused
            return batch
        return Batch(batch.source, batch.offsets[kept], _records(batch, kept), _texts(batch, kept), refused)

    def position(self) -> dict[str, Any]:
        """Return the source's position, and the last offset of each of its parts."""
        return {"source": self._source.position(), "last": dict(self._last)}

    def acknowledge(self) -> None:
        """Let the source take note of a checkpoint."""
        self._source.acknowledge()

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _records(batch: Batch, kept: Any) -> Any:
    if batch.records is None:
        return None
    if isinstance(batch.records, pa.RecordBatch):
        return batch.records.take(pa.array(kept))
    return [batch.records[i] for i in kept.tolist()]


def _texts(batch: Batch, kept: Any) -> Any:
    if isinstance(batch.texts, Lines):
        return Lines(batch.texts.data, batch.texts.starts[kept], batch.texts.ends[kept])
    return None if batch.texts is None else [batch.texts[i] for i in kept.tolist()]
