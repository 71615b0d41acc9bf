from typing import Any

import numpy as np
from numpy.typing import NDArray

from streammix.core.engine import Engine
from streammix.core.reader import Reader

_Floats = NDArray[np.float64]

class Waiting:
    rows: _Floats
    weights: _Floats
    n: int
    size: int
    def __init__(self, size: int, n_columns: int) -> None: ...
    def add(self, rows: _Floats, weights: _Floats | float) -> None: ...

class Records:
    _n_seen: int
    _clock: Any
    def _bind(
        self,
        engine: Engine | None,
        learner: Engine | None,
        reader: Reader | None,
        every: int,
        waiting: Waiting | None,
        takes_levels: bool,
    ) -> None: ...
    def learn_one(self, x: dict[Any, Any], w: float | None = 1.0) -> None: ...
    def _learn_weighed(self, x: dict[Any, Any], weight: float) -> None: ...
    def predict_proba_one(self, x: dict[Any, Any]) -> dict[int, float]: ...
    def predict_one(self, x: dict[Any, Any]) -> int: ...
    def log_density_one(self, x: dict[Any, Any]) -> float: ...
    def score_one(self, x: dict[Any, Any]) -> float: ...
