"""``python -m benchmarks.spark``: what a pass on Spark costs, against Spark's own GaussianMixture and in its parts.

Needs ``streammix[spark]`` and Java. The numbers of docs/growth.md are a run's.
"""

import argparse
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
from streammix.spark.passes import PARTIAL

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


def against_gaussian_mixture(spark: Any, n: int, iterations: int = 10, K: int = 5, D: int = 10) -> None:
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
        ours, theirs, likelihoods = [], [], []
        for _ in range(3):
            started = time.perf_counter()
            likelihoods.append(gaussians.fit(vectors).summary.logLikelihood / n)
            theirs.append(time.perf_counter() - started)
            fresh = sm.Mixture(K, fields={names: sm.MultivariateNormal()}, seed=1)
            started = time.perf_counter()
            trace = fit(cached, fresh, iterations, 0.0)
            ours.append(time.perf_counter() - started)
        stream = spark.readStream.schema(df.schema).option("maxFilesPerTrigger", 1).parquet(directory)
        online = sm.Mixture(K, fields={names: sm.MultivariateNormal()}, seed=1)
        with tempfile.TemporaryDirectory() as state:
            learn_stream(stream, online, state, trigger={"availableNow": True}).awaitTermination()
        print(f"{n:,} rows, K = {K}, D = {D}, {iterations} iterations, full covariances")
        print(f"  GaussianMixture   {min(theirs):7.2f} s   log-likelihood {max(likelihoods):.4f} a record")
        print(f"  streammix fit     {min(ours):7.2f} s   log-likelihood {trace.log_likelihood[-1] / n:.4f}")
        print(f"  {min(theirs) / min(ours):.1f} times as fast; one pass of learn_stream: ", end="")
        print(f"{np.mean(online.log_density_many(rows).to_numpy()):.4f}")


def passes(spark: Any, cores: int, n: int, K: int = 5, D: int = 10) -> None:
    """Print rows a second of a pass over packed rows, and over Spark's own columns."""
    drawn = data.truth(D, K, n)
    model, rows = data.model("full", drawn), data.table(drawn.rows)
    version, packed_model = shipping.packed_model(model)
    for partitions in (1, 2, 4, 8):
        df = spark.createDataFrame(rows).repartition(partitions).cache()
        df.count()
        columns = bound(tasks.expect_rows, version=version, model=packed_model, taken={}, closed=False)
        packed = df.mapInArrow(bound(tasks.pack_rows, version=version), tasks.PACKED).cache()
        packed.count()
        bytes_only = bound(tasks.expect_packed, version=version, model=packed_model, closed=False)
        plain = seconds(lambda df=df, run=columns: df.mapInArrow(run, PARTIAL).toArrow())
        fast = seconds(lambda df=packed, run=bytes_only: df.mapInArrow(run, PARTIAL).toArrow())
        print(f"| {cores} | {partitions} | {n / plain:,.0f} | {n / fast:,.0f} |", flush=True)


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
    print("| cores | partitions | rows/s | rows/s, packed |", flush=True)
    for cores in (1, 2):
        command = [sys.executable, "-m", "benchmarks.spark", "--rows", str(given.rows), "--cores", str(cores)]
        subprocess.run(command, check=True)
    spark = session(spark_master="local[2]", **OPTIONS)
    spark.sparkContext.setLogLevel("ERROR")
    against_gaussian_mixture(spark, given.rows)


if __name__ == "__main__":
    main()
