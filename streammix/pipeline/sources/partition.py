"""A partition of a Kafka topic: what was fetched of it ahead of its turn."""

from operator import methodcaller

from confluent_kafka import OFFSET_INVALID, Message, TopicPartition

__all__ = ["TURN", "Partition", "name_of", "place_key", "place_of"]

TURN = 1000  # offsets

# of a message, without a Python frame for each
_OFFSET, _VALUE = map(methodcaller, ("offset", "value"))


class Partition:
    """A partition that is read, and what was fetched of it ahead of its turn.

    Parameters
    ----------
    name
        Topic and number, as ``events/0``.
    next_offset
        Where the next read begins.
    end
        The offset at which to end; None to go on for ever.
    """

    def __init__(self, name: str, next_offset: int, end: int | None) -> None:
        self.name, self.next, self.end = name, next_offset, end
        self.offsets: list[int] = []
        self.values: list[bytes | None] = []
        self.bytes = 0
        self.is_paused = False
        self._ahead = next_offset  # of what is to be fetched
        self._said_end = False  # the broker did, after the last message

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing more, as far as the broker has said."""
        return not self.offsets and (self._said_end or (self.end is not None and self.next >= self.end))

    def add(self, message: Message) -> None:
        """Keep a message, or note that the end is reached."""
        offset = message.offset() or 0
        if message.error() is not None or (self.end is not None and offset >= self.end):
            self._said_end = True
        elif offset >= self._ahead:  # else it came twice
            self._ahead = offset + 1
            value = message.value()
            self.offsets.append(offset)
            self.values.append(value)
            self.bytes += len(value or b"")
            self._said_end = False

    def extend(self, messages: list[Message]) -> None:
        """Keep messages, none of which is an error."""
        offsets: list[int] = list(map(_OFFSET, messages))
        if offsets[0] < self._ahead or (self.end is not None and offsets[-1] >= self.end):
            for message in messages:
                self.add(message)
            return
        values: list[bytes | None] = list(map(_VALUE, messages))
        self.offsets += offsets
        self.values += values
        self.bytes += sum(map(len, filter(None, values)))
        self._ahead = offsets[-1] + 1
        self._said_end = False

    def take(self, limit: int, turn: int | None) -> tuple[list[int], list[bytes | None]]:
        """Take messages, those of one turn alone or (None) of any, at most `limit`."""
        n = min(limit, len(self.offsets))
        while turn is not None and self.offsets[n - 1] // TURN != turn:
            n -= 1
        offsets, values = self.offsets[:n], self.values[:n]
        del self.offsets[:n], self.values[:n]
        self.bytes -= sum(map(len, filter(None, values)))
        self.next = offsets[-1] + 1
        return offsets, values


def place_of(name: str, offset: int = OFFSET_INVALID, note: str = "") -> TopicPartition:
    """Return a place in the partition of a name, with a note for whoever asks for it.

    Examples
    --------
    >>> place_of("events/0", 17)
    TopicPartition{topic=events,partition=0,offset=17,leader_epoch=None,error=None}
    """
    topic, _, number = name.rpartition("/")
    return TopicPartition(topic, int(number), offset, note)


def name_of(place: TopicPartition | Message) -> str:
    """Return the name of the partition that something stands in.

    Examples
    --------
    >>> name_of(place_of("events/0"))
    'events/0'
    """
    if isinstance(place, TopicPartition):
        return f"{place.topic}/{place.partition}"
    return f"{place.topic()}/{place.partition()}"


def place_key(name: str) -> tuple[str, int]:
    """Return what puts partitions' names in order.

    Examples
    --------
    >>> sorted(["events/10", "events/9"], key=place_key)
    ['events/9', 'events/10']
    """
    topic, _, number = name.rpartition("/")
    return topic, int(number)
