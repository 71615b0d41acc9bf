"""What the program says while it works goes to standard error; results alone go to standard output."""

import logging

from rich.console import Console
from rich.logging import RichHandler

__all__ = ["result_console", "set_up"]

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
