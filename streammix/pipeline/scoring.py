"""Scoring a file of events with a saved model, without learning."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from io import FileIO
from pathlib import Path

import pyarrow as pa

from streammix.bucket import is_url
from streammix.errors import ConfigError
from streammix.families import Categorical
from streammix.mixture import Mixture
from streammix.pipeline.decode import JsonDecoder
from streammix.pipeline.evaluating import evaluate_each, stand_still
from streammix.pipeline.flow import Refusal, Scored
from streammix.pipeline.places import check_local
from streammix.pipeline.runner import RECORDS_AT_ONCE
from streammix.pipeline.saved import newest
from streammix.pipeline.sinks.ndjson import StdoutSink, to_lines
from streammix.pipeline.sinks.parquet import open_writer, schema_of, to_table
from streammix.pipeline.sources.file import FileSource, find_files
from streammix.pipeline.sources.opening import Reading
from streammix.pipeline.talk import naming

__all__ = ["score"]

log = logging.getLogger("streammix")


def score(state: Path | str, events: Path, output: Path | None = None) -> None:
    """Score the records of a file, as the model stands.

    Parameters
    ----------
    state
        A checkpoint, or a directory or ``s3://bucket/prefix`` of them: then the newest.
    events
        The file of events, of any kind that a ``file`` source reads.
    output
        The file to write, ``.ndjson`` or ``.parquet``, replaced when it is whole; None prints NDJSON.

    Raises
    ------
    ConfigError
        If a path doesn't exist or has an unknown ending, or the output would replace what is read.
    CheckpointError
        If the checkpoint is damaged or foreign.
    StreammixError
        If the output can't be written.
    """
    check_local("EVENTS", str(events))
    if output is not None:
        check_local("--output", str(output))
    if output is not None and output.suffix not in (".ndjson", ".parquet"):
        raise ConfigError(f"--output: {output} ends neither in .ndjson nor in .parquet")
    model = newest(state).model
    if not model.is_warm:
        log.warning("the model is still warming up: every score is 0")
    names = find_files([str(events)], Path())
    if output is not None:
        _check_output(output, state, names)
    refused: list[Refusal] = []
    how = Reading(as_text=_text_fields(model), holds="none")
    with closing(FileSource(names, Path(), how=how)) as source:
        rows = _scored(model, source, refused)
        if output is None:
            sink = StdoutSink()
            for batch in rows:
                with naming():
                    sink.write(batch)
        else:
            _write(rows, output, schema_of(model._learner.has_labels))
    if refused:
        first = refused[0]
        log.warning(
            "%d records could not be scored; the first: %s at %d: %s",
            len(refused), first.source, first.offset, first.reason,
        )  # fmt: skip


def _check_output(output: Path, state: Path | str, events: list[str]) -> None:
    place = output.resolve()
    if place in [Path(name).resolve() for name in events]:
        raise ConfigError(f"--output: {output} is the file of events itself; choose another")
    if not is_url(state) and Path(state).resolve() in (place, *place.parents):
        raise ConfigError(f"--output: {output} lies in the saved state {state}; choose another")


def _scored(model: Mixture, source: FileSource, refused: list[Refusal]) -> Iterator[Scored]:
    stand_still(model)
    decode = JsonDecoder()
    while (batch := source.read(RECORDS_AT_ONCE)) is not None:
        batch = decode(batch)
        refused += batch.refused
        assert batch.records is not None  # for the type checker: it is decoded
        done = evaluate_each(model, batch.records)
        for row, error in done.rejected:
            refused.append(Refusal(batch.source, int(batch.offsets[row]), str(error), batch.raw(row)))
        if len(done.rows):
            yield Scored.of(batch.source, batch.offsets[done.rows], done)


def _text_fields(model: Mixture) -> set[str]:
    fields = model.fields if isinstance(model.fields, Mapping) else {}
    return {name for name, family in fields.items() if isinstance(name, str) and isinstance(family, Categorical)}


def _write(rows: Iterator[Scored], output: Path, schema: pa.Schema) -> None:
    temporary = output.with_name(output.name + ".tmp")
    try:
        if output.suffix == ".parquet":
            with naming(str(output)):
                writer = open_writer(temporary, schema)
            try:
                for batch in rows:
                    with naming(str(output)):
                        writer.write_table(to_table(batch))
            finally:
                with naming(str(output)):
                    writer.close()
        else:
            with naming(str(output)):
                file = open(temporary, "wb", buffering=0)  # noqa: SIM115
            with file:
                for batch in rows:
                    with naming(str(output)):
                        _write_all(file, to_lines(batch))
        with naming(str(output)):
            os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
