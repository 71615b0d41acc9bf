"""What a run refuses to go on with, and what it puts up with."""

import os
import shutil

import pytest
from pipeline_tools import (
    FILES,
    MODEL,
    SINKS,
    events,
    lines_of,
    run,
    scored_parquet,
    state_of,
    write_config,
    write_ndjson,
)

from streammix.pipeline.sinks.parquet import ParquetSink
from streammix.store import CheckpointStore

IMPATIENT = "[faults]\npatience_seconds = 0"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "n_components = 2",
            "n_components = 4",
            "[model] n_components is 4, but the checkpoint's model was declared with 2",
        ),
        ("batch_size = 16", "batch_size = 1", "[model] batch_size is 1, but"),
        ('x = "Normal"', 'x = "LogNormal"', "[model] fields is {'x': LogNormal(),"),
        ("seed = 3\n", "", "[model] seed is None, but"),
    ],
)
def test_another_model_is_refused(old, new, words, place):
    run(place)
    before = state_of(place / "state")
    write_config(place, FILES, SINKS, model=MODEL.replace(old, new))
    status, _, said = run(place)
    assert status == 2
    assert words in said
    assert state_of(place / "state") == before


def test_explicit_components_resume(tmp_path):
    component = 'x = {{ family = "Normal", mean = {}, variance = 1 }}\ny = {{ family = "Fixed", scipy = "expon" }}\n'
    model = '[model]\nn_components = 2\nweights = [0.25, 0.75]\nstep_size = "RunningMean"\naveraging = true\n'
    model += "".join("[[model.components]]\n" + component.format(mean) for mean in (0, 4))
    write_ndjson(tmp_path / "events" / "a.ndjson", events(30))
    write_config(tmp_path, FILES, model=model)
    assert run(tmp_path)[0] == 0
    write_ndjson(tmp_path / "events" / "a.ndjson", events(30), mode="a")
    status, table, said = run(tmp_path)
    assert (status, "resuming after 30 records" in said) == (0, True)
    assert "2 components after 60 records" in table
    write_config(tmp_path, FILES, model=model.replace("[0.25, 0.75]", "[0.5, 0.5]"))
    status, _, said = run(tmp_path)
    assert status == 2
    assert "[model] weights is [0.5, 0.5], but the checkpoint's model was declared with [0.25, 0.75]" in said


def test_another_kind_of_source_is_refused(place):
    run(place)
    write_config(place, 'kind = "river"\ndataset = "Bananas"', SINKS)
    status, _, said = run(place)
    assert status == 2
    assert "[source] kind is river, but the checkpoint was reading from file" in said


def test_a_second_writer_is_refused(place):
    with CheckpointStore(place / "state"):
        status, _, said = run(place)
    assert status == 1
    assert "another writer is using this directory of checkpoints" in said
    assert not (place / "scored.ndjson").exists()


def test_outputs_of_another_run_are_not_touched(place):
    (place / "scored.ndjson").write_text("precious\n")
    status, _, said = run(place)
    assert status == 2
    assert "scored.ndjson already holds 9 bytes that no checkpoint knows of" in said
    (place / "scored.ndjson").unlink()
    (place / "scored").mkdir(exist_ok=True)
    (place / "scored" / "scored-000000000000.parquet").write_text("precious\n")
    status, _, said = run(place)
    assert status == 2
    assert "scored already holds 1 files of a run that no checkpoint knows of" in said


def test_an_output_that_was_cut_is_an_error(place):
    run(place)
    os.truncate(place / "scored.ndjson", 100)
    status, _, said = run(place)
    assert status == 1
    assert "scored.ndjson has 100 bytes, but the checkpoint has written" in said


def test_a_dead_letter_file_may_be_taken_away(place):
    write_ndjson(place / "events" / "b.ndjson", [{}])
    run(place)
    (place / "state" / "_dead-letter.ndjson").unlink()
    write_ndjson(place / "events" / "b.ndjson", [{}], mode="a")
    assert run(place)[0] == 0
    assert len(lines_of(place / "state" / "_dead-letter.ndjson")) == 1


def test_a_sink_may_be_added_later(place):
    write_config(place, FILES)
    run(place)
    write_config(place, FILES, SINKS)
    assert run(place)[0] == 0
    write_ndjson(place / "events" / "a.ndjson", events(10), mode="a")
    assert run(place)[0] == 0
    assert len(lines_of(place / "scored.ndjson")) == len(scored_parquet(place / "scored")) == 10


def test_a_damaged_checkpoint_is_passed_over(place, tmp_path_factory):
    run(place)
    expected = state_of(place / "state")
    newest = max((place / "state").glob("*.arrow"))
    newest.write_bytes(newest.read_bytes()[:-20])
    status, _, said = run(place)
    assert status == 0
    assert f"{newest} is passed over: " in said
    assert state_of(place / "state") == expected
    assert len(scored_parquet(place / "scored")) == len(lines_of(place / "scored.ndjson")) == 1200


def test_a_sink_that_is_full_fails_the_run_and_loses_nothing(place, tmp_path_factory):
    write_config(place, FILES, '[sink]\nkind = "ndjson"\npath = "/dev/full"', more=IMPATIENT)
    status, _, said = run(place)
    assert status == 1
    assert "sink ndjson:/dev/full can't be written: No space left on device; the last checkpoint stands" in said
    write_config(place, FILES, SINKS)
    assert run(place)[0] == 0
    assert len(lines_of(place / "scored.ndjson")) == 1200


def test_a_directory_that_vanishes_fails_the_run(place, monkeypatch):
    write = ParquetSink.write

    def remove_then_write(self, rows):
        shutil.rmtree(place / "scored")
        write(self, rows)

    monkeypatch.setattr(ParquetSink, "write", remove_then_write)
    write_config(place, FILES, SINKS, more=IMPATIENT)
    status, _, said = run(place)
    assert status == 1
    assert "sink parquet:scored can't be written: " in said


def test_a_file_that_vanished_fails_the_run(place):
    write_ndjson(place / "events" / "b.ndjson", events(3))
    run(place)
    (place / "events" / "a.ndjson").unlink()
    status, _, said = run(place)
    assert status == 1
    assert "a.ndjson: was read up to" in said
