"""Streams and topics that are deleted, and made anew under the same name."""

import asyncio
import json
import uuid

import pytest
from pipeline_tools import events, run, write_config

from streammix.errors import StreammixError
from streammix.pipeline.kafka_link import KafkaLink
from streammix.pipeline.sources import nats as nats_module
from streammix.pipeline.sources.kafka import KafkaSource
from streammix.pipeline.sources.nats import NatsPlace, NatsSource


def texts(n):
    return [json.dumps(record).encode() for record in events(n)]


@pytest.fixture
def name():
    return f"events-{uuid.uuid4().hex[:12]}"


def delete_stream(server, name):
    async def delete():
        import nats

        link = await nats.connect(server.url)
        await link.jetstream().delete_stream(name)
        await link.close()

    asyncio.run(delete())


def drain(source):
    n = 0
    while (batch := source.read(1000)) is not None:
        n += len(batch)
    source.close()
    return n


@pytest.mark.parametrize("is_anew", [False, True])
def test_a_stream_of_nats_that_goes_while_it_is_read_ends_the_run(is_anew, nats_server, name, tmp_path, monkeypatch):
    monkeypatch.setattr(nats_module, "LOOK_SECONDS", 0.1)
    nats_server.fill(name, texts(200))
    write_config(tmp_path, nats_server.source(name))
    read = NatsSource.read

    def read_or_delete(self, limit):
        batch = read(self, limit)
        if not len(batch) and self.position()["sequence"] == 200:
            monkeypatch.setattr(NatsSource, "read", read)
            delete_stream(nats_server, name)
            if is_anew:
                nats_server.fill(name, texts(300))
        return batch

    monkeypatch.setattr(NatsSource, "read", read_or_delete)
    status, _, said = run(tmp_path)
    assert status == 1
    assert f"the stream {name} was deleted {'and made anew' if is_anew else 'while it was read'}" in said


def test_a_stream_of_nats_that_was_made_anew_and_is_past_the_position(nats_server, name):
    place = NatsPlace([nats_server.url], name, None, {})
    nats_server.fill(name, texts(20))
    source = NatsSource(place, stop_at_end=True)
    assert drain(source) == 20
    position = source.position()
    delete_stream(nats_server, name)
    nats_server.fill(name, texts(30))
    with pytest.raises(StreammixError, match=f"the stream {name} was deleted and made anew since it was read"):
        NatsSource(place, position, stop_at_end=True)
    del position["created"]  # of an older checkpoint
    assert drain(NatsSource(place, position, stop_at_end=True)) == 10


def test_a_topic_that_goes_while_it_is_read(kafka_server, name):
    kafka_server.fill(name, texts(20))
    source = KafkaSource(KafkaLink(kafka_server.brokers, {}), [name])
    try:
        while not len(source.read(1000)):
            pass
        kafka_server.delete(name)
        source._look_again = 0.0
        with pytest.raises(StreammixError, match=f"has no topic '{name}' any more: it was deleted while it was read"):
            source.read(1000)
    finally:
        source.close()


def test_a_topic_that_was_made_anew_and_is_past_the_position(kafka_server, name):
    link = KafkaLink(kafka_server.brokers, {})
    kafka_server.fill(name, texts(20))
    source = KafkaSource(link, [name], stop_at_end=True)
    assert drain(source) == 20
    position = source.position()
    assert drain(KafkaSource(link, [name], position, stop_at_end=True)) == 0
    kafka_server.delete(name)
    kafka_server.fill(name, texts(32))
    with pytest.raises(StreammixError, match=f"the topic {name} was deleted and made anew since it was read"):
        KafkaSource(link, [name], position, stop_at_end=True)
    assert drain(KafkaSource(link, [name], position, start="latest", when_lost="skip", stop_at_end=True)) == 32
    del position["topics"]  # of an older checkpoint
    assert drain(KafkaSource(link, [name], position, stop_at_end=True)) == 12
