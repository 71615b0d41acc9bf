"""A topic of Kafka: each scored record stands there once for readers of committed transactions.

The rows between two checkpoints are one transaction. The number of rows sent so far goes into it as a committed offset
of a group that bears the run's name, so the broker has both or neither, and can be asked for it.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streammix.errors import ConfigError, UnavailableError
from streammix.pipeline.kafka_link import TIMEOUT, KafkaLink, beside, close_consumer
from streammix.pipeline.stopping import is_over

__all__ = ["KafkaChannel"]

COMMIT_SECONDS = 10.0

log = logging.getLogger("streammix")


class _Position(msgspec.Struct):
    source: str


class _Line(msgspec.Struct):
    position: _Position


_decoder = msgspec.json.Decoder(_Line)


class KafkaChannel:
    """Sends lines in transactions; their keys are the names of the sources, so that the order of each is kept.

    Parameters
    ----------
    link
        The cluster.
    topic
        The topic.
    run
        The run's own name.

    Raises
    ------
    ConfigError
        If the topic doesn't exist.
    StreammixError
        If the cluster refuses the credentials.
    UnavailableError
        If no broker answers.
    """

    def __init__(self, link: KafkaLink, topic: str, run: str) -> None:
        self._link, self._topic = link, topic
        self._name = f"streammix-{run}"
        self._place = TopicPartition(topic, 0)
        options = link.options({"linger.ms": 20, "compression.type": "lz4"}, transactional_id=self._name)
        consumer = link.client(Consumer, link.options(group_id=self._name, enable_auto_commit=False))
        try:
            self._check_topic(consumer)
            link.is_back()
            self._producer = link.client(Producer, options)
            self._sent: int | None = None
            self._within(lambda: self._begin(consumer))
            self._group: Any = consumer.consumer_group_metadata()
        except KafkaException as error:
            consumer.poll(0)
            raise link.error(error) from None
        finally:
            close_consumer(consumer)

    def sent(self) -> int | None:
        """Return the number of lines that were committed when this was opened."""
        return self._sent

    def send(self, lines: list[bytes], total: int) -> None:
        """Send lines and their number in one transaction."""
        self._within(lambda: self._commit(lines, total))
        self._link.is_back()

    def _begin(self, consumer: Consumer) -> None:
        """Abort what an earlier process left open; ask how much was committed."""
        self._producer.init_transactions(COMMIT_SECONDS)
        (place,) = consumer.committed([self._place], timeout=COMMIT_SECONDS)
        self._sent = place.offset if place.offset >= 0 else None

    def _commit(self, lines: list[bytes], total: int) -> None:
        producer = self._producer
        producer.begin_transaction()
        for line in lines:
            key = _decoder.decode(line).position.source
            while True:
                try:
                    producer.produce(self._topic, line, key)
                    break
                except BufferError:
                    producer.poll(0.1)
        self._place.offset = total
        producer.send_offsets_to_transaction([self._place], self._group, COMMIT_SECONDS)
        producer.commit_transaction(COMMIT_SECONDS)

    def _within(self, work: Callable[[], None]) -> None:
        """Do something that the client may take longer for than it is told, and wait no longer than that.

        A producer that comes later shuts out what is given up.
        """
        begin = time.monotonic()

        def is_enough() -> bool:
            self._producer.poll(0)
            self._link.check()
            return is_over(begin, TIMEOUT if self._link.is_away else COMMIT_SECONDS)

        try:
            if beside(work, is_enough):
                return
        except KafkaException as error:
            raise self._link.error(error) from None
        waited = time.monotonic() - begin
        raise UnavailableError(f"Kafka at {self._link.brokers} does not answer: no transaction in {waited:.0f} s")

    def close(self) -> None:
        """Drop what is on its way: the broker aborts it."""
        self._producer.purge()

    def _check_topic(self, consumer: Consumer) -> None:
        found = consumer.list_topics(self._topic, TIMEOUT).topics[self._topic]
        if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ConfigError(f"topic: Kafka at {self._link.brokers} has no topic {self._topic!r}")
        if found.error is not None:
            raise KafkaException(found.error)
