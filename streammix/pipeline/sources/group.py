"""What the members of a consumer group tell one another with the offsets that they commit.

Beside a partition's offset, a commit holds which member has committed which offset of it last. So a member that comes
back can tell whether the group has heard of its checkpoint, however far others have gone on since.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streammix.errors import UnavailableError
from streammix.pipeline.kafka_link import KafkaLink, beside
from streammix.pipeline.stopping import is_over

__all__ = ["commit", "members_of", "naming_members"]

MEMBERS = 32  # Kafka keeps 4,096 bytes
COMMIT_SECONDS = 10.0
AGAIN_SECONDS = 0.02

EXPELLED = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.FENCED_INSTANCE_ID}


def members_of(place: TopicPartition) -> dict[str, int]:
    """Return which member has committed which offset of a partition, the last one last.

    Examples
    --------
    >>> from streammix.pipeline.sources.partition import place_of
    >>> members_of(place_of("events/0", 30, "ann=10 bob=30"))
    {'ann': 10, 'bob': 30}
    """
    found = {}
    for word in (place.metadata or "").split():
        member, _, offset = word.partition("=")
        found[member] = int(offset) if offset.isdecimal() else place.offset  # an older version named the last one alone
    return found


def naming_members(before: Mapping[str, int], member: str, offset: int) -> str:
    """Return what a member's commit says of those before it and of itself.

    Examples
    --------
    >>> naming_members({"ann": 10, "bob": 30}, "ann", 50)
    'bob=30 ann=50'
    """
    others = [f"{name}={at}" for name, at in before.items() if name != member]
    return " ".join([*others[1 - MEMBERS :], f"{member}={offset}"])


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
