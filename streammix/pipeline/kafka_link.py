"""What Kafka's clients have in common: their settings, and what their errors mean."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streammix.errors import ConfigError, StreammixError, UnavailableError
from streammix.pipeline.stopping import is_over

__all__ = ["STOPPING_SECONDS", "TIMEOUT", "KafkaLink", "beside", "close_consumer"]

TIMEOUT = 1.5  # seconds for an answer: a request to stop waits no longer
REFUSALS = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
AWAY = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._SSL,
    KafkaError._TIMED_OUT,
}

CLOSING_SECONDS, STOPPING_SECONDS = 5.0, 0.4

T = TypeVar("T")

log = logging.getLogger("streammix")


class KafkaLink:
    """The link to a cluster: how a client gets there, and whether it is up.

    Parameters
    ----------
    brokers
        Addresses such as ``127.0.0.1:9092``, with commas between them.
    settings
        Further settings of librdkafka, such as ``security.protocol``.
    """

    def __init__(self, brokers: str, settings: Mapping[str, Any]) -> None:
        self.brokers = brokers
        self._settings = settings
        self._refusal: KafkaError | None = None
        self._is_away = False

    def options(self, defaults: Mapping[str, Any] | None = None, **ours: Any) -> dict[str, Any]:
        """Return a client's settings: defaults, the user's, and those that are ours alone, with underscores for dots.

        Raises
        ------
        ConfigError
            If the user sets one that is ours.
        """
        own = {name.replace("_", "."): value for name, value in ours.items()}
        if taken := [name for name in own if name in self._settings]:
            raise ConfigError(f"settings.{taken[0]} can't be set: the run needs its own")
        return {
            "bootstrap.servers": self.brokers,
            "reconnect.backoff.max.ms": 5000,
            "log_level": 0,  # what matters comes as an error
            **(defaults or {}),
            **self._settings,
            **own,
            "error_cb": self._note,
        }

    def client(self, kind: Callable[[dict[str, Any]], T], options: dict[str, Any]) -> T:
        """Make a client.

        Raises
        ------
        ConfigError
            If librdkafka doesn't know a setting or its value.
        """
        try:
            return kind(options)
        except KafkaException as error:
            raise ConfigError(f"settings: {error.args[0].str()}") from None

    def check(self) -> None:
        """Raise the error with which the cluster refuses us, if it does."""
        if self._refusal is not None:
            raise self.error(self._refusal)

    @property
    def is_away(self) -> bool:
        """Whether no broker answers, as far as the client has said."""
        return self._is_away

    def is_back(self) -> None:
        """Note that the cluster has answered."""
        if self._is_away:
            log.info("Kafka at %s answers again", self.brokers)
        self._is_away = False

    def error(self, error: KafkaError | KafkaException) -> StreammixError:
        """Return an error in our words: whether trying again may help."""
        cause = error.args[0] if isinstance(error, KafkaException) else error
        if self._refusal is not None or cause.code() in REFUSALS:
            return StreammixError(f"Kafka at {self.brokers} refuses us: {(self._refusal or cause).str()}")
        if cause.code() in AWAY:
            return UnavailableError(f"Kafka at {self.brokers} does not answer: {cause.str()}")
        return UnavailableError(f"Kafka: {cause.str()}")

    def topic_ids(self, topics: list[str]) -> dict[str, str]:
        """Return what tells topics from others of their names, as far as the cluster says."""
        ids = {}
        admin = self.client(AdminClient, self.options())
        for topic, found in admin.describe_topics(TopicCollection(topics), request_timeout=TIMEOUT).items():
            try:
                ids[topic] = str(found.result().topic_id)
            except KafkaException as error:
                log.debug("Kafka does not say the id of %s: %s", topic, error)
        return ids

    def _note(self, error: KafkaError) -> None:
        """Take an error that belongs to no call."""
        if error.code() in REFUSALS:
            self._refusal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN and not self._is_away:
            self._is_away = True
            log.warning("Kafka at %s does not answer; waiting for it", self.brokers)
        else:
            log.debug("Kafka: %s", error.str())


def beside(work: Callable[[], object], is_enough: Callable[[], bool]) -> bool:
    """Do something that a client may take long for; tell whether it was done before that was enough.

    What is given up goes on beside us.
    """
    failures: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.01)
        if thread.is_alive() and is_enough():
            return False
    if failures:
        raise failures[0]
    return True


def close_consumer(consumer: Consumer, in_use: AbstractContextManager[object] = nullcontext()) -> None:  # noqa: B008
    """Close a consumer, once it is not in use; where brokers don't answer it goes on closing beside us."""
    begin = time.monotonic()

    def close() -> None:
        with in_use:
            consumer.close()

    beside(close, lambda: is_over(begin, CLOSING_SECONDS, STOPPING_SECONDS))
