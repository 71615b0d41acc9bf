"""One Spark session for all tests: it takes seconds to start."""

import shutil
from pathlib import Path

import pytest
from spark_tools import OPTIONS

pytest.importorskip("pyspark", reason="pyspark is not installed")


def pytest_collection_modifyitems(items):
    """Let tests on Spark come first: all go to the first test process, and others steal from the end."""
    items.sort(key=lambda item: Path(__file__).parent not in item.path.parents)


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """Two cores, few partitions; a task may fail once."""
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: apt-get install default-jre-headless")
    from streammix.spark import session

    warehouse = str(tmp_path_factory.mktemp("warehouse"))
    made = session(spark_master="local[2,2]", spark_sql_warehouse_dir=warehouse, **OPTIONS)
    made.sparkContext.setLogLevel("OFF")
    yield made
    made.stop()
