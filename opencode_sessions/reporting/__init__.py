"""`report`: sessions as one HTML file, to send to somebody who has nothing installed.

The page opens from disk, loads nothing and sends nothing. It has for each session its measures, the
timeline that notebooks have, its files, and the conversation with every call and change; a search,
keys, a dark theme, and a layout for paper. `tests/browser/test_report.py` opens it in a browser.
"""

import asyncio
import os
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import pandas as pd

from ..analytics import Frames
from ..analytics.loading import HasStore, load, load_frame
from ..redaction import redact
from .choice import Asked, only
from .measures import Measures
from .whole import fitting

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
        project: only this project: its worktree's path or the last part of it, or opencode's id;
            of one that has no sessions the page says that there are none.
        share: first replace secrets, names and places, as `redact` does.
        structure_only: share counts, times, types and hashes alone.
        names: more names to replace before sharing.

    Raises:
        SessionNotFound: no session has this id.
        OSError: the file cannot be written.
    """
    is_shared = share or structure_only or bool(names)
    asked = Asked(Path(path), session, project, is_shared, structure_only, names)
    if isinstance(target, Frames):
        return _write(target, target, asked)
    return _of_service(target, asked)


async def _of_service(service: HasStore, asked: Asked) -> Report:
    """Texts are loaded for what is told in full alone: a store may hold years."""
    sessions = asked.sessions(await load_frame(service, "sessions"))
    told = asked.told(sessions)
    asked = replace(asked, project=None)  # it has no others from here on
    full = await load(service, sessions=told, diffs=True, parts=True, progress=False)
    every = full
    if len(told) < len(sessions):
        every = await load(service, sessions=[*sessions["session_id"]], progress=False)
    return await asyncio.to_thread(_write, every, full, asked)


def _write(every: Frames, full: Frames, asked: Asked) -> Report:
    """Writes the page: measures and list of `every` session, and in `full` what is told."""
    sessions = asked.sessions(every.sessions)
    told = asked.told(sessions)
    measures = Measures(only(every, sessions, sessions["session_id"]))
    frames = only(full, sessions, told)
    replaced = None
    if asked.is_shared:
        before = sessions["session_id"].astype("str")
        frames, replaced = redact(frames, names=asked.names, structure_only=asked.structure_only)
        after = frames.sessions["session_id"].astype("str")
        new = dict(zip(before, after, strict=True))
        measures.rename(new)
        told = [new[id] for id in told]
    data, notes = fitting(frames, told, measures, replaced)
    asked.path.write_bytes(data)
    return Report(asked.path, len(told), len(frames.messages), len(data), notes, replaced)
