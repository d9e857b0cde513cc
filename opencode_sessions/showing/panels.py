"""What the explorer says of a session, an event and a problem, as HTML: pure functions of rows.

Everything here that an agent typed goes through `shown.escaped`.
"""

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..analytics.counting import FAILED, is_counted, is_mutation
from ..errors import OpencodeSessionsError
from ..shown import escaped, escaped_lines, number_of
from . import diff
from .sessions import title
from .source import Row, is_known
from .story import Story

STYLE = (Path(__file__).parent / "static" / "explorer.css").read_text(encoding="utf-8")
ERROR_LETTERS = 1_500
NAME_LETTERS = 60
PATCH_TOOLS = ("apply_patch", "patch")
DIFF_START = ("@@ -", "--- ", "diff --git ", "Index: ")


def session_html(session: Row, story: Story) -> str:
    """A session's title and what it did in numbers."""
    events = story.events
    is_own = (events["session_id"] == session["session_id"]).to_numpy(bool)
    files = len({*story.names.cat.codes[is_own]} - {0})  # the first category is SHELL
    failed = int((is_own & events["status"].isin(FAILED)).sum())
    is_change = is_own & is_counted(events) & is_mutation(events).to_numpy(bool)
    lines = events[["additions", "deletions"]][is_change].dropna()
    added, removed = lines.sum()
    meta = [
        _time(session["created_at"]),
        number_of(int(is_own.sum()), "event"),
        number_of(files, "file"),
        "" if lines.empty else f"+{added:,} \N{MINUS SIGN}{removed:,}",
        f"{failed:,} failed" if failed else "",
        *whose(session, "agent_name", "model", "origin"),
        "subagent" if is_known(session["parent_session_id"]) else "",
    ]
    said = " · ".join(word for word in meta if word)
    return (
        f"<div class='ocs ocs-session'><b>{escaped(title(session))}</b>"
        f" &ensp;<span class='ocs-meta'>{said}</span></div>"
    )


def change_html(event: Row, number: int, count: int) -> str:
    """One event: what was done to which file, when and by whom, and the change itself."""
    meta = [
        f"event {number} of {count}",
        _time(event["time"]),
        f"turn {event['turn']}" if is_known(event["turn"]) else "",
        _lines(event),
        *whose(event, "agent_name", "model"),
        "undone later" if event["is_undone"] else "",
        "copied by a fork" if event["is_fork_copy"] else "",
    ]
    return (
        f"<div class='ocs ocs-change'><div class='ocs-head'>{_head(event)}</div>"
        f"<div class='ocs-meta'>{' · '.join(word for word in meta if word)}</div>"
        f"{_error(event)}{_body(event)}</div>"
    )


def problem_html(problem: Exception) -> str:
    """The one line that says what went wrong and what to do, the traceback behind it."""
    advice = (
        ""
        if isinstance(problem, OpencodeSessionsError)  # these say it themselves
        else " Choose again to try once more; <code>raise explorer.problem</code> says more."
    )
    trace = "".join(traceback.format_exception(problem))
    return (
        f"<div class='ocs ocs-alert' role='alert'><b>{type(problem).__name__}</b>: "
        f"{escaped(str(problem)[:ERROR_LETTERS])}{advice}"
        f"<details><summary>Traceback</summary><pre>{escaped_lines(trace)}</pre></details></div>"
    )


def whose(row: Row, *columns: str) -> Iterator[str]:
    """The names in these columns that are known, so much of each that a line holds them."""
    for name in (str(row[column]) for column in columns if is_known(row[column])):
        yield escaped(name if len(name) <= NAME_LETTERS else f"{name[:NAME_LETTERS]}…")


def note_html(text: str) -> str:
    """A line of our own that says what is there, or what to do next; code stands in backticks."""
    pieces = text.split("`")
    pieces[1::2] = [f"<code>{piece}</code>" for piece in pieces[1::2]]
    return f"<div class='ocs ocs-note'>{''.join(pieces)}</div>" if text else ""


def _head(event: Row) -> str:
    words = [f"<b>{escaped(str(event['event_type']))}</b>"]
    if is_known(event["file_path"]):
        words.append(f"<span class='ocs-path'>{escaped(event['file_path'])}</span>")
    if is_known(event["new_file_path"]):
        words.append(f"→ <span class='ocs-path'>{escaped(event['new_file_path'])}</span>")
    if is_known(event["additions"]) and is_known(event["deletions"]):
        words.append(f"+{event['additions']} \N{MINUS SIGN}{event['deletions']}")
    if event["status"] in FAILED:
        words.append(f"<span class='ocs-failed'>{escaped(str(event['status']))}</span>")
    elif event["status"] == "pending":
        words.append("(has not ended)")
    return " ".join(words)


def _error(event: Row) -> str:
    if not is_known(event["error"]):
        return ""
    return f"<pre>{escaped_lines(event['error'][:ERROR_LETTERS])}</pre>"


def _body(event: Row) -> str:
    if event["event_type"] == "bash":
        command = event["command"] if is_known(event["command"]) else ""
        return f"<pre>$ {escaped_lines(command)}</pre>"
    if event["event_type"] == "read":
        return note_html("Nothing was changed. What the model got to see is in the message.")
    if "diff" not in event:
        return note_html(
            "These frames have no diffs. Load them with `await svc.frames(diffs=True)` or "
            "`ocs.read_opencode(diffs=True)`."
        )
    if not is_known(event["diff"]):
        if event["event_type"] == "move" and event["status"] == "completed":
            return note_html("The file was moved; no change of its text was recorded.")
        return note_html("No text of this change was recorded.")
    kind = kind_of(event)
    note = "The new text; what it replaced was not recorded." if kind == "new text" else ""
    if event["status"] != "completed":
        note = "This was asked for and not done."
    names = [event[name] for name in ("new_file_path", "file_path") if is_known(event[name])]
    return note_html(note) + diff.diff_html(event["diff"], kind, path=next(iter(names), None))


def kind_of(event: Row) -> diff.Kind:
    """How to read an event's text: applications store a new text or a diff under the same name."""
    text = event["diff"]
    is_diff = text.startswith(DIFF_START) or diff.has_hunks(text)
    if event["event_type"] == "write" and event["tool"] not in PATCH_TOOLS:
        is_patch_file = str(event["file_path"]).endswith((".patch", ".diff"))
        if not text.startswith(DIFF_START) or is_patch_file:
            is_new = is_known(event["is_new_file"]) and event["is_new_file"]
            return "new file" if is_new else "content"
    elif not is_diff and not diff.has_marks(text):
        return "new text"
    return "diff"


def _time(time: Any) -> str:
    return "" if pd.isna(time) else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _lines(event: Row) -> str:
    first, last = event["start_line"], event["end_line"]
    if not (is_known(first) and is_known(last)):
        return ""
    return f"line {first}" if first == last else f"lines {first}\N{EN DASH}{last}"
