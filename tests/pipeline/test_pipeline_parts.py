"""The parts of a run by themselves: sinks, dead letters, progress, signals, and a source of one's own."""

import contextlib
import io
import json
import logging
import os
import re
import signal
import sys
import time

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from pipeline_tools import events, lines_of, write_config
from rich.console import Console

from streammix.errors import ConfigError, RecordError, StreammixError, UnavailableError
from streammix.pipeline import commands, pace, stopping
from streammix.pipeline.config import load_config
from streammix.pipeline.dead_letter import DeadLetters
from streammix.pipeline.flow import Batch, Refusal, Scored
from streammix.pipeline.model import build_model
from streammix.pipeline.pace import Pace
from streammix.pipeline.progress import LogProgress, Tally
from streammix.pipeline.runner import Pipeline
from streammix.pipeline.sinks import outbox
from streammix.pipeline.sinks.ndjson import GrowingFile, to_lines
from streammix.pipeline.sinks.parquet import ParquetSink
from streammix.pipeline.sources import lines
from streammix.pipeline.stopping import StopRequest, stop_on_signals
from streammix.pipeline.tables import Table, show
from streammix.store import CheckpointStore


class Counting:
    """A source that a user wrote, and a sink."""

    name = "memory"

    def __init__(self, position=None):
        self.at = position["at"] if position else 0
        self.acknowledged = []
        self.rows = 0

    def read(self, limit):
        at, self.at = self.at, min(self.at + limit, 250)
        records = [{"x": float(i % 7), "y": 1.0, "kind": "b"} for i in range(at, self.at)]
        return Batch("count", np.arange(at, self.at), records) if records else None

    def position(self):
        return {"at": self.at}

    def acknowledge(self):
        self.acknowledged.append(self.at)

    def write(self, rows):
        self.rows += len(rows.offsets)

    def flush(self, records):
        return {"rows": self.rows}

    def close(self):
        pass


def test_a_source_and_a_sink_of_ones_own(tmp_path, place):
    source, sink = Counting(), Counting()
    model = commands.build_model(commands.load_config(place / "pipeline.toml").model)
    with CheckpointStore(tmp_path / "own") as store:
        pipeline = Pipeline(
            model, source, [sink], DeadLetters.in_file(tmp_path / "dead", None), store, every_records=100
        )
        pipeline.run(LogProgress(100), StopRequest())
        pipeline.close()
        found = store.latest()
    assert source.acknowledged == [100, 200, 250]
    assert found.positions["source"] == {"at": 250}
    assert found.outputs["sinks"] == {"memory": {"rows": 250}}


def test_parquet_row_groups_are_cut_by_count(tmp_path, monkeypatch):
    monkeypatch.setattr("streammix.pipeline.sinks.parquet.ROWS_A_GROUP", 10)
    sink = ParquetSink("p", tmp_path / "scored", None)
    for n in (3, 9, 21, 2):
        sink.write(Scored("s", np.arange(n), np.full((n, 2), 0.5), np.zeros(n)))
    assert sink.flush(35) == {"next": 35}
    file = pa.parquet.ParquetFile(tmp_path / "scored" / "scored-000000000000.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [10, 10, 10, 5]
    file.close()
    sink.write(Scored("s", np.arange(11), np.full((11, 2), 0.5), np.zeros(11)))
    sink.close()
    assert len(list((tmp_path / "scored").iterdir())) == 1


def test_a_score_without_bound_is_null_in_json():
    rows = Scored("s", np.array([0]), np.array([[1.0]]), np.array([-np.inf]))
    assert json.loads(to_lines(rows))["score"] is None


def test_what_is_refused_of_growing_files(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    with pytest.raises(ConfigError, match="already holds 5 bytes"):
        GrowingFile(path, None)
    with pytest.raises(StreammixError, match="has 5 bytes, but the checkpoint has written 6"):
        GrowingFile(path, {"bytes": 6})
    file = GrowingFile(path, {"bytes": 2})
    file.write(b"x")
    assert file.flush() == {"bytes": 3}
    file.close()
    assert path.read_bytes() == b"12x"


def test_dead_letters_that_are_not_text(tmp_path):
    letters = DeadLetters.in_file(tmp_path / "dead", None)
    letters.write([Refusal("s", 3, "bad", b"\xff")])
    letters.close()
    assert lines_of(tmp_path / "dead") == [
        {"position": {"source": "s", "offset": 3}, "reason": "bad", "raw_base64": "/w=="}
    ]


def test_a_display_on_a_terminal(place):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    assert commands.run(place / "pipeline.toml", terminal) is None
    shown = terminal.file.getvalue()
    for words in ("records", "1,200", "records/s", "mean log density", "weights", "rejected"):
        assert words in shown


def test_lines_are_what_msgspec_writes():
    """Each double in the fewest digits that read back as it: of any bits, and where the number of digits changes."""
    rng = np.random.default_rng(5)
    drawn = rng.integers(0, 1 << 64, 60_000, dtype=np.uint64).view(np.float64)
    near = np.concatenate([10.0 ** np.arange(-323, 309), 2.0 ** np.arange(-1074, 1024)])
    plain = np.concatenate(
        [np.arange(3000.0), np.arange(3000) / 100, [1e15, 1e16, 1e-5, 1e-6, 0.0, -0.0, np.inf, -np.inf]]
    )
    with np.errstate(under="ignore"):
        around = [np.nextafter(near, 0.0), near, np.nextafter(near, np.inf)]
    values = np.concatenate([drawn[np.isfinite(drawn)], *around, -rng.random(9000), plain])
    values = values[: len(values) // 6 * 6].reshape(-1, 6)
    offsets = rng.integers(0, 1 << 62, len(values)) >> rng.integers(0, 62, len(values))
    rows = Scored('a "b" é', offsets, values[:, :5], 0.0 - values[:, 5])
    expected = [
        {
            "position": {"source": rows.source, "offset": offset},
            "component": component,
            "responsibilities": responsibilities,
            "score": score,
        }
        for offset, component, responsibilities, score in zip(
            offsets.tolist(), rows.components.tolist(), values[:, :5].tolist(), rows.scores.tolist(), strict=True
        )
    ]
    assert to_lines(rows).split(b"\n") == msgspec.json.Encoder().encode_lines(expected).split(b"\n")
    labels = np.where(offsets % 7 == 0, -1, offsets)
    labelled = Scored(rows.source, offsets, rows.responsibilities, rows.log_density, None, labels, values[:, 0])
    more = [
        line | {"label": label, "outlier": outlier}
        for line, label, outlier in zip(expected, labels.tolist(), values[:, 0].tolist(), strict=True)
    ]
    assert to_lines(labelled).split(b"\n") == msgspec.json.Encoder().encode_lines(more).split(b"\n")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_table(is_terminal, monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(file, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("COLUMNS", "80")
    show(Table("two fields", ["weight", "field"], 1, [[("0.25", "[b]x"), ("", "a\x1b")], [("1.5", "y")]]))
    shown = [line.split() for line in re.sub(r"\x1b\[[0-9;]*m|[│┃]", "", file.getvalue()).splitlines()]
    for row in (["two", "fields"], ["weight", "field"], ["0.25", "[b]x"], ["a\\x1b"], ["1.5", "y"]):
        assert row in shown
    assert ("│" in file.getvalue()) == is_terminal


def test_the_second_signal_ends_at_once():
    with stop_on_signals() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_progress_lines(caplog, monkeypatch):
    monkeypatch.setattr("streammix.pipeline.progress.LOG_SECONDS", 0.0)
    tally, progress = Tally(), LogProgress(100)
    with caplog.at_level(logging.INFO, "streammix"):
        for _ in range(25):
            tally.add(10, [Refusal("s", 3, "bad", b"")], np.array([0.0, -2.0, -4.0]))
            progress.show(tally, np.array([0.25, 0.75]))
    assert len(caplog.messages) == 2
    assert "records 100," in caplog.messages[0]
    assert "mean log density -3.0000, weights 0.250 0.750, rejected 10" in caplog.messages[0]


class Shelf:
    """A place for lines that fails after so many calls; what it has is kept from one channel to the next."""

    def __init__(self):
        self.lines, self.total, self.calls = [], None, 0

    def sent(self):
        return self.total

    def send(self, lines, total):
        if self.calls == 0:
            raise UnavailableError("the shelf is away")
        self.calls -= 1
        self.lines += lines
        self.total = total

    def close(self):
        pass


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_rows_on_their_way_go_some_at_a_time_and_each_once(calls, monkeypatch):
    monkeypatch.setattr(outbox, "AT_ONCE", 4)
    shelf = Shelf()
    posted = outbox.Posted("the shelf", lambda run: shelf, None)
    lines = [b"%d" % i for i in range(10)]
    posted.write(b"".join(line + b"\n" for line in lines))
    recorded = posted.flush()  # the checkpoint is written
    shelf.calls = calls
    with pytest.raises(UnavailableError, match="away"):
        posted.publish()
    assert shelf.lines == lines[: 4 * calls]
    shelf.calls = 9
    again = outbox.Posted("the shelf", lambda run: shelf, recorded)
    assert shelf.lines == lines
    again.write(b"10\n")
    again.flush()
    again.publish()
    assert (shelf.lines[10:], shelf.total) == ([b"10"], 11)


def test_rows_that_would_take_too_long_are_left_to_the_next_run(monkeypatch):
    monkeypatch.setattr(outbox, "AT_ONCE", 4)
    monkeypatch.setattr(outbox, "is_over", lambda begin, seconds: True)
    shelf = Shelf()
    shelf.calls = 9
    posted = outbox.Posted("the shelf", lambda run: shelf, None)
    posted.write(b"x\n" * 10)
    recorded = posted.flush()
    with pytest.raises(UnavailableError, match="asked to stop with 6 rows not sent yet; the checkpoint holds them"):
        posted.publish()
    monkeypatch.undo()
    outbox.Posted("the shelf", lambda run: shelf, recorded)
    assert len(shelf.lines) == 10


def test_what_is_waited_for_after_a_request_to_stop(monkeypatch):
    with stop_on_signals() as stop:
        begin = time.monotonic()
        assert not stopping.is_over(begin, 60)
        stop.when = begin - 0.9
        assert not stopping.is_over(begin - 5, 60)
        stop.when = begin - 1.5  # all that is waited for has one second together
        assert stopping.is_over(begin - 5, 60)
        assert not stopping.is_over(time.monotonic(), 60)  # but what begins late has its chance
        assert stopping.is_over(begin - 0.3, 60)


def test_as_many_records_are_taken_at_once_as_are_learnt_in_a_moment(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock[0])

    def learning(seconds):
        clock[0] += seconds
        return "done"

    paced = Pace(10_000)
    for records, seconds, then in [(1000, 0.01, 10_000), (10_000, 2.0, 1000), (1000, 1.0, 200), (200, 1e6, 1)]:
        assert paced.timed(lambda seconds=seconds: learning(seconds), records) == "done"
        assert paced.records == then


def test_reading_beside_learning_changes_nothing(tmp_path, monkeypatch):
    # new levels, lines that are none and values that are refused, in batches of many sizes
    monkeypatch.setattr(lines, "BLOCK", 3000)
    rng = np.random.default_rng(5)
    records = [{**x, "kind": f"k{int(rng.integers(40) ** 2)}" if i > 400 else "a"} for i, x in enumerate(events(3000))]
    texts = [json.dumps(x) for x in records]
    for i in range(700, 3000, 331):
        texts[i] = "{" if i % 2 else '{"x": "text"}'
    (tmp_path / "events.ndjson").write_text("\n".join(texts))
    write_config(tmp_path, 'kind = "file"\npath = "events.ndjson"')
    assert commands.run(tmp_path / "pipeline.toml") is None
    config = load_config(tmp_path / "pipeline.toml")
    model = build_model(config.model)
    for text in texts:
        with contextlib.suppress(ValueError, RecordError):
            model.learn_one(json.loads(text))
    with CheckpointStore(tmp_path / "state", readonly=True) as store:
        found = store.latest()
    assert found is not None
    assert found.model._learner.schema.codes == model._learner.schema.codes
    assert found.model._learner.running.state.equals(model._learner.running.state)
    assert found.positions["records"] == 3000


def test_the_first_among_equals_is_the_component():
    shares = np.array([[0.25, 0.75, 0.0], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    rows = Scored("s", np.arange(3), shares, np.zeros(3))
    assert rows.components.tolist() == [1, 0, 1]
    assert rows[1:].components.dtype == np.int32
