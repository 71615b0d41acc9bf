"""Values of fields that nobody declared, as plain ones, which a checkpoint can hold; and what a record may weigh."""

import math
from typing import Any

from streammix.core.times import is_time
from streammix.core.values import LONGEST_TEXT, is_missing, is_sound_text, of_magnitude, plain_of, short
from streammix.errors import RecordError

__all__ = ["IMPOSSIBLE", "LARGEST_WEIGHT", "check_weight", "kind_of", "number", "plain_value", "present"]

IMPOSSIBLE = "no component gives the record a positive density"
LARGEST_WEIGHT = 1e100  # of a record
_KINDS = {float: "number", int: "number", bool: "number", str: "text"}
NESTED = (dict, list, tuple, set, frozenset, bytes, bytearray)


def kind_of(value: Any) -> str | None:
    """Return what a value is: text, a time, a number (booleans are), a list or an object; None where it is missing.

    Examples
    --------
    >>> [kind_of(value) for value in ("2026-01-01", True, [1], None)]
    ['text', 'number', 'list or object', None]
    """
    kind = _KINDS.get(type(value))
    if kind is not None and value == value:  # the commonest
        return kind
    value = plain_of(value)
    if is_missing(value) or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        return "text"
    if is_time(value):
        return "time"
    return "list or object" if isinstance(value, NESTED) else "number"


def plain_value(name: str, value: Any, largest: float) -> Any:
    """Return a value as a plain bool, float, str or None; of text that is too long, as much as shows it.

    Raises
    ------
    RecordError
        If it is infinite, or anything else.
    """
    if type(value) is float and abs(value) <= largest and value - value == 0.0:  # the commonest
        return value
    value = plain_of(value)
    if is_missing(value):
        return None
    if hasattr(value, "item") and hasattr(value, "dtype") and value.dtype.kind in "biufU":
        value = value.item() if getattr(value, "ndim", 1) == 0 else value
    if isinstance(value, str):
        if not is_sound_text(value):
            raise RecordError(f"field {name!r}: expected text without surrogate pairs, got {short(value)}", field=name)
        return str.__str__(value)[: LONGEST_TEXT + 1]
    if isinstance(value, bool):
        return value
    if isinstance(value, int) or (hasattr(type(value), "__float__") and not hasattr(value, "dtype")):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("inf")
        if number != number:
            return None
        if abs(number) <= largest and abs(number) != math.inf:
            return number
    expected = of_magnitude("a finite number, a string or a boolean", value, largest)
    raise RecordError(f"field {name!r}: expected {expected}, got {short(value)}", field=name)


def present(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record without what is missing, in one order, however it was written."""
    return {name: record[name] for name in sorted(record) if record[name] is not None}


def number(value: Any) -> Any:
    """Return a boolean as the number that it is, any other value as it is."""
    return float(value) if isinstance(value, bool) else value


def check_weight(weight: float) -> None:
    """Refuse a weight that is not a positive number of a sensible size."""
    if not 0.0 < weight <= LARGEST_WEIGHT:
        raise RecordError(f"a record's weight must be a positive number up to {LARGEST_WEIGHT:g}, not {weight!r}")
