"""Stepwise EM over Structured Streaming is that of one machine, and each record counts once."""

import hashlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spark_tools import assert_same_state, events, mixture, single, write

import streammix as sm
from streammix import partial, shipping
from streammix.errors import CheckpointError, ConfigError
from streammix.spark import learn_stream, stream

pytestmark = pytest.mark.slow

SCHEMA = "id bigint, amount double, items int, lat double, lon double, country string, hour double, returned boolean"


def read(spark, directory, schema=SCHEMA, files=2):
    stream = spark.readStream.schema(schema).option("maxFilesPerTrigger", files).option("latestFirst", "false")
    return stream.parquet(str(directory))


def run(spark, directory, model, checkpoints, **options):
    """Learn what is there, to its end."""
    schema, files = options.pop("schema", SCHEMA), options.pop("files", 2)
    query = learn_stream(
        read(spark, directory, schema, files), model, checkpoints, trigger={"availableNow": True}, **options
    )
    query.awaitTermination(120)
    assert not query.isActive
    return query


def test_a_stream_is_learnt_as_on_one_machine(spark, tmp_path):
    batches = [events(1_000, 0), events(1_000, 1, news=0.05), events(800, 2)]
    for i, batch in enumerate(batches):
        write(tmp_path / "in", i, batch, parts=2)
    model = mixture()
    run(spark, tmp_path / "in", model, tmp_path / "state")
    cuts = [batches[0].slice(0, 500), batches[0].slice(500), *batches[1:]]
    expected = single(mixture(), cuts)
    assert_same_state(model, expected)
    with sm.CheckpointStore(tmp_path / "state") as store:
        found = store.latest()
    assert found.positions["records"] == 2_800
    assert found.positions["source"]["batch"] == 2
    assert_same_state(found.model, expected, 1e-10)
    # on with it on one machine, and back on Spark
    more = events(500, 3)
    found.model.learn_many(more.drop(["id"]))
    write(tmp_path / "more", 0, more)
    run(spark, tmp_path / "more", loaded := sm.load(found.path), tmp_path / "other", fan_in=2)
    assert_same_state(loaded, found.model)


def stepping(model, directory, query="q", **options):
    """What Spark calls with each micro-batch, without a stream."""
    state = stream._State(model, directory, keep=5)
    state.query = query
    state.is_known.set()
    return stream._Step(state, options.get("fan_in"), options.get("keys", ()))


def frame(spark, table, partitions=1):
    """A micro-batch's DataFrame, its rows in order."""
    return spark.createDataFrame(table).coalesce(1) if partitions == 1 else spark.createDataFrame(table)


def test_bad_rows_and_odd_batches_fail_neither_batch_nor_stream(spark, tmp_path, caplog):
    model = mixture(warm_up=300)
    step = stepping(model, tmp_path, keys=("id",))
    first = events(400, 5)
    amounts = first.column("amount").to_pylist()
    amounts[3], amounts[350] = -1.0, float("inf")  # in the warm-up, and after it
    first = first.set_column(1, "amount", pa.array(amounts))
    with caplog.at_level(logging.WARNING, "streammix"):
        step(frame(spark, first), 0)
    assert "2 records are refused" in caplog.text
    assert (model.n_seen, model.is_warm) == (398, True)
    good = pa.concat_tables([first.slice(0, 3), first.slice(4, 346), first.slice(351)])
    expected = single(mixture(warm_up=300), [good.slice(0, 300), good.slice(300)])
    assert_same_state(model, expected)

    step(frame(spark, first.slice(0, 0)), 1)  # no rows
    step(frame(spark, events(1, 6)), 2)  # one row
    changed = events(40, 7).drop(["lat", "hour"]).append_column("new", pa.array(["x"] * 40))  # fields come and go
    step(frame(spark, changed), 3)
    expected = single(expected, [events(1, 6), changed])
    assert_same_state(model, expected)
    texts = events(5, 8, gaps=0.0)
    texts = texts.set_column(2, "items", texts.column("items").cast(pa.string()))  # a field of another type
    step(frame(spark, texts), 4)
    step(frame(spark, pa.table({"other": [1, 2]})), 5)  # none of the model's fields
    assert model.n_seen == 439

    before = partial.fingerprint(model)
    step(frame(spark, events(50, 9)), 5)  # handed over again
    assert partial.fingerprint(model) == before
    letters = pq.read_table(tmp_path / stream.DEAD_LETTERS)
    assert letters.column("batch").to_pylist() == [0, 0, *[4] * 5, 5, 5]
    assert letters.column("row").to_pylist()[:2] == [3, 350]
    assert '"id": 500003' in letters.column("record")[0].as_py()
    assert letters.column("reason")[0].as_py().startswith("field 'amount': expected a positive number")
    assert "'items'" in letters.column("reason")[2].as_py()

    with sm.CheckpointStore(tmp_path, readonly=True) as store:
        assert store.latest().positions == {
            "source": {"kind": "spark", "query": "q", "batch": 5},
            "records": 448,
            "rejected": 9,
        }
    again = stepping(mixture(warm_up=300), tmp_path)
    assert partial.fingerprint(again._state.model) == before
    with pytest.raises(CheckpointError, match="batch 7, but the state has batches up to 5 only"):
        again(None, 7)
    with pytest.raises(CheckpointError, match="the state is of query q, but Spark has begun another one, p"):
        stepping(mixture(warm_up=300), tmp_path, "p")(None, 0)
    again._state.write(6, 0, [], 0)
    with pytest.raises(CheckpointError, match="another writer has written"):
        step._state.write(6, 0, [], 0)
    with pytest.raises(ConfigError, match="its model has warm_up=300, not 400"):
        stepping(mixture(warm_up=400), tmp_path)


def test_a_state_of_another_kind_is_refused(tmp_path):
    with sm.CheckpointStore(tmp_path) as store:
        store.write(mixture(), positions={"source": {"kind": "file"}, "records": 0, "rejected": 0})
    with pytest.raises(ConfigError, match="has learnt another stream"):
        stepping(mixture(), tmp_path)
    [path] = tmp_path.glob("checkpoint-*.arrow")
    path.write_bytes(from_the_future(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"format 7, written by streammix .*this version reads formats up to"):
        stepping(mixture(), tmp_path)
    with pytest.raises(ConfigError, match="model must be a Mixture, not str"):
        learn_stream(None, "model", tmp_path)
    with pytest.raises(ConfigError, match="fan_in must be a whole number, 2 or more"):
        learn_stream(None, mixture(), tmp_path, fan_in=1)


def from_the_future(data):
    """A checkpoint's bytes as a later version of the library would write them."""
    table = pa.ipc.open_file(data).read_all()
    metadata = dict(table.schema.metadata)
    metadata[b"streammix.format"] = b"7"
    digest = metadata[b"streammix.sha256"]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table)
    changed = sink.getvalue().to_pybytes()
    own = hashlib.sha256(changed.replace(digest, b"0" * 64)).hexdigest().encode()
    return changed.replace(digest, own)


def test_executors_of_another_version_are_refused_by_name(spark, tmp_path, monkeypatch):
    model = mixture(warm_up=100)
    model.learn_many(events(100, 1).drop(["id"]))
    before = partial.fingerprint(model)
    step, rows = stepping(model, tmp_path), frame(spark, events(20, 2))
    cold = mixture(warm_up=10)
    monkeypatch.setattr(sm, "__version__", "9.9")  # the driver's
    for again in (step, stepping(cold, tmp_path / "other")):
        with pytest.raises(Exception, match=r"streammix 9\.9, but this process has .*: install one version everywhere"):
            again(rows, 0)
    assert partial.fingerprint(model) == before


def test_a_batch_that_fails_leaves_the_model_as_it_was(spark, tmp_path, monkeypatch):
    model = mixture(warm_up=100)
    monkeypatch.setattr(stream._State, "write", lambda *_: 1 / 0)
    step, table = stepping(model, tmp_path), events(150, 1)
    for warm in (False, True):
        before = model.n_seen
        with pytest.raises(ZeroDivisionError):
            step(frame(spark, table), 0)
        assert (model.n_seen, model.is_warm) == (before, warm)
        model.learn_many(table.drop(["id"]))


def test_a_lost_executor_counts_nothing_twice(spark, tmp_path):
    """A task whose process is killed after some rows is run again."""
    model = mixture(warm_up=100, batch_size=100)
    model.learn_many(events(100, 1).drop(["id"]))
    table = events(600, 2)
    expected = single(shipping.unpacked_model(*shipping.packed_model(model)), [table])

    def die_once(batches):
        import os
        import signal

        from pyspark import TaskContext

        for batch in batches:
            yield batch
            if TaskContext.get().attemptNumber() == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    rows = frame(spark, table, partitions=2)
    stepping(model, tmp_path)(rows.mapInArrow(die_once, rows.schema), 0)
    assert_same_state(model, expected)


def beside(program, *arguments):
    """Run a program of this directory in a process of its own, with a Spark of its own."""
    here = Path(__file__).parent
    command = [sys.executable, str(here / program), *map(str, arguments)]
    paths = os.pathsep.join([str(here), str(here.parent)])
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": paths})


def test_a_driver_that_is_killed_before_spark_hears_of_the_batch(spark, tmp_path):
    batches = [events(500, i, news=0.02) for i in range(3)]
    for i, batch in enumerate(batches):
        write(tmp_path / "in", i, batch)
    killed = beside("killed_driver.py", tmp_path, 1)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with sm.CheckpointStore(tmp_path / "state", readonly=True) as store:
        assert store.latest().positions["source"]["batch"] == 1
    assert not (tmp_path / "state" / "_spark" / "commits" / "1").exists()
    model = mixture()
    run(spark, tmp_path / "in", model, tmp_path / "state", files=1)
    assert_same_state(model, single(mixture(), batches))
    with sm.CheckpointStore(tmp_path / "state", readonly=True) as store:
        assert store.latest().positions["records"] == 1_500


def test_executors_that_are_killed_change_nothing(spark, tmp_path):
    """The JVMs of a small cluster's executors, amid a micro-batch and between the passes of `fit`."""
    done = beside("lost_executor.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / name).read_text() for name in ("batch", "fit")] == ["java", "java"]
