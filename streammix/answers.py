"""What came of records."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streammix.errors import RecordError

__all__ = ["Ingested", "Told"]

FloatArray = NDArray[np.float64]
Integers = NDArray[np.int64]


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
    labels
        (records learnt,), of an `AutoMixture` alone: the label that the most responsible component had; -1 of one that
        no record had made yet, and while warming up.
    outliers
        (records learnt,), likewise: the probability that the background made the record.
    """

    responsibilities: FloatArray
    log_density: FloatArray
    rows: Integers
    rejected: list[tuple[int, RecordError]]
    labels: Integers | None = None
    outliers: FloatArray | None = None

    @classmethod
    def of(cls, told: "Told", rows: Integers, rejected: list[tuple[int, RecordError]]) -> "Ingested":
        """Return what was told of the records of these indices."""
        return cls(told.responsibilities, told.log_density, rows, rejected, told.labels, told.outliers)


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of records as the model stands before each: a row a record, to be written and read.

    Parameters
    ----------
    responsibilities, log_density, labels, outliers
        As in `Ingested`.

    Examples
    --------
    >>> told = Told.nothing(3, 2, has_labels=True)
    >>> told.put(slice(1, 2), Told(np.array([[1.0]]), np.array([-2.5]), np.array([7]), np.array([0.25])))
    >>> told.responsibilities.tolist(), told.labels.tolist(), told[1:].outliers.tolist()
    ([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]], [-1, 7, -1], [0.25, 0.0])
    """

    responsibilities: FloatArray
    log_density: FloatArray
    labels: Integers | None = None
    outliers: FloatArray | None = None

    @classmethod
    def nothing(cls, n: int, k: int, has_labels: bool) -> "Told":
        """Return what is said of n records where nothing is known yet."""
        labels, outliers = (np.full(n, -1), np.zeros(n)) if has_labels else (None, None)
        return cls(np.full((n, k), 1 / k), np.zeros(n), labels, outliers)

    def __getitem__(self, rows: Any) -> "Told":
        if self.labels is None or self.outliers is None:
            return Told(self.responsibilities[rows], self.log_density[rows])
        return Told(self.responsibilities[rows], self.log_density[rows], self.labels[rows], self.outliers[rows])

    def put(self, rows: Any, told: "Told") -> None:
        """Write down what is said of some rows; there may be fewer components than columns."""
        k = told.responsibilities.shape[1]
        self.responsibilities[rows, :k] = told.responsibilities
        self.responsibilities[rows, k:] = 0.0
        self.log_density[rows] = told.log_density
        for own, others in ((self.labels, told.labels), (self.outliers, told.outliers)):
            if own is not None and others is not None:
                own[rows] = others
