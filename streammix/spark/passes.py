"""Passes of executors over a DataFrame, and what the driver makes of their answers."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial as bound
from typing import Any

import pyarrow as pa

import streammix
from streammix import partial, shipping
from streammix.errors import ConfigError, RecordError
from streammix.inference import MOST_RECORDS
from streammix.mixture import Mixture
from streammix.spark import tasks
from streammix.statistics import LONGEST_RECORD, Partial, Refused

__all__ = [
    "check_arguments",
    "columns_in_use",
    "expect_all",
    "in_arrow",
    "in_blocks",
    "learn_first",
    "numbered",
    "statistics",
]

DataFrame = Any
RDD = Any
Task = Callable[[tasks.Batches], tasks.Batches]


def check_arguments(df: Any, model: Any, fan_in: int | None = None, on_driver: bool = True) -> None:
    """Refuse what is no mixture, no fan-in, or no DataFrame, `on_driver` where this process learns from all rows."""
    if not isinstance(model, Mixture):
        raise ConfigError(f"model must be a Mixture, not {type(model).__name__}")
    partial.check_divisible(model)
    if on_driver:
        partial.check_timeless(model)
    if fan_in is not None and (isinstance(fan_in, bool) or not isinstance(fan_in, int) or fan_in < 2):
        raise ConfigError(f"fan_in must be a whole number, 2 or more, or None, not {fan_in!r}")
    from pyspark.sql import DataFrame as AnyFrame
    from pyspark.sql.classic.dataframe import DataFrame as ClassicFrame

    if not isinstance(df, ClassicFrame if on_driver else AnyFrame):
        wanted = "a DataFrame of a classic Spark session, not of Spark Connect" if on_driver else "a Spark DataFrame"
        raise ConfigError(f"df must be {wanted}; got {type(df).__module__}.{type(df).__name__}")


def columns_in_use(df: DataFrame, model: Mixture, keep: Sequence[str] = ()) -> DataFrame:
    """Return a DataFrame without the columns that neither the model reads nor anybody wants to keep."""
    declaration, schema = model._learner.declaration, model._learner.schema
    if schema is None or (declaration.infers and not model.is_warm):
        return df
    wanted = {*schema.names, *keep}
    names = [name for name in df.columns if name in wanted]
    if not set(names) & set(schema.names):
        return df  # no row can be read: each is refused as it is
    return df.select(*("`" + name.replace("`", "``") + "`" for name in names))


def numbered(df: DataFrame) -> DataFrame:
    """Return a DataFrame whose columns are named by their numbers: Spark takes a dot in a name for a struct's field."""
    return df.toDF(*map(str, range(len(df.columns))))


def in_arrow(df: DataFrame, task: Task, columns: Any) -> DataFrame:
    """Return the columns that a task makes of each partition's batches; `mapInArrow`, whatever the names of columns."""
    return numbered(df).mapInArrow(bound(tasks.with_names, names=list(df.columns), task=task), columns)


def in_blocks(df: DataFrame) -> tuple[RDD, pa.Schema]:
    """Return the rows of each partition as blocks of Arrow's bytes, and their schema.

    The JVM makes them, and nothing else has to read the rows: a row of Spark's that a Python process has made comes to
    the next one as text, and a pass over a DataFrame is a query that is planned and compiled each time.
    """
    import pyspark
    from pyspark.serializers import NoOpSerializer
    from pyspark.sql.pandas.types import to_arrow_schema

    spark, query = df.sparkSession, df._jdf
    rows = query.toArrowBatchRdd(query.queryExecution().executedPlan()).toJavaRDD()
    blocks: RDD = pyspark.RDD(rows, spark.sparkContext, NoOpSerializer())
    is_large = spark.conf.get("spark.sql.execution.arrow.useLargeVarTypes", "false") == "true"
    timezone = spark.conf.get("spark.sql.session.timeZone")
    return blocks, to_arrow_schema(df.schema, timezone=timezone, prefers_large_types=is_large)


def expect_all(run: Callable[[tuple[str, bytes], bool], RDD], model: Mixture, fan_in: int | None = None) -> Partial:
    """Return the statistics of all rows; where there are new levels, the model gets to know them first.

    Parameters
    ----------
    run
        From a packed model, and whether levels that are still unknown count as "(other)", to the answers of all
        partitions, as `streammix.spark.tasks` gives them.
    model
        The model; it learns levels, and nothing else.
    fan_in
        How many partitions' statistics an executor merges before the driver does.
    """
    found = statistics(run(shipping.packed_model(model), False), model, fan_in)
    if partial.admit(model, found):
        found = statistics(run(shipping.packed_model(model), True), model, fan_in)
    return found


def statistics(answers: RDD, model: Mixture, fan_in: int | None) -> Partial:
    """Return the merged statistics that executors have taken; of nothing, where they have none."""
    if fan_in is not None and answers.getNumPartitions() > fan_in:
        groups = -(-answers.getNumPartitions() // fan_in)
        apart = answers.mapPartitions(bound(tasks.grouped, fan_in=fan_in)).partitionBy(groups, tasks.own_group)
        answers = apart.mapPartitions(bound(tasks.merge_answers, version=streammix.__version__))
    found = [one for _, data in answers.collect() for one in shipping.unpacked(data)]
    return partial.merge(found) if found else partial.expect(model, [])


def learn_first(df: DataFrame, model: Mixture) -> tuple[dict[int, int], list[Refused]]:
    """Let a model gather the records of its warm-up, in the order of partitions.

    Returns
    -------
    tuple
        How many rows of each partition were taken; those that were refused.
    """
    taken: dict[int, int] = {}
    refused: list[Refused] = []
    limit = model._learner.declaration.warm_up or MOST_RECORDS
    is_cut = True
    while is_cut and not model.is_warm:
        run = bound(tasks.first_rows, version=streammix.__version__, taken=dict(taken), limit=limit)
        is_cut = False
        for row in in_arrow(df, run, tasks.FIRST).toLocalIterator():
            table, first = pa.ipc.open_stream(row["rows"]).read_all(), taken.get(row["place"], 0)
            learnt, own = _gather(model, table, row["place"], first)
            taken[row["place"]] = first + learnt
            refused += own
            is_cut = row["is_cut"]
            if model.is_warm or is_cut:  # the next partition's turn comes after the rest of this one
                break
    return taken, refused


def _gather(model: Mixture, table: pa.Table, place: int, first: int) -> tuple[int, list[Refused]]:
    """Let records wait until the model starts; (how many rows were looked at, those that were refused)."""
    at, refused = 0, []
    while at < table.num_rows and not model.is_warm:
        some = table.slice(at, model._learner.missing_records())
        for row, error in model.ingest(some).rejected:
            refused.append(_refusal(place, first + at + row, error, some.slice(row, 1).to_pylist()[0]))
        at += some.num_rows
    return at, refused


def _refusal(place: int, row: int, error: RecordError, record: Mapping[str, Any]) -> Refused:
    return Refused(place, row, str(error), json.dumps(record, default=str)[:LONGEST_RECORD])
