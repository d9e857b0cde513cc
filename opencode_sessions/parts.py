"""What the parts of a message say: its text and its tool calls, in every shape they were stored in.

Pure functions over the JSON shapes opencode and the applications around it have used:

- flat: ``{"type": "tool_use", "name": "edit", "input": {...}}``, as applications store it;
- a part: ``{"type": "tool", "tool": "edit", "callID": ..., "state": {...}}``, opencode 0.5 and on;
- a line of ``opencode run --format json``: ``{"type": "tool_use", "part": {<a part>}}``;
- an invocation: ``{"type": "tool-invocation", "toolInvocation": {...}}``, opencode 0.1.

Whatever a model or a half-written file put there, nothing in this module raises.
`tests/test_parts.py` holds the shapes, `tests/test_recordings.py` what really happened.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .loose import as_dict, as_dicts, as_number, as_text

Status = Literal["completed", "error", "denied", "aborted", "pending"]
STATUSES: tuple[Status, ...] = ("completed", "error", "denied", "aborted", "pending")

# The texts opencode stores when a permission was refused; "PermissionRejectedError" is 1.2.27's.
DENIED = (
    "The user rejected permission to use this specific tool call",
    "The user has specified a rule which prevents you from using this specific tool call",
    "PermissionRejectedError",
    "PermissionCorrectedError",
    "PermissionDeniedError",
)
ABORTED = ("Tool execution aborted", "The operation was aborted")
UNAVAILABLE = "request was aborted"  # what 0.1 answers to a call of an unknown tool
# bash ends "completed" when the user stops it; only this mark at the end of its output tells.
BASH_ABORTED = re.compile(r"User aborted the command\n</(?:shell_|bash_)?metadata>\s*\Z")


@dataclass(slots=True, kw_only=True)  # not frozen: that takes four times as long to make
class ToolCall:
    """One call of a tool, in whatever shape it was stored."""

    tool: str
    input: dict[str, Any]
    status: Status = "completed"
    call_id: str | None = None
    part_id: str | None = None
    message_id: str | None = None
    title: str | None = None
    output: str | None = None
    error: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    started_ms: float | None = None
    ended_ms: float | None = None
    pruned_ms: float | None = None  # when its output was taken out of the model's context
    is_flat: bool = False


def extract_text(parts: object) -> str | None:
    """The text of a message: each part's `text`, else `content`, joined by newlines; else None."""
    texts = []
    for part in listed(parts):
        if text := as_text(part.get("text")) or as_text(part.get("content")):
            texts.append(text)
    return "\n".join(texts) if texts else None


def message_id(parts: object) -> str | None:
    """opencode's id of the message these parts belong to, if they say it."""
    for part in listed(parts):
        if id := as_text(part.get("messageID")):
            return id
    return None


def tool_calls(parts: object) -> Iterator[ToolCall]:
    """Every tool call among the parts, file or not, in order."""
    for part in listed(parts):
        kind = part.get("type")
        call = None
        if kind == "tool":
            call = _from_part(part)
        elif kind == "tool_use":
            call = _from_flat(part)
        elif kind == "tool-invocation":
            call = _from_invocation(part)
        if call is not None:
            yield call


def changed_files(parts: object) -> list[str]:
    """The files that changed in these steps, as opencode's own snapshots tell: absolute paths."""
    lists = (part.get("files") for part in listed(parts) if part.get("type") == "patch")
    return [file for files in lists if isinstance(files, list) for file in files if as_text(file)]


def listed(parts: object) -> list[dict[str, Any]]:
    """The parts that are one, each without what `opencode run --format json` wrapped it in."""
    return [_unwrapped(part) if "part" in part else part for part in as_dicts(parts)]


def _unwrapped(part: dict[str, Any]) -> dict[str, Any]:
    inner = as_dict(part.get("part"))
    return inner if "type" in inner else part


def _from_flat(part: dict[str, Any]) -> ToolCall | None:
    tool = as_text(part.get("name"))
    if tool is None:
        return None
    return ToolCall(
        tool=tool, input=as_dict(part.get("input")), call_id=as_text(part.get("id")), is_flat=True
    )


def _from_part(part: dict[str, Any]) -> ToolCall | None:
    tool = as_text(part.get("tool"))
    if tool is None:
        return None
    state = as_dict(part.get("state"))
    time = as_dict(state.get("time"))
    output, error = as_text(state.get("output")), as_text(state.get("error"))
    return ToolCall(
        tool=tool,
        input=as_dict(state.get("input")),
        status=_status(state.get("status"), tool, output, error),
        call_id=as_text(part.get("callID")),
        part_id=as_text(part.get("id")),
        message_id=as_text(part.get("messageID")),
        title=as_text(state.get("title")),
        output=output,
        error=error,
        metadata=as_dict(state.get("metadata")),
        started_ms=as_number(time.get("start")),
        ended_ms=as_number(time.get("end")),
        pruned_ms=as_number(time.get("compacted")),
    )


def _from_invocation(part: dict[str, Any]) -> ToolCall | None:
    invocation = as_dict(part.get("toolInvocation"))
    tool = as_text(invocation.get("toolName"))
    if tool is None:
        return None
    output = as_text(invocation.get("result"))
    # What 0.1 knows of a call lies in its message's metadata; the source puts it beside the call.
    said = as_dict(part.get("metadata"))
    time = as_dict(said.get("time"))
    error = as_text(said.get("message")) or output if said.get("error") else None
    if output == UNAVAILABLE:  # a tool that was not there, whatever the text says
        error = output
    return ToolCall(
        tool=tool,
        input=as_dict(invocation.get("args")),
        status=_status(
            "completed" if invocation.get("state") == "result" else "pending",
            tool,
            output,
            error,
        ),
        call_id=as_text(invocation.get("toolCallId")),
        title=as_text(said.get("title")),
        output=None if error else output,
        error=error,
        metadata=said,
        started_ms=as_number(time.get("start")),
        ended_ms=as_number(time.get("end")),
    )


def _status(stored: object, tool: str, output: str | None, error: str | None) -> Status:
    if stored in ("denied", "aborted"):  # what `sources.next_engine` tells by the error's type
        return "denied" if stored == "denied" else "aborted"
    if error is not None:
        reason = error.removeprefix("Error: ")
        if reason.startswith(DENIED):
            return "denied"
        return "aborted" if reason.startswith(ABORTED) else "error"
    if stored == "completed":
        stopped = tool == "bash" and output and BASH_ABORTED.search(output[-200:])
        return "aborted" if stopped else "completed"
    return "error" if stored == "error" else "pending"
