"""Feeds the telemetry of a space shuttle, which ships inside river, into a Kafka topic: again and again, at a pace."""

import argparse
import itertools
import json
import signal
import sys
import time

from confluent_kafka import Producer
from river import datasets

BURST = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--topic", default="events")
    parser.add_argument("--per-second", type=float, default=500.0)
    parser.add_argument("--records", type=int, help="how many in all; without end where left out")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    producer = Producer({"bootstrap.servers": wanted.brokers, "enable.idempotence": True, "linger.ms": 20})
    records = itertools.islice(itertools.cycle(datasets.Shuttle()), wanted.records)
    due = time.monotonic()
    for i, (record, _) in enumerate(records, 1):
        while True:
            try:
                producer.produce(wanted.topic, json.dumps(record).encode())
                break
            except BufferError:  # the broker is away, and what waits for it is as much as may wait
                producer.poll(1)
        if i % BURST == 0:
            producer.poll(0)
            due += BURST / wanted.per_second
            time.sleep(max(due - time.monotonic(), 0))
        if i % 10_000 == 0:
            print(f"{i:,} records sent", file=sys.stderr, flush=True)
    producer.flush()


if __name__ == "__main__":
    main()
