"""Sinks on brokers: their names in checkpoints, and the client's settings."""

import json
import uuid

import pytest
from pipeline_tools import events, run, write_config, write_ndjson

from streammix.errors import ConfigError
from streammix.pipeline.brokers import broker_sink
from streammix.pipeline.config import load_config
from streammix.pipeline.kafka_link import KafkaLink
from streammix.store import CheckpointStore

FILE = 'kind = "file"\npath = "events.ndjson"'


def test_one_stream_in_two_databases(redis_server, tmp_path):
    import redis

    name = f"scored-{uuid.uuid4().hex[:12]}"
    first = f'[[sink]]\nkind = "redis"\nurl = "{redis_server.url}/0"\nstream = "{name}"\n'
    second = first.replace("/0", "/1")

    def sent(database):
        client = redis.Redis(port=redis_server.server.port, db=database, protocol=2)
        found = [json.loads(fields[b"data"])["position"]["offset"] for _, fields in client.xrange(name)]
        client.close()
        assert len(set(found)) == len(found)
        return len(found)

    def names():
        with CheckpointStore(tmp_path / "state", readonly=True) as store:
            return set(store.latest().outputs["sinks"])

    at = f"redis://127.0.0.1:{redis_server.server.port}"
    for sinks, expected, known in [
        (first, (300, 0), {f"redis:{name}"}),
        (first + second, (600, 300), {f"{at}/0/{name}", f"{at}/1/{name}"}),
        (first + second, (900, 600), {f"{at}/0/{name}", f"{at}/1/{name}"}),
        (second, (900, 900), {f"redis:{name}"}),
        (second, (900, 1200), {f"redis:{name}"}),
    ]:
        write_config(tmp_path, FILE, sinks, every=100)
        write_ndjson(tmp_path / "events.ndjson", events(300), mode="a")
        assert run(tmp_path)[0] == 0
        assert (sent(0), sent(1)) == expected
        assert names() == known


def test_a_setting_of_the_users_goes_before_ours_but_where_we_need_it():
    link = KafkaLink("b", {"linger.ms": 5, "compression.codec": "zstd"})
    found = link.options({"compression.type": "lz4", "linger.ms": 20}, group_id="run")
    assert (found["linger.ms"], found["group.id"]) == (5, "run")
    assert list(found).index("compression.type") < list(found).index("compression.codec")  # the last one counts
    with pytest.raises(ConfigError, match=r"settings.linger.ms can't be set: the run needs its own"):
        link.options(linger_ms=20)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ('"transactional.id" = "x"', "settings.transactional.id can't be set"),
        ('"enable.auto.commit" = true', "settings.enable.auto.commit can't be set"),
        ('acks = "0"', "`acks` must be set to `all` when"),
    ],
)
def test_a_setting_that_would_break_a_transaction_is_refused(setting, reason, kafka_server, tmp_path):
    topic = f"scored-{uuid.uuid4().hex[:12]}"
    kafka_server.make(topic, 1)
    write_config(tmp_path, FILE, f"{kafka_server.sink(topic)}settings = {{ {setting} }}\n")
    write_ndjson(tmp_path / "events.ndjson", events(3))
    status, _, said = run(tmp_path)
    assert (status, said.count("\n"), reason in said) == (2, 1, True)


def test_rows_may_be_compressed_otherwise(kafka_server, tmp_path):
    topic = f"scored-{uuid.uuid4().hex[:12]}"
    kafka_server.make(topic, 1)
    settings = 'settings = { "compression.type" = "zstd", "linger.ms" = 1 }\n'
    path = write_config(tmp_path, FILE, kafka_server.sink(topic) + settings)
    write_ndjson(tmp_path / "events.ndjson", events(50))
    assert run(tmp_path)[0] == 0
    assert len(kafka_server.sent(topic)) == 50
    config = load_config(path)
    assert broker_sink(config, config.sinks[0], {}).name == f"kafka:{topic}"
