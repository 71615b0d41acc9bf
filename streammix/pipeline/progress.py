"""How a run is going: a live display on a terminal, plain log lines otherwise."""

import logging
import time
from collections import Counter
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from streammix.mixture import Mixture
from streammix.pipeline.flow import Refusal

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LiveProgress", "LogProgress", "Progress", "Tally", "Watch"]

log = logging.getLogger("streammix")

LIVE_SECONDS = 0.2
STEPS = 256
LARGEST = 1e9
LOG_SECONDS = 1.0


@dataclass(slots=True)
class Tally:
    """What a run has done so far.

    Parameters
    ----------
    records, rejected
        Of the whole stream, earlier runs included.
    scored, log_density
        How many records have a finite log density, and the sum of those, likewise. Each is rounded to 1/256 (and cut
        at a thousand million), so that the sum is exact: the same however the stream was cut.
    new_records, new_rejected
        Of this run.
    reasons
        How many records this run has refused, by class of reasons.
    lag
        How many records the source has that were not read yet; None where it can't tell.
    """

    records: int = 0
    rejected: int = 0
    scored: int = 0
    log_density: float = 0.0
    new_records: int = 0
    new_rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first_refusal: str = ""
    lag: int | None = None
    started: float = field(default_factory=time.monotonic)
    _before: tuple[int, float] = (0, 0.0)

    def __post_init__(self) -> None:
        self._before = self.scored, self.log_density

    def stand_at(self, records: int, rejected: int = 0, scored: int = 0, log_density: float = 0.0) -> None:
        """Go to where a checkpoint stands, after this tally or before."""
        self.new_records += records - self.records
        self.new_rejected += rejected - self.rejected
        self.records, self.rejected, self.scored, self.log_density = records, rejected, scored, log_density

    def copy(self) -> "Tally":
        """Return the tally as it stands."""
        twin = copy(self)
        twin.reasons = self.reasons.copy()
        return twin

    def add(self, records: int, refused: list[Refusal], log_density: NDArray[np.float64]) -> None:
        """Count a batch."""
        self.records += records
        self.new_records += records
        self.rejected += len(refused)
        self.new_rejected += len(refused)
        self.reasons.update(refusal.kind for refusal in refused)
        # exactly 0 stands for a record of the warm-up; a record outside every component has no finite density
        known = log_density if (finite := np.isfinite(log_density)).all() else log_density[finite]
        self.scored += int(np.count_nonzero(known))
        self.log_density += float(np.rint(known.clip(-LARGEST, LARGEST) * STEPS).sum()) / STEPS

    @property
    def rate(self) -> float:
        """Records a second in this run."""
        return self.new_records / max(time.monotonic() - self.started, 1e-9)

    @property
    def mean_log_density(self) -> float | None:
        """Of the records that this run has scored; None while warming up."""
        scored = self.scored - self._before[0]
        return (self.log_density - self._before[1]) / scored if scored else None

    def lines(self, weights: NDArray[np.float64] | None) -> dict[str, str]:
        """Return the tally in words, by what is told.

        Examples
        --------
        >>> tally = Tally(records=1200, rejected=1)
        >>> tally.lines(None)["records"], tally.lines(None)["mean log density"]
        ('1,200', 'not yet')
        """
        mean = self.mean_log_density
        lag = {} if self.lag is None else {"lag": f"{self.lag:,}"}
        return {
            "records": f"{self.records:,}",
            "records/s": f"{self.rate:,.0f}",
            "mean log density": "not yet" if mean is None else f"{mean:.4f}" if abs(mean) < 1e6 else f"{mean:.4g}",
            "weights": "warming up" if weights is None else " ".join(f"{weight:.3f}" for weight in weights),
            "rejected": f"{self.rejected:,}",
            **lag,
        }


class Watch(Protocol):
    """Who looks on while a run goes on."""

    def took(self, tally: Tally, model: Mixture) -> None:
        """Hear of a turn of the loop: a batch was learnt, or there was none."""

    def restored(self, age: float, size: int) -> None:
        """Hear of the checkpoint that the run goes on from: written how many seconds ago, and its bytes."""

    def checkpointed(self, seconds: float, size: int) -> None:
        """Hear of a checkpoint: how long it took, with all that had to be made durable, and its bytes."""


class Progress(Protocol):
    """What a run tells of itself."""

    def show(self, tally: Tally, weights: NDArray[np.float64] | None, is_last: bool = False) -> None:
        """Tell the tally after a batch, if it is time."""

    def close(self) -> None:
        """Be done."""


class LogProgress:
    """One log line every so many records, and at most one a second.

    Parameters
    ----------
    every
        So many.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._told = 0
        self._when = time.monotonic()

    def show(self, tally: Tally, weights: NDArray[np.float64] | None, is_last: bool = False) -> None:
        """Log a line, if it is time."""
        if tally.new_records - self._told >= self._every and time.monotonic() - self._when >= LOG_SECONDS:
            self._told, self._when = tally.new_records, time.monotonic()
            log.info(", ".join(f"{what} {value}" for what, value in tally.lines(weights).items()))

    def close(self) -> None:
        """Do nothing."""


class LiveProgress:
    """A display that is drawn over a few times a second.

    Parameters
    ----------
    console
        The terminal.
    """

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False)
        self._live.start()
        self._when = 0.0

    def show(self, tally: Tally, weights: NDArray[np.float64] | None, is_last: bool = False) -> None:
        """Draw, if it is time."""
        from rich.table import Table

        if not is_last and time.monotonic() - self._when < LIVE_SECONDS:
            return
        self._when = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for what, value in tally.lines(weights).items():
            table.add_row(f"[dim]{what}[/dim]", value)
        self._live.update(table, refresh=True)

    def close(self) -> None:
        """Leave the last drawing on the screen."""
        self._live.stop()
