"""Checkpoints on object storage: finished bytes in one conditional PUT each, by one writer at a time.

Two writers can never both go on. Each counts on from the number of the last checkpoint that it took or wrote, and a
checkpoint is put only where there is none of its number; so of two writers one finds its number taken, or, when what
the other one wrote was removed since, a larger number there, and stops. No clock is part of that.

A claim, one more object, refuses the second writer before it reads a record. Who holds it renews it every few seconds,
each time on the condition that nobody else has. Who comes and finds it held watches: if it is renewed, its holder is
alive; if not, the holder was killed, and the newcomer takes over.
"""

import contextlib
import logging
import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from streammix.errors import AwayError, CheckpointError, ConfigError, SupersededError

__all__ = ["Bucket", "is_url"]

log = logging.getLogger("streammix")

CLAIM = "_writer"
RENEW_SECONDS = 5.0
TAKE_OVER_SECONDS = 15.0
PATIENCE = timedelta(seconds=10)  # how long a request is tried again where the store doesn't answer
_STATUS = re.compile(r"status code: (\d+)( [A-Z][A-Za-z ]+)")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def is_url(place: Any) -> bool:
    """Tell whether checkpoints lie on object storage.

    Examples
    --------
    >>> is_url("s3://bucket/state"), is_url("state"), is_url("C:/state")
    (True, False, False)
    """
    return isinstance(place, str) and re.match(r"\w+://", place) is not None


class Bucket:
    """The objects under one prefix.

    Credentials, region and endpoint come from the environment: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
    ``AWS_REGION``, ``AWS_ENDPOINT_URL``, or the machine's role.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``.
    number_of
        The number of a checkpoint by its object's name; 0 for other objects.
    readonly
        No claim is made, nothing is put or removed.

    Raises
    ------
    CheckpointError
        If another writer has the prefix, or the store refuses us or has no such bucket.
    AwayError
        If the store can't be reached just now.
    ConfigError
        If the URL is of another kind, or obstore is missing.
    """

    def __init__(self, url: str, number_of: Callable[[str], int], readonly: bool) -> None:
        if not re.fullmatch(r"s3://[^/]+(/.*)?", url):
            raise ConfigError(f"{url}: checkpoints on object storage lie at s3://bucket/prefix")
        self.path = url.rstrip("/")
        self._number_of = number_of
        self._store = _open(self.path)
        self._claim: _Claim | None = None
        self._last = 0
        self._unheard: tuple[str, bytes] | None = None
        if readonly:
            return
        with _saying(self.path):
            self._claim = _Claim(self._store, self.path)
            # what wasn't closed lets go when it is gone, at the latest when Python ends
            self._release = weakref.finalize(self, self._claim.release)
            self._last = self._newest()

    @property
    def is_open(self) -> bool:
        """Whether the claim is held, as far as is known."""
        return self._claim is not None and self._release.alive

    def place(self, name: str) -> str:
        """Return the URL of an object."""
        return f"{self.path}/{name}"

    def names(self) -> list[str]:
        """Return the names of all objects."""
        import obstore

        with _saying(self.path):
            found = obstore.list_with_delimiter(self._store)["objects"]
        return [entry["path"].rpartition("/")[2] for entry in found]

    def read(self, name: str) -> bytes:
        """Return an object's bytes; FileNotFoundError if it is gone."""
        import obstore

        try:
            return bytes(obstore.get(self._store, name).bytes())
        except obstore.exceptions.BaseError as error:
            raise _in_words(self.place(name), error) from None

    def check(self) -> None:
        """Leave it to `write`, which is told whether this is still the only writer."""

    def write(self, name: str, data: bytes) -> None:
        """Put an object that is not there yet, if this is still the only writer."""
        import obstore

        superseded = SupersededError(f"{self.path}: another writer has gone on from here, and this one stops")
        assert self._claim is not None
        self._look_for_unheard()
        if self._claim.is_lost or self._number_of(name) != self._last + 1:
            raise superseded
        self._unheard = name, data
        with _saying(self.place(name)):
            try:
                obstore.put(self._store, name, data, mode="create")
            except obstore.exceptions.AlreadyExistsError:
                # a request that is tried again may find what it has put before
                if not self._holds(name, data):
                    raise superseded from None
        self._unheard = None
        self._last += 1
        if self._newest() != self._last:
            raise superseded

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        import obstore

        with _saying(self.place(name)), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def close(self) -> None:
        """Let another writer in."""
        if self._claim is not None:
            self._release()

    def _look_for_unheard(self) -> None:
        """Count what the last request has put, where its answer was lost."""
        if self._unheard is not None:
            self._last += self._holds(*self._unheard)
            self._unheard = None

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.read(name) == data
        except FileNotFoundError:
            return False

    def _newest(self) -> int:
        return max(map(self._number_of, self.names()), default=0)


class _Claim:
    """The object that says who writes; it is renewed until it is released or lost."""

    def __init__(self, store: Any, url: str) -> None:
        import obstore

        self.is_lost = False
        self._store = store
        self._own = secrets.token_hex(16)
        refused = CheckpointError(f"{url}: another writer is using these checkpoints")
        try:
            before = _Seen.of(store)
            if before is not None and before.owner:
                words = "%s: the last writer has not let go; looking for %g seconds whether it is alive"
                log.info(words, url, TAKE_OVER_SECONDS)
                if _is_renewed(store, before):
                    raise refused
            self._version = self._put("create" if before is None else {"e_tag": before.e_tag})
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            raise refused from None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Say that nobody writes."""
        self._stop.set()
        self._thread.join(RENEW_SECONDS)
        if not self.is_lost:
            with contextlib.suppress(Exception):  # the next writer will have to wait, that is all
                self._put(self._version, b"")

    def _put(self, mode: Any, said: bytes | None = None) -> Any:
        import obstore

        # each renewal is another text, and so another tag
        text = f"{self._own} {secrets.token_hex(8)}".encode() if said is None else said
        return {"e_tag": obstore.put(self._store, CLAIM, text, mode=mode)["e_tag"]}

    def _renew(self) -> None:
        while not self.is_lost and not self._stop.wait(RENEW_SECONDS):
            try:
                self._renew_once()
            except Exception as error:  # whether the claim still stands is seen the next time
                log.debug("the claim can't be renewed just now: %s", _reason(error))

    def _renew_once(self) -> None:
        import obstore

        try:
            self._version = self._put(self._version)
        except obstore.exceptions.PreconditionError:
            seen = _Seen.of(self._store)
            if seen is None or seen.owner != self._own:
                self.is_lost = True
            else:  # a request that was tried again had succeeded before
                self._version = {"e_tag": seen.e_tag}


class _Seen(NamedTuple):
    """A claim, as it lies in the store."""

    owner: str  # empty: nobody
    e_tag: str

    @classmethod
    def of(cls, store: Any) -> "_Seen | None":
        import obstore

        try:
            found = obstore.get(store, CLAIM)
        except FileNotFoundError:
            return None
        return cls(bytes(found.bytes()).decode(errors="replace").partition(" ")[0], str(found.meta["e_tag"]))


def _is_renewed(store: Any, before: _Seen) -> bool:
    """Watch a claim for as long as it takes to tell."""
    begin = time.monotonic()
    while time.monotonic() - begin < TAKE_OVER_SECONDS:
        time.sleep(RENEW_SECONDS / 2)
        if _Seen.of(store) != before:
            return True
    return False


def _open(url: str) -> Any:
    """The store of a URL; nothing is asked of it yet."""
    try:
        from obstore.store import from_url
    except ModuleNotFoundError:
        raise ConfigError(f"{url}: checkpoints on object storage need obstore: pip install 'streammix[s3]'") from None
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    return from_url(
        url,
        config={} if endpoint is None else {"endpoint": endpoint},
        client_options={"allow_http": endpoint is not None and endpoint.startswith("http://")},
        retry_config={"retry_timeout": PATIENCE},
    )


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    """Turn the store's errors into a sentence."""
    import obstore

    try:
        yield
    except (obstore.exceptions.BaseError, FileNotFoundError) as error:  # the bucket itself may be what isn't found
        raise _in_words(what, error) from None


def _in_words(what: str, error: Exception) -> CheckpointError:
    """Return an error of ours: whether trying again may help."""
    status = _STATUS.search(str(error))
    is_passing = (
        status[1] in ("408", "429") or status[1] >= "500" if status else not isinstance(error, FileNotFoundError)
    )
    return (AwayError if is_passing else CheckpointError)(f"{what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """The store's answer, in a few words: what comes with it goes over pages."""
    text = str(error)
    status = _STATUS.search(text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if status is None:
        return f"the store can't be used: {text.partition(chr(10))[0].rpartition(' - ')[2][:200]}"
    return f"the store answers {status[1]}{status[2]}" + (f" ({code[1]})" if code else "")
