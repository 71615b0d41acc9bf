"""Event time: what it says, and how it makes records weigh less as time goes by.

A model that forgets by event time is a running mean in which a record that comes later weighs more: by a factor of two
for each half-life. So that nothing grows without end, all weights so far are halved when a half-life is over: exactly,
as a half is a power of two. Between two halvings a record in time weighs from 1 to 2.

- A record that is late, behind the latest time so far, weighs what it would weigh by now had it come in time.
- A record without a time has the latest.
- Time in which nothing comes counts as one half-life at the most: what is known is not forgotten for want of news.
- A hundred records in a row that are more than ten half-lives late say that the clock was set back, or that one before
  them was far ahead: the time of the last of them is the latest from then on.
"""

import numbers
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from streammix.core.values import is_missing, plain_of, short
from streammix.errors import RecordError
from streammix.frames import Frame
from streammix.stepsize import HalfLife, StepSize

__all__ = ["Clock", "Look", "clock_of", "microseconds", "times_of"]

FAR = 10.0  # half-lives behind, and how many records in a row have to be
PATIENCE = 100
LATEST = 60.0  # half-lives that a late record is taken to be late, at the most: it says nothing any more
EPOCH = date(1970, 1, 1).toordinal()
DAY = 86_400_000_000
LARGEST = 1e20
SCALES = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3))  # ns, µs, ms since 1970 by their size; s below


class Look(NamedTuple):
    """What a record's time comes to: what the record weighs, and where the clock stands after it."""

    weight: float
    latest: int | None
    phase: float
    behind: int


class Clock:
    """Where event time stands.

    Parameters
    ----------
    field
        The field that holds the time.
    half_life
        In microseconds.

    Examples
    --------
    >>> clock = Clock("t", 60_000_000)
    >>> for t in (0, 30, 15, 60):
    ...     look = clock.look({"t": t})
    ...     print(round(look.weight, 3), clock.take(look))
    1.0 False
    1.414 False
    1.189 False
    2.0 True
    """

    def __init__(self, field: str, half_life: int) -> None:
        self.field = field
        self.half_life = half_life
        self.latest: int | None = None  # microseconds since 1970
        self.phase = 0.0  # half-lives since the last halving, 0 to 1
        self.behind = 0  # records in a row that were far behind

    def look(self, x: Any) -> Look:
        """Return what a record's time comes to; the clock stands still.

        Raises
        ------
        RecordError
            If it is no time.
        """
        return self.look_at(microseconds(self.field, x.get(self.field)))

    def look_at(self, time: int | None) -> Look:
        """Return what a time comes to, in microseconds since 1970."""
        latest, phase = self.latest, self.phase
        if time is None:
            return Look(2.0**phase, latest, phase, self.behind)
        if latest is None or time >= latest:
            phase += 0.0 if latest is None else min((time - latest) / self.half_life, 1.0)
            return Look(2.0**phase, time, phase, 0)
        late = (latest - time) / self.half_life
        if late <= FAR:
            return Look(2.0 ** (phase - late), latest, phase, 0)
        if self.behind + 1 == PATIENCE:
            return Look(2.0**phase, time, phase, 0)
        return Look(2.0 ** (phase - min(late, LATEST)), latest, phase, self.behind + 1)

    def take(self, look: Look) -> bool:
        """Go on after a record that was learnt; tell whether all weights so far, its own too, are to be halved."""
        self.latest, self.phase, self.behind = look.latest, look.phase, look.behind
        if self.phase < 1.0:
            return False
        self.phase -= 1.0
        return True

    def stretch(self, times: Sequence[int | None], begin: int) -> list[Look]:
        """Return what times come to, one after the other, up to the next halving or the end; the clock stands still."""
        ahead, looks = Clock(self.field, self.half_life), []
        ahead.latest, ahead.phase, ahead.behind = self.latest, self.phase, self.behind
        for i in range(begin, len(times)):
            looks.append(ahead.look_at(times[i]))
            if ahead.take(looks[-1]):
                break
        return looks

    def to_json(self) -> list[Any]:
        """Return where it stands, as JSON can hold it."""
        return [self.latest, self.phase, self.behind]

    def restore(self, document: Sequence[Any]) -> None:
        """Stand where `to_json` was called."""
        latest, phase, behind = document
        self.latest = None if latest is None else int(latest)
        self.phase, self.behind = float(phase), int(behind)


def clock_of(step_size: StepSize) -> Clock | None:
    """Return the clock of a model that forgets by event time; None of another."""
    if isinstance(step_size, HalfLife) and step_size.field is not None:
        return Clock(step_size.field, step_size.microseconds)
    return None


def microseconds(field: str, value: Any) -> int | None:
    """Return a time as microseconds since 1970, UTC; None where there is none.

    Times are datetimes and dates, of Python, NumPy, pandas or Arrow, text in ISO 8601, and numbers since 1970: seconds,
    or, from 1e11 on, milliseconds, from 1e14 microseconds, from 1e17 nanoseconds. Without a zone they are UTC.

    Raises
    ------
    RecordError
        If it is no time.

    Examples
    --------
    >>> microseconds("t", "1970-01-01T00:01:00+01:00"), microseconds("t", 1.5), microseconds("t", 1_700_000_000_000)
    (-3540000000, 1500000, 1700000000000000)
    """
    value = plain_of(value)
    if is_missing(value) or value != value:  # NaN, and NumPy's NaT
        return None
    found = None
    if isinstance(value, str):
        try:
            found = _of_datetime(datetime.fromisoformat(value.strip()))
        except ValueError:
            found = None
    elif isinstance(value, datetime):
        found = _of_datetime(value)
    elif isinstance(value, date):
        found = (value.toordinal() - EPOCH) * DAY
    elif isinstance(value, np.datetime64):
        found = int(value.astype("datetime64[us]").astype(np.int64))
    elif isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool | np.bool_):
        found = _of_number(value)
    if found is None:
        raise RecordError(
            f"field {field!r}: expected a time (a datetime, ISO 8601 text, or a number since 1970), got {short(value)}",
            field=field,
        )
    return found


def times_of(field: str, frame: Frame) -> list[int | None]:
    """Return the times of a frame's rows, as `microseconds` of each; None of all where it has no such column.

    Raises
    ------
    RecordError
        For the first row that has no time there; `row` says which.
    """
    if field not in frame.column_names:
        return [None] * frame.num_rows
    column = frame.column(field)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    found = []
    for row, value in enumerate(column.to_pylist()):
        try:
            found.append(microseconds(field, value))
        except RecordError as error:
            raise RecordError(f"row {row}: {error}", field=field, row=row) from None
    return found


def _of_datetime(value: datetime) -> int:
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    passed = aware.astimezone(UTC).replace(tzinfo=None) - datetime(1970, 1, 1)
    return passed.days * DAY + passed.seconds * 1_000_000 + passed.microseconds


def _of_number(value: Any) -> int | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    if not abs(number) < LARGEST:
        return None
    return round(number * next((scale for least, scale in SCALES if abs(number) >= least), 1e6))
