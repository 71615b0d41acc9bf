"""The ordered loop: read, decode, score, learn, write, and now and then one atomic checkpoint.

A checkpoint holds the model's state, the source's position and the sinks' outputs, and is written after the
sinks have made their rows durable and before the source hears of it. So a run that is killed at any instant
and started again goes on from the last checkpoint, with the outputs cut back to it, and ends with the same
state and the same rows. Checkpoints fall on multiples of `every_records` records of the stream, however the
reading was cut, or, where workers share the mini-batches, on the end of the mini-batch in which one lies.

What takes a disk its time, to make files of rows and then the checkpoint durable, is done in another thread where
nobody waits to hear of it; the next checkpoint waits until it is done. A third thread learns a batch while the next one
is read: the numbers of records depend on their text and on the fields and levels that are known, so a batch that brings
a new one is learnt first. What comes out is the same: everybody but the reader sees the model between two batches, and
a checkpoint holds the source's position as it was after the last batch that was learnt.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix.answers import Ingested
from streammix.errors import CheckpointError, RecordError, SupersededError, UnavailableError
from streammix.intake import read_ahead
from streammix.mixture import Mixture
from streammix.pipeline.dead_letter import DeadLetters
from streammix.pipeline.decode import Decoder, JsonDecoder, UndecodableError
from streammix.pipeline.flow import Batch, Besides, Leaves, Outbox, Refusal, Scored, Sink, Source, Steady, TellsLag
from streammix.pipeline.pace import Pace
from streammix.pipeline.progress import Progress, Tally, Watch
from streammix.pipeline.stopping import StopRequest
from streammix.store import CheckpointStore

if TYPE_CHECKING:
    from streammix.pipeline.crew import Crew

__all__ = ["Pipeline"]

log = logging.getLogger("streammix")

RECORDS_AT_ONCE = 1 << 14
HAND_OVER = 5e-4  # seconds


@dataclass(frozen=True, slots=True)
class _Going:
    """A checkpoint that is being written: since when, of what, and until when."""

    begin: float
    tally: Tally
    end: Future[float]


@dataclass(frozen=True, slots=True)
class _Learning:
    """A batch that is being learnt, where the source stands after it, and what will come of it."""

    batch: Batch
    stands: dict[str, Any]
    done: Future[Ingested]


@dataclass
class Pipeline:
    """A run, assembled.

    Parameters
    ----------
    model
        What learns.
    source, sinks, dead_letters
        Where records come from, where their scores go, and where records that are refused go.
    store
        Where checkpoints go.
    every_records
        How many records lie between two checkpoints.
    every_seconds
        A checkpoint is also due when there is something new and the last one is so old. That cuts the outputs'
        files by the clock, but changes no bit of the state.
    decode
        Turns a source's text into records.
    tally
        What earlier runs have read.
    watch
        Who looks on.
    on_checkpoint
        Called when a checkpoint has been written, with what had been read by then.
    crew
        Worker processes that share the mini-batches.
    """

    model: Mixture
    source: Source
    sinks: list[Sink]
    dead_letters: DeadLetters
    store: CheckpointStore
    every_records: int = 10_000
    every_seconds: float | None = None
    decode: Decoder = field(default_factory=JsonDecoder)
    tally: Tally = field(default_factory=Tally)
    watch: Watch | None = None
    on_checkpoint: Callable[[Tally], None] = lambda tally: None
    crew: "Crew | None" = None
    _parts: list[Batch] = field(default_factory=list, init=False)  # what is read, and not learnt yet
    _unwritten: list[Scored] = field(default_factory=list, init=False)  # what is learnt, and in no sink yet
    _marked: int = field(default=0, init=False)  # records of the stream at the last checkpoint
    _due: float = field(default=math.inf, init=False)  # when the next checkpoint is, by a clock that never jumps
    _saved: dict[str, Any] = field(default_factory=dict, init=False)  # the source's position at the last checkpoint
    _is_late: bool = field(default=False, init=False)  # whether a checkpoint is still to be written
    _going: "_Going | None" = field(default=None, init=False)  # the checkpoint that is being written
    _learning: "_Learning | None" = field(default=None, init=False)
    _position: dict[str, Any] = field(default_factory=dict, init=False)  # the source's, after what is learnt
    _tell: Callable[[], None] = field(default=lambda: None, init=False)  # how the run is going
    _thread: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "checkpoints"), init=False)
    _learner: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "learning"), init=False)
    _pace: Pace = field(default_factory=lambda: Pace(RECORDS_AT_ONCE), init=False)

    def __post_init__(self) -> None:
        self._position = self.source.position()

    def run(self, progress: Progress, stop: StopRequest) -> None:
        """Go on to the stream's end, or until asked to stop; either way end with a checkpoint.

        Raises
        ------
        UnavailableError
            If something fails that may come back; what came after the last checkpoint is to be read again.
        """
        with _handing_over():
            self._run(progress, stop)

    def _run(self, progress: Progress, stop: StopRequest) -> None:
        self._note_checkpoint()
        self._tell = partial(self._tell_on, progress)
        if isinstance(self.source, Leaves):
            self.source.before_leaving = self._leave
        while stop.signal is None:
            read = self.tally.records + (len(self._learning.batch) if self._learning is not None else 0)
            room = self.every_records - read % self.every_records
            left = self.crew.left(self.model) if self.crew is not None else 0
            if not self._read(left or min(room, self._pace.records), left > 0):
                break
            self._learn()
            if time.monotonic() >= self._due:
                self._finish_learning()
                self._checkpoint_if_new(self._may_be_beside)
            elif self._going is not None and self._going.end.done():
                self._settle()
        self._finish_learning()
        self._position = self.source.position()
        self._checkpoint_if_new()
        self._settle()
        progress.show(self.tally, self._weights, is_last=True)

    def _tell_on(self, progress: Progress) -> None:
        """Tell the tally after a batch."""
        if self._lag is not None:
            self.tally.lag = self._lag()
        if self.watch is not None:
            self.watch.took(self.tally, self.model)
        progress.show(self.tally, self._weights)

    @property
    def _weights(self) -> NDArray[np.float64] | None:
        return self.model.weights if self.model.is_warm else None

    def checkpoint(self, is_beside: bool = False) -> None:
        """Make everything so far durable; if `is_beside`, in another thread, while this one goes on."""
        self._is_late = False
        self._write()
        self._settle()
        begin, flushed, works = time.monotonic(), {}, []
        for sink in self.sinks:
            with _naming(f"sink {sink.name}"):
                if isinstance(sink, Besides):
                    flushed[sink.name], work = sink.flush_beside(self.tally.records)
                    works.append((f"sink {sink.name}", work))
                else:
                    flushed[sink.name] = sink.flush(self.tally.records)
        with _naming("the dead-letter file"):
            outputs = {"sinks": flushed, "dead_letter": self.dead_letters.flush()}
        positions = {
            "source": self._position,
            "records": self.tally.records,
            "rejected": self.tally.rejected,
            "scored": self.tally.scored,
            "log_density": self.tally.log_density,
        }
        data, tally = self.store.pack(self.model, positions, outputs), self.tally.copy()
        commit = partial(_commit, self.store, works, data)
        if is_beside:
            end = self._thread.submit(commit)
        else:
            end = Future()
            end.set_result(commit())
        self._note_checkpoint()
        self._going = _Going(begin, tally, end)
        if not is_beside:
            self._settle()

    def _settle(self) -> None:
        """Wait for the checkpoint that is being written, if there is one, and tell of it."""
        if (going := self._going) is None:
            return
        self._going = None
        end = going.end.result()
        if self.watch is not None:
            self.watch.checkpointed(end - going.begin, self.store.sizes[-1])
        self.source.acknowledge()  # first of all: others of its group begin where it was heard of last
        for sink in self.sinks:
            if isinstance(sink, Outbox):
                with _naming(f"sink {sink.name}"):
                    sink.publish()
        with _naming("the dead-letter topic"):
            self.dead_letters.publish()
        self.on_checkpoint(going.tally)

    @cached_property
    def _lag(self) -> Callable[[], int] | None:
        return self.source.lag if isinstance(self.source, TellsLag) else None

    @cached_property  # which takes Python long to find out
    def _may_be_beside(self) -> bool:
        """Whether nobody has to hear of a checkpoint before anything else happens."""
        is_steady = isinstance(self.source, Steady) and self.source.is_steady
        return is_steady and not self.dead_letters.is_posted and not any(isinstance(x, Outbox) for x in self.sinks)

    def close(self) -> None:
        """Let go of the source and the outputs; what came after the last checkpoint is dropped."""
        with ExitStack() as stack:
            stack.callback(self.source.close)
            for sink in self.sinks:
                stack.callback(sink.close)
            stack.callback(self.dead_letters.close)
            if self.crew is not None:
                stack.callback(self.crew.close)
            stack.callback(self._thread.shutdown)  # first of all, what is being learnt and written ends
            stack.callback(self._learner.shutdown)

    def _read(self, limit: int, is_whole: bool) -> bool:
        """Read records, where it is to be a whole mini-batch in several parts if need be; False at the end."""
        left = limit
        while True:
            try:
                batch = self.source.read(left)
            except OSError as error:
                raise UnavailableError(f"the source can't be read: {error}") from error
            if batch is None:
                return bool(self._parts)
            if len(batch):
                self._parts.append(batch)
                left -= len(batch)
            if not left or not len(batch) or not is_whole:
                return True

    def _learn(self) -> None:
        """Learn what is read: by the crew, where it is a whole mini-batch to share, or beside what is read next."""
        parts, self._parts = self._parts, []
        stands = self.source.position()
        done = self.crew.learn(self.model, parts, self._catch_up) if self.crew is not None else None
        if done is not None:
            for part, rows in zip(parts, done, strict=True):
                self._unwritten.append(rows)
                self.tally.add(len(part), [], rows.log_density)
        elif self.crew is None and type(self.model) is Mixture and len(parts) == 1:  # others do more than to learn
            self._learn_beside(self.decode(parts[0]), stands)
            return
        else:
            self._finish_learning()
            self._catch_up()
            for part in parts:
                batch = self.decode(part)
                assert batch.records is not None  # for the type checker: it is decoded
                self._give(batch, self._pace.timed(partial(self.model.ingest, batch.records), len(batch)))
        self._arrive(stands)

    def _learn_beside(self, batch: Batch, stands: dict[str, Any]) -> None:
        """Begin to learn a batch, or learn it where the reading of the next one may depend on it."""
        read = read_ahead(self.model._learner, batch.records)
        self._finish_learning()
        learn = partial(self._pace.timed, partial(self.model._ingest, batch.records, read), len(batch))
        if read is not None and read.is_plain:
            self._learning = _Learning(batch, stands, self._learner.submit(learn))
            if self._may_be_beside:
                return
            self._finish_learning()  # who hears of a checkpoint asks for the source's position
        else:
            self._give(batch, learn())
            self._arrive(stands)

    def _finish_learning(self) -> None:
        """Wait for the batch that is being learnt, if there is one, and hand on what became of it."""
        if (learning := self._learning) is not None:
            self._learning = None
            self._give(learning.batch, learning.done.result())
            self._arrive(learning.stands)

    def _arrive(self, stands: dict[str, Any]) -> None:
        """Note where the source stood after what is learnt; write a checkpoint where one is due."""
        self._position = stands
        self._tell()
        if self.tally.records // self.every_records > self._marked // self.every_records:
            if self._unwritten and self._may_be_beside:  # they are written while the workers are at the next mini-batch
                self._is_late = True
            else:
                self.checkpoint(self._may_be_beside)

    def _leave(self) -> None:
        """Write a checkpoint of everything that is read."""
        self._learn()
        self._finish_learning()
        self._checkpoint_if_new()
        self._settle()

    def _catch_up(self) -> None:
        """Write what was left to be written beside the workers' next mini-batch."""
        self._write()
        if self._is_late:
            self.checkpoint(True)

    def _note_checkpoint(self) -> None:
        self._marked = self.tally.records
        self._saved = self._position
        self._due = math.inf if self.every_seconds is None else time.monotonic() + self.every_seconds

    def _checkpoint_if_new(self, is_beside: bool = False) -> None:
        if self._position != self._saved:
            self.checkpoint(is_beside)
        else:
            self._note_checkpoint()

    def _give(self, batch: Batch, done: Ingested) -> None:
        """Hand on what became of a batch."""
        refused = batch.refused + [
            Refusal(
                batch.source,
                int(batch.offsets[row]),
                str(error),
                batch.raw(row),
                _kind(error),
            )
            for row, error in done.rejected
        ]
        refused.sort(key=lambda refusal: refusal.offset)
        if refused and not self.tally.first_refusal:
            first = refused[0]
            self.tally.first_refusal = f"{first.source} at {first.offset}: {first.reason}"
            log.warning("%s at %d is refused: %s", first.source, first.offset, first.reason)
        with _naming("the dead-letter file"):
            self.dead_letters.write(refused)
        if len(done.rows):
            offsets = batch.offsets if len(done.rows) == len(batch.offsets) else batch.offsets[done.rows]
            self._unwritten.append(Scored.of(batch.source, offsets, done))
            self._write()
        self.tally.add(len(batch), refused, done.log_density)

    def _write(self) -> None:
        """Hand scored rows to the sinks; those of workers are, while these are at the next ones."""
        waiting, self._unwritten = self._unwritten, []
        for rows in waiting:
            for sink in self.sinks:
                with _naming(f"sink {sink.name}"):
                    sink.write(rows)


def _kind(error: RecordError) -> str:
    return "undecodable" if isinstance(error, UndecodableError) else "record" if error.field is None else "value"


def _commit(store: CheckpointStore, works: list[tuple[str, Callable[[], object]]], data: bytes) -> float:
    """Make the sinks' rows durable, then the checkpoint that knows of them; return when that was done."""
    for name, work in works:
        with _naming(name):
            work()
    try:
        store.put(data)
    except SupersededError:
        raise
    except CheckpointError as error:
        raise UnavailableError(str(error)) from error
    return time.monotonic()


@contextmanager
def _handing_over() -> Iterator[None]:
    """Let threads wait for one another less than Python's five milliseconds, in which thousands of records are read."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(HAND_OVER)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def _naming(output: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # the reader of standard output has enough: no fault of the run's
        raise
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UnavailableError(f"{output} can't be written: {reason}; the last checkpoint stands") from error
