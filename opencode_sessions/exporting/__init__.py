"""Sessions as files that others can read, and back: `export` and `read_export`.

Parquet is for many people's sessions in one place, on a disk or in an object store: an export adds
what has changed, any number may run at once, and Spark reads the folder as it is (`layout`). JSON
lines and CSV are for other programs and for spreadsheets: one file a frame.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd

from ..analytics import Frames, load
from ..analytics.columns import COLUMNS
from ..analytics.loading import load_frame, of_project_in
from ..errors import ExportError
from ..redaction import redact
from ..redaction.finding import each_name
from .folders import Folder, folder_at
from .formats import WRITERS, Format
from .layout import MANIFEST, SCHEMA, VERSION
from .reading_back import OnDamage, check_on_damage, from_files, from_partitions
from .tables import table_of
from .writing import ROWS, Exporter, ExportReport, by_name, of_session

if TYPE_CHECKING:
    from ..analytics.loading import HasStore

__all__ = ["ExportReport", "export", "read_export"]

Target = str | os.PathLike[str]
OPTIONAL = {column.name for columns in COLUMNS.values() for column in columns if column.is_optional}


@overload
def export(
    source: Frames,
    target: Target,
    format: Format = "parquet",
    *,
    share: bool = False,
    names: Collection[str] = (),
    full: bool = False,
    exporter: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ExportReport: ...


@overload
def export(
    source: "HasStore",
    target: Target,
    format: Format = "parquet",
    *,
    diffs: bool = False,
    parts: bool = False,
    project: str | None = None,
    share: bool = False,
    names: Collection[str] = (),
    full: bool = False,
    exporter: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Awaitable[ExportReport]: ...


def export(
    source: "Frames | HasStore",
    target: Target,
    format: Format = "parquet",
    *,
    diffs: bool = False,
    parts: bool = False,
    project: str | None = None,
    share: bool = False,
    names: Collection[str] = (),
    full: bool = False,
    exporter: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ExportReport | Awaitable[ExportReport]:
    """Writes sessions into a folder: `export(frames, "out")`, or `await export(svc, "s3://...")`.

    Parquet adds to what is there: sessions that are new or have changed, each whole. JSON lines and
    CSV are one file a frame and take the place of those that are there.

    Args:
        source: frames of whole sessions, or a service, which is read piece by piece.
        target: a folder, or a URL of one that fsspec reaches (s3://, gs://, memory://, ...).
        format: "parquet", "jsonl" or "csv".
        diffs: of a service, also `file_events.diff`; frames are written with what they have.
        parts: of a service, also `messages.parts` and `tool_calls.input`.
        project: of a service, only this project: its worktree's path, its last part, or opencode's
            project id.
        share: replace secrets, names and places (`redaction.redact`) by marks; one secret has one
            mark in a folder, made with a secret of this user's that is kept beside his store, and a
            service is read in one piece for it. What the folder has already stays as it is: share
            into a new one.
        names: of people, companies, projects, to be replaced as well.
        full: write every session again, also those the folder has.
        exporter: under what name to note what was written, so that the next export adds what has
            changed; by default one of this user, machine and store.
        storage_options: what fsspec is to be told.

    Raises:
        ExportError: the target is no folder, or holds another format; the frames have other
            columns, or parts of sessions.
    """
    folder = folder_at(target, storage_options)
    _check_format(folder, format)
    hidden = each_name(names) if share or names else None
    if isinstance(source, Frames):
        if format != "parquet":
            return _write_files(folder, _shown(source, hidden), format)
        _check_whole(source)
        run = Exporter(folder, exporter, "frames", full=full, shared=hidden is not None)
        _add(run, source, hidden)
        return run.finish(source)

    async def from_store() -> ExportReport:
        ids = await _sessions_of(source, project)
        options: Any = {"diffs": diffs, "parts": parts, "progress": False}
        if format != "parquet":
            only = None if project is None else ids["session_id"]
            frames = await load(source, sessions=only, **options)
            frames = await asyncio.to_thread(_shown, frames, hidden)
            return await asyncio.to_thread(_write_files, folder, frames, format)
        how = {"full": full, "shared": hidden is not None}
        run = await asyncio.to_thread(Exporter, folder, exporter, source.store.place, **how)
        # A name that one session gives away is taken out of all of them.
        pieces = _pieces(ids) if hidden is None else [ids["session_id"].tolist()]
        for some in pieces:
            await asyncio.to_thread(_add, run, await load(source, sessions=some, **options), hidden)
        return await asyncio.to_thread(run.finish, await load(source, sessions=[], **options))

    return from_store()


def read_export(
    target: Target,
    *,
    on_damage: OnDamage = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> Frames:
    """Reads an export of any format: the frames that were written, each session once.

    Of a session that several exports have, the latest state counts; `origin` says whose it is. In
    Parquet what an older version of this package did not write yet is NA.

    Args:
        target: the folder or URL it was written to.
        on_damage: what to do with a Parquet file that cannot be read or is of a newer schema:
            "raise", or "log" it and give the rest.
        storage_options: what fsspec is to be told.

    Raises:
        ExportError: there is no export, or a file of it cannot be read; the message names it.
    """
    check_on_damage(on_damage)
    folder = folder_at(target, storage_options)
    manifest = folder.read(MANIFEST)
    if manifest is not None:
        return from_files(folder, manifest)
    return from_partitions(folder, on_damage)


def _shown(frames: Frames, hidden: Collection[str] | None, key: bytes | None = None) -> Frames:
    """The frames as they are written; with names to hide, or none of them, without secrets."""
    return frames if hidden is None else redact(frames, names=hidden, key=key).frames


def _add(run: Exporter, frames: Frames, hidden: Collection[str] | None) -> None:
    """Writes what has changed of these; the frames as they are tell what has."""
    optional = [c for _, frame in by_name(frames) for c in frame if c in OPTIONAL]
    shared = [] if hidden is None else ["shared", *sorted(hidden)]
    states, rows = run.changed(frames, " ".join([str(SCHEMA), *optional, *shared]))
    if states:
        found = {
            name: frame[rows[name]] for name, frame in by_name(_shown(frames, hidden, run.marks))
        }
        run.write(Frames(**found), states)


def _write_files(folder: Folder, frames: Frames, format: Format) -> ExportReport:
    report = ExportReport(folder.place, format)
    tables = {name: table_of(name, frame) for name, frame in by_name(frames)}
    folder.remove(MANIFEST)  # until it is there again, what is in the folder is half an export
    for name, table in tables.items():
        json_columns = {c for c in ("parts", "input") if c in table.column_names}
        data = WRITERS[format](table, json_columns)
        folder.write(f"{name}.{format}", data)
        report.rows[name] = len(table)
        report.files += 1
        report.bytes += len(memoryview(data))
    said = {
        "format": format,
        "schema": SCHEMA,
        "version": VERSION,
        "frames": {
            name: {"rows": len(table), "columns": table.column_names}
            for name, table in tables.items()
        },
    }
    folder.write(MANIFEST, json.dumps(said, indent=1).encode())
    return report


def _check_format(folder: Folder, format: str) -> None:
    if format != "parquet" and format not in WRITERS:
        raise ExportError(f"{format!r} is no format. There are parquet, jsonl and csv.")
    manifest = folder.read(MANIFEST)
    if format == "parquet" and manifest is not None:
        raise ExportError(f"{folder.place} holds an export of another format. Name a new folder.")
    if format != "parquet" and folder.files("frame=sessions"):
        raise ExportError(f"{folder.place} holds an export as Parquet. Name a new folder.")


def _check_whole(frames: Frames) -> None:
    """Part of a session would take the place of the whole: its own row says how many rows it has.

    Raises:
        ExportError: some have fewer.
    """
    for name, frame in by_name(frames):
        if name == "sessions":
            continue
        ids = frames.sessions["session_id"].astype("str")
        at = of_session(ids, frame)
        there = np.bincount(at[at >= 0], minlength=len(ids))
        is_less = there < frames.sessions[name].fillna(0).to_numpy(dtype=np.int64)
        if is_less.any():
            what, first = name.replace("_", " "), ids[is_less].iloc[0]
            raise ExportError(
                f"{int(is_less.sum())} sessions have fewer {what} than their row in sessions says, "
                f"first {first!r}. An export takes whole sessions: load without file_path, and "
                "once more if they were written to meanwhile."
            )


async def _sessions_of(source: "HasStore", project: str | None) -> pd.DataFrame:
    """Each session's row id, the moment it was created, and how many rows it has."""
    frame = await load_frame(source, "sessions")
    if project is not None:
        frame = of_project_in(project, frame)
    rows = frame[["messages", "tool_calls", "file_events"]].fillna(0).sum(axis=1)
    return pd.DataFrame(
        {
            "session_id": frame["session_id"].astype("str"),
            "created_at": frame["created_at"],
            "rows": rows,
        }
    )


def _pieces(sessions: pd.DataFrame) -> Iterator[list[str]]:
    """Row ids of sessions, oldest first, about as many as make a file."""
    ordered = sessions.sort_values("created_at", kind="stable")
    number = ordered["rows"].cumsum() // ROWS
    for _, some in ordered["session_id"].groupby(number):
        yield some.tolist()
