"""Models on disk: whole or not at all, one writer, the newest sound one."""

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from scipy import stats

import streammix as sm
from streammix import checkpoint, store
from streammix.checkpoint import SCHEMA, NewerFormatError


def make(n: int = 0) -> sm.Mixture:
    """A small model that has learnt n records."""
    model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(4, 1)}], weights=[0.5, 0.5], seed=1)
    rng = np.random.default_rng(0)
    for x in rng.normal(2, 2, n).tolist():
        model.learn_one({"x": x})
    return model


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# --- single files ---


def test_save_and_load(tmp_path: Path) -> None:
    model = make(20)
    sm.save(model, tmp_path / "state.arrow", positions={"file": 20}, outputs={"rows": 20})
    assert files(tmp_path) == ["state.arrow"]
    again = sm.load(str(tmp_path / "state.arrow"))
    assert again.score_one({"x": 1.5}) == model.score_one({"x": 1.5})
    found = store.read(tmp_path / "state.arrow")
    assert (found.positions, found.outputs) == ({"file": 20}, {"rows": 20})
    assert found.declaration["n_components"] == 2
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "state.arrow").stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_file_s_weights_are_the_model_s(tmp_path: Path) -> None:
    model = make(20)
    with sm.CheckpointStore(tmp_path) as kept:
        kept.write(model)
        assert kept.history()["weights"].to_pylist() == [model.weights.tolist()]


def fail(kind: int) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(kind, os.strerror(kind))

    return failing


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EIO])
def test_a_failed_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, kind: int
) -> None:
    path = tmp_path / "state.arrow"
    sm.save(make(3), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, step, fail(kind))
    with pytest.raises(sm.CheckpointError, match=rf"state\.arrow: can't be written: {os.strerror(kind)}$"):
        sm.save(make(9), path)
    assert files(tmp_path) == ["state.arrow"]
    assert path.read_bytes() == before


def test_an_interrupted_save_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sm.save(make(3), tmp_path / "state.arrow")
    assert files(tmp_path) == []


@contextmanager
def no_room() -> Iterator[None]:
    """Files may not grow beyond 4 kB: a real short write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_does_not_fit(tmp_path: Path) -> None:
    with no_room(), pytest.raises(sm.CheckpointError, match="can't be written"):
        sm.save(make(3), tmp_path / "state.arrow")
    assert files(tmp_path) == []


@pytest.mark.parametrize("path", ["missing/state.arrow", "directory", "", "a\0b", "n" * 300])
def test_paths_that_can_t_be_written_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    with pytest.raises(sm.CheckpointError, match="can't be written"):
        sm.save(make(), path)
    assert files(tmp_path) == ["directory"]
    with pytest.raises(sm.CheckpointError, match="can't be read"):
        sm.load(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "parquet")
    with pa.ipc.new_file(tmp_path / "arrow", pa.schema([("x", pa.int64())])) as writer:
        writer.write_table(pa.table({"x": [1]}))
    for path in tmp_path.iterdir():
        with pytest.raises(sm.CheckpointError, match=str(path)):
            sm.load(path)
    with pytest.raises(sm.CheckpointError, match="can't be read: Is a directory"):
        sm.load(tmp_path)
    with pytest.raises(sm.CheckpointError, match="can't be read: No such file or directory"):
        sm.load(tmp_path / "missing")


def test_files_of_another_kind_are_not_read_whole(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(sm.CheckpointError, match="not a checkpoint of streammix"):
        sm.load(tmp_path / "large")


class Triangle:
    """A distribution that no file can hold."""

    def logpdf(self, x: float) -> float:
        return float(np.log(max(1 - abs(x - 1), 1e-9)))


def test_distributions_that_a_file_can_t_hold_are_given_again(tmp_path: Path) -> None:
    triangle = Triangle()
    components = [{"x": sm.Fixed(triangle)}, {"x": sm.Fixed(stats.norm(4, 1))}]
    model = sm.Mixture(components=components)
    for x in (0.9, 1.2, 3.7):
        model.learn_one({"x": x})
    with sm.CheckpointStore(tmp_path) as kept:
        path = kept.write(model)
        with pytest.raises(sm.ConfigError, match=r"field 'x': Fixed\(.*Triangle.*give it again"):
            sm.load(path)
        with pytest.raises(sm.ConfigError, match="'x'"):
            kept.latest()
        again = sm.load(path, fixed={"x": triangle})
        found = kept.latest(fixed={"x": triangle})
    assert found is not None
    for one in (again, found.model):
        assert one.weights.tolist() == model.weights.tolist()
        assert one.score_one({"x": 1.0}) == model.score_one({"x": 1.0})


def test_a_sound_file_that_makes_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it was forged, or written by a library that declared models otherwise."""
    snapshot = make(3)._snapshot()
    snapshot.declaration = {**snapshot.declaration, "shape": "round"}
    labels: Any = [("normal", [("x",)], None)]
    (tmp_path / "state.arrow").write_bytes(checkpoint.to_bytes(snapshot, weights=[0.5, 0.5], blocks=labels))
    with pytest.raises(sm.CheckpointError, match=r"state\.arrow: no model can be made of it .*shape"):
        sm.load(tmp_path / "state.arrow")


@pytest.mark.parametrize("part", ["statistics", "priors", "pending"])
def test_statistics_that_are_not_the_model_s_never_reach_the_core(tmp_path: Path, part: str) -> None:
    """It would read beyond them."""
    model = sm.Mixture(components=[{"x": sm.Poisson(1)}, {"x": sm.Poisson(4)}], batch_size=4)
    for x in (1, 4, 2):
        model.learn_one({"x": x})
    snapshot = model._snapshot()
    assert snapshot.state is not None
    if part == "pending":
        snapshot.pending[0] = -1e9
    else:
        short = getattr(snapshot.state, part)
        short[0] = short[0][:, :0]
    labels: Any = [("poisson", [("x",)], None)]
    (tmp_path / "state.arrow").write_bytes(checkpoint.to_bytes(snapshot, weights=[0.5, 0.5], blocks=labels))
    with pytest.raises(sm.CheckpointError, match=r"state\.arrow: (block 0|a row)"):
        sm.load(tmp_path / "state.arrow")


# --- the directory ---


def test_the_newest_is_taken(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "state"
    with sm.CheckpointStore(directory) as kept:
        assert kept.latest() is None
        assert kept.history().num_rows == 0
        for n in (1, 2, 3):
            path = kept.write(make(n), positions={"at": n}, outputs={"rows": n})
        found = kept.latest()
    assert found is not None
    assert found.path == path == directory / "checkpoint-0000000003.arrow"
    assert (found.model.n_seen, found.positions, found.outputs) == (3, {"at": 3}, {"rows": 3})
    assert found.written_at.utcoffset() is not None
    assert kept.damaged == []


def test_as_many_are_kept_as_asked_for(tmp_path: Path) -> None:
    with sm.CheckpointStore(tmp_path, keep=3) as kept:
        for n in range(7):
            kept.write(make(n))
        assert kept.history()["n_seen"].to_pylist() == [4, 5, 6]
    with sm.CheckpointStore(tmp_path, keep=1) as kept:
        assert kept.write(make(8)).name == "checkpoint-0000000008.arrow"
    assert files(tmp_path) == [".lock", "checkpoint-0000000008.arrow"]


@pytest.mark.parametrize("keep", [0, -1, True, 2.0, None])
def test_keep_must_be_a_number(tmp_path: Path, keep: Any) -> None:
    with pytest.raises(sm.ConfigError, match="keep"):
        sm.CheckpointStore(tmp_path, keep=keep)


def test_a_clock_that_jumps_back_does_no_harm(tmp_path: Path) -> None:
    with sm.CheckpointStore(tmp_path, keep=2) as kept:
        for n in range(4):
            path = kept.write(make(n))
            os.utime(path, (10**9 - n, 10**9 - n))
        found = kept.latest()
        assert found is not None
        assert found.model.n_seen == 3
        assert kept.history()["n_seen"].to_pylist() == [2, 3]


def test_other_files_are_let_be(tmp_path: Path) -> None:
    others = ["_dead-letter.ndjson", "checkpoint-1.arrow", "mine.arrow", "checkpoint-0000000009.arrow.bak"]
    for name in others:
        (tmp_path / name).write_text("mine")
    with sm.CheckpointStore(tmp_path, keep=1) as kept:
        kept.write(make())
        kept.write(make(1))
        found = kept.latest()
    assert found is not None
    assert found.model.n_seen == 1
    assert set(others) < set(files(tmp_path))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_one_is_reported_and_the_one_before_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sm.CheckpointStore(tmp_path, keep=2) as kept:
        first, second, third = (kept.write(make(n)) for n in (1, 2, 3))
        assert not first.exists()
        damage(third)
        with caplog.at_level(logging.WARNING, logger="streammix"):
            found = kept.latest()
        assert found is not None
        assert found.path == second
        [(path, reason)] = kept.damaged
        assert path == third
        assert "digest" in reason
        assert f"{third} is passed over: it is damaged" in caplog.text
        assert kept.history()["n_seen"].to_pylist() == [2]
        # the damaged one doesn't count among those that are kept, and goes when it is older than they are
        fourth = kept.write(found.model)
        assert [path.exists() for path in (second, third, fourth)] == [True, True, True]
        fifth = kept.write(found.model)
        assert [path.exists() for path in (second, third, fourth, fifth)] == [False, False, True, True]


def test_all_damaged(tmp_path: Path) -> None:
    with sm.CheckpointStore(tmp_path) as kept:
        for n in (1, 2):
            path = kept.write(make(n))
            path.write_bytes(path.read_bytes()[: -100 * n])
        with pytest.raises(
            sm.CheckpointError, match=f"{tmp_path}: all 2 checkpoints are damaged; the newest, .*2.arrow"
        ):
            kept.latest()
        assert len(kept.damaged) == 2
        assert kept.history().num_rows == 0


def test_a_newer_format_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on from an older checkpoint would fork the run's history."""
    with sm.CheckpointStore(tmp_path) as kept:
        kept.write(make(1))
        monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
        path = kept.write(make(2))
        monkeypatch.undo()
        for call in (kept.latest, kept.history, lambda: sm.load(path)):
            with pytest.raises(NewerFormatError, match=f"{path}: it has format {checkpoint.FORMAT + 1}"):
                call()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_checkpoints_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with sm.CheckpointStore(tmp_path, keep=1) as kept:
        first = kept.write(make(1))
        monkeypatch.setattr(os, step, fail(errno.ENOSPC))
        with pytest.raises(sm.CheckpointError, match=f"{tmp_path}.*can't be written: No space left on device"):
            kept.write(make(2))
        monkeypatch.undo()
        assert files(tmp_path) == [".lock", first.name]
        found = kept.latest()
        assert found is not None
        assert found.model.n_seen == 1
        kept.write(make(2))


def test_a_directory_that_vanishes(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    with sm.CheckpointStore(directory) as kept:
        kept.write(make(1))
        directory.rename(tmp_path / "moved")
        for call in (lambda: kept.write(make(2)), kept.latest, kept.history):
            with pytest.raises(sm.CheckpointError, match=str(directory)):
                call()
        # another writer makes the directory anew, and has its lock
        with sm.CheckpointStore(directory) as other:
            other.write(make(3))
            for call in (lambda: kept.write(make(2)), kept.latest):
                with pytest.raises(sm.CheckpointError, match="removed or replaced"):
                    call()
    assert files(tmp_path / "moved") == [".lock", "checkpoint-0000000001.arrow"]
    assert len(files(directory)) == 2


def test_a_directory_that_can_t_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below", "a\0b"):
        with pytest.raises(sm.CheckpointError, match="can't hold checkpoints"):
            sm.CheckpointStore(directory)


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    for name in (".checkpoint-0000000004.arrow.12345678.tmp", ".other.tmp"):
        (tmp_path / name).write_text("half")
    sm.CheckpointStore(tmp_path, readonly=True).close()
    assert len(files(tmp_path)) == 2
    with sm.CheckpointStore(tmp_path):
        assert files(tmp_path) == [".lock", ".other.tmp"]


# --- one writer, any readers ---


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with sm.CheckpointStore(tmp_path) as kept:
        kept.write(make(1))
        with pytest.raises(sm.CheckpointError, match=f"{tmp_path}: another writer"):
            sm.CheckpointStore(tmp_path)
        with sm.CheckpointStore(tmp_path, readonly=True) as reader:
            found = reader.latest()
            assert found is not None
            assert found.model.n_seen == 1
            assert reader.history().num_rows == 1
            with pytest.raises(sm.CheckpointError, match="read-only"):
                reader.write(make(2))
        kept.write(make(2))
    with pytest.raises(sm.CheckpointError, match="closed"):
        kept.write(make(3))
    kept.close()
    sm.CheckpointStore(tmp_path).write(make(3))  # without `with`, the lock goes with the store
    with sm.CheckpointStore(tmp_path) as again:
        assert again.history()["n_seen"].to_pylist() == [1, 2, 3]


def test_reading_needs_a_directory_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(sm.CheckpointError, match="missing: there is no such directory"):
        sm.CheckpointStore(tmp_path / "missing", readonly=True)
    assert files(tmp_path) == []


def test_a_reader_that_the_writer_overtakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was listed is gone when it is to be read: the reader looks again."""
    with sm.CheckpointStore(tmp_path, keep=1) as kept, sm.CheckpointStore(tmp_path, readonly=True) as reader:
        kept.write(make(1))
        listed = store.CheckpointStore._names

        def overtaken(self: sm.CheckpointStore) -> list[str]:
            paths = listed(self)
            monkeypatch.undo()
            kept.write(make(2))
            return paths

        monkeypatch.setattr(store.CheckpointStore, "_names", overtaken)
        found = reader.latest()
    assert found is not None
    assert found.model.n_seen == 2


HOLD = """
import sys, time, streammix as sm
store = sm.CheckpointStore(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""

KILLED = """
import os, random, signal, sys, time
import streammix as sm
random.seed(1)
model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(4, 1)}])
sm.save(model, sys.argv[1] + ".first")  # what is imported on the first use is there for every run
for run in range(15):
    heard, told = os.pipe()
    pid = os.fork()
    if not pid:
        store = sm.CheckpointStore(sys.argv[1], keep=3)
        found = store.latest()
        model = found.model if found else model
        while True:
            model.learn_one({"x": 1.0})
            store.write(model, positions={"at": model.n_seen})
            os.write(told, b"%d\\n" % model.n_seen)
    os.close(told)
    with os.fdopen(heard) as lines:
        for _ in range(random.randint(1, 3)):
            print(lines.readline(), end="")
        time.sleep(random.uniform(0, 0.005))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(lines.read(), end="")
"""


def python(script: str, directory: Path) -> subprocess.Popen[str]:
    package = Path(sm.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": f"{package}"}
    return subprocess.Popen(
        [sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_the_lock_of_another_process_goes_when_it_is_killed(tmp_path: Path) -> None:
    with python(HOLD, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(sm.CheckpointError, match=f"{tmp_path}: another writer"):
            sm.CheckpointStore(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    sm.CheckpointStore(tmp_path).close()


def test_killed_at_any_instant(tmp_path: Path) -> None:
    """Each checkpoint that write() returned from is there after kill −9, whole, and the run goes on from it."""
    with python(KILLED, tmp_path / "state") as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    reported = [int(line) for line in said.split()]
    assert reported == sorted(set(reported))  # a checkpoint may be written and not reported, but none is lost
    with sm.CheckpointStore(tmp_path / "state") as kept:
        found = kept.latest()
        assert found is not None
        assert found.model.n_seen >= reported[-1] >= 15
        assert found.positions == {"at": found.model.n_seen}
        assert kept.damaged == []
        assert not [name for name in files(tmp_path / "state") if name.endswith(".tmp")]


# --- a directory is a table ---


@pytest.fixture(scope="module")
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints while warming up with no field known, then with new levels and with a field newly missing."""
    directory = tmp_path_factory.mktemp("state")
    rng = np.random.default_rng(4)
    model = sm.Mixture(n_components=2, warm_up=50, seed=3)
    with sm.CheckpointStore(directory) as kept:
        for n in range(120):
            if n in (0, 20, 60, 80):
                kept.write(model, positions={"events": n})
            record: dict[str, Any] = {"amount": float(rng.normal()), "wait": float(rng.normal())}
            record["country"] = str(rng.choice(["de", "fr"] if n < 70 else ["de", "fr", "it", "größe"]))
            if n > 90 and n % 5 == 0:
                del record["country"]
            model.learn_one(record)
        kept.write(model, positions={"events": 120})
    (directory / "_dead-letter.ndjson").write_text("{}\n")
    return directory


SEEN = [0, 20, 60, 80, 120]


def test_pyarrow_reads_the_directory(state_directory: Path) -> None:
    table = ds.dataset(state_directory, format="arrow").to_table().sort_by("n_seen")
    assert table.schema.equals(SCHEMA)
    assert table["n_seen"].to_pylist() == SEEN
    with sm.CheckpointStore(state_directory, readonly=True) as kept:
        assert kept.history().equals(table)


def test_duckdb_reads_the_directory(state_directory: Path) -> None:
    checkpoints = ds.dataset(state_directory, format="arrow")
    with duckdb.connect() as connection:
        connection.register("checkpoints", checkpoints)
        rows = connection.sql("""
            select n_seen, f.field, f.statistics['counts'], (positions::json->>'events')::int
            from (select n_seen, positions, unnest(components) as c from checkpoints), unnest(c.fields) as t(f)
            where f.family = 'categorical' order by n_seen
        """).fetchall()
    assert [row[0] for row in rows] == [60, 60, 80, 80, 120, 120]
    assert {row[1] for row in rows} == {"country"}
    assert [row[0] for row in rows] == [row[3] for row in rows]
    assert all(sum(row[2]) > 0 for row in rows)


def test_polars_reads_the_directory(state_directory: Path) -> None:
    frame = pl.scan_ipc(state_directory / "*.arrow").sort("n_seen").collect()
    assert frame["n_seen"].to_list() == SEEN
    components = frame.select("n_seen", pl.col("components").list.len().alias("k"))
    assert components["k"].to_list() == [0, 0, 2, 2, 2]
    masses = frame.explode("components").drop_nulls("components").unnest("components")["mass"]
    assert len(masses) == 6
    assert (masses > 0).all()
