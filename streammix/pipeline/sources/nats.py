"""NATS JetStream: the messages of a stream in the order of their sequence numbers.

Each run makes a consumer of its own, which begins after the last sequence number in the checkpoint, acknowledges
nothing and goes away with the run: so each message is learnt exactly once, whatever happened to earlier consumers. A
message that comes twice or late is passed over by its number. Messages that the stream drops (its limits) before they
are read are lost to it; a warning says so. A stream is told from another one of its name by when it was made. A message
is one record as JSON.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
import numpy as np
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, StreamInfo
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from streammix.errors import ConfigError, StreammixError, UnavailableError
from streammix.pipeline.flow import Batch
from streammix.pipeline.sources.messages import message_batch

__all__ = ["NatsPlace", "NatsSource"]

AT_ONCE = 1000
PATIENCE = 0.2  # seconds to wait for messages
TIMEOUT = 1.5  # seconds for an answer
LOOK_SECONDS = 2.0  # how often a stream that is silent is asked for
IDLE = 300.0  # seconds after which the server removes a consumer that nobody asks

T = TypeVar("T")

log = logging.getLogger("streammix")


@dataclass(frozen=True)
class NatsPlace:
    """Which stream of which server.

    Parameters
    ----------
    servers
        Addresses such as ``nats://127.0.0.1:4222``.
    stream
        The stream's name.
    subject
        Only messages of this subject, which may have wildcards.
    options
        What `nats.connect` takes: user, password, token, user_credentials.
    """

    servers: list[str]
    stream: str
    subject: str | None
    options: dict[str, Any]


class NatsSource:
    """Reads a stream of JetStream.

    Parameters
    ----------
    place
        The stream.
    position
        Where an earlier run stood.
    start
        Where to begin without a position: ``"earliest"`` or ``"latest"``.
    stop_at_end
        Whether to end where there is nothing more.
    longest
        A message of more bytes is refused.

    Raises
    ------
    ConfigError
        If an address is none, there is no such stream, or the earlier run read another one.
    StreammixError
        If the server refuses the credentials, or the stream was made anew since it was read.
    UnavailableError
        If no server answers.
    """

    is_steady = True

    def __init__(
        self,
        place: NatsPlace,
        position: dict[str, Any] | None = None,
        start: str = "earliest",
        stop_at_end: bool = False,
        longest: int = 1 << 20,
    ) -> None:
        if position and position["stream"] != place.stream:
            raise ConfigError(f"stream is {place.stream}, but the checkpoint was reading {position['stream']}")
        self._place, self._stop_at_end, self._longest = place, stop_at_end, longest
        self._loop = asyncio.new_event_loop()
        self._link: Client | None = None
        self._waiting: deque[Msg] = deque()  # what came beyond a limit
        self._ahead = self._delivered = 0
        self._look_again = time.monotonic() + LOOK_SECONDS
        try:
            self._jetstream = self._run(self._connect())
            found = self._run(self._jetstream.stream_info(place.stream))
            stream, self._created = found.state, _made_at(found)
            self._last = position["sequence"] if position else stream.last_seq if start == "latest" else 0
            if position and position.get("created") not in (None, self._created):
                raise _made_anew(place.stream)
            if position:
                _check(place.stream, self._last, stream.first_seq, stream.last_seq)
            self._subscription = self._run(self._subscribe())
        except BaseException:
            self.close()
            raise

    def read(self, limit: int) -> Batch | None:
        """Return the next messages; none if none came for a while."""
        if not self._waiting:
            self._waiting.extend(self._run(self._fetch(min(limit, AT_ONCE))))
        offsets: list[int] = []
        values: list[bytes | None] = []
        while self._waiting and len(offsets) < limit:
            message = self._waiting.popleft()
            about = message.metadata
            self._delivered += 1
            if about.sequence.consumer != self._delivered:
                raise UnavailableError(f"{self._place.stream}: messages were lost on the way, after {self._last}")
            if about.sequence.stream <= self._last:
                log.warning("%s: message %d came again or late; passed over", self._place.stream, about.sequence.stream)
                continue
            self._last, self._ahead = about.sequence.stream, about.num_pending
            offsets.append(self._last)
            values.append(message.data or None)
        if offsets:
            return message_batch(self._place.stream, offsets, values, self._longest)
        if self._stop_at_end or time.monotonic() >= self._look_again:
            consumer = self._run(self._look())
            if self._stop_at_end and not self._ahead and self._has_all(consumer):
                return None
        return Batch(self._place.stream, np.zeros(0, np.int64), [])

    def position(self) -> dict[str, Any]:
        """Return the last sequence number that was read."""
        return {"kind": "nats", "stream": self._place.stream, "sequence": self._last, "created": self._created}

    def acknowledge(self) -> None:
        """Do nothing: the position is the checkpoint's."""

    def lag(self) -> int:
        """Return the number of messages that the server has and that were not read yet."""
        return self._ahead + len(self._waiting)

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None and not self._link.is_closed:
            with suppress(AssertionError):  # so the client says that it was never begun
                self._loop.run_until_complete(self._link.close())
        self._loop.close()

    async def _connect(self) -> JetStreamContext:
        self._link = Client()
        options = {"allow_reconnect": False, "error_cb": _ignore, **self._place.options}
        await asyncio.wait_for(self._link.connect(self._place.servers, **options), TIMEOUT)
        return self._link.jetstream(timeout=TIMEOUT)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._last + 1,
            ack_policy=AckPolicy.NONE,
            filter_subject=self._place.subject,
            inactive_threshold=IDLE,
            mem_storage=True,
        )
        made = await self._jetstream.add_consumer(self._place.stream, config)
        return await self._jetstream.pull_subscribe_bind(consumer=made.name, stream=self._place.stream)

    async def _fetch(self, limit: int) -> list[Msg]:
        try:
            return await self._subscription.fetch(limit, timeout=PATIENCE)
        except TimeoutError:  # the client raises this one as well as its own, which is one
            if self._link is None or not self._link.is_connected:
                raise
            return []

    async def _look(self) -> ConsumerInfo:
        """See whether the stream is still there and the same, and what lies ahead: a fetch does not say."""
        self._look_again = time.monotonic() + LOOK_SECONDS
        try:
            stream = await self._jetstream.stream_info(self._place.stream)
        except NotFoundError:
            raise StreammixError(f"the stream {self._place.stream} was deleted while it was read") from None
        if _made_at(stream) != self._created:
            raise _made_anew(self._place.stream)
        try:
            about = await self._subscription.consumer_info()
        except NotFoundError:
            raise UnavailableError(f"NATS has lost our consumer of {self._place.stream}") from None
        self._ahead = about.num_pending or 0
        return about

    def _has_all(self, about: ConsumerInfo) -> bool:
        """Tell whether all that was sent has arrived."""
        return about.delivered is not None and about.delivered.consumer_seq == self._delivered

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something with the server; put its errors in our words."""
        try:
            return self._loop.run_until_complete(work)
        except NotFoundError as error:
            raise ConfigError(f"stream: there is no stream {self._place.stream!r}: {error.description}") from None
        except ServiceUnavailableError as error:
            raise UnavailableError(f"NATS: JetStream is not available: {error}") from None
        except APIError as error:
            raise StreammixError(f"NATS, stream {self._place.stream}: {error.description}") from None
        except (nats.errors.AuthorizationError, nats.errors.InvalidUserCredentialsError) as error:
            raise StreammixError(f"NATS refuses the credentials: {error}") from None
        except (TimeoutError, nats.errors.Error, OSError) as error:
            if type(error) is nats.errors.Error and "url" in str(error).lower():
                raise ConfigError(f"servers: {error}") from None
            if "authorization" in str(error).lower():
                raise StreammixError(f"NATS refuses the credentials: {error}") from None
            raise UnavailableError(f"NATS does not answer: {str(error) or type(error).__name__}") from None


async def _ignore(error: Exception) -> None:
    """Do nothing: what matters is raised where it is met."""


def _made_at(stream: StreamInfo) -> str | None:
    """When a stream was made; older clients don't say it."""
    made = getattr(stream, "created", None)
    return None if made is None else str(made)


def _made_anew(stream: str) -> StreammixError:
    return StreammixError(
        f"the stream {stream} was deleted and made anew since it was read; start anew with another checkpoint directory"
    )


def _check(stream: str, last: int, first_there: int, last_there: int) -> None:
    if last_there < last:
        raise StreammixError(
            f"the stream {stream} ends at {last_there}, but {last} was read before: it was made anew; "
            "start anew with another checkpoint directory"
        )
    if first_there > last + 1:
        log.warning("%s: the messages from %d to %d are gone before they were read", stream, last + 1, first_there - 1)
