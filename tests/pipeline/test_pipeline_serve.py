"""`streammix serve`: both forms of requests, held against the library; new checkpoints, old ones, none."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from pipeline_tools import PROGRAM, events
from scipy import stats
from web_tools import client

import streammix as sm
from streammix.errors import ConfigError
from streammix.pipeline import answering, serving, web
from streammix.pipeline import tensors as tensors_module
from streammix.store import CheckpointStore

FIELDS = {"x": sm.Normal(), "y": sm.Exponential(), "kind": sm.Categorical()}


@pytest.fixture(scope="module")
def model():
    made = sm.Mixture(n_components=2, fields=FIELDS, warm_up=100, seed=3)
    made.ingest(events(400))
    return made


@contextlib.contextmanager
def serving_of(state, token=None):
    """Serve a place, and give a client and what finds new checkpoints."""
    newest = serving.Newest(str(state))
    service = serving.Service(newest, "streammix")
    app = web.application(service.handlers(), token)
    with web.WebServer(app, web.Listen("127.0.0.1:0", token=token), "scores") as server, client(server.url) as asking:
        yield asking, newest
    service.close()


@pytest.fixture(scope="module")
def asking(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state.arrow"
    sm.save(model, path)
    with serving_of(path) as (asking, _):
        yield asking


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def assert_answers(answers, records, model):
    for answer, record in zip(answers, records, strict=True):
        shares = list(model.predict_proba_one(record).values())
        assert answer["responsibilities"] == pytest.approx(shares, rel=1e-9, abs=1e-12)
        assert answer["component"] == int(np.argmax(answer["responsibilities"]))
        assert answer["score"] == pytest.approx(model.score_one(record), rel=1e-9)


# --- NDJSON ---


def test_one_line_a_record(asking, model):
    records = [*events(600, seed=9), {"x": 1.5}, {"kind": "new"}, {"y": 2.0, "id": "a", "x": None}]
    answer = asking.post("/score", content=lines(records))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert_answers(map(json.loads, answer.text.splitlines()), records, model)


def test_a_bad_line_is_answered_in_its_place(asking, model):
    good = events(3, seed=2)
    bad = [
        '{"x": "text"}',
        '{"y": -1.0}',
        "{}",
        '{"id": 7}',
        "[1]",
        '{"x": "\xff"}',
        '{"x": 1',
        '{"x": NaN}',
        '{"x": 1e400}',
    ]
    body = b"".join(
        lines([record]) + line.encode("latin-1") + b"\n" for record, line in zip(good * 3, bad, strict=True)
    )
    got = [json.loads(line) for line in asking.post("/score", content=body).text.splitlines()]
    assert_answers(got[::2], good * 3, model)
    assert all(list(answer) == ["error"] for answer in got[1::2])
    assert got[1]["error"] == "field 'x': expected a finite number, got 'text'"
    assert "not UTF-8" in got[11]["error"]


@pytest.mark.parametrize(
    ("body", "n"), [(b"", 0), (b"\n \r\n\n", 0), (b'{"x": 1}', 1), (b'\xef\xbb\xbf{"x": 1}\r\n', 1)]
)
def test_line_ends(asking, body, n):
    answer = asking.post("/score", content=body)
    assert answer.status_code == 200
    assert [list(json.loads(line)) for line in answer.text.splitlines()] == [
        ["component", "responsibilities", "score"]
    ] * n


def test_a_record_that_every_component_excludes(tmp_path):
    model = sm.Mixture(components=[{"x": sm.Fixed(stats.uniform(at, 1))} for at in (0, 5)], weights=[0.25, 0.75])
    sm.save(model, tmp_path / "state.arrow")
    with serving_of(tmp_path / "state.arrow") as (asking, _):
        answer = asking.post("/score", content=b'{"x": 3}\n').json()
    assert answer == {"component": 1, "responsibilities": [0.25, 0.75], "score": None}


# --- the open inference protocol ---


def tensors(records):
    columns = {name: [record.get(name) for record in records] for name in ("x", "y", "kind")}
    types = {"x": "FP64", "y": "FP32", "kind": "BYTES"}
    return [{"name": n, "shape": [len(v)], "datatype": types[n], "data": v} for n, v in columns.items()]


def test_health_and_metadata(asking):
    assert asking.get("/v2/health/live").json() == {"live": True}
    assert asking.get("/v2/health/ready").status_code == 200
    assert asking.get("/v2").json() == {"name": "streammix", "version": sm.__version__, "extensions": []}
    assert asking.get("/v2/models/streammix/ready").json() == {"name": "streammix", "ready": True}
    about = asking.get("/v2/models/streammix").json()
    assert about["name"] == "streammix"
    assert about["platform"] == "streammix_mixture"
    assert about["inputs"] == [
        {"name": "x", "datatype": "FP64", "shape": [-1]},
        {"name": "y", "datatype": "FP64", "shape": [-1]},
        {"name": "kind", "datatype": "BYTES", "shape": [-1]},
    ]
    assert about["outputs"] == [
        {"name": "responsibilities", "datatype": "FP64", "shape": [-1, 2]},
        {"name": "component", "datatype": "INT32", "shape": [-1]},
        {"name": "score", "datatype": "FP64", "shape": [-1]},
    ]
    for path in ("/v2/models/other", "/v2/models/other/ready"):
        assert asking.get(path).status_code == 404


def test_inference(asking, model):
    records = [*events(500, seed=8), {"x": 1.0}]
    answer = asking.post("/v2/models/streammix/infer", json={"id": "42", "inputs": tensors(records)})
    assert answer.status_code == 200
    got = answer.json()
    assert (got["model_name"], got["id"]) == ("streammix", "42")
    outputs = {output.pop("name"): output for output in got["outputs"]}
    assert outputs["responsibilities"]["shape"] == [501, 2]
    assert outputs["component"]["shape"] == outputs["score"]["shape"] == [501]
    shares = np.reshape(outputs["responsibilities"]["data"], (501, 2)).tolist()
    columns = (outputs["component"]["data"], shares, outputs["score"]["data"])
    names = ("component", "responsibilities", "score")
    assert_answers([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], records, model)


def test_inference_of_columns_and_of_chosen_outputs(asking, model):
    column = {"name": "x", "shape": [2, 1], "datatype": "INT8", "parameters": {}}
    for data in ([1, 4], [[1], [4]]):
        asked = {
            "inputs": [{**column, "data": data}],
            "outputs": [{"name": "score", "parameters": {}}],
            "parameters": {},
        }
        got = asking.post("/v2/models/streammix/infer", json=asked).json()
        (score,) = got["outputs"]
        assert (got.get("id"), score["name"], score["datatype"], score["shape"]) == (None, "score", "FP64", [2])
        assert score["data"] == pytest.approx([model.score_one({"x": 1}), model.score_one({"x": 4})], rel=1e-9)


def test_whole_numbers_are_numbers_however_large(asking, model):
    values = [2**53 + 1, 10**19]
    asked = {
        "inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": values}],
        "outputs": [{"name": "score"}],
    }
    got = asking.post("/v2/models/streammix/infer", json=asked).json()
    assert got["outputs"][0]["data"] == pytest.approx([model.score_one({"x": float(x)}) for x in values], rel=1e-9)


X = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("no JSON", "can't be read"),
        ({}, "missing required field `inputs`"),
        ({"inputs": []}, "expected inputs of one length, got none"),
        ({"inputs": [{"name": "x"}]}, "missing required field"),
        ({"inputs": [{**X, "name": "z"}]}, "unknown input 'z'; the inputs are kind, x, y"),
        ({"inputs": [X, X]}, "input 'x' stands twice"),
        (
            {"inputs": [X, {**X, "name": "y", "shape": [1], "data": [1.0]}]},
            "expected inputs of one length, got x 2, y 1",
        ),
        ({"inputs": [{**X, "datatype": "FP8"}]}, "unknown datatype 'FP8'; expected one of BOOL"),
        ({"inputs": [{**X, "shape": [3]}]}, "expected 3 values, by its shape, got 2"),
        ({"inputs": [{**X, "shape": [10**12, 10**12]}]}, "expected the shape [n] or [n, 1]"),
        ({"inputs": [{**X, "shape": [-2]}]}, "expected -2 values"),
        ({"inputs": [{**X, "shape": [300_000]}]}, "300,000 records in one request; send at most 262,144 at a time"),
        ({"inputs": [{**X, "data": "text"}]}, "can't be read"),
        ({"inputs": [{**X, "shape": [2, 1], "data": [[1.0], 2.0]}]}, "input 'x': its data is not FP64"),
        ({"inputs": [{**X, "shape": [2, 1], "data": [[1.0], [2.0, 3.0]]}]}, "input 'x': its data is not FP64"),
        ({"inputs": [{**X, "data": [1.0, "2"]}]}, "input 'x': its data is not FP64"),
        ({"inputs": [{**X, "datatype": "INT64", "data": [1, 1.5]}]}, "data is not INT64: expected whole numbers"),
        ({"inputs": [{**X, "datatype": "UINT8", "data": [1, 1e999]}]}, "can't be read"),
        ({"inputs": [{**X, "data": [1.0, 10**400]}]}, "its data is not FP64: int too large to convert"),
        ({"inputs": [{**X, "datatype": "BOOL"}]}, "input 'x': its data is not BOOL"),
        ({"inputs": [{**X, "datatype": "BYTES", "data": ["a", "b"]}]}, "field 'x'"),
        ({"inputs": [{**X, "name": "y", "data": [1.0, -2.0]}]}, "record 1: field 'y': expected"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "unknown output 'z'; the outputs are responsibilities"),
    ],
)
def test_inference_requests_that_are_refused(asking, asked, words):
    body = asked if isinstance(asked, str) else json.dumps(asked)
    answer = asking.post("/v2/models/streammix/infer", content=body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert answer.json()["error"].count("\n") == 0


# --- in turn ---


def test_a_request_is_answered_as_a_whole_however_many_turns_it_takes(asking, model, monkeypatch):
    monkeypatch.setattr(answering, "AT_ONCE", 7)
    records = events(20, seed=4)
    bad = [{"x": "text"}, {"y": -1.0}, [1]]
    mixed = records[:6] + bad[:1] + records[6:13] + bad[1:] + records[13:]
    body = b"\xef\xbb\xbf" + lines(mixed)
    got = [json.loads(line) for line in asking.post("/score", content=body).text.splitlines()]
    assert [i for i, answer in enumerate(got) if "error" in answer] == [6, 14, 15]
    assert_answers([answer for answer in got if "error" not in answer], records, model)

    path = "/v2/models/streammix/infer"
    outputs = asking.post(path, json={"inputs": tensors(records)}).json()["outputs"]
    assert outputs[2]["data"] == pytest.approx([model.score_one(record) for record in records], rel=1e-9)
    assert asking.post(path, json={"inputs": [{**X, "shape": [0], "data": []}]}).json()["outputs"][2]["data"] == []
    negative = {"name": "y", "shape": [20], "datatype": "FP64", "data": [1.0] * 16 + [-1.0] * 4}
    assert asking.post(path, json={"inputs": [negative]}).json()["error"].startswith("record 16: field 'y'")


def test_a_step_of_a_large_request_is_short(model):
    """No turn is longer than some thousand records', however many there are: counted, not timed."""
    n = 20_000
    column = {"name": "x", "shape": [n], "datatype": "FP64", "data": [0.5] * n}
    body = json.dumps({"inputs": [column, {**column, "name": "y"}]}).encode()
    steps = list(tensors_module.infer(model, "m", body))
    assert [scored for _, scored, _ in steps] == [0, 0, 0, 4096, 4096, 4096, 4096, n - 4 * 4096, 0]
    answer = json.loads(b"".join(part for parts, _, _ in steps for part in parts))
    assert [len(output["data"]) for output in answer["outputs"]] == [2 * n, n, n]
    assert len({*answer["outputs"][2]["data"]}) == 1


def test_of_very_many_bad_records_the_first_are_told_why(asking, monkeypatch):
    monkeypatch.setattr(answering, "AT_ONCE", 4)
    monkeypatch.setattr(answering, "MOST_REASONS", 3)
    body = b'{"x": "bad"}\n{"x": 1}\n' * 5
    got = [json.loads(line) for line in asking.post("/score", content=body).text.splitlines()]
    assert ["error" in answer for answer in got] == [True, False] * 5
    said = [answer["error"] for answer in got[::2]]
    assert all(why.startswith("field 'x': expected") for why in said[:3])
    assert said[3:] == ["refused, as 3 before", "refused, as 4 before"]


def test_a_request_of_too_many_lines(asking, monkeypatch):
    monkeypatch.setattr(answering, "MOST", 10)
    assert asking.post("/score", content=b'{"x": 1}\n' * 10).status_code == 200
    answer = asking.post("/score", content=b'{"x": 1}\n' * 11)
    assert (answer.status_code, answer.json()["error"]) == (400, "11 lines in one request; send at most 10 at a time")


@pytest.fixture
def long_request(monkeypatch):
    """A body that takes turns until the event is set."""
    ended, begun = threading.Event(), threading.Event()

    def score(model, body, score=answering.score_lines):
        while body == b"long" and not ended.is_set():
            begun.set()
            time.sleep(0.001)
            yield [], 0, 0
        yield from score(model, body)

    monkeypatch.setattr(answering, "score_lines", score)
    yield begun, ended
    ended.set()


def test_others_have_their_turn_while_a_long_request_is_worked_on(asking, long_request):
    begun, ended = long_request
    with ThreadPoolExecutor() as threads:
        long = threads.submit(asking.post, "/score", content=b"long")
        begun.wait(10)
        assert "score" in asking.post("/score", content=b'{"x": 1}').json()
        assert not long.done()
        ended.set()
        assert "error" in long.result().json()


def test_a_server_that_ends_waits_for_no_long_request(tmp_path, model, long_request, caplog):
    begun, ended = long_request
    sm.save(model, tmp_path / "state.arrow")
    with ThreadPoolExecutor() as threads:
        with serving_of(tmp_path / "state.arrow") as (asking, _):
            long = threads.submit(httpx.post, f"{asking.base_url}/score", content=b"long")
            begun.wait(10)
        assert not ended.is_set()
        assert long.result().status_code == 503
    assert "the server ends" in long.result().json()["error"]
    assert not [record for record in caplog.records if record.exc_info]


# --- checkpoints that come and go ---


def test_waiting_for_the_first_checkpoint(tmp_path, model):
    (tmp_path / "state").mkdir()
    with serving_of(tmp_path / "state") as (asking, newest):
        assert asking.get("/livez").status_code == 200
        for path in ("/readyz", "/v2/health/ready", "/v2/models/streammix/ready", "/v2/models/streammix"):
            assert asking.get(path).status_code == 503
        assert asking.post("/score", content=b'{"x": 1}').status_code == 503
        with CheckpointStore(tmp_path / "state") as store:
            store.write(model)
        newest.look()
        assert asking.get("/readyz").status_code == 200
        assert_answers([asking.post("/score", content=b'{"x": 1}').json()], [{"x": 1}], model)


def test_a_model_that_warms_up(tmp_path):
    sm.save(sm.Mixture(n_components=2, seed=1), tmp_path / "state.arrow")
    with serving_of(tmp_path / "state.arrow") as (asking, _):
        answers = asking.post("/score", content=b'{"x": 1}\n{"x"\n').text.splitlines()
        assert json.loads(answers[0]) == {"component": 0, "responsibilities": [0.5, 0.5], "score": 0.0}
        assert list(json.loads(answers[1])) == ["error"]
        ready = asking.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "live": True})
        assert asking.get("/v2/models/streammix/ready").status_code == 503
        assert asking.get("/v2/health/live").status_code == 200
        assert asking.get("/v2/models/streammix").json()["inputs"] == []
        asked = {"inputs": [{"name": "anything", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
        assert asking.post("/v2/models/streammix/infer", json=asked).json()["outputs"][2]["data"] == [0.0]


def test_the_datatypes_are_those_of_the_levels_learnt(tmp_path):
    fields = {name: sm.Categorical() for name in ("whole", "flag", "text", "both")} | {"on": sm.Bernoulli()}
    model = sm.Mixture(n_components=2, fields=fields, warm_up=20, seed=1)
    for i in range(60):
        both = 10 if i % 2 else "10"
        model.learn_one({"whole": 10 + i % 3, "flag": i % 2 > 0, "text": f"{i % 3}", "both": both, "on": i % 4 > 0})
    sm.save(model, tmp_path / "state.arrow")
    with serving_of(tmp_path / "state.arrow") as (asking, _):
        inputs = asking.get("/v2/models/streammix").json()["inputs"]
        kinds = {one["name"]: one["datatype"] for one in inputs}
        assert kinds == {"whole": "INT64", "flag": "BOOL", "text": "BYTES", "both": "BYTES", "on": "BOOL"}
        values = {"whole": 11, "flag": True, "text": "1", "both": "10", "on": True}
        tensors = [{**one, "shape": [1], "data": [values[one["name"]]]} for one in inputs]
        outputs = asking.post("/v2/models/streammix/infer", json={"inputs": tensors}).json()["outputs"]
        assert outputs[2]["data"] == [model.score_one(values)]


def test_new_checkpoints_are_taken_and_no_request_is_dropped(tmp_path):
    """Each answer is that of one of the models, and never of one older than an answer before."""
    model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(4, 1)}])
    scores = []
    ended = threading.Event()
    with CheckpointStore(tmp_path, keep=1) as store:
        store.write(model)
        with serving_of(tmp_path) as (asking, newest):

            def ask():
                while not ended.is_set():
                    answer = asking.post("/score", content=b'{"x": 1}\n' * 50)
                    answer.raise_for_status()
                    found = [json.loads(line)["score"] for line in answer.text.splitlines()]
                    assert len(found) == 50
                    assert len(set(found)) == 1
                    scores.append(found[0])

            thread = threading.Thread(target=ask)
            thread.start()
            known = [model.score_one({"x": 1})]
            for _ in range(20):
                model.learn_one({"x": 4.0})
                store.write(model)
                known.append(model.score_one({"x": 1}))
                newest.look()
                time.sleep(0.01)
            ended.set()
            thread.join()
            assert newest.reloads == 21
            assert json.loads(asking.post("/score", content=b'{"x": 1}').text)["score"] == pytest.approx(known[-1])
    places = [int(np.argmin(np.abs(np.subtract(known, score)))) for score in scores]
    assert [known[place] for place in places] == pytest.approx(scores, rel=1e-12)
    assert places == sorted(places)
    assert len(set(places)) > 3


def test_a_damaged_checkpoint_leaves_what_answers(tmp_path, model, caplog):
    with CheckpointStore(tmp_path) as store:
        store.write(model)
        with serving_of(tmp_path) as (asking, newest):
            before = newest.loaded
            path = store.write(model)
            path.write_bytes(path.read_bytes()[:-9])
            newest.look()
            assert newest.loaded is before
            assert "is passed over: it is damaged" in caplog.text
            newest.look()
            assert caplog.text.count("is passed over") == 1  # it is looked at once
            assert asking.post("/score", content=b'{"x": 1}').status_code == 200
            store.write(model)
            newest.look()
            assert newest.loaded is not before


def test_a_place_that_goes_away_leaves_what_answers(tmp_path, model, caplog):
    sm.save(model, tmp_path / "state.arrow")
    with serving_of(tmp_path / "state.arrow") as (asking, newest):
        (tmp_path / "state.arrow").unlink()
        for _ in range(3):
            newest.look()
        assert caplog.text.count("can't be loaded") == 1
        assert "streammix_reload_failures 3.0" in asking.get("/metrics").text
        sm.save(model, tmp_path / "state.arrow")
        newest.look()
        assert newest.reloads == 2
        assert asking.post("/score", content=b'{"x": 1}').status_code == 200


def test_from_object_storage(bucket, model):
    with CheckpointStore(bucket) as store:
        store.write(model)
        with serving_of(bucket) as (asking, newest):
            assert_answers([asking.post("/score", content=b'{"x": 1}').json()], [{"x": 1}], model)
            store.write(model)
            newest.look()
            assert newest.loaded.path.endswith("checkpoint-0000000002.arrow")


def test_a_place_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no checkpoint .*nowhere"):
        serving.Newest(str(tmp_path / "nowhere"))


# --- the rest ---


def test_metrics(tmp_path, model):
    sm.save(model, tmp_path / "state.arrow")
    with serving_of(tmp_path / "state.arrow") as (asking, _):
        asking.post("/score", content=b'{"x": 1}\n{"x": 2}\n{}\n')
        asking.post("/v2/models/streammix/infer", content=b"{}")
        text = asking.get("/metrics").text.splitlines()
    for line in (
        'streammix_requests_total{form="score",status="200"} 1.0',
        'streammix_requests_total{form="infer",status="400"} 1.0',
        "streammix_scored_total 2.0",
        "streammix_refused_total 1.0",
        "streammix_model_records 400.0",
        "streammix_ready 1.0",
    ):
        assert line in text


def test_behind_a_token(tmp_path, model):
    sm.save(model, tmp_path / "state.arrow")
    with serving_of(tmp_path / "state.arrow", "a-token-of-24-characters") as (asking, _):
        paths = ("/livez", "/readyz", "/v2/health/live", "/metrics", "/v2", "/v2/models/streammix")
        assert [asking.get(path).status_code for path in paths] == [200, 200, 200, 401, 401, 401]
        assert asking.post("/score", content=b'{"x": 1}').status_code == 401


def test_only_so_many_requests_wait(tmp_path, model, monkeypatch):
    sm.save(model, tmp_path / "state.arrow")
    monkeypatch.setattr(serving, "REQUESTS", 0)
    with serving_of(tmp_path / "state.arrow") as (asking, _):
        answer = asking.post("/score", content=b'{"x": 1}')
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_as_a_program(tmp_path, model):
    sm.save(model, tmp_path / "state.arrow")
    (tmp_path / "token").write_text("a-token-of-24-characters")
    command = [*PROGRAM, "serve", "state.arrow", "--listen", "127.0.0.1:0", "--token-file", "token"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        said = [json.loads(process.stderr.readline()) for _ in range(2)]
        url = said[1]["message"].rpartition(" ")[2]
        with client(url, "a-token-of-24-characters") as asking:
            assert_answers([asking.post("/score", content=b'{"x": 1}').json()], [{"x": 1}], model)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert "a-token" not in rest + str(said)
    assert logging.getLevelName(said[0]["level"].upper()) == logging.INFO
