"""A small model for each key."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial as bound
from typing import Any

import numpy as np
import pyarrow as pa

from streammix import shipping
from streammix.checkpoint import from_bytes
from streammix.errors import ConfigError
from streammix.mixture import Mixture
from streammix.spark import tasks
from streammix.spark.passes import check_arguments, numbered

__all__ = ["learn_by_key"]

DataFrame = Any


def learn_by_key(df: DataFrame, key: str, model: Mixture) -> DataFrame:
    """Return a streaming DataFrame whose rows are scored, then learnt, by a model of their key's own.

    Each key has a copy of `model`, as it is now, that moves with the key's records alone and lives in Spark's state
    store: the query's checkpoint holds it, and each record counts once. A key's state is a checkpoint's bytes, some
    10 kB and more with each component; all keys of a task's go through one process. Records of a key come in the order
    in which Spark hands them over, which within a micro-batch is any.

    Parameters
    ----------
    df
        A streaming DataFrame.
    key
        The column whose values have a model each.
    model
        What each key starts from: a new mixture with a short `warm_up`, or one that has learnt from all.

    Returns
    -------
    pyspark.sql.DataFrame
        The same rows with ``component``, ``responsibilities`` and ``score`` by the model before them, as of
        `streammix.spark.score`, and ``n_seen``, how many records of the key's were learnt before.

    Raises
    ------
    ConfigError
        If there is no such column, or a column of those names is there already.
    """
    check_arguments(df, model, on_driver=False)
    if key not in df.columns:
        raise ConfigError(f"the DataFrame has no column {key!r}: {', '.join(map(repr, df.columns))}")
    for name in [*(name for name, _ in tasks.SCORES), "n_seen"]:
        if name in df.columns:
            raise ConfigError(f"the DataFrame has a column {name!r} already")
    from pyspark.sql.types import ArrayType, DoubleType, IntegerType, LongType, StructField, StructType

    kinds = [IntegerType(), ArrayType(DoubleType()), DoubleType()]
    added = [StructField(name, kind) for (name, _), kind in zip(tasks.SCORES, kinds, strict=True)]
    output = StructType([*df.schema.fields, *added, StructField("n_seen", LongType())])
    version, data = shipping.packed_model(model)
    names = list(df.columns)
    task = bound(_learn_group, version=version, model=data, key=key, names=names)
    groups = numbered(df).groupBy(str(names.index(key)))
    return groups.applyInPandasWithState(task, output, "model binary", "append", "NoTimeout")


def _learn_group(
    _: Any, frames: Iterable[Any], state: Any, version: str, model: bytes, key: str, names: Sequence[str]
) -> Iterator[Any]:
    """Score and learn a key's rows; its model is the state."""
    mixture = shipping.unpacked_model(version, model)
    if state.exists:
        mixture = Mixture._restore(from_bytes(bytes(state.get[0])).snapshot)
    for rows in frames:
        frame = rows.set_axis(names, axis=1)
        before = mixture.n_seen
        table = pa.Table.from_pandas(frame.drop(columns=key), preserve_index=False)
        done = mixture.ingest(table)
        n = len(frame)
        components, scores = np.full(n, np.nan), np.full(n, np.nan)
        components[done.rows], scores[done.rows] = done.responsibilities.argmax(axis=1), 0.0 - done.log_density
        shares: list[Any] = [None] * n
        for row, own in zip(done.rows.tolist(), done.responsibilities.tolist(), strict=True):
            shares[row] = own
        learnt = np.zeros(n, dtype=np.int64)
        learnt[done.rows] = 1
        seen = before + np.cumsum(learnt) - learnt
        components_or_none = [None if np.isnan(value) else int(value) for value in components]
        yield frame.assign(component=components_or_none, responsibilities=shares, score=scores, n_seen=seen)
    state.update((shipping.packed_model(mixture)[1],))
