"""Models on disk: single files, and a directory of checkpoints that a run goes on from after any crash.

A file is written whole or not at all: bytes in memory → temporary file → fsync → rename → fsync of the directory.
"""

import contextlib
import fcntl
import logging
import os
import re
import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pyarrow as pa

from streammix.auto.automixture import AutoMixture
from streammix.checkpoint import MAGIC, SCHEMA, NewerFormatError, Unpacked, from_bytes, table_from_bytes, to_bytes
from streammix.errors import CheckpointError, ConfigError
from streammix.mixture import Mixture

__all__ = ["Checkpoint", "CheckpointStore", "load", "read", "save", "write_bytes"]

log = logging.getLogger("streammix")

T = TypeVar("T")

_NAME = re.compile(r"checkpoint-(\d{10,})\.arrow")
_LOCK = ".lock"


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
        The file.
    written_at
        When it was written, in UTC.
    declaration
        The model's arguments, as JSON holds them.
    """

    model: Mixture
    positions: dict[str, Any]
    outputs: dict[str, Any]
    path: Path
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
    write_bytes(Path(path), _packed(model, positions, outputs))


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
        unpacked = from_bytes(_bytes_of(place))
    except CheckpointError as error:
        raise type(error)(f"{place}: {error}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{place}: can't be read: {_reason(error)}") from None
    return _restored(place, unpacked, fixed)


class CheckpointStore:
    """A directory of checkpoints, one file each, that one writer at a time keeps.

    Polars, DuckDB and pyarrow.dataset read the directory's ``*.arrow`` files as one table with a row a checkpoint.

    Parameters
    ----------
    directory
        Made if it isn't there.
    keep
        How many checkpoints to keep; older ones are removed after each write.
    readonly
        For readers, beside a writer or without one: no lock is taken, nothing is made or removed.

    Raises
    ------
    CheckpointError
        If another writer has the directory, or it can't be used.

    Attributes
    ----------
    damaged
        (path, why) of each damaged checkpoint that the last call of `latest` or `history` passed over.
    size
        The bytes of the last checkpoint that was written or taken; 0 before that.

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
        self.directory = Path(directory)
        self.keep = keep
        self.readonly = readonly
        self.damaged: list[tuple[Path, str]] = []
        self.size = 0
        if readonly:
            if not self.directory.is_dir():
                raise CheckpointError(f"{self.directory}: there is no such directory of checkpoints")
            return
        # without `with`, the lock goes when the store does
        self._lock = _lock(self.directory)
        self._release = weakref.finalize(self, os.close, self._lock)
        for leftover in self.directory.glob(".checkpoint-*.tmp"):
            leftover.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another writer in."""
        if not self.readonly:
            self._release()

    def write(
        self,
        model: Mixture,
        positions: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a checkpoint, and remove those that are too many.

        Parameters
        ----------
        model
            The model.
        positions, outputs
            Where sources and sinks stand: dicts of what JSON can hold.

        Returns
        -------
        Path
            The file. Names are in the order of writing, whatever the clock says.

        Raises
        ------
        CheckpointError
            If it can't be written; the checkpoints before it stand.
        """
        self._check_lock()
        data = _packed(model, positions, outputs)
        known = self._paths()
        number = _number(known[-1]) + 1 if known else 1
        path = self.directory / f"checkpoint-{number:010d}.arrow"
        write_bytes(path, data)
        self.size = len(data)
        self._prune([*known, path])
        return path

    def latest(self, fixed: Mapping[Any, Any] | None = None) -> Checkpoint | None:
        """Return the newest sound checkpoint, or None where there is none at all.

        Parameters
        ----------
        fixed
            As in `load`.

        Raises
        ------
        CheckpointError
            If all are damaged, or the newest sound one has a newer format.
        ConfigError
            If the model has a distribution that `fixed` lacks.
        """
        paths = self._paths()
        for path, data, unpacked in self._sound(reversed(paths), from_bytes):
            self.size = len(data)
            return _restored(path, unpacked, fixed)
        if self.damaged:
            path, reason = self.damaged[0]
            raise CheckpointError(
                f"{self.directory}: all {len(self.damaged)} checkpoints are damaged; the newest, {path.name}: {reason}"
            )
        # a reader that was overtaken by the writer's removals lists the directory anew
        return self.latest(fixed) if paths else None

    def newest(self) -> Path | None:
        """Return the newest checkpoint's path, sound or not; None where there is none."""
        return next(reversed(self._paths()), None)

    def history(self) -> pa.Table:
        """Return all sound checkpoints as one table, a row each, the oldest first.

        Raises
        ------
        CheckpointError
            If one has a newer format.
        """
        tables = [table.replace_schema_metadata() for _, _, table in self._sound(self._paths(), table_from_bytes)]
        return pa.concat_tables(tables) if tables else SCHEMA.empty_table()

    def _paths(self) -> list[Path]:
        """The checkpoints, the oldest first."""
        try:
            names = os.listdir(self.directory)
        except OSError as error:
            raise CheckpointError(f"{self.directory}: can't be read: {_reason(error)}") from None
        return [self.directory / name for name in sorted(filter(_NAME.fullmatch, names), key=_number)]

    def _sound(self, paths: Iterable[Path], unpack: Callable[[bytes], T]) -> Iterator[tuple[Path, bytes, T]]:
        """Each checkpoint and what `unpack` makes of it; those that are damaged are reported and passed over."""
        self.damaged = []
        for path in paths:
            try:
                unpacked = unpack(data := _bytes_of(path))
            except FileNotFoundError:  # removed by the writer since the directory was listed
                continue
            except NewerFormatError as error:
                raise NewerFormatError(f"{path}: {error}") from None
            except (CheckpointError, OSError) as error:
                reason = str(error) if isinstance(error, CheckpointError) else f"can't be read: {_reason(error)}"
                log.warning("%s is passed over: %s", path, reason)
                self.damaged.append((path, reason))
            else:
                yield path, data, unpacked

    def _check_lock(self) -> None:
        if self.readonly or not self._release.alive:
            raise CheckpointError(f"{self.directory}: this store is {'read-only' if self.readonly else 'closed'}")
        try:
            held = os.path.samestat(os.fstat(self._lock), os.stat(self.directory / _LOCK))
        except OSError:
            held = False
        if not held:  # another writer may have made the directory anew, and have its lock
            raise CheckpointError(f"{self.directory}: the directory was removed or replaced; nothing was written")

    def _prune(self, paths: list[Path]) -> None:
        """Remove what is older than the newest `keep` checkpoints; those known to be damaged don't count."""
        damaged = {path for path, _ in self.damaged}
        sound = [path for path in paths if path not in damaged]
        for path in paths[: paths.index(sound[-self.keep :][0])]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # the checkpoint itself is safe
                log.warning("%s can't be removed: %s", path, _reason(error))


def _packed(model: Mixture, positions: Mapping[str, Any] | None, outputs: Mapping[str, Any] | None) -> bytes:
    snapshot, schema = model._snapshot(), model._learner.schema
    blocks = [] if schema is None else [(block.kind, block.names, block.lanes) for block in schema.blocks]
    return to_bytes(snapshot, positions, outputs, weights=model.weights, blocks=blocks)


def _restored(path: Path, unpacked: Unpacked, fixed: Mapping[Any, Any] | None) -> Checkpoint:
    snapshot, positions, outputs, written_at = unpacked
    try:
        kind = AutoMixture if snapshot.declaration.get("model") == "AutoMixture" else Mixture
        model = kind._restore(snapshot, fixed)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except Exception as error:  # a forged file, or a library that has changed under it: its digest is right
        raise CheckpointError(f"{path}: no model can be made of it ({type(error).__name__}: {error})") from None
    return Checkpoint(model, positions, outputs, path, written_at, dict(snapshot.declaration))


def _number(name: str | Path) -> int:
    found = _NAME.fullmatch(os.path.basename(name))
    return int(found[1]) if found else 0


def _bytes_of(path: Path) -> bytes:
    """A file's bytes; no more than the first ones of a file of another kind."""
    with open(path, "rb") as file:
        first = file.read(len(MAGIC))
        return first + file.read() if first == MAGIC else first


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file as a whole, durably, or leave it as it is."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: can't be written: {_reason(error)}") from None


def _lock(directory: Path) -> int:
    """Make a directory and take its lock; return the descriptor that holds it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory}: can't hold checkpoints: {_reason(error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise CheckpointError(f"{directory}: another writer is using this directory of checkpoints") from None
        raise CheckpointError(f"{directory}: can't be locked: {_reason(error)}") from None
    return descriptor


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
