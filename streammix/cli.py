"""The command line: it names the commands and their arguments, and turns errors into exit statuses."""

import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    help="Learn mixture models from event streams: every record is scored, learnt, and accounted for.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

WRONG_CONFIGURATION = 2

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and show where an error comes from.")]


State = Annotated[str, typer.Argument(help="A checkpoint, a directory of them, or s3://bucket/prefix.")]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The pipeline's TOML file.")],
    verbose: Verbose = False,
) -> None:
    """Run a pipeline: read, score, learn, checkpoint. Run again, it goes on from where it stood.

    Exit status: 0 at the stream's end, 1 for a failed run, 2 for a wrong configuration, 130 or 143 after
    Ctrl-C or SIGTERM, which both end with a checkpoint.
    """

    def work() -> int:
        from streammix.pipeline import commands, talk

        stopped_by = commands.run(config, talk.set_up(verbose, as_json=True))
        return 0 if stopped_by is None else 128 + stopped_by

    _do(work)


@app.command()
def inspect(
    state: State,
    verbose: Verbose = False,
) -> None:
    """Print what a checkpoint holds; for a directory of them, the newest one and the history."""

    def work() -> int:
        from streammix.pipeline import inspecting, talk

        talk.set_up(verbose)
        inspecting.inspect(state)
        return 0

    _do(work)


@app.command()
def score(
    state: State,
    events: Annotated[Path, typer.Argument(help="A file of events.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .ndjson or .parquet file; left out, NDJSON is printed."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Score a file of events with a saved model, without learning."""

    def work() -> int:
        from streammix.pipeline import scoring, talk

        talk.set_up(verbose)
        scoring.score(state, events, output)
        return 0

    _do(work)


@app.command()
def serve(
    state: State,
    listen: Annotated[
        str, typer.Option(help="Address and port; this machine alone unless another address is given.")
    ] = "127.0.0.1:8080",
    name: Annotated[str, typer.Option(help="The model's name in the open inference protocol.")] = "streammix",
    tls_certificate: Annotated[Path | None, typer.Option(help="A PEM file; with --tls-key, HTTPS alone.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="A PEM file.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with a bearer token; or it stands in STREAMMIX_TOKEN.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Answer scores over HTTP by the newest checkpoint, until Ctrl-C or SIGTERM (130, 143)."""

    def work() -> int:
        from streammix.pipeline import talk, watching

        talk.set_up(verbose, as_json=True)
        return 128 + watching.serve(state, listen, name, tls_certificate, tls_key, token_file)

    _do(work)


def main() -> None:
    """Run the command line."""
    try:
        if len(sys.argv) > 1 and "--help" not in sys.argv:  # which needs nothing that is heavy
            from streammix.pipeline.light import leave_out_pandas

            leave_out_pandas()
        app()
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(130)
    finally:
        gc.freeze()  # ends at once: what is left goes with the process, and is not looked through before


def _do(work: Callable[[], int]) -> None:
    """Do the work of a command and exit with its status; an error is one sentence, not a traceback."""
    from streammix.errors import ConfigError, StreammixError

    try:
        status = work()
    except ConfigError as error:
        status = _fail(WRONG_CONFIGURATION, str(error))
    except StreammixError as error:
        status = _fail(1, str(error))
    except BrokenPipeError:
        # what is still buffered has nowhere to go, and must not fail again when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = _fail(1, "standard output was closed by its reader")
    except OSError as error:
        status = _fail(1, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        status = _fail(130, "interrupted at once; the last checkpoint stands")
    except Exception as error:
        status = _fail(1, f"{type(error).__name__}: {error} (not foreseen; --verbose shows where)")
    raise typer.Exit(status)


def _fail(status: int, message: str) -> int:
    from streammix.pipeline import talk

    log = logging.getLogger("streammix")
    if talk.is_json() and status != WRONG_CONFIGURATION:
        log.error(message)
    else:  # to whoever has typed the command
        typer.echo(f"error: {talk.without_secrets(message)}", err=True)
    log.debug("where the error came from", exc_info=True)
    return status
