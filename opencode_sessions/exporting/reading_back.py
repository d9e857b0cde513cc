"""An export read back into frames: each session once, as it was written last."""

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..analytics import Frames
from ..analytics.arrow import REPEATED, coded
from ..analytics.columns import COLUMNS
from ..errors import ExportError
from ..store import TableName
from .folders import Folder, each
from .formats import READERS, check_columns, from_parquet
from .layout import (
    AS_OF,
    EXPORTED,
    MANIFEST,
    SCHEMA_KEY,
    SUFFIX,
    arrow_type,
    check_schema,
    filled,
    read_manifest,
    types,
)
from .tables import frames_of

NOTHING = pa.table({})
OLDEST = datetime.min.replace(tzinfo=UTC)
log = logging.getLogger("opencode_sessions")
OnDamage = Literal["raise", "log"]
Counts = dict[str | None, set[str | None]]
"""By export, the row ids of the sessions of which it has the latest."""


def check_on_damage(said: str) -> None:
    """Refuses what names no way to deal with damage: it would be taken for "log".

    Raises:
        ExportError: it is none.
    """
    if said not in (known := get_args(OnDamage)):
        raise ExportError(f"on_damage is {' or '.join(map(repr, known))}, not {said!r}.")


def from_partitions(folder: Folder, on_damage: OnDamage) -> Frames:
    """The frames of a folder of Parquet files.

    Raises:
        ExportError: there is no export, or a file cannot be read; the message names it.
    """
    read = [*_tables(folder, "sessions", on_damage)]  # first: it says what is whole
    if not read and not parquet_files(folder, "sessions"):
        raise ExportError(
            f"There is no export in {folder.place}: it has no frame=sessions and no {MANIFEST}. "
            "`opencode-sessions export --to FOLDER` makes one."
        )
    counts = _that_count(read)

    def table(name: TableName) -> pa.Table:
        if name == "sessions":
            found = [_chosen(one, counts) for one in read]
        else:
            found = [*_tables(folder, name, on_damage, counts)]
        return pa.concat_tables(found or [filled(name, NOTHING)], promote_options="default")

    return frames_of(lambda name: _whole(name, table(name)))


def from_files(folder: Folder, manifest: bytes) -> Frames:
    """The frames of a folder with one file a frame.

    Raises:
        ExportError: a file is missing or cannot be read; the message names it.
    """
    said = read_manifest(manifest, f"{folder.place}/{MANIFEST}")
    read = READERS.get(said.get("format"))  # type: ignore[arg-type]
    if read is None:
        raise ExportError(f"{folder.place}/{MANIFEST} names no format: {said.get('format')!r}.")

    def table(name: TableName) -> pa.Table:
        file = f"{name}.{said['format']}"
        frame = said["frames"][name]
        listed = {c.name: arrow_type(c) for c in COLUMNS[name] if c.name in frame["columns"]}
        json = {column.name for column in COLUMNS[name] if column.dtype == "object"}
        data = folder.read(file)
        if data is None:
            raise ExportError(f"{folder.place} lacks {file}, which its {MANIFEST} names.")
        try:
            found = read(data, listed, json)
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise ExportError(f"{folder.place}/{file} cannot be read: {error}") from error
        if len(found) != frame["rows"] or not data.endswith(b"\n" if data else b""):
            raise ExportError(
                f"{folder.place}/{file} has {len(found)} rows, whole ones or not; its {MANIFEST} "
                f"says {frame['rows']}."
            )
        return _whole(name, found)

    return frames_of(table)


def parquet_files(folder: Folder, name: TableName) -> list[str]:
    """The files that hold a frame's rows."""
    return [file for file in folder.files(f"frame={name}") if file.endswith(SUFFIX)]


def check_file(folder: Folder, file: str) -> None:
    """Looks at a file's end alone: whether it is whole, and of a schema this version knows.

    Raises:
        ExportError: it is not; the message names it.
    """
    place = f"{folder.place}/{file}"
    try:
        with folder.open(file) as stream:
            schema = pq.read_schema(stream)
        check_columns(schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ExportError(f"{place} cannot be read: {error}") from error
    _check_schema(schema, place)


def _check_schema(schema: Any, place: str) -> None:
    check_schema((schema.metadata or {}).get(SCHEMA_KEY, b"1"), place)
    needed = {"session_id", EXPORTED, *([AS_OF] if "/frame=sessions/" in place else [])}
    if missing := needed - set(schema.names):
        raise ExportError(f"{place} lacks {', '.join(sorted(missing))}: it is of no export.")


def _tables(
    folder: Folder, name: TableName, on_damage: OnDamage, counts: Counts | None = None
) -> Iterator[pa.Table]:
    """What is in each file of a frame; of rows that count, if it is told which do."""
    repeated = [column for column, type_ in types(name).items() if type_ == REPEATED]

    def read(file: str) -> pa.Table | ExportError:
        data = folder.read(file)  # a place that cannot be reached is no damage
        try:
            table = _table(data, f"{folder.place}/{file}", name, repeated)
        except ExportError as error:
            return error
        return table if counts is None else _chosen(table, counts)

    for found in each(folder, parquet_files(folder, name), read):
        if not isinstance(found, ExportError):
            yield found
        elif on_damage == "raise":
            raise found
        else:
            log.warning("passed over: %s", found)


def _table(data: bytes | None, place: str, name: TableName, repeated: list[str]) -> pa.Table:
    if data is None:
        raise ExportError(f"{place} was there and is gone.")
    try:
        table = from_parquet(data, repeated)
        _check_schema(table.schema, place)
        return filled(name, table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ExportError(f"{place} cannot be read: {error}") from error


def _that_count(files: Iterable[pa.Table]) -> Counts:
    columns = ("opencode_session_id", "session_id", EXPORTED, AS_OF)
    latest: dict[str, tuple[tuple[datetime, str], str, str]] = {}
    for table in files:
        for opencode_id, id, exported, as_of in zip(
            *(table[column].to_pylist() for column in columns), strict=True
        ):
            found = (as_of or OLDEST, exported), exported, id
            key = opencode_id or id
            if key not in latest or found[0] > latest[key][0]:
                latest[key] = found
    counts: Counts = {}
    for _, exported, id in latest.values():
        counts.setdefault(exported, set()).add(id)
    return counts


def _chosen(table: pa.Table, counts: Counts) -> pa.Table:
    """The rows of a file that count; it may be one put together from several exports'."""
    of_export, exports = coded(table[EXPORTED])
    of_session, ids = coded(table["session_id"])
    kept = np.zeros(len(table), dtype=bool)
    for code, exported in enumerate(exports):
        wanted = counts.get(exported, ())
        is_wanted = np.array([*(id in wanted for id in ids), False])  # the last for none
        kept |= is_wanted[of_session] & (of_export == code)
    return table if kept.all() else table.filter(pa.array(kept))


def _whole(name: TableName, table: pa.Table) -> pa.Table:
    """With every column, and those that repeat as dictionaries of one kind."""
    return filled(name, table).unify_dictionaries()
