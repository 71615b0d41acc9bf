# cython: language_level=3
"""Times as angles: hours of the day, days of the week, by the clock and calendar that they are written in."""

import re
from datetime import date, datetime, time, timedelta

import numpy as np

from streammix.core.values import is_missing

DAY_NS = 86_400_000_000_000
HOUR_NS = 3_600_000_000_000
THURSDAY = 3  # 1970-01-01, counted from Monday
TIME_TYPES = (date, time, timedelta, np.datetime64, np.timedelta64)

_DATE = r"(\d{4})-(\d{2})-(\d{2})"
_CLOCK = r"(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,18}))?)?"
_ZONE = r" ?(?:[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)"
_RARELY = re.compile(
    rf"\d{{4}}-?(?:\d{{2}}-?\d{{2}}|W\d{{2}}-?\d)T\d{{2}}(?::?\d{{2}}(?::?\d{{2}}(?:[.,]\d{{1,18}})?)?)?(?:{_ZONE})?", re.ASCII
)
_WRITTEN = re.compile(rf"(?:{_DATE}(?:[Tt ]{_CLOCK}(?:{_ZONE})?)?|{_CLOCK}(?:{_ZONE})?)", re.ASCII)


def written_time(text):
    """(days since 1970 or None, nanoseconds of the day or None) of a date, a time of the day or both in ISO 8601, by
    the clock that it shows; None where it is something else. The basic form, week dates and hours alone are understood
    where there are a date, a T and a time."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return _days_and_ns(_rarely_written(text))
    year, month, day = found.group(1, 2, 3)
    hour, minute, second, digits = found.group(4, 5, 6, 7) if year else found.group(8, 9, 10, 11)
    days = ns = None
    if year:
        try:
            days = date(int(year), int(month), int(day)).toordinal() - 719_163
        except ValueError:
            return None
    if hour:
        seconds = 3600 * int(hour) + 60 * int(minute) + int(second or 0)
        is_clock = int(hour) < 24 and int(minute) < 60 and int(second or 0) <= 60
        ns = seconds * 1_000_000_000 + int((digits or "0")[:9].ljust(9, "0"))
        if not is_clock and ns != DAY_NS:  # 24:00 ends a day
            return None
    return days, ns


def _rarely_written(text):
    """The datetime of such text as 20260131T0930Z, 2026-W05-6T09:30 and 2026-01-31T09; None where it is none."""
    if _RARELY.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _days_and_ns(value):
    """As `written_time`, of a datetime, date or time; None of None."""
    if value is None:
        return None
    days = value.toordinal() - 719_163 if isinstance(value, date) else None
    ns = None
    if isinstance(value, (datetime, time)):
        seconds = 3600 * value.hour + 60 * value.minute + value.second
        ns = seconds * 1_000_000_000 + value.microsecond * 1000 + getattr(value, "nanosecond", 0)
    return days, ns


def is_time(value):
    """Whether a value is a time, a date or a duration, or text that is written like a time or a date."""
    return isinstance(value, TIME_TYPES) or (isinstance(value, str) and written_time(value) is not None)


def angle(days, ns, bint of_week):
    """Hours of the day, or days of the week from Monday; None where that is not known."""
    if not of_week:
        return None if ns is None else ns / HOUR_NS
    return None if days is None else ((days + THURSDAY) % 7 * DAY_NS + (ns or 0)) / DAY_NS


def time_of(value, bint of_week):
    """Hours of the day (0 to 24), or days of the week (0 to 7, from Monday) of a time; None where it is none."""
    if isinstance(value, str):
        found = written_time(value)
        return None if found is None else angle(found[0], found[1], of_week)
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            return float("nan")
        days = value.astype("datetime64[D]")
        if np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D"):
            return angle(int(days.astype(np.int64)), None, of_week)
        rest = (value - days).astype("timedelta64[ns]")
        return angle(int(days.astype(np.int64)), int(rest.astype(np.int64)), of_week)
    days, ns = _days_and_ns(value)
    return angle(days, ns, of_week)


def ticks_as_angles(ticks, long per_second, bint of_week):
    """Angles of counts of an even part of a second since 1970, or (of days, where it is 0) of dates."""
    per_day = 86_400 * per_second if per_second else 1
    days = np.floor_divide(ticks, per_day)
    ns = (ticks - days * per_day) * (1_000_000_000 // per_second if per_second else 0)
    return (np.mod(days + THURSDAY, 7) * DAY_NS + ns) / DAY_NS if of_week else ns / HOUR_NS
