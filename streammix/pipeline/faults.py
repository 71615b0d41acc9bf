"""Going on after a fault outside the process: wait, go back to the last checkpoint, try again.

There is one way back, the same as after a crash: everything is opened anew where the last checkpoint stands. So a
fault can neither lose a record nor count one twice, whatever was half written when it came.
"""

import logging
import random
import time
from collections.abc import Callable

from streammix.errors import StreammixError, UnavailableError
from streammix.pipeline.stopping import StopRequest

__all__ = ["Backoff", "Patience", "keep_going"]

log = logging.getLogger("streammix")

FIRST_WAIT = 0.5  # seconds
LONGEST_WAIT = 15.0
SLICE = 0.1  # how long a request to stop may have to wait


class Backoff:
    """Waits that double up to a limit, each cut at random, so that not all come back at once.

    Examples
    --------
    >>> backoff = Backoff(random.Random(1))
    >>> [round(backoff.next(), 2) for _ in range(4)]
    [0.28, 0.92, 1.76, 2.51]
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()
        self._wait = FIRST_WAIT

    def next(self) -> float:
        """Return the seconds to wait now: between a half and the whole of what it has come to."""
        wait, self._wait = self._wait, min(2 * self._wait, LONGEST_WAIT)
        return wait * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with short waits again."""
        self._wait = FIRST_WAIT


class Patience:
    """Tells of faults, and waits before the next attempt.

    Parameters
    ----------
    seconds
        How long a fault may last before it is final; None for ever.
    stop
        A request to stop ends the waiting.
    """

    def __init__(self, seconds: float | None, stop: StopRequest) -> None:
        self._seconds, self._stop = seconds, stop
        self._backoff = Backoff()
        self._since: float | None = None
        self._told = ""

    def went_well(self) -> None:
        """Take note of progress: a fault that comes later is a new one."""
        if self._since is not None:
            log.info("going on after %.0f seconds", time.monotonic() - self._since)
        self._since, self._told = None, ""
        self._backoff.reset()

    def wait(self, error: StreammixError) -> bool:
        """Wait after a fault; tell whether to try again, which a request to stop forbids.

        Raises
        ------
        StreammixError
            The error itself, if the fault has lasted too long.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        wait = self._backoff.next()
        if self._seconds is not None and now + wait - self._since > self._seconds:
            raise error
        if str(error) != self._told:  # the same again is not worth a line each time
            self._told = str(error)
            log.warning("%s; trying again until it is back", error)
        else:
            log.debug("%s; the next attempt is in %.1f seconds", error, wait)
        while self._stop.signal is None and (left := now + wait - time.monotonic()) > 0:
            time.sleep(min(left, SLICE))
        return self._stop.signal is None


def keep_going(attempt: Callable[[bool], None], patience: Patience) -> bool:
    """Make attempts until one ends without a fault; tell whether one did, before a request to stop.

    Parameters
    ----------
    attempt
        Works to the end of the stream. It is told whether it is the first, and raises an `UnavailableError` for what
        may come back.
    """
    is_first = True
    while True:
        try:
            attempt(is_first)
            return True
        except UnavailableError as error:
            if not patience.wait(error):
                return False
        is_first = False
