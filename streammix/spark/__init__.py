"""The same mixtures on Spark: executors take partial statistics, the driver merges them, steps and checkpoints.

`learn_stream` is stepwise EM over Structured Streaming, `fit` batch EM over a DataFrame, `score` adds what a model says
of each row, `learn_by_key` keeps a small model for each key. The statistics are the core's own (`streammix.partial`):
the results are those of one machine. Install ``streammix[spark]``, and Java 17 or newer. See docs/spark.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streammix.spark.fitting import Fitted, fit
    from streammix.spark.keyed import learn_by_key
    from streammix.spark.scoring import score
    from streammix.spark.starting import session
    from streammix.spark.stream import learn_stream

__all__ = ["Fitted", "fit", "learn_by_key", "learn_stream", "score", "session"]

# Where each name lives; executors, which need `tasks` alone, start sooner without the rest.
_HOMES = {
    "Fitted": "fitting",
    "fit": "fitting",
    "learn_by_key": "keyed",
    "learn_stream": "stream",
    "score": "scoring",
    "session": "starting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
