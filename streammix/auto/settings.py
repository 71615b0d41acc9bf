"""What holds for all lines of a supervised mixture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Settings"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Settings:
    """What holds for all lines.

    Parameters
    ----------
    step
        The champion's step.
    experts, alarms
        Whether there are any.
    averages
        Whether the champion's average is taken.
    by_time
        Whether records weigh less as event time goes by.
    spread
        Of the background's density, where there is one.
    """

    step: tuple[int, float]
    experts: bool
    alarms: bool
    averages: bool
    by_time: bool = False
    spread: FloatArray | None = None
