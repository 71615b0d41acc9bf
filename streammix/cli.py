"""The command line: it names the commands and their arguments, and turns errors into exit statuses.

Nothing but what Python has loaded by itself is imported before it is needed: a run starts at once, and Ctrl-C meanwhile
ends it in one line.
"""

import gc
import os
import signal
import sys

TYPE_CHECKING = False  # as in `typing`, which is long to load
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

__all__ = ["call", "main"]

INTERRUPTED = 128 + signal.SIGINT
WRONG_CONFIGURATION = 2
RUN = """Run a pipeline: read, score, learn, checkpoint. Run again, it goes on from where it stood.

Exit status: 0 at the stream's end, 1 for a failed run, 2 for a wrong configuration, 130 or 143 after Ctrl-C or SIGTERM,
which both end with a checkpoint."""


def main() -> "NoReturn":
    """Run the command line as a process of its own."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    gc.disable()  # modules are no garbage
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's: to begin others takes longer than they would help
    try:
        asked = _parser().parse_args(sys.argv[1:] or ["--help"])
        from streammix.pipeline.light import leave_out_pandas

        leave_out_pandas()
        sys.exit(_status(asked))
    finally:
        gc.freeze()  # ends at once: what is left goes with the process, and is not looked through before


def call(arguments: "Sequence[str]") -> int:
    """Do what arguments ask for; return the exit status.

    Raises
    ------
    SystemExit
        If the arguments are wrong, or help is all that they ask for.
    """
    return _status(_parser().parse_args(arguments))


def _leave(*_: "Any") -> "NoReturn":
    """End the process while its modules are loaded, among which an exception might be lost."""
    os.write(2, b"interrupted before anything had begun\n")
    os._exit(INTERRUPTED)


def _parser() -> "ArgumentParser":
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    from streammix import __version__

    parser = ArgumentParser(
        "streammix",
        description="Learn mixture models from event streams: every record is scored, learnt, and accounted for.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"streammix {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, prog="streammix")

    def command(name: str, work: "Callable[[Namespace], int]", about: str) -> "ArgumentParser":
        found = commands.add_parser(
            name,
            help=about.partition("\n")[0],
            description=about,
            allow_abbrev=False,
            formatter_class=RawDescriptionHelpFormatter,
        )
        found.set_defaults(work=work)
        found.add_argument("-v", "--verbose", action="store_true", help="say more, and show where an error comes from")
        return found

    run = command("run", _run, RUN)
    run.add_argument("config", help="the pipeline's TOML file")

    inspect = command(
        "inspect", _inspect, "Print what a checkpoint holds; for a directory of them, the newest one and the history."
    )
    score = command("score", _score, "Score a file of events with a saved model, without learning.")
    serve = command(
        "serve", _serve, "Answer scores over HTTP by the newest checkpoint, until Ctrl-C or SIGTERM (130, 143)."
    )
    for reader in (inspect, score, serve):
        reader.add_argument("state", help="a checkpoint, a directory of them, or s3://bucket/prefix")

    score.add_argument("events", help="a file of events")
    score.add_argument("-o", "--output", help="a .ndjson or .parquet file; left out, NDJSON is printed")

    serve.add_argument(
        "--listen",
        default="127.0.0.1:8080",
        help="address and port, %(default)s where left out: this machine alone",
    )
    serve.add_argument("--name", default="streammix", help="the model's name in the open inference protocol")
    serve.add_argument("--tls-certificate", help="a PEM file; with --tls-key, HTTPS alone")
    serve.add_argument("--tls-key", help="a PEM file")
    serve.add_argument("--token-file", help="a file with a bearer token; or it stands in STREAMMIX_TOKEN")
    return parser


def _run(asked: "Namespace") -> int:
    from pathlib import Path

    from streammix.pipeline import commands, talk

    _begin()
    stopped_by = commands.run(Path(asked.config), talk.set_up(asked.verbose, as_json=True))
    return 0 if stopped_by is None else 128 + stopped_by


def _inspect(asked: "Namespace") -> int:
    from streammix.pipeline import inspecting, talk

    _begin()
    talk.set_up(asked.verbose)
    inspecting.inspect(asked.state)
    return 0


def _score(asked: "Namespace") -> int:
    from pathlib import Path

    from streammix.pipeline import scoring, talk

    _begin()
    talk.set_up(asked.verbose)
    scoring.score(asked.state, Path(asked.events), None if asked.output is None else Path(asked.output))
    return 0


def _serve(asked: "Namespace") -> int:
    from pathlib import Path

    from streammix.pipeline import talk, watching

    _begin()
    talk.set_up(asked.verbose, as_json=True)
    files = (None if name is None else Path(name) for name in (asked.tls_certificate, asked.tls_key, asked.token_file))
    return 128 + watching.serve(asked.state, asked.listen, asked.name, *files)


def _begin() -> None:
    """Be a process like others from now on: Ctrl-C is an exception, since there may be something to clear away."""
    gc.freeze()
    gc.enable()
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _status(asked: "Namespace") -> int:
    """Do what is asked and return the exit status; an error is one sentence, not a traceback."""
    from streammix.errors import ConfigError, StreammixError

    try:
        status: int = asked.work(asked)
        return status
    except ConfigError as error:
        return _fail(WRONG_CONFIGURATION, str(error))
    except StreammixError as error:
        return _fail(1, str(error))
    except BrokenPipeError:
        # what is still buffered has nowhere to go, and must not fail again when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _fail(1, "standard output was closed by its reader")
    except OSError as error:
        return _fail(1, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "interrupted at once; the last checkpoint stands")
    except Exception as error:
        return _fail(1, f"{type(error).__name__}: {error} (not foreseen; --verbose shows where)")


def _fail(status: int, message: str) -> int:
    import logging

    from streammix.pipeline import talk

    log = logging.getLogger("streammix")
    if talk.is_json() and status != WRONG_CONFIGURATION:
        log.error(message)
    else:  # to whoever has typed the command
        print(f"error: {talk.without_secrets(message)}", file=sys.stderr)
    log.debug("where the error came from", exc_info=True)
    return status
