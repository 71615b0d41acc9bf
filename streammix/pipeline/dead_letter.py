"""The dead-letter file: one NDJSON line for each record that was refused.

``{"position": {"source": ..., "offset": ...}, "reason": ..., "raw": ...}``; raw bytes that are not UTF-8
stand under ``raw_base64`` instead.
"""

import base64
from pathlib import Path
from typing import Any

import msgspec

from streammix.errors import ConfigError
from streammix.pipeline.flow import Refusal
from streammix.pipeline.sinks.ndjson import GrowingFile

__all__ = ["DeadLetters"]

_encoder = msgspec.json.Encoder()


class DeadLetters:
    """Appends refused records to a file, exactly once each.

    Parameters
    ----------
    path
        The file; made with the first refused record.
    recorded
        What `flush` returned for the last checkpoint.

    Raises
    ------
    ConfigError
        If the path is a directory, or there is no record of the file, but there are bytes in it.
    """

    def __init__(self, path: Path, recorded: dict[str, Any] | None) -> None:
        if path.is_dir():
            raise ConfigError(f"{path} is a directory; refused records go to one file")
        self._file = GrowingFile(path, recorded, may_shrink=True)

    def write(self, refused: list[Refusal]) -> None:
        """Append one line a record."""
        if refused:
            self._file.write(_encoder.encode_lines([_line(refusal) for refusal in refused]))

    def flush(self) -> dict[str, Any]:
        """Make the lines durable; return the file's length."""
        return self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(refusal: Refusal) -> dict[str, Any]:
    position = {"source": refusal.source, "offset": refusal.offset}
    try:
        raw = {"raw": refusal.raw.decode()}
    except UnicodeDecodeError:
        raw = {"raw_base64": base64.b64encode(refusal.raw).decode()}
    return {"position": position, "reason": refusal.reason, **raw}
