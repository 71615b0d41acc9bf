"""Kafka's own: the order of partitions, groups, offsets that are gone, wrong credentials."""

import json
import uuid

import pytest
from pipeline_tools import events, run, write_config, write_ndjson

from benchmarks import stopping
from streammix.errors import ConfigError, StreammixError, UnavailableError
from streammix.pipeline.decode import decode_json
from streammix.pipeline.kafka_link import KafkaLink
from streammix.pipeline.sources.kafka import KafkaSource
from streammix.pipeline.sources.partition import place_of

SETTINGS = {"heartbeat.interval.ms": 200}
IMPATIENT = "[faults]\npatience_seconds = 0"


@pytest.fixture
def topic(kafka_server):
    """A topic of three partitions with 4,000 records."""
    name = f"events-{uuid.uuid4().hex[:12]}"
    kafka_server.fill(name, [b'{"n": %d}' % n for n in range(4000)])
    return name


@pytest.fixture
def reading(kafka_server):
    """Return what opens sources, which are closed after the test."""
    opened = []

    def make(topic, position=None, **options):
        opened.append(KafkaSource(KafkaLink(kafka_server.brokers, SETTINGS), [topic], position, **options))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def drain(source, limit=700):
    """Return (source, n) of all there is, to the end."""
    found = []
    while (batch := source.read(limit)) is not None:
        batch = decode_json(batch)
        assert not batch.refused
        found += [(batch.source, record["n"]) for record in batch.records]
    return found


def test_partitions_take_turns_in_one_order(topic, reading):
    whole = drain(reading(topic, stop_at_end=True))
    assert sorted(n for _, n in whole) == list(range(4000))
    blocks = [name for i, (name, _) in enumerate(whole) if i % 1000 == 0]
    assert blocks == [f"{topic}/{number}" for number in (0, 1, 2, 2)]
    position, found = None, []
    for limit in (1, 999, 300, 1500, 10, 700, 5000, 5000):  # resumed after each batch
        source = reading(topic, position, stop_at_end=True)
        while (batch := source.read(limit)) is not None and not len(batch):
            pass
        position = json.loads(json.dumps(source.position()))
        source.close()
        if batch is not None:
            found += [(batch.source, record["n"]) for record in decode_json(batch).records]
    found += drain(reading(topic, position, stop_at_end=True))
    assert found == whole


def test_a_partition_that_is_alone_is_read_past_its_turns(kafka_server, reading):
    topic = f"events-{uuid.uuid4().hex[:12]}"
    kafka_server.fill(topic, [b'{"n": %d}' % n for n in range(2500)], partitions=1)
    first = reading(topic, stop_at_end=True)
    while len(first._partitions[f"{topic}/0"].offsets) < 1300:
        first._fetch()
    assert len(first.read(1300)) == 1300
    rest = drain(reading(topic, first.position(), stop_at_end=True))
    assert [n for _, n in rest] == list(range(1300, 2500))


def test_the_checkpoint_is_the_truth_whatever_the_group_committed(topic, reading):
    from confluent_kafka import Consumer, TopicPartition

    group = uuid.uuid4().hex
    first = reading(topic, group=group, stop_at_end=True)
    while not len(first.read(500)):
        pass
    first.acknowledge()
    position = first.position()
    first.close()
    foreign = Consumer({"bootstrap.servers": first._link.brokers, "group.id": group})
    foreign.commit(offsets=[TopicPartition(topic, 0, 900)], asynchronous=False)
    foreign.close()
    rest = drain(reading(topic, position, group=group, stop_at_end=True))
    assert len(rest) == 3500


def test_a_partition_that_changes_hands(topic, reading):
    group, left = uuid.uuid4().hex, []
    first = reading(topic, group=group)
    first.before_leaving = lambda: (left.append(first.position()["offsets"]), first.acknowledge())
    found = []

    def turn(source, limit=100):
        batch = decode_json(source.read(limit))
        found.extend((batch.source, record["n"]) for record in batch.records)

    while len(found) < 500:
        turn(first)
    second = reading(topic, group=group)
    while not second._partitions:
        turn(first, 1)
        turn(second, 1)
    for _ in range(400):
        turn(first)
        turn(second)
        if len(found) == 4000:
            break
    assert sorted(n for _, n in found) == list(range(4000))
    assert len(left) == 1
    assert set(first._partitions) | set(second._partitions) == {f"{topic}/{number}" for number in range(3)}
    assert not set(first._partitions) & set(second._partitions)
    assert second._partitions


def test_a_member_that_comes_back_reads_nothing_that_another_one_has_read(topic, reading):
    group, found, positions = uuid.uuid4().hex, [], []
    for _ in range(2):
        member = reading(topic, group=group)
        count = len(found)
        for _ in range(2):
            while len(found) < count + 700:
                found += numbers_of(member.read(100))
            count = len(found)
            member.acknowledge()
            positions.append(json.loads(json.dumps(member.position())))
        member.close()
    first = reading(topic, positions[1], group=group, stop_at_end=True)
    assert sorted(found + [n for _, n in drain(first)]) == list(range(4000))
    first.close()
    second = reading(topic, positions[2], group=group, stop_at_end=True)  # its own commits hold it back from nothing
    assert len(drain(second)) == 4000 - sum(positions[2]["offsets"].values())


def numbers_of(batch):
    return [record["n"] for record in decode_json(batch).records]


def test_partitions_that_are_lost(topic, reading):
    source = reading(topic, group=uuid.uuid4().hex)
    while not len(source.read(10)):
        pass
    source._on_lost(source._consumer, [place_of(name) for name in source._partitions])
    source._fetch_again = 0.0
    with pytest.raises(UnavailableError, match="has given our partitions to others"):
        source.read(1000)


def test_the_lag(topic, reading):
    source = reading(topic)
    while not len(source.read(1000)):
        pass
    assert 0 <= source.lag() <= 3000  # as far as the broker has said
    for _ in range(12):
        source.read(1000)
    assert source.lag() == 0


def test_records_that_are_gone(topic, reading, kafka_server):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    source = reading(topic, stop_at_end=True)
    while not len(source.read(500)):
        pass
    position = source.position()
    admin = AdminClient({"bootstrap.servers": kafka_server.brokers})
    for future in admin.delete_records([TopicPartition(topic, 0, 700)]).values():
        future.result()
    with pytest.raises(StreammixError, match=r"begins at 700, but it was read up to 500.*when_lost = \"skip\" goes on"):
        reading(topic, position)
    assert len(drain(reading(topic, position, when_lost="skip", stop_at_end=True))) == 3300
    position["offsets"][f"{topic}/0"] = 5000
    with pytest.raises(StreammixError, match="ends at 1000, but it was read up to 5000: it was made anew or cut"):
        reading(topic, position)


def test_new_partitions_are_read(topic, reading, monkeypatch, kafka_server):
    from confluent_kafka.admin import AdminClient, NewPartitions

    source = reading(topic, start="latest")
    assert not len(source.read(10))
    admin = AdminClient({"bootstrap.servers": kafka_server.brokers})
    for future in admin.create_partitions([NewPartitions(topic, 4)]).values():
        future.result()
    kafka_server.fill(topic, [b'{"n": 1}'] * 4, partitions=4)
    found = []
    for _ in range(100):
        source._look_again = 0.0
        batch = source.read(10)
        found += [batch.source] * len(batch)
        if len(found) == 4:
            break
    assert sorted(found) == [f"{topic}/{number}" for number in range(4)]


def test_a_topic_that_does_not_exist(kafka_server, tmp_path):
    write_config(tmp_path, kafka_server.source("nowhere"))
    status, _, said = run(tmp_path)
    assert status == 2
    assert f"[source] topic: Kafka at {kafka_server.brokers} has no topic 'nowhere'" in said
    write_ndjson(tmp_path / "a.ndjson", events(10))
    write_config(tmp_path, 'kind = "file"\npath = "a.ndjson"', kafka_server.sink("nowhere"))
    status, _, said = run(tmp_path)
    assert status == 2
    assert "[sink] topic: Kafka at" in said


def test_wrong_credentials(kafka_server, tmp_path, monkeypatch):
    monkeypatch.setenv("KAFKA_WORD", "wrong-and-secret")
    settings = (
        '[source.settings]\n"security.protocol" = "SASL_PLAINTEXT"\n"sasl.mechanism" = "PLAIN"\n'
        '"sasl.username" = "ann"\n"sasl.password" = { env = "KAFKA_WORD" }'
    )
    source = kafka_server.source("events", settings).replace(kafka_server.brokers, kafka_server.broker.secured)
    write_config(tmp_path, source)
    status, _, said = run(tmp_path)
    assert status == 1
    assert "refuses us" in said
    assert "uthentication failed" in said
    assert "wrong-and-secret" not in said


def test_nobody_answers(tmp_path):
    from servers import free_port

    port = free_port()
    config = f'kind = "kafka"\nbrokers = "127.0.0.1:{port}"\ntopic = "t"'
    write_config(tmp_path, config, more=IMPATIENT)
    status, _, said = run(tmp_path)
    assert status == 1
    assert f"Kafka at 127.0.0.1:{port} does not answer" in said


def test_a_setting_that_librdkafka_does_not_know():
    with pytest.raises(ConfigError, match=r"settings: .*no\.such"):
        KafkaSource(KafkaLink("127.0.0.1:1", {"no.such": 1}), ["t"])


def test_only_committed_transactions_are_read(kafka_server, reading):
    from confluent_kafka import Producer

    topic = f"events-{uuid.uuid4().hex[:12]}"
    kafka_server.make(topic, 1)
    producer = Producer({"bootstrap.servers": kafka_server.brokers, "transactional.id": topic})
    producer.init_transactions()
    for n, is_kept in enumerate([True, False, True]):
        producer.begin_transaction()
        producer.produce(topic, b'{"n": %d}' % n)
        producer.flush()
        producer.commit_transaction() if is_kept else producer.abort_transaction()
    source = reading(topic, stop_at_end=True)
    assert [n for _, n in drain(source)] == [0, 2]


def test_the_topic_of_the_benchmark_of_stopping(kafka_server):
    name = stopping.made_topic(kafka_server.brokers)
    assert kafka_server.sent(name) == []
