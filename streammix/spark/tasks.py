"""What runs on executors: each task reads a model's bytes, and answers in Arrow.

Functions are found by their names in the executor's own streammix, which refuses a model of another version.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from streammix import shipping
from streammix.partial import Partial, expect, merge

__all__ = [
    "ANSWER", "FIRST", "SCORES", "Answer", "Batches", "Blocks", "count_rows", "expect_blocks", "expect_rows",
    "first_rows", "grouped", "merge_answers", "own_group", "pick_rows", "score_rows", "with_names",
]  # fmt: skip

Batches = Iterator[pa.RecordBatch]
Blocks = Iterator[bytes]  # of rows: what Arrow makes of a batch of them, without its schema
Answer = tuple[int, bytes]

BLOCK = 1 << 16  # rows whose statistics are taken at a time

#: The statistics of a partition: where it stands, and Arrow's bytes of `streammix.shipping.SCHEMA`.
ANSWER = "place int, statistics binary"
#: The first rows of a partition: how many, whether there may be more, and the rows as Arrow's bytes.
FIRST = "place int, n bigint, is_cut boolean, rows binary"
SCORES = [("component", pa.int32()), ("responsibilities", pa.list_(pa.float64())), ("score", pa.float64())]


def with_names(batches: Batches, names: Sequence[str], task: Callable[[Batches], Batches]) -> Batches:
    """Hand batches to a task with the names that their columns have outside."""
    return task(pa.RecordBatch.from_arrays(batch.columns, names=names) for batch in batches)


def expect_rows(
    batches: Batches, version: str, model: bytes, taken: Mapping[int, int], closed: bool
) -> Iterator[pa.RecordBatch]:
    """Yield one row: the partial statistics of a partition but for its first rows, of which so many are taken."""
    mixture, place = shipping.unpacked_model(version, model), _partition()
    row, total = taken.get(place, 0), None
    for table in _blocks(_without_first(batches, row), BLOCK):
        total = _added(total, expect(mixture, table, place, row, closed))
        row += table.num_rows
    if total is not None:
        yield _row(ANSWER, {"place": total.place, "statistics": shipping.packed([total])})


def expect_blocks(blocks: Blocks, schema: pa.Schema, version: str, model: bytes, closed: bool) -> Iterator[Answer]:
    """Yield the partial statistics of a partition of blocks."""
    mixture, place, row, total = shipping.unpacked_model(version, model), _partition(), 0, None
    for table in _tables(blocks, schema):
        total = _added(total, expect(mixture, table, place, row, closed))
        row += table.num_rows
    if total is not None:
        yield total.place, shipping.packed([total])


def grouped(answers: Iterator[Answer], fan_in: int) -> Iterator[tuple[int, bytes]]:
    """Yield answers beside the number of the group that merges them."""
    for place, statistics in answers:
        yield place // fan_in, statistics


def own_group(group: int) -> int:
    """Return the partition of a group."""
    return group


def merge_answers(answers: Iterator[tuple[int, bytes]], version: str) -> Iterator[Answer]:
    """Yield the merged statistics of a group."""
    shipping.check_version(version)
    found = [partial for _, statistics in answers for partial in shipping.unpacked(statistics)]
    if found:
        total = merge(found)
        yield total.place, shipping.packed([total])


def first_rows(batches: Batches, version: str, taken: Mapping[int, int], limit: int) -> Iterator[pa.RecordBatch]:
    """Yield one row: a partition's first rows after those that are taken, `limit` at most."""
    shipping.check_version(version)
    place = _partition()
    for table in _blocks(_without_first(batches, taken.get(place, 0)), limit + 1):
        some = table.slice(0, limit)
        columns = {"place": place, "n": some.num_rows, "is_cut": table.num_rows > limit, "rows": _packed(some)}
        yield _row(FIRST, columns)
        return


def count_rows(blocks: Blocks, schema: pa.Schema, version: str) -> Iterator[tuple[int, int]]:
    """Yield a partition's number, and how many rows it has."""
    shipping.check_version(version)
    yield _partition(), sum(table.num_rows for table in _tables(blocks, schema))


def pick_rows(blocks: Blocks, schema: pa.Schema, version: str, wanted: Mapping[int, Sequence[int]]) -> Iterator[Answer]:
    """Yield some rows of a partition, packed, from each table that has some of them."""
    shipping.check_version(version)
    place, first = _partition(), 0
    own = np.array(wanted.get(place, ()), dtype=np.int64)
    for table in _tables(blocks, schema) if len(own) else ():
        here = own[(first <= own) & (own < first + table.num_rows)] - first
        if len(here):
            yield place, _packed(table.take(here))
        first += table.num_rows


def score_rows(batches: Batches, version: str, model: bytes) -> Iterator[pa.RecordBatch]:
    """Yield batches with what the model says of each row; nulls where a row is refused."""
    mixture = shipping.unpacked_model(version, model)
    learner = mixture._learner
    assert learner.running is not None
    for batch in batches:
        n, k = batch.num_rows, mixture.n_components
        encoded, kept, _ = learner.encode(mixture._frame(batch))
        responsibilities, log_density = learner.running.evaluate(encoded.table)
        places = np.full(n, -1)
        places[list(kept)] = np.arange(len(kept))
        take = pa.array(places, mask=places < 0)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(responsibilities.ravel()), k).cast(SCORES[1][1])
        found = [pa.array(responsibilities.argmax(axis=1).astype(np.int32)), lists, pa.array(0.0 - log_density)]
        columns = [*batch.columns, *(column.take(take) for column in found)]
        yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, *(name for name, _ in SCORES)])


def _partition() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else int(context.partitionId())


def _added(total: Partial | None, more: Partial) -> Partial:
    return more if total is None else merge([total, more])


def _without_first(batches: Batches, n: int) -> Batches:
    for batch in batches:
        if n < batch.num_rows:
            yield batch.slice(n)
        n = max(n - batch.num_rows, 0)


def _tables(blocks: Blocks, schema: pa.Schema) -> Iterator[pa.Table]:
    return _blocks((pa.ipc.read_record_batch(pa.py_buffer(block), schema) for block in blocks), BLOCK)


def _blocks(batches: Batches, size: int) -> Iterator[pa.Table]:
    """Batches in tables of at least so many rows, but for the last; batches of a partition stay in order."""
    waiting: list[pa.RecordBatch] = []
    n = 0
    for batch in batches:
        waiting.append(batch)
        n += batch.num_rows
        if n >= size:
            yield pa.Table.from_batches(waiting)
            waiting, n = [], 0
    if n:
        yield pa.Table.from_batches(waiting)


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


_TYPES = {"int": pa.int32(), "bigint": pa.int64(), "boolean": pa.bool_(), "binary": pa.binary()}


def _row(columns: str, values: Mapping[str, object]) -> pa.RecordBatch:
    pairs = [column.split() for column in columns.split(", ")]
    return pa.RecordBatch.from_arrays(
        [pa.array([values[name]], _TYPES[kind]) for name, kind in pairs], names=[name for name, _ in pairs]
    )
