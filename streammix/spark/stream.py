"""Stepwise EM over Structured Streaming: a micro-batch is a mini-batch, and moves the model once."""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial as bound
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from streammix import partial
from streammix.declaration import to_json
from streammix.directory import write_file
from streammix.errors import CheckpointError, ConfigError
from streammix.mixture import Mixture
from streammix.spark import tasks
from streammix.spark.passes import check_arguments, columns_in_use, expect_all, in_arrow, learn_first
from streammix.statistics import Refused
from streammix.store import CheckpointStore

__all__ = ["DEAD_LETTERS", "learn_stream"]

log = logging.getLogger("streammix")

DataFrame = Any

DEAD_LETTERS = "_dead-letters"  # in the checkpoint directory: a Parquet file a batch that has some
_SPARKS = "_spark"  # Spark's own checkpoint
_LETTER = pa.schema(
    [
        ("batch", pa.int64()),
        ("partition", pa.int32()),
        ("row", pa.int64()),
        ("reason", pa.string()),
        ("record", pa.string()),
    ]
)


def learn_stream(
    df: DataFrame,
    model: Mixture,
    checkpoint_directory: str | os.PathLike[str],
    *,
    keep: int = 5,
    fan_in: int | None = None,
    keys: Sequence[str] = (),
    spark_checkpoint: str | None = None,
    trigger: Mapping[str, Any] | None = None,
) -> Any:
    """Learn a stream of Spark's: each micro-batch is a mini-batch, and counts once, whatever is killed.

    Executors take the expected statistics of their partitions at the model's parameters; the driver merges them, makes
    the step, and writes a checkpoint with the batch's number before Spark hears that the batch is done. A batch that
    Spark hands over again is skipped. The first records start the model on the driver, in the order of partitions.

    Parameters
    ----------
    df
        A streaming DataFrame. Its columns are the model's fields; others are ignored.
    model
        What learns; it is changed with each batch. Where the directory holds a state, the model goes on from it.
    checkpoint_directory
        On the driver's file system. It holds the model's checkpoints (as of `CheckpointStore`), the dead letters and,
        where `spark_checkpoint` is left out, Spark's own checkpoint.
    keep
        How many checkpoints are kept.
    fan_in
        So many partitions' statistics are merged by an executor before the driver merges the rest: for thousands of
        partitions, or large statistics. Left out, the driver merges all.
    keys
        Columns that the model does not read, but that dead letters should show.
    spark_checkpoint
        Where Spark keeps its own checkpoint, where not in `checkpoint_directory`: on a shared file system, say.
    trigger
        What `DataStreamWriter.trigger` takes, such as ``{"availableNow": True}``.

    Returns
    -------
    pyspark.sql.streaming.StreamingQuery
        The query, running.

    Raises
    ------
    ConfigError
        If the directory holds the state of a model that was declared otherwise, or of another stream; if a key is no
        column.
    CheckpointError
        If the directory can't be used, or its state is of a newer format.
    """
    check_arguments(df, model, fan_in)
    _check_keys(df, keys)
    directory = Path(checkpoint_directory)
    state = _State(model, directory, keep)
    step = _Step(state, fan_in, tuple(keys))
    place = (directory.absolute() / _SPARKS).as_uri() if spark_checkpoint is None else spark_checkpoint
    writer = df.writeStream.foreachBatch(step).option("checkpointLocation", place)
    query = (writer if trigger is None else writer.trigger(**trigger)).start()
    state.query = str(query.id)
    state.is_known.set()
    return query


class _State:
    """A model's state on the driver's disk, and up to which batch it has come."""

    def __init__(self, model: Mixture, directory: Path, keep: int) -> None:
        self.model = model
        self.directory = directory
        self.query: str | None = None
        self.is_known = Event()
        self._keep = keep
        self._source: dict[str, Any] = {}
        self._records = self._rejected = 0
        with CheckpointStore(directory, keep) as store:
            found = store.latest()
        self._newest = None if found is None else found.path
        if found is None:
            return
        declared, known = to_json(model._learner.declaration, model.seed), found.declaration
        for name, value in known.items():
            if json.loads(json.dumps(declared[name])) != value:
                raise ConfigError(f"{directory}: its model has {name}={value!r}, not {declared[name]!r}")
        self._source = found.positions.get("source", {})
        if self._source.get("kind") != "spark":
            raise ConfigError(f"{directory}: its model has learnt another stream; load it, and give a new directory")
        self._records, self._rejected = found.positions["records"], found.positions["rejected"]
        model._adopt(found.model._snapshot())

    def is_done(self, batch: int) -> bool:
        """Tell whether a batch is in the state; refuse one that does not come next."""
        self.is_known.wait()
        last: int = self._source.get("batch", -1)
        known = self._source.get("query", self.query)
        if known != self.query:
            raise CheckpointError(
                f"{self.directory}: the state is of query {known}, but Spark has begun another one, {self.query}, "
                "which reads the stream from its beginning; give a new directory, or Spark its own checkpoint back"
            )
        if batch > last + 1:
            raise CheckpointError(
                f"{self.directory}: Spark goes on with batch {batch}, but the state has batches up to {last} only: "
                "the records between would be lost"
            )
        return batch <= last

    def write(self, batch: int, records: int, refused: Sequence[Refused], n_refused: int) -> None:
        """Make the model, and what a batch has left behind, durable."""
        with CheckpointStore(self.directory, self._keep) as store:
            if store.newest() != self._newest:
                raise CheckpointError(f"{self.directory}: another writer has written to it; this query stops")
            self._records += records
            self._rejected += n_refused
            self._source = {"kind": "spark", "query": self.query, "batch": batch}
            if refused:
                _write_letters(self.directory / DEAD_LETTERS, batch, refused)
            positions = {"source": self._source, "records": self._records, "rejected": self._rejected}
            self._newest = store.write(self.model, positions=positions)


class _Step:
    """What `foreachBatch` calls."""

    def __init__(self, state: _State, fan_in: int | None, keys: tuple[str, ...]) -> None:
        self._state = state
        self._fan_in = fan_in
        self._keys = keys

    def __call__(self, batch: DataFrame, number: int) -> None:
        """Learn a micro-batch, once; where that fails, the model is as before."""
        model, started = self._state.model, time.monotonic()
        if self._state.is_done(number):
            log.info("batch %d is in the state already", number)
            return
        before, is_first = model._snapshot(), not model.is_warm
        try:
            if is_first:
                batch = batch.persist()  # its rows must not change places between the passes
            refused, n_refused = self._learn(batch)
            learnt = model.n_seen - before.n_seen
            if refused:
                log.warning("batch %d: %d records are refused, the first: %s", number, n_refused, refused[0].reason)
            self._state.write(number, learnt + n_refused, refused, n_refused)
        except BaseException:
            model._adopt(before)
            raise
        finally:
            if is_first:
                batch.unpersist()
        log.info("batch %d: %d records in %.2f s", number, learnt, time.monotonic() - started)

    def _learn(self, batch: DataFrame) -> tuple[list[Refused], int]:
        """Move the model by a micro-batch; (records that are refused, how many they are)."""
        model, rows = self._state.model, columns_in_use(batch, self._state.model, self._keys)
        taken, refused = learn_first(rows, model) if not model.is_warm else ({}, [])
        if not model.is_warm:
            return refused, len(refused)
        partial.settle(model)
        rows = columns_in_use(batch, model, self._keys)

        def run(packed: tuple[str, bytes], closed: bool) -> Any:
            version, data = packed
            task = bound(tasks.expect_rows, version=version, model=data, taken=taken, closed=closed)
            return in_arrow(rows, task, tasks.ANSWER).rdd

        found = expect_all(run, model, self._fan_in)
        partial.step(model, found)
        return [*refused, *found.refused], len(refused) + found.n_refused


def _check_keys(df: DataFrame, keys: Sequence[str]) -> None:
    if isinstance(keys, str):
        raise ConfigError(f"keys must be a list of columns, not {keys!r}")
    for key in keys:
        if key not in df.columns:
            raise ConfigError(f"keys: the DataFrame has no column {key!r}: {', '.join(map(repr, df.columns))}")


def _write_letters(directory: Path, batch: int, refused: Sequence[Refused]) -> None:
    """Write a batch's refused records: the same file when it is written again."""
    directory.mkdir(exist_ok=True)
    rows = [[batch, refusal.place, refusal.row, refusal.reason, refusal.record] for refusal in refused]
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _LETTER, strict=True)]
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_arrays(columns, schema=_LETTER), sink)
    write_file(directory / f"batch-{batch:010d}.parquet", sink.getvalue().to_pybytes())
