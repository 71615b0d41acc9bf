"""``python -m benchmarks.kafka BROKERS``: from Kafka to scored Parquet, against a consumer that only decodes.

Makes a topic with one partition, and fills it; both sides read it to its end, in turn.
"""

import contextlib
import io
import shutil
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

from benchmarks import data

RECORDS = 200_000
ROUNDS = 5
CONFIG = """
[source]
kind = "kafka"
brokers = "{brokers}"
topic = "{topic}"
stop_at_end = true
[model]
n_components = 5
batch_size = 256
warm_up = 1000
seed = 7
[model.fields]
{fields}
[checkpoint]
directory = "out/state"
every_records = 10_000
[[sink]]
kind = "parquet"
path = "out/scored"
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


def run(directory: Path) -> None:
    """Run the pipeline from the topic's beginning."""
    from streammix.pipeline import commands

    shutil.rmtree(directory / "out", ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        commands.run(directory / "pipeline.toml")


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return seconds by the clock and of the processor, all threads counted."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    """Measure, and print."""
    brokers, topic = sys.argv[1], f"events-{uuid.uuid4().hex[:8]}"
    records = data.records(data.truth(10, 5, 10_000).rows)
    fill(brokers, topic, records)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        fields = "\n".join(f'{field} = "Normal"' for field in records[0])
        (directory / "pipeline.toml").write_text(CONFIG.format(brokers=brokers, topic=topic, fields=fields))
        run(directory)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(timed(lambda: bare(brokers, topic)))
            ours.append(timed(lambda: run(directory)))
    for i, what in enumerate(("clock", "processor")):
        a, b = (statistics.median(each[i] for each in side) for side in (theirs, ours))
        print(f"{what}: bare {RECORDS / a:,.0f} records/s, streammix {RECORDS / b:,.0f}, share {a / b:.2f}")


if __name__ == "__main__":
    main()
