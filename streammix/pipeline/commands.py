"""What the commands do, apart from the command line."""

import logging
import signal
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from streammix.errors import ConfigError, StreammixError
from streammix.mixture import Mixture
from streammix.pipeline.assemble import OpenSource, dead_letter_path, open_dead_letters, open_sinks, prepare_source
from streammix.pipeline.config import Config, StdoutSection, load_config
from streammix.pipeline.decode import Decoder, JsonDecoder, without
from streammix.pipeline.model import build_model, check_same
from streammix.pipeline.progress import LiveProgress, LogProgress, Tally, Watch
from streammix.pipeline.report import components_table
from streammix.pipeline.runner import Pipeline, stop_on_signals
from streammix.pipeline.talk import naming, result_console
from streammix.pipeline.watching import watching
from streammix.store import CheckpointStore

__all__ = ["run"]

log = logging.getLogger("streammix")

TALLIED = ("records", "rejected", "scored", "log_density")


def run(path: Path, terminal: Console | None = None, decode: Decoder | None = None) -> int | None:
    """Run the pipeline that a configuration declares, and print its components.

    Parameters
    ----------
    path
        The configuration.
    terminal
        Where to show a live display; None for log lines.
    decode
        Turns a source's text into records (see `streammix.pipeline.decode`); JSON where left out.

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
    try:
        declared = build_model(config.model)
        open_source = prepare_source(config)
        with (
            watching(config) as watch,
            CheckpointStore(config.checkpoints, keep=config.checkpoint.keep) as store,
            stop_on_signals() as stop,
        ):
            pipeline = _assemble(config, declared, open_source, store, decode or JsonDecoder(), watch)
            if watch is not None:
                watch.took(pipeline.tally, pipeline.model, pipeline.source)
                watch.is_ready = True
            progress = LiveProgress(terminal) if terminal else LogProgress(config.checkpoint.every_records)
            try:
                pipeline.run(progress, stop)
            finally:
                progress.close()
                pipeline.close()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    _tell(config, pipeline, stop.signal)
    return stop.signal


def _assemble(
    config: Config,
    declared: Mixture,
    open_source: OpenSource,
    store: CheckpointStore,
    decode: Decoder,
    watch: Watch | None,
) -> Pipeline:
    found = store.latest()
    if found is not None:
        check_same(declared, config.model, found.model)
        log.info("resuming after %s records", f"{found.positions['records']:,}")
        if watch is not None:
            watch.restored((datetime.now(UTC) - found.written_at).total_seconds(), store.sizes[-1])
    positions, outputs = (found.positions, found.outputs) if found is not None else ({}, {})
    pipeline = Pipeline(
        model=found.model if found is not None else declared,
        source=open_source(positions.get("source")),
        sinks=open_sinks(config, outputs.get("sinks", {})),
        dead_letters=open_dead_letters(config, outputs.get("dead_letter")),
        store=store,
        every_records=config.checkpoint.every_records,
        decode=without(set(config.source.ignore), decode),
        tally=Tally(**{name: positions[name] for name in TALLIED if name in positions}),
        watch=watch,
    )
    if found is None or set(outputs["sinks"]) != {sink.name for sink in pipeline.sinks}:
        # what a sink finds at its place is its own only if a checkpoint knows of it, so one is written before
        # any row
        pipeline.checkpoint()
    return pipeline


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
            dead_letter_path(config),
        )
    is_piped = any(isinstance(sink, StdoutSection) for sink in config.sinks)
    if stopped_by is None and tally.new_records and tally.rejected == tally.records:
        raise StreammixError(f"none of the {tally.records:,} records could be learnt; {tally.first_refusal}")
    if model.is_warm:
        with naming("standard error" if is_piped else None):
            result_console(stderr=is_piped).print(components_table(model))
    else:
        log.info("the model is still warming up after %s records: there are no components yet", f"{model.n_seen:,}")
