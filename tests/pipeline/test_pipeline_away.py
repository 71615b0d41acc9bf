"""Servers that go away and come back, refuse, or are not what was expected."""

import json
import signal
import subprocess
import threading
import time
import uuid

import pytest
from pipeline_tools import PROGRAM, count_lines, events, lines_of, run, state_of, write_config
from servers import Server, free_port, nats_arguments

from streammix.pipeline import faults
from streammix.pipeline.sources.nats import NatsPlace, NatsSource
from streammix.pipeline.sources.redis import RedisSource

NDJSON = '[[sink]]\nkind = "ndjson"\npath = "scored.ndjson"\n'
IMPATIENT = "[faults]\npatience_seconds = 0"


def texts(n):
    return [json.dumps(record).encode() for record in events(n)]


@pytest.mark.parametrize(("kind", "source"), [("redis", RedisSource), ("nats", NatsSource)])
def test_a_server_that_is_away_for_a_while(kind, source, request, tmp_path, monkeypatch):
    broker = request.getfixturevalue(f"{kind}_server")
    monkeypatch.setattr(faults, "FIRST_WAIT", 0.05)
    name = f"events-{uuid.uuid4().hex[:12]}"
    broker.fill(name, texts(900))
    for place in ("whole", "cut"):
        (tmp_path / place).mkdir()
        write_config(tmp_path / place, broker.source(name, "stop_at_end = true"), NDJSON, every=150)
    assert run(tmp_path / "whole")[0] == 0
    read, calls = source.read, []

    def read_or_crash(self, limit):
        calls.append(limit)
        if len(calls) == 4:
            broker.server.kill()
            threading.Timer(0.3, broker.server.start).start()
        return read(self, limit)

    monkeypatch.setattr(source, "read", read_or_crash)
    status, _, said = run(tmp_path / "cut")
    assert status == 0, said
    assert "does not answer" in said
    assert "going on after" in said
    assert lines_of(tmp_path / "cut" / "scored.ndjson") == lines_of(tmp_path / "whole" / "scored.ndjson")
    ours, theirs = (state_of(tmp_path / place / "state") for place in ("cut", "whole"))
    assert ours == theirs


def test_a_server_that_is_away_when_a_run_goes_on_is_told_of_once(redis_server, tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "FIRST_WAIT", 0.02)
    name = f"events-{uuid.uuid4().hex[:12]}"
    redis_server.fill(name, texts(20))
    config = write_config(tmp_path, redis_server.source(name, "stop_at_end = true"))
    assert run(tmp_path)[0] == 0
    away = config.read_text().replace(str(redis_server.server.port), str(free_port()))
    config.write_text(f"{away}[faults]\npatience_seconds = 0.5\n")
    status, _, said = run(tmp_path)
    assert status == 1
    assert (said.count("resuming after 20 records"), said.count("trying again until it is back")) == (1, 1)


def test_redis_refuses(redis_server, tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_WORD", "wrong-and-secret")
    source = redis_server.source("events", 'password = { env = "REDIS_WORD" }')
    write_config(tmp_path, source)
    redis_server.client.config_set("requirepass", "right")
    redis_server.client.execute_command("AUTH", "right")
    try:
        status, _, said = run(tmp_path)
    finally:
        redis_server.client.config_set("requirepass", "")
    assert status == 1
    assert "Redis refuses the credentials" in said
    assert "wrong-and-secret" not in said


def test_redis_keys_that_are_no_streams(redis_server, tmp_path):
    redis_server.client.set("text", "x")
    write_config(tmp_path, redis_server.source("text"))
    status, _, said = run(tmp_path)
    assert status == 2
    assert "the key text holds a string, not a stream" in said


def test_a_redis_stream_that_was_made_anew(redis_server, tmp_path):
    name = f"events-{uuid.uuid4().hex[:12]}"
    redis_server.fill(name, texts(20))
    write_config(tmp_path, redis_server.source(name, "stop_at_end = true"))
    assert run(tmp_path)[0] == 0
    redis_server.client.delete(name)
    status, _, said = run(tmp_path)
    assert status == 1
    assert f"the stream {name} ends at 0-0" in said


def test_redis_fields_are_the_record(redis_server):
    from streammix.pipeline.redis_link import connect

    name = f"events-{uuid.uuid4().hex[:12]}"
    redis_server.client.xadd(name, {"x": "1.5", "kind": "17", "flag": "true", "none": ""}, id="5-1")
    redis_server.client.xadd(name, {"x": b"\xff"}, id="5-2")
    source = RedisSource(connect(redis_server.url), name, stop_at_end=True, as_text={"kind"})
    batch = source.read(10)
    assert batch.records == [{"x": 1.5, "kind": "17", "flag": True, "none": None}]
    assert batch.offsets.tolist() == [(5 << 20) + 1]
    assert [refusal.offset for refusal in batch.refused] == [(5 << 20) + 2]
    assert source.read(10) is None
    source.close()


def test_nats_refuses(tmp_path, tmp_path_factory, monkeypatch):
    server = Server(
        "nats-server",
        lambda port, directory: [*nats_arguments(port, directory), "--user", "ann", "--pass", "right"],
        tmp_path_factory.mktemp("nats"),
    )
    try:
        monkeypatch.setenv("NATS_WORD", "wrong-and-secret")
        who = 'user = "ann"\npassword = { env = "NATS_WORD" }'
        write_config(tmp_path, f'kind = "nats"\nservers = "nats://127.0.0.1:{server.port}"\nstream = "s"\n{who}')
        status, _, said = run(tmp_path)
    finally:
        server.kill()
    assert status == 1
    assert "NATS refuses the credentials" in said
    assert "wrong-and-secret" not in said


def test_nats_may_time_out_in_two_ways(nats_server, monkeypatch):
    name = f"events-{uuid.uuid4().hex[:12]}"
    nats_server.fill(name, texts(3))
    source = NatsSource(NatsPlace([nats_server.url], name, None, {}))

    async def time_out(limit, timeout):
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(source._subscription, "fetch", time_out)
        assert len(source.read(10)) == 0
    assert len(source.read(10)) == 3
    source.close()


def test_a_nats_stream_that_does_not_exist(nats_server, tmp_path):
    write_config(tmp_path, nats_server.source("nowhere"))
    status, _, said = run(tmp_path)
    assert status == 2
    assert "[source] stream: there is no stream 'nowhere'" in said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('kind = "redis"\nurl = "redis://127.0.0.1:{port}"\nstream = "s"', "Redis does not answer"),
        ('kind = "nats"\nservers = "nats://127.0.0.1:{port}"\nstream = "s"', "NATS does not answer"),
    ],
)
def test_nobody_answers(source, words, tmp_path):
    write_config(tmp_path, source.format(port=free_port()), more=IMPATIENT)
    status, _, said = run(tmp_path)
    assert status == 1
    assert words in said


@pytest.mark.slow
def test_a_live_run_ends_with_sigterm(broker, tmp_path):
    """It checkpoints what came, and goes on with what comes later."""
    name = f"events-{uuid.uuid4().hex[:12]}"
    broker.fill(name, texts(300))
    config = write_config(tmp_path, broker.source(name), NDJSON, every=100)
    process = subprocess.Popen([*PROGRAM, "run", config], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while count_lines(tmp_path / "scored.ndjson") < 300:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 128 + signal.SIGTERM, said
    broker.fill(name, texts(50))
    write_config(tmp_path, broker.source(name, "stop_at_end = true"), NDJSON, every=100)
    assert run(tmp_path)[0] == 0
    assert len(lines_of(tmp_path / "scored.ndjson")) == 350
