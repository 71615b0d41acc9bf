"""What the commands do, apart from the command line."""

import contextlib
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streammix.errors import (
    CheckpointError,
    ConfigError,
    StreammixError,
    SupersededError,
    UnavailableError,
    UnheardError,
)
from streammix.mixture import Mixture
from streammix.pipeline.assemble import (
    OpenSink,
    OpenSource,
    dead_letter_path,
    open_dead_letters,
    open_sinks,
    prepare_source,
)
from streammix.pipeline.config import Config, load_config
from streammix.pipeline.decode import Decoder, JsonDecoder, without
from streammix.pipeline.faults import Patience, keep_going
from streammix.pipeline.flow import OfLines, Sink, Source
from streammix.pipeline.model import build_model, check_same, time_field
from streammix.pipeline.progress import LiveProgress, LogProgress, Progress, Tally
from streammix.pipeline.report import components_table
from streammix.pipeline.runner import Pipeline
from streammix.pipeline.sink_sections import StdoutSection
from streammix.pipeline.stopping import StopRequest, stop_on_signals
from streammix.pipeline.tables import show
from streammix.pipeline.talk import naming
from streammix.pipeline.watching import watching
from streammix.store import Checkpoint, CheckpointStore

if TYPE_CHECKING:
    from rich.console import Console

    from streammix.pipeline.crew import Crew
    from streammix.pipeline.metrics import Metrics

__all__ = ["run"]

log = logging.getLogger("streammix")

TALLIED = ("records", "rejected", "scored", "log_density")


def run(
    path: Path,
    terminal: "Console | None" = None,
    decode: Decoder | None = None,
    source: OpenSource | None = None,
    sinks: Sequence[OpenSink] = (),
) -> int | None:
    """Run the pipeline that a configuration declares, and print its components.

    Parameters
    ----------
    path
        The configuration.
    terminal
        Where to show a live display; None for log lines.
    decode
        Turns a source's text into records (see `streammix.pipeline.decode`); JSON where left out.
    source
        Opens a source of one's own at a recorded position, None for a new run, where the configuration says
        ``kind = "own"``.
    sinks
        Sinks of one's own, beside those of the configuration: each opens one where it stood, None for a new run, and
        has the sink's `name` as an attribute, as a class does.

    Returns
    -------
    int or None
        The signal that ended the run; None at the end of the stream.

    Raises
    ------
    ConfigError
        If the configuration is wrong, or is not the one that the checkpoint was made with.
    StreammixError
        If the source, a sink or a checkpoint is damaged, or every record is refused.
    """
    config = load_config(path)
    if config.workers > 1 and decode is not None:
        raise ConfigError(f"{path}: workers decode JSON themselves: a decoder of one's own goes without them")
    try:
        declared = build_model(config.model)
        if config.workers > 1 and not _has_shares(declared):
            log.warning(
                "workers = %d have nothing to do: they share mini-batches of a batch_size above 4,096, "
                "of a Mixture that does not go by event time",
                config.workers,
            )
        open_source = prepare_source(config, source)
        with (
            watching(config) as watch,
            stop_on_signals() as stop,
            ExitStack() as opened,
        ):
            patience = Patience(config.patience, stop)
            if (store := _opened_store(config, patience)) is None:
                log.info("stopped before the place of checkpoints could be opened")
                return stop.signal
            opened.enter_context(store)
            progress = LiveProgress(terminal) if terminal else LogProgress(config.checkpoint.every_records)
            attempts = _Attempts(
                config, declared, open_source, sinks, store, decode or JsonDecoder(), progress, watch, stop, patience
            )
            try:
                has_ended = keep_going(attempts, patience)
            finally:
                progress.close()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if has_ended:
        _tell(config, attempts.pipeline, stop.signal)
    else:
        log.info("stopped while something failed; the last checkpoint stands")
    return stop.signal


def _opened_store(config: Config, patience: Patience) -> CheckpointStore | None:
    """Open the place of checkpoints once it can be reached; None where the run is to stop before."""
    found: list[CheckpointStore] = []

    def open_store(is_first: bool) -> None:
        found.append(CheckpointStore(config.checkpoints, keep=config.keep))

    if not keep_going(open_store, patience):
        return None
    patience.went_well()
    return found[0]


class _Attempts:
    """Opens everything where the last checkpoint stands and runs it, each time anew."""

    def __init__(
        self,
        config: Config,
        declared: Mixture,
        open_source: OpenSource,
        own_sinks: Sequence[OpenSink],
        store: CheckpointStore,
        decode: Decoder,
        progress: Progress,
        watch: "Metrics | None",
        stop: StopRequest,
        patience: Patience,
    ) -> None:
        self._config, self._declared, self._open_source = config, declared, open_source
        self._own_sinks = own_sinks
        self._store, self._decode, self._progress, self._stop = store, decode, progress, stop
        self._watch = watch
        self._tally: Tally | None = None  # as it was at the last checkpoint
        self._has_told_of_time = False
        self.patience = patience
        self.pipeline: Pipeline

    def __call__(self, is_first: bool) -> None:
        """Work to the stream's end, or until asked to stop."""
        try:
            self._attempt(is_first)
        except UnavailableError:
            if self._watch is not None:
                self._watch.failed()
            raise

    def _attempt(self, is_first: bool) -> None:
        with ExitStack() as opened:
            if self._watch is not None:
                self._watch.is_ready = False
            try:
                with contextlib.nullcontext() if is_first else _no_news():
                    self.pipeline = self._assemble(opened)
            except (StreammixError, OSError) as error:
                if is_first or isinstance(error, UnavailableError | SupersededError):
                    raise
                raise UnavailableError(str(error)) from error  # it was all right before
            opened.pop_all()
            opened.callback(self.pipeline.close)
            self._tally = deepcopy(self.pipeline.tally)
            self.pipeline.on_checkpoint = self._note_progress
            if self._watch is not None:
                self._watch.took(self.pipeline.tally, self.pipeline.model)
                self._watch.is_ready = True
            self.pipeline.run(self._progress, self._stop)

    def _assemble(self, opened: ExitStack) -> Pipeline:
        config = self._config
        found = self._store.latest()
        if found is None and self._tally is not None:
            raise UnavailableError(f"{self._store.directory}: the checkpoints are gone")
        if found is not None:
            check_same(self._declared, config.model, found.model)
            if "records" in found.positions:
                log.info("resuming after %s records", f"{found.positions['records']:,}")
            else:
                log.info("%s was written by no run: its model goes on at the source's beginning", found.path)
            found, source = self._open(found)
            if self._watch is not None:
                self._watch.restored((datetime.now(UTC) - found.written_at).total_seconds(), self._store.sizes[-1])
        else:
            source = self._open_source(None)
        opened.callback(source.close)
        positions, outputs = (found.positions, found.outputs) if found is not None else ({}, {})
        sinks = open_sinks(config, outputs.get("sinks", {}), self._own_sinks)
        for sink in sinks:
            opened.callback(sink.close)
        counts = {name: positions[name] for name in TALLIED if name in positions}
        if (tally := deepcopy(self._tally)) is None:
            tally = Tally(**counts)
        else:  # the checkpoint may be a later one: it was written, and what had to follow has failed
            tally.stand_at(**counts)
            tally.first_refusal = self.pipeline.tally.first_refusal  # which is told once
        crew = _crew(config, sinks) if config.workers > 1 else None
        if crew is not None:
            opened.callback(crew.close)
        pipeline = Pipeline(
            model=found.model if found is not None else self._declared.clone(),
            source=source,
            sinks=sinks,
            dead_letters=open_dead_letters(config, outputs.get("dead_letter")),
            store=self._store,
            every_records=config.checkpoint.every_records,
            every_seconds=config.every_seconds,
            decode=without(_ignored(config), self._decode),
            tally=tally,
            watch=self._watch,
            crew=crew,
        )
        opened.callback(pipeline.dead_letters.close)
        if found is None or set(outputs.get("sinks", ())) != {sink.name for sink in sinks}:
            # what a sink finds at its place is its own only if a checkpoint knows of it, so one is written before
            # any row
            pipeline.checkpoint()
        return pipeline

    def _open(self, found: Checkpoint) -> tuple[Checkpoint, Source]:
        """Open the source where the newest checkpoint that counts stands; return both."""
        place = found.path
        while True:
            try:
                return found, self._open_source(found.positions.get("source"))
            except UnheardError as error:
                if (before := self._store.latest(before=place)) is None:
                    raise
                found, place = before, before.path
                log.warning("%s, after %s records", error, f"{found.positions.get('records', 0):,}")
                try:  # as the newest one: what was not heard of counts never more
                    self._store.write(found.model, found.positions, found.outputs)
                except SupersededError:
                    raise
                except CheckpointError as fault:
                    raise UnavailableError(str(fault)) from fault

    def _note_progress(self, tally: Tally) -> None:
        self._tally = tally
        self.patience.went_well()
        self._look_at_time(tally)

    def _look_at_time(self, tally: Tally) -> None:
        """Warn where event time has nothing to go by."""
        clock = self.pipeline.model._learner.clock
        if clock is None or clock.latest is not None or tally.records == tally.rejected or self._has_told_of_time:
            return
        self._has_told_of_time = True
        log.warning(
            "no record so far has a time in the field %r, by which [model] forgets: nothing is forgotten", clock.field
        )


def _ignored(config: Config) -> set[str]:
    """The fields that are kept from the model; the one that time is read from is not learnt anyhow."""
    return {name for name in config.source.ignore if name != time_field(config.model)}


def _has_shares(declared: Mixture) -> bool:
    from streammix.pipeline.crew import has_shares

    return has_shares(declared)


def _crew(config: Config, sinks: Sequence[Sink]) -> "Crew":
    """Workers that give the sinks what they look at."""
    from streammix.pipeline.crew import Crew

    of_lines = [isinstance(sink, OfLines) for sink in sinks]
    return Crew(config.workers, sorted(_ignored(config)), lines=any(of_lines), numbers=not all(of_lines))


@contextlib.contextmanager
def _no_news() -> Iterator[None]:
    """Say nothing but warnings: the same attempt again is not worth a line each time."""

    def matters(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    log.addFilter(matters)
    try:
        yield
    finally:
        log.removeFilter(matters)


def _tell(config: Config, pipeline: Pipeline, stopped_by: int | None) -> None:
    tally, model = pipeline.tally, pipeline.model
    if stopped_by is not None:
        log.info("stopped by %s; run again to go on from here", signal.Signals(stopped_by).name)
    elif not tally.records:
        log.info("the source is empty: there are no records yet")
    elif not tally.new_records:
        log.info("found nothing new: all %s records were learnt before", f"{tally.records:,}")
    if tally.new_records:
        log.info(", ".join(f"{what} {value}" for what, value in tally.lines(None).items() if what != "weights"))
    if tally.new_rejected:
        log.warning(
            "%s of %s new records were refused; the reasons are in %s",
            f"{tally.new_rejected:,}",
            f"{tally.new_records:,}",
            config.dead_letter.topic or dead_letter_path(config),
        )
    is_piped = any(isinstance(sink, StdoutSection) for sink in config.sinks)
    if stopped_by is None and tally.new_records and tally.rejected == tally.records:
        raise StreammixError(f"none of the {tally.records:,} records could be learnt; {tally.first_refusal}")
    if model.is_warm:
        with naming("standard error" if is_piped else None):
            show(components_table(model), on_stderr=is_piped)
    else:
        log.info("the model is still warming up after %s records: there are no components yet", f"{model.n_seen:,}")
