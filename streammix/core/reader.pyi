from collections.abc import Callable, Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.rules import Rules
from streammix.errors import RecordError

_Floats = NDArray[np.float64]

class Reader:
    n_columns: int
    rules: Rules
    new_fields: list[tuple[str, Any]]
    @property
    def unseen(self) -> list[tuple[int, Any]]: ...
    def __init__(
        self,
        rules: list[Any],
        externals: list[Any],
        explain: Callable[[int, Any], str],
        compositions: list[Any] = ...,
    ) -> None: ...
    def look_out(self, ignored: Container[str] | None, constant: dict[str, float], awaited: Container[str]) -> None: ...
    def row(self, x: dict[Any, Any]) -> tuple[_Floats, list[tuple[int, Any]]]: ...
    def rows(
        self, records: list[Any]
    ) -> tuple[_Floats, list[int], list[tuple[int, int, Any]], list[tuple[int, RecordError]]]: ...
