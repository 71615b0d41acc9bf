"""A Spark session, or one sentence that says what is missing for one."""

import os
import shutil
from importlib.util import find_spec
from typing import Any

from streammix.errors import ConfigError

__all__ = ["session"]


def session(**options: Any) -> Any:
    """Return the Spark session that is running, or start one.

    Parameters
    ----------
    options
        Spark's configuration with ``_`` for ``.``, such as ``spark_master="local[2]"``.

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
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for name, value in options.items():
        builder = builder.config(name.replace("_", "."), value)
    return builder.getOrCreate()
