"""A cluster of two executors, one of which is killed amid a micro-batch, and another one amid a pass of `fit`.

``python lost_executor.py DIRECTORY``: fails where the results are not those of one machine.
"""

import os
import signal
import sys
import warnings
from functools import partial as bound
from pathlib import Path

import numpy as np
from spark_tools import OPTIONS, assert_same_state, events, mixture, single
from test_spark_stream import stepping

import streammix as sm
from streammix import shipping
from streammix.spark import fit, session


def kill_once(rows, mark):
    """Hand on rows, and kill the JVM of the executor that this task runs in, unless that was done before."""
    import os
    import signal

    yield next(rows)
    try:
        with open(mark, "x") as file:  # one task of all, and one attempt
            daemon = os.getppid()
            with open(f"/proc/{daemon}/stat") as stat:
                jvm = int(stat.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{jvm}/comm") as comm:
                file.write(comm.read().strip())
    except FileExistsError:
        yield from rows
    else:
        os.kill(jvm, signal.SIGKILL)
        signal.pause()


def main():
    """Do as the module says."""
    warnings.simplefilter("ignore")
    directory = Path(sys.argv[1])
    options = OPTIONS | {
        "spark_executor_extraJavaOptions": OPTIONS["spark_driver_extraJavaOptions"],
        "spark_locality_wait": "0",  # for an executor that is gone
    }
    spark = session(spark_master="local-cluster[2,1,1024]", **options)
    spark.sparkContext.setLogLevel("OFF")
    table = events(2_000, 2)
    rows = spark.createDataFrame(table).repartition(4)

    model = mixture(warm_up=100, batch_size=100)
    model.learn_many(events(100, 1).drop(["id"]))
    expected = single(shipping.unpacked_model(*shipping.packed_model(model)), [table])
    stepping(model, directory / "state")(rows.mapInArrow(bound(kill_once, mark=directory / "batch"), rows.schema), 0)
    assert_same_state(model, expected)
    with sm.CheckpointStore(directory / "state", readonly=True) as store:
        assert store.latest().positions["records"] == 2_000

    whole = sm.batch.fit(expected, table.drop(["id"]), max_iter=3, tol=0.0)

    def kill_in_the_second_pass(number, _):
        if number == 1:
            pid = blocks_of_an_executor(spark)
            (directory / "fit").write_text(Path(f"/proc/{pid}/comm").read_text().strip())
            os.kill(pid, signal.SIGKILL)

    trace = fit(rows, model, max_iter=3, tol=0.0, progress=kill_in_the_second_pass)
    np.testing.assert_allclose(trace.log_likelihood, whole.log_likelihood, rtol=1e-10)
    assert_same_state(model, expected, 1e-9)
    spark.stop()


def blocks_of_an_executor(spark):
    """The process of an executor's JVM, with the blocks of rows that it keeps."""

    def own_jvm(_):
        import os

        with open(f"/proc/{os.getppid()}/stat") as stat:
            yield int(stat.read().rpartition(")")[2].split()[1])

    return spark.sparkContext.parallelize(range(2), 2).mapPartitions(own_jvm).collect()[0]


if __name__ == "__main__":
    main()
