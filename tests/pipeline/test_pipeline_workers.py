"""Runs with worker processes end as runs without them do, to the last bit."""

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pipeline_tools import PROGRAM, events, lines_of, run, scored_parquet, state_of, write_config, write_ndjson

import streammix as sm
from streammix.errors import ConfigError, UnavailableError
from streammix.pipeline.commands import run as run_pipeline
from streammix.pipeline.config import load_config
from streammix.pipeline.crew import Crew
from streammix.pipeline.flow import Batch

SINK = '[[sink]]\nkind = "parquet"\npath = "scored"\n[[sink]]\nkind = "ndjson"\npath = "scored.ndjson"\n'
SOURCE = 'kind = "file"\npath = "events/*"'
MODEL = """
[model]
n_components = 2
warm_up = 1000
batch_size = 8192
averaging = {averaging}
seed = 3
"""
FIELDS = '[model.fields]\nx = "Normal"\ny = "Exponential"\nkind = "Categorical"\n'


def prepare(directory, write, workers, averaging=False, fields=FIELDS, every=20_000):
    """Make a directory with a stream and a configuration."""
    directory.mkdir()
    write(directory)
    model = MODEL.format(averaging=str(averaging).lower()) + fields
    path = write_config(directory, SOURCE, SINK, every, model)
    path.write_text(f"workers = {workers}\n" + path.read_text())
    return directory


def same(one, other):
    """Two runs have come to the same."""
    ours, theirs = state_of(one / "state"), state_of(other / "state")
    for name in ours:
        if name not in ("positions", "outputs"):
            assert repr(ours[name].to_pylist()) == repr(theirs[name].to_pylist()), name  # NaN is NaN
    mine, others = scored_parquet(one / "scored"), scored_parquet(other / "scored")
    assert mine.combine_chunks().equals(others.combine_chunks())
    assert (one / "scored.ndjson").read_bytes() == (other / "scored.ndjson").read_bytes()
    bad = [lines_of(place / "state" / "_dead-letter.ndjson") for place in (one, other)]
    assert bad[0] == bad[1]


def stream(n, news=()):
    """Records, some of them with gaps, levels that come late, and what `news` says."""
    records = events(n, 5)
    for i, record in enumerate(records):
        if i % 11 == 0:
            del record["y"]
        if i > 20_000 and i % 501 == 0:
            record["kind"] = f"new-{i % 5}"
    for i, change in news:
        records[i] = change(records[i])
    return records


def as_lines(directory):
    """Two files of lines; some are no records, and one has a value that is refused."""
    records = stream(40_000, [(30_000, lambda x: x | {"y": -1.0})])
    write_ndjson(directory / "events" / "a.ndjson", records[:13_000])
    write_ndjson(directory / "events" / "b.ndjson", records[13_000:])
    with open(directory / "events" / "c.ndjson", "w") as file:
        file.writelines(json.dumps(x) + "\n" for x in events(9_000, 6))
        file.write("no record\n")


def as_parquet(directory):
    """A table, and a field that joins where fields are inferred."""
    records = stream(42_000, [(i, lambda x: x | {"late": x["x"]}) for i in range(27_000, 27_400, 2)])
    (directory / "events").mkdir()
    table = pa.table({name: [x.get(name) for x in records] for name in ("x", "y", "kind", "late")})
    pq.write_table(table, directory / "events" / "a.parquet")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "averaging", "fields"), [(as_lines, False, FIELDS), (as_parquet, True, FIELDS), (as_parquet, False, "")]
)
def test_workers_change_no_bit(tmp_path, monkeypatch, write, averaging, fields):
    shared, learn = [], Crew.learn

    def counted(self, model, parts, meanwhile):
        done = learn(self, model, parts, meanwhile)
        shared.append(done is not None)
        return done

    monkeypatch.setattr(Crew, "learn", counted)
    places = [prepare(tmp_path / str(workers), write, workers, averaging, fields) for workers in (1, 2)]
    for place in places:
        assert run(place)[0] == 0
    same(*places)
    assert any(shared)  # mini-batches that workers have learnt, and some that they have not
    assert not all(shared)


@pytest.mark.slow
def test_a_worker_that_dies_is_a_fault_that_may_pass():
    model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(4, 1)}], batch_size=8_192)
    crew = Crew(2, [])
    parts = [Batch("a", np.arange(8_192), [{"x": 0.5}] * 8_192)]
    assert len(crew.learn(model, parts)[0].offsets) == model.n_seen == 8_192
    for member in crew._members:
        member.process.kill()
    with pytest.raises(UnavailableError, match="a worker process has died"):
        crew.learn(model, parts)
    crew.close()
    assert model.n_seen == 8_192


@pytest.mark.slow
def test_a_run_with_workers_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path):
    def write(directory):
        write_ndjson(directory / "events" / "a.ndjson", stream(36_000))

    whole, killed = (prepare(tmp_path / name, write, 2, every=8_000) for name in ("whole", "killed"))
    assert run(whole)[0] == 0
    process = subprocess.Popen([*PROGRAM, "run", str(killed / "pipeline.toml")], stderr=subprocess.DEVNULL)
    while len(list((killed / "state").glob("*.arrow"))) < 2 and process.poll() is None:
        time.sleep(0.002)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert run(killed)[0] == 0
    same(whole, killed)
    assert workers
    for _ in range(3_000):  # they don't outlive their run by much: they see its end when they next read or write
        if not any(is_running(pid) for pid in workers):
            break
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in workers)


def is_running(pid):
    """Whether there is such a process that has not ended; one that has may wait for its parent to hear of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid):
    """The processes that a process has started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in found.split()]


def test_what_workers_cannot_do_is_refused_by_name(tmp_path):
    place = prepare(tmp_path / "a", as_parquet, 0)
    with pytest.raises(ConfigError, match="workers must be a whole number, 1 or more, not 0"):
        load_config(place / "pipeline.toml")
    text = (place / "pipeline.toml").read_text()
    (place / "pipeline.toml").write_text(text.replace("workers = 0", "workers = 2"))
    with pytest.raises(ConfigError, match="a decoder of one's own goes without them"):
        run_pipeline(place / "pipeline.toml", decode=lambda batch: batch)


@pytest.mark.parametrize(("batch_size", "is_told"), [(4096, True), (4097, False)])
def test_workers_without_anything_to_share_are_told_of(tmp_path, caplog, batch_size, is_told):
    def few(directory):
        write_ndjson(directory / "events" / "0.ndjson", events(20, 5))

    place = prepare(tmp_path / "a", few, 2)
    text = (place / "pipeline.toml").read_text()
    (place / "pipeline.toml").write_text(text.replace("8192", str(batch_size)))
    run_pipeline(place / "pipeline.toml")
    assert ("workers = 2 have nothing to do" in caplog.text) is is_told
