"""The TOML file that declares a run, checked before anything is touched.

Relative paths in it start from the file's own directory, so that a run means the same wherever it is started
from.
"""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from streammix.bucket import is_url
from streammix.errors import ConfigError

__all__ = [
    "CheckpointSection",
    "Config",
    "DeadLetterSection",
    "FileSection",
    "MetricsSection",
    "ModelSection",
    "NdjsonSection",
    "ParquetSection",
    "RiverSection",
    "StdinSection",
    "StdoutSection",
    "load_config",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
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
    ignore
        Fields of the records that are kept from the model, such as times and keys where families are inferred.
    """

    path: str | Annotated[list[str], msgspec.Meta(min_length=1)]
    format: Literal["ndjson", "csv", "parquet", "arrow"] | None = None
    max_record_bytes: Positive = LONGEST


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
        Where checkpoints are written, by one run at a time: a directory, or ``s3://bucket/prefix``.
    every_records
        A checkpoint is written after so many records of the stream, refused ones counted, and at the end.
    keep
        How many checkpoints are kept.
    """

    directory: str = "state"
    every_records: Positive = 10_000
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
        The file for refused records; ``_dead-letter.ndjson`` in the checkpoint directory where left out, or beside
        the configuration where checkpoints are on object storage.
    """

    path: str | None = None


SourceSection = FileSection | StdinSection | RiverSection
SinkSection = ParquetSection | NdjsonSection | StdoutSection

SOURCES: dict[str, type[SourceSection]] = {"file": FileSection, "stdin": StdinSection, "river": RiverSection}
SINKS: dict[str, type[SinkSection]] = {
    "parquet": ParquetSection,
    "ndjson": NdjsonSection,
    "stdout": StdoutSection,
}
SECTIONS = ("source", "model", "checkpoint", "sink", "dead_letter", "metrics")


class Config(msgspec.Struct):
    """A whole configuration.

    Parameters
    ----------
    path
        The file that it was read from.
    source, model, checkpoint, sinks, dead_letter, metrics
        Its sections; there may be several sinks or none, and no metrics.
    """

    path: Path
    source: SourceSection
    model: ModelSection
    checkpoint: CheckpointSection
    sinks: list[SinkSection]
    dead_letter: DeadLetterSection
    metrics: MetricsSection | None = None

    @property
    def checkpoints(self) -> Path | str:
        """Where checkpoints are written: a directory, or a URL."""
        directory = self.checkpoint.directory
        return directory if is_url(directory) else self.resolve(directory)

    def resolve(self, path: str) -> Path:
        """Return a path of the configuration as it is meant: relative to the file's directory."""
        return self.path.parent / path


def load_config(path: Path) -> Config:
    """Read and check a configuration.

    Raises
    ------
    ConfigError
        If the file doesn't exist or is not TOML, or a section, key or value in it is wrong: the error names
        the place, the key and the closest valid name.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    try:
        return _config(path.absolute(), table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _config(path: Path, table: dict[str, Any]) -> Config:
    for name in table:
        if name not in SECTIONS:
            raise ConfigError(f"unknown section [{name}]; {_hint(name, SECTIONS)}")
    if "source" not in table:
        raise ConfigError("there is no section [source]: it says where the records come from")
    sinks = table.get("sink", [])
    is_list = isinstance(sinks, list)
    return Config(
        path=path,
        source=_read_kind("[source]", table["source"], SOURCES),
        model=_read("[model]", table.get("model", {}), ModelSection),
        checkpoint=_read("[checkpoint]", table.get("checkpoint", {}), CheckpointSection),
        sinks=[
            _read_kind(f"[[sink]] number {i}" if is_list else "[sink]", sink, SINKS)
            for i, sink in enumerate(sinks if is_list else [sinks], 1)
        ],
        dead_letter=_read("[dead_letter]", table.get("dead_letter", {}), DeadLetterSection),
        metrics=_read("[metrics]", table["metrics"], MetricsSection) if "metrics" in table else None,
    )


_S = TypeVar("_S", bound=msgspec.Struct)


def _read_kind(place: str, table: Any, kinds: dict[str, type[_S]]) -> _S:
    if not isinstance(table, dict):
        raise ConfigError(f"{place} must be a table, not {table!r}")
    if "kind" not in table:
        raise ConfigError(f"{place} kind is missing: one of {', '.join(kinds)}")
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(f"{place} kind: unknown kind {kind!r}; {_hint(str(kind), kinds)}")
    rest = {key: value for key, value in table.items() if key != "kind"}
    return _read(place, rest, kinds[kind], f" of kind {kind}")


def _read(place: str, table: Any, section: type[_S], of_kind: str = "") -> _S:
    if not isinstance(table, dict):
        raise ConfigError(f"{place} must be a table, not {table!r}")
    for key in table:
        if key not in section.__struct_fields__:
            raise ConfigError(f"{place} unknown key {key!r}{of_kind}; {_hint(key, section.__struct_fields__)}")
    try:
        return msgspec.convert(table, section)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{place} {_in_words(str(error))}") from None


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"expected one of {', '.join(known)}" if known else "there are no keys here"


def _in_words(message: str) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.keep`" round: "keep: expected int, got str"."""
    problem, _, place = message.replace("`", "").partition(" - at $")
    problem = problem[:1].lower() + problem[1:]
    if missing := re.fullmatch(r"object missing required field (\w+)", problem):
        return f"{missing[1]} is missing"
    return f"{place.removeprefix('.')}: {problem}" if place else problem
