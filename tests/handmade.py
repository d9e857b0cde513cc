"""Made by hand: frames of a few rows, columns and dtypes as the real ones, and a stored session."""

from typing import Any

import pandas as pd

import opencode_sessions as ocs
from opencode_sessions.analytics import Frames
from opencode_sessions.analytics.columns import COLUMNS, FIXED

START = pd.Timestamp("2026-03-07 23:58", tz="UTC")
WHO = {
    "session_id": "s1",
    "project": "/home/ana/app",
    "turn": 1,
    "actor": "agent",
    "agent_name": "build",
    "model": "pine",
    "is_fork_copy": False,
    "is_undone": False,
}
DONE = WHO | {"status": "completed"}
WRITTEN = {"type": "tool_use", "name": "write", "input": {"filePath": "/w/a.py", "content": "1"}}


def frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A frame of this name with these rows; what they do not say is NA, or False."""
    columns = [column for column in COLUMNS[name] if not column.is_optional]  # type: ignore[index]
    empty = pd.DataFrame(rows, columns=[column.name for column in columns], dtype=object)
    for column in columns:
        if column.dtype == "bool":
            empty[column.name] = empty[column.name].eq(True)
    return empty.astype(
        {
            column.name: pd.CategoricalDtype(list(FIXED[column.name]))
            if column.name in FIXED
            else column.dtype
            for column in columns
        }
    )


def file_events(*rows: dict[str, Any]) -> pd.DataFrame:
    """File events of one session, a minute apart; a row says what is other than in `DONE`."""
    return frame(
        "file_events",
        [
            DONE
            | {"event_id": f"e{n}.0", "message_id": f"m{row.get('turn', 1)}", "call_id": f"c{n}"}
            | {"seq": n, "time": START + pd.Timedelta(minutes=n), "tool": row.get("event_type")}
            | row
            for n, row in enumerate(rows)
        ],
    )


def read(path: str, **more: Any) -> dict[str, Any]:
    return {"event_type": "read", "file_path": path} | more


def edit(path: str, **more: Any) -> dict[str, Any]:
    return {"event_type": "edit", "file_path": path, "additions": 1, "deletions": 1} | more


def write(path: str, **more: Any) -> dict[str, Any]:
    return {"event_type": "write", "file_path": path} | more


def delete(path: str, **more: Any) -> dict[str, Any]:
    return {"event_type": "delete", "file_path": path, "additions": 0, "deletions": 1} | more


def move(path: str, to: str, **more: Any) -> dict[str, Any]:
    lines = {"additions": 0, "deletions": 0}
    return {"event_type": "move", "file_path": path, "new_file_path": to} | lines | more


def bash(command: str, **more: Any) -> dict[str, Any]:
    return {"event_type": "bash", "command": command} | more


def example() -> Frames:
    """The session of the docstrings' examples: two turns, a rename, a failed edit, a new file."""
    failed = {"status": "error", "additions": None, "deletions": None}
    events = file_events(
        read("convert.py", start_line=1, end_line=40, output_bytes=4000),
        edit("convert.py", **failed),
        edit("convert.py", additions=3),
        bash("pytest"),
        move("convert.py", "units.py", turn=2),
        write("notes.md", turn=2, agent_name="plan", start_line=1, end_line=5),
        edit("units.py", additions=2, deletions=2, turn=2),
    )
    in_common = [name for name in frame("tool_calls", []) if name in events]
    calls = frame(
        "tool_calls",
        [
            call | {"tool_call_id": f"t{n}", "input_hash": 1 if call["tool"] == "edit" else n}
            for n, call in enumerate(events[in_common].to_dict("records"))
        ],
    )
    prompt = {"role": "user", "reported_additions": 5, "reported_deletions": 3}
    answer = {"role": "assistant", "duration_s": 180.0}
    tokens = ["tokens_input", "tokens_output", "tokens_cache_read", "cost_usd"]
    first, second = (
        answer | dict(zip(tokens, numbers, strict=True))
        for numbers in ([2000, 400, 0, 0.02], [500, 300, 2000, 0.01])
    )
    messages = [
        prompt | {"turn": 1, "time": START - pd.Timedelta(seconds=20), "reported_files": 1},
        first | {"turn": 1, "time": START - pd.Timedelta(seconds=10), "message_id": "m1"},
        prompt | {"turn": 2, "time": START + pd.Timedelta(seconds=200), "reported_files": 3},
        second | {"turn": 2, "time": START + pd.Timedelta(seconds=210), "message_id": "m2"},
    ]
    session = {
        **{"session_id": "s1", "opencode_session_id": "s1", "root_session_id": "s1"},
        **{"project": "/home/ana/app", "project_id": "2d15", "title": "Units"},
        **{"opencode_version": "1.18.33", "created_at": START - pd.Timedelta(seconds=21)},
        **{"reported_files": 0, "reported_additions": 0, "reported_deletions": 0},
    }
    return Frames(
        sessions=frame("sessions", [session]),
        messages=frame(
            "messages",
            [WHO | {"seq": n} | message for n, message in enumerate(messages)],
        ),
        tool_calls=calls,
        file_events=events,
    )


async def said(svc: ocs.OpencodeSessionService, *texts: str) -> None:
    """Stores a session of these messages, each of which has written a file."""
    session = await svc.get_or_create_session("ses_1", workdir="/w")
    for text in texts:
        message = await svc.persist_message(session, "assistant", text)
        await svc.persist_file_events(message, [WRITTEN])
