from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

KINDS: dict[str, int]
UNSEEN: int

class Rules:
    given: list[tuple[Any, ...]]
    n_columns: int
    def __len__(self) -> int: ...

def transformed_column(kind: str, values: _Floats) -> _Floats: ...
def fits_composition(total: float, gaps: int, size: int) -> bool: ...
def explain_composition(names: Sequence[str], total: float, gaps: int) -> str: ...
