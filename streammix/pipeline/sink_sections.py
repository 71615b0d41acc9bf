"""The sections of sinks: what ``[[sink]]`` may hold, by its kind."""

import msgspec

from streammix.pipeline.sections import Positive, Secret, Section, Setting, Text, Topic

__all__ = [
    "SINKS",
    "KafkaSinkSection",
    "NdjsonSection",
    "ParquetSection",
    "RedisSinkSection",
    "SinkSection",
    "StdoutSection",
]


class ParquetSection(Section):
    """``[sink] kind = "parquet"``.

    Parameters
    ----------
    path
        A directory: a file for the rows between two checkpoints.
    """

    path: str


class NdjsonSection(Section):
    """``[sink] kind = "ndjson"``.

    Parameters
    ----------
    path
        A file that is appended to.
    """

    path: str


class StdoutSection(Section):
    """``[sink] kind = "stdout"``: NDJSON, at least once each row."""


class KafkaSinkSection(Section, kw_only=True):
    """``[sink] kind = "kafka"``: one JSON message a record, in transactions.

    Parameters
    ----------
    brokers, settings
        As in `KafkaSection`.
    topic
        The topic.
    """

    brokers: Text
    topic: Topic
    settings: dict[str, Setting] = msgspec.field(default_factory=dict)


class RedisSinkSection(Section, kw_only=True):
    """``[sink] kind = "redis"``: one entry a record, with the JSON in its field ``data``.

    Parameters
    ----------
    url, username, password
        As in `RedisSection`.
    stream
        The stream's key.
    max_length
        How many entries the stream keeps, about; all where left out.
    """

    url: Text
    stream: Text
    username: str | None = None
    password: Secret | None = None
    max_length: Positive | None = None


SinkSection = ParquetSection | NdjsonSection | StdoutSection | KafkaSinkSection | RedisSinkSection

SINKS: dict[str, type[SinkSection]] = {
    "parquet": ParquetSection,
    "ndjson": NdjsonSection,
    "stdout": StdoutSection,
    "kafka": KafkaSinkSection,
    "redis": RedisSinkSection,
}
