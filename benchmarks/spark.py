"""``python -m benchmarks.spark``: what a pass on Spark costs, against Spark's own GaussianMixture and in its parts.

Needs ``streammix[spark]`` and Java. The numbers of docs/growth.md are a run's. Seconds are wall seconds, and CPU
seconds of everything that the session has started: the JVM, and Python beside it; these say more on a busy machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import streammix as sm
from benchmarks import data
from streammix import partial, shipping
from streammix.spark import fit, learn_stream, session, tasks
from streammix.spark.passes import in_blocks, statistics

OPTIONS = {"spark_ui_enabled": "false", "spark_driver_memory": "2g", "spark_sql_shuffle_partitions": "4"}
SHAPES = [(5, 10), (10, 20), (20, 50), (50, 50), (100, 100)]  # K, D


def seconds(call: Callable[[], Any], times: int = 3) -> float:
    """Return the least of a few wall times."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and all that come from it."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            numbers = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents[pid], used[pid] = int(numbers[1]), sum(map(int, numbers[11:15]))
    own, found = os.getpid(), 0
    for pid in used:
        at = pid
        while at not in (0, own):
            at = parents.get(at, 0)
        found += used[pid] if at == own else 0
    return found / os.sysconf("SC_CLK_TCK")


def both(call: Callable[[], Any], times: int = 3) -> tuple[float, float]:
    """Return the least of a few wall times, and of a few CPU times."""
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), cpu_seconds()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_seconds() - cpu)
    return min(walls), min(cpus)


def against_gaussian_mixture(
    spark: Any, n: int, iterations: int = 10, K: int = 5, D: int = 10, rounds: int = 2
) -> None:
    """Print the same iterations of both on one DataFrame, and log-likelihoods a record."""
    from pyspark.ml.clustering import GaussianMixture
    from pyspark.ml.feature import VectorAssembler

    rows = data.table(data.truth(D, K, n, distance=2.0).rows)
    names = tuple(rows.column_names)
    with tempfile.TemporaryDirectory() as directory:
        size = n // 20
        for i in range(20):  # a micro-batch each
            pq.write_table(rows.slice(i * size, size), Path(directory, f"{i:02d}.parquet"))
        df = spark.read.parquet(directory)
        vectors = VectorAssembler(inputCols=list(names), outputCol="features").transform(df).select("features").cache()
        vectors.count()
        gaussians = GaussianMixture(k=K, maxIter=iterations, tol=0.0, seed=1)
        cached = df.cache()
        cached.count()
        likelihoods: list[float] = []
        theirs, ours = [], []

        def fit_theirs() -> None:
            likelihoods.append(gaussians.fit(vectors).summary.logLikelihood / n)

        def fit_ours() -> float:
            fresh = sm.Mixture(K, fields={names: sm.MultivariateNormal()}, seed=1)
            return fit(cached, fresh, iterations, 0.0).log_likelihood[-1] / n

        reached = fit_ours()  # once, so that both are compiled
        fit_theirs()
        for _ in range(rounds):
            theirs.append(both(fit_theirs, 1))
            ours.append(both(fit_ours, 1))
        least = [[min(pair[i] for pair in side) for i in range(2)] for side in (theirs, ours)]
        stream = spark.readStream.schema(df.schema).option("maxFilesPerTrigger", 1).parquet(directory)
        online = sm.Mixture(K, fields={names: sm.MultivariateNormal()}, seed=1)
        with tempfile.TemporaryDirectory() as state:
            learn_stream(stream, online, state, trigger={"availableNow": True}).awaitTermination()
        print(
            f"{n:,} rows, K = {K}, D = {D}, {iterations} iterations, full covariances: wall, CPU seconds; nats a record"
        )
        print(f"  GaussianMixture   {least[0][0]:7.2f} {least[0][1]:7.2f}   {max(likelihoods):.4f}")
        print(f"  streammix fit     {least[1][0]:7.2f} {least[1][1]:7.2f}   {reached:.4f}")
        print(f"  {least[0][0] / least[1][0]:.1f} and {least[0][1] / least[1][1]:.1f} times as fast; ", end="")
        print(f"one pass of learn_stream: {np.mean(online.log_density_many(rows).to_numpy()):.4f}", flush=True)


def passes(spark: Any, cores: int, n: int, K: int = 5, D: int = 10) -> None:
    """Print rows a second of a pass over packed rows, and over Spark's own columns."""
    from pyspark import StorageLevel

    drawn = data.truth(D, K, min(n, 100_000))
    model, rows = data.model("full", drawn), data.table(np.tile(drawn.rows, (-(-n // 100_000), 1)))
    version, packed_model = shipping.packed_model(model)
    for partitions in (1, 2, 4, 8):
        df = spark.createDataFrame(rows).repartition(partitions).cache()
        df.count()
        columns = bound(tasks.expect_rows, version=version, model=packed_model, taken={}, closed=False)
        packed, schema = in_blocks(df)
        packed.persist(StorageLevel.MEMORY_AND_DISK_DESER).count()
        bytes_only = bound(tasks.expect_blocks, schema=schema, version=version, model=packed_model, closed=False)
        plain = both(lambda df=df, run=columns: df.mapInArrow(run, tasks.ANSWER).rdd.collect(), 4)
        fast = both(lambda packed=packed, run=bytes_only: packed.mapPartitions(run).collect(), 4)
        each = [f"{n / plain[0]:,.0f} | {plain[1]:.2f}", f"{n / fast[0]:,.0f} | {fast[1]:.2f}"]
        print(f"| {cores} | {partitions} | {n:,} | {' | '.join(each)} |", flush=True)


def merges(n: int = 2_000) -> None:
    """Print what a partition's statistics weigh, and what their merge and the step cost the driver."""
    print("| K | D | bytes a partition | read, ms | merged, ms | step, ms | E-step, µs a row |")
    for K, D in SHAPES:
        drawn = data.truth(D, K, n)
        model, rows = data.model("full", drawn), data.table(drawn.rows)
        one = partial.expect(model, rows)
        batch = shipping.to_arrow(one)
        read = seconds(lambda batch=batch: shipping.from_arrow(batch))
        merged = seconds(lambda one=one: partial.merge([one] * 11)) / 10
        taken = seconds(lambda model=model, rows=rows: partial.expect(model, rows))
        step = seconds(lambda model=model, one=one: partial.step(model, one), 1)
        numbers = f"{read * 1e3:.2f} | {merged * 1e3:.3f} | {step * 1e3:.2f} | {taken / n * 1e6:.2f}"
        print(f"| {K} | {D} | {batch.nbytes:,} | {numbers} |", flush=True)


def trees(spark: Any, partitions: int = 23) -> None:
    """Print what merging the answers of some partitions costs, by the driver and in a tree."""
    print("| K | D | read and merged by the driver, ms | the job, s | `fan_in=16`, s | `fan_in=5`, s |")
    for K, D in (SHAPES[0], *SHAPES[-2:]):
        drawn = data.truth(D, K, 2_000)
        model = data.model("full", drawn)
        answer = shipping.packed([partial.expect(model, data.table(drawn.rows))])
        own = spark.sparkContext.parallelize(range(partitions), partitions).map(lambda i, answer=answer: (i, answer))
        own.cache().count()
        alone = seconds(lambda answer=answer: partial.merge([shipping.unpacked(answer)[0] for _ in range(partitions)]))
        jobs = [seconds(lambda own=own, model=model, n=n: statistics(own, model, n)) for n in (None, 16, 5)]
        print(f"| {K} | {D} | {alone * 1e3:.0f} | {' | '.join(f'{job:.2f}' for job in jobs)} |", flush=True)
        own.unpersist()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--cores", type=int, help="measure passes on so many cores alone")
    given = parser.parse_args()
    if given.cores:
        spark = session(spark_master=f"local[{given.cores}]", **OPTIONS)
        spark.sparkContext.setLogLevel("ERROR")
        passes(spark, given.cores, given.rows)
        return
    merges()
    print("| cores | partitions | rows | rows/s | CPU s | rows/s, packed | CPU s |", flush=True)
    for cores in (1, 2):
        command = [sys.executable, "-m", "benchmarks.spark", "--rows", str(given.rows), "--cores", str(cores)]
        subprocess.run(command, check=True)
    spark = session(spark_master="local[2]", **OPTIONS)
    spark.sparkContext.setLogLevel("ERROR")
    trees(spark)
    against_gaussian_mixture(spark, given.rows)


if __name__ == "__main__":
    main()
