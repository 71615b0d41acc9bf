"""Batch EM, scores and a model a key, over DataFrames."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from spark_tools import assert_same_state, events, mixture, write

import streammix as sm
from streammix import partial
from streammix import spark as on_spark
from streammix.errors import ConfigError, RecordError
from streammix.spark import session

pytestmark = pytest.mark.slow


def test_batch_em_is_that_of_one_machine(spark):
    table = events(1_500, 1, news=0.01)
    amounts = table.column("amount").to_pylist()
    amounts[7] = -1.0
    poisoned = table.set_column(1, "amount", pa.array(amounts))
    good = pa.concat_tables([poisoned.slice(0, 7), poisoned.slice(8)])
    model, seen = mixture(warm_up=None), []
    expected = mixture(warm_up=None)
    trace = sm.batch.fit(expected, good, max_iter=4, tol=0.0)
    progress = lambda number, log_likelihood: seen.append((number, log_likelihood))  # noqa: E731
    found = on_spark.fit(spark.createDataFrame(poisoned), model, max_iter=4, tol=0.0, fan_in=2, progress=progress)
    np.testing.assert_allclose(found.log_likelihood, trace.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(found.expected_counts, trace.expected_counts, rtol=1e-9)
    assert seen == list(enumerate(found.log_likelihood, 1))
    assert not found.converged
    assert (found.n_refused, found.refused[0].reason[:15]) == (1, "field 'amount':")
    assert_same_state(model, expected, 1e-9)
    again = on_spark.fit(spark.createDataFrame(poisoned), model, max_iter=4, tol=0.1)
    assert again.converged
    before = partial.fingerprint(model)
    with pytest.raises(RecordError, match=r"no records to fit$"):
        on_spark.fit(spark.createDataFrame(table.slice(0, 0)), model)
    with pytest.raises(RecordError, match="no records to fit: 3 rows are refused, the first: the record is empty"):
        on_spark.fit(spark.range(3), model)
    assert partial.fingerprint(model) == before


def test_a_sample_starts_the_model(spark):
    """Of more rows than the warm-up takes, from any part of the DataFrame; the seed's alone. Columns have any names."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 300), rng.normal(50, 1, 300)])  # the first rows know one group only
    df = spark.createDataFrame(pa.table({"x.`y": x}))
    models = [sm.Mixture(n_components=2, warm_up=100, seed=1) for _ in range(2)]
    for model in models:
        on_spark.fit(df, model, max_iter=2)
    assert sorted(round(c["x.`y"].mean) for c in models[0].parameters) == [0, 50]
    assert partial.fingerprint(models[0]) == partial.fingerprint(models[1])


def test_scores_are_the_models_own_in_batch_and_streaming(spark, tmp_path):
    table = events(300, 2)
    model = mixture(warm_up=200)
    model.learn_many(table.drop(["id"]))
    refused = table.column("amount").to_pylist()
    refused[5] = -2.0
    table = table.set_column(1, "amount", pa.array(refused))
    write(tmp_path / "in", 0, table)
    df = spark.read.parquet(str(tmp_path / "in"))
    stream = spark.readStream.schema(df.schema).parquet(str(tmp_path / "in"))
    batch = on_spark.score(df, model).toArrow().sort_by("id")
    query = on_spark.score(stream, model).writeStream.format("memory").queryName("scored").start()
    query.processAllAvailable()
    query.stop()
    kept = [i for i in range(300) if i != 5]
    rows = table.take(kept).drop(["id"])
    for scored in (batch, spark.table("scored").toArrow().sort_by("id")):
        assert scored.column_names == [*table.column_names, "component", "responsibilities", "score"]
        assert [scored.column(name)[5].as_py() for name in scored.column_names[-3:]] == [None, None, None]
        assert scored.column("hour").to_pylist() == table.column("hour").to_pylist()
        found = scored.take(kept)
        assert found.column("component").to_pylist() == model.predict_many(rows).to_pylist()
        assert found.column("score").to_pylist() == model.score_many(rows).to_pylist()
        proba = np.array(found.column("responsibilities").to_pylist())
        assert (proba == np.column_stack([c.to_numpy() for c in model.predict_proba_many(rows).columns])).all()
    with pytest.raises(ConfigError, match="has a column 'component' already"):
        on_spark.score(on_spark.score(df, model), model)
    with pytest.raises(ConfigError, match="still warming up"):
        on_spark.score(df, mixture())


def test_each_key_has_a_model_of_its_own(spark, tmp_path):
    rng = np.random.default_rng(4)
    schema = "id bigint, `a.device` string, heat double"
    base = sm.Mixture(n_components=2, fields={"heat": sm.Normal()}, warm_up=30, seed=1)
    parts = []
    for i in range(2):
        device = np.array(["a", "b"])[rng.integers(2, size=120)]
        heat = rng.normal(np.where(device == "a", 10.0, 500.0), 1.0)
        columns = {
            "id": np.arange(120) + 120 * i,
            "a.device": device,
            "heat": pa.array(heat, mask=rng.random(120) < 0.1),
        }
        parts.append(pa.table(columns))
        write(tmp_path / "in", i, parts[-1])
    stream = spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).parquet(str(tmp_path / "in"))
    learnt = on_spark.learn_by_key(stream, "a.device", base)
    query = (
        learnt.writeStream.format("parquet")
        .option("checkpointLocation", str(tmp_path / "state"))
        .trigger(availableNow=True)
        .start(str(tmp_path / "out"))
    )
    query.awaitTermination(120)
    found = spark.read.parquet(str(tmp_path / "out")).toArrow().sort_by("id")
    assert found.num_rows == 240
    for name in ("a", "b"):
        model = sm.Mixture(n_components=2, fields={"heat": sm.Normal()}, warm_up=30, seed=1)
        for number, part in enumerate(parts):
            rows = [row for row in part.to_pylist() if row["a.device"] == name]
            own = [row for row in found.to_pylist() if row["a.device"] == name and row["id"] // 120 == number]
            assert [row["n_seen"] for row in own] == list(range(model.n_seen, model.n_seen + len(own)))
            done = model.ingest([{"heat": row["heat"]} for row in rows])
            np.testing.assert_allclose([row["score"] for row in own], 0.0 - done.log_density, rtol=1e-12)
            assert [row["component"] for row in own] == done.responsibilities.argmax(axis=1).tolist()
    with pytest.raises(ConfigError, match=r"no column 'sensor': 'id', 'a\.device', 'heat'"):
        on_spark.learn_by_key(stream, "sensor", base)
    with pytest.raises(ConfigError, match="has a column 'n_seen' already"):
        on_spark.learn_by_key(stream.selectExpr("*", "1 as n_seen"), "a.device", base)


def test_what_is_no_mixture_in_parts_and_no_dataframe_is_refused_by_name(spark, tmp_path):
    df, auto = spark.range(2), sm.AutoMixture(fields={"id": sm.Poisson()})
    calls = [
        lambda df, model: on_spark.fit(df, model),
        lambda df, model: on_spark.learn_stream(df, model, tmp_path),
        lambda df, model: on_spark.score(df, model),
        lambda df, model: on_spark.learn_by_key(df, "id", model),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="an AutoMixture learns in one place"):
            call(df, auto)
        with pytest.raises(ConfigError, match=r"df must be a .*Spark.*; got pyarrow\.lib\.Table"):
            call(pa.table({"id": [1]}), sm.Mixture(fields={"id": sm.Poisson()}))
    by_time = sm.Mixture(fields={"id": sm.Poisson()}, step_size=sm.HalfLife("2h", field="at"))
    for call in calls[:2]:
        with pytest.raises(ConfigError, match="forgets by event time learns in one place"):
            call(df, by_time)
    for keys, told in [("id", "keys must be a list of columns, not 'id'"), (["no"], r"keys: .* no column 'no': 'id'")]:
        with pytest.raises(ConfigError, match=told):
            on_spark.learn_stream(df, mixture(), tmp_path, keys=keys)


def test_what_is_missing_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"Spark needs Java 17 or newer: there is none in JAVA_HOME"):
        session()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no java on the PATH"):
        session()
    monkeypatch.setattr("streammix.spark.starting.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'streammix\[spark\]'"):
        session()


def test_the_page_on_spark_is_true(spark, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "spark.md").read_text()
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "spark.md", "exec"), names)
    assert names["model"].n_seen == 1_200
    assert sorted(round(c["heat"].mean, -1) for c in names["fresh"].parameters) == [20, 70]
    assert "n_seen" in capsys.readouterr().out


def test_the_example_learns_a_directory_that_grows(spark, capsys):
    specification = importlib.util.spec_from_file_location(
        "spark_stream", Path(__file__).parents[2] / "examples" / "spark_stream.py"
    )
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    model = example.main([])
    spark.sparkContext.setLogLevel("OFF")
    assert re.findall(r"([\d,]+) records", capsys.readouterr().out) == ["3,000", "6,000"]
    small = int(np.argmax(model.weights))
    assert model.weights[small] == pytest.approx(0.7, abs=0.03)
    assert model.parameters[small]["items"].rate == pytest.approx(2, abs=0.2)
