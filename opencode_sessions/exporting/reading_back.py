"""An export read back into frames: each session once, as it was written last."""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..analytics import Frames
from ..analytics.arrow import REPEATED, TEXT, coded
from ..analytics.columns import COLUMNS
from ..errors import ExportError
from ..store import TableName
from .folders import Folder
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
    read = dict(_tables(folder, "sessions", on_damage))  # first: it says what is whole
    if not read:
        raise ExportError(
            f"There is no export in {folder.place}: it has no frame=sessions and no {MANIFEST}. "
            "`opencode-sessions export --to FOLDER` makes one."
        )
    counts = _that_count(read)

    def table(name: TableName) -> pa.Table:
        tables = read if name == "sessions" else dict(_tables(folder, name, on_damage))
        found = [_chosen(one, counts) for one in tables.values()]
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


def _tables(folder: Folder, name: TableName, on_damage: OnDamage) -> Iterator[tuple[str, pa.Table]]:
    """Each file of a frame, by its name."""
    repeated = [column for column, type_ in types(name).items() if type_ == REPEATED]
    for file in parquet_files(folder, name):
        try:
            yield file, _table(folder, file, name, repeated)
        except ExportError as error:
            if on_damage == "raise":
                raise
            log.warning("passed over: %s", error)


def _table(folder: Folder, file: str, name: TableName, repeated: list[str]) -> pa.Table:
    place = f"{folder.place}/{file}"
    data = folder.read(file)
    if data is None:
        raise ExportError(f"{place} was there and is gone.")
    try:
        table = from_parquet(data, repeated)
        _check_schema(table.schema, place)
        return filled(name, table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ExportError(f"{place} cannot be read: {error}") from error


def _that_count(files: Mapping[str, pa.Table]) -> dict[str, Any]:
    """By export, the row ids of the sessions of which it has the latest."""
    columns = ("opencode_session_id", "session_id", EXPORTED, AS_OF)
    latest: dict[str, tuple[tuple[datetime, str], str, str]] = {}
    for table in files.values():
        for opencode_id, id, exported, as_of in zip(
            *(table[column].to_pylist() for column in columns), strict=True
        ):
            found = (as_of or OLDEST, exported), exported, id
            key = opencode_id or id
            if key not in latest or found[0] > latest[key][0]:
                latest[key] = found
    counts: dict[str, list[str]] = {}
    for _, exported, id in latest.values():
        counts.setdefault(exported, []).append(id)
    return {exported: pa.array(ids, TEXT) for exported, ids in counts.items()}


def _chosen(table: pa.Table, counts: Mapping[str, Any]) -> pa.Table:
    """The rows of a file that count; it may be one put together from several exports'."""
    codes, exports = coded(table[EXPORTED])
    ids = table["session_id"].cast(TEXT)
    kept = pa.chunked_array([pa.array([False] * len(table), pa.bool_())])
    for code, exported in enumerate(exports):
        wanted = counts.get(exported or "")
        if wanted is not None:
            is_wanted = pc.is_in(ids, value_set=wanted)
            kept = pc.or_(kept, pc.and_(is_wanted, pa.array(codes == code)))
    return table.filter(kept)


def _whole(name: TableName, table: pa.Table) -> pa.Table:
    """With every column, and those that repeat as dictionaries of one kind."""
    return filled(name, table).unify_dictionaries()
