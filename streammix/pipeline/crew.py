"""Worker processes that share a run's mini-batches: each decodes and takes the statistics of a stretch.

A mini-batch is cut into the chunks of records whose sums the core takes together, and the chunks' statistics are
merged in order: the state is that of a run without workers, to the last bit. A mini-batch with something out of the
ordinary, a bad record, a new field or a new level, is left to the process that holds the model.
"""

import io
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context, parent_process
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix import partial, shipping
from streammix.answers import Ingested
from streammix.core.engine import CHUNK
from streammix.errors import UnavailableError
from streammix.mixture import Mixture
from streammix.pipeline.decode import Decoder, JsonDecoder, without
from streammix.pipeline.flow import Batch, Lines
from streammix.pipeline.light import leave_out_pandas

__all__ = ["Crew"]

FloatArray = NDArray[np.float64]
Answer = tuple[bytes, FloatArray, FloatArray]


@dataclass(frozen=True)
class _Share:
    """A stretch of records on its way to a worker.

    Parameters
    ----------
    kind, data
        "texts": the records' bytes, one after the other, and where each ends; "arrow": a stream's bytes; "records".
    chunk
        The number of its first chunk.
    """

    kind: str
    data: Any
    chunk: int


class Crew:
    """So many worker processes.

    Parameters
    ----------
    workers
        How many.
    ignore
        Fields of the records that are kept from the model.
    """

    def __init__(self, workers: int, ignore: Sequence[str]) -> None:
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (list(ignore),))

    def close(self) -> None:
        """Let the workers go."""
        self._pool.shutdown(cancel_futures=True)

    def left(self, model: Any) -> int:
        """Return how many records the next mini-batch lacks; 0 where the model's are none to share."""
        running = model._learner.running if isinstance(model, Mixture) else None
        if running is None or running.waiting is None or running.waiting.size <= CHUNK or model._learner.clock:
            return 0
        return running.waiting.size - running.waiting.n

    def learn(self, model: Mixture, parts: Sequence[Batch]) -> list[Ingested] | None:
        """Learn a mini-batch that has come in parts; None where it is not to share, and the model is as before.

        Raises
        ------
        UnavailableError
            If a worker has died.
        """
        left = self.left(model)
        is_whole = left and left == model.batch_size == sum(map(len, parts))
        shares = _shares(parts, self._workers) if is_whole else None
        answers = None if shares is None else self._expect(model, shares)
        if answers is None:
            return None
        found = partial.merge([one for data, *_ in answers for one in shipping.unpacked(data)])
        if found.levels:
            return None  # each has its share of the probability from its first record on
        partial.step(model, found)
        responsibilities = np.concatenate([answer[1] for answer in answers])
        log_density = np.concatenate([answer[2] for answer in answers])
        done, at = [], 0
        for part in parts:
            stop = at + len(part)
            done.append(Ingested(responsibilities[at:stop], log_density[at:stop], np.arange(len(part)), []))
            at = stop
        return done

    def _expect(self, model: Mixture, shares: Sequence[_Share]) -> list[Answer] | None:
        """The statistics and scores of the shares, in order; None where a worker has found something odd."""
        version, data = shipping.packed_model(model)
        try:
            waiting = [self._pool.submit(_work, version, data, share) for share in shares]
            answers = [future.result() for future in waiting]
        except BrokenProcessPool as error:
            raise UnavailableError(f"a worker process has died ({error}); the last checkpoint stands") from None
        return None if any(answer is None for answer in answers) else [a for a in answers if a is not None]


def _shares(parts: Sequence[Batch], workers: int) -> list[_Share] | None:
    """Cut parts of a mini-batch into shares of whole chunks; None where that can't be."""
    n = sum(map(len, parts))
    chunks = -(-n // CHUNK)
    if any(part.refused for part in parts) or chunks < 2:
        return None
    bounds = sorted({chunks * i // workers for i in range(workers)} | {chunks})
    cuts = [(a, slice(a * CHUNK, min(b * CHUNK, n))) for a, b in pairwise(bounds)]
    if all(part.records is None for part in parts):
        texts: Sequence[bytes] = parts[0].texts or ()
        if len(parts) > 1:
            texts = [text for part in parts for text in part.texts or ()]
        return [_Share("texts", _joined(texts[cut]), a) for a, cut in cuts]
    if all(isinstance(part.records, pa.RecordBatch) for part in parts):
        batches: list[Any] = [part.records for part in parts]
        if any(batch.schema != batches[0].schema for batch in batches):
            return None
        table = pa.Table.from_batches(batches)
        return [_Share("arrow", _stream(table.slice(cut.start, cut.stop - cut.start)), a) for a, cut in cuts]
    if all(isinstance(part.records, list) for part in parts):
        lists: list[list[Any]] = [part.records for part in parts if isinstance(part.records, list)]
        records = [record for own in lists for record in own]
        return [_Share("records", records[cut], a) for a, cut in cuts]
    return None


def _joined(texts: Sequence[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    return b"".join(texts), ends


def _stream(rows: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue()


_decode: Decoder


def _begin(ignore: list[str]) -> None:
    """Begin a worker process: what it needs beside its shares."""
    global _decode
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run itself is asked to stop
    leave_out_pandas()
    _decode = without(set(ignore), JsonDecoder())
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    """End where the run is killed: nobody would tell the worker."""
    run = parent_process()
    assert run is not None
    run.join()
    os._exit(1)


def _work(version: str, data: bytes, share: _Share) -> Answer | None:
    """Take the statistics of a share, a chunk at a time; None where something is out of the ordinary."""
    model = shipping.unpacked_model(version, data)
    records = _records(share)
    if records is None:
        return None
    partials, responsibilities, log_densities = [], [], []
    for number, at in enumerate(range(0, len(records), CHUNK)):
        is_table = isinstance(records, pa.Table)
        chunk = records.slice(at, CHUNK) if is_table else records[at : at + CHUNK]
        if is_table and model._learner.has_new_fields(chunk):
            return None
        found, shares, log_density = partial.expect_scored(model, chunk, share.chunk + number)
        if found.n != len(chunk):
            return None
        partials.append(found)
        responsibilities.append(shares)
        log_densities.append(log_density)
    return shipping.packed(partials), np.concatenate(responsibilities), np.concatenate(log_densities)


def _records(share: _Share) -> Any:
    """A share's records, decoded; None where one of them can't be."""
    if share.kind == "arrow":
        table = pa.ipc.open_stream(share.data).read_all().combine_chunks()
        batch = table.to_batches()[0]
        decoded = _decode(Batch("", np.arange(len(batch)), batch))
        return None if decoded.refused else pa.Table.from_batches([decoded.records])
    if share.kind == "records":
        decoded = _decode(Batch("", np.arange(len(share.data)), share.data))
    else:
        text, ends = share.data
        decoded = _decode(Batch("", np.arange(len(ends)), texts=Lines(text, np.concatenate([[0], ends[:-1]]), ends)))
    return None if decoded.refused else decoded.records
