"""From a configuration to the source and the sinks that it declares."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

from streammix.core.values import short
from streammix.errors import ConfigError
from streammix.pipeline.brokers import broker_sink, broker_source, kafka_channel
from streammix.pipeline.config import Config
from streammix.pipeline.dead_letter import DeadLetters
from streammix.pipeline.flow import Sink, Source
from streammix.pipeline.model import check_ignored, declared_fields, text_fields
from streammix.pipeline.places import check_places, dead_letter_path, is_output, listed
from streammix.pipeline.sink_sections import (
    KafkaSinkSection,
    ParquetSection,
    RedisSinkSection,
    SinkSection,
    StdoutSection,
)
from streammix.pipeline.sinks.ndjson import NdjsonSink, StdoutSink
from streammix.pipeline.sinks.outbox import Posted
from streammix.pipeline.sinks.parquet import ParquetSink
from streammix.pipeline.source_sections import (
    SOURCES,
    FileSection,
    KafkaSection,
    NatsSection,
    OwnSection,
    RedisSection,
    SourceSection,
    StdinSection,
)
from streammix.pipeline.sources.file import FileSource, find_files
from streammix.pipeline.sources.follow import FollowSource
from streammix.pipeline.sources.opening import Reading, check_format
from streammix.pipeline.sources.river import RiverSource
from streammix.pipeline.sources.stdin import StdinSource

__all__ = ["OpenSink", "OpenSource", "dead_letter_path", "open_dead_letters", "open_sinks", "prepare_source"]

OpenSource = Callable[[dict[str, Any] | None], Source]  # from a recorded position


class OpenSink(Protocol):
    """What opens a sink from what was recorded of it."""

    name: str

    def __call__(self, recorded: dict[str, Any] | None, /) -> Sink:
        """Open the sink."""


def prepare_source(config: Config, own: OpenSource | None = None) -> OpenSource:
    """Check the source's section; return what opens the source, `own` where it says so, at a recorded position.

    Raises
    ------
    ConfigError
        If a path matches no file, a data set is unknown, or two outputs are one file. What is returned
        raises it as well, if the position is of another kind of source.
    """
    check_places(config)
    try:
        check_ignored(config.model, config.source.ignore)
        kind, build = _source(config, own)
    except ConfigError as error:
        raise ConfigError(f"[source] {error}") from None
    return partial(_open, kind, build)


def open_sinks(config: Config, recorded: dict[str, Any], own: Sequence[OpenSink] = ()) -> list[Sink]:
    """Return the sinks, each cut back to what the last checkpoint recorded of it under its name.

    Raises
    ------
    ConfigError
        If two sinks are the same, or a sink that no checkpoint knows of would mix with what another run
        wrote.
    """
    sinks: list[Sink] = []
    with ExitStack() as opened:  # what was opened is closed again if a later one can't be
        for section in config.sinks:
            sinks.append(_sink(config, section, recorded))
            opened.callback(sinks[-1].close)
            if sinks[-1].name in [sink.name for sink in sinks[:-1]]:
                raise ConfigError(f"[sink] {sinks[-1].name} is declared twice")
        for open_sink in own:
            if open_sink.name in [sink.name for sink in sinks]:
                raise ConfigError(f"two sinks have the name {open_sink.name!r}")
            sinks.append(open_sink(recorded.get(open_sink.name)))
            opened.callback(sinks[-1].close)
        opened.pop_all()
    return sinks


def _sink(config: Config, section: SinkSection, recorded: dict[str, Any]) -> Sink:
    try:
        if isinstance(section, KafkaSinkSection | RedisSinkSection):
            return broker_sink(config, section, recorded)
        if isinstance(section, StdoutSection):
            return StdoutSink()
    except ConfigError as error:
        raise ConfigError(f"[sink] {error}") from None
    try:
        path = config.resolve(section.path)
        if isinstance(section, ParquetSection):
            name = f"parquet:{section.path}"
            return ParquetSink(name, path, recorded.get(name))
        name = f"ndjson:{section.path}"
        return NdjsonSink(name, path, recorded.get(name))
    except ConfigError as error:
        raise ConfigError(f"[sink] path: {error}") from None


def open_dead_letters(config: Config, recorded: dict[str, Any] | None) -> DeadLetters:
    """Return the dead-letter file, cut back to what the last checkpoint recorded of it, or the topic in its place."""
    section, source = config.dead_letter, config.source

    def known_by(key: str) -> dict[str, Any] | None:  # they may have gone elsewhere before
        return recorded if recorded is not None and key in recorded else None

    if section.topic is not None:
        known = source if isinstance(source, KafkaSection) else None
        brokers = section.brokers or (known.brokers if known else None)
        settings = section.settings if section.settings is not None else known.settings if known else {}
        if brokers is None:
            raise ConfigError("[dead_letter] brokers is missing: it says where the topic is")
        try:
            return DeadLetters(
                Posted(
                    "the dead-letter topic", kafka_channel(config, brokers, section.topic, settings), known_by("run")
                )
            )
        except ConfigError as error:
            raise ConfigError(f"[dead_letter] {error}") from None
    try:
        return DeadLetters.in_file(dead_letter_path(config), known_by("bytes"))
    except ConfigError as error:
        raise ConfigError(f"[dead_letter] path: {error}") from None


def _open(kind: str, build: OpenSource, position: dict[str, Any] | None) -> Source:
    if position is not None and (known := position.get("kind", "own")) != kind:
        raise ConfigError(
            f"[source] kind is {kind}, but the checkpoint was reading from {known}; "
            "start anew with another checkpoint directory"
        )
    try:
        source = build(position)
    except ConfigError as error:
        raise ConfigError(f"[source] {error}") from None
    if kind == "own" and (not isinstance(stands := source.position(), dict) or "kind" in stands):
        source.close()
        raise ConfigError(
            "[source] position() of a source of one's own must be a dict of what JSON can hold, without a key 'kind', "
            f"not {short(stands)}"
        )
    return source


def _source(config: Config, own: OpenSource | None) -> tuple[str, OpenSource]:
    section, as_text = config.source, text_fields(config.model)
    infers = declared_fields(config.model) is None
    if isinstance(section, FileSection):
        return "file", _files(config, section)
    if isinstance(section, StdinSection):
        return "stdin", lambda position: StdinSource(
            position, section.format, section.replay, as_text, section.max_record_bytes, infers=infers
        )
    if isinstance(section, OwnSection):
        if own is None:
            raise ConfigError("kind is own: streammix.pipeline.commands.run has to be given the source")
        return "own", own
    if isinstance(section, KafkaSection | NatsSection | RedisSection):
        return _kind(section), broker_source(config, section)
    RiverSource(section.dataset).close()
    return "river", partial(RiverSource, section.dataset, section.limit)


def _kind(section: SourceSection) -> str:
    return next(kind for kind, sort in SOURCES.items() if isinstance(section, sort))


def _files(config: Config, section: FileSection) -> OpenSource:
    base, infers = config.path.parent, declared_fields(config.model) is None
    find = partial(find_files, listed(section.path), base, partial(is_output, config))

    def how() -> Reading:
        return Reading(
            form=section.format,
            as_text=text_fields(config.model),
            wanted=declared_fields(config.model),
            longest=section.max_record_bytes,
            holds="all" if section.follow else "unfinished",
            kinds={} if infers else None,
        )

    # before a run begins, what is wrong with the files' names is told
    if section.follow:
        for name in find(may_lack=True):
            check_format(name, section.format)
        return lambda position: FollowSource(partial(find, may_lack=True), base, position, how())
    names = find()
    FileSource(names, base, None, how()).close()
    return lambda position: FileSource(names, base, position, how())
