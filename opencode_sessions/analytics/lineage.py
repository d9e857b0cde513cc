"""Which session is which: numbered by age, and who called whom."""

from dataclasses import replace

import numpy as np
import pandas as pd

from .counting import Numbers, numbered
from .frames import Frames

WHO = ["session_id", "opencode_session_id", "parent_session_id", "root_session_id", "project"]


def of_sessions(frames: Frames) -> Frames:
    """The frames without rows of sessions that are not there, as when somebody left some out."""
    ids = pd.Index(frames.sessions["session_id"], dtype="str")
    kept = {}
    for name in ("messages", "tool_calls", "file_events"):
        rows = getattr(frames, name)
        is_here = numbered(rows["session_id"], ids) >= 0
        kept[name] = rows if is_here.all() else rows[is_here]
    return replace(frames, **kept)


def oldest_first(frames: Frames) -> tuple[pd.DataFrame, pd.Index]:
    """The sessions, the oldest first, and their ids in that order."""
    sessions = frames.sessions.sort_values(["created_at", "session_id"], ignore_index=True)
    return sessions, pd.Index(sessions["session_id"], dtype="str")


def session_of(rows: pd.DataFrame, ids: pd.Index) -> pd.Series:
    """The number of each row's session."""
    return pd.Series(numbered(rows["session_id"], ids), index=rows.index)


def parents(sessions: pd.DataFrame, ids: pd.Index) -> Numbers:
    """The number of each session's parent, -1 for none that is there; none is its own."""
    parent = numbered(sessions["parent_session_id"], ids)
    return np.where(parent == np.arange(len(parent)), -1, parent)


def ancestry(parent: Numbers) -> tuple[Numbers, Numbers]:
    """Each session's number beside that of each one above it, itself among those.

    Parents in a circle are above each other once.
    """
    line_of, pairs = parent.tolist(), []
    for session, above in enumerate(line_of):
        line = [session]
        while above >= 0 and above not in line:
            line.append(above)
            above = line_of[above]
        pairs += [(session, above) for above in line]
    below, tops = np.array(pairs, dtype="int64").reshape(-1, 2).T
    return below, tops
