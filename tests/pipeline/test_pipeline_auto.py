"""A supervised model in a pipeline: run, resumed, inspected, measured."""

import numpy as np
from pipeline_tools import call, run, write_ndjson

import streammix as sm
from streammix.pipeline.metrics import Metrics
from streammix.pipeline.progress import Tally

CONFIG = """
[source]
kind = "file"
path = "events.ndjson"
[model]
kind = "auto"
n_components = [1, 3]
drift = { records = 5_000 }
background = true
warm_up = 200
seed = 3
[model.fields]
x = "Normal"
[checkpoint]
directory = "state"
every_records = 500
"""


def test_a_run_is_supervised_resumed_and_inspected(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    records = [{"x": float(rng.normal(8 * (i % 2), 1))} for i in range(2_600)]
    write_ndjson(tmp_path / "events.ndjson", records[:1_300])
    (tmp_path / "pipeline.toml").write_text(CONFIG)
    assert run(tmp_path)[0] == 0
    write_ndjson(tmp_path / "events.ndjson", records)
    assert run(tmp_path)[0] == 0
    shown = call("inspect", tmp_path / "state")[1]
    for what in ("events:", "warnings:", "labels:", "background weight:", "components: 1"):
        assert what in shown
    with sm.CheckpointStore(tmp_path / "state", readonly=True) as store:
        model = store.latest().model
    assert isinstance(model, sm.AutoMixture)
    expected = sm.AutoMixture((1, 3), {"x": sm.Normal()}, sm.HalfLife(5_000), True, warm_up=200, seed=3)
    expected.ingest(records)
    assert model.weights.tolist() == expected.weights.tolist()
    assert model.events == expected.events
    metrics = Metrics()
    metrics.took(Tally(), model)
    text = metrics.text().decode()
    assert 'streammix_events_total{kind="components"} 1.0' in text
    assert "streammix_background_weight" in text


def test_what_does_not_go_together_is_refused(tmp_path):
    for wrong in ("batch_size = 9", 'step_size = "RunningMean"', "averaging = true"):
        (tmp_path / "pipeline.toml").write_text(CONFIG.replace("seed = 3", f"seed = 3\n{wrong}"))
        status, _, said = run(tmp_path)
        assert (status, f"[model] {wrong.split()[0]} does not go with kind = 'auto'" in said) == (2, True)
