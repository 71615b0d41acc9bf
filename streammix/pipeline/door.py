"""A listening socket that lets in so many connections at once, whatever they do.

Open sockets are counted, so those in a TLS handshake as well, of which the server hears only when it is done. What is
too many is closed at once and takes no descriptor from the files that a run writes.
"""

import errno
import logging
import math
import resource
import socket
import time
from typing import Any
from weakref import WeakSet

__all__ = ["Door"]

SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
PAUSE = 0.05  # seconds without a look at who waits, where descriptors are scarce
TURNED_AWAY_AT_ONCE = 64
SECONDS_BETWEEN_LINES = 60.0

log = logging.getLogger("streammix")


class Door(socket.socket):
    """A socket to listen at.

    Parameters
    ----------
    family, kind, protocol
        As of any socket.
    most
        How many connections may be open; at most half as many as the process may have files.
    """

    def __init__(self, family: int, kind: int, protocol: int, most: int) -> None:
        super().__init__(family, kind, protocol)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = most if files == resource.RLIM_INFINITY else min(most, files // 2)
        self._inside: WeakSet[socket.socket] = WeakSet()
        self._quiet_until = -math.inf

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a connection and where it comes from.

        Raises
        ------
        BlockingIOError
            If there is none, or none that may come in.
        """
        for _ in range(TURNED_AWAY_AT_ONCE):
            try:
                connection, address = super().accept()
            except OSError as error:
                if error.errno not in SCARCE:
                    raise
                self._say("new connections wait: %s", error.strerror)
                time.sleep(PAUSE)
                break
            if sum(each.fileno() >= 0 for each in self._inside) < self._most:
                self._inside.add(connection)
                return connection, address
            connection.close()
            self._say("%d connections are open; more are refused", self._most)
        raise BlockingIOError

    def _say(self, what: str, *about: Any) -> None:
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + SECONDS_BETWEEN_LINES
            log.warning(what, *about)
