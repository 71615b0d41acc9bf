"""What the program says while it works goes to standard error; results alone go to standard output."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler

from streammix.errors import StreammixError

__all__ = ["naming", "result_console", "set_up"]

WIDTH_OF_A_FILE = 160


def set_up(verbose: bool) -> Console | None:
    """Send log lines to standard error; return its console if it is a terminal."""
    console = Console(stderr=True)
    if console.is_terminal:
        handler: logging.Handler = RichHandler(console=console, show_path=False)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("streammix")
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    return console if console.is_terminal else None


def result_console(stderr: bool = False) -> Console:
    """Return a console for results; where there is no terminal, tables have room enough not to wrap."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    return console


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
