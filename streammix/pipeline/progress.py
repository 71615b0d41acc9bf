"""How a run is going: a live display on a terminal, plain log lines otherwise."""

import logging
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.table import Table

from streammix.pipeline.flow import Refusal

__all__ = ["LiveProgress", "LogProgress", "Progress", "Tally"]

log = logging.getLogger("streammix")

LIVE_SECONDS = 0.2
LOG_SECONDS = 1.0


@dataclass(slots=True)
class Tally:
    """What a run has done so far.

    Parameters
    ----------
    records, rejected
        Of the whole stream, earlier runs included.
    lag
        How many records the source has that were not read yet; None where it can't tell.
    """

    records: int = 0
    rejected: int = 0
    new_records: int = 0
    new_rejected: int = 0
    scored: int = 0
    log_density: float = 0.0
    first_refusal: str = ""
    lag: int | None = None
    started: float = field(default_factory=time.monotonic)

    def add(self, records: int, refused: list[Refusal], log_density: NDArray[np.float64]) -> None:
        """Count a batch."""
        self.records += records
        self.new_records += records
        self.rejected += len(refused)
        self.new_rejected += len(refused)
        if refused and not self.first_refusal:
            self.first_refusal = f"{refused[0].source} at {refused[0].offset}: {refused[0].reason}"
        # exactly 0 stands for a record of the warm-up; a record outside every component has no finite density
        self.scored += int(np.count_nonzero(known := log_density[np.isfinite(log_density)]))
        self.log_density += float(known.sum())

    @property
    def rate(self) -> float:
        """Records a second in this run."""
        return self.new_records / max(time.monotonic() - self.started, 1e-9)

    @property
    def mean_log_density(self) -> float | None:
        """Of the records that this run has scored; None while warming up."""
        return self.log_density / self.scored if self.scored else None

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

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()
        self._when = 0.0

    def show(self, tally: Tally, weights: NDArray[np.float64] | None, is_last: bool = False) -> None:
        """Draw, if it is time."""
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
