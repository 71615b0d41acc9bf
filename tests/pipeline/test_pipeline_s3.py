"""Runs whose checkpoints are on object storage."""

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest
from pipeline_tools import SINKS, events, lines_of, run, write_config, write_ndjson
from servers import free_port
from test_pipeline_cli import call

from streammix import bucket as bucket_module
from streammix.pipeline import faults
from streammix.store import CheckpointStore


@pytest.fixture
def place(tmp_path, bucket):
    """A directory with 1,200 events and a configuration."""
    write_ndjson(tmp_path / "events" / "a.ndjson", [*events(1200), {"x": "bad"}])
    path = write_config(tmp_path, 'kind = "file"\npath = "*/*.ndjson"', SINKS)
    path.write_text(path.read_text().replace('directory = "state"', f'directory = "{bucket}"'))
    return tmp_path


def test_run_inspect_and_score(place, bucket):
    status, table, _ = run(place)
    assert status == 0
    assert "2 components after 1,200 records" in table
    assert len(lines_of(place / "_dead-letter.ndjson")) == 1
    write_ndjson(place / "events" / "b.ndjson", events(300, seed=5))
    status, _, said = run(place)
    assert status == 0
    assert "resuming after 1,201 records" in said
    assert len(lines_of(place / "scored.ndjson")) == 1500
    assert not (place / "state").exists()

    with CheckpointStore(bucket, readonly=True) as store:
        found = store.latest()
        sizes = store.sizes
    assert found.model.n_seen == 1500
    status, text, _ = call("inspect", bucket)
    assert status == 0
    assert f"checkpoint: {found.path}" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("20")]
    assert [row[2] for row in rows] == ["1,200", "1,499", "1,500"]
    assert rows[0][3] == "–"
    assert rows[-1][-1] == f"{sizes[-1]:,}"
    scores = [line["score"] for line in lines_of(place / "scored.ndjson")[1200:]]
    assert float(rows[1][3]) == pytest.approx(-sum(scores[:299]) / 299, abs=1e-3)

    status, _, _ = call("score", bucket, place / "events" / "b.ndjson", "-o", place / "again.ndjson")
    assert status == 0
    assert len(lines_of(place / "again.ndjson")) == 300


def test_a_run_beside_another_is_refused(place, bucket, monkeypatch):
    monkeypatch.setattr("streammix.bucket.RENEW_SECONDS", 0.05)
    with CheckpointStore(bucket):
        status, _, said = run(place)
    assert status == 1
    assert f"{bucket}: another writer is using these checkpoints" in said
    assert not (place / "scored.ndjson").exists()


def test_a_store_that_is_away_at_the_start_is_waited_for(place, bucket, monkeypatch):
    monkeypatch.setattr(bucket_module, "PATIENCE", timedelta(seconds=0.1))
    monkeypatch.setattr(faults, "FIRST_WAIT", 0.02)
    opened, endpoint = bucket_module._open, os.environ["AWS_ENDPOINT_URL"]
    ways = iter([f"http://127.0.0.1:{free_port()}", endpoint])

    def open_somewhere(url):
        monkeypatch.setenv("AWS_ENDPOINT_URL", next(ways, endpoint))
        return opened(url)

    monkeypatch.setattr(bucket_module, "_open", open_somewhere)
    status, _, said = run(place)
    assert status == 0, said
    assert said.count("trying again until it is back") == 1
    assert "going on after" in said
    assert len(lines_of(place / "scored.ndjson")) == 1200


def test_a_bucket_that_does_not_exist_ends_a_run_at_once(place, bucket):
    path = place / "pipeline.toml"
    path.write_text(path.read_text().replace(bucket, "s3://no-such-bucket-here/state"))
    status, _, said = run(place)
    assert (status, said.count("\n")) == (1, 1)
    assert "s3://no-such-bucket-here/state: the store answers 404 Not Found (NoSuchBucket)" in said


@pytest.mark.parametrize(("number", "is_final"), [(errno.EIO, False), (errno.EACCES, True)])
def test_a_directory_that_is_away_at_the_start(number, is_final, place, bucket, monkeypatch):
    path = place / "pipeline.toml"
    path.write_text(path.read_text().replace(bucket, "state"))
    monkeypatch.setattr(faults, "FIRST_WAIT", 0.02)
    mkdir, failures = Path.mkdir, [OSError(number, os.strerror(number))]

    def fail_once(self, *arguments, **options):
        if self.name == "state" and failures:
            raise failures.pop()
        mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", fail_once)
    status, _, said = run(place)
    assert f"state: can't hold checkpoints: {os.strerror(number)}" in said
    assert (status, said.count("trying again until it is back")) == ((1, 0) if is_final else (0, 1))
