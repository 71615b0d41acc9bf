from collections.abc import Callable, Collection, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from streammix.core.names import Names
from streammix.core.reader import Reader
from streammix.errors import RecordError

_Integers = NDArray[np.int64]

def line_ends(text: bytes) -> _Integers: ...

class JsonLines:
    def __init__(
        self,
        data: bytes,
        starts: _Integers,
        ends: _Integers,
        names: Names,
        decode: Callable[[bytes], dict[str, Any]],
        left_out: frozenset[str] = ...,
    ) -> None: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> JsonLines: ...
    def begin_as_objects(self) -> bool: ...
    def without(self, fields: Collection[str]) -> JsonLines: ...
    def rows(
        self, reader: Reader
    ) -> tuple[NDArray[np.float64], Sequence[int], list[tuple[int, int, Any]], list[tuple[int, RecordError]]]: ...
