from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streammix.core.layout import CHUNK as CHUNK
from streammix.core.layout import GROUP as GROUP
from streammix.core.layout import INFLATING as INFLATING
from streammix.core.layout import rows_of as rows_of
from streammix.core.layout import width_of as width_of
from streammix.core.table import Table

_Floats = NDArray[np.float64]

KINDS: dict[str, int]
LEAST_SHARE: float

def aligned(*shape: int, dtype: DTypeLike = ...) -> NDArray[Any]: ...
def digamma_gap(a: float) -> float: ...
def level_name(wanted: str | None = None) -> str: ...

class Engine:
    responsibilities: _Floats
    theta: list[_Floats]
    n_components: int
    def __init__(self, layout: Any, state: Any, step: tuple[int, float]) -> None: ...
    def set_background(self, spread: _Floats, points: _Floats) -> None: ...
    def alone(self, row: _Floats) -> _Floats | None: ...
    def set_step(self, step: tuple[int, float]) -> None: ...
    def set_levels(self, block: int, size: int) -> None: ...
    def expect(self, row: _Floats) -> tuple[float, _Floats] | None: ...
    def expect_rows(self, t: Table, out_r: _Floats, out_lp: _Floats, outliers: _Floats | None = None) -> None: ...
    def regress(self, number: int, x: _Floats, r: _Floats) -> _Floats: ...
    def learn_rows(
        self, t: Table, begin: int, end: int, w: _Floats | None, out_r: _Floats | None, out_lp: _Floats | None
    ) -> tuple[int, int]: ...
    def learn_batches(
        self,
        t: Table,
        begin: int,
        end: int,
        size: int,
        w: _Floats | None = None,
        out_r: _Floats | None = None,
        out_lp: _Floats | None = None,
        careful: bool = False,
    ) -> tuple[int, int]: ...
    def learn_stretch(
        self,
        t: Table,
        begin: int,
        end: int,
        full: Table,
        rows: _Floats,
        row_weights: _Floats,
        waiting: int,
        w: _Floats | None = None,
        out_r: _Floats | None = None,
        out_lp: _Floats | None = None,
        careful: bool = False,
    ) -> tuple[int, int, int]: ...
    def collect(
        self,
        t: Table,
        begin: int,
        end: int,
        w: _Floats | None = None,
        out_r: _Floats | None = None,
        out_lp: _Floats | None = None,
    ) -> tuple[_Floats, float, int]: ...
    def accumulator(self) -> _Floats: ...
    def accumulate(
        self,
        t: Table,
        begin: int,
        end: int,
        w: _Floats | None = None,
        resp: _Floats | None = None,
        acc: _Floats | None = None,
        out_r: _Floats | None = None,
        out_lp: _Floats | None = None,
        by_component: bool = False,
    ) -> tuple[float, int]: ...
    def blend(self, acc: _Floats, gamma: _Floats, total: _Floats) -> None: ...
    def approach(self, state: Any, gamma: float) -> None: ...
    def maximize(self) -> None: ...
    def compounded(self, t: Table, begin: int, end: int, w: _Floats | None = None) -> tuple[_Floats, _Floats]: ...
    def steps(self, totals: Iterable[float]) -> _Floats: ...
    def forks_needed(self, t: Table, begin: int, end: int) -> list[tuple[int, int]]: ...
    @property
    def background(self) -> float: ...
    @property
    def weights(self) -> _Floats: ...
