"""Streams for the tests on Spark, and the single-machine model that they are held against."""

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import streammix as sm

OPTIONS = {  # nothing to look at; a JVM that lives for seconds does not compile for the long run
    "spark_ui_enabled": "false",
    "spark_ui_showConsoleProgress": "false",
    "spark_sql_shuffle_partitions": "2",
    "spark_driver_memory": "600m",
    "spark_driver_extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark_sql_session_timeZone": "UTC",
    "spark_driver_host": "127.0.0.1",
    "spark_driver_bindAddress": "127.0.0.1",
}
FIELDS = {
    "amount": sm.LogNormal(),
    "items": sm.Poisson(),
    ("lat", "lon"): sm.MultivariateNormal(),
    "country": sm.Categorical(),
    "hour": sm.VonMises(period=24),
    "returned": sm.Bernoulli(),
}


def mixture(**declared):
    """A model of mixed fields."""
    return sm.Mixture(n_components=3, fields=FIELDS, **{"warm_up": 500, "batch_size": 500, "seed": 3} | declared)


def events(n, seed=0, gaps=0.1, news=0.0):
    """Mixed records of three groups, with gaps; a share of new countries."""
    rng = np.random.default_rng(seed)
    z = rng.integers(3, size=n)
    country = np.array(["de", "fr", "it", "es"])[(z + rng.integers(2, size=n)) % 4].astype(object)
    new = rng.random(n) < news
    country[new] = [f"new-{seed}-{i}" for i in rng.integers(4, size=new.sum())]

    def column(values, kind=None):
        return pa.array(values, kind, mask=rng.random(n) < gaps)

    columns = {
        "id": pa.array(np.arange(n) + 100_000 * seed),
        "amount": column(rng.lognormal(1.0 + z, 0.5)),
        "items": column(rng.poisson(1 + 4 * z), pa.int32()),
        "lat": column(rng.normal(3.0 * z, 1.0)),
        "lon": column(rng.normal(-2.0 * z, 1.5)),
        "country": column(country, pa.string()),
        "hour": column((4.0 + 7 * z + rng.normal(size=n)) % 24),
        "returned": column(rng.random(n) < 0.2 + 0.3 * z),
    }
    return pa.table(columns)


def write(directory, number, table, parts=1):
    """Write a micro-batch's rows as files, each of which is a partition."""
    directory.mkdir(exist_ok=True)
    size = -(-table.num_rows // parts)
    for i in range(parts):
        path = directory / f"{number:04d}-{i}.parquet"
        pq.write_table(table.slice(i * size, size), path)
        written = 1_750_000_000 + 10 * number + i  # Spark takes files by their time, to the millisecond
        os.utime(path, (written, written))


def single(model, batches):
    """Learn mini-batches of any sizes on one machine: the model's own `learn_many`, its `batch_size` set for each."""
    for batch in batches:
        snapshot = model._snapshot()
        if model.is_warm and batch.num_rows:
            changed = {**snapshot.declaration, "batch_size": batch.num_rows}
            pending = np.empty((0, model._learner.schema.reader.n_columns))
            model = sm.Mixture._restore(replace(snapshot, declaration=changed, pending=pending))
        model.learn_many(batch.select([name for name in batch.column_names if name != "id"]))
    return model


def assert_same_state(ours, theirs, tolerance=1e-10):
    """Two models agree, in all that they are."""
    a, b = ours._learner.running, theirs._learner.running
    assert ours.n_seen == theirs.n_seen
    assert a.schema.codes == b.schema.codes
    assert a.state.mass_units == b.state.mass_units
    k = a.state.n_components
    for mine, other in zip(a.state.arrays(), b.state.arrays(), strict=True):
        scale = np.abs(other[..., :k]).max(initial=0.0)
        np.testing.assert_allclose(mine[..., :k], other[..., :k], rtol=tolerance, atol=tolerance * max(scale, 1.0))
