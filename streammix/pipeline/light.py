"""A process of the command line loads what it needs, and no more."""

import sys
from typing import Any

import pyarrow as pa

__all__ = ["leave_out_pandas"]


class _WithoutPandas:
    """An importer that finds no pandas."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}")


def leave_out_pandas() -> None:
    """Keep pyarrow from loading pandas, as it does at its first array, to ask whether what it is given is a series.

    That is a third of a second and 60 MB. For processes in which nobody makes a frame of a table: pyarrow won't find
    pandas any more, everybody else does.
    """
    finder: Any = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array(())
    finally:
        sys.meta_path.remove(finder)
