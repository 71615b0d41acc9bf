"""Effectively once: killed with SIGKILL anywhere, then run again, a run ends as if nothing had happened."""

import csv
import random
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pipeline_tools import crash, events, lines_of, run, scored_parquet, state_of, write_config, write_ndjson
from repeating import text_of

SINKS = '[[sink]]\nkind = "parquet"\npath = "scored"\n[[sink]]\nkind = "ndjson"\npath = "out/scored.ndjson"\n'


def prepare(directory: Path, n: int, every: int) -> None:
    """Write three files of events, some of them bad, and a configuration."""
    records = events(n)
    (directory / "events").mkdir(parents=True)
    write_ndjson(directory / "events" / "a.ndjson", records[: n // 2])
    with open(directory / "events" / "a.ndjson", "ab") as file:
        file.write(b'{"x": 1\n\n{"x": "\xff"}\n{"x": "text"}\n')
    with open(directory / "events" / "b.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows([*records[n // 2 : 3 * n // 4], {"x": 1.0, "y": -1.0, "kind": "b"}])
    pq.write_table(pa.Table.from_pylist(records[3 * n // 4 :]), directory / "events" / "c.parquet")
    write_config(directory, 'kind = "file"\npath = "events/*"', SINKS, every=every)


def outcome(directory: Path):
    """Return all that a run leaves behind."""
    return {
        "state": state_of(directory / "state"),
        "files": sorted(path.name for path in (directory / "scored").iterdir()),
        "parquet": scored_parquet(directory / "scored"),
        "ndjson": (directory / "out" / "scored.ndjson").read_bytes(),
        "refused": (directory / "state" / "_dead-letter.ndjson").read_bytes(),
    }


def check_rows(directory: Path, n: int) -> None:
    """Check that every record stands once in every output."""
    rows = scored_parquet(directory / "scored")
    assert len(rows) == n
    positions = [(p["source"], p["offset"]) for p in rows["position"].to_pylist()]
    assert len(set(positions)) == n
    assert rows.to_pylist() == lines_of(directory / "out" / "scored.ndjson")
    assert len(lines_of(directory / "state" / "_dead-letter.ndjson")) == 4


def test_killed_at_every_kind_of_step(tmp_path):
    n = 800
    template = tmp_path / "run"
    prepare(template, n, every=200)
    (undisturbed,) = crash(template, [[]])
    expected = outcome(tmp_path / "run-0")
    check_rows(tmp_path / "run-0", n)

    rng = random.Random(5)
    steps = range(1, undisturbed["steps"] + 1)
    cases = [
        *([kill] for kill in rng.sample(steps, 20)),
        *([rng.choice(steps) for _ in range(5)] for _ in range(6)),
    ]
    results = crash(template.rename(tmp_path / "killed"), cases)

    for i, (kills, result) in enumerate(zip(cases, results, strict=True)):
        directory = tmp_path / f"killed-{i}"
        assert result["statuses"][-1] == 0, (directory / "log.txt").read_text()
        assert set(result["statuses"][:-1]) <= {-signal.SIGKILL, 0}, (
            kills,
            (directory / "log.txt").read_text(),
        )
        assert outcome(directory) == expected, kills
    killed = [status for result in results for status in result["statuses"]].count(-signal.SIGKILL)
    assert killed >= 30


def test_killed_while_a_source_repeats(tmp_path):
    template = tmp_path / "run"
    template.mkdir()
    (template / "events.ndjson").write_text(text_of(events(400)), encoding="utf-8")
    write_config(template, 'kind = "own"', SINKS, every=100)
    whole = tmp_path / "whole"
    write_ndjson(whole / "events.ndjson", events(400))
    write_config(whole, 'kind = "file"\npath = "events.ndjson"', SINKS, every=100)
    assert run(whole)[0] == 0
    rng = random.Random(7)
    results = crash(template, [[], *([rng.randrange(1, 120) for _ in range(4)] for _ in range(2))])
    assert sum(result["statuses"].count(-signal.SIGKILL) for result in results) >= 4
    expected = scored_parquet(whole / "scored").drop_columns("position")
    before = state_of(whole / "state")
    for i, result in enumerate(results):
        directory = tmp_path / f"run-{i}"
        said = (directory / "log.txt").read_text()
        assert result["statuses"][-1] == 0, said
        assert "came again or late" in said
        rows = scored_parquet(directory / "scored")
        assert [position["offset"] for position in rows["position"].to_pylist()] == list(range(400))
        assert rows.drop_columns("position") == expected
        after = state_of(directory / "state")
        assert {name for name in after if after[name] != before[name]} <= {"positions", "outputs"}


def test_killed_at_random_times(tmp_path):
    n = 12_000
    prepare(tmp_path / "run", n, every=500)
    (undisturbed,) = crash(tmp_path / "run", [[]])
    expected = outcome(tmp_path / "run-0")
    check_rows(tmp_path / "run-0", n)
    rng = random.Random(6)
    times = [rng.uniform(0.02, 0.2) * undisturbed["seconds"] for _ in range(6)]
    (killed,) = crash((tmp_path / "run").rename(tmp_path / "killed"), [times])
    said = (tmp_path / "killed-0" / "log.txt").read_text()
    assert killed["statuses"].count(-signal.SIGKILL) >= 3, said
    assert killed["statuses"][-1] == 0, said
    assert outcome(tmp_path / "killed-0") == expected
