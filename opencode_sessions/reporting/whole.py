"""The page of several sessions: cut until it fits, with what was left out said in words."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from ..analytics import Frames
from ..analytics.choosing import IN_SESSION
from ..parts import tool_calls
from ..showing.sessions import title
from ..showing.source import Row, is_known
from ..shown import escaped, number_of, visible
from .choice import SESSIONS
from .limits import BUDGET, LEVELS, Cut, level_for
from .listing import list_html
from .measures import Measures
from .page import page_html
from .section import section_html

LISTED = 1_000  # sessions of the table; of more, the newest
TOO_LARGE = 5_000_000  # bytes
NO_SESSIONS = (
    "There are no sessions here. `opencode-sessions sessions` lists what there is, and"
    " `opencode-sessions import` brings in what opencode has."
)


def fitting(
    frames: Frames, told: Sequence[str], measures: Measures, replaced: pd.DataFrame | None
) -> tuple[bytes, tuple[str, ...]]:
    """The page, its texts and sessions cut until it fits; and what was left out, in words."""
    messages, events = (_counts(frame) for frame in (frames.messages, frames.file_events))
    for limits in LEVELS[_level(frames) :]:
        cut = Cut(limits, messages, events)
        body = _body(frames, told, measures, cut)
        notes = tuple(note for note in _notes(frames, max(messages, default=0), cut) if note)
        page = _page(frames, body, notes, replaced)
        if len(page) <= BUDGET:
            break
    if len(page) > TOO_LARGE:
        notes = (f"{len(page) / 1e6:,.0f} MB for one page: name a session, or a project.", *notes)
        page = _page(frames, body, notes, replaced)
    return page, notes


def _page(frames: Frames, body: str, notes: Sequence[str], replaced: pd.DataFrame | None) -> bytes:
    shown = ("Secrets, names and places are replaced by marks.",) if replaced is not None else ()
    heading, about = _heading(frames.sessions.to_dict("records"))  # type: ignore[arg-type]
    return page_html(heading, about, body, (*shown, *notes), replaced).encode("utf-8", "replace")


def _body(frames: Frames, told: Sequence[str], measures: Measures, cut: Cut) -> str:
    sessions: list[Row] = frames.sessions.to_dict("records")  # type: ignore[assignment]
    anchors = {id: f"s{number}" for number, id in enumerate(told)}
    for one in sessions:  # a task call names what it started by opencode's id
        if (anchor := anchors.get(str(one["session_id"]))) and is_known(one["opencode_session_id"]):
            anchors[str(one["opencode_session_id"])] = anchor
    rows = {name: _by_session(getattr(frames, name)) for name in IN_SESSION}
    sections = []
    for place, one in enumerate(sessions):
        id = str(one["session_id"])
        if id not in anchors:
            continue
        own = {name: by.get(id, getattr(frames, name).iloc[:0]) for name, by in rows.items()}
        part = Frames(sessions=frames.sessions.iloc[[place]], **own)
        sections.append(section_html(part, one, measures, anchors, cut))
    listed = list_html(sessions[-LISTED:], measures, anchors) if len(sessions) != 1 else ""
    return listed + "".join(sections)


def _notes(frames: Frames, longest: int, cut: Cut) -> Iterator[str]:
    count = len(frames.sessions)
    more = min(count, LISTED) - SESSIONS
    if more > 0:
        yield f"The {SESSIONS} newest sessions are told in full; {more:,} older ones are listed."
    if count > LISTED:
        yield f"{number_of(count - LISTED, 'session')} before these are not on the page."
    if longest > cut.messages:
        yield f"Of sessions with more than {cut.messages:,} messages the middle is left out."
    if not cut.limits.is_live:
        yield "Of the timelines only the pictures are here."
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
    counts = len(frames.messages), len(frames.file_events)
    return level_for(letters(frames.messages["content"]), outputs, letters(diffs), *counts)


def _counts(frame: pd.DataFrame) -> list[int]:
    """How many rows each session has."""
    return [int(count) for count in frame["session_id"].astype("str").value_counts()]


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


def _by_session(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    groups = frame.groupby(frame["session_id"].astype("str"), sort=False)
    return {str(id): rows.reset_index(drop=True) for id, rows in groups}
