"""The sections of sources: what ``[source]`` may hold, by its kind."""

from typing import Annotated, Literal

import msgspec

from streammix.pipeline.sections import LONGEST, Positive, Secret, Section, Setting, Text, Topic

__all__ = [
    "SOURCES",
    "FileSection",
    "KafkaSection",
    "NatsSection",
    "OwnSection",
    "RedisSection",
    "RiverSection",
    "SourceSection",
    "StdinSection",
]


class _AnySource(Section):
    ignore: list[str] = msgspec.field(default_factory=list)


class FileSection(_AnySource, kw_only=True):
    """``[source] kind = "file"``.

    Parameters
    ----------
    path
        A file, a pattern (``events/*.ndjson``, ``**`` for any depth), or a list of them. The files of a pattern are
        read in the order of their names.
    format
        ``ndjson``, ``csv``, ``parquet`` or ``arrow``, where the names' endings don't say it.
    max_record_bytes
        A line of text that is longer is refused; 1 MiB where left out.
    follow
        Whether to go on at the end: with what is appended, new files, and files that take the place of others.
    ignore
        Fields of the records that are kept from the model, such as times and keys where families are inferred. The
        field that event time is read from is read all the same, and not learnt.
    """

    path: str | Annotated[list[str], msgspec.Meta(min_length=1)]
    format: Literal["ndjson", "csv", "parquet", "arrow"] | None = None
    max_record_bytes: Positive = LONGEST
    follow: bool = False


class StdinSection(_AnySource, kw_only=True):
    """``[source] kind = "stdin"``.

    Parameters
    ----------
    format
        ``ndjson``, or ``csv`` with a header row at the beginning of each run's input.
    replay
        Whether each run is fed the whole stream from its beginning, so that what earlier runs have read is skipped;
        otherwise everything that comes is new.
    max_record_bytes, ignore
        As in `FileSection`.
    """

    format: Literal["ndjson", "csv"] = "ndjson"
    replay: bool = False
    max_record_bytes: Positive = LONGEST


class RiverSection(_AnySource, kw_only=True):
    """``[source] kind = "river"``.

    Parameters
    ----------
    dataset
        The name of a data set of river's, such as ``Shuttle``; the target is dropped.
    limit
        Read only so many records, counted from the data set's first.
    ignore
        As in `FileSection`.
    """

    dataset: str
    limit: Positive | None = None


class KafkaSection(_AnySource, kw_only=True):
    """``[source] kind = "kafka"``.

    Parameters
    ----------
    brokers
        Addresses with commas between them.
    topic
        A topic, or a list of them.
    group
        A consumer group: its members share the partitions, and offsets are committed under its name. Left out, the run
        reads all partitions and commits none.
    start
        Where a partition that was never read begins: ``earliest`` or ``latest``.
    when_lost
        What to do where records are gone before they were read: ``fail`` or ``skip``.
    stop_at_end
        Whether to end where the topics end when the run begins.
    settings
        Further settings of librdkafka, such as ``"security.protocol" = "SASL_SSL"``; secret ones as a `SecretSection`.
    max_record_bytes, ignore
        As in `FileSection`.
    """

    brokers: Text
    topic: Topic | Annotated[list[Topic], msgspec.Meta(min_length=1)]
    group: Text | None = None
    start: Literal["earliest", "latest"] = "earliest"
    when_lost: Literal["fail", "skip"] = "fail"
    stop_at_end: bool = False
    settings: dict[str, Setting] = msgspec.field(default_factory=dict)
    max_record_bytes: Positive = LONGEST


class NatsSection(_AnySource, kw_only=True):
    """``[source] kind = "nats"``.

    Parameters
    ----------
    servers
        An address, such as ``nats://127.0.0.1:4222``, or a list of them.
    stream
        A stream of JetStream.
    subject
        Only messages of this subject; all where left out.
    user, password, token, credentials
        Who we are; `credentials` is a file as ``nsc`` makes it.
    start, stop_at_end
        As in `KafkaSection`.
    max_record_bytes, ignore
        As in `FileSection`.
    """

    servers: Text | Annotated[list[Text], msgspec.Meta(min_length=1)]
    stream: Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[^\s.*>/\\]+$")]
    subject: Text | None = None
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    credentials: Text | None = None
    start: Literal["earliest", "latest"] = "earliest"
    stop_at_end: bool = False
    max_record_bytes: Positive = LONGEST


class RedisSection(_AnySource, kw_only=True):
    """``[source] kind = "redis"``.

    Parameters
    ----------
    url
        An address, such as ``redis://127.0.0.1:6379/0``; ``rediss://`` for TLS.
    stream
        The stream's key.
    field
        The field of an entry that holds the record as JSON; left out, the entry's fields are the record's.
    username, password
        Who we are.
    start, stop_at_end
        As in `KafkaSection`.
    max_record_bytes, ignore
        As in `FileSection`.
    """

    url: Text
    stream: Text
    field: str | None = None
    username: str | None = None
    password: Secret | None = None
    start: Literal["earliest", "latest"] = "earliest"
    stop_at_end: bool = False
    max_record_bytes: Positive = LONGEST


class OwnSection(_AnySource, kw_only=True):
    """``[source] kind = "own"``: a source of one's own, which `streammix.pipeline.commands.run` is given."""


SourceSection = FileSection | StdinSection | RiverSection | KafkaSection | NatsSection | RedisSection | OwnSection

SOURCES: dict[str, type[SourceSection]] = {
    "file": FileSection,
    "stdin": StdinSection,
    "river": RiverSection,
    "kafka": KafkaSection,
    "nats": NatsSection,
    "redis": RedisSection,
    "own": OwnSection,
}
