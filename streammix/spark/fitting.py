"""Batch EM over a DataFrame of any size: a job an iteration."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial as bound
from typing import Any

import numpy as np
import pyarrow as pa

import streammix
from streammix import em, partial
from streammix.batch import Trace, check_iterations, settle_fit
from streammix.errors import RecordError
from streammix.inference import MOST_RECORDS
from streammix.mixture import Mixture
from streammix.spark import tasks
from streammix.spark.passes import check_arguments, columns_in_use, expect_all, in_blocks
from streammix.statistics import Partial, Refused

__all__ = ["Fitted", "fit"]

log = logging.getLogger("streammix")

DataFrame = Any
RDD = Any
Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Fitted(Trace):
    """What batch EM went through, and what it left out.

    Parameters
    ----------
    n_refused
        How many rows were refused.
    refused
        Which, and why.
    """

    n_refused: int = 0
    refused: list[Refused] = field(default_factory=list)


def fit(
    df: DataFrame,
    model: Mixture,
    max_iter: int = 200,
    tol: float = 1e-8,
    *,
    fan_in: int | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a mixture to a DataFrame by batch EM, from its current parameters.

    A model that is warming up starts from a random sample, of 4,000 rows where `warm_up` is left out; the sample is
    the model's `seed`'s. The rows are kept as Arrow's bytes while EM goes over them, in memory as far as it reaches,
    else on disk.

    Parameters
    ----------
    df
        Rows whose columns are the model's fields; others are ignored.
    model
        The mixture; it is changed.
    max_iter
        Iterations at the most: a Spark job each.
    tol
        EM has converged when an iteration gains less than this, in nats a record.
    fan_in
        As in `learn_stream`.
    progress
        Called after each iteration with its number and log-likelihood.

    Returns
    -------
    Fitted
        As of `streammix.batch.fit`, and the rows that were refused.

    Raises
    ------
    RecordError
        If there are no records; the model is as before.
    """
    check_arguments(df, model, fan_in)
    check_iterations(max_iter, tol)
    from pyspark import StorageLevel

    before, (blocks, schema) = model._snapshot(), in_blocks(columns_in_use(df, model))
    blocks.persist(StorageLevel.MEMORY_AND_DISK_DESER)  # they are bytes already
    try:
        if not model.is_warm:
            _start(blocks, schema, model)
        return _climb(blocks, schema, model, max_iter, tol, fan_in, progress)
    except BaseException:
        model._adopt(before)
        raise
    finally:
        blocks.unpersist()


def _start(blocks: RDD, schema: pa.Schema, model: Mixture) -> None:
    """Start a model from a random sample of the rows."""
    version = streammix.__version__
    found = sorted(blocks.mapPartitions(bound(tasks.count_rows, schema=schema, version=version)).collect())
    total = sum(n for _, n in found)
    wanted = min(model._learner.declaration.warm_up or MOST_RECORDS, total)
    chosen = np.sort(np.random.default_rng(model.seed).choice(total, wanted, replace=False))
    places, first = {}, 0
    for place, n in found:
        places[place] = (chosen[(first <= chosen) & (chosen < first + n)] - first).tolist()
        first += n
    task = bound(tasks.pick_rows, schema=schema, version=version, wanted=places)
    records, errors, learner = [], list[RecordError](), model._learner
    for _, rows in sorted(blocks.mapPartitions(task).collect(), key=lambda picked: picked[0]):
        for record in pa.ipc.open_stream(rows).read_all().to_pylist():
            try:
                records.append(learner.plain(record))
            except RecordError as error:
                errors.append(error)
    if not records:
        raise _nothing(len(errors), str(errors[0]) if errors else "")
    learner.start(records, [1.0] * len(records))
    model._sync()


def _climb(
    blocks: RDD,
    schema: pa.Schema,
    model: Mixture,
    max_iter: int,
    tol: float,
    fan_in: int | None,
    progress: Progress | None,
) -> Fitted:
    def run(model_bytes: tuple[str, bytes], closed: bool) -> RDD:
        version, data = model_bytes
        task = bound(tasks.expect_blocks, schema=schema, version=version, model=data, closed=closed)
        return blocks.mapPartitions(task)

    learner, history, converged = model._learner, list[float](), False
    found: Partial | None = None
    for number in range(1, max_iter + 1):
        found = expect_all(run, model, fan_in)
        if not found.n:
            raise _nothing(found.n_refused, found.refused[0].reason if found.refused else "")
        history.append(found.log_likelihood)
        if progress is not None:
            progress(number, found.log_likelihood)
        log.info("iteration %d: log-likelihood %.6g, %d records", number, found.log_likelihood, found.n)
        if len(history) > 1 and history[-1] - history[-2] < tol * found.n:
            converged = True
            break
        acc, totals = partial.accumulator(model, found)
        running = learner.running
        assert running is not None
        em.iterate(running.engine, running.state, acc, totals)
    assert found is not None
    settle_fit(model, found.n)
    return Fitted(history, found.masses, converged, found.n_refused, list(found.refused))


def _nothing(n_refused: int, reason: str) -> RecordError:
    if not n_refused:
        return RecordError("there are no records to fit")
    return RecordError(f"there are no records to fit: {n_refused} rows are refused, the first: {reason}")
