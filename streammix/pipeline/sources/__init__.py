"""Sources: where records come from, each with its position."""

from pathlib import Path

from streammix.errors import StreammixError

__all__ = ["REMEDY", "cut_error"]

REMEDY = "put it back, or start anew with another checkpoint directory"


def cut_error(path: Path, length: int, unit: str, known: int) -> StreammixError:
    """Return the error of a file that is shorter than what an earlier run has read of it."""
    return StreammixError(f"{path} has {length} {unit}, but {known} were read before: it was cut or replaced; {REMEDY}")
