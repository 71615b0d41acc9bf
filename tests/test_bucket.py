"""Checkpoints on object storage: one PUT each, one writer, whoever comes after a crash."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import obstore
import pyarrow as pa
import pytest
from obstore.store import from_url
from test_store import make

import streammix as sm
from streammix import bucket as module
from streammix.checkpoint import to_bytes


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Nobody waits long in a test."""
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(module, "TAKE_OVER_SECONDS", 0.4)


@pytest.fixture
def objects(bucket):
    """The bucket itself, for looking and meddling."""
    return from_url(bucket, client_options={"allow_http": True})


def names(objects):
    return sorted(entry["path"] for entry in obstore.list(objects).collect())


def test_the_newest_is_taken_and_as_many_are_kept_as_asked_for(bucket, objects):
    with sm.CheckpointStore(bucket, keep=2) as kept:
        assert kept.latest() is None
        assert kept.history().num_rows == 0
        for n in (1, 2, 3):
            url = kept.write(make(n), positions={"at": n}, outputs={"rows": n})
        found = kept.latest()
        assert found.path == url == f"{bucket}/checkpoint-0000000003.arrow"
        assert (found.model.n_seen, found.positions, found.outputs) == (3, {"at": 3}, {"rows": 3})
        assert kept.history()["n_seen"].to_pylist() == [2, 3]
        assert kept.sizes == [entry["size"] for entry in obstore.list(objects).collect() if "0000" in entry["path"]]
    assert names(objects) == ["_writer", "checkpoint-0000000002.arrow", "checkpoint-0000000003.arrow"]
    with sm.CheckpointStore(f"{bucket}/", keep=2) as kept:
        assert kept.write(make(4)) == f"{bucket}/checkpoint-0000000004.arrow"


def test_a_damaged_one_is_reported_and_the_one_before_taken(bucket, objects, caplog):
    with sm.CheckpointStore(bucket) as kept:
        first, second = (kept.write(make(n)) for n in (1, 2))
        name = second.rpartition("/")[2]
        obstore.put(objects, name, bytes(obstore.get(objects, name).bytes())[:-30])
        found = kept.latest()
        assert (found.path, found.model.n_seen) == (first, 1)
        assert [place for place, _ in kept.damaged] == [second]
        assert f"{second} is passed over" in caplog.text
        kept.write(make(3))
        assert kept.latest().model.n_seen == 3
        assert kept.history()["n_seen"].to_pylist() == [1, 3]


def test_other_objects_are_let_be(bucket, objects):
    for name in ("checkpoint-1.arrow", "mine", "below/checkpoint-0000000009.arrow"):
        obstore.put(objects, name, b"mine")
    with sm.CheckpointStore(bucket, keep=1) as kept:
        for n in (1, 2):
            kept.write(make(n))
        assert kept.latest().model.n_seen == 2
    assert {"checkpoint-1.arrow", "mine", "below/checkpoint-0000000009.arrow"} < set(names(objects))


def test_a_second_writer_is_refused(bucket, caplog):
    caplog.set_level(logging.INFO, logger="streammix")
    with sm.CheckpointStore(bucket) as kept:
        kept.write(make(1))
        with pytest.raises(sm.CheckpointError, match=f"{bucket}: another writer is using these checkpoints$"):
            sm.CheckpointStore(bucket)
        with sm.CheckpointStore(bucket, readonly=True) as reader:
            assert reader.latest().model.n_seen == 1
            with pytest.raises(sm.CheckpointError, match="read-only"):
                reader.write(make(2))
        kept.write(make(2))
    with pytest.raises(sm.CheckpointError, match="closed"):
        kept.write(make(3))
    sm.CheckpointStore(bucket).write(make(3))  # without `with`, the claim goes with the store
    with sm.CheckpointStore(bucket) as again:
        assert again.history()["n_seen"].to_pylist() == [1, 2, 3]
    assert caplog.text.count("the last writer has not let go") == 1  # of the one that was refused


def test_of_two_that_come_at_once_one_is_refused(bucket):
    stores, refused = [], []

    def come():
        try:
            stores.append(sm.CheckpointStore(bucket))
        except sm.CheckpointError as error:
            refused.append(error)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(stores), len(refused)) == (1, 3)
    stores[0].close()


HOLD = """
import sys, time, streammix as sm
from streammix import bucket
bucket.RENEW_SECONDS = 0.05
store = sm.CheckpointStore(sys.argv[1])
model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(4, 1)}])
store.write(model)
print("held", flush=True)
for line in sys.stdin:
    try:
        store.write(model)
        print("written", flush=True)
    except sm.CheckpointError as error:
        print(error, flush=True)
"""


@pytest.fixture
def other(bucket):
    """A writer in a process of its own, that has written one checkpoint and writes another for each line."""
    environment = os.environ | {"PYTHONPATH": str(Path(sm.__file__).parent.parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", HOLD, bucket]
    with subprocess.Popen(command, text=True, bufsize=1, env=environment, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_writer_that_was_killed_is_followed(bucket, other):
    with pytest.raises(sm.CheckpointError, match="another writer"):
        sm.CheckpointStore(bucket)
    other.kill()
    other.wait()
    with sm.CheckpointStore(bucket) as kept:
        assert kept.latest().model.n_seen == 0
        kept.write(make(2))
        assert kept.history()["n_seen"].to_pylist() == [0, 2]


@pytest.mark.parametrize("keep", [5, 1])
def test_a_writer_that_was_taken_for_dead_stops(bucket, other, keep):
    """It stood still while another one took over; also where what it would find in its way was removed since."""
    other.send_signal(signal.SIGSTOP)
    with sm.CheckpointStore(bucket, keep=keep) as kept:
        for n in (2, 3):
            kept.write(make(n))
        other.stdin.write("go on\n")
        other.send_signal(signal.SIGCONT)
        said = other.stdout.readline()
        assert said == f"{bucket}: another writer has gone on from here, and this one stops\n"
        assert kept.latest().model.n_seen == 3
        kept.write(make(4))
        assert kept.latest().model.n_seen == 4


def without_a_claim(url):
    """Open a store that learns nothing of its claim: only the checkpoints themselves can stop it."""
    store = sm.CheckpointStore(url)
    store._at._claim._stop.set()
    store._at._claim._thread.join()
    return store


@pytest.mark.parametrize("keep", [5, 1])
def test_numbers_alone_stop_the_slower_writer(bucket, keep):
    slow = without_a_claim(bucket)
    slow.write(make(1))
    fast = without_a_claim(bucket)
    fast.keep = keep
    for n in (2, 3, 4):
        fast.write(make(n))
    with pytest.raises(sm.CheckpointError, match="another writer has gone on from here, and this one stops"):
        slow.write(make(9))
    assert fast.write(make(5)).endswith("checkpoint-0000000005.arrow")
    assert fast.latest().model.n_seen == 5
    assert 9 not in fast.history()["n_seen"].to_pylist()


def test_a_put_between_the_listing_and_ours_is_not_written_over(bucket, objects, monkeypatch):
    put = obstore.put

    def overtaken(store, name, data, **how):
        if name.startswith("checkpoint"):
            put(objects, name, packed(make(7)))
        return put(store, name, data, **how)

    with sm.CheckpointStore(bucket) as kept:
        monkeypatch.setattr(obstore, "put", overtaken)
        with pytest.raises(sm.CheckpointError, match="another writer has gone on"):
            kept.write(make(1))
        monkeypatch.undo()
        assert kept.latest().model.n_seen == 7


def test_a_put_that_had_succeeded_unheard_is_no_other_writer_s(bucket, objects, monkeypatch):
    """The answer was lost, the client has tried again, and found what it had put."""
    put = obstore.put

    def twice(store, name, data, **how):
        put(store, name, data, **how)
        return put(store, name, data, **how)

    with sm.CheckpointStore(bucket) as kept:
        monkeypatch.setattr(obstore, "put", twice)
        kept.write(make(1))
        kept.write(make(2))
        assert kept._at._claim._renew_once() is None
        assert not kept._at._claim.is_lost
        monkeypatch.undo()
        assert kept.history()["n_seen"].to_pylist() == [1, 2]


def test_a_put_whose_answer_was_lost_counts(bucket, monkeypatch):
    """It had reached the store, which then was away."""
    put = obstore.put

    def unheard(store, name, data, **how):
        put(store, name, data, **how)
        raise obstore.exceptions.GenericError("error sending request")

    with sm.CheckpointStore(bucket) as kept:
        kept.write(make(1))
        monkeypatch.setattr(obstore, "put", unheard)
        with pytest.raises(sm.CheckpointError, match="the store can't be used"):
            kept.write(make(2))
        monkeypatch.setattr(obstore, "put", put)
        assert kept.latest().model.n_seen == 2
        kept.write(make(3))
        assert kept.history()["n_seen"].to_pylist() == [1, 2, 3]


def packed(model):
    return to_bytes(model._snapshot(), weights=model.weights, blocks=[("normal", [("x",)], None)])


def test_places_that_are_none(bucket, s3_server, monkeypatch):
    with pytest.raises(sm.CheckpointError, match=r"s3://nowhere/x: the store answers 404 Not Found \(NoSuchBucket\)"):
        sm.CheckpointStore("s3://nowhere/x", readonly=True).latest()
    with pytest.raises(sm.CheckpointError, match=r"s3://nowhere/x: .*404 Not Found"):
        sm.CheckpointStore("s3://nowhere/x")
    for url in ("gs://bucket/state", "s3:///state", "https://host/state"):
        with pytest.raises(sm.ConfigError, match=f"{url}: checkpoints on object storage lie at s3://bucket/prefix"):
            sm.CheckpointStore(url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(module, "PATIENCE", module.timedelta(seconds=0.2))
    with pytest.raises(sm.CheckpointError, match=r"s3://b/x: the store can't be used: HTTP error"):
        sm.CheckpointStore("s3://b/x")


def test_an_empty_table_of_history(bucket):
    with sm.CheckpointStore(bucket, readonly=True) as reader:
        assert isinstance(reader.history(), pa.Table)
        assert reader.latest() is None
