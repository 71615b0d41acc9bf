"""The same mixtures on Spark: executors take partial statistics, the driver merges them, steps and checkpoints.

`learn_stream` is stepwise EM over Structured Streaming, `fit` batch EM over a DataFrame, `score` adds what a model says
of each row, `learn_by_key` keeps a small model for each key. The statistics are the core's own (`streammix.partial`):
the results are those of one machine. Install ``streammix[spark]``, and Java 17 or newer. See docs/spark.md.
"""

from streammix.spark.fitting import Fitted, fit
from streammix.spark.keyed import learn_by_key
from streammix.spark.scoring import score
from streammix.spark.starting import session
from streammix.spark.stream import learn_stream

__all__ = ["Fitted", "fit", "learn_by_key", "learn_stream", "score", "session"]
