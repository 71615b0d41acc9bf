"""Runs: what they write, resumed and stopped anywhere."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from pipeline_tools import (
    FILES,
    PROGRAM,
    SINKS,
    events,
    lines_of,
    run,
    scored_parquet,
    state_of,
    write_config,
    write_ndjson,
)

from streammix.mixture import Mixture
from streammix.pipeline import commands
from streammix.pipeline.sources.file import FileSource
from streammix.store import CheckpointStore


def test_a_row_a_record_scored_before_it_is_learnt(place):
    status, table, said = run(place)
    assert status == 0
    assert "2 components after 1,200 records" in table
    assert "records 1,200" in said
    rows = scored_parquet(place / "scored")
    assert rows.schema.field("responsibilities").type == pa.list_(pa.float64())
    assert rows.to_pylist() == lines_of(place / "scored.ndjson")
    assert [path.name for path in sorted((place / "scored").iterdir())] == [
        "scored-000000000000.parquet",
        "scored-000000000500.parquet",
        "scored-000000001000.parquet",
    ]

    model = Mixture(**commands.build_model(commands.load_config(place / "pipeline.toml").model)._get_params())
    offset = 0
    for line, row in zip((place / "events" / "a.ndjson").read_bytes().splitlines(True), rows.to_pylist(), strict=True):
        assert row["position"] == {"source": os.path.join("events", "a.ndjson"), "offset": offset}
        done = model.ingest([json.loads(line)])
        assert row["responsibilities"] == done.responsibilities[0].tolist()
        assert row["component"] == int(np.argmax(row["responsibilities"]))
        assert row["score"] == -done.log_density[0]
        offset += len(line)
    warming_up = rows.slice(0, 100).to_pylist()
    assert {(tuple(row["responsibilities"]), math.copysign(1, row["score"]) * row["score"]) for row in warming_up} == {
        ((0.5, 0.5), 0.0)
    }
    assert b"-0.0" not in (place / "scored.ndjson").read_bytes()


def test_run_again_finds_nothing_new(place):
    run(place)
    before, rows = state_of(place / "state"), (place / "scored.ndjson").read_bytes()
    names = sorted((place / "state").iterdir())
    status, table, said = run(place)
    assert status == 0
    assert "found nothing new: all 1,200 records were learnt before" in said
    assert "2 components after 1,200 records" in table
    assert state_of(place / "state") == before
    assert sorted((place / "state").iterdir()) == names
    assert (place / "scored.ndjson").read_bytes() == rows


@pytest.mark.parametrize("cut", [1, 60, 499, 500, 777])
def test_two_runs_equal_one(cut, place, tmp_path_factory):
    run(place)
    other = tmp_path_factory.mktemp("other")
    write_ndjson(other / "events" / "a.ndjson", events(1200)[:cut])
    write_config(other, FILES, SINKS)
    run(other)
    write_ndjson(other / "events" / "a.ndjson", events(1200)[cut:], mode="a")
    status, _, said = run(other)
    assert status == 0
    assert f"resuming after {cut} records" in said
    assert state_of(other / "state") == state_of(place / "state")
    assert (other / "scored.ndjson").read_bytes() == (place / "scored.ndjson").read_bytes()
    assert scored_parquet(other / "scored") == scored_parquet(place / "scored")


def test_reading_in_small_pieces_changes_nothing(place, monkeypatch, tmp_path_factory):
    run(place)
    other = tmp_path_factory.mktemp("other")
    write_ndjson(other / "events" / "a.ndjson", events(1200))
    write_config(other, FILES, SINKS)
    monkeypatch.setattr("streammix.pipeline.sources.lines.BLOCK", 999)
    monkeypatch.setattr("streammix.pipeline.runner.RECORDS_AT_ONCE", 7)
    run(other)
    assert state_of(other / "state") == state_of(place / "state")
    for name in ("scored.ndjson", "scored/scored-000000000500.parquet"):
        assert (other / name).read_bytes() == (place / name).read_bytes()


def test_bad_records_go_to_the_dead_letter_file_and_the_run_goes_on(place):
    bad = [
        b'{"x": 1',
        b'{"x": "\xff"}',
        b"[1]",
        b'{"x": "text", "y": 1.0}',
        b'{"y": -1.0}',
        b"{}",
        b'{"x": 1e999}',
    ]
    with open(place / "events" / "b.ndjson", "wb") as file:
        file.write(b"\n".join([*bad, b"", b'{"x": 1.0, "y": 2.0, "kind": "b"}']))
    status, _, said = run(place)
    assert status == 0
    assert f"7 of 1,208 new records were refused; the reasons are in {place / 'state' / '_dead-letter.ndjson'}" in said
    refused = lines_of(place / "state" / "_dead-letter.ndjson")
    assert [line["position"]["offset"] for line in refused] == [sum(map(len, bad[:i])) + i for i in range(len(bad))]
    assert refused[0]["raw"] == '{"x": 1'
    assert refused[1]["raw_base64"] == "eyJ4IjogIv8ifQ=="
    assert all(line["reason"] for line in refused)
    assert "y" in refused[4]["reason"]
    assert len(lines_of(place / "scored.ndjson")) == 1201
    run(place)
    assert lines_of(place / "state" / "_dead-letter.ndjson") == refused


def test_a_stream_of_which_nothing_can_be_learnt_fails_the_run(tmp_path):
    write_ndjson(tmp_path / "events" / "a.ndjson", [{"x": "text"}, {"x": "more"}])
    write_config(tmp_path, FILES, SINKS)
    status, _, said = run(tmp_path)
    assert status == 1
    assert "none of the 2 records could be learnt; events/a.ndjson at 0: " in said
    assert len(lines_of(tmp_path / "state" / "_dead-letter.ndjson")) == 2
    assert run(tmp_path)[0] == 0


@pytest.mark.parametrize("name", ["a.ndjson", "a.parquet"])
def test_fields_may_be_kept_from_an_inferred_model(name, tmp_path):
    records = [{**x, "id": i, "t": "2026-01-01"} for i, x in enumerate(events(200))]
    write_ndjson(tmp_path / "events" / "a.ndjson", records)
    pa.parquet.write_table(pa.Table.from_pylist(records), tmp_path / "events" / "a.parquet")
    model = "[model]\nn_components = 2\nwarm_up = 100\nseed = 1\n"
    source = f'kind = "file"\npath = "events/{name}"\nignore = ["id", "t", "absent"]'
    write_config(tmp_path, source, model=model)
    status, table, _ = run(tmp_path)
    assert status == 0
    assert "MultivariateNormal" in table
    assert "id" not in table


def test_bad_rows_of_a_table_go_there_as_json(tmp_path):
    (tmp_path / "events").mkdir()
    table = pa.table({"x": [1.0, 2.0], "y": [1.0, -1.0], "kind": ["b", None]})
    pa.parquet.write_table(table, tmp_path / "events" / "a.parquet")
    write_config(tmp_path, FILES, '[dead_letter]\npath = "refused.ndjson"')
    assert run(tmp_path)[0] == 0
    (refused,) = lines_of(tmp_path / "refused.ndjson")
    assert json.loads(refused["raw"]) == {"x": 2.0, "y": -1.0, "kind": None}


def test_the_directory_of_checkpoints_reads_as_a_data_set(place):
    write_ndjson(place / "events" / "b.ndjson", [{}])
    run(place)
    assert (place / "state" / "_dead-letter.ndjson").exists()
    assert pa.dataset.dataset(place / "state", format="ipc").count_rows() == 3


def test_own_outputs_are_no_events(tmp_path):
    write_ndjson(tmp_path / "events.ndjson", events(300))
    write_config(
        tmp_path,
        'kind = "file"\npath = ["**/*.ndjson", "**/*.arrow"]',
        '[sink]\nkind = "ndjson"\npath = "o.ndjson"',
    )
    config = (tmp_path / "pipeline.toml").read_text().replace(', "**/*.arrow"', "")
    (tmp_path / "pipeline.toml").write_text(config)
    for _ in range(2):
        assert run(tmp_path)[0] == 0
    assert len(lines_of(tmp_path / "o.ndjson")) == 300


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_with_a_checkpoint(number, tmp_path):
    write_config(tmp_path, 'kind = "stdin"', '[sink]\nkind = "stdout"', every=100)
    process = subprocess.Popen(
        [*PROGRAM, "run", "pipeline.toml"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"".join(json.dumps(x).encode() + b"\n" for x in events(150)))
    process.stdin.flush()
    for _ in range(150):  # a live pipe: every record's score comes while the pipe stays open
        assert b'"score"' in process.stdout.readline()
    process.send_signal(number)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert rest == b""
    assert f"stopped by {number.name}" in said.decode()
    with CheckpointStore(tmp_path / "state") as store:
        found = store.latest()
    assert found.model.n_seen == 150
    assert found.positions["records"] == 150


def test_a_pipe_whose_reader_goes_away(tmp_path):
    write_ndjson(tmp_path / "events" / "a.ndjson", events(20_000))
    write_config(tmp_path, FILES, '[sink]\nkind = "stdout"')
    done = subprocess.run(
        f"{' '.join(map(repr, PROGRAM))} run pipeline.toml | head -1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert json.loads(done.stderr.splitlines()[-1])["message"] == "standard output was closed by its reader"
    assert b"Traceback" not in done.stderr


def test_results_to_stdout_and_talk_to_stderr_and_nothing_idle_is_loaded(tmp_path):
    write_config(tmp_path, 'kind = "stdin"\nformat = "csv"', '[sink]\nkind = "stdout"')
    text = "x,y,kind\n" + "".join(f"{x['x']},{x['y']},{x['kind']}\n" for x in events(200))
    slow = "[name for name in ('pandas', 'scipy.optimize', 'scipy.stats', 'confluent_kafka') if name in sys.modules]"
    program = f"import atexit, sys; atexit.register(lambda: print({slow}, file=sys.stderr)); {PROGRAM[-1]}"
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "pipeline.toml"], cwd=tmp_path, input=text.encode(), capture_output=True
    )
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 200
    assert rows[0]["position"] == {"source": "stdin", "offset": 9}
    assert "2 components after 200 records" in done.stderr.decode()
    assert done.stderr.decode().splitlines()[-1] == "[]"


def test_paths_start_from_the_configuration(place, monkeypatch):
    monkeypatch.chdir("/")
    assert run(place)[0] == 0
    assert (place / "scored.ndjson").exists()


def test_the_embedded_stream(tmp_path):
    model = "[model]\nn_components = 3\nwarm_up = 200\nseed = 1\n"
    write_config(tmp_path, 'kind = "river"\ndataset = "Bananas"\nlimit = 1000', SINKS, model=model)
    status, table, _ = run(tmp_path)
    assert status == 0
    assert "3 components after 1,000 records" in table
    write_config(tmp_path, 'kind = "river"\ndataset = "Bananas"\nlimit = 1100', SINKS, model=model)
    run(tmp_path)
    assert [row["position"] for row in lines_of(tmp_path / "scored.ndjson")] == [
        {"source": "Bananas", "offset": i} for i in range(1100)
    ]


def test_checkpoints_are_written_beside_what_is_read_next(place, monkeypatch, tmp_path_factory):
    """A file's reading goes on while a disk is slow; a source that hears of checkpoints is not read meanwhile."""
    read, pack, put = FileSource.read, CheckpointStore.pack, CheckpointStore.put
    has_read, seen = threading.Event(), []

    def read_and_tell(self, limit):
        has_read.set()
        return read(self, limit)

    def pack_before_more_is_read(*arguments):
        has_read.clear()
        return pack(*arguments)

    def put_after_more_is_read(self, data):
        is_amid = 0 < len(seen) < 3  # at the beginning and the end there is nothing to read
        seen.append(has_read.wait(20.0 if is_amid and FileSource.is_steady else 0.0))
        return put(self, data)

    monkeypatch.setattr(FileSource, "read", read_and_tell)
    monkeypatch.setattr(CheckpointStore, "pack", staticmethod(pack_before_more_is_read))
    monkeypatch.setattr(CheckpointStore, "put", put_after_more_is_read)
    other = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(place, other)
    for directory, is_steady in ((place, True), (other, False)):
        monkeypatch.setattr(FileSource, "is_steady", is_steady)
        seen.clear()
        assert run(directory)[0] == 0
        assert seen == [False, is_steady, is_steady, False]
    assert state_of(place / "state") == state_of(other / "state")
