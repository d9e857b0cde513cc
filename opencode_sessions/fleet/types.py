"""What a column of a frame is to Spark, and back."""

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from ..analytics.columns import TIME

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SPARK = {
    "category": "string",
    "str": "string",
    "object": "string",  # JSON as text
    "int32": "int",
    "int64": "bigint",
    "Int32": "int",
    "Int64": "bigint",
    "float64": "double",
    "bool": "boolean",
    "boolean": "boolean",
}
# What Spark asks of a worker for each of them.
ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}
PANDAS = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def spark_type(dtype: object) -> str:
    """Spark's name of a dtype of ours; a time of any zone is a moment to it.

    Raises:
        ValueError: no column of ours has this dtype.
    """
    if isinstance(dtype, pd.DatetimeTZDtype) or str(dtype).startswith("datetime64[us, "):
        return "timestamp"
    if str(dtype) not in SPARK:
        raise ValueError(f"No column of type {dtype} goes to Spark: {', '.join(SPARK)}, times do.")
    return SPARK[str(dtype)]


def to_pandas(table: "DataFrame") -> pd.DataFrame:
    """The rows of a Spark DataFrame in pandas: texts, nullable integers, moments in UTC."""
    frame: pd.DataFrame = table.toArrow().to_pandas(types_mapper=PANDAS.get)
    times = frame.select_dtypes("datetimetz").columns
    return frame.astype(dict.fromkeys(times, TIME))
