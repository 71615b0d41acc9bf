"""The TOML file that declares a run, checked before anything is touched.

Relative paths in it start from the file's own directory, so that a run means the same wherever it is started
from.
"""

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from streammix.bucket import is_url
from streammix.errors import ConfigError
from streammix.pipeline.sections import (
    SECTIONS,
    CheckpointSection,
    DeadLetterSection,
    FaultsSection,
    MetricsSection,
    ModelSection,
)
from streammix.pipeline.sink_sections import SINKS, SinkSection
from streammix.pipeline.source_sections import (
    SOURCES,
    FileSection,
    KafkaSection,
    NatsSection,
    RedisSection,
    SourceSection,
    StdinSection,
)

__all__ = ["Config", "load_config"]

EVERY_SECONDS = 60.0
PATIENCE = 60.0
WORKERS = 64  # as many are allowed anywhere; more where there are more cores


class Config(msgspec.Struct):
    """A whole configuration.

    Parameters
    ----------
    path
        The file that it was read from.
    source, model, checkpoint, sinks, dead_letter, faults, metrics
        Its sections; there may be several sinks or none, and no metrics.
    workers
        How many processes share the mini-batches; 1: the run alone.
    """

    path: Path
    source: SourceSection
    model: ModelSection
    checkpoint: CheckpointSection
    sinks: list[SinkSection]
    dead_letter: DeadLetterSection
    faults: FaultsSection
    metrics: MetricsSection | None = None
    workers: int = 1

    @property
    def checkpoints(self) -> Path | str:
        """Where checkpoints are written: a directory, or a URL."""
        directory = self.checkpoint.directory
        return directory if is_url(directory) else self.resolve(directory)

    def resolve(self, path: str) -> Path:
        """Return a path of the configuration as it is meant: relative to the file's directory."""
        return self.path.parent / path

    @property
    def is_live(self) -> bool:
        """Whether the source goes on for ever."""
        source = self.source
        if isinstance(source, KafkaSection | NatsSection | RedisSection):
            return not source.stop_at_end
        return isinstance(source, FileSection) and source.follow

    @property
    def every_seconds(self) -> float | None:
        """How old the last checkpoint may grow."""
        return self.checkpoint.every_seconds or (EVERY_SECONDS if self.is_live else None)

    @property
    def keep(self) -> int:
        """How many checkpoints are kept: where a consumer group may not have heard of the last one, two at least."""
        is_shared = isinstance(self.source, KafkaSection) and self.source.group is not None
        return max(self.checkpoint.keep, 2 if is_shared else 1)

    @property
    def patience(self) -> float | None:
        """How many seconds a fault may last; None for ever."""
        seconds = self.faults.patience_seconds
        if isinstance(self.source, StdinSection) and not self.source.replay:
            return 0.0  # what was read from a pipe can't be read again
        return PATIENCE if seconds is None and not self.is_live else seconds


def load_config(path: Path) -> Config:
    """Read and check a configuration.

    Raises
    ------
    ConfigError
        If the file doesn't exist or is not TOML, or a section, key or value in it is wrong: the error names
        the place, the key and the closest valid name.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
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
    workers = table.pop("workers", 1)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers must be a whole number, 1 or more, not {workers!r}")
    if workers > (most := max(WORKERS, os.cpu_count() or 1)):
        raise ConfigError(f"workers must be at most {most}, not {workers:,}")
    for name in table:
        if name not in SECTIONS:
            raise ConfigError(f"unknown section [{name}]; {_hint(name, SECTIONS)}")
    if "source" not in table:
        raise ConfigError("there is no section [source]: it says where the records come from")
    dead_letter = _read("[dead_letter]", table.get("dead_letter", {}), DeadLetterSection)
    if dead_letter.path is not None and dead_letter.topic is not None:
        raise ConfigError("[dead_letter] has a path and a topic: refused records go to one of them")
    for name in ("brokers", "settings"):
        if dead_letter.topic is None and getattr(dead_letter, name) is not None:
            raise ConfigError(f"[dead_letter] {name} goes with a topic, which is missing")
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
        dead_letter=dead_letter,
        faults=_read("[faults]", table.get("faults", {}), FaultsSection),
        metrics=_read("[metrics]", table["metrics"], MetricsSection) if "metrics" in table else None,
        workers=workers,
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
