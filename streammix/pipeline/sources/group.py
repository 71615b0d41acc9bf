"""What the members of a consumer group tell one another with the offsets that they commit.

Beside a partition's offset, a commit holds the last stretch of it that each member has read. So a member that comes
back can tell whether the group has heard of its checkpoint, and what others have read, however far they are.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streammix.errors import UnavailableError
from streammix.pipeline.kafka_link import KafkaLink, beside
from streammix.pipeline.stopping import is_over

__all__ = ["Stretch", "as_note", "commit", "stretches_of"]

MEMBERS = 32  # Kafka takes 4,096 bytes
COMMIT_SECONDS = 10.0
AGAIN_SECONDS = 0.02

EXPELLED = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.FENCED_INSTANCE_ID}


class Stretch(NamedTuple):
    """Offsets that a member has read one after the other: from `begin` up to what it has committed last."""

    begin: int
    end: int


def stretches_of(place: TopicPartition) -> dict[str, Stretch]:
    """Return the last stretch of a partition that each member has read, the last member last.

    Examples
    --------
    >>> from streammix.pipeline.sources.partition import place_of
    >>> stretches_of(place_of("events/0", 30, "ann=0:10 bob=10:30"))
    {'ann': Stretch(begin=0, end=10), 'bob': Stretch(begin=10, end=30)}
    """
    found = {}
    for word in (place.metadata or "").split():
        member, _, stretch = word.partition("=")
        begin, _, end = stretch.partition(":")
        known = begin.isdecimal() and end.isdecimal()
        # an older version named the last member alone
        found[member] = Stretch(int(begin), int(end)) if known else Stretch(0, place.offset)
    return found


def as_note(before: Mapping[str, Stretch], member: str, stretch: Stretch) -> str:
    """Return what a member's commit says of those before it and of itself.

    Examples
    --------
    >>> as_note({"ann": Stretch(0, 10), "bob": Stretch(10, 30)}, "ann", Stretch(30, 50))
    'bob=10:30 ann=30:50'
    """
    known = {name: each for name, each in before.items() if name != member}
    words = [f"{name}={begin}:{end}" for name, (begin, end) in known.items()]
    return " ".join([*words[1 - MEMBERS :], f"{member}={stretch.begin}:{stretch.end}"])


def commit(
    consumer: Consumer,
    link: KafkaLink,
    places: list[TopicPartition],
    in_use: AbstractContextManager[object],
    is_called: bool,
) -> None:
    """Commit offsets; return once the group has them.

    Parameters
    ----------
    consumer, link
        The member.
    places
        The offsets.
    in_use
        A lock that is held as long as the consumer may not be closed.
    is_called
        Whether the client waits for us: then it answers no other thread.

    Raises
    ------
    UnavailableError
        If the member was given up, or no broker answers.
    StreammixError
        If the cluster refuses it.
    """
    begin = time.monotonic()

    def is_enough() -> bool:
        return is_over(begin, COMMIT_SECONDS)

    def work() -> None:
        with in_use:
            while True:
                try:
                    for place in consumer.commit(offsets=places, asynchronous=False):
                        if place.error is not None:
                            raise KafkaException(place.error)
                    return
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.REBALANCE_IN_PROGRESS or is_enough():
                        raise
                time.sleep(AGAIN_SECONDS)

    try:
        if is_called:
            work()
            return
        if beside(work, is_enough):
            return
    except KafkaException as error:
        if error.args[0].code() in EXPELLED:
            raise UnavailableError(f"Kafka at {link.brokers} has given our partitions to others") from None
        raise link.error(error) from None
    raise UnavailableError(f"Kafka at {link.brokers} does not answer: the group has not heard of the last checkpoint")
