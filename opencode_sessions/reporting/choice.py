"""Which sessions a report is of, and which of them are told in full."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..analytics import Frames
from ..analytics.choosing import IN_SESSION
from ..analytics.loading import of_project_in
from ..errors import SessionNotFound
from ..showing.sessions import title
from ..showing.source import is_of

SESSIONS = 60  # told in full; of more, the newest, and the others are listed


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report is to be of, and how."""

    path: Path
    session: str | None
    project: str | None
    is_shared: bool
    structure_only: bool
    names: Collection[str]

    def sessions(self, every: pd.DataFrame) -> pd.DataFrame:
        """Those it is of, the oldest first."""
        chosen = every if self.project is None else of_project_in(self.project, every)
        if self.session is not None:
            chosen = chosen[chosen["session_id"].isin(_family(chosen, self.session))]
        return chosen.sort_values("created_at", kind="stable", na_position="first")

    def told(self, sessions: pd.DataFrame) -> list[str]:
        """Those of them that are told in full: the newest, and the one that was asked for."""
        ids: list[str] = sessions["session_id"].astype("str").tolist()
        if self.session is None or len(ids) <= SESSIONS:
            return ids[-SESSIONS:]
        asked = sessions.loc[is_of(sessions, self.session), "session_id"].astype("str").tolist()
        return asked[:1] + [id for id in ids if id not in asked][1 - SESSIONS :]


def only(frames: Frames, sessions: pd.DataFrame, told: "Sequence[str] | pd.Series[Any]") -> Frames:
    """These sessions, and the rows of those that are told."""
    rows = {name: getattr(frames, name) for name in IN_SESSION}
    kept = {name: rows[name][rows[name]["session_id"].isin(told)] for name in rows}
    return Frames(sessions=sessions.reset_index(drop=True), **kept)


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
