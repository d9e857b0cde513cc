"""What the explorer shows, as text and HTML: pure functions of rows.

Everything here that an agent typed goes through `text.visible` or `text.escaped`.
"""

import traceback
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..analytics.counting import FAILED
from ..errors import OpencodeSessionsError
from . import diff
from .text import escaped, visible

TITLE_LETTERS = 90
ERROR_LETTERS = 1_500
FIGURE_SPACE = "\u2007"  # as wide as a digit: numbers stand under each other in any font
PATCH_TOOLS = ("apply_patch", "patch")
DIFF_START = ("@@ -", "--- ", "diff --git ", "Index: ")

Row = Mapping[Any, Any]  # of a frame, as its `to_dict` has it
SESSION = [
    *("session_id", "opencode_session_id", "parent_session_id"),
    *("title", "created_at", "file_events", "origin"),
]

STYLE = (
    diff.STYLE
    + """
.ocs { color: var(--jp-content-font-color1, CanvasText); line-height: 1.5;
  font-family: var(--jp-ui-font-family, sans-serif); font-size: 13px; }
.ocs-legend, .ocs-meta, .ocs-note { font-size: 12px;
  color: var(--jp-content-font-color2, GrayText); }
.ocs-head { margin-top: .4em; overflow-wrap: anywhere; }
.ocs-path { font-family: var(--jp-code-font-family, monospace); font-weight: bold; }
.ocs-failed { border: 1.5px solid currentColor; border-radius: 1em; padding: 0 .6em; }
.ocs pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .4em 0; padding: .4em .6em;
  font: 12px/1.5 var(--jp-code-font-family, monospace); color: inherit;
  background: rgba(128, 128, 128, .12); }
.ocs-change { border-top: 1px solid var(--jp-border-color2, #bbb); margin-top: .4em; }
.ocs-alert { border-left: 4px solid var(--jp-error-color1, #d32f2f); padding: .2em .8em; }
"""
)


def session_label(session: Row) -> str:
    """A session as the picker lists it."""
    started = session["created_at"]
    when: str = "" if pd.isna(started) else f"{started:%Y-%m-%d %H:%M}  "
    inner: str = "" if pd.isna(session["parent_session_id"]) else "└ "
    events = f"  ·  {_counted(session['file_events'], 'event')}"
    origin = f"  ·  {visible(session['origin'])}" if _is_known(session["origin"]) else ""
    return f"{when}{inner}{title(session)}{events}{origin}"


def title(session: Row) -> str:
    """A session's title, short, with nothing hidden in it; plain text, not HTML."""
    name = session["title"] if _is_known(session["title"]) else "(no title)"
    return visible(name[:TITLE_LETTERS]) + ("…" if len(name) > TITLE_LETTERS else "")


def file_label(path: str, events: int, failed: int, width: int) -> str:
    """A file as the picker lists it: how many events, its path, how many failed."""
    count = str(events).rjust(width, FIGURE_SPACE)
    name = visible(path) if path else "shell commands"
    return f"{count}  {name}{f'  ({failed} failed)' if failed else ''}"


def change_html(event: Row, number: int, count: int) -> str:
    """One event: what was done to which file, when and by whom, and the change itself."""
    meta = [
        f"event {number} of {count}",
        _time(event["time"]),
        f"turn {event['turn']}" if _is_known(event["turn"]) else "",
        _lines(event),
        *(escaped(str(event[name])) for name in ("agent_name", "model") if _is_known(event[name])),
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
        f"<details><summary>Traceback</summary><pre>{_lines_of(trace)}</pre></details></div>"
    )


def note_html(text: str) -> str:
    """A line of our own that says what is going on, or what to do next; read out as it changes."""
    return f"<div class='ocs ocs-note' aria-live='polite'>{text}</div>" if text else ""


def _head(event: Row) -> str:
    words = [f"<b>{escaped(str(event['event_type']))}</b>"]
    if _is_known(event["file_path"]):
        words.append(f"<span class='ocs-path'>{escaped(event['file_path'])}</span>")
    if _is_known(event["new_file_path"]):
        words.append(f"→ <span class='ocs-path'>{escaped(event['new_file_path'])}</span>")
    if _is_known(event["additions"]) and _is_known(event["deletions"]):
        words.append(f"+{event['additions']} \N{MINUS SIGN}{event['deletions']}")
    if event["status"] in FAILED:
        words.append(f"<span class='ocs-failed'>{escaped(str(event['status']))}</span>")
    elif event["status"] == "pending":
        words.append("(has not ended)")
    return " ".join(words)


def _error(event: Row) -> str:
    if not _is_known(event["error"]):
        return ""
    return f"<pre>{_lines_of(event['error'][:ERROR_LETTERS])}</pre>"


def _body(event: Row) -> str:
    if event["event_type"] == "bash":
        command = event["command"] if _is_known(event["command"]) else ""
        return f"<pre>$ {_lines_of(command)}</pre>"
    if event["event_type"] == "read":
        return ""
    if "diff" not in event:
        return note_html(
            "These frames have no diffs. Load them with <code>await svc.frames(diffs=True)</code> "
            "or <code>ocs.read_opencode(diffs=True)</code>."
        )
    if not _is_known(event["diff"]):
        return note_html("No text of this change was recorded.")
    kind = kind_of(event)
    note = "The new text; what it replaced was not recorded." if kind == "new text" else ""
    if event["status"] != "completed":
        note = "This was asked for and not done."
    return note_html(note) + diff.diff_html(event["diff"], kind)


def kind_of(event: Row) -> diff.Kind:
    """How to read an event's text: applications store a new text or a diff under the same name."""
    text = event["diff"]
    is_diff = text.startswith(DIFF_START) or diff.has_hunks(text)
    if event["event_type"] == "write" and event["tool"] not in PATCH_TOOLS:
        is_patch_file = str(event["file_path"]).endswith((".patch", ".diff"))
        if not text.startswith(DIFF_START) or is_patch_file:
            is_new = _is_known(event["is_new_file"]) and event["is_new_file"]
            return "new file" if is_new else "content"
    elif not is_diff and not diff.has_marks(text):
        return "new text"
    return "diff"


def _time(time: Any) -> str:
    return "" if pd.isna(time) else f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _lines(event: Row) -> str:
    first, last = event["start_line"], event["end_line"]
    if not (_is_known(first) and _is_known(last)):
        return ""
    return f"line {first}" if first == last else f"lines {first}\N{EN DASH}{last}"


def _lines_of(text: str) -> str:
    return escaped(text, keep="\n\t")


def _counted(count: Any, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _is_known(value: Any) -> bool:
    return not pd.isna(value)
