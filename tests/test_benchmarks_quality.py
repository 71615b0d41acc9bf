"""The quality bench draws what it says, judges by the best fit, and writes whole tables; no figure is asserted here."""

import json

import numpy as np
import pytest

import streammix as sm
from benchmarks.quality import __main__ as bench
from benchmarks.quality import broken, bundled, published, real, runs, tables
from benchmarks.quality.kinds import KINDS
from benchmarks.quality.reference import mean_log_density, reference
from benchmarks.quality.streams import HELD_OUT, sorted_start


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_draws_what_it_says(name):
    stream = runs.drawn(name, seed=3, n=500)
    again = runs.drawn(name, seed=3, n=500)
    assert stream.table.equals(again.table)
    assert not stream.table.equals(runs.drawn(name, seed=4, n=500).table)
    assert stream.table.num_rows == len(stream.labels) == 500
    assert stream.held_out.num_rows == HELD_OUT
    assert stream.held_out.schema == stream.table.schema
    assert 0 < stream.recent <= 500
    assert len(np.unique(stream.labels)) <= KINDS[name].n_components


def test_a_sorted_start_moves_the_first_fifth_alone():
    stream = runs.drawn("unit_square", seed=0, n=500)
    ordered = sorted_start(stream)
    assert (np.diff(ordered.labels[:100]) >= 0).all()
    assert ordered.table.slice(100).equals(stream.table.slice(100))
    assert sorted(ordered.table["x0"].to_pylist()) == sorted(stream.table["x0"].to_pylist())
    points = np.column_stack(ordered.table.columns)[:100]
    assert np.linalg.norm(points[ordered.labels[:100] == 0] - [0.3, 0.3], axis=1).max() < 0.5


def test_references_are_kept_and_belong_to_their_records(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.quality.reference.FITS", 2)
    kind, stream = KINDS["outliers"], runs.drawn("outliers", seed=1, n=2_000)
    found = reference("outliers", kind, stream, 1, tmp_path)
    assert len(found) == 6
    assert max(found) > found[0], "a background helps"
    monkeypatch.setattr("benchmarks.quality.reference._fits", lambda *_: pytest.fail("the fits are kept"))
    assert reference("outliers", kind, stream, 1, tmp_path) == found
    other = runs.drawn("outliers", seed=2, n=2_000)
    monkeypatch.setattr("benchmarks.quality.reference._fits", lambda *_: [0.0])
    assert reference("outliers", kind, other, 1, tmp_path) == [0.0]


def test_a_gap_is_to_the_best_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.quality.runs.reference", lambda *_: [-3.0, -1.0, -2.0])
    one, other = runs.runs("poisson", 0, 2_000, "mixture", (False,), tmp_path)
    model = sm.Mixture(3, fields=KINDS["poisson"].fields, seed=0)
    stream = runs.drawn("poisson", 0, 2_000)
    model.learn_many(stream.table)
    assert one.gap == pytest.approx(-1.0 - mean_log_density(model, stream.held_out), rel=1e-12)
    assert (one.order, other.order) == runs.ORDERS
    assert one.gap != other.gap
    assert one.warnings is None


def test_the_bench_writes_tables_and_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.quality.runs.reference", lambda *_: [-1.0])
    arguments = [
        "poisson",
        "gaps",
        "--seeds",
        "1",
        "--records",
        "1500",
        "--model",
        "mixture",
        "--output",
        str(tmp_path),
    ]
    assert bench.main(arguments) == 0
    assert "gaps sorted seed 0" in capsys.readouterr().out
    written = json.loads((tmp_path / "mixture.json").read_text(encoding="utf-8"))
    assert [(run["kind"], run["order"]) for run in written] == [
        (kind, order) for kind in ("poisson", "gaps") for order in ("shuffled", "sorted")
    ]
    text = (tmp_path / "mixture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 4


def test_an_unknown_kind_lists_the_known_ones(capsys):
    assert bench.main(["possion"]) == 2
    assert "poisson" in capsys.readouterr().out


def test_what_is_said_is_counted():
    def run(gap, said):
        return runs.Run("poisson", "sorted", 0, 1, False, gap, 3, said, {}, 1.0, 1.0)

    text = tables.to_markdown(
        [run(0.0, []), run(0.0, ["lag"]), run(0.1, []), run(0.1, ["audit"]), run(0.2, ["audit"])], "x"
    )
    assert "2 of 5 (shuffled 0 of 0, sorted 2 of 5)" in text
    assert "| K given | 5 | 2 | 1 (50.0%) | 3 | 1 (33.3%) |" in text


def test_a_broken_stream_is_judged_where_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(broken, "reference", lambda *_: [0.0])
    found = list(broken.judgements("a sorted start is over", "unit_square", 0, tmp_path))
    assert [one.at for one in found] == [6_250, 6_500, 7_000, 8_000, 10_000]
    alike = [one._replace(gap=gap, signs=signs) for one in found[:1] for gap in (0.0, 0.5) for signs in ((), ("lag",))]
    lines = {line[0]: line[1:] for line in broken.summary(alike)}
    assert lines["all"] == lines["a sorted start is over"] == ("4", "2", "1 (50.0%)", "0.500", "1")
    assert lines["few records"] == ("0", "0", "0", "", "0")


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_a_published_generator_is_near_its_truth(name):
    found = published.one(published.PUBLISHED[name], "mixture", seed=0, n=20_000)
    assert abs(found.above) < 60
    assert 0.3 < found.rand <= 1


def test_real_streams_are_judged_by_the_same_records(monkeypatch):
    monkeypatch.setattr(real, "CLUSTERERS", {"river KMeans": real.CLUSTERERS["river KMeans"]})
    monkeypatch.setattr(real, "STEPS", 5)
    stream = bundled.STREAMS["Bananas"](1_500)
    judged, found = real.compare(bundled.Real(stream.rows, stream.labels, 3), "mixture")
    assert judged == 500, "what came during the warm-up is not judged"
    assert set(found) == {
        "mixture, K given",
        "one batch fit on the start",
        "scikit-learn, refitted",
        "river KMeans",
    }
    assert all(np.isfinite(one.mean) for one in found.values() if one.mean is not None)
