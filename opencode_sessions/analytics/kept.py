"""Tables kept as Arrow files beside the database, to be mapped into memory the next time.

A file says by which marks its sessions are known (see `store.whole`); it is of use for as many of
them as have that mark still. It is put in place whole or not at all, can be deleted at any time,
and where there is no place for one there is none.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import ipc

from ..store import TableName
from .arrow import in_one, listed

log = logging.getLogger("opencode_sessions")

FORMAT = 1  # another one for every change of what is kept and how
ROWS = 100_000  # in one batch of a file
ABANDONED_S = 3600  # after which nobody writes on at a file that is not in place yet
ABOUT, SESSIONS, MARKS = b"about", b"sessions", b"marks"


class Kept(NamedTuple):
    """A table as it was, and the sessions there were, with the mark of each that has one."""

    table: Any
    marks: Mapping[str, int | None]


def read(folder: Path, name: TableName, types: Mapping[str, Any], version: int) -> Kept | None:
    """What is kept of a table; None if nothing is, or by another version of the schema or of us."""
    try:
        with pa.memory_map(str(_file(folder, name))) as file:
            found = ipc.open_file(file)
            told = found.schema.metadata or {}
            if told.get(ABOUT) != _about(types, version):
                return None
            table = found.read_all()
        ids, marks = _unpacked(told[SESSIONS], pa.string()), _unpacked(told[MARKS], pa.int64())
    except (OSError, pa.ArrowException, KeyError) as error:
        log.debug("nothing kept of %s: %s", name, error)
        return None
    return Kept(table, dict(zip(ids, marks, strict=True)))


def write(folder: Path, name: TableName, kept: Kept, version: int) -> None:
    """Keeps a table, if there is a place for it, for this user alone."""
    types = dict(zip(kept.table.schema.names, kept.table.schema.types, strict=True))
    told = {
        ABOUT: _about(types, version),
        SESSIONS: _packed(list(kept.marks), pa.string()),
        MARKS: _packed(list(kept.marks.values()), pa.int64()),
    }
    temporary = None
    try:
        columns = [
            pa.chunked_array([in_one(column)]) if pa.types.is_dictionary(column.type) else column
            for column in kept.table.columns
        ]
        table = pa.table(columns, kept.table.schema).replace_schema_metadata(told)
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(f"{name}.????????"):  # by whoever was killed while writing it
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                left.unlink()
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f"{name}.")
        with open(descriptor, "wb") as file, ipc.new_file(file, table.schema) as written:
            for start in range(0, table.num_rows, ROWS):  # else there would be a copy of them all
                written.write_table(table.slice(start, ROWS).combine_chunks())
            written.close()
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave its name and not its bytes
        os.replace(temporary, _file(folder, name))
    except (OSError, pa.ArrowException) as error:
        log.debug("nothing is kept of %s: %s", name, error)
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def forget(folder: Path) -> None:
    """Removes all that is kept."""
    shutil.rmtree(folder, ignore_errors=True)


def _file(folder: Path, name: TableName) -> Path:
    return folder / f"{name}.arrow"


def _about(types: Mapping[str, Any], version: int) -> bytes:
    columns = ";".join(f"{name} {type_}" for name, type_ in types.items())
    return f"{FORMAT} {version} {hashlib.sha256(columns.encode()).hexdigest()}".encode()


def _packed(values: list[Any], type_: Any) -> bytes:
    batch = pa.record_batch({"": pa.array(values, type_)})
    return bytes(batch.serialize())


def _unpacked(packed: bytes, type_: Any) -> list[Any]:
    found = ipc.read_record_batch(pa.py_buffer(packed), pa.schema({"": type_}))
    return listed(found.column(0))
