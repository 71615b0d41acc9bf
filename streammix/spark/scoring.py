"""What a model says of each row, as columns."""

from functools import partial as bound
from typing import Any

from streammix import shipping
from streammix.errors import ConfigError
from streammix.mixture import Mixture
from streammix.spark import tasks
from streammix.spark.passes import check_arguments, in_arrow

__all__ = ["score"]

DataFrame = Any


def score(df: DataFrame, model: Mixture) -> DataFrame:
    """Return a DataFrame with what a model, as it is now, says of each row; for batch and streaming queries.

    Parameters
    ----------
    df
        Rows whose columns are the model's fields, and any others.
    model
        A mixture past its warm-up.

    Returns
    -------
    pyspark.sql.DataFrame
        The same rows with the columns ``component`` (int), ``responsibilities`` (array of double) and ``score``
        (double: −log p(x)); null where a row is refused.

    Raises
    ------
    ConfigError
        If the model is still warming up, or a column is there already.
    """
    check_arguments(df, model, on_driver=False)
    if not model.is_warm:
        raise ConfigError("the model is still warming up: there is nothing to score by")
    for name, _ in tasks.SCORES:
        if name in df.columns:
            raise ConfigError(f"the DataFrame has a column {name!r} already")
    from pyspark.sql.types import ArrayType, DoubleType, IntegerType, StructField, StructType

    kinds = [IntegerType(), ArrayType(DoubleType()), DoubleType()]
    added = [StructField(name, kind) for (name, _), kind in zip(tasks.SCORES, kinds, strict=True)]
    version, data = shipping.packed_model(model)
    task = bound(tasks.score_rows, version=version, model=data)
    return in_arrow(df, task, StructType([*df.schema.fields, *added]))
