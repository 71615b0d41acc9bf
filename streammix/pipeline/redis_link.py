"""A connection to Redis, and its errors in words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streammix.errors import ConfigError, StreammixError, UnavailableError

__all__ = ["connect", "in_words"]

TIMEOUT = 1.5  # seconds for an answer
PASSING = ("OOM", "LOADING", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN")  # errors that pass

log = logging.getLogger("streammix")


def connect(url: str, username: str | None = None, password: str | None = None) -> Any:
    """Return a client; it connects when it is first used.

    Raises
    ------
    ConfigError
        If the address is none, or has the password in it.
    """
    if urlsplit(url).password:
        raise ConfigError('url: a password stands in no configuration file; say password = { env = "NAME" }')
    try:
        return redis.Redis.from_url(
            url,
            username=username,
            password=password,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            protocol=2,
            retry=Retry(NoBackoff(), 0),  # what failed is not simply sent again: it may have arrived
        )
    except ValueError as error:
        raise ConfigError(f"url: {url!r} is no address of Redis: {error}") from None


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turn Redis's errors into ours.

    Raises
    ------
    UnavailableError
        For what may come back: no answer, loading, out of memory, a read-only replica.
    StreammixError
        For the rest: a wrong password or a missing right among them.
    """
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise StreammixError(f"Redis refuses the credentials: {error}") from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise UnavailableError(f"Redis does not answer: {error}") from None
    except redis.ReadOnlyError as error:
        raise UnavailableError(f"Redis: {error}") from None
    except redis.ResponseError as error:
        kind = UnavailableError if str(error).startswith(PASSING) else StreammixError
        raise kind(f"Redis, {what}: {error}") from None
