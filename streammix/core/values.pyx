# cython: language_level=3
"""What values stand for: missing ones, the keys of levels, and values as messages show them."""

from cpython.long cimport PyLong_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact

from streammix.errors import RecordError

LONGEST_TEXT = 10_000  # characters of a level
LARGEST = 1e70  # numbers beyond it are refused, but for a LogNormal: products of two variances must stay finite
LARGEST_LEVEL = 10**300  # whole numbers beyond it are no levels: a file could not hold them


cpdef object level_key(object value):
    """The key of a level: itself for text, (type's name, value) for others, so that True is not 1; None: no level."""
    if PyUnicode_CheckExact(value):
        return value
    if PyLong_CheckExact(value):
        return ("int", value) if abs(value) < LARGEST_LEVEL else None
    if value is True or value is False:
        return ("bool", value)
    if value is None or is_missing(value):
        return ("null", None)
    if hasattr(value, "dtype"):
        if value.dtype.kind not in "biufU" or value.ndim:
            return None
        value = value.item()
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        if value != value:
            return ("null", None)
        return ("int", int(value)) if value.is_integer() else None
    if isinstance(value, int):
        return ("int", int(value)) if abs(value) < LARGEST_LEVEL else None
    return None


def level_of(object key):
    """The level behind a key."""
    return key if isinstance(key, str) else key[1]


cpdef bint is_missing(object value):
    """None, and pandas's NA and NaT and NumPy's masked, which can't be compared."""
    return value is None or type(value).__name__ in ("NAType", "NaTType", "MaskedConstant")


def plain_of(value):
    """The value of one of Arrow's scalars; any other value itself."""
    if not hasattr(value, "as_py"):
        return value
    try:
        return value.as_py()
    except ValueError:  # nanoseconds, where pandas isn't there to hold them
        return value


def of_magnitude(str expected, value, largest):
    """What was expected instead of a number, with the largest magnitude where the number is beyond it."""
    if isinstance(value, (str, bytes, complex)) or (hasattr(value, "dtype") and value.dtype.kind not in "biuf"):
        return expected
    try:
        is_beyond = largest < abs(value if isinstance(value, int) else float(value)) < float("inf")
    except (TypeError, ValueError, ArithmeticError):
        return expected
    return f"{expected} of a magnitude up to {largest:g}" if is_beyond else expected


def is_sound_text(str text):
    """Whether text comes back the same from a file: two surrogate halves in a row would come back as one character."""
    return text.isascii() or text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") == text


def as_record(x):
    """A plain dict of a record given as another mapping."""
    if not hasattr(x, "keys"):
        raise RecordError(f"a record must be a dict of fields, not {short(x)}")
    return dict(x)


def listed(names):
    """The reprs of names, of many the first ten."""
    names = list(names)
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return ", ".join([short(name) for name in names[:10]]) + more


def short(value):
    """A value's repr, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # whole numbers beyond Python's limit of digits
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= 80 else text[:77] + "..."
