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
    "MetricsSection",
    "ModelSection",
    "NdjsonSection",
    "OwnSection",
    "ParquetSection",
    "RiverSection",
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


class OwnSection(_AnySource, kw_only=True):
    """``[source] kind = "own"``: a source of one's own, which `streammix.pipeline.commands.run` is given."""


class ModelSection(_Section):
    """``[model]``: the arguments of `Mixture`, as TOML can hold them.

    Parameters
    ----------
    fields, components
        A family is its name or a table: ``amount = "LogNormal"``, ``heads = { family = "Binomial", n = 10 }``. A key
        with a comma names several fields: ``"lat, lon" = "MultivariateNormal"``.
    step_size
        Likewise: ``"RunningMean"`` or ``{ step_size = "PowerDecay", alpha = 0.7 }``.
    n_components, weights, batch_size, warm_up, averaging, seed, infer
        As in `Mixture`.
    """

    n_components: int = 3
    fields: dict[str, str | dict[str, Any]] | None = None
    components: list[dict[str, str | dict[str, Any]]] | None = None
    weights: list[float] | None = None
    step_size: str | dict[str, Any] = "PowerDecay"
    batch_size: int = 1
    warm_up: int | None = None
    averaging: bool = False
    seed: int | None = None
    infer: bool = False


class CheckpointSection(_Section):
    """``[checkpoint]``.

    Parameters
    ----------
    directory
        Where checkpoints are written; one run at a time.
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
        The file for refused records; ``_dead-letter.ndjson`` in the checkpoint directory where left out.
    """

    path: str | None = None


class FaultsSection(_Section):
    """``[faults]``: when something outside fails that may come back, such as a full disk.

    Parameters
    ----------
    patience_seconds
        How long to try again before the run fails; left out, for ever where the source never ends, otherwise a minute.
    """

    patience_seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None


SourceSection = FileSection | StdinSection | RiverSection | OwnSection
SinkSection = ParquetSection | NdjsonSection | StdoutSection

SOURCES: dict[str, type[SourceSection]] = {
    "file": FileSection,
    "stdin": StdinSection,
    "river": RiverSection,
    "own": OwnSection,
}
SINKS: dict[str, type[SinkSection]] = {
    "parquet": ParquetSection,
    "ndjson": NdjsonSection,
    "stdout": StdoutSection,
}
SECTIONS = ("source", "model", "checkpoint", "sink", "dead_letter", "faults", "metrics")
