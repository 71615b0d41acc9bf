"""The running average of the statistics (Polyak and Ruppert): steadier than the statistics themselves.

The average takes the statistics in every 100 records with weight 4 / (t + 3) at the t-th time: later ones count more.
"""

from streammix.core.engine import Engine
from streammix.state import State

__all__ = ["EVERY", "take_in"]

EVERY = 100


def take_in(engine: Engine, average: State, state: State, times: int) -> None:
    """Move the average, which the engine binds, towards the statistics, for the `times`-th time."""
    engine.approach(state, 4 / (times + 3))
    average.counts[...] = state.counts
    average.clocks[...] = state.clocks
    engine.maximize()
