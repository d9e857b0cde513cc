"""Sessions and their events, from a service or from frames."""

from collections.abc import Coroutine
from typing import Any, Protocol

import pandas as pd

from ..analytics import Frames
from ..errors import SessionNotFound
from .panels import Row


class Source(Protocol):
    """What the explorer asks; a service answers it."""

    async def sessions(self) -> pd.DataFrame:
        """All sessions."""

    async def file_events(self, session: str, *, diffs: bool) -> pd.DataFrame:
        """One session's file events, in order."""


class FromFrames:
    """Frames, asked as a service is."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    async def sessions(self) -> pd.DataFrame:
        """All sessions."""
        return self._frames.sessions

    async def file_events(self, session: str, *, diffs: bool) -> pd.DataFrame:
        """One session's file events, in order; with diffs if the frames have them.

        Raises:
            SessionNotFound: no session has this id.
        """
        if not _is_of(self._frames.sessions, session).any():
            raise SessionNotFound(
                f"No session {session!r} in these frames. See `frames.sessions.session_id`."
            )
        events = self._frames.file_events
        return events[_is_of(events, session)].reset_index(drop=True)


def session_row(sessions: pd.DataFrame, session: str | None) -> Row | None:
    """The session with this id, its row's or opencode's."""
    found = sessions[_is_of(sessions, session)] if session is not None else sessions.head(0)
    return None if found.empty else row(found, 0)


def newest(sessions: pd.DataFrame) -> str | None:
    """The id of the newest session that touched a file, else of the newest."""
    busy = sessions[sessions["file_events"] > 0]
    by_age = (sessions if busy.empty else busy).sort_values("created_at", kind="stable")
    return None if by_age.empty else str(by_age["session_id"].iloc[-1])


def row(frame: pd.DataFrame, place: int) -> Row:
    """The row at this place."""
    return {name: frame[name].iloc[place] for name in frame}


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine that waits for nothing, with or without a loop."""
    try:
        work.send(None)
    except StopIteration:
        return


def _is_of(frame: pd.DataFrame, session: str) -> "pd.Series[bool]":
    return (frame["session_id"] == session) | (frame["opencode_session_id"] == session)
