"""What is wrong with a line that the decoder refused: the field, the value, and what was expected."""

import json
import re
from typing import Any

from streammix.core.values import short

__all__ = ["what_is_wrong"]

# a text, whole or cut short, and the colon that makes it a key: what is in a text is never taken for the start of one
_TEXT = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"(\s*+:)?|\\?\Z)', re.DOTALL)
_PLACE = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_HALF = re.compile("[\ud800-\udfff]")
_MAY_BE_ODD = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
_SHOWN = 400  # bytes, of which all that a sentence has room for can be made


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
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    words = str(error)
    if isinstance(error, UnicodeDecodeError) or "UTF-8" in words:
        return _no_text(text) or f"not UTF-8: {words}"
    if ("out of range" in words or _MAY_BE_ODD.search(text)) and (odd := _find_odd(text)):
        return odd
    words = words.replace("`", "").replace("Expected object", "expected a JSON object")
    if place := _PLACE.match(words):
        at = int(place[2])
        key = _last_key(text, at + 1)
        got = text[key.end() if key else 0 :].strip()[:_SHOWN].decode("utf-8", "replace")
        return f"{_field(text, at)}expected JSON, got {short(got)} ({place[1]}, byte {at})"
    if "truncated" in words:
        return f"{_field(text, len(text))}expected a whole JSON object, got one that is cut short"
    return words.replace(" - at $", " at $")


def _no_text(text: bytes) -> str | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"{_field(text, error.start)}not UTF-8: {error.reason} 0x{text[error.start]:02x}"
    return None


def _last_key(text: bytes, end: int) -> re.Match[bytes] | None:
    """The last key before a place."""
    last = None
    for found in _TEXT.finditer(text, 0, end):
        if found[2]:
            last = found
    return last


def _field(text: bytes, end: int) -> str:
    """The last key before a place, as a sentence begins with it."""
    key = _last_key(text, end)
    return f"field {key[1].decode('utf-8', 'replace')!r}: " if key else ""


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
    """The first of what is odd in a value, however deeply that is nested."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Odd):
            return value
        if isinstance(value, str) and _HALF.search(value):
            return _Odd.made(value, "text without half of a surrogate pair")
        if isinstance(value, dict | list):
            waiting.extend(reversed(value.values() if isinstance(value, dict) else value))
    return None
