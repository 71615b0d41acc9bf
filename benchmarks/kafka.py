"""``python -m benchmarks.kafka BROKERS``: from Kafka to scored Parquet, against a consumer that only decodes.

Makes a topic with one partition, and fills it; both sides read it to its end, in turn.
"""

import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks import data, pipeline

RECORDS = 400_000
ROUNDS = 3
SOURCE = """
kind = "kafka"
brokers = "{brokers}"
topic = "{topic}"
stop_at_end = true
"""


def fill(brokers: str, topic: str, records: list[data.Record]) -> None:
    """Make the topic."""
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 50})
    texts = [msgspec.json.encode(x) for x in records]
    for i in range(RECORDS):
        producer.produce(topic, texts[i % len(texts)])
        if i % 1000 == 0:
            producer.poll(0)
            producer.flush()
    producer.flush()


def bare(brokers: str, topic: str) -> None:
    """Read the topic and decode every message."""
    decode = msgspec.json.Decoder().decode
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": uuid.uuid4().hex, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    while True:
        for message in consumer.consume(10_000, 0.2):
            if message.error() is None:
                decode(message.value())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                consumer.close()
                return


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return seconds by the clock and of the processor, all threads counted."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    """Measure, and print."""
    brokers, topic = sys.argv[1], f"events-{uuid.uuid4().hex[:8]}"
    records = pipeline.normals()
    fill(brokers, topic, records)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = SOURCE.format(brokers=brokers, topic=topic)
        fields = pipeline.fields_of(dict.fromkeys(records[0], "Normal"))
        (directory / "pipeline.toml").write_text(pipeline.CONFIG.format(source=source, batch_size=256, fields=fields))
        pipeline.run(directory)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(timed(lambda: bare(brokers, topic)))
            ours.append(timed(lambda: pipeline.run(directory)))
    for i, what in enumerate(("clock", "processor")):
        a, b = (statistics.median(each[i] for each in side) for side in (theirs, ours))
        print(f"{what}: bare {RECORDS / a:,.0f} records/s, streammix {RECORDS / b:,.0f}, share {a / b:.2f}")


if __name__ == "__main__":
    main()
