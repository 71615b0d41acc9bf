"""The benchmarks run and write what they promise; no time is asserted here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ["record.learn.normal", "stream.ingest", "limits.diagonal.8x8", "growth.vocabulary"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Run a few benchmarks in the quick mode, in a process of their own: they pin thread pools."""
    directory = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "benchmarks", *NAMES, "--quick", "--output", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_json_has_rows_points_limits_and_the_machine(written):
    results = json.loads((written / "results.json").read_text(encoding="utf-8"))
    assert set(results) == {"machine", "rows", "points", "limits", "failed"}
    assert results["machine"]["numpy"]
    assert not results["failed"]
    found = {one["benchmark"] for kind in ("rows", "points", "limits") for one in results[kind]}
    assert set(NAMES) <= found
    for row in results["rows"]:
        low, high = row["spread"]
        assert 0 < low <= row["ratio"] <= high
        assert row["job"]
        assert row["peer"]
        assert min(row["cost"], row["peer_cost"]) > 0
    with_aims = [row for row in results["rows"] if row["aim"] is not None]
    assert with_aims
    assert all(isinstance(row["is_met"], bool) for row in with_aims)


def test_markdown_is_made_of_whole_tables(written):
    text = (written / "results.md").read_text(encoding="utf-8")
    assert "operator.itemgetter" in text
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) >= 4
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
        assert len(table) > 2


def test_plots_are_written(written):
    for name in ("ratios.png", "growth.png"):
        assert (written / name).read_bytes().startswith(b"\x89PNG")


def test_a_missing_peer_is_named():
    code = (
        "import sys; sys.modules['sklearn.mixture'] = None\n"
        "from benchmarks import blocks, harness, report\n"
        "rows = blocks.BENCHMARKS['level.v1.full.8x8'](harness.Budget(1, 0.0, True))\n"
        "print(report.line(rows[0]), rows[0].is_met)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "scikit-learn is not installed" in done.stdout, done.stderr
    assert done.stdout.split()[-1] == "None"


def test_an_unknown_name_lists_the_known_ones():
    command = [sys.executable, "-m", "benchmarks", "recrod"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "record.learn.normal" in done.stdout.splitlines()
