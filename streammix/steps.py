"""Work in steps: a generator that yields after each, and returns what it comes to."""

from collections.abc import Generator
from typing import TypeVar

__all__ = ["Steps", "at_once"]

T = TypeVar("T")
Steps = Generator[None, None, T]


def at_once(steps: Steps[T]) -> T:
    """Take all steps; return what they come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
