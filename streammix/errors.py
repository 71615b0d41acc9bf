"""The errors that streammix raises on purpose: each names what was wrong, where, and what was expected."""

__all__ = [
    "AwayError",
    "CheckpointError",
    "ConfigError",
    "RecordError",
    "StreammixError",
    "SupersededError",
    "UnavailableError",
    "UnheardError",
]


class StreammixError(Exception):
    """Any error that streammix raises on purpose."""


class RecordError(StreammixError, ValueError):
    """A record was refused; the model is as it was before.

    Parameters
    ----------
    message
        One sentence: the field, the value and what was expected.
    field
        The field's name, where one field is to blame.
    row
        The record's position within the call, where there were several.
    """

    def __init__(self, message: str, field: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.row = row


class ConfigError(StreammixError, ValueError):
    """A model's declaration or a pipeline's configuration is wrong."""


class CheckpointError(StreammixError):
    """A checkpoint is damaged, foreign, of another model, or in use by another writer."""


class SupersededError(CheckpointError):
    """Another writer has gone on from a checkpoint: this one must not."""


class UnavailableError(StreammixError):
    """Something outside the process fails that may come back: a full disk, a broker that is away."""


class UnheardError(StreammixError):
    """A checkpoint does not count: other readers of the stream have gone on from the one before."""


class AwayError(CheckpointError, UnavailableError):
    """The place of checkpoints can't be reached just now."""
