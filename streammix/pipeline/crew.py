"""Worker processes that share a run's mini-batches: each decodes, scores and takes the statistics of a stretch.

A mini-batch is cut into the chunks of records whose sums the core takes together, and the chunks' statistics are
merged in order: the state is that of a run without workers, to the last bit. A mini-batch with something out of the
ordinary, a bad record, a new field or a new level, is left to the process that holds the model.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streammix import partial, shipping
from streammix.core.engine import CHUNK
from streammix.errors import UnavailableError
from streammix.mixture import Mixture
from streammix.pipeline.board import Board, Place
from streammix.pipeline.flow import Batch, Lines, Scored
from streammix.pipeline.worker import Answer, Share, work

__all__ = ["Crew", "has_shares"]


def has_shares(model: Any) -> bool:
    """Tell whether workers can share a model's mini-batches."""
    return type(model) is Mixture and model.batch_size > CHUNK and model._learner.clock is None


@dataclass
class _Member:
    """A worker process, what leads to it, and what it knows of the model beside the numbers."""

    process: Any
    link: Connection
    outline: object = None


class Crew:
    """So many worker processes, which begin with the first mini-batch that may be theirs.

    Parameters
    ----------
    workers
        How many.
    ignore
        Fields of the records that are kept from the model.
    lines
        Whether they write the scored records as lines.
    numbers
        Whether anybody looks at the scores themselves.
    """

    def __init__(self, workers: int, ignore: Sequence[str], lines: bool = False, numbers: bool = True) -> None:
        self._workers = workers
        self._ignore = list(ignore)
        self._lines = lines
        self._numbers = numbers
        self._board = Board()
        self._members: list[_Member] = []

    def close(self) -> None:
        """Let the workers go."""
        for member in self._members:
            member.link.close()
        for member in self._members:
            member.process.join(10)
            member.process.kill()
            member.process.join()
            member.process.close()
        self._members = []
        self._board.close()

    def left(self, model: Any) -> int:
        """Return how many records the next mini-batch lacks; 0 where the model's are none to share."""
        if not has_shares(model):
            return 0
        if not self._members:
            self._begin()
        running = model._learner.running
        return 0 if running is None or running.waiting is None else running.waiting.size - running.waiting.n

    def learn(
        self, model: Mixture, parts: Sequence[Batch], meanwhile: Callable[[], None] = lambda: None
    ) -> list[Scored] | None:
        """Learn a mini-batch that has come in parts; None where it is not to share, and the model is as before.

        `meanwhile` is called while the workers are at it, if they are.

        Raises
        ------
        UnavailableError
            If a worker has died.
        """
        left = self.left(model)
        is_whole = left and left == model.batch_size == sum(map(len, parts))
        if not is_whole or any(part.refused for part in parts):
            return None
        shares = self._shares(model, parts)
        answers = None if shares is None else self._answers(model, shares, meanwhile)
        if shares is None or answers is None:
            return None
        found = partial.merge([one for data, _ in answers for one in shipping.unpacked(data)])
        if found.levels:
            return None  # each has its share of the probability from its first record on
        partial.step(model, found)
        return self._scored(parts, shares, answers, model.n_components)

    def _begin(self) -> None:
        context = get_context("spawn")
        for _ in range(self._workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, self._board, self._ignore), daemon=True)
            process.start()
            theirs.close()
            self._members.append(_Member(process, ours))

    def _answers(self, model: Mixture, shares: Sequence[Share], meanwhile: Callable[[], None]) -> list[Answer] | None:
        """What the workers make of the shares, in order; None where one has found something odd."""
        busy = self._members[: len(shares)]
        try:
            for member, share in zip(busy, shares, strict=True):
                member.link.send(share)
            meanwhile()
            answers: list[Any] = [member.link.recv() for member in busy]
        except (EOFError, ConnectionError) as error:
            raise UnavailableError(f"a worker process has died ({error}); the last checkpoint stands") from None
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return None if any(answer is None for answer in answers) else answers

    def _shares(self, model: Mixture, parts: Sequence[Batch]) -> list[Share] | None:
        """Cut parts of a mini-batch into shares of whole chunks; None where that can't be."""
        n, k = sum(map(len, parts)), model.n_components
        chunks = -(-n // CHUNK)
        bounds = sorted({chunks * i // self._workers for i in range(self._workers)} | {chunks})
        cuts = [(a * CHUNK, min(b * CHUNK, n)) for a, b in pairwise(bounds)]
        outputs: list[Any] = [("density", np.float64, n), ("shares", np.float64, n * k), ("offsets", np.int64, n)]
        data: list[Any]
        if all(part.records is None for part in parts):
            kind, data = "texts", [None] * len(cuts)
            places = self._put_texts([part.texts or () for part in parts], n, outputs)
        elif all(isinstance(part.records, pa.RecordBatch) for part in parts):
            batches: list[Any] = [part.records for part in parts]
            if any(batch.schema != batches[0].schema for batch in batches):
                return None
            table, places = pa.Table.from_batches(batches), self._board.laid_out(outputs)
            kind, data = "arrow", [_stream(table.slice(a, b - a)) for a, b in cuts]
        elif all(isinstance(part.records, list) for part in parts):
            lists: list[list[Any]] = [part.records for part in parts if isinstance(part.records, list)]
            records, places = [record for own in lists for record in own], self._board.laid_out(outputs)
            kind, data = "records", [records[a:b] for a, b in cuts]
        else:
            return None
        if self._lines:
            np.concatenate([part.offsets for part in parts], out=self._board.array(places["offsets"], np.int64))
        outline, numbers = shipping.outline(model), shipping.packed_numbers(model)
        whole = [self._whole(model, outline, member) for member in self._members[: len(cuts)]]
        return [
            Share(whole[i], numbers, kind, data[i], a, b, places, self._stretches(parts, a, b))
            for i, (a, b) in enumerate(cuts)
        ]

    def _whole(self, model: Mixture, outline: object, member: _Member) -> tuple[str, bytes] | None:
        """The model for a worker that knows another one."""
        if member.outline == outline:
            return None
        member.outline = outline
        return shipping.packed_model(model)

    def _stretches(self, parts: Sequence[Batch], first: int, stop: int) -> list[tuple[str, int]]:
        """The stretches of rows that a share has of each part."""
        found, at = [], 0
        for part in parts if self._lines else ():
            own = min(at + len(part), stop) - max(at, first)
            if own > 0:
                found.append((part.source, own))
            at += len(part)
        return found

    def _put_texts(self, texts: Sequence[Sequence[bytes]], n: int, outputs: list[Any]) -> dict[str, Place]:
        """Lay out the board with texts; return where things lie."""
        blocks = [_block(own) for own in texts if len(own)]
        size = sum(len(data) for data, *_ in blocks)
        inputs: list[Any] = [("text", np.uint8, size), ("starts", np.int64, n), ("ends", np.int64, n)]
        places = self._board.laid_out([*outputs, *inputs])
        text = self._board.array(places["text"], np.uint8)
        starts, ends = (self._board.array(places[name], np.int64) for name in ("starts", "ends"))
        at = row = 0
        for data, first, last in blocks:
            text[at : at + len(data)] = np.frombuffer(data, np.uint8)
            starts[row : row + len(first)], ends[row : row + len(first)] = first + at, last + at
            at += len(data)
            row += len(first)
        return places

    def _scored(
        self, parts: Sequence[Batch], shares: Sequence[Share], answers: Sequence[Answer], k: int
    ) -> list[Scored]:
        """The scores of each part's records: copies, since the board's room is for the next mini-batch."""
        places = shares[0].places
        density = self._board.array(places["density"], np.float64).copy()
        n = len(density)
        responsibilities = np.empty((n, 0))
        if self._numbers:
            responsibilities = self._board.array(places["shares"], np.float64).reshape(n, k).copy()
        stretches = iter([line for _, lines in answers for line in lines])
        done, at = [], 0
        for part in parts:
            stop = at + len(part)
            lines = None
            if self._lines:
                n_own = sum(max(at, share.first) < min(stop, share.stop) for share in shares)
                lines = b"".join(next(stretches) for _ in range(n_own))
            done.append(Scored(part.source, part.offsets, responsibilities[at:stop], density[at:stop], lines))
            at = stop
        return done


def _block(texts: Sequence[bytes]) -> tuple[Any, NDArray[np.int64], NDArray[np.int64]]:
    """Texts as one block of bytes, and where each begins and ends in it."""
    if isinstance(texts, Lines):
        begin = texts.starts[0]
        return memoryview(texts.data)[begin : texts.ends[-1]], texts.starts - begin, texts.ends - begin
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    return b"".join(texts), np.concatenate([[0], ends[:-1]]), ends


def _stream(rows: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return sink.getvalue()
