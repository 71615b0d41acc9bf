"""Dead letters: one NDJSON line for each record that was refused.

``{"position": {"source": ..., "offset": ...}, "reason": ..., "raw": ...}``; raw bytes that are not UTF-8
stand under ``raw_base64`` instead.
"""

import base64
from pathlib import Path
from typing import Any, Self

import msgspec

from streammix.errors import ConfigError
from streammix.pipeline.flow import Refusal
from streammix.pipeline.sinks.ndjson import GrowingFile
from streammix.pipeline.sinks.outbox import Posted

__all__ = ["DeadLetters"]

_encoder = msgspec.json.Encoder()


class DeadLetters:
    """Writes refused records, exactly once each.

    Parameters
    ----------
    out
        Where their lines go.
    """

    def __init__(self, out: GrowingFile | Posted) -> None:
        self._out = out

    @classmethod
    def in_file(cls, path: Path, recorded: dict[str, Any] | None) -> Self:
        """Append to a file, which is made with the first refused record.

        Parameters
        ----------
        path
            The file.
        recorded
            What `flush` returned for the last checkpoint.

        Raises
        ------
        ConfigError
            If the path is a directory, or there is no record of the file, but there are bytes in it.
        """
        if path.is_dir():
            raise ConfigError(f"{path} is a directory; refused records go to one file")
        return cls(GrowingFile(path, recorded, may_shrink=True))

    @property
    def is_posted(self) -> bool:
        """Whether they go to a topic."""
        return isinstance(self._out, Posted)

    def write(self, refused: list[Refusal]) -> None:
        """Append one line a record."""
        if refused:
            self._out.write(_encoder.encode_lines([_line(refusal) for refusal in refused]))

    def flush(self) -> dict[str, Any]:
        """Make the lines durable; return where they stand."""
        return self._out.flush()

    def publish(self) -> None:
        """Send what waits for a checkpoint."""
        if isinstance(self._out, Posted):
            self._out.publish()

    def close(self) -> None:
        """Let go of them."""
        self._out.close()


def _line(refusal: Refusal) -> dict[str, Any]:
    position = {"source": refusal.source, "offset": refusal.offset}
    try:
        raw = {"raw": refusal.raw.decode()}
    except UnicodeDecodeError:
        raw = {"raw_base64": base64.b64encode(refusal.raw).decode()}
    return {"position": position, "reason": refusal.reason, **raw}
