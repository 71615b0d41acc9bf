"""What fails and comes back is waited for; then the run ends as if nothing had happened."""

import errno
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest
from pipeline_tools import (
    FILES,
    PROGRAM,
    SINKS,
    count_lines,
    events,
    lines_of,
    run,
    scored_parquet,
    state_of,
    write_config,
    write_ndjson,
)

from streammix.errors import CheckpointError, StreammixError, UnavailableError
from streammix.pipeline import faults
from streammix.pipeline.faults import Patience
from streammix.pipeline.sinks import parquet
from streammix.pipeline.sinks.ndjson import GrowingFile, NdjsonSink
from streammix.pipeline.sinks.parquet import ParquetSink
from streammix.pipeline.sources.file import FileSource
from streammix.pipeline.stopping import StopRequest, is_over, stop_on_signals
from streammix.store import CheckpointStore


@pytest.fixture
def brief(monkeypatch):
    """Make the waits short."""
    monkeypatch.setattr(faults, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(faults, "LONGEST_WAIT", 0.005)


def failing(function, at, times=3):
    """Return the function, failing several times in a row from the call of a number on."""
    calls = 0

    def fails(*arguments, **named):
        nonlocal calls
        calls += 1
        if at <= calls < at + times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments, **named)

    return fails


def rows_of(directory):
    """Return a Parquet sink's rows without the boundaries of its files."""
    return scored_parquet(directory / "scored").combine_chunks()


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [
        (ParquetSink, "write", 2),
        (ParquetSink, "flush_beside", 2),
        (parquet, "_write_group", 2),
        (parquet, "sync_directory", 2),
        (GrowingFile, "write", 2),
        (GrowingFile, "flush_beside", 4),
        (FileSource, "read", 2),
        (os, "fsync", 8),
    ],
)
def test_a_disk_that_is_full_for_a_while(place, owner, name, at, monkeypatch, brief, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(place, whole)
    run(whole)
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), at))
    status, _, said = run(place)
    assert status == 0
    assert said.count("No space left on device; ") <= 2  # one line, however many attempts
    assert "trying again until it is back" in said
    assert "going on after" in said
    assert "after the last checkpoint" not in said  # what each attempt cuts off is no news
    assert state_of(place / "state") == state_of(whole / "state")
    assert rows_of(place) == rows_of(whole)
    assert (place / "scored.ndjson").read_bytes() == (whole / "scored.ndjson").read_bytes()


def test_the_checkpoints_are_away_for_a_while(place, monkeypatch, brief):
    write = CheckpointStore.put
    away = place / "away"
    calls = 0

    def vanish_then_write(self, *arguments, **named):
        nonlocal calls
        calls += 1
        if calls == 2:
            (place / "state").rename(away)
            threading.Timer(0.1, lambda: away.rename(place / "state")).start()
        return write(self, *arguments, **named)

    monkeypatch.setattr(CheckpointStore, "put", vanish_then_write)
    status, _, said = run(place)
    assert status == 0, said
    assert "the directory was removed or replaced; nothing was written; trying again until it is back" in said
    assert len(lines_of(place / "scored.ndjson")) == len(scored_parquet(place / "scored")) == 1200
    assert len(list((place / "state").glob("*.arrow"))) == 3


@pytest.mark.parametrize("replaced", [False, True])
def test_the_file_of_a_sink_is_away_for_a_while(place, replaced, monkeypatch, brief, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(place, whole)
    run(whole)
    flush, away, calls = NdjsonSink.flush_beside, place / "away", []

    def vanish_then_flush(self, records):
        calls.append(records)
        if len(calls) == 3:
            (place / "scored.ndjson").rename(away)
            if replaced:
                (place / "scored.ndjson").write_bytes(b"")
            threading.Timer(0.1, lambda: away.rename(place / "scored.ndjson")).start()
        return flush(self, records)

    monkeypatch.setattr(NdjsonSink, "flush_beside", vanish_then_flush)
    status, _, said = run(place)
    assert status == 0, said
    why = f"{place / 'scored.ndjson'} was taken away or replaced" if replaced else "No such file or directory"
    assert f"sink ndjson:scored.ndjson can't be written: {why}; the last checkpoint stands; trying again" in said
    assert "going on after" in said
    assert (place / "scored.ndjson").read_bytes() == (whole / "scored.ndjson").read_bytes()
    assert rows_of(place) == rows_of(whole)
    assert state_of(place / "state") == state_of(whole / "state")


def test_the_first_refusal_is_told_once(place, monkeypatch, brief):
    path = place / "events" / "a.ndjson"
    path.write_text("{\n" + path.read_text())
    monkeypatch.setattr(ParquetSink, "write", failing(ParquetSink.write, 1, times=4))
    status, _, said = run(place)
    assert status == 0
    assert said.count("events/a.ndjson at 0 is refused") == 1


def test_checkpoints_of_another_run_in_the_place_of_ours(place, monkeypatch, brief):
    write_config(place, FILES, SINKS, more="[faults]\npatience_seconds = 0.05")
    write, calls, written = CheckpointStore.put, [], []

    def write_unless_replaced(self, data):
        calls.append(data)
        if len(calls) == 3:
            written.extend(file.stat() for file in sorted((place / "scored").iterdir()))
            (place / "state").rename(place / "away")
            shutil.copytree(place / "away", place / "state")
        return write(self, data)

    monkeypatch.setattr(CheckpointStore, "put", write_unless_replaced)
    status, _, said = run(place)
    assert status == 1
    assert 'state: the directory was removed or replaced; nothing was written"' in said
    left = [file.stat() for file in sorted((place / "scored").iterdir())]
    assert [(file.st_ino, file.st_mtime_ns) for file in left] == [(file.st_ino, file.st_mtime_ns) for file in written]


def test_a_checkpoint_that_is_written_and_fails_all_the_same(place, monkeypatch, brief, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(place, whole)
    run(whole)
    write, calls = CheckpointStore.put, []

    def write_then_fail(self, *arguments, **named):
        done = write(self, *arguments, **named)
        calls.append(done)
        if len(calls) == 2:  # as when what it holds can't be sent to a broker
            raise CheckpointError("the directory can't be synchronised")
        return done

    monkeypatch.setattr(CheckpointStore, "put", write_then_fail)
    status, _, said = run(place)
    assert status == 0
    assert "can't be synchronised" in said
    assert "records 1,200" in said
    assert state_of(place / "state") == state_of(whole / "state")
    assert rows_of(place) == rows_of(whole)
    assert sorted(os.listdir(place / "scored")) == sorted(os.listdir(whole / "scored"))


def test_patience_ends(place, monkeypatch, brief):
    monkeypatch.setattr(ParquetSink, "write", failing(ParquetSink.write, 1, times=10**9))
    write_config(place, FILES, SINKS, more="[faults]\npatience_seconds = 0.05")
    status, _, said = run(place)
    assert status == 1
    assert "sink parquet:scored can't be written: No space left on device; the last checkpoint stands\"" in said


def test_a_request_to_stop_ends_the_waiting():
    stop = StopRequest()
    patience = Patience(None, stop)
    threading.Timer(0.05, lambda: setattr(stop, "signal", signal.SIGTERM)).start()
    assert [patience.wait(UnavailableError("gone")) for _ in range(9)][-1] is False


def test_waits_grow_and_begin_anew_after_progress(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", lambda seconds: now.append(now[-1] + seconds))
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[-1])
    patience = Patience(100.0, StopRequest())

    def wait():
        begin = now[-1]
        patience.wait(UnavailableError("gone"))
        waits.append(now[-1] - begin)

    for _ in range(8):
        wait()
    assert all(0.5 * w <= seen <= w + 1e-9 for w, seen in zip([0.5, 1, 2, 4, 8, 15, 15, 15], waits, strict=True))
    patience.went_well()
    wait()
    assert waits[-1] <= 0.5
    for _ in range(8):
        wait()
    now.append(now[-1] + 60.0)
    with pytest.raises(StreammixError, match="gone"):
        wait()


@pytest.mark.slow
def test_following_files_killed_and_resumed(tmp_path):
    """A run that follows is killed while files grow, and ends with a checkpoint on SIGTERM."""
    records = events(1000)
    write_config(tmp_path, FILES + "\nfollow = true", SINKS, every=250)
    path = tmp_path / "events" / "a.ndjson"
    config = tmp_path / "pipeline.toml"
    log = open(tmp_path / "log.txt", "ab")  # noqa: SIM115
    with log:
        for part in range(2):
            process = subprocess.Popen([*PROGRAM, "run", config], stderr=log, stdout=log)
            write_ndjson(path, records[500 * part : 500 * part + 250], mode="a")
            wanted = 500 * part + (250 if part % 2 else 0)  # sometimes in the middle of the start
            wait_for(lambda wanted=wanted: count_lines(tmp_path / "scored.ndjson") >= wanted)
            write_ndjson(path, records[500 * part + 250 : 500 * part + 500], mode="a")
            process.kill()
            assert process.wait() == -signal.SIGKILL
        process = subprocess.Popen([*PROGRAM, "run", config], stderr=log, stdout=log)
        wait_for(lambda: count_lines(tmp_path / "scored.ndjson") == 1000)
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    whole = tmp_path / "whole"
    write_ndjson(whole / "events" / "a.ndjson", records)
    write_config(whole, FILES, SINKS, every=250)
    run(whole)
    assert (whole / "scored.ndjson").read_bytes() == (tmp_path / "scored.ndjson").read_bytes()
    ours, theirs = state_of(tmp_path / "state"), state_of(whole / "state")
    different = {name for name in theirs if ours[name] != theirs[name]}
    assert different <= {"positions", "outputs"}  # where the file's inode is kept


def wait_for(happened, seconds=60):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_request_to_stop_ends_waits_for_others():
    begin = time.monotonic()
    assert not is_over(begin, 60.0, stopping=0.0)
    with stop_on_signals() as stop:
        assert not is_over(begin, 60.0, stopping=0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        assert is_over(begin, 60.0, stopping=0.0)
        assert not is_over(time.monotonic(), 60.0, stopping=60.0)
    assert not is_over(begin, 60.0, stopping=0.0)  # another run has not been asked
    assert is_over(begin, 0.0)


def test_a_consumer_that_does_not_close_holds_nobody_up():
    kafka_link = pytest.importorskip("streammix.pipeline.kafka_link")
    done = threading.Event()

    class Stuck:
        def close(self):
            done.wait()

    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        kafka_link.close_consumer(Stuck())
        assert not done.is_set()
        done.set()
