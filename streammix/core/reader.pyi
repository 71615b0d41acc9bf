from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.errors import RecordError

_Floats = NDArray[np.float64]

UNSEEN: int

class Reader:
    n_columns: int
    rules: list[tuple[Any, ...]]
    unseen: list[tuple[int, Any]]
    new_fields: list[tuple[str, Any]]
    def __init__(
        self,
        rules: list[Any],
        externals: list[Any],
        explain: Callable[[int, Any], str],
        compositions: list[Any] = ...,
    ) -> None: ...
    def look_out(self, ignored: Collection[str] | None, constant: dict[str, float]) -> None: ...
    def row(self, x: dict[Any, Any]) -> tuple[_Floats, list[tuple[int, Any]]]: ...
    def rows(
        self, records: list[Any]
    ) -> tuple[_Floats, list[int], list[tuple[int, int, Any]], list[tuple[int, RecordError]]]: ...

def transformed_column(kind: str, values: _Floats) -> _Floats: ...
def fits_composition(total: float, gaps: int, size: int) -> bool: ...
def explain_composition(names: Sequence[str], total: float, gaps: int) -> str: ...
