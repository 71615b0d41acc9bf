"""What is wrong with a line that the decoder refused: the field, the value, and what was expected."""

import json
import re
from typing import Any

from streammix.core.values import short

__all__ = ["what_is_wrong"]

_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:')
_PLACE = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_HALF = re.compile("[\ud800-\udfff]")


class _Odd(str):
    """What JSON has no place for, and in the place of what it stands."""

    expected = ""

    @classmethod
    def constant(cls, text: str) -> "_Odd":
        return cls.made(text, "a number, or null where it is missing")

    @classmethod
    def made(cls, text: str, expected: str) -> "_Odd":
        odd = cls(text)
        odd.expected = expected
        return odd


def what_is_wrong(error: Exception, text: bytes) -> str:
    """Say in one sentence why a text is no JSON object.

    Examples
    --------
    >>> what_is_wrong(ValueError("JSON is malformed: invalid character (byte 6)"), b'{"a": NaN}')
    "field 'a': expected a number, or null where it is missing, got NaN"
    >>> what_is_wrong(ValueError("JSON is malformed: expected ',' or '}' (byte 8)"), b'{"a": 1 2}')
    "field 'a': expected JSON, got '1 2}' (expected ',' or '}', byte 8)"
    """
    if isinstance(error, UnicodeDecodeError):
        return _no_text(text) or f"not UTF-8: {error.reason} 0x{error.object[error.start]:02x}"
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    if odd := _find_odd(text):
        return odd
    words = str(error).replace("`", "").replace("Expected object", "expected a JSON object")
    if place := _PLACE.match(words):
        keys = list(_KEY.finditer(text, 0, int(place[2]) + 1))
        got = text[keys[-1].end() if keys else 0 :].strip().decode("utf-8", "replace")
        return f"{_field(text[: int(place[2])])}expected JSON, got {short(got)} ({place[1]}, byte {place[2]})"
    if "truncated" in words:
        return f"{_field(text)}expected a whole JSON object, got one that is cut short"
    return words.replace(" - at $", " at $")


def _no_text(text: bytes) -> str | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"{_field(text[: error.start])}not UTF-8: {error.reason} 0x{text[error.start]:02x}"
    return None


def _field(text: bytes) -> str:
    """The last key of a text, as a sentence begins with it."""
    keys = _KEY.findall(text)
    return f"field {keys[-1].decode('utf-8', 'replace')!r}: " if keys else ""


def _find_odd(text: bytes) -> str | None:
    """Say which field has a value that Python's own decoder takes but JSON, or a double, does not."""
    try:
        record = json.loads(text, parse_constant=_Odd.constant, parse_float=_number, parse_int=_number)
    except (ValueError, RecursionError):
        return None
    for name, value in record.items() if isinstance(record, dict) else ():
        if _HALF.search(name):
            return f"a field's name must be text without half of a surrogate pair, not {short(name)}"
        odd = _odd_in(value)
        if odd is not None:
            got = odd if odd.expected.startswith("a number") else repr(str(odd))
            return f"field {name!r}: expected {odd.expected}, got {got if len(got) <= 80 else got[:77] + '...'}"
    return None


def _number(text: str) -> float | _Odd:
    value = float(text)
    return value if abs(value) < float("inf") else _Odd.made(text, "a number of a magnitude up to 1.8e308")


def _odd_in(value: Any) -> _Odd | None:
    if isinstance(value, _Odd):
        return value
    if isinstance(value, str):
        return _Odd.made(value, "text without half of a surrogate pair") if _HALF.search(value) else None
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((odd for odd in map(_odd_in, parts) if odd is not None), None)
