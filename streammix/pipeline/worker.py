"""What a worker process does: decode the records of a share, take their statistics, score them, write them as lines."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pyarrow as pa

from streammix import partial, shipping
from streammix.core.engine import CHUNK
from streammix.mixture import Mixture
from streammix.pipeline.board import Board, Place
from streammix.pipeline.decode import Decoder, JsonDecoder, without
from streammix.pipeline.flow import Batch, Lines, Scored
from streammix.pipeline.light import leave_out_pandas
from streammix.pipeline.sinks.ndjson import to_lines

__all__ = ["Answer", "Share", "work"]

#: The statistics of the chunks, packed, and the lines of each stretch, where they are wanted.
Answer = tuple[bytes, list[bytes]]


@dataclass(frozen=True)
class Share:
    """A stretch of a mini-batch, on its way to a worker.

    Parameters
    ----------
    whole
        (version, bytes) of the model as `shipping.packed_model` has them, where the worker may know another one.
    arrays
        The numbers of its statistics.
    kind, data
        "texts": on the board, which has their bytes ("text"), and where each begins and ends ("starts", "ends");
        "arrow": a stream's bytes; "records".
    first, stop
        The rows, counted in the mini-batch.
    places
        Where things lie on the board.
    stretches
        The sources of its rows, and how many rows in turn are from each, where lines are wanted.
    """

    whole: tuple[str, bytes] | None
    arrays: bytes
    kind: str
    data: Any
    first: int
    stop: int
    places: dict[str, Place]
    stretches: Sequence[tuple[str, int]]


def work(link: Connection, board: Board, ignore: Sequence[str]) -> None:
    """Answer shares until the run has ended, or been killed.

    Parameters
    ----------
    link
        Shares come here, and answers go back: an `Answer`, None where something is out of the ordinary, or an error.
    board
        Where texts lie and scores go.
    ignore
        Fields of the records that are kept from the model.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run itself is asked to stop
    leave_out_pandas()
    worker = _Worker(board, without(set(ignore), JsonDecoder()))
    try:
        while True:
            share = link.recv()
            try:
                answer: Answer | Exception | None = worker.answer(share)
            except Exception as error:
                answer = error
            link.send(answer)
    except (EOFError, OSError):
        os._exit(0)


class _Worker:
    def __init__(self, board: Board, decode: Decoder) -> None:
        self._board = board
        self._decode = decode
        self._model: Mixture | None = None

    def answer(self, share: Share) -> Answer | None:
        """Take the statistics of a share, a chunk at a time; None where something is out of the ordinary."""
        if share.whole is not None:
            self._model = shipping.unpacked_model(*share.whole)
        assert self._model is not None
        model = self._model
        shipping.take_numbers(model, share.arrays)
        records = self._records(share)
        if records is None:
            return None
        is_table, partials = isinstance(records, pa.Table), []
        density = self._board.array(share.places["density"], np.float64)[share.first : share.stop]
        shares = self._board.array(share.places["shares"], np.float64)
        shares = shares.reshape(-1, model.n_components)[share.first : share.stop]
        for at in range(0, len(records), CHUNK):
            chunk = records.slice(at, CHUNK) if is_table else records[at : at + CHUNK]
            if is_table and model._learner.has_new_fields(chunk):
                return None
            own = slice(at, at + len(chunk))
            found = partial.expect_scored(model, chunk, (share.first + at) // CHUNK, out=(shares[own], density[own]))
            if found.n != len(chunk):
                return None
            partials.append(found)
        lines, at = [], 0
        for source, n in share.stretches:
            offsets = self._board.array(share.places["offsets"], np.int64)[share.first + at : share.first + at + n]
            lines.append(to_lines(Scored(source, offsets, shares[at : at + n], density[at : at + n])))
            at += n
        return shipping.packed(partials), lines

    def _records(self, share: Share) -> Any:
        """A share's records, decoded; None where one of them can't be."""
        if share.kind == "arrow":
            batch = pa.ipc.open_stream(share.data).read_all().combine_chunks().to_batches()[0]
            decoded = self._decode(Batch("", np.arange(len(batch)), batch))
            return None if decoded.refused else pa.Table.from_batches([decoded.records])
        if share.kind == "records":
            decoded = self._decode(Batch("", np.arange(len(share.data)), share.data))
        else:
            decoded = self._decode(Batch("", np.arange(share.stop - share.first), texts=self._texts(share)))
        return None if decoded.refused or len(decoded) < share.stop - share.first else decoded.records

    def _texts(self, share: Share) -> Lines:
        starts, ends = (
            self._board.array(share.places[name], np.int64)[share.first : share.stop] for name in ("starts", "ends")
        )
        begin, text = starts[0], self._board.array(share.places["text"], np.uint8)
        return Lines(text[begin : ends[-1]].tobytes(), starts - begin, ends - begin)
