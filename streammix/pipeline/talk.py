"""What the program says while it works goes to standard error; results alone go to standard output.

On a terminal it is for people. Elsewhere a long-running command writes one JSON object a line, with ``time``, ``level``
and ``message``, and ``exception`` where there is one; only a wrong configuration is told in plain words. What is known
to be secret, and passwords in URLs, never get there.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from streammix.errors import StreammixError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["is_json", "keep_secret", "naming", "set_up", "without_secrets"]

HIDDEN = "***"
SHORTEST = 8  # of the secrets that are looked for: less may well stand in a sentence
_PASSWORD = re.compile(r"(\w+://[^\s/@:]*):[^\s/@]+@")
_SECRET_VARIABLES = re.compile(r"SECRET|PASSWORD|TOKEN")
_secrets: set[str] = set()


class _JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": without_secrets(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


class _Plain(logging.Formatter):
    """Lines for people, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def set_up(verbose: bool, as_json: bool = False) -> "Console | None":
    """Send log lines to standard error; return its console if it is a terminal.

    Parameters
    ----------
    verbose
        Whether details are said as well.
    as_json
        Whether lines are JSON where there is no terminal.
    """
    _secrets.update(
        value for name, value in os.environ.items() if _SECRET_VARIABLES.search(name) and len(value) >= SHORTEST
    )
    console = None
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        console = Console(stderr=True)
        handler: logging.Handler = RichHandler(console=console, show_path=False)
        handler.setFormatter(_Plain("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(_JsonLines() if as_json else _Plain("%(asctime)s %(levelname)s %(message)s"))
    levels = {"streammix": logging.DEBUG if verbose else logging.INFO}
    for name in ("streammix", "uvicorn", "asyncio"):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(levels.get(name, logging.WARNING))
    return console


def is_json() -> bool:
    """Tell whether log lines are JSON."""
    return any(isinstance(handler.formatter, _JsonLines) for handler in logging.getLogger("streammix").handlers)


def keep_secret(text: str) -> None:
    """Let nothing that is said show a text."""
    _secrets.add(text)


def without_secrets(text: str) -> str:
    """Return a text as it may be shown.

    Examples
    --------
    >>> without_secrets("no answer from redis://user:pass@localhost:6379/0")
    'no answer from redis://user:***@localhost:6379/0'
    """
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    return _PASSWORD.sub(rf"\1:{HIDDEN}@", text)


@contextmanager
def naming(output: str | None = None) -> Iterator[None]:
    """Turn the failure to write an output, standard output if it has no name, into a sentence that names it."""
    try:
        yield
    except BrokenPipeError:  # the reader has enough: no fault of ours
        raise
    except OSError as error:
        if output is None:
            # what is still buffered has nowhere to go, and must not fail again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise StreammixError(f"{output or 'standard output'} can't be written: {error.strerror or error}") from error
