"""Redis: streams that are not there, what is gone before it was read, entries without a record."""

import json
import logging
import uuid

import pytest
from pipeline_tools import lines_of, run, write_config

from streammix.pipeline.redis_link import connect
from streammix.pipeline.sources.redis import RedisSource


@pytest.fixture
def name():
    return f"events-{uuid.uuid4().hex[:12]}"


def test_a_stream_that_is_not_there(redis_server, name, tmp_path, caplog):
    write_config(tmp_path, redis_server.source(name, "stop_at_end = true"))
    status, _, said = run(tmp_path)
    assert (status, f"[source] stream: there is no stream '{name}'" in said) == (2, True)
    assert not (tmp_path / "state").exists() or not list((tmp_path / "state").glob("*.arrow"))
    with caplog.at_level(logging.WARNING, "streammix"):
        source = RedisSource(connect(redis_server.url), name)
    assert caplog.messages == [f"there is no stream {name} yet; waiting for its first entry"]
    redis_server.client.xadd(name, {"x": "1"})
    assert source.read(10).records == [{"x": 1}]
    source.close()


@pytest.mark.parametrize("is_live", [True, False])
def test_entries_that_are_trimmed_before_they_are_read_are_warned_of(is_live, redis_server, name, caplog):
    def add(n):
        for i in range(n):
            redis_server.client.xadd(name, {"x": i})

    add(60)
    source = RedisSource(connect(redis_server.url), name)
    assert len(source.read(60)) == 60
    redis_server.client.xtrim(name, maxlen=10, approximate=False)
    position = source.position()
    with caplog.at_level(logging.WARNING, "streammix"):
        source.acknowledge()
        assert caplog.messages == []  # what was trimmed had been read
        add(20)
        redis_server.client.xtrim(name, maxlen=5, approximate=False)
        if is_live:
            assert len(source.read(60)) == 5
            source.acknowledge()
            source.acknowledge()
        else:
            source.close()
            source = RedisSource(connect(redis_server.url), name, position)
        assert caplog.messages == [f"{name}: 15 entries up to now were gone before they were read"]
        caplog.clear()
        source.read(60)
        source.acknowledge()
        assert source.lag() == 0
        source.close()
        RedisSource(connect(redis_server.url), name, source.position()).close()
        assert caplog.messages == []


def test_an_entry_that_is_deleted_before_it_is_read_is_warned_of(redis_server, name, caplog):
    ids = [redis_server.client.xadd(name, {"x": i}).decode() for i in range(10)]
    source = RedisSource(connect(redis_server.url), name)
    source.read(4)
    source.close()
    redis_server.client.xdel(name, ids[6])
    with caplog.at_level(logging.WARNING, "streammix"):
        source = RedisSource(connect(redis_server.url), name, source.position())
    assert caplog.messages == [f"{name}: entries after {ids[3]}, up to {ids[6]}, were deleted before they were read"]
    assert len(source.read(10)) == 5
    source.close()


def test_dead_letters_hold_what_an_entry_has(redis_server, name, tmp_path):
    for fields in ({"data": '{"x": 1}'}, {"data": ""}, {"other": "é", "raw": b"\xff"}):
        redis_server.client.xadd(name, fields)
    write_config(tmp_path, redis_server.source(name, "stop_at_end = true"), model="[model]\n")
    assert run(tmp_path)[0] == 0
    empty, other = lines_of(tmp_path / "state" / "_dead-letter.ndjson")
    assert (empty["reason"], empty["raw"]) == ("a blank message", "")
    assert other["reason"] == "an entry without the field 'data'"
    assert json.loads(other["raw"]) == {"other": "é", "raw": "\\xff"}
