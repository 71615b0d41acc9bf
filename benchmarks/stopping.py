"""``python -m benchmarks.stopping [BROKERS] [redis://…]``: how long a run takes to end with a checkpoint after SIGTERM.

A run with metrics follows a file that grows by thousands of records a second, and writes Parquet; with BROKERS, it
writes to a topic of Kafka as well, with Redis's address to a stream. Each round starts it, lets it learn for some
seconds, and asks it to stop.
"""

import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import msgspec

from benchmarks import data

ROUNDS = 7
AIM = 2.0  # seconds
CONFIG = """
[source]
kind = "file"
path = "events.ndjson"
follow = true
[model]
n_components = 5
batch_size = 256
warm_up = 1000
seed = 7
[model.fields]
{fields}
[checkpoint]
directory = "state"
every_records = 100_000
[metrics]
listen = "127.0.0.1:0"
[[sink]]
kind = "parquet"
path = "scored"
{more}
"""
TO_KAFKA = """
[[sink]]
kind = "kafka"
brokers = "{brokers}"
topic = "{topic}"
"""
TO_REDIS = """
[[sink]]
kind = "redis"
url = "{url}"
stream = "scored"
"""
PROGRAM = [sys.executable, "-c", "from streammix.cli import main; main()", "run"]


def made_topic(brokers: str) -> str:
    """Make a topic; return its name."""
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = f"scored-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": brokers})  # kept: its end would end what is asked
    for future in admin.create_topics([NewTopic(topic, 2, 1)]).values():
        future.result()
    return topic


def seconds_to_stop(directory: Path, more: str) -> float:
    """Start a run, feed it, ask it to stop; return how long it took to end."""
    records = data.records(data.truth(10, 5, 10_000).rows)
    block = b"".join(msgspec.json.encode(x) + b"\n" for x in records[:1000])
    fields = "\n".join(f'{field} = "Normal"' for field in records[0])
    (directory / "pipeline.toml").write_text(CONFIG.format(fields=fields, more=more))
    (directory / "events.ndjson").write_bytes(block * 2)
    done = threading.Event()

    def feed() -> None:
        with open(directory / "events.ndjson", "ab") as file:
            while not done.wait(0.1):
                file.write(block)
                file.flush()

    feeding = threading.Thread(target=feed)
    feeding.start()
    with subprocess.Popen(
        [*PROGRAM, directory / "pipeline.toml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not list((directory / "state").glob("*.arrow")):
            time.sleep(0.05)
        time.sleep(random.uniform(2.0, 4.0))
        begin = time.perf_counter()
        process.terminate()
        status = process.wait()
        taken = time.perf_counter() - begin
    done.set()
    feeding.join()
    assert status == 128 + signal.SIGTERM
    return taken


def main() -> None:
    """Measure, and print."""
    more = "".join(
        TO_REDIS.format(url=place)
        if place.startswith("redis")
        else TO_KAFKA.format(brokers=place, topic=made_topic(place))
        for place in sys.argv[1:]
    )
    taken = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            taken.append(seconds_to_stop(Path(name), more))
    median, worst = statistics.median(taken), max(taken)
    print(f"SIGTERM to the end: median {median:.2f} s, worst of {ROUNDS} {worst:.2f} s (aim: {AIM:.0f} s)")


if __name__ == "__main__":
    main()
