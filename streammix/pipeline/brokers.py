"""Sources and sinks on brokers, from their sections of the configuration.

Their clients are loaded only where a configuration asks for them. Secrets come from the environment or from files.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from streammix.errors import ConfigError
from streammix.pipeline.config import Config
from streammix.pipeline.flow import Sink, Source
from streammix.pipeline.model import declared_fields, text_fields
from streammix.pipeline.places import stream_place, topic_places
from streammix.pipeline.sections import SecretSection
from streammix.pipeline.sink_sections import KafkaSinkSection, RedisSinkSection, SinkSection
from streammix.pipeline.source_sections import KafkaSection, NatsSection, RedisSection
from streammix.pipeline.talk import SHORTEST, keep_secret

if TYPE_CHECKING:
    from streammix.pipeline.kafka_link import KafkaLink

__all__ = ["broker_sink", "broker_source", "kafka_channel"]

Position = dict[str, Any] | None

SECRETS = re.compile(r"password|secret|token|\.key\.pem|oauthbearer\.config|userinfo")
ADDRESSES = {"bootstrap.servers", "metadata.broker.list"}  # what librdkafka calls the brokers


def broker_source(config: Config, section: KafkaSection | NatsSection | RedisSection) -> Callable[[Position], Source]:
    """Return what opens a source at a recorded position.

    Raises
    ------
    ConfigError
        If the client's package is missing, or a secret.
    """
    if isinstance(section, KafkaSection):
        with _extra("kafka"):
            from streammix.pipeline.sources.kafka import KafkaSource
        topics = [section.topic] if isinstance(section.topic, str) else section.topic
        link = _kafka_link(config, section.brokers, section.settings)
        return lambda position: KafkaSource(
            link(),
            topics,
            position,
            section.group,
            section.start,
            section.when_lost,
            section.stop_at_end,
            section.max_record_bytes,
        )
    if isinstance(section, NatsSection):
        with _extra("nats"):
            from streammix.pipeline.sources.nats import NatsPlace, NatsSource
        servers = [section.servers] if isinstance(section.servers, str) else section.servers
        if any("@" in server for server in servers):
            raise ConfigError('servers: a password stands in no configuration file; say password = { env = "NAME" }')
        if section.credentials is not None:
            _check_credentials(config, section.credentials)
        options = {
            "user": section.user,
            "password": _secret(config, "password", section.password),
            "token": _secret(config, "token", section.token),
            "user_credentials": None if section.credentials is None else str(config.resolve(section.credentials)),
        }
        known = {name: value for name, value in options.items() if value is not None}
        place = NatsPlace(servers, section.stream, section.subject, known)
        return lambda position: NatsSource(
            place, position, section.start, section.stop_at_end, section.max_record_bytes
        )
    client = _redis_client(config, section)
    from streammix.pipeline.sources.redis import RedisSource

    return lambda position: RedisSource(
        client(),
        section.stream,
        position,
        section.field,
        section.start,
        section.stop_at_end,
        text_fields(config.model),
        section.max_record_bytes,
        infers=declared_fields(config.model) is None,
    )


def broker_sink(config: Config, section: KafkaSinkSection | RedisSinkSection, recorded: Mapping[str, Any]) -> Sink:
    """Return a sink, as it stood at the last checkpoint that recorded it under its name."""
    from streammix.pipeline.sinks.outbox import OutboxSink

    name, before = _names(config, section)
    stood = recorded.get(name, recorded.get(before) if before is not None else None)
    if isinstance(section, KafkaSinkSection):
        return OutboxSink(name, kafka_channel(config, section.brokers, section.topic, section.settings), stood)
    client = _redis_client(config, section)
    from streammix.pipeline.sinks.redis import RedisChannel

    return OutboxSink(name, lambda run: RedisChannel(client(), section.stream, section.max_length, run), stood)


def _names(config: Config, section: KafkaSinkSection | RedisSinkSection) -> tuple[str, str | None]:
    """Return a sink's name in checkpoints, and the one that it may have had before.

    It is named by its topic or stream alone, so that addresses may change; where there are several of that name, by
    their addresses, too. The first of these may have been alone before.
    """

    def names(sink: SinkSection) -> tuple[str, str] | None:
        if isinstance(sink, KafkaSinkSection):
            return f"kafka:{sink.topic}", min(topic_places(sink.brokers, sink.topic))
        return (
            (f"redis:{sink.stream}", stream_place(sink.url, sink.stream))
            if isinstance(sink, RedisSinkSection)
            else None
        )

    own = names(section)
    assert own is not None
    alike = [found for sink in config.sinks if (found := names(sink)) is not None and found[0] == own[0]]
    if len(alike) == 1:
        return own
    return own[1], own[0] if own == alike[0] else None


def kafka_channel(config: Config, brokers: str, topic: str, settings: Mapping[str, Any]) -> "Callable[[str], Any]":
    """Return what opens the way to a topic for a run's own name."""
    with _extra("kafka"):
        from streammix.pipeline.sinks.kafka import KafkaChannel
    link = _kafka_link(config, brokers, settings)
    return lambda run: KafkaChannel(link(), topic, run)


def _kafka_link(config: Config, brokers: str, settings: Mapping[str, Any]) -> "Callable[[], KafkaLink]":
    from streammix.pipeline.kafka_link import KafkaLink

    known: dict[str, Any] = {}
    for name, value in settings.items():
        if name in ADDRESSES:
            raise ConfigError(f"settings.{name}: the addresses stand in brokers")
        if SECRETS.search(name) or isinstance(value, SecretSection):
            value = _secret(config, f"settings.{name}", value if isinstance(value, SecretSection) else str(value))
        elif name.endswith(".location"):
            value = str(config.resolve(str(value)))
        known[name] = value
    link = KafkaLink(brokers, known)  # one for all attempts: what it has told it need not tell again
    return lambda: link


def _check_credentials(config: Config, name: str) -> None:
    try:
        config.resolve(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"credentials: the file {name} can't be read: {error.strerror}") from None
    with _extra("nats"):
        import_module("nkeys")  # which the client loads when it signs


def _redis_client(config: Config, section: RedisSection | RedisSinkSection) -> Callable[[], Any]:
    with _extra("redis"):
        from streammix.pipeline.redis_link import connect
    connecting = partial(connect, section.url, section.username, _secret(config, "password", section.password))
    connecting().close()  # nothing is sent yet, but the address is looked at
    return connecting


def _secret(config: Config, key: str, secret: str | SecretSection | None) -> str | None:
    """Return a secret from where the configuration says that it is."""
    if secret is None:
        return None
    if isinstance(secret, str) or (secret.env is None) == (secret.file is None):
        raise ConfigError(
            f'{key}: a secret stands in no configuration file; say {{ env = "NAME" }} or {{ file = "path" }}'
        )
    found = _read_secret(config, key, secret)
    if len(found) >= SHORTEST:
        keep_secret(found)
    return found


def _read_secret(config: Config, key: str, secret: SecretSection) -> str:
    if secret.env is not None:
        if (found := os.environ.get(secret.env)) is None:
            raise ConfigError(f"{key}: there is no variable {secret.env} in the environment")
        return found
    try:
        return config.resolve(secret.file or "").read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{key}: the file {secret.file} can't be read: {reason}") from None


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"kind = {name!r} needs {error.name}: pip install 'streammix[{name}]'") from None
