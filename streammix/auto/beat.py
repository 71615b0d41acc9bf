"""Beats, the mini-batches that move every line, and ticks, ten beats that end with a judgement."""

from dataclasses import dataclass

__all__ = ["BEAT", "TICK", "Beat", "share_of_beat"]

BEAT, TICK = 50, 500  # records


def share_of_beat(n_lines: int) -> int:
    """Return how many records there are from one line's turn to the next: an even part of a beat that has them all."""
    return max(size for size in range(1, BEAT + 1) if BEAT % size == 0 and size * n_lines <= BEAT)


@dataclass
class Beat:
    """A beat that the lines are taking in.

    Parameters
    ----------
    n
        Its records.
    at
        How many records there were in the reservoir, of all time, at its end.
    now
        How many the model had seen.
    turn
        The line that is next.
    scores
        The sum of the log densities of each line so far.
    """

    n: int
    at: int
    now: int
    turn: int
    scores: list[float]
