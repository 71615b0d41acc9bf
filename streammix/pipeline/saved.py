"""Saved states, for the commands that only read them: they may look while a run is writing."""

from pathlib import Path

from streammix.bucket import is_url
from streammix.errors import CheckpointError, ConfigError
from streammix.store import Checkpoint, CheckpointStore, read

__all__ = ["newest"]


def newest(state: Path | str) -> Checkpoint:
    """Return a checkpoint, or the newest sound one of a directory or an ``s3://bucket/prefix``.

    Raises
    ------
    ConfigError
        If there is no such file or directory.
    CheckpointError
        If the file is damaged or foreign, or there is no checkpoint in the directory.
    """
    if not is_url(state):
        if not Path(state).exists():
            raise ConfigError(f"there is no checkpoint {state}")
        if not Path(state).is_dir():
            return read(state)
    found = CheckpointStore(state, readonly=True).latest()
    if found is None:
        raise CheckpointError(f"there are no checkpoints in {state}")
    return found
