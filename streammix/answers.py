"""What came of records."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streammix.errors import RecordError

__all__ = ["Ingested"]

FloatArray = NDArray[np.float64]


class Ingested(NamedTuple):
    """What came of a batch of records.

    Parameters
    ----------
    responsibilities
        (records learnt, K): of the components, as the model stood before each record.
    log_density
        (records learnt,): log p(x), likewise; 0.0 while warming up.
    rows
        (records learnt,): the index of each in the batch.
    rejected
        (index, why) of each refused record.
    """

    responsibilities: FloatArray
    log_density: FloatArray
    rows: NDArray[np.int64]
    rejected: list[tuple[int, RecordError]]
