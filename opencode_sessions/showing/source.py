"""Sessions, their messages and events, from a service or from frames."""

from collections.abc import Mapping
from typing import Any, Protocol

import pandas as pd

from ..analytics import Frames
from ..errors import SessionNotFound

Row = Mapping[Any, Any]  # of a frame, by its columns


class Source(Protocol):
    """What the explorer asks; a service answers it."""

    async def sessions(self) -> pd.DataFrame:
        """All sessions."""

    async def file_events(self, session: str, *, diffs: bool) -> pd.DataFrame:
        """One session's file events, in order."""

    async def message(self, message_id: str) -> pd.DataFrame:
        """A message and the prompt it answers, or as few of them as there are."""

    async def search(self, text: str, *, limit: int, progress: bool) -> pd.DataFrame:
        """Where words stand, newest first."""


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
        if not is_of(self._frames.sessions, session).any():
            raise SessionNotFound(
                f"No session {session!r} in these frames. See `frames.sessions.session_id`."
            )
        events = self._frames.file_events
        return events[is_of(events, session)].reset_index(drop=True)

    async def message(self, message_id: str) -> pd.DataFrame:
        """A message and the prompt it answers; with parts if the frames have them."""
        messages = self._frames.messages
        is_it = messages["message_id"] == message_id
        found: pd.DataFrame = messages[is_it]
        if found.empty:
            return found
        its = messages[messages["session_id"] == found["session_id"].iloc[0]]
        its = its[its["role"].eq("user") & its["seq"].lt(found["seq"].iloc[0]).fillna(False)]
        is_prompt = found["role"].iloc[0] == "user"
        return found if is_prompt else together([its.tail(1), found])

    async def search(self, text: str, *, limit: int, progress: bool) -> pd.DataFrame:
        """Where words stand, newest first; in changes and outputs if the frames have them."""
        from .searching import search_frames

        return await search_frames(self._frames, text, limit)


def row(frame: pd.DataFrame, place: int) -> Row:
    """The row at this place."""
    return frame.iloc[place].to_dict()


def is_known(value: Any) -> bool:
    """Whether a cell holds a value."""
    return not pd.isna(value)


def is_of(frame: pd.DataFrame, session: str) -> "pd.Series[bool]":
    """Which rows are of the session with this id, its row's or opencode's."""
    return (frame["session_id"] == session) | (frame["opencode_session_id"] == session)


def together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows of several sessions as one frame, with the dtypes they had."""
    if len(frames) == 1:
        return frames[0]
    joined = pd.concat(frames, ignore_index=True)
    texts = [name for name in joined if isinstance(frames[0][name].dtype, pd.CategoricalDtype)]
    return joined.astype(dict.fromkeys(texts, "category"))
