"""A measure on Spark: rows of a group become frames, and its table becomes rows."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..analytics.columns import COLUMNS
from ..exporting.layout import filled
from ..exporting.tables import frame_of, frames_of
from ..store import TableName
from .reading import Fleet
from .types import ARROW, spark_type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Measure = Callable[..., pd.DataFrame]
FRAME = "frame"  # whose row it is, in rows of several frames
SORTED = pa.schema({"session_id": pa.string(), "seq": pa.int32(), "event_id": pa.string()})


def run(measure: Measure, frames: Fleet, by: str | Sequence[str] = "project") -> "DataFrame":
    """What a measure of `analytics` gives for each group of rows, all of it one Spark DataFrame.

    The rows of a group go to one worker, which runs the pandas function on them as it is. Options
    are given with `functools.partial`: `run(partial(overwrites, by="model"), frames)`.

    Args:
        measure: a function of `events` or `frames` that gives a DataFrame, as those of `analytics`.
        frames: what `read` gives.
        by: what makes a group: one or several columns that all four frames have; with
            `["origin", "project"]` two people's folders of one name are two projects.

    Returns:
        the columns of `by`, as far as the measure's table has none of that name, then its table's;
        texts for categories. The rows are in no order.

    Raises:
        ValueError: the frames have no such column; the function takes or gives something else.
    """
    columns = [by] if isinstance(by, str) else list(by)
    names = _wanted(measure)
    for name in names:
        if missing := set(columns) - set(getattr(frames, name).columns):
            known = ", ".join(sorted(set.intersection(*(set(f.columns) for f in _all(frames)))))
            raise ValueError(f"{name} has no {sorted(missing)[0]!r} to group by. All have: {known}")
    # A table of no rows has the columns and dtypes of any other.
    nothing = {
        name: pa.table({column: pa.nulls(0) for column in getattr(frames, name).columns})
        for name in names
    }
    empty = _measured(measure, nothing)
    if not isinstance(empty, pd.DataFrame):
        raise ValueError(f"{measure} gave a {type(empty).__name__}, and no DataFrame.")
    types = {c: spark_type(dtype) for c, dtype in empty.dtypes.items()}
    before = [column for column in columns if column not in types]
    given = dict(getattr(frames, names[0]).dtypes)
    types = {column: given[column] for column in before} | types
    schema = ", ".join(f"`{column}` {type_}" for column, type_ in types.items())

    def group(rows: pa.Table) -> pa.Table:  # Spark looks at what it says of its types
        return _group(measure, names, before, rows)

    return _rows(frames, names).groupBy(*columns).applyInArrow(group, schema)


def _wanted(measure: Measure) -> list[TableName]:
    """The frames a measure is given: its first argument is called `events`, or `frames`."""
    first = next(iter(inspect.signature(measure).parameters), "")
    if first not in ("events", "frames"):
        raise ValueError(
            f"{measure} takes neither `events` nor `frames` first: what its first argument is "
            "called says what it is given."
        )
    return ["file_events"] if first == "events" else list(COLUMNS)


def _all(frames: Fleet) -> Iterator["DataFrame"]:
    return (frame for _, frame in frames.by_name())


def _rows(frames: Fleet, names: Sequence[TableName]) -> "DataFrame":
    """The rows of these frames, one under the other."""
    from pyspark.sql import functions as sql

    first, *others = (getattr(frames, name).withColumn(FRAME, sql.lit(name)) for name in names)
    for other in others:
        first = first.unionByName(other, allowMissingColumns=True)
    return first  # type: ignore[no-any-return]


def _group(
    measure: Measure, names: Sequence[TableName], before: Sequence[str], rows: Any
) -> pa.Table:
    """A measure's table for the rows of one group; runs on a worker."""
    whose = rows[FRAME]
    tables = {name: rows.filter(pc.equal(whose, name)) for name in names}
    table = _measured(measure, tables)
    keys = {column: pa.repeat(rows[column][0], len(table)) for column in before}
    return pa.table(keys | {column: _plain(table[column]) for column in table})


def _measured(measure: Measure, tables: dict[TableName, Any]) -> pd.DataFrame:
    if list(tables) == ["file_events"]:
        return measure(_events(tables["file_events"]))
    return measure(frames_of(lambda name: filled(name, tables[name])))


def _events(rows: Any) -> pd.DataFrame:
    table = filled("file_events", rows)
    sorted_by = [("session_id", "ascending"), ("seq", "ascending"), ("event_id", "ascending")]
    plain = table.select([name for name, _ in sorted_by]).cast(SORTED)
    order = pc.sort_indices(plain, sort_keys=sorted_by).to_numpy()
    return frame_of("file_events", table, order.astype("int64"))


def _plain(values: "pd.Series[Any]") -> Any:
    """A column as Spark takes it: text instead of categories, moments in UTC."""
    array = pa.Array.from_pandas(values)
    return (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).cast(
        ARROW[spark_type(values.dtype)]
    )
