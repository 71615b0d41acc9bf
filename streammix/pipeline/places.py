"""Where a run reads and writes: no two outputs in one place, none in a source's, however they are spelled."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from streammix.bucket import is_url
from streammix.errors import ConfigError
from streammix.pipeline.config import Config
from streammix.pipeline.sink_sections import KafkaSinkSection, NdjsonSection, ParquetSection, RedisSinkSection
from streammix.pipeline.sinks.parquet import is_scored_file
from streammix.pipeline.source_sections import FileSection, KafkaSection, RedisSection
from streammix.pipeline.sources.opening import COMPRESSIONS

__all__ = ["check_local", "check_places", "dead_letter_path", "is_output", "listed", "stream_place", "topic_places"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a drive has one letter; a path of pathlib's has one slash left


def check_local(what: str, path: str) -> None:
    """Refuse a URL, or what is left of one, where a file or directory of this machine is meant.

    Raises
    ------
    ConfigError
        If it is one.

    Examples
    --------
    >>> check_local("[sink] path", "s3://bucket/scored")
    Traceback (most recent call last):
        ...
    streammix.errors.ConfigError: [sink] path: 's3://bucket/scored' is a URL; a path on this machine is expected here
    """
    if _SCHEME.match(path):
        raise ConfigError(f"{what}: {path!r} is a URL; a path on this machine is expected here")


def check_places(config: Config) -> None:
    """Refuse places that can't be, and two outputs, or an output and the source, in one place.

    Raises
    ------
    ConfigError
        If there are such; the error names them.
    """
    _check_files(config)
    seen: dict[str, str] = {}
    for what, places in _channels(config):
        for place in places:
            if place in seen:
                raise ConfigError(
                    f"{seen[place]} and {what} are one place, {place}; give each its own: what a run writes there "
                    "would be read or mixed"
                )
        seen |= dict.fromkeys(places, what)


def dead_letter_path(config: Config) -> Path:
    """Return where refused records go."""
    path, checkpoints = config.dead_letter.path, config.checkpoints
    if path:
        return config.resolve(path)
    # tools that read the directory of checkpoints as one data set pass over names that begin with an
    # underscore
    directory = checkpoints if isinstance(checkpoints, Path) else config.path.parent
    return directory / "_dead-letter.ndjson"


def is_output(config: Config, path: Path) -> bool:
    """Tell whether a file is one that this run writes: a pattern may well match it, but it is no event."""
    path = path.resolve()
    files = [config.resolve(sink.path).resolve() for sink in config.sinks if isinstance(sink, NdjsonSection)]
    scored = [config.resolve(sink.path).resolve() for sink in config.sinks if isinstance(sink, ParquetSection)]
    return (
        path in [*files, dead_letter_path(config).resolve()]
        or (isinstance(config.checkpoints, Path) and config.checkpoints.resolve() in path.parents)
        or (path.parent in scored and is_scored_file(path))
    )


def listed(names: str | list[str]) -> list[str]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else names


def _check_files(config: Config) -> None:
    of_sinks = [
        (f"[[sink]] number {i} path", sink)
        for i, sink in enumerate(config.sinks, 1)
        if isinstance(sink, ParquetSection | NdjsonSection)
    ]
    outputs = [(what, sink.path) for what, sink in of_sinks]
    texts = [(what, sink.path) for what, sink in of_sinks if isinstance(sink, NdjsonSection)]
    if not is_url(config.checkpoint.directory):
        outputs.append(("[checkpoint] directory", config.checkpoint.directory))
    if config.dead_letter.path:
        outputs.append(("[dead_letter] path", config.dead_letter.path))
        texts.append(outputs[-1])
    sources = listed(config.source.path) if isinstance(config.source, FileSection) else []
    for what, path in [*outputs, *(("[source] path", path) for path in sources)]:
        check_local(what, path)
        if "\0" in path:
            raise ConfigError(f"{what}: {path!r} holds a NUL character, which no path can")
    for what, path in texts:
        if (ending := Path(path).suffix.lower()) in COMPRESSIONS:
            raise ConfigError(f"{what}: {path} would hold plain text; leave {ending} out")
    if not config.dead_letter.path:
        outputs.append(("the dead-letter file, which lies in the checkpoint directory,", str(dead_letter_path(config))))
    seen: dict[Path, str] = {}
    for what, path in outputs:
        place = config.resolve(path).resolve()
        if place in seen:
            raise ConfigError(f"{seen[place]} and {what} are one place, {place}; give each output its own")
        if not place.exists() or place.is_file() or place.is_dir():  # devices may be shared
            seen[place] = what


def _channels(config: Config) -> Iterator[tuple[str, set[str]]]:
    """Topics and streams, each by the addresses at which it is found."""
    source, dead = config.source, config.dead_letter
    brokers = None
    if isinstance(source, KafkaSection):
        brokers = source.brokers
        topics = listed(source.topic)
        if twice := [topic for i, topic in enumerate(topics) if topic in topics[:i]]:
            raise ConfigError(f"[source] topic: {twice[0]!r} stands twice")
        yield "[source] topic", {place for topic in topics for place in topic_places(brokers, topic)}
    elif isinstance(source, RedisSection):
        yield "[source] stream", {stream_place(source.url, source.stream)}
    for i, sink in enumerate(config.sinks, 1):
        if isinstance(sink, KafkaSinkSection):
            yield f"[[sink]] number {i} topic", topic_places(sink.brokers, sink.topic)
        elif isinstance(sink, RedisSinkSection):
            yield f"[[sink]] number {i} stream", {stream_place(sink.url, sink.stream)}
    if dead.topic is not None and (brokers := dead.brokers or brokers) is not None:
        yield "[dead_letter] topic", topic_places(brokers, dead.topic)


def topic_places(brokers: str, topic: str) -> set[str]:
    """Return a topic's place, once for each address of its brokers.

    Examples
    --------
    >>> sorted(topic_places("SSL://A:9093, localhost", "t"))
    ['kafka://127.0.0.1:9092/t', 'kafka://a:9093/t']
    """
    addresses = (address.strip().rpartition("://")[2].lower() for address in brokers.split(","))
    return {f"kafka://{_host(address, 9092)}/{topic}" for address in addresses}


def stream_place(url: str, stream: str) -> str:
    """Return the place of a stream of Redis.

    Examples
    --------
    >>> stream_place("rediss://ann@localhost/1", "s")
    'redis://127.0.0.1:6379/1/s'
    """
    parts = urlsplit(url)
    query, at = parse_qs(parts.query), parts.netloc.rpartition("@")[2].lower()
    if parts.scheme == "unix":
        return f"unix://{parts.path}/{query.get('db', ['0'])[0]}/{stream}"
    database = query.get("db", [parts.path.strip("/") or "0"])[0]
    return f"redis://{_host(at, 6379)}/{database}/{stream}"


def _host(address: str, port: int) -> str:
    return re.sub(r"^(localhost)?:", "127.0.0.1:", address if ":" in address else f"{address}:{port}")
