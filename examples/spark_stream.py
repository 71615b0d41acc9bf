"""A stream learnt on Spark: a directory of Parquet that grows, or a topic of Kafka.

    python examples/spark_stream.py events state            # what is there, then end; run again for what came since
    python examples/spark_stream.py events state --follow   # and what comes, until Ctrl-C

Kafka needs Spark's connector, of the version that `pyspark.__version__` says:

    python examples/spark_stream.py kafka://localhost:9092/payments state \\
        --package org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.0     # or --jars, where there is no network

Without an argument it makes a directory that grows, learns it in two runs, and shows what was learnt.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import streammix as sm
from streammix.spark import learn_stream, session

SCHEMA = "amount double, items int, country string"
FIELDS = {"amount": sm.LogNormal(), "items": sm.Poisson(), "country": sm.Categorical()}


def payments(n, seed):
    """Return payments of two kinds of customers, some of them incomplete."""
    rng = np.random.default_rng(seed)
    is_shop = rng.random(n) < 0.3
    amount = np.where(is_shop, rng.lognormal(6, 0.5, n), rng.lognormal(3, 0.7, n))
    country = np.where(is_shop, rng.choice(["de", "nl"], n), rng.choice(["de", "fr", "it"], n))
    items = rng.poisson(np.where(is_shop, 20, 2))
    columns = {"amount": amount, "items": items.astype(np.int32), "country": country}
    return pa.table({name: pa.array(values, mask=rng.random(n) < 0.05) for name, values in columns.items()})


def read(spark, place):
    """Return the stream that a place holds."""
    if place.startswith("kafka://"):
        parts = urlsplit(place)
        options = {"kafka.bootstrap.servers": parts.netloc, "subscribe": parts.path.strip("/")}
        stream = spark.readStream.format("kafka").options(startingOffsets="earliest", **options).load()
        return stream.selectExpr(f"from_json(cast(value as string), '{SCHEMA}') as event").select("event.*")
    return spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 4).parquet(place)


def learn(spark, place, state, follow=False):
    """Learn a stream; return the model."""
    model = sm.Mixture(n_components=2, fields=FIELDS, warm_up=1_000, seed=7)
    query = learn_stream(read(spark, place), model, state, trigger=None if follow else {"availableNow": True})
    try:
        query.awaitTermination()
    except KeyboardInterrupt:
        query.stop()
    print(f"{model.n_seen:,} records; the next run goes on from {state}")
    return model


def main(arguments):
    """Learn what the arguments name, or an example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", nargs="?", help="a directory of Parquet files, or kafka://host:port/topic")
    parser.add_argument("state", nargs="?", help="where the model and Spark's progress are kept")
    parser.add_argument("--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--package", help="a Maven package to fetch, such as the Kafka connector")
    parser.add_argument("--jars", help="jars that are at hand, with commas between them")
    given = parser.parse_args(arguments)
    options = {"spark_master": "local[2]", "spark_ui_enabled": "false"}
    if given.package:
        options["spark_jars_packages"] = given.package
    if given.jars:
        options["spark_jars"] = given.jars
    spark = session(**options)
    spark.sparkContext.setLogLevel("ERROR")
    if given.place:
        if not given.state:
            parser.error("say where the state is kept")
        model = learn(spark, given.place, given.state, given.follow)
    else:
        with tempfile.TemporaryDirectory() as directory:
            events = Path(directory, "events")
            events.mkdir()
            for number in range(6):
                pq.write_table(payments(1_000, number), events / f"{number}.parquet")
                if number in (2, 5):  # it has grown
                    model = learn(spark, str(events), Path(directory, "state"))
    for weight, component in zip(model.weights, model.parameters, strict=True):
        print(f"{weight:.3f}", component)
    return model


if __name__ == "__main__":
    main(sys.argv[1:])
