"""`report`: sessions as one HTML file, to send to somebody who has nothing installed.

The page opens from disk, loads nothing and sends nothing. It has for each session its measures, the
timeline that notebooks have, its files, and the conversation with every call and change; a search,
keys, a dark theme, and a layout for paper. `tests/browser/test_report.py` opens it in a browser.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import pandas as pd

from ..analytics import Frames
from ..analytics.loading import IN_SESSION, HasStore, load, load_frame
from ..errors import OpencodeSessionsError, SessionNotFound
from ..parts import tool_calls
from ..redaction import redact
from ..showing.sessions import title
from ..showing.source import Row, is_known, is_of
from ..shown import escaped, number_of, visible
from .conversation import MESSAGES
from .limits import BUDGET, LEVELS, Cut, level_for
from .listing import list_html
from .measures import Measures
from .page import page_html
from .section import section_html

SESSIONS = 60  # told in full; of more, the newest, and the others are listed
BYTES_A_MESSAGE = 1_500  # of a page, beside its texts
NO_SESSIONS = "There are no sessions here. `opencode-sessions import` brings them in."

__all__ = ["Report", "report"]


@dataclass(frozen=True, slots=True)
class Report:
    """A page that was written: where, of what, and what is not in it."""

    path: Path
    sessions: int
    messages: int
    bytes: int
    notes: tuple[str, ...]
    """What was folded or left out, in words."""
    replaced: pd.DataFrame | None = field(default=None, repr=False)
    """What was replaced before sharing: `kind`, `mark`, `count`, `where`; else None."""

    def __fspath__(self) -> str:
        return str(self.path)


@overload
def report(
    target: Frames,
    path: str | os.PathLike[str],
    *,
    session: str | None = None,
    project: str | None = None,
    share: bool = False,
    structure_only: bool = False,
    names: Collection[str] = (),
) -> Report: ...
@overload
def report(
    target: HasStore,
    path: str | os.PathLike[str],
    *,
    session: str | None = None,
    project: str | None = None,
    share: bool = False,
    structure_only: bool = False,
    names: Collection[str] = (),
) -> Awaitable[Report]: ...
def report(
    target: Frames | HasStore,
    path: str | os.PathLike[str],
    *,
    session: str | None = None,
    project: str | None = None,
    share: bool = False,
    structure_only: bool = False,
    names: Collection[str] = (),
) -> "Report | Awaitable[Report]":
    """Writes sessions as one HTML file: `await report(svc, "out.html")`, or of frames, at once.

    Frames should have been read with `diffs=True, parts=True`: else the page says what it lacks.
    A page has at most about 5 MB: long texts are cut, of very many messages and sessions the middle
    and the oldest are left out, and the page and `Report.notes` say so.

    Args:
        target: frames, or a service, whose report has to be awaited.
        path: the file to write; one that is there is replaced.
        session: only this session, by row id or opencode's, and the subagents it called.
        project: only this project: its worktree's path or the last part of it, or opencode's id.
        share: first replace secrets, names and places, as `redact` does.
        structure_only: share counts, times, types and hashes alone.
        names: more names to replace before sharing.

    Raises:
        SessionNotFound: no session has this id.
        OpencodeSessionsError: no session is of this project.
        OSError: the file cannot be written.
    """
    is_shared = share or structure_only or bool(names)
    how = (Path(path), session, project, is_shared, structure_only, names)
    if isinstance(target, Frames):
        return _write(target, *how)
    return _of_service(target, *how)


async def _of_service(
    service: HasStore, path: Path, session: str | None, project: str | None, *how: Any
) -> Report:
    wanted = None
    if session is not None:
        wanted = _family(await load_frame(service, "sessions"), session)
    frames = await load(
        service, sessions=wanted, project=project, diffs=True, parts=True, progress=False
    )
    return await asyncio.to_thread(_write, frames, path, session, project, *how)


def _write(
    frames: Frames,
    path: Path,
    session: str | None,
    project: str | None,
    is_shared: bool,
    structure_only: bool,
    names: Collection[str],
) -> Report:
    sessions = frames.sessions
    if project is not None:
        sessions = _of_project(sessions, project)
    if session is not None:
        sessions = sessions[sessions["session_id"].isin(_family(sessions, session))]
    sessions = sessions.sort_values("created_at", kind="stable", na_position="first")
    frames = _only(frames, sessions, sessions["session_id"])
    measures = Measures(frames)
    frames = _only(frames, sessions, sessions["session_id"].tail(SESSIONS))
    replaced = None
    if is_shared:
        frames, replaced = redact(frames, names=names, structure_only=structure_only)
        measures.rename(sessions["session_id"], frames.sessions["session_id"])
    page, notes = _fitting(frames, measures, replaced)
    data = page.encode("utf-8", "replace")
    path.write_bytes(data)
    count = min(len(sessions), SESSIONS)
    return Report(path, count, len(frames.messages), len(data), notes, replaced)


def _fitting(
    frames: Frames, measures: Measures, replaced: pd.DataFrame | None
) -> tuple[str, tuple[str, ...]]:
    """The page, its texts cut until it fits; and what was left out, in words."""
    level = _level(frames)
    while True:
        cut = Cut(LEVELS[level])
        page, notes = _page(frames, measures, cut, replaced)
        if len(page) <= BUDGET or level + 1 == len(LEVELS):
            return page, notes
        level += 1


def _page(
    frames: Frames, measures: Measures, cut: Cut, replaced: pd.DataFrame | None
) -> tuple[str, tuple[str, ...]]:
    sessions: list[Row] = frames.sessions.to_dict("records")  # type: ignore[assignment]
    told = sessions[-SESSIONS:]
    anchors = {str(one["session_id"]): f"s{number}" for number, one in enumerate(told)}
    anchors |= {
        str(one["opencode_session_id"]): anchors[str(one["session_id"])]
        for one in told
        if is_known(one["opencode_session_id"])
    }
    rows = {name: _by_session(getattr(frames, name)) for name in IN_SESSION}
    sections = []
    for place, one in enumerate(told, len(sessions) - len(told)):
        id = str(one["session_id"])
        own = {name: by.get(id, getattr(frames, name).iloc[:0]) for name, by in rows.items()}
        part = Frames(sessions=frames.sessions.iloc[[place]], **own)
        sections.append(section_html(part, one, measures, anchors, cut))
    notes = tuple(note for note in _notes(frames, cut) if note)
    body = "".join(sections)
    if len(sessions) != 1:
        body = list_html(sessions, measures, anchors) + body
    heading, about = _heading(sessions)
    shown = ("Secrets, names and places are replaced by marks.",) if replaced is not None else ()
    return page_html(heading, about, body, (*shown, *notes), replaced), notes


def _notes(frames: Frames, cut: Cut) -> Iterator[str]:
    more = len(frames.sessions) - SESSIONS
    if more > 0:
        yield f"The {SESSIONS} newest sessions are told in full; {more:,} older ones are listed."
    longest = frames.messages["session_id"].value_counts().max() if len(frames.messages) else 0
    if longest > MESSAGES:
        yield f"Of sessions with more than {MESSAGES:,} messages the middle is left out."
    yield cut.note()
    lacking = [
        word
        for word, is_there in (
            ("diffs", "diff" in frames.file_events),
            ("parts", "parts" in frames.messages),
        )
        if not is_there
    ]
    if lacking and len(frames.messages):
        yield (
            f"These frames have no {' and no '.join(lacking)}: read them with"
            " `diffs=True, parts=True` for the changes and the whole conversation."
        )


def _level(frames: Frames) -> int:
    def letters(column: "pd.Series[Any]") -> list[int]:
        return column.dropna().str.len().astype("int64").tolist()

    diffs = frames.file_events["diff"] if "diff" in frames.file_events else pd.Series(dtype="str")
    outputs = [
        length
        for parts in frames.messages.get("parts", ())
        for call in tool_calls(parts)
        for length in (len(call.output or call.error or ""),)
    ]
    fixed = BYTES_A_MESSAGE * len(frames.messages)
    return level_for(letters(frames.messages["content"]), outputs, letters(diffs), fixed)


def _heading(sessions: list[Row]) -> tuple[str, str]:
    """What the page is of: one session, one with its subagents, or a project."""
    if not sessions:
        return "No sessions", escaped(NO_SESSIONS)
    roots = {str(one["root_session_id"]) for one in sessions}
    first = next((o for o in sessions if str(o["session_id"]) in roots), sessions[0])
    projects = {str(one["project"]) for one in sessions if is_known(one["project"])}
    times = [one["created_at"] for one in sessions if is_known(one["created_at"])]
    span = ""
    if times:
        days = dict.fromkeys(f"{time:%Y-%m-%d}" for time in (min(times), max(times)))
        span = " to ".join(days)
    about = [number_of(len(sessions), "session"), span]
    if len(roots) == 1:
        inner = len(sessions) - 1
        about = [f"with {number_of(inner, 'subagent session')}", span] if inner else []
        heading = title(first)
    elif len(projects) == 1:
        path = projects.pop()
        heading = visible(re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path)
        about.insert(0, visible(path))
    else:
        heading = f"{len(projects):,} projects"
    return heading, escaped(" · ".join(word for word in about if word))


def _only(frames: Frames, sessions: pd.DataFrame, told: "pd.Series[Any]") -> Frames:
    """These sessions, and the rows of those that are told."""
    rows = {name: getattr(frames, name) for name in IN_SESSION}
    kept = {name: rows[name][rows[name]["session_id"].isin(told)] for name in rows}
    return Frames(sessions=sessions.reset_index(drop=True), **kept)


def _by_session(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    groups = frame.groupby(frame["session_id"].astype("str"), sort=False)
    return {str(id): rows.reset_index(drop=True) for id, rows in groups}


def _family(sessions: pd.DataFrame, session: str) -> list[str]:
    """A session and all that it called, directly or not.

    Raises:
        SessionNotFound: it is not there; the message names the newest.
    """
    found = sessions.loc[is_of(sessions, session), "session_id"].astype("str").tolist()
    if not found:
        newest = sessions.sort_values("created_at").tail(3)
        known = [
            f"{one['opencode_session_id']} {title(one)!r}" for one in newest.to_dict("records")
        ]
        hint = f" Newest: {', '.join(known)}." if known else ""
        raise SessionNotFound(f"No session {session!r} to report on.{hint}")
    parents = sessions["parent_session_id"].astype("str")
    while True:
        ids = {*found, *sessions.loc[sessions["session_id"].isin(found), "opencode_session_id"]}
        inner = sessions.loc[parents.isin(ids), "session_id"].astype("str")
        if not (new := [id for id in inner if id not in found]):
            return found
        found += new


def _of_project(sessions: pd.DataFrame, project: str) -> pd.DataFrame:
    """The sessions of a project, named as `frames(project=)` lets one name it.

    Raises:
        OpencodeSessionsError: there are none; the message names projects that have some.
    """
    wanted = project.rstrip("/") or project
    is_wanted = sessions["project_id"].eq(wanted)
    for column in ("project", "workdir"):
        paths = sessions[column].astype("str")
        last = paths.str.rstrip("\\/").str.split(r"[\\/]", regex=True).str[-1]
        is_wanted |= paths.eq(wanted) | last.eq(wanted)
    found = sessions[is_wanted.fillna(False)]
    if found.empty:
        known = sorted({visible(str(path)) for path in sessions["project"].dropna()})[:5]
        raise OpencodeSessionsError(
            f"No session is of {project!r}. Projects: {', '.join(known) or 'none'}."
        )
    return found
