"""A Spark session, or one sentence that says what is missing for one."""

import os
import shutil
import sys
from importlib.util import find_spec
from typing import Any

from streammix.errors import ConfigError

__all__ = ["session"]


def session(**options: Any) -> Any:
    """Return the Spark session that is running, or start one.

    Parameters
    ----------
    options
        Spark's configuration with ``_`` for ``.``, such as ``spark_master="local[2]"``. A local master runs this
        Python, where ``PYSPARK_PYTHON`` doesn't say otherwise.

    Raises
    ------
    ConfigError
        If pyspark or Java is missing.
    """
    if find_spec("pyspark") is None:
        raise ConfigError("streammix.spark needs pyspark: pip install 'streammix[spark]'")
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=os.path.join(home, "bin")) if home else shutil.which("java")
    if java is None:
        where = f"there is none in JAVA_HOME, {home}" if home else "there is no java on the PATH"
        raise ConfigError(f"Spark needs Java 17 or newer: {where}; on Debian: apt-get install default-jre-headless")
    if str(options.get("spark_master", "")).startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for name, value in options.items():
        builder = builder.config(name.replace("_", "."), value)
    return builder.getOrCreate()
