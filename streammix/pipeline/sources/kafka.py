"""Kafka: the records of one or more topics, partition by partition in rotation.

The position is, for each partition, the offset of the next record; it is kept in the checkpoint and sought when a run
begins, so each record is learnt exactly once. In a group, offsets are committed after each checkpoint, and a partition
is taken over where they stand. A checkpoint counts once the group has heard of it: a member that was killed or given up
before that goes on from it where nobody else has gone on from the one before, and otherwise from the one before.

The order of one partition is the log's. Partitions take turns: each is read up to its next offset that is a multiple of
1,000, and passed over only where the broker has said that its end is reached. So the order of what already lies in the
topics is a function of their contents alone, and a run that is killed and resumed sees the same one. Records of
transactions that are not committed are not read.
"""

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import methodcaller
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streammix.errors import ConfigError, StreammixError, UnavailableError, UnheardError
from streammix.pipeline.flow import Batch
from streammix.pipeline.kafka_link import STOPPING_SECONDS, TIMEOUT, KafkaLink, close_consumer
from streammix.pipeline.sources.group import Stretch, as_note, commit, stretches_of
from streammix.pipeline.sources.messages import message_batch
from streammix.pipeline.sources.partition import TURN, Partition, name_of, place_key, place_of
from streammix.pipeline.stopping import is_over

__all__ = ["KafkaSource"]

AT_ONCE = 2000
PATIENCE = 0.2  # seconds to wait for messages
FULL, ROOMY = 16 << 20, 4 << 20  # bytes of a partition that wait for its turn: it is paused, it is resumed
NEW_PARTITIONS_SECONDS = 30.0
POLL_SECONDS = 0.5

# of a message, without a Python frame for each
_FAULT, _NUMBER = map(methodcaller, ("error", "partition"))

Rebalance = Callable[[Consumer, list[TopicPartition]], None]

log = logging.getLogger("streammix")


class KafkaSource:
    """Reads all partitions of topics.

    Parameters
    ----------
    link
        The cluster.
    topics
        Their names.
    position
        Where an earlier run stood.
    group
        The consumer group that shares the partitions; None: all are ours, and nothing is committed.
    start
        Where a partition that was never read begins: ``"earliest"`` or ``"latest"``.
    when_lost
        What to do where records were removed before they were read: ``"fail"``, or ``"skip"`` them with a warning.
    stop_at_end
        Whether to end where the topics end when the run begins.
    longest
        A message of more bytes is refused.

    Raises
    ------
    ConfigError
        If a topic doesn't exist.
    StreammixError
        If the cluster refuses the credentials, or records that were not read yet are gone.
    UnavailableError
        If no broker answers.
    UnheardError
        If others of the group have gone on from before the position.
    """

    def __init__(
        self,
        link: KafkaLink,
        topics: list[str],
        position: dict[str, Any] | None = None,
        group: str | None = None,
        start: str = "earliest",
        when_lost: str = "fail",
        stop_at_end: bool = False,
        longest: int = 1 << 20,
    ) -> None:
        self._link, self._topics, self._group = link, topics, group
        self._start, self._when_lost, self._stop_at_end, self._longest = start, when_lost, stop_at_end, longest
        recorded = position or {}
        self._ids: dict[str, str] = dict(recorded.get("topics", {}))  # which tell topics that were made anew
        self._known: dict[str, int] = dict(recorded.get("offsets", {}))
        self._turn: str = recorded.get("turn", "")  # whose it is
        self._block: int | None = recorded.get("block")  # which offsets are read in this turn; None: it has not begun
        self._partitions: dict[str, Partition] = {}
        self._member: str = recorded.get("member") or secrets.token_hex(8)  # whose the group's commits are
        self._before: dict[str, dict[str, Stretch]] = {}  # what members of the group had read when it became ours
        self._begun: dict[str, int] = {}  # where the stretch began that we are at
        self._doubtful: list[str] = []  # partitions of which the group has not heard where we stand
        self._committing = threading.Lock()
        self._is_assigned = group is None
        self.is_steady = group is None
        self.before_leaving: Callable[[], None] = _nothing
        self._is_closing = False
        self._is_called = False  # by the client, which waits for us
        self._failure: Exception | None = None  # of a rebalance
        self._look_again = time.monotonic() + NEW_PARTITIONS_SECONDS
        self._fetch_again = 0.0
        options = link.options(
            {"fetch.wait.max.ms": 100},
            group_id=group or "streammix",
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            enable_partition_eof=True,
            auto_offset_reset="error",
            partition_assignment_strategy="cooperative-sticky",
        )
        self._consumer = link.client(Consumer, options)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def read(self, limit: int) -> Batch | None:
        """Return the next records of the partition whose turn it is; none if none came for a while."""
        now = time.monotonic()
        if now >= self._look_again:
            self._look_for_partitions()
        if now >= self._fetch_again:  # for what a group has to hear of, however much is at hand
            self._fetch(0.0)
        while True:
            partition = self._whose_turn()
            if partition is not None and self._block is not None:
                is_alone = len(self._partitions) == 1  # one turn after the other
                offsets, values = partition.take(limit, None if is_alone else self._block)
                self._block = offsets[-1] // TURN
                self._known[partition.name] = partition.next
                if partition.is_paused and partition.bytes < ROOMY:
                    self._consumer.resume([place_of(partition.name)])
                    partition.is_paused = False
                return message_batch(partition.name, offsets, values, self._longest)
            if self._stop_at_end and self._is_assigned and all(each.has_ended for each in self._partitions.values()):
                return None
            if not self._fetch():
                return Batch("", np.zeros(0, np.int64), [])

    def position(self) -> dict[str, Any]:
        """Return the next offset of each partition, and whose turn it is."""
        member = {} if self._group is None else {"member": self._member}
        return {
            "kind": "kafka",
            "offsets": dict(self._known),
            "turn": self._turn,
            "block": self._block,
            "topics": dict(self._ids),
            **member,
        }

    def acknowledge(self) -> None:
        """Commit the offsets: from here on others take over where they stand, and not before."""
        if self._group is not None:
            self._commit(self._partitions)

    def lag(self) -> int:
        """Return the number of offsets between what was read and the partitions' ends, as last heard of."""
        lag = 0
        for partition in self._partitions.values():
            _, high = self._consumer.get_watermark_offsets(place_of(partition.name), cached=True)
            lag += max(high - partition.next, 0)
        return lag

    def close(self) -> None:
        """Leave the cluster."""
        self._is_closing = True
        close_consumer(self._consumer, self._committing)

    def _whose_turn(self) -> Partition | None:
        """Return the partition whose records are next; None if that is not known yet, or all have ended."""
        names = sorted(self._partitions, key=place_key)
        if not names:
            return None
        first = names.index(self._turn) if self._turn in names else 0
        block = self._block if self._turn in names else None
        for name in [*names[first:], *names[: first + 1]]:
            partition = self._partitions[name]
            if partition.offsets:
                head = partition.offsets[0] // TURN
                if block is None or head == block:
                    self._turn, self._block = name, head
                    return partition
            elif not partition.has_ended:
                return None
            block = None
        return None

    def _fetch(self, patience: float = PATIENCE) -> bool:
        """Wait for messages; tell whether there were any."""
        self._fetch_again = time.monotonic() + POLL_SECONDS
        try:
            messages = self._consumer.consume(AT_ONCE, patience)
        except KafkaException as error:
            raise self._link.error(error) from None
        self._link.check()
        if self._failure is not None:
            raise self._failure
        for _, run in groupby(messages, name_of if len(self._topics) > 1 else _NUMBER):
            self._keep(list(run))
        if messages:
            self._link.is_back()
        for partition in self._partitions.values():
            if partition.bytes > FULL and not partition.is_paused:
                self._consumer.pause([place_of(partition.name)])
                partition.is_paused = True
        return bool(messages)

    def _keep(self, run: list[Message]) -> None:
        """Keep messages of one partition."""
        if any(map(_FAULT, run)):
            for message in run:
                fault = message.error()
                if fault is not None and fault.code() != KafkaError._PARTITION_EOF:
                    self._meet(message, fault)
                elif (partition := self._partitions.get(name_of(message))) is not None:
                    partition.add(message)
        elif (partition := self._partitions.get(name_of(run[0]))) is not None:  # else revoked meanwhile
            partition.extend(run)

    def _meet(self, message: Message, error: KafkaError) -> None:
        """Take an error that stands for a partition."""
        name = f"{message.topic()}/{message.partition()}"
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            partition = self._partitions.pop(name, None)
            if partition is not None:  # built again where it can go on, if it may
                self._consumer.incremental_unassign([place_of(name)])
                self._add([name])
        elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
            raise UnavailableError(f"Kafka at {self._link.brokers} has {name} no more")
        elif not error.retriable():
            raise self._link.error(error)

    def _begin(self) -> None:
        names = self._listed()
        self._compare_ids()
        if self._group is None:
            self._add(names)
        else:
            on_assign, on_revoke = self._guarded(self._on_assign), self._guarded(self._on_revoke)
            committed = self._committed(self._consumer, self._known)
            self._doubtful = [name for name, place in committed.items() if self._is_behind(name, place)]
            self._consumer.subscribe(self._topics, on_assign=on_assign, on_revoke=on_revoke, on_lost=self._on_lost)
            begin = time.monotonic()
            while self._doubtful:  # nothing is known of the checkpoint until the group has said whose they are
                if is_over(begin, math.inf, STOPPING_SECONDS):
                    raise UnavailableError(f"Kafka at {self._link.brokers} has not said yet which partitions are ours")
                self._fetch()

    def _listed(self) -> list[str]:
        """Return the topics' partitions."""
        names = []
        for topic in self._topics:
            try:
                found = self._consumer.list_topics(topic, TIMEOUT).topics[topic]
            except KafkaException as error:
                self._consumer.poll(0)  # lets a refusal be told
                raise self._link.error(error) from None
            if found.error is not None:
                if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise ConfigError(f"topic: Kafka at {self._link.brokers} has no topic {topic!r}")
                raise self._link.error(found.error)
            names += [f"{topic}/{number}" for number in sorted(found.partitions)]
        self._link.is_back()
        return names

    def _compare_ids(self) -> None:
        """Look whether topics are those that were read before."""
        for topic, found in self._link.topic_ids(self._topics).items():
            if self._ids.get(topic, found) != found:
                what = f"the topic {topic} was deleted and made anew since it was read"
                if self._when_lost != "skip":
                    raise StreammixError(f'{what}; [source] when_lost = "skip" reads it from its beginning')
                if self._partitions:  # opened anew, it is read from its beginning
                    raise UnavailableError(what)
                log.warning("%s; reading it from its beginning", what)
                self._known = {name: at for name, at in self._known.items() if name.rpartition("/")[0] != topic}
                self._start = "earliest"
            self._ids[topic] = found

    def _look_for_partitions(self) -> None:
        """Take partitions that were added to a topic, and see whether it is still there; in a group, Kafka does."""
        self._look_again = time.monotonic() + NEW_PARTITIONS_SECONDS
        if self._group is None and not self._stop_at_end:
            try:
                new = [name for name in self._listed() if name not in self._partitions]
                self._compare_ids()
            except UnavailableError:
                return
            except ConfigError as error:
                raise StreammixError(f"{error} any more: it was deleted while it was read") from None
            if new:
                log.info("new partitions: %s", ", ".join(new))
                self._start = "earliest"  # what was written since they came belongs to the stream
                self._add(new)

    def _add(self, names: list[str]) -> None:
        """Read partitions, each from where it stands."""
        places = []
        for name in names:
            try:
                low, high = self._consumer.get_watermark_offsets(place_of(name), timeout=TIMEOUT)
            except KafkaException as error:
                raise self._link.error(error) from None
            self._known[name] = at = self._where(name, low, high)
            self._partitions[name] = Partition(name, at, high if self._stop_at_end else None)
            places.append(place_of(name, at))
        self._consumer.incremental_assign(places)

    def _where(self, name: str, low: int, high: int) -> int:
        """Return where to begin in a partition whose offsets go from `low` to `high`."""
        at = self._known.get(name)
        if at is None:
            return low if self._start == "earliest" else high
        if low <= at <= high:
            return at
        what = (
            f"{name} begins at {low}, but it was read up to {at}: what was between is gone"
            if at < low
            else f"{name} ends at {high}, but it was read up to {at}: it was made anew or cut"
        )
        if self._when_lost == "skip":
            log.warning("%s; going on at %d", what, low)
            return low
        raise StreammixError(f'{what}; [source] when_lost = "skip" goes on at {low}')

    def _committed(self, consumer: Consumer, names: Iterable[str]) -> dict[str, TopicPartition]:
        """Return what the group has of partitions."""
        places = [place_of(name) for name in names]
        try:
            found = consumer.committed(places, timeout=TIMEOUT) if places else []
        except KafkaException as error:
            raise self._link.error(error) from None
        return {name_of(place): place for place in found}

    def _is_behind(self, name: str, committed: TopicPartition) -> bool:
        """Tell whether the group has heard less of us than where we stand in a partition."""
        at = self._known[name]
        own = stretches_of(committed).get(self._member)
        return own is not None and own.end < at

    def _commit(self, names: Iterable[str]) -> None:
        places = []
        for name in names:
            stretch = Stretch(self._begun[name], self._known[name])
            places.append(place_of(name, stretch.end, as_note(self._before[name], self._member, stretch)))
        if places:
            commit(self._consumer, self._link, places, self._committing, self._is_called)

    def _guarded(self, work: Rebalance) -> Rebalance:
        """Return what keeps an error until the client has returned: it can't be raised through it."""

        def guarded(consumer: Consumer, places: list[TopicPartition]) -> None:
            self._is_called = True
            try:
                work(consumer, places)
            except Exception as error:
                self._failure = error
            finally:
                self._is_called = False

        return guarded

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        names = sorted((name_of(place) for place in assigned), key=place_key)
        log.info("reading %s", ", ".join(names) or "no partition: the group has more members than there are partitions")
        committed = self._committed(consumer, {*names, *self._doubtful})
        doubtful, self._doubtful = self._doubtful, []
        for name in doubtful:
            own = stretches_of(committed[name]).get(self._member)
            is_ours = name in names and (own is None or committed[name].offset <= own.end)
            if self._is_behind(name, committed[name]) and not is_ours:
                raise UnheardError(
                    f"Kafka at {self._link.brokers} did not hear of the last checkpoint before others "
                    f"went on in {name}; going back to the one before"
                )
        for name in names:
            self._take(name, committed[name])
        self._is_assigned = True
        self._add(names)
        for name in names:
            self._begun.setdefault(name, self._known[name])
        self._commit(names)  # before anything is read: others are to know who has gone on from here

    def _take(self, name: str, committed: TopicPartition) -> None:
        """Go on from where we stand in a partition, but for what others have read since."""
        self._before[name] = stretches = stretches_of(committed)
        self._begun.pop(name, None)
        known, own = self._known.get(name), stretches.get(self._member)
        if known is None or own is None:
            if committed.offset >= 0 and (known is None or stretches):
                self._known[name] = max(committed.offset, known or 0)
            return
        at = max(known, own.begin)
        if committed.offset <= own.end:
            self._known[name], self._begun[name] = at, own.begin
            return
        if at < own.end:
            log.warning("%s: the checkpoints of %d to %d are gone, and others have gone on since", name, at, own.end)
        self._known[name] = max(committed.offset, at)

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        names = [name_of(place) for place in revoked if name_of(place) in self._partitions]
        if self._is_closing:  # what the last checkpoint holds is committed
            self._drop(names)
            return
        self.before_leaving()
        log.info("%s goes to another member of the group", ", ".join(names))
        self._drop(names)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        """Go back to the last checkpoint: others begin where that was committed."""
        self._drop([name_of(place) for place in lost])
        if not self._is_closing:
            self._failure = UnavailableError(f"Kafka at {self._link.brokers} has given our partitions to others")

    def _drop(self, names: list[str]) -> None:
        for name in names:
            self._partitions.pop(name, None)


def _nothing() -> None:
    """Do nothing."""
