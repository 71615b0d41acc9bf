"""Saved states, for the commands that only read them."""

from pathlib import Path

from streammix.checkpoint import Checkpoint, CheckpointStore, load
from streammix.errors import CheckpointError, ConfigError

__all__ = ["newest"]
