"""Rows on their way to a place that can't be cut back: a topic, a stream.

The rows between two checkpoints are kept in memory and go into the checkpoint itself. Once that is durable they are
sent, some thousands in one transaction, each time together with the number of rows sent so far. A run that is resumed
asks the place for that number and sends what the checkpoint holds and is not there yet. So each row gets there once,
whenever the run was killed; nothing has to be computed again in the same order. A run that is asked to stop leaves what
would take too long to the next one.
"""

import base64
import logging
import math
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa

from streammix.errors import UnavailableError
from streammix.pipeline.flow import Scored
from streammix.pipeline.sinks.ndjson import to_lines
from streammix.pipeline.stopping import is_over

__all__ = ["Channel", "OpenChannel", "OutboxSink", "Posted"]

CODEC = "zstd"
AT_ONCE = 5_000  # lines in a transaction: a fraction of a second, should somebody wait for the end

log = logging.getLogger("streammix")


class Channel(Protocol):
    """A way to a place for one run's lines."""

    def sent(self) -> int | None:
        """Return the number of lines that the place has of the run; None if it knows nothing of it."""

    def send(self, lines: list[bytes], total: int) -> None:
        """Send lines and the number of lines sent with them, all or none."""

    def close(self) -> None:
        """Let go of it."""


OpenChannel = Callable[[str], Channel]  # for a run's own name


class Posted:
    """Lines that are sent after each checkpoint, exactly once each.

    Parameters
    ----------
    what
        What they are called in the log.
    open_channel
        Opens the way to the place.
    recorded
        What `flush` returned for the last checkpoint.
    """

    def __init__(self, what: str, open_channel: OpenChannel, recorded: dict[str, Any] | None) -> None:
        self._what = what
        self._run = recorded["run"] if recorded is not None else uuid.uuid4().hex
        self._total: int = recorded["total"] if recorded is not None else 0
        self._skipped = 0  # lines of a replay that the place has already
        self._lines: list[bytes] = []
        self._unsent: list[bytes] = []
        self._channel = open_channel(self._run)
        try:
            if recorded is not None:
                self._settle(_unpacked(recorded))
        except BaseException:
            self._channel.close()
            raise

    def write(self, data: bytes) -> None:
        """Take whole lines."""
        lines = data.split(b"\n")[:-1]
        skipped = min(self._skipped, len(lines))
        self._skipped -= skipped
        self._lines += lines[skipped:]
        self._total += skipped

    def flush(self) -> dict[str, Any]:
        """Return the lines, for the checkpoint to hold."""
        self._unsent, self._lines = self._lines, []
        self._total += len(self._unsent)
        data = b"\n".join(self._unsent)
        packed = base64.b64encode(pa.compress(data, codec=CODEC, asbytes=True)).decode() if data else ""
        return {"run": self._run, "total": self._total, "size": len(data), "lines": packed}

    def publish(self) -> None:
        """Send what `flush` returned."""
        if self._unsent:
            self._send(self._unsent)
            self._unsent = []

    def close(self) -> None:
        """Let go of the place."""
        self._channel.close()

    def _send(self, lines: list[bytes]) -> None:
        """Send the last lines, with which the total is complete."""
        begin = time.monotonic()
        for at in range(0, len(lines), AT_ONCE):
            if at and is_over(begin, math.inf):
                raise UnavailableError(
                    f"{self._what}: asked to stop with {len(lines) - at} rows not sent yet; the checkpoint holds them"
                )
            some = lines[at : at + AT_ONCE]
            self._channel.send(some, self._total - len(lines) + at + len(some))

    def _settle(self, lines: list[bytes]) -> None:
        """Send what the checkpoint holds and was not sent."""
        sent, before = self._channel.sent(), self._total - len(lines)
        if sent is not None and sent > self._total:
            # the checkpoint that knew of them was damaged, and an older one stands
            self._skipped = sent - self._total
            log.info(
                "%s: %d rows after the last sound checkpoint are there, and not sent again", self._what, self._skipped
            )
        elif lines and sent != self._total:
            if sent is not None and sent >= before:
                lines = lines[sent - before :]
            elif before:
                log.warning(
                    "%s: knows of %s rows, but the checkpoint of %d to %d; the last %d may stand there twice",
                    self._what, sent, before, self._total, len(lines),
                )  # fmt: skip
            log.info("%s: the last %d rows were not sent yet; they are now", self._what, len(lines))
            self._send(lines)


class OutboxSink:
    """Sends one line of JSON a record, exactly once each.

    Parameters
    ----------
    name
        The sink's name in checkpoints.
    open_channel, recorded
        As in `Posted`.
    """

    is_of_lines = True

    def __init__(self, name: str, open_channel: OpenChannel, recorded: dict[str, Any] | None) -> None:
        self.name = name
        self._posted = Posted(f"sink {name}", open_channel, recorded)

    def write(self, rows: Scored) -> None:
        """Take rows; they wait for the checkpoint."""
        self._posted.write(to_lines(rows))

    def flush(self, records: int) -> dict[str, Any]:
        """Return the rows, for the checkpoint to hold."""
        return self._posted.flush()

    def publish(self) -> None:
        """Send them."""
        self._posted.publish()

    def close(self) -> None:
        """Let go of the place."""
        self._posted.close()


def _unpacked(recorded: dict[str, Any]) -> list[bytes]:
    if not recorded["size"]:
        return []
    data: bytes = pa.decompress(
        base64.b64decode(recorded["lines"]), decompressed_size=recorded["size"], codec=CODEC, asbytes=True
    )
    return data.split(b"\n")
