"""The request to end that a signal makes, and what still may be waited for then."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

__all__ = ["StopRequest", "is_over", "stop_on_signals"]


@dataclass(slots=True)
class StopRequest:
    """Whether a run has been asked to end, and by which signal.

    Parameters
    ----------
    signal
        Its number.
    when
        When that was, by a clock that never jumps.
    """

    signal: int | None = None
    when: float | None = None


_current = StopRequest()  # signals are the process's


def is_over(begin: float, seconds: float, stopping: float = 1.0) -> bool:
    """Tell whether what began at a time, waiting for somebody else, is to end.

    Parameters
    ----------
    begin
        When it began, by `time.monotonic`.
    seconds
        How long it may take.
    stopping
        How long after a request to stop it may take, all that is waited for together; what begins late gets
        a fifth of that.
    """
    now, asked = time.monotonic(), _current.when
    return now - begin > seconds or (asked is not None and now > max(asked + stopping, begin + stopping / 5))


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGTERM or Ctrl-C into a request to stop; the second one ends the process at once."""
    global _current
    _current = stop = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal, stop.when = number, time.monotonic()
        for each in before:
            signal.signal(each, signal.default_int_handler)

    before: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        _current = StopRequest()
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
