"""Sources and sinks of one's own, a model from Python that a run goes on with, and workers that have nothing to do."""

import numpy as np
import pytest
from pipeline_tools import FILES, MODEL, SINKS, call, events, scored_parquet, write_config, write_ndjson

from streammix.errors import ConfigError
from streammix.pipeline.commands import run
from streammix.pipeline.config import load_config
from streammix.pipeline.flow import Batch
from streammix.pipeline.model import build_model
from streammix.store import CheckpointStore


class Numbers:
    """Four hundred records, ten at a time."""

    stands = staticmethod(lambda at: {"at": at})

    def __init__(self, position=None):
        self.at = position["at"] if position else 0

    def read(self, limit):
        if self.at >= 400:
            return None
        self.at += 10
        numbers = np.arange(self.at - 10, self.at)
        return Batch("numbers", numbers, events(400, seed=1)[self.at - 10 : self.at])

    def position(self):
        return self.stands(self.at)

    def acknowledge(self):
        pass

    def close(self):
        pass


class Sink:
    """Keeps nothing."""

    name = "mine"

    def __init__(self, recorded=None):
        pass

    def write(self, rows):
        pass

    def flush(self, records):
        return {}

    def close(self):
        pass


@pytest.mark.parametrize(
    "stands", [lambda at: at, lambda at: [at], lambda at: {"kind": "mine"}], ids=["int", "list", "kind"]
)
def test_a_position_that_no_checkpoint_could_go_on_from_is_refused_at_once(tmp_path, stands):
    config = write_config(tmp_path, 'kind = "own"')
    source = type("Odd", (Numbers,), {"stands": staticmethod(stands)})
    with pytest.raises(ConfigError, match=r"position\(\) of a source of one's own must be a dict"):
        run(config, source=source)


def test_two_sinks_of_one_name_are_refused(tmp_path):
    config = write_config(tmp_path, 'kind = "own"')
    with pytest.raises(ConfigError, match="two sinks have the name 'mine'"):
        run(config, source=Numbers, sinks=[Sink, Sink])


def test_a_run_goes_on_with_a_model_that_python_wrote(tmp_path):
    records = events(900, seed=2)
    write_ndjson(tmp_path / "events/a.ndjson", records[400:])
    config = write_config(tmp_path, FILES, SINKS)
    model = build_model(load_config(config).model)
    for record in records[:400]:
        model.learn_one(record)
    with CheckpointStore(tmp_path / "state") as store:
        store.write(model)
    status, _, told = call("run", config)
    assert (status, "was written by no run" in told) == (0, True), told
    for record in records[400:]:
        model.learn_one(record)
    again = CheckpointStore(tmp_path / "state", readonly=True).latest()
    assert again is not None
    np.testing.assert_array_equal(again.model.weights, model.weights)
    assert scored_parquet(tmp_path / "scored").num_rows == 500
    assert call("inspect", tmp_path / "state")[0] == 0


def test_a_supervised_model_is_learnt_without_workers(tmp_path):
    write_ndjson(tmp_path / "events/a.ndjson", events(600, seed=3))
    model = MODEL.replace("batch_size = 16\n", 'kind = "auto"\n').replace("warm_up = 100\n", "")
    alone = write_config(tmp_path, FILES, SINKS, model=model)
    assert call("run", alone)[0] == 0
    rows = scored_parquet(tmp_path / "scored")
    assert rows.num_rows == 600
    other = tmp_path / "other"
    write_ndjson(other / "events/a.ndjson", events(600, seed=3))
    shared = write_config(other, FILES, SINKS, model=model)
    shared.write_text("workers = 2\n" + shared.read_text(encoding="utf-8"), encoding="utf-8")
    status, _, told = call("run", shared)
    assert status == 0, told
    assert "have nothing to do" in told
    assert scored_parquet(other / "scored").equals(rows)
