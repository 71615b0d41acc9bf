"""A driver that is killed after its N-th checkpoint is written, and before Spark hears that the batch is done.

``python killed_driver.py DIRECTORY N``: learns DIRECTORY/in into DIRECTORY/state.
"""

import os
import signal
import sys
import warnings
from pathlib import Path

from spark_tools import OPTIONS, mixture
from test_spark_stream import run

from streammix.spark import session, stream


def main():
    """Do as the module says."""
    warnings.simplefilter("ignore")
    directory, last = Path(sys.argv[1]), int(sys.argv[2])
    call = stream._Step.__call__

    def call_and_die(self, batch, number):
        call(self, batch, number)
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    stream._Step.__call__ = call_and_die
    spark = session(spark_master="local[1]", **OPTIONS)
    spark.sparkContext.setLogLevel("OFF")
    run(spark, directory / "in", mixture(), directory / "state", files=1)


if __name__ == "__main__":
    main()
