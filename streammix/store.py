"""Models on disk: single files, and a place of checkpoints that a run goes on from after any crash.

The place is a directory (`streammix.directory`) or a prefix on object storage (`streammix.bucket`).
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa

from streammix.bucket import Bucket, is_url
from streammix.checkpoint import MAGIC, SCHEMA, NewerFormatError, Unpacked, from_bytes, table_from_bytes, to_bytes
from streammix.directory import Directory, read_file, reason_of, write_file
from streammix.errors import AwayError, CheckpointError, ConfigError
from streammix.mixture import Mixture
from streammix.state import Snapshot

__all__ = ["Checkpoint", "CheckpointStore", "load", "read", "save"]

log = logging.getLogger("streammix")

T = TypeVar("T")

_NAME = re.compile(r"checkpoint-(\d{10,})\.arrow")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Parameters
    ----------
    model
        The model, ready to learn on.
    positions
        Where each source stood.
    outputs
        Where each sink stood.
    path
        The file, or the object's URL.
    written_at
        When it was written, in UTC.
    declaration
        The model's arguments, as JSON holds them.
    """

    model: Mixture
    positions: dict[str, Any]
    outputs: dict[str, Any]
    path: Path | str
    written_at: datetime
    declaration: dict[str, Any]


def save(
    model: Mixture,
    path: str | os.PathLike[str],
    positions: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
) -> None:
    """Write a model to a file: whole, or the file is as it was before.

    Parameters
    ----------
    model
        The model, at any record: warming up, or within a mini-batch.
    path
        The file, such as ``state.arrow``; it is replaced.
    positions, outputs
        Where sources and sinks stand: dicts of what JSON can hold.

    Raises
    ------
    CheckpointError
        If the file can't be written, or `positions` or `outputs` can't be kept as JSON.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(5, 1)}])
    >>> model.learn_one({"x": 4.0})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory) / "state.arrow"
    ...     sm.save(model, path)
    ...     again = sm.load(path)
    >>> again.score_one({"x": 1.0}) == model.score_one({"x": 1.0})
    True
    """
    write_file(Path(path), _packed(model, positions, outputs))


def load(path: str | os.PathLike[str], fixed: Mapping[Any, Any] | None = None) -> Mixture:
    """Return the model that a file holds. Loading runs no code from the file.

    Parameters
    ----------
    path
        The file that `save` or a `CheckpointStore` wrote.
    fixed
        Distributions that a file can't hold, by field: ``Fixed`` objects that are not scipy.stats's.

    Raises
    ------
    CheckpointError
        If the file is damaged, cut short, of another kind or of a newer format, or can't be read.
    ConfigError
        If the model has a distribution that `fixed` lacks; the error names it.
    """
    return read(path, fixed).model


def read(path: str | os.PathLike[str], fixed: Mapping[Any, Any] | None = None) -> Checkpoint:
    """Return everything that a file holds; see `load`."""
    place = Path(path)
    try:
        unpacked = from_bytes(read_file(place, MAGIC))
    except CheckpointError as error:
        raise type(error)(f"{place}: {error}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{place}: can't be read: {reason_of(error)}") from None
    return _restored(place, unpacked, fixed)


class CheckpointStore:
    """Checkpoints in a directory or on object storage, one file or object each, that one writer at a time keeps.

    Polars, DuckDB and pyarrow.dataset read the directory's ``*.arrow`` files as one table with a row a checkpoint.

    Parameters
    ----------
    directory
        Made if it isn't there; or ``s3://bucket/prefix``, with credentials, region and endpoint from the environment
        (``AWS_ACCESS_KEY_ID`` and so on).
    keep
        How many checkpoints to keep; older ones are removed after each write.
    readonly
        For readers, beside a writer or without one: no lock is taken, nothing is made or removed.

    Raises
    ------
    CheckpointError
        If another writer has the place, or it can't be used. On object storage a writer that was killed, and so
        has not let go, is looked at for 15 seconds first.

    Attributes
    ----------
    damaged
        (path, why) of each damaged checkpoint that the last call of `latest` or `history` passed over.
    sizes
        The bytes of each checkpoint that the last call of `latest`, `history` or `write` has read or written.

    Examples
    --------
    >>> import tempfile
    >>> import streammix as sm
    >>> model = sm.Mixture(components=[{"x": sm.Normal(0, 1)}, {"x": sm.Normal(5, 1)}])
    >>> with tempfile.TemporaryDirectory() as directory, sm.CheckpointStore(directory, keep=2) as store:
    ...     for x in (4.0, 5.0, 0.5):
    ...         model.learn_one({"x": x})
    ...         path = store.write(model, positions={"events": model.n_seen})
    ...     found = store.latest()
    ...     history = store.history()["n_seen"].to_pylist()
    >>> path.name, found.positions, history
    ('checkpoint-0000000003.arrow', {'events': 3}, [2, 3])
    """

    def __init__(self, directory: str | os.PathLike[str], keep: int = 5, readonly: bool = False) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ConfigError(f"keep must be a whole number, 1 or more, not {keep!r}")
        self.directory: Path | str = str(directory) if is_url(directory) else Path(directory)
        self.keep = keep
        self.readonly = readonly
        self.damaged: list[tuple[Path | str, str]] = []
        self.sizes: list[int] = []
        self._at: Directory | Bucket
        if isinstance(self.directory, str):
            self._at = Bucket(self.directory, _number, readonly)
        else:
            self._at = Directory(self.directory, MAGIC, ".checkpoint-*.tmp", readonly)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another writer in."""
        self._at.close()

    def write(
        self,
        model: Mixture,
        positions: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> Path | str:
        """Write a checkpoint, and remove those that are too many.

        Parameters
        ----------
        model
            The model.
        positions, outputs
            Where sources and sinks stand: dicts of what JSON can hold.

        Returns
        -------
        Path or str
            The file, or the object's URL. Names are in the order of writing, whatever the clock says.

        Raises
        ------
        CheckpointError
            If it can't be written; the checkpoints before it stand.
        """
        return self.put(self.pack(model, positions, outputs))

    @staticmethod
    def pack(
        model: Mixture,
        positions: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return what `write` writes, for `put`: the model may learn on meanwhile."""
        return _packed(model, positions, outputs)

    def put(self, data: bytes) -> Path | str:
        """Write what `pack` has returned, as `write` does."""
        if not self._at.is_open:
            raise CheckpointError(f"{self.directory}: this store is {'read-only' if self.readonly else 'closed'}")
        self._at.check()
        known = self._names()
        number = _number(known[-1]) + 1 if known else 1
        name = f"checkpoint-{number:010d}.arrow"
        self._at.write(name, data)
        self.sizes = [len(data)]
        self._prune([*known, name])
        return self._at.place(name)

    def latest(self, fixed: Mapping[Any, Any] | None = None, before: Path | str | None = None) -> Checkpoint | None:
        """Return the newest sound checkpoint, or None where there is none at all.

        Parameters
        ----------
        fixed
            As in `load`.
        before
            Where a checkpoint lies: only older ones are looked at.

        Raises
        ------
        CheckpointError
            If all are damaged, or the newest sound one has a newer format; of a writer also if the directory is not the
            one that it has locked: what another writer keeps there is not to go on from.
        ConfigError
            If the model has a distribution that `fixed` lacks.
        """
        if self._at.is_open:
            self._at.check()
        names = self._names()
        if before is not None:
            names = [name for name in names if _number(name) < _number(os.path.basename(before))]
        for place, unpacked in self._sound(reversed(names), from_bytes):
            return _restored(place, unpacked, fixed)
        if self.damaged:
            place, reason = self.damaged[0]
            name = os.path.basename(place)
            raise CheckpointError(
                f"{self.directory}: all {len(self.damaged)} checkpoints are damaged; the newest, {name}: {reason}"
            )
        # a reader that was overtaken by the writer's removals lists the directory anew
        return self.latest(fixed, before) if names else None

    def newest(self) -> Path | str | None:
        """Return where the newest checkpoint lies, sound or not; None where there is none."""
        names = self._names()
        return self._at.place(names[-1]) if names else None

    def history(self) -> pa.Table:
        """Return all sound checkpoints as one table, a row each, the oldest first.

        Raises
        ------
        CheckpointError
            If one has a newer format.
        """
        tables = [table.replace_schema_metadata() for _, table in self._sound(self._names(), table_from_bytes)]
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()

    def _names(self) -> list[str]:
        """The checkpoints, the oldest first."""
        return sorted(filter(_number, self._at.names()), key=_number)

    def _sound(self, names: Iterable[str], unpack: Callable[[bytes], T]) -> Iterator[tuple[Path | str, T]]:
        """What `unpack` makes of each checkpoint; those that are damaged are reported and passed over."""
        self.damaged, self.sizes = [], []
        for name in names:
            place = self._at.place(name)
            try:
                unpacked = unpack(data := self._at.read(name))
            except FileNotFoundError:  # removed by the writer since the directory was listed
                continue
            except AwayError:
                raise
            except NewerFormatError as error:
                raise NewerFormatError(f"{place}: {error}") from None
            except (CheckpointError, OSError) as error:
                reason = str(error) if isinstance(error, CheckpointError) else f"can't be read: {reason_of(error)}"
                log.warning("%s is passed over: %s", place, reason)
                self.damaged.append((place, reason))
            else:
                self.sizes.append(len(data))
                yield place, unpacked

    def _prune(self, names: list[str]) -> None:
        """Remove what is older than the newest `keep` checkpoints; those known to be damaged don't count."""
        damaged = {os.path.basename(place) for place, _ in self.damaged}
        sound = [name for name in names if name not in damaged]
        for name in names[: names.index(sound[-self.keep :][0])]:
            try:
                self._at.remove(name)
            except (OSError, CheckpointError) as error:  # the checkpoint itself is safe
                log.warning("%s can't be removed: %s", self._at.place(name), reason_of(error))


def _packed(model: Mixture, positions: Mapping[str, Any] | None, outputs: Mapping[str, Any] | None) -> bytes:
    snapshot, schema = model._snapshot(), model._learner.schema
    blocks = [] if schema is None else [(block.kind, block.names, block.lanes) for block in schema.blocks]
    return to_bytes(snapshot, positions, outputs, weights=model.weights, blocks=blocks)


def _restored(path: Path | str, unpacked: Unpacked, fixed: Mapping[Any, Any] | None) -> Checkpoint:
    snapshot, positions, outputs, written_at = unpacked
    try:
        model = _kind(snapshot)._restore(snapshot, fixed)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # a forged file, or a library that has changed under it: its digest is right
        raise CheckpointError(f"{path}: no model can be made of it ({type(error).__name__}: {error})") from None
    return Checkpoint(model, positions, outputs, path, written_at, dict(snapshot.declaration))


def _kind(snapshot: Snapshot) -> type[Mixture]:
    if snapshot.declaration.get("model") != "AutoMixture":
        return Mixture
    from streammix.auto.automixture import AutoMixture  # half of all modules

    return AutoMixture


def _number(name: str) -> int:
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else 0
