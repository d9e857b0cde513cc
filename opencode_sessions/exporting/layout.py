"""How an export lies in its folder, said once: for the writer, the reader, and Spark.

    frame=sessions/day=2026-03-01/20260302T081500.000000Z-1f9c24ab-0000.parquet
    frame=messages/day=2026-03-01/20260302T081500.000000Z-1f9c24ab-0000.parquet
    ...
    _exporters/5c1be0a97d3f6e22.parquet    what one exporter has written; readers pass it over

A session lies whole under the day (UTC) it was created on. Nothing is ever written over: a session
that changed is written again, by a later export into files of its own, and `exported` tells in each
row which export that was. A session counts as its row in `sessions` with the latest `as_of`, of
equal ones the latest `exported`; rows of the other frames count if they have its `session_id` and
its `exported`. Its row in `sessions` is written last, so whoever reads `sessions` first sees every
session whole or not at all.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import pyarrow as pa

from ..analytics.arrow import REPEATED, TEXT, TYPES
from ..analytics.columns import COLUMNS, TIME, Column
from ..errors import ExportError
from ..store import TableName

SCHEMA: Final = 1
"""Counts the changes after which older readers would misread a column; new columns are no such."""
SCHEMA_KEY, VERSION_KEY = b"opencode_sessions.schema", b"opencode_sessions.version"
COLUMNS_KEY = b"opencode_sessions.columns"
"""The names of a Parquet file's columns, joined by commas; one that others wrote may lack it."""
VERSION = version("opencode-sessions")
METADATA = {SCHEMA_KEY: str(SCHEMA).encode(), VERSION_KEY: VERSION.encode()}

EXPORTED = "exported"
"""In every row, the export that wrote it; a later one sorts after it."""
AS_OF = "as_of"
"""In the rows of `sessions`, the latest moment of the session that is known in them."""
NO_DAY = "__HIVE_DEFAULT_PARTITION__"
EXPORTERS = "_exporters"
SALT_KEY = b"opencode_sessions.salt"
"""Of an exporter's note: what makes its marks others than those in its other folders."""
SUFFIX = ".parquet"
MANIFEST = "export.json"

# The order in which the frames of a session are written.
WRITTEN: tuple[TableName, ...] = ("messages", "tool_calls", "file_events", "sessions")


def partition(name: TableName, day: str | None) -> str:
    """The folder of a frame's rows, of sessions created on a day."""
    return f"frame={name}/day={day or NO_DAY}"


def arrow_type(column: Column) -> Any:
    """What a column is in a table of an export; parts and input are JSON as text."""
    return TYPES.get(column.dtype, TEXT)


def types(name: TableName) -> dict[str, Any]:
    """The types of all that a Parquet file of this frame may have, in order."""
    added = {EXPORTED: REPEATED}
    if name == "sessions":
        added[AS_OF] = TYPES[TIME]
    return {column.name: arrow_type(column) for column in COLUMNS[name]} | added


def check_schema(said: object, file: str) -> None:
    """Refuses a file that was written under a schema this version does not know.

    Raises:
        ExportError: it is of a newer one, or says none that is a number.
    """
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    if not text.isdecimal():
        raise ExportError(f"{file} says of its schema {text!r}: it is no export of this package.")
    if int(text) > SCHEMA:
        raise ExportError(
            f"{file} is of schema {text}; this version knows those up to {SCHEMA}. Use the newer "
            "version: `pip install --upgrade opencode-sessions`."
        )


def read_manifest(data: bytes, file: str) -> Mapping[str, Any]:
    """What an export in single files says of itself.

    Raises:
        ExportError: it is no such manifest, or of a newer schema.
    """
    try:
        said = json.loads(data)
    except ValueError as error:
        raise ExportError(f"{file} is damaged: {error}.") from error
    if not isinstance(said, dict) or "schema" not in said or "frames" not in said:
        raise ExportError(f"{file} is not the manifest of an export.")
    check_schema(said["schema"], file)
    return said


def filled(name: TableName, table: Any) -> Any:
    """A table of any version with all of today's columns that every export has, in order.

    What an older version did not know is null; what a later one added is left out.
    """
    optional = {column.name for column in COLUMNS[name] if column.is_optional}
    there = {*table.column_names}
    columns = {
        column: _cast(table[column], type_) if column in there else _nulls(table, type_)
        for column, type_ in types(name).items()
        if column in there or column not in optional
    }
    return pa.table(columns)


def encoded(texts: Any) -> Any:
    """Texts that repeat as a dictionary."""
    return texts.cast(REPEATED.value_type).dictionary_encode()


def _cast(values: Any, type_: Any) -> Any:
    if values.type == type_:
        return values
    return encoded(values) if type_ == REPEATED else values.cast(type_)


def _nulls(table: Any, type_: Any) -> Any:
    return pa.chunked_array([pa.nulls(len(table), type_)])
