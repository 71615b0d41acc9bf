"""The data sets of river: the ones that ship inside its wheel are real streams at hand without a download.

A record is the data set's dict of features; the target beside it is dropped, since a mixture learns without
one. A data set can be read again from its beginning: every record is learnt exactly once.
"""

import difflib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from streammix.errors import ConfigError
from streammix.pipeline.flow import Batch

__all__ = ["RiverSource"]


class RiverSource:
    """Reads the records of a data set of `river.datasets`.

    Parameters
    ----------
    dataset
        Its class's name, such as ``"Shuttle"``.
    limit
        Read only so many records, counted from the data set's first.
    position
        Where an earlier run stood.

    Raises
    ------
    ConfigError
        If there is no such data set, it would have to be downloaded, or the earlier run read another one.

    Examples
    --------
    >>> source = RiverSource("Phishing", limit=3)
    >>> source.read(2).offsets, source.read(2).offsets, source.read(2)
    (array([0, 1]), array([2]), None)
    """

    is_steady = True

    def __init__(self, dataset: str, limit: int | None = None, position: dict[str, Any] | None = None) -> None:
        known = position["dataset"] if position else dataset
        if known != dataset:
            raise ConfigError(f"dataset is {dataset}, but the checkpoint was reading {known}")
        self._dataset = dataset
        self._at = position["records"] if position else 0
        self._records = itertools.islice(iter(_dataset(dataset)), self._at, limit)

    def read(self, limit: int) -> Batch | None:
        """Return the next records."""
        records = [x for x, _ in itertools.islice(self._records, limit)]
        first, self._at = self._at, self._at + len(records)
        return Batch(self._dataset, np.arange(first, self._at), records) if records else None

    def position(self) -> dict[str, Any]:
        """Return the number of records read."""
        return {"kind": "river", "dataset": self._dataset, "records": self._at}

    def acknowledge(self) -> None:
        """Do nothing: a data set stays as it is."""

    def close(self) -> None:
        """Do nothing: the data set closes its file when it is dropped."""


def _dataset(name: str) -> Any:
    from river import datasets
    from river.datasets.base import Dataset, RemoteDataset

    kinds = {key: kind for key, kind in vars(datasets).items() if isinstance(kind, type) and issubclass(kind, Dataset)}
    bundled = [key for key, kind in kinds.items() if not issubclass(kind, RemoteDataset)]
    if name not in kinds:
        close = difflib.get_close_matches(name, kinds, 1, 0.5)
        hint = f"did you mean {close[0]}?" if close else f"these need no download: {', '.join(bundled)}"
        raise ConfigError(f"dataset: river has no data set {name!r}; {hint}")
    make: Callable[[], Dataset] = kinds[name]  # a data set of its own, unlike the base class, takes no arguments
    dataset = make()
    if isinstance(dataset, RemoteDataset) and not dataset.is_downloaded:
        raise ConfigError(
            f"dataset: {name} is not on this machine; fetch it with river.datasets.{name}().download(), "
            f"or take one that needs no download: {', '.join(bundled)}"
        )
    return dataset
