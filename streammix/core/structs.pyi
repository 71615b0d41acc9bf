from collections.abc import Callable, Collection, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from streammix.core.reader import Reader
from streammix.errors import RecordError

def line_ends(text: bytes) -> NDArray[np.int64]: ...

class Structs:
    def __init__(
        self,
        n: int,
        kind: type,
        names: list[tuple[str, str]],
        unset: object,
        decode: Callable[[int, int], list[Any] | None],
        again: Callable[[int], dict[str, Any]],
        first: int = ...,
    ) -> None: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Structs: ...
    def without(self, fields: Collection[str]) -> Structs: ...
    def rows(
        self, reader: Reader
    ) -> tuple[NDArray[np.float64], Sequence[int], list[tuple[int, int, Any]], list[tuple[int, RecordError]]]: ...
