"""A frame as an Arrow table, and back: the same columns, dtypes, categories and order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ..analytics import Frames
from ..analytics.arrow import REPEATED, TEXT, Numbers, coded
from ..analytics.building import row_order
from ..analytics.columns import COLUMNS
from ..analytics.framing import to_frame
from ..errors import ExportError
from ..store import TableName
from ..store.values import dumps, loads
from .layout import arrow_type, encoded


def table_of(name: TableName, frame: pd.DataFrame) -> pa.Table:
    """The table of a frame; what is JSON in it becomes text.

    Raises:
        ExportError: a column is missing, or is none of this frame's.
    """
    known = {column.name: column for column in COLUMNS[name]}
    missing = [c.name for c in known.values() if c.name not in frame and not c.is_optional]
    unknown = [str(column) for column in frame if column not in known]
    for what, names in (("lacks", missing), ("has, which no export knows,", unknown)):
        if names:
            raise ExportError(f"The frame {name} {what} {', '.join(names)}. See `frames.schema`.")
    return pa.table({name: _array(frame[name], c) for name, c in known.items() if name in frame})


def _array(values: "pd.Series[Any]", column: Any) -> Any:
    type_ = arrow_type(column)
    if column.dtype == "object":
        return pa.array([None if _is_missing(value) else dumps(value) for value in values], TEXT)
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes = values.cat.codes.to_numpy()
        categories = pa.array(values.cat.categories, REPEATED.value_type)
        places = pa.array(codes.astype(np.int32), mask=codes < 0)
        return pa.DictionaryArray.from_arrays(places, categories)
    if column.dtype == "category":
        return encoded(pa.array(values, TEXT, from_pandas=True))
    return pa.array(values, type_, from_pandas=True)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def frame_of(
    name: TableName, table: pa.Table, order: Numbers | None = None, *, parse: bool = True
) -> pd.DataFrame:
    """The frame of a table, of the columns that are there; `parse` False leaves JSON as text."""
    columns = [column for column in COLUMNS[name] if column.name in table.column_names]
    if not parse:
        columns = [c._replace(dtype="str") if c.dtype == "object" else c for c in columns]
    found = {
        c.name: _objects(table[c.name], c.name) if c.dtype == "object" else table[c.name]
        for c in columns
    }
    return to_frame(columns, found, table.num_rows, order)


def _objects(texts: Any, column: str) -> Numbers:
    array = np.empty(len(texts), dtype=object)
    try:
        array[:] = [None if text is None else loads(text) for text in texts.to_pylist()]
    except ValueError as error:
        raise ExportError(f"What stands in {column} is no JSON: {error}") from error
    return array


def frames_of(tables: Callable[[TableName], pa.Table]) -> Frames:
    """Frames in their own order, whatever the order of the rows in the tables.

    Sessions are those first that were created first; in the other frames rows follow their session,
    and in it `seq`.
    """
    sessions = tables("sessions")
    ids = sessions["session_id"].cast(TEXT)
    by_age = _order(sessions["created_at"], ids)
    rank = {id: place for place, id in enumerate(ids.take(pa.array(by_age)).to_pylist())}

    def frame(name: TableName) -> pd.DataFrame:
        table = tables(name)
        codes, values = coded(table["session_id"])
        ranks = np.array([*(rank.get(id or "", len(rank)) for id in values), len(rank)])
        keys = {"seq": "seq", "created_at": "time", "id": COLUMNS[name][0].name}
        stored = {key: table[column] for key, column in keys.items()}
        return frame_of(name, table, row_order(ranks[codes], stored))

    return Frames(
        sessions=frame_of("sessions", sessions, by_age),
        messages=frame("messages"),
        tool_calls=frame("tool_calls"),
        file_events=frame("file_events"),
    )


def _order(*keys: Any) -> Numbers:
    """The rows sorted by the first key, then the next; what has none comes last."""
    table = pa.table(list(keys), [str(number) for number in range(len(keys))])
    by = [(name, "ascending") for name in table.column_names]
    found = pc.sort_indices(table, sort_keys=by)  # nulls at the end
    return found.to_numpy().astype(np.int64)  # type: ignore[no-any-return]
