"""How records come in: frames in the form that is read, and records that are scored and then learnt."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streammix import frames
from streammix.answers import Ingested, Told
from streammix.clock import times_of
from streammix.columns import Encoded
from streammix.core.json_lines import JsonLines
from streammix.core.values import as_record
from streammix.errors import RecordError
from streammix.frames import Frame, first_seen, part
from streammix.learner import Learner
from streammix.plain import IMPOSSIBLE, LARGEST_WEIGHT, check_weight

__all__ = ["Read", "frame_of", "ingest", "learn_at", "learn_frame", "read_ahead", "weights_of"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Read:
    """Records that are read and not learnt yet.

    Parameters
    ----------
    encoded
        Their rows.
    kept
        The index of each row's record.
    refused
        (index, why) of each record that was refused.
    is_plain
        Whether nothing in them is new: while they are learnt, the records after them can be read.
    """

    encoded: Encoded
    kept: Sequence[int]
    refused: list[tuple[int, RecordError]]
    is_plain: bool


def read_ahead(learner: Learner, records: Any) -> Read | None:
    """Read records into rows, for `ingest`, beside the learning of plain ones; None where `ingest` has to read them."""
    if learner.is_gathering or learner.clock is not None or not isinstance(records, list | JsonLines):
        return None
    encoded, kept, refused = learner.encode(records)
    return Read(encoded, kept, refused, not encoded.unknown and len(kept) + len(refused) == len(records))


def frame_of(learner: Learner, X: Any, to_learn: bool) -> Frame:
    """Return a frame in the form that is read, with the fields in use at least, and those that may join."""
    names = learner.names if learner.schema is not None else None
    if learner.declaration.infers and to_learn and (learner.is_open or learner.is_gathering):
        names = None
    time = None if learner.clock is None else learner.clock.field
    return frames.to_frame(X, names, not learner.declaration.infers, learner.ignored, time)


def weights_of(w: ArrayLike | None, n: int) -> FloatArray | None:
    """Return the weights of n rows as an array; None where all are 1."""
    if w is None:
        return None
    weights = np.ascontiguousarray(w, dtype=np.float64)
    if weights.shape != (n,):
        raise RecordError(f"weights must be one number a row: {n}, not {weights.shape}")
    for weight in weights[~((weights > 0) & (weights <= LARGEST_WEIGHT))][:1]:
        check_weight(float(weight))
    return weights


def learn_frame(learner: Learner, frame: Frame, weights: FloatArray | None) -> None:
    """Learn the rows of a frame. A refusal leaves what came before it learnt."""
    if learner.clock is None:
        _learn_frame(learner, frame, weights, 0)
        return
    times, begin = times_of(learner.clock.field, frame), 0
    while begin < frame.num_rows:
        looks = learner.clock.stretch(times, begin)
        end = begin + len(looks)
        own = np.array([look.weight for look in looks]) * (1.0 if weights is None else weights[begin:end])
        _learn_frame(learner, part(frame, begin, end), own, begin)
        learner.go_on(looks[-1])
        begin = end


def _learn_frame(learner: Learner, frame: Frame, weights: FloatArray | None, first: int) -> None:
    """Learn the rows of a frame; the first of them is row `first` of its caller's."""
    taken = 0
    while learner.is_gathering and taken < frame.num_rows:
        for record in learner.first(frame, learner.missing_records(), taken):
            with _naming(first + taken):
                learner.wait(record, 1.0 if weights is None else float(weights[taken]))
            taken += 1
    while taken < frame.num_rows:
        stop = first_seen(frame, learner.unknown(frame), learner.newcomers.constant, taken)
        if stop == taken:
            record = learner.first(frame, 1, taken)[0]
            with _naming(first + taken):
                learner.learn_record(record, 1.0 if weights is None else float(weights[taken]))
            taken += 1
            continue
        own = None if weights is None else weights[taken:stop]
        _learn_rows(learner, part(frame, taken, stop), own, first + taken)
        taken = stop


@contextmanager
def _naming(row: int) -> Iterator[None]:
    """Let a refusal say in which row it was."""
    try:
        yield
    except RecordError as error:
        raise RecordError(f"row {row}: {error}", field=error.field, row=row) from None


def _learn_rows(learner: Learner, frame: Frame, weights: FloatArray | None, first: int) -> None:
    """Learn rows without new fields; the first of them is row `first` of its caller's."""
    assert learner.running is not None
    try:
        encoded = learner.running.schema.encode(frame)
    except RecordError as error:
        row = first + (error.row or 0)
        text = str(error).replace(f"row {error.row}:", f"row {row}:", 1)
        raise RecordError(text, field=error.field, row=row) from None
    bad = learner.running.absorb(encoded, weights)
    if bad:
        raise RecordError(f"row {bad[0] + first}: {IMPOSSIBLE}", row=bad[0] + first)


def ingest(learner: Learner, records: list[Any] | JsonLines | Frame, read: Read | None = None) -> Ingested:
    """Score each record as the model stands before it, then learn it; a refused one is left out."""
    if learner.clock is not None:
        return _ingest_timed(learner, records)
    n, k = len(records), learner.declaration.n_components
    good: list[int] = []
    refused: list[tuple[int, RecordError]] = []
    told, at = Told.nothing(n, k, learner.has_labels), 0
    while learner.is_gathering and at < n:
        is_frame = not isinstance(records, list | JsonLines)
        some: Any = learner.first(records, learner.missing_records(), at) if is_frame else records
        for i in range(0 if is_frame else at, len(some)):
            try:
                learner.wait(some[i], 1.0, told[at : at + 1])
                good.append(at)
            except RecordError as error:
                refused.append((at, error.with_traceback(None)))
            at += 1
            if not learner.is_gathering:
                break
    while at < n:
        assert learner.running is not None
        if read is not None and at == 0:
            encoded, kept, refusals = read.encoded, read.kept, read.refused
        else:
            encoded, kept, refusals = learner.encode(_rest(learner, records, at))
        is_whole = len(kept) == n
        found = told if is_whole else Told.nothing(len(kept), k, learner.has_labels)
        bad = learner.running.absorb(encoded, None, found)
        if is_whole and not bad:
            return Ingested.of(told, np.arange(n), [])
        wanted = np.setdiff1d(np.arange(len(kept)), bad)
        places = [at + kept[i] for i in wanted]
        told.put(places, found[wanted])
        good += places
        refused += [(at + i, error) for i, error in refusals]
        refused += [(at + kept[i], RecordError(IMPOSSIBLE)) for i in bad]
        at += len(kept) + len(refusals)
        if at == n:
            break
        try:  # a record with a new field
            record = records[at] if isinstance(records, list | JsonLines) else learner.first(records, 1, at)[0]
            learner.learn_record(record, 1.0, told[at : at + 1])
            good.append(at)
        except RecordError as error:
            refused.append((at, error.with_traceback(None)))
        at += 1
    refused.sort(key=lambda refusal: refusal[0])
    rows = np.array(good, dtype=np.int64)
    return Ingested.of(told[rows], rows, refused)


def _rest(learner: Learner, records: list[Any] | JsonLines | Frame, at: int) -> Any:
    """The records from one on; of a frame as far as no field is new."""
    if isinstance(records, list | JsonLines):
        return records[at:]
    return records.slice(at, first_seen(records, learner.unknown(records), learner.newcomers.constant, at) - at)


def _ingest_timed(learner: Learner, records: list[Any] | JsonLines | Frame) -> Ingested:
    """Ingest record by record: when the next one's time is known, the statistics may move."""
    n, k = len(records), learner.declaration.n_components
    told = Told.nothing(n, k, learner.has_labels)
    rows: Any = records if isinstance(records, list | JsonLines) else learner.records_of(records)
    good, refused = [], []
    for i in range(n):
        try:
            learn_at(learner, rows[i], 1.0, partial(learner.learn_record, told=told[i : i + 1]))
            good.append(i)
        except RecordError as error:
            refused.append((i, error.with_traceback(None)))
    kept = np.array(good, dtype=np.int64)
    return Ingested.of(told[kept], kept, refused)


def learn_at(
    learner: Learner,
    x: Any,
    weight: float,
    learn: Callable[[Any, float], None],
    hand_back: Callable[[], Any] = lambda: None,
) -> bool:
    """Let `learn` take a record at its weight by now, then the clock go on; tell whether all was halved."""
    assert learner.clock is not None
    check_weight(weight)
    record = x if isinstance(x, dict) else as_record(x)
    look = learner.clock.look(record)
    learn(record, weight * look.weight)
    hand_back()
    return learner.go_on(look)
