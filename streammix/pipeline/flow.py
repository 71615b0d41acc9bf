"""What flows through a pipeline, and the two protocols at its ends.

A source hands out batches of records, a sink takes batches of scored records; neither knows a model. Both say
where they stand as plain data that JSON can hold, and both are built from such data again, so that one atomic
checkpoint can hold the model's state, the source's position and the sinks' outputs. That is all that it takes
to write one's own:

>>> import numpy as np
>>> class Countdown:  # a source of the records {"left": 9}, {"left": 8}, ...
...     def __init__(self, position=None):
...         self.at = position["at"] if position else 0
...     def read(self, limit):
...         at, self.at = self.at, min(self.at + limit, 10)
...         records = [{"left": 9 - i} for i in range(at, self.at)]
...         return Batch("countdown", np.arange(at, self.at), records) if records else None
...     def position(self):
...         return {"at": self.at}
...     def acknowledge(self):
...         pass
...     def close(self):
...         pass
>>> source = Countdown({"at": 8})
>>> source.read(1000).records, source.read(1000)
([{'left': 1}, {'left': 0}], None)
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.answers import Ingested
from streammix.core.json_lines import JsonLines
from streammix.core.table import most_responsible

__all__ = [
    "Batch",
    "Besides",
    "Leaves",
    "Lines",
    "OfLines",
    "Outbox",
    "Refusal",
    "Scored",
    "Sink",
    "Source",
    "Steady",
    "TellsLag",
    "joined",
]

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not learnt.

    Parameters
    ----------
    source, offset
        Where it stands in the stream.
    reason
        One sentence.
    raw
        The record's own bytes, or the first of them where there are very many.
    kind
        The class of reasons, for counting: ``undecodable``, ``too_long``, ``value`` (one field is to blame) or
        ``record``.
    """

    source: str
    offset: int
    reason: str
    raw: bytes
    kind: str = "undecodable"


@dataclass(frozen=True, slots=True)
class Lines(Sequence[bytes]):
    """Lines of text as they lie in one block of bytes: line i is ``data[starts[i]:ends[i]]``.

    Examples
    --------
    >>> lines = Lines(b"one\\ntwo", np.array([0, 4]), np.array([3, 7]))
    >>> list(lines)
    [b'one', b'two']
    """

    data: bytes
    starts: Integers
    ends: Integers

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "Lines": ...
    def __getitem__(self, index: int | slice) -> "bytes | Lines":
        if isinstance(index, slice):
            return Lines(self.data, self.starts[index], self.ends[index])
        return self.data[self.starts[index] : self.ends[index]]


@dataclass(slots=True)
class Batch:
    """Consecutive records of one source.

    Parameters
    ----------
    source
        The file, data set, topic, ... that they are from.
    offsets
        Each record's place in it: a byte position in text, a row number in tables and data sets.
    records
        The records; None while they are undecoded text.
    texts
        The records' own bytes, where they came as text.
    refused
        Records of the same stretch that could not even be told apart or decoded. They are in none of the
        others.
    """

    source: str
    offsets: Integers
    records: list[dict[str, Any]] | JsonLines | pa.RecordBatch | None = None
    texts: Sequence[bytes] | None = None
    refused: list[Refusal] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offsets) + len(self.refused)

    def raw(self, row: int) -> bytes:
        """Return a record's own bytes; one that was never text as JSON."""
        if self.texts is not None:
            return self.texts[row]
        assert self.records is not None  # for the type checker: a batch has records, texts or both
        table = self.records
        record = table[row] if isinstance(table, list | JsonLines) else table.slice(row, 1).to_pylist()[0]
        return json.dumps(record, default=str, ensure_ascii=False).encode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Scored:
    """What a sink writes: one row a record, scored before it was learnt.

    Parameters
    ----------
    source, offsets
        Each record's position.
    responsibilities
        (n, K); uniform while the model is warming up.
    log_density
        (n,); 0 while the model is warming up.
    lines
        The rows as NDJSON, where they have been written already.
    labels, outliers
        (n,), of an `AutoMixture` alone: the label of each record's most responsible component, which lasts where places
        change, -1 of one that no record has made yet; and the probability that the background made the record.
    """

    source: str
    offsets: Integers
    responsibilities: NDArray[np.float64]
    log_density: NDArray[np.float64]
    lines: bytes | None = None
    labels: Integers | None = None
    outliers: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, source: str, offsets: Integers, done: Ingested) -> "Scored":
        """Return what came of records that stood at these offsets."""
        return cls(source, offsets, done.responsibilities, done.log_density, None, done.labels, done.outliers)

    def __getitem__(self, rows: slice) -> "Scored":
        found = Scored(self.source, self.offsets[rows], self.responsibilities[rows], self.log_density[rows])
        if self.labels is None or self.outliers is None:
            return found
        return replace(found, labels=self.labels[rows], outliers=self.outliers[rows])

    @property
    def components(self) -> NDArray[np.int32]:
        """The most responsible component of each record, the first among equals."""
        return most_responsible(self.responsibilities)

    @property
    def scores(self) -> NDArray[np.float64]:
        """-log p(x) of each record: high where the record is unusual."""
        return 0.0 - self.log_density  # not the sign alone: -0.0 is no score


def joined(parts: Sequence[Scored]) -> Scored:
    """Return scored records of one source in one piece."""
    if len(parts) == 1:
        return parts[0]
    found = Scored(
        parts[0].source,
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.responsibilities for part in parts]),
        np.concatenate([part.log_density for part in parts]),
    )
    labels = [part.labels for part in parts if part.labels is not None]
    outliers = [part.outliers for part in parts if part.outliers is not None]
    if not labels:
        return found
    return replace(found, labels=np.concatenate(labels), outliers=np.concatenate(outliers))


class Source(Protocol):
    """Where records come from."""

    def read(self, limit: int) -> Batch | None:
        """Return the next records, at most `limit`.

        A batch without records says that there are none just now, after a wait of a fraction of a second; None says
        that the stream has ended. A source cuts its batches by count or by position, never by the clock. It raises
        an `UnavailableError` or an OSError for what may come back: then it is closed, and built again from the last
        checkpoint's position.
        """

    def position(self) -> dict[str, Any]:
        """Return where the next read begins, as plain data from which the source can be built again."""

    def acknowledge(self) -> None:
        """Take note that a checkpoint holds everything up to `position`."""

    def close(self) -> None:
        """Let go of files and connections."""


@runtime_checkable
class TellsLag(Protocol):
    """A source that knows how much lies ahead."""

    def lag(self) -> int:
        """Return the number of records that are there and were not read yet."""


@runtime_checkable
class Steady(Protocol):
    """A source to which `acknowledge` may mean nothing: then checkpoints are written beside what is read next."""

    is_steady: bool


@runtime_checkable
class Leaves(Protocol):
    """A source that may have to hand a part of the stream to another reader in the middle of a `read`."""

    before_leaving: Callable[[], None]  # set by the run; writes a checkpoint of what `read` has returned so far


class Sink(Protocol):
    """Where scored records go."""

    name: str

    def write(self, rows: Scored) -> None:
        """Take rows; they need not be durable before `flush` returns."""

    def flush(self, records: int) -> dict[str, Any]:
        """Make all rows durable; return where the sink stands, as plain data to build it from again.

        `records` is the number of records read from the stream so far. Rows that are written later than the
        last checkpoint are written again after a crash: building the sink from its plain data cuts it back.
        """

    def close(self) -> None:
        """Let go of files and connections; what was not flushed may be lost."""


@runtime_checkable
class Besides(Protocol):
    """A sink that can make its rows durable beside the writing of those that follow."""

    def flush_beside(self, records: int) -> tuple[dict[str, Any], Callable[[], object]]:
        """Do as `flush`, but for the last part, which is returned as well: it may be called in another thread.

        Nothing but `write` comes before that is done.
        """


@runtime_checkable
class OfLines(Protocol):
    """A sink that looks at nothing but what `streammix.pipeline.sinks.ndjson.to_lines` makes of rows."""

    is_of_lines: bool


@runtime_checkable
class Outbox(Protocol):
    """A sink to a place that can't be cut back: its `flush` returns the rows themselves, for the checkpoint to hold."""

    def publish(self) -> None:
        """Send what the checkpoint that was just written holds, once, however often that is tried.

        Building the sink from a checkpoint's plain data publishes what had not been when the run was killed.
        """
