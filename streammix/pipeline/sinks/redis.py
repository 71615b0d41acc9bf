"""A Redis Stream: each scored record stands there once.

The rows between two checkpoints are one MULTI, together with a key that holds the number of rows sent so far: Redis has
both or neither. What Redis itself loses when it crashes depends on its persistence (``appendonly yes``, ``appendfsync
always``): rows that it has acknowledged and lost are not sent again.
"""

from typing import Any

from streammix.errors import StreammixError
from streammix.pipeline.redis_link import in_words

__all__ = ["RedisChannel"]


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
        """Send lines and their number in one transaction."""
        with in_words(f"stream {self._stream}"), self._client.pipeline(transaction=True) as together:
            together.watch(self._key)  # an earlier attempt that is still on its way fails then
            if int(together.get(self._key) or 0) >= total:
                return
            together.multi()
            for line in lines:
                together.xadd(self._stream, {b"data": line}, maxlen=self._longest)
            together.set(self._key, total)
            together.execute()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
