import numpy as np
from numpy.typing import NDArray

def scored_lines(
    source: bytes,
    offsets: NDArray[np.int64],
    components: NDArray[np.int32],
    responsibilities: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64] | None = ...,
    outliers: NDArray[np.float64] | None = ...,
) -> bytes: ...
