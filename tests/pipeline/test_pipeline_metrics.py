"""What a run tells of itself while it goes on: metrics, health, log lines."""

import json
import logging
import re

import httpx
import pytest
from pipeline_tools import FILES, events, run, state_of, write_config, write_ndjson
from web_tools import client, make_certificate

from streammix.errors import UnavailableError
from streammix.pipeline import assemble, commands, metrics, talk
from streammix.pipeline.decode import JsonDecoder
from streammix.pipeline.sources.file import FileSource
from streammix.store import CheckpointStore

METRICS = '[metrics]\nlisten = "127.0.0.1:0"\n'


class Lagging(FileSource):
    def lag(self):
        return 17


@pytest.fixture
def watched(place, monkeypatch):
    """A run of 1,200 events and three bad records, of which all is published."""
    write_ndjson(place / "events" / "b.ndjson", [{"x": "much"}, {"y": 1.0, "x": [1]}, {}])
    with open(place / "events" / "b.ndjson", "a") as file:
        file.write("no JSON\n" + "{" * 300 + "\n")
    write_config(place, FILES + "\nmax_record_bytes = 200", METRICS, every=400)
    monkeypatch.setattr(metrics, "PUBLISH_SECONDS", 0.0)
    monkeypatch.setattr(assemble, "FileSource", Lagging)
    return place


def url_of(caplog):
    return next(message for message in reversed(caplog.messages) if "http" in message).rpartition(" ")[2]


def numbers(text):
    """Read Prometheus's text: {name with labels: value}."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_the_metrics_of_a_run(watched, caplog, monkeypatch):
    seen = []
    at_the_end = metrics.Metrics.checkpointed

    def look(self, seconds, size):
        at_the_end(self, seconds, size)
        with client(url_of(caplog)) as asking:
            seen.append((asking.get("/metrics").text, asking.get("/readyz"), asking.get("/livez")))

    monkeypatch.setattr(metrics.Metrics, "checkpointed", look)
    with caplog.at_level(logging.INFO, logger="streammix"):
        assert commands.run(watched / "pipeline.toml") is None
    text, ready, live = seen[-1]
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
    assert (live.status_code, live.json()) == (200, {"live": True})
    found = numbers(text)
    assert found["streammix_records_total"] == 1205
    rejected = {name: value for name, value in found.items() if "rejected" in name}
    assert rejected == {
        'streammix_rejected_total{reason="value"}': 2,
        'streammix_rejected_total{reason="record"}': 1,
        'streammix_rejected_total{reason="undecodable"}': 1,
        'streammix_rejected_total{reason="too_long"}': 1,
    }
    assert found["streammix_scored_total"] == 1100  # the warm-up has no scores
    assert found["streammix_records_per_second"] > 0
    assert found["streammix_lag_records"] == 17
    assert found["streammix_mean_log_density"] == found["streammix_log_density_sum"] / 1100
    with CheckpointStore(watched / "state", readonly=True) as store:
        newest = store.latest()
    weights = [found[f'streammix_component_weight{{component="{k}"}}'] for k in range(2)]
    assert weights == newest.model.weights.tolist()
    sizes = [found[f'streammix_component_effective_sample_size{{component="{k}"}}'] for k in range(2)]
    assert 100 < sum(sizes) < 1200
    assert found["streammix_checkpoints_total"] == 5  # the first is empty
    assert found["streammix_checkpoint_size_bytes"] == newest.path.stat().st_size
    assert 0 < found["streammix_checkpoint_duration_seconds"] < 60
    assert 0 <= found["streammix_checkpoint_age_seconds"] < 60
    assert found["process_resident_memory_bytes"] > 1e6
    with client(url_of(caplog)) as asking, pytest.raises(httpx.ConnectError):
        asking.get("/livez")


def test_a_run_is_not_ready_while_it_restores(watched, caplog, monkeypatch):
    asked = []
    latest = CheckpointStore.latest

    def look(self):
        with client(url_of(caplog)) as asking:
            asked.append([asking.get(path).status_code for path in ("/readyz", "/livez", "/metrics")])
        return latest(self)

    monkeypatch.setattr(CheckpointStore, "latest", look)
    with caplog.at_level(logging.INFO, logger="streammix"):
        commands.run(watched / "pipeline.toml")
    assert asked == [[503, 200, 200]]


def test_a_run_that_begins_again_is_counted(watched, caplog):
    seen = []

    def decode(batch):
        with client(url_of(caplog)) as asking:
            seen.append(numbers(asking.get("/metrics").text))
        if len(seen) == 1:
            raise UnavailableError("the schema registry is away")
        return JsonDecoder()(batch)

    with caplog.at_level(logging.INFO, logger="streammix"):
        commands.run(watched / "pipeline.toml", decode=decode)
    assert [one["streammix_faults_total"] for one in seen[:2]] == [0, 1]
    assert [one["streammix_ready"] for one in seen[:2]] == [1, 1]


def test_a_run_that_resumes_goes_on_counting(watched, caplog):
    commands.run(watched / "pipeline.toml")
    write_ndjson(watched / "events" / "c.ndjson", events(10, seed=4))
    seen = []

    def decode(batch):
        with client(url_of(caplog)) as asking:
            seen.append(numbers(asking.get("/metrics").text))
        return JsonDecoder()(batch)

    with caplog.at_level(logging.INFO, logger="streammix"):
        commands.run(watched / "pipeline.toml", decode=decode)
    assert 0 <= seen[0]["streammix_checkpoint_age_seconds"] < 60
    assert seen[0]["streammix_checkpoint_size_bytes"] > 1000
    assert seen[0]["streammix_records_total"] == 1205
    with CheckpointStore(watched / "state", readonly=True) as store:
        assert store.latest().positions["scored"] == 1110


def test_the_sum_of_log_densities_does_not_depend_on_the_cuts(place, tmp_path_factory):
    run(place)
    other = tmp_path_factory.mktemp("other")
    for n in (1, 333, 900, 1200):
        write_ndjson(other / "events" / "a.ndjson", events(1200)[:n])
        write_config(other, FILES)
        run(other)
    one, several = (json.loads(state_of(p / "state")["positions"][0].as_py()) for p in (place, other))
    assert one["scored"] == 1100
    assert (one["scored"], one["log_density"]) == (several["scored"], several["log_density"])


def test_metrics_behind_a_token_and_tls(watched, caplog):
    certificate, _ = make_certificate(watched)
    (watched / "token").write_text("a-token-of-24-characters\n")
    section = METRICS + 'tls_certificate = "certificate.pem"\ntls_key = "key.pem"\ntoken_file = "token"\n'
    write_config(watched, FILES, section)
    seen = []

    def decode(batch):
        for token in (None, "a-token-of-24-characters"):
            with client(url_of(caplog), token, certificate) as asking:
                seen.append([asking.get(path).status_code for path in ("/metrics", "/readyz")])
        return JsonDecoder()(batch)

    with caplog.at_level(logging.INFO, logger="streammix"):
        commands.run(watched / "pipeline.toml", decode=decode)
    assert seen[:2] == [[401, 200], [200, 200]]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('listen = "here"', r"\[metrics\] listen: expected an address"),
        ('token_file = "nowhere"', r"\[metrics\] token_file: .*nowhere can't be read"),
        ('tls_key = "pipeline.toml"', r"\[metrics\] tls_key needs"),
        ('token = "abc"', r"\[metrics\] unknown key 'token'; did you mean token_file\?"),
    ],
)
def test_wrong_sections(place, section, words):
    write_config(place, FILES, f"[metrics]\n{section}\n")
    status, _, said = run(place)
    assert status == 2
    assert re.search(words, said)
    assert not (place / "state").exists()


def test_log_lines_are_json_away_from_a_terminal(place):
    status, _, said = run(place)
    assert status == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert all(set(line) == {"time", "level", "message"} for line in lines)
    assert lines[-1]["level"] == "info"
    assert "records 1,200" in lines[-1]["message"]


def test_secrets_are_never_said(monkeypatch, capsys):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abcdefgh/ijk")
    for as_json in (True, False):
        talk.set_up(False, as_json)
        log = logging.getLogger("streammix")
        try:
            raise ValueError("key abcdefgh/ijk at amqp://me:hush@host/")
        except ValueError as error:
            log.exception("no answer: %s", error)
        said = capsys.readouterr().err
        assert "abcdefgh" not in said
        assert "hush" not in said
        assert "amqp://me:***@host/" in said
