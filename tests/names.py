"""Names for the values that tests are run with: the same in each run."""

from types import FunctionType

__all__ = ["name_of"]


def name_of(value: object) -> str:
    """Its repr, but by name what has an address in it: functions, and distributions of scipy.stats."""
    if isinstance(value, FunctionType):
        return value.__name__
    distribution = getattr(getattr(value, "dist", None), "name", None)
    return repr(value) if distribution is None else f"{distribution}{getattr(value, 'args', ())}"
