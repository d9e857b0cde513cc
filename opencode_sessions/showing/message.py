"""The message around an event: the prompt it answers, what was thought and said, its calls."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..loose import as_text
from ..parts import ToolCall, listed, tool_calls
from ..rows import row_id
from ..shown import cut, escaped, escaped_lines, number_of
from .panels import note_html, whose
from .source import Row, is_known, row

LETTERS, LINES = 8_000, 120  # of a text, an input or an output: what one looks through here
SUMMARY_LETTERS = 100  # of what is folded away, and of a call that is not the one chosen
NO_PARTS = (
    "These frames have no more of this message. Load them with `await svc.frames(parts=True)` or "
    "`ocs.read_opencode(parts=True)`."
)


def message_html(messages: pd.DataFrame, event: Row) -> str:
    """The message an event is of: its prompt, reasoning (folded), text, and tool calls.

    The call of the event is open, with its input and output; the others are a line each.
    """
    found = np.flatnonzero(messages["message_id"] == event["message_id"])
    if not len(found):
        return _framed(note_html("The message of this event is not stored."))
    message = row(messages, found[0])
    body = "".join((*_prompt(messages, message), *_said(message, event)))
    if "parts" not in message:
        body += note_html(NO_PARTS)
    return _framed(body)


def _framed(body: str) -> str:
    return f"<div class='ocs ocs-message'>{body}</div>"


def _prompt(messages: pd.DataFrame, message: Row) -> Iterator[str]:
    """What the user asked for, and how the model was set to work on it."""
    is_before = messages["session_id"].eq(message["session_id"]) & messages["role"].eq("user")
    is_before &= messages["seq"].le(message["seq"]).fillna(False)
    prompts = np.flatnonzero(is_before)
    about = [f"turn {message['turn']}"] if is_known(message["turn"]) else []
    about += whose(message, "agent_name", "model")
    meta = f"<span class='ocs-meta'>{' · '.join(about)}</span>"
    yield f"<div class='ocs-head'><b>Message</b> {meta}</div>"
    if len(prompts) and message["role"] != "user":
        yield _folded("Prompt", _text_of(row(messages, prompts[-1])), "ocs-prompt")


def _text_of(message: Row) -> str:
    """What a message says itself, without what opencode put into it."""
    parts = listed(message.get("parts"))
    own = [part for part in parts if part.get("type") == "text" and not part.get("synthetic")]
    said = [text for part in own if (text := as_text(part.get("text")))]
    said += [f"[{name}]" for part in parts if (name := as_text(part.get("filename")))]
    if said:
        return "\n".join(said)
    return str(message["content"]) if is_known(message["content"]) else ""


def _said(message: Row, event: Row) -> Iterator[str]:
    """The parts of a message, in order."""
    parts = listed(message.get("parts"))
    if not parts and is_known(message["content"]):
        yield _text(str(message["content"]))
    calls = list(tool_calls(parts))
    chosen = _call_of(event, calls)
    for part in parts:
        text = as_text(part.get("text")) or as_text(part.get("content"))
        if call := next(tool_calls([part]), None):
            yield _call(call) if call == chosen else _other_call(call)
        elif part.get("type") == "reasoning" and text:
            yield _folded("Reasoning", text, "ocs-reasoning")
        elif part.get("type") == "text" and text:
            yield _text(text)
    if calls and chosen is None:
        yield note_html("One of these calls did it; which one is not known.")
    if is_known(message["error"]):
        yield _pre(str(message["error"]))


def _call_of(event: Row, calls: list[ToolCall]) -> ToolCall | None:
    """The call that an event is of: by its part, by the provider's id, by what it was given."""
    part = str(event["event_id"]).rpartition(".")[0]
    for call in calls:
        if call.part_id and row_id(call.part_id) == part:
            return call
    named = [c for c in calls if c.call_id and c.call_id == event["call_id"]]
    fitting = [c for c in named or calls if c.tool == event["tool"]]
    if len(fitting) > 1:  # of an application that gives its calls no ids
        fitting = [c for c in fitting if _is_about(c, event)]
    return fitting[0] if len(fitting) == 1 else None


def _is_about(call: ToolCall, event: Row) -> bool:
    """Whether a call was given the file or the command of the event."""
    about = [str(event[name]) for name in ("file_path", "command") if is_known(event.get(name))]
    given = [value for value in call.input.values() if isinstance(value, str)]
    return any(value == name or value.endswith(f"/{name}") for value in given for name in about)


def _call(call: ToolCall) -> str:
    """The chosen call, with its input folded and its output open."""
    took = ""
    if call.started_ms is not None and call.ended_ms is not None:
        took = f"{(call.ended_ms - call.started_ms) / 1000:.1f} s"
    exit_code = call.metadata.get("exit")
    about = [call.status, took, f"exit {exit_code}" if isinstance(exit_code, int) else ""]
    title = f" <span class='ocs-title'>{escaped(_summary(call.title))}</span>" if call.title else ""
    meta = " · ".join(word for word in about if word)
    html = (
        f"<div class='ocs-call'><div><b>{escaped(call.tool)}</b>{title}"
        f" <span class='ocs-meta'>{meta}</span></div>"
    )
    if call.input:
        html += f"<details><summary>Input</summary><dl>{''.join(_input(call.input))}</dl></details>"
    if said := call.error or call.output:
        name = "Error" if call.error else "Output"
        size = number_of(said.count("\n") + 1, "line")
        is_open = "" if call.error else " open"  # an error stands beside the change as well
        html += (
            f"<details{is_open}><summary>{name} <span class='ocs-meta'>{size}</span></summary>"
            f"{_pre(said)}</details>"
        )
    elif call.output is None:
        html += note_html("No output was recorded.")
    return html + "</div>"


def _input(arguments: dict[str, Any]) -> Iterator[str]:
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
        yield f"<dt>{escaped(name)}</dt><dd>{_pre(text)}</dd>"


def _other_call(call: ToolCall) -> str:
    """A call beside the chosen one, on a line."""
    about = call.title or as_text(call.input.get("command")) or ""
    status = "" if call.status == "completed" else f" · {call.status}"
    return (
        f"<div class='ocs-other ocs-meta'>also <b>{escaped(call.tool)}</b>"
        f" {escaped(_summary(about))}{status}</div>"
    )


def _folded(name: str, text: str, kind: str) -> str:
    if _summary(text) == text:
        return f"<div class='{kind}'><b>{name}</b> {escaped(text)}</div>"
    return (
        f"<details class='{kind}'><summary><b>{name}</b> {escaped(_summary(text))}</summary>"
        f"{_pre(text)}</details>"
    )


def _text(text: str) -> str:
    shown, more = cut(text, LETTERS, LINES)
    return f"<div class='ocs-text'>{escaped_lines(shown)}{_more(more)}</div>"


def _pre(text: str) -> str:
    shown, more = cut(text, LETTERS, LINES)
    return f"<pre>{escaped_lines(shown)}{_more(more)}</pre>"


def _more(note: str) -> str:
    return f"\n<i>{note}</i>" if note else ""


def _summary(text: str) -> str:
    words = " ".join(text[: 2 * SUMMARY_LETTERS].split())
    return words if len(words) <= SUMMARY_LETTERS else f"{words[:SUMMARY_LETTERS]}…"
