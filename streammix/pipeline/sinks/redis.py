"""A Redis Stream: each scored record stands there once.

Rows are written by a script, some thousands at a time, together with a key that holds the number of rows sent so far:
Redis has both or neither. (A MULTI would be the same to Redis, at thirty times the client's work.) What Redis
itself loses when it crashes depends on its persistence (``appendonly yes``, ``appendfsync always``): rows that it has
acknowledged and lost are not sent again.
"""

from typing import Any

from streammix.errors import StreammixError
from streammix.pipeline.redis_link import in_words

__all__ = ["RedisChannel"]

# An earlier attempt may still be on its way: whichever comes second finds the number, and does nothing.
SCRIPT = b"""
local total, longest = ARGV[1], ARGV[2]
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(total) then return end
for i = 3, #ARGV do
  if longest == '' then
    redis.call('XADD', KEYS[1], '*', 'data', ARGV[i])
  else
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', longest, '*', 'data', ARGV[i])
  end
end
redis.call('SET', KEYS[2], total)
"""


class RedisChannel:
    """Sends lines as entries with one field, ``data``.

    Parameters
    ----------
    client
        The connection; it is closed with the channel.
    stream
        The stream's key.
    longest
        How many entries the stream keeps, about; None for all.
    run
        The run's own name.
    """

    def __init__(self, client: Any, stream: str, longest: int | None, run: str) -> None:
        self._client, self._stream, self._longest = client, stream, longest
        self._key = f"{{{stream}}}:streammix:{run}"  # in a cluster, braces keep it where the stream is
        with in_words(f"stream {stream}"):
            kind = client.type(stream)
            found = client.get(self._key)
        if kind not in (b"none", b"stream"):
            raise StreammixError(f"the key {stream} holds a {kind.decode()}, not a stream")
        self._sent = int(found) if found is not None else None

    def sent(self) -> int | None:
        """Return the number of lines that were there when this was opened."""
        return self._sent

    def send(self, lines: list[bytes], total: int) -> None:
        """Send lines and their number, all or none."""
        longest = "" if self._longest is None else self._longest
        with in_words(f"stream {self._stream}"):
            self._client.eval(SCRIPT, 2, self._stream, self._key, total, longest, *lines)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
