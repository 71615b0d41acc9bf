"""A topic of Kafka: each scored record stands there once for readers of committed transactions.

The rows between two checkpoints are one transaction. The number of rows sent so far goes into it as a committed offset
of a group that bears the run's name, so the broker has both or neither, and can be asked for it.
"""

import logging
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streammix.errors import ConfigError
from streammix.pipeline.kafka_link import TIMEOUT, KafkaLink

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
        consumer = link.client(Consumer, link.options(group_id=self._name, enable_auto_commit=False))
        try:
            self._check_topic(consumer)
            options = link.options(transactional_id=self._name, linger_ms=20, compression_type="lz4")
            self._producer = link.client(Producer, options)
            self._producer.init_transactions(COMMIT_SECONDS)  # what an earlier process left open is aborted
            (place,) = consumer.committed([self._place], timeout=COMMIT_SECONDS)
            self._sent: int | None = place.offset if place.offset >= 0 else None
            self._group: Any = consumer.consumer_group_metadata()
        except KafkaException as error:
            consumer.poll(0)
            raise link.error(error) from None
        finally:
            consumer.close()

    def sent(self) -> int | None:
        """Return the number of lines that were committed when this was opened."""
        return self._sent

    def send(self, lines: list[bytes], total: int) -> None:
        """Send lines and their number in one transaction."""
        producer = self._producer
        try:
            producer.begin_transaction()
            for line in lines:
                key = _decoder.decode(line).position.source
                while True:
                    try:
                        producer.produce(self._topic, line, key)
                        break
                    except BufferError:
                        producer.poll(0.1)
                        self._link.check()
                producer.poll(0)
            self._place.offset = total
            producer.send_offsets_to_transaction([self._place], self._group, COMMIT_SECONDS)
            producer.commit_transaction(COMMIT_SECONDS)
        except KafkaException as error:
            raise self._link.error(error) from None
        self._link.is_back()

    def close(self) -> None:
        """Drop what is on its way: the broker aborts it."""
        self._producer.purge()

    def _check_topic(self, consumer: Consumer) -> None:
        found = consumer.list_topics(self._topic, TIMEOUT).topics[self._topic]
        if found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ConfigError(f"topic: Kafka at {self._link.brokers} has no topic {self._topic!r}")
        if found.error is not None:
            raise KafkaException(found.error)
