from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

ARROW_KINDS: dict[str, int]

def most_responsible(responsibilities: _Floats) -> NDArray[np.int32]: ...
def table_of(rows: _Floats) -> Table: ...

class Table:
    n_rows: int
    def __init__(
        self, columns: Sequence[NDArray[Any] | tuple[int, int] | None], n_rows: int | None = None, frame: Any = None
    ) -> None: ...
    def check(self, low: _Floats, high: _Floats, whole: NDArray[np.uint8]) -> dict[int, int]: ...
    def transform(self, column: int, kind: str) -> None: ...
    def rows(self, begin: int, end: int) -> _Floats: ...
