"""The sections of the configuration: what each table may hold."""

from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "SECTIONS",
    "SINKS",
    "SOURCES",
    "CheckpointSection",
    "DeadLetterSection",
    "FaultsSection",
    "FileSection",
    "KafkaSection",
    "KafkaSinkSection",
    "MetricsSection",
    "ModelSection",
    "NatsSection",
    "NdjsonSection",
    "OwnSection",
    "ParquetSection",
    "RedisSection",
    "RedisSinkSection",
    "RiverSection",
    "SecretSection",
    "SinkSection",
    "SourceSection",
    "StdinSection",
    "StdoutSection",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
LONGEST = 1 << 20


class _Section(msgspec.Struct, forbid_unknown_fields=True):
    """A table of the configuration; its attributes are the table's keys."""


class _AnySource(_Section):
    ignore: list[str] = []


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
        Fields of the records that are kept from the model, such as times and keys where families are inferred.
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


class SecretSection(_Section):
    """A secret, ``{ env = "NAME" }`` or ``{ file = "path" }``: never the secret itself.

    Parameters
    ----------
    env
        The variable of the environment that holds it.
    file
        The file that holds it; line ends at its end don't count.
    """

    env: str | None = None
    file: str | None = None


Secret = str | SecretSection  # text is refused in our own words
Setting = str | int | float | bool | SecretSection


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

    brokers: str
    topic: str | Annotated[list[str], msgspec.Meta(min_length=1)]
    group: str | None = None
    start: Literal["earliest", "latest"] = "earliest"
    when_lost: Literal["fail", "skip"] = "fail"
    stop_at_end: bool = False
    settings: dict[str, Setting] = {}
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

    servers: str | Annotated[list[str], msgspec.Meta(min_length=1)]
    stream: str
    subject: str | None = None
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    credentials: str | None = None
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

    url: str
    stream: str
    field: str | None = None
    username: str | None = None
    password: Secret | None = None
    start: Literal["earliest", "latest"] = "earliest"
    stop_at_end: bool = False
    max_record_bytes: Positive = LONGEST


class OwnSection(_AnySource, kw_only=True):
    """``[source] kind = "own"``: a source of one's own, which `streammix.pipeline.commands.run` is given."""


class ModelSection(_Section):
    """``[model]``: the arguments of `Mixture` or `AutoMixture`, as TOML can hold them.

    Parameters
    ----------
    kind
        ``"plain"`` for a `Mixture`, ``"auto"`` for an `AutoMixture`.
    n_components
        A number; of ``"auto"`` also the fewest and the most: ``[1, 10]``.
    drift, background
        As in `AutoMixture`; a half-life is ``{ records = 20_000 }`` or ``{ time = "2h", field = "at" }``.
    fields, components
        A family is its name or a table: ``amount = "LogNormal"``, ``heads = { family = "Binomial", n = 10 }``. A key
        with a comma names several fields: ``"lat, lon" = "MultivariateNormal"``.
    step_size
        Likewise: ``"RunningMean"``, ``{ step_size = "PowerDecay", alpha = 0.7 }`` or
        ``{ step_size = "HalfLife", time = "2h", field = "at" }``.
    weights, batch_size, warm_up, averaging, seed, infer
        As in `Mixture`; `AutoMixture` has but the last two and warm_up.
    """

    kind: Literal["plain", "auto"] = "plain"
    n_components: int | Annotated[list[int], msgspec.Meta(min_length=2, max_length=2)] = 3
    fields: dict[str, str | dict[str, Any]] | None = None
    components: list[dict[str, str | dict[str, Any]]] | None = None
    weights: list[float] | None = None
    step_size: str | dict[str, Any] = "PowerDecay"
    batch_size: int = 1
    warm_up: int | None = None
    averaging: bool = False
    seed: int | None = None
    infer: bool = False
    drift: str | dict[str, Any] | None = None
    background: bool | None = None


class CheckpointSection(_Section):
    """``[checkpoint]``.

    Parameters
    ----------
    directory
        Where checkpoints are written, by one run at a time: a directory, or ``s3://bucket/prefix``.
    every_records
        A checkpoint is written after so many records of the stream, refused ones counted, and at the end.
    every_seconds
        A checkpoint is also written when there is something new and the last one is so old; 60 where left out for
        sources that never end, otherwise no checkpoint goes by the clock.
    keep
        How many checkpoints are kept.
    """

    directory: str = "state"
    every_records: Positive = 10_000
    every_seconds: Seconds | None = None
    keep: Positive = 5


class ParquetSection(_Section):
    """``[sink] kind = "parquet"``.

    Parameters
    ----------
    path
        A directory: a file for the rows between two checkpoints.
    """

    path: str


class NdjsonSection(_Section):
    """``[sink] kind = "ndjson"``.

    Parameters
    ----------
    path
        A file that is appended to.
    """

    path: str


class StdoutSection(_Section):
    """``[sink] kind = "stdout"``: NDJSON, at least once each row."""


class KafkaSinkSection(_Section, kw_only=True):
    """``[sink] kind = "kafka"``: one JSON message a record, in transactions.

    Parameters
    ----------
    brokers, settings
        As in `KafkaSection`.
    topic
        The topic.
    """

    brokers: str
    topic: str
    settings: dict[str, Setting] = {}


class RedisSinkSection(_Section, kw_only=True):
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

    url: str
    stream: str
    username: str | None = None
    password: Secret | None = None
    max_length: Positive | None = None


class MetricsSection(_Section):
    """``[metrics]``: an HTTP server with ``/metrics`` for Prometheus, ``/livez`` and ``/readyz``.

    Parameters
    ----------
    listen
        Its address and port; port 0 takes a free one. Beyond this machine only if it says so: ``0.0.0.0:9464``.
    tls_certificate, tls_key
        Files, in PEM; then it speaks HTTPS alone.
    token_file
        A file with the bearer token that ``/metrics`` then asks for; or it stands in the environment, as
        ``STREAMMIX_TOKEN``.
    """

    listen: str = "127.0.0.1:9464"
    tls_certificate: str | None = None
    tls_key: str | None = None
    token_file: str | None = None


class DeadLetterSection(_Section):
    """``[dead_letter]``.

    Parameters
    ----------
    path
        The file for refused records; ``_dead-letter.ndjson`` in the checkpoint directory where left out, or beside
        the configuration where checkpoints are on object storage.
    topic
        A topic of Kafka in place of a file.
    brokers, settings
        As in `KafkaSection`, the source's where left out.
    """

    path: str | None = None
    topic: str | None = None
    brokers: str | None = None
    settings: dict[str, Setting] | None = None


class FaultsSection(_Section):
    """``[faults]``: when something outside fails that may come back, such as a full disk.

    Parameters
    ----------
    patience_seconds
        How long to try again before the run fails; left out, for ever where the source never ends, otherwise a minute.
    """

    patience_seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None


SourceSection = FileSection | StdinSection | RiverSection | KafkaSection | NatsSection | RedisSection | OwnSection
SinkSection = ParquetSection | NdjsonSection | StdoutSection | KafkaSinkSection | RedisSinkSection

SOURCES: dict[str, type[SourceSection]] = {
    "file": FileSection,
    "stdin": StdinSection,
    "river": RiverSection,
    "kafka": KafkaSection,
    "nats": NatsSection,
    "redis": RedisSection,
    "own": OwnSection,
}
SINKS: dict[str, type[SinkSection]] = {
    "parquet": ParquetSection,
    "ndjson": NdjsonSection,
    "stdout": StdoutSection,
    "kafka": KafkaSinkSection,
    "redis": RedisSinkSection,
}
SECTIONS = ("source", "model", "checkpoint", "sink", "dead_letter", "faults", "metrics")
