"""From a configuration to the source and the sinks that it declares."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from streammix.bucket import is_url
from streammix.errors import ConfigError
from streammix.pipeline.config import Config
from streammix.pipeline.dead_letter import DeadLetters
from streammix.pipeline.flow import Sink, Source
from streammix.pipeline.model import declared_fields, text_fields
from streammix.pipeline.sections import FileSection, NdjsonSection, ParquetSection, StdinSection
from streammix.pipeline.sinks.ndjson import NdjsonSink, StdoutSink
from streammix.pipeline.sinks.parquet import ParquetSink, is_scored_file
from streammix.pipeline.sources.file import FileSource, find_files
from streammix.pipeline.sources.river import RiverSource
from streammix.pipeline.sources.stdin import StdinSource

__all__ = ["OpenSource", "dead_letter_path", "open_dead_letters", "open_sinks", "prepare_source"]

OpenSource = Callable[[dict[str, Any] | None], Source]  # from a recorded position


def prepare_source(config: Config) -> OpenSource:
    """Check the source's section; return what opens the source at a recorded position.

    Raises
    ------
    ConfigError
        If a path matches no file, a data set is unknown, or two outputs are one file. What is returned
        raises it as well, if the position is of another kind of source.
    """
    _check_places(config)
    try:
        kind, build = _source(config)
    except ConfigError as error:
        raise ConfigError(f"[source] {error}") from None
    return partial(_open, kind, build)


def open_sinks(config: Config, recorded: dict[str, Any]) -> list[Sink]:
    """Return the sinks, each cut back to what the last checkpoint recorded of it under its name.

    Raises
    ------
    ConfigError
        If two sinks are the same, or a sink that no checkpoint knows of would mix with what another run
        wrote.
    """
    sinks: list[Sink] = []
    for section in config.sinks:
        path = config.resolve(section.path) if isinstance(section, ParquetSection | NdjsonSection) else Path()
        try:
            if isinstance(section, ParquetSection):
                name = f"parquet:{section.path}"
                sinks.append(ParquetSink(name, path, recorded.get(name)))
            elif isinstance(section, NdjsonSection):
                name = f"ndjson:{section.path}"
                sinks.append(NdjsonSink(name, path, recorded.get(name)))
            else:
                sinks.append(StdoutSink())
        except ConfigError as error:
            raise ConfigError(f"[sink] path: {error}") from None
    names = [sink.name for sink in sinks]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ConfigError(f"[sink] {twice[0]} is declared twice")
    return sinks


def dead_letter_path(config: Config) -> Path:
    """Return where refused records go."""
    path, checkpoints = config.dead_letter.path, config.checkpoints
    # tools that read the directory of checkpoints as one data set pass over names that begin with an
    # underscore
    return config.resolve(path) if path else _directory(checkpoints, config.path.parent) / "_dead-letter.ndjson"


def open_dead_letters(config: Config, recorded: dict[str, Any] | None) -> DeadLetters:
    """Return the dead-letter file, cut back to what the last checkpoint recorded of it."""
    try:
        return DeadLetters(dead_letter_path(config), recorded)
    except ConfigError as error:
        raise ConfigError(f"[dead_letter] path: {error}") from None


def _directory(place: Path | str, otherwise: Path) -> Path:
    return place if isinstance(place, Path) else otherwise


def _open(kind: str, build: OpenSource, position: dict[str, Any] | None) -> Source:
    if position is not None and position["kind"] != kind:
        raise ConfigError(
            f"[source] kind is {kind}, but the checkpoint was reading from {position['kind']}; "
            "start anew with another checkpoint directory"
        )
    try:
        return build(position)
    except ConfigError as error:
        raise ConfigError(f"[source] {error}") from None


def _source(config: Config) -> tuple[str, OpenSource]:
    section, as_text = config.source, text_fields(config.model)
    infers = declared_fields(config.model) is None
    if isinstance(section, FileSection):
        base = config.path.parent
        names = find_files(_listed(section.path), base, partial(_is_own, config))
        build = partial(
            FileSource,
            names,
            base,
            form=section.format,
            as_text=as_text,
            wanted=declared_fields(config.model),
            longest=section.max_record_bytes,
            infers=infers,
        )
        build(None).close()  # says what is wrong with the files' names before a run begins
        return "file", build
    if isinstance(section, StdinSection):
        return "stdin", lambda position: StdinSource(
            position, section.format, section.replay, as_text, section.max_record_bytes, infers=infers
        )
    RiverSource(section.dataset).close()
    return "river", partial(RiverSource, section.dataset, section.limit)


def _listed(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else path


def _check_places(config: Config) -> None:
    """Refuse paths that can't be, and two outputs in one place, however they are spelled."""
    outputs = [
        (f"[[sink]] number {i} path", sink.path)
        for i, sink in enumerate(config.sinks, 1)
        if isinstance(sink, ParquetSection | NdjsonSection)
    ]
    if not is_url(config.checkpoint.directory):
        outputs.append(("[checkpoint] directory", config.checkpoint.directory))
    if config.dead_letter.path:
        outputs.append(("[dead_letter] path", config.dead_letter.path))
    sources = _listed(config.source.path) if isinstance(config.source, FileSection) else []
    for what, path in [*outputs, *(("[source] path", path) for path in sources)]:
        if "\0" in path:
            raise ConfigError(f"{what}: {path!r} holds a NUL character, which no path can")
    if not config.dead_letter.path:
        outputs.append(("the dead-letter file, which lies in the checkpoint directory,", str(dead_letter_path(config))))
    seen: dict[Path, str] = {}
    for what, path in outputs:
        place = config.resolve(path).resolve()
        if place in seen:
            raise ConfigError(f"{seen[place]} and {what} are one place, {place}; give each output its own")
        if not place.exists() or place.is_file() or place.is_dir():  # devices may be shared
            seen[place] = what


def _is_own(config: Config, path: Path) -> bool:
    """Tell whether a file is one that this run writes: a pattern may well match it, but it is no event."""
    path = path.resolve()
    files = [config.resolve(sink.path).resolve() for sink in config.sinks if isinstance(sink, NdjsonSection)]
    scored = [config.resolve(sink.path).resolve() for sink in config.sinks if isinstance(sink, ParquetSection)]
    return (
        path in [*files, dead_letter_path(config).resolve()]
        or (isinstance(config.checkpoints, Path) and config.checkpoints.resolve() in path.parents)
        or (path.parent in scored and is_scored_file(path))
    )
