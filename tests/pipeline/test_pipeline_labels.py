"""The rows of a supervised model: the label that lasts, and what the background made, wherever rows go."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import scipy.stats
from pipeline_tools import SINKS, call, lines_of, run, scored_parquet, write_config, write_ndjson

import streammix as sm
from streammix.pipeline import answering, tensors
from streammix.pipeline.evaluating import stand_still
from streammix.pipeline.flow import Scored, joined
from streammix.pipeline.sinks.ndjson import to_lines
from streammix.pipeline.sinks.outbox import OutboxSink
from streammix.pipeline.sinks.parquet import to_table

SOURCE = 'kind = "file"\npath = "events.ndjson"'
MODEL = '[model]\nkind = "auto"\nn_components = [1, 4]\nseed = 3\n'
OLD = ["position", "component", "responsibilities", "score"]
NAMES = [*OLD, "label", "outlier"]


def stream():
    """Three groups, of which one is gone later and another comes, and a few records that none explains."""
    rng = np.random.default_rng(4)
    centers = np.where(np.arange(4_000) < 2_000, rng.choice([0.0, 12.0, 24.0], 4_000), rng.choice([12.0, 40.0], 4_000))
    x = np.where(rng.random(4_000) < 0.02, rng.uniform(-300, 300, 4_000), rng.normal(centers, 1))
    return [{"x": float(value)} for value in x]


@pytest.fixture(scope="module")
def known():
    """The stream, the model that has learnt it, and of each record what that said before, asked by its own methods."""
    records, model, said = stream(), sm.AutoMixture(n_components=(1, 4), seed=3), []
    for record in records:
        row = pa.table({"x": [record["x"]]})
        outlier = float(model.outlier_many(row)[0].as_py())
        component = int(model.predict_many(row)[0].as_py())
        said.append((model.labels[component], outlier))
        model.learn_one(record)
    labels = [label for label, _ in said]
    assert labels[:50] == [-1] * 50  # nothing is known yet
    assert len(set(labels)) > 4  # of a model of 4 components at most
    assert 20 < sum(outlier > 0.9 for _, outlier in said) < 2_000
    return records, model, said


@pytest.fixture(scope="module")
def done(known, tmp_path_factory):
    """A directory where the stream was run in one piece."""
    place = tmp_path_factory.mktemp("whole")
    write_ndjson(place / "events.ndjson", known[0])
    write_config(place, SOURCE, SINKS, 700, MODEL)
    assert run(place)[0] == 0
    return place


def test_rows_have_labels_and_outliers(known, done):
    table = scored_parquet(done / "scored")
    assert table.column_names == NAMES
    assert table.schema.field("label").type == pa.int64()
    rows = table.to_pylist()
    assert lines_of(done / "scored.ndjson") == rows
    assert [(row["label"], row["outlier"]) for row in rows] == known[2]
    moved = [row for row in rows if row["label"] not in (row["component"], -1)]
    assert moved  # a component that changed its place


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_in_pieces_writes_the_same_rows(known, done, tmp_path, workers):
    config = write_config(tmp_path, SOURCE, SINKS, 700, MODEL)
    config.write_text(f"workers = {workers}\n" + config.read_text())
    for end in (30, 1_010, 2_500, 4_000):
        write_ndjson(tmp_path / "events.ndjson", known[0][:end])
        assert run(tmp_path)[0] == 0
        # what a run that was killed left behind
        later = tmp_path / "scored" / f"scored-{end:012}.parquet"
        later.write_bytes(b"half")
        with open(tmp_path / "scored.ndjson", "ab") as file:
            file.write(b'{"label": 9')
    later.unlink()
    assert scored_parquet(tmp_path / "scored").combine_chunks() == scored_parquet(done / "scored").combine_chunks()
    assert (tmp_path / "scored.ndjson").read_bytes().removesuffix(b'{"label": 9') == (
        done / "scored.ndjson"
    ).read_bytes()


def test_files_of_an_earlier_version_stay_beside_new_ones(known, tmp_path):
    write_config(tmp_path, SOURCE, SINKS, 700, MODEL)
    write_ndjson(tmp_path / "events.ndjson", known[0][:2_000])
    assert run(tmp_path)[0] == 0
    for file in (tmp_path / "scored").glob("*.parquet"):
        pq.write_table(pq.read_table(file).select(OLD), file)
    write_ndjson(tmp_path / "events.ndjson", known[0])
    assert run(tmp_path)[0] == 0
    files = sorted((tmp_path / "scored").glob("*.parquet"))
    kinds = [pq.read_schema(file).names for file in files]
    assert sorted(map(len, kinds)) == list(map(len, kinds))
    assert {tuple(kind) for kind in kinds} == {tuple(OLD), tuple(NAMES)}
    whole = ds.dataset(files, schema=pq.read_schema(files[-1])).to_table()
    assert whole["label"].null_count == 2_000
    assert whole["outlier"][2_000:].to_pylist() == [outlier for _, outlier in known[2][2_000:]]


def test_a_plain_mixture_has_rows_as_ever(tmp_path):
    write_ndjson(tmp_path / "events.ndjson", stream()[:500])
    write_config(tmp_path, SOURCE, SINKS, 700, "[model]\nn_components = 2\nwarm_up = 100\n")
    assert run(tmp_path)[0] == 0
    assert scored_parquet(tmp_path / "scored").column_names == OLD
    assert {tuple(row) for row in lines_of(tmp_path / "scored.ndjson")} == {tuple(OLD)}


def test_score_says_what_the_model_says(known, done, tmp_path):
    records, model, _ = known
    for ending in (".parquet", ".ndjson"):
        status, _, said = call("score", done / "state", done / "events.ndjson", "--output", tmp_path / f"rows{ending}")
        assert (status, said) == (0, "")
    rows = lines_of(tmp_path / "rows.ndjson")
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == rows
    assert [row["label"] for row in rows] == [model.labels[model.predict_one(record)] for record in records]
    assert [row["outlier"] for row in rows] == [model.outlier_one(record) for record in records]
    printed = call("score", done / "state", done / "events.ndjson")[1]
    assert [json.loads(line) for line in printed.splitlines()] == rows
    (tmp_path / "none.ndjson").write_text("")
    assert call("score", done / "state", tmp_path / "none.ndjson", "--output", tmp_path / "none.parquet")[0] == 0
    assert pq.read_table(tmp_path / "none.parquet").column_names == NAMES


def test_a_server_answers_with_them(known):
    records, model, _ = known
    body = "".join(json.dumps(record) + "\n" for record in records[:200]).encode()
    still = stand_still(model)
    parts = [part for step, *_ in answering.score_lines(still, body) for part in step]
    answers = [json.loads(line) for line in b"".join(parts).splitlines()]
    expected = model.outlier_many(pa.Table.from_pylist(records[:200])).to_pylist()
    assert [answer["outlier"] for answer in answers] == expected
    assert [answer["label"] for answer in answers] == [model.labels[answer["component"]] for answer in answers]
    data = [record["x"] for record in records[:200]]
    asked = {"inputs": [{"name": "x", "shape": [200], "datatype": "FP64", "data": data}]}
    steps = tensors.infer(still, "m", json.dumps(asked).encode())
    response = json.loads(b"".join(part for step, *_ in steps for part in step))
    outputs = {output["name"]: output for output in response["outputs"]}
    for name, datatype in (("label", "INT64"), ("outlier", "FP64")):
        told = {"name": name, "datatype": datatype, "shape": [200], "data": [answer[name] for answer in answers]}
        assert outputs[name] == told
    assert {output["name"] for output in tensors.outputs_of(model)} == set(outputs)
    plain = sm.Mixture(components=[{"x": sm.Normal(0, 1)}])
    with pytest.raises(sm.RecordError, match="unknown output 'label'"):
        list(tensors.infer(plain, "m", json.dumps(asked | {"outputs": [{"name": "label"}]}).encode()))


def test_rows_to_a_broker_have_them_too():
    lines = []

    class Channel:
        def sent(self):
            return 0

        def send(self, some, total):
            lines.extend(some)

        def close(self):
            pass

    sink = OutboxSink("out", lambda run: Channel(), None)
    rows = Scored("s", np.array([5]), np.array([[0.25, 0.75]]), np.array([-2.0]), None, np.array([7]), np.array([0.5]))
    sink.write(rows)
    sink.flush(1)
    sink.publish()
    assert [json.loads(line) for line in lines] == to_table(rows).to_pylist()
    assert json.loads(lines[0])["label"] == 7


def test_rows_are_cut_and_joined_with_them():
    n = 2_000
    rng = np.random.default_rng(0)
    labels, outliers = rng.integers(-1, 9, n), rng.random(n)
    rows = Scored("s", np.arange(n), rng.random((n, 3)), rng.random(n), None, labels, outliers)
    again = joined([rows[:700], rows[700:701], rows[701:]])
    assert to_table(again) == to_table(rows)
    assert [(row["label"], row["outlier"]) for row in map(json.loads, to_lines(again).splitlines())] == list(
        zip(labels.tolist(), outliers.tolist(), strict=True)
    )


@pytest.mark.parametrize("background", [True, False])
def test_what_no_component_can_have_made_is_no_gap(background):
    fields = {"x": sm.Fixed(scipy.stats.uniform(0, 1)), "y": sm.Normal()}
    model = sm.AutoMixture(n_components=2, fields=fields, background=background, seed=1)
    rng = np.random.default_rng(1)
    for _ in range(300):
        model.learn_one({"x": rng.random(), "y": rng.normal()})
    outside = {"x": [2.0, 0.5], "y": [0.0, 0.0]}
    many = model.outlier_many(pa.table(outside)).to_pylist()
    one = [model.outlier_one({"x": x, "y": 0.0}) for x in outside["x"]]
    assert many == pytest.approx(one)
    assert all(0.0 <= value <= 1.0 for value in many)
    assert many[1] < 0.1
    assert background or many == [0.0, 0.0]
