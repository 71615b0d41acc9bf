"""One Spark session for all tests: it takes seconds to start."""

import shutil

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed")


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    """Two cores, no web page, few partitions; a task may fail three times."""
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: apt-get install default-jre-headless")
    from streammix.spark import session

    made = session(
        spark_master="local[2,4]",
        spark_ui_enabled="false",
        spark_sql_shuffle_partitions="4",
        spark_driver_memory="600m",
        spark_sql_warehouse_dir=str(tmp_path_factory.mktemp("warehouse")),
        spark_sql_session_timeZone="UTC",
        spark_driver_host="127.0.0.1",
        spark_driver_bindAddress="127.0.0.1",
    )
    made.sparkContext.setLogLevel("OFF")
    yield made
    made.stop()
