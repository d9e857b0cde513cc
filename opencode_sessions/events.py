"""What a tool call did to files: an event for each path it touched or tried to touch.

The type of an event is the operation asked for, whatever became of it. What is not understood gives
no event, and nothing here raises: a model wrote the input. `tests/test_parts.py` holds the flat
shape's contract, `tests/test_recordings.py` the rest against what really happened.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from .loose import as_dict, as_dicts, as_int, as_text
from .parts import Status, ToolCall, tool_calls

EventType = Literal["read", "write", "edit", "delete", "move", "bash"]
Evidence = Literal["tool_meta", "tool_input", "snapshot", "patch_part", "shell"]
EVENT_TYPES: tuple[EventType, ...] = ("read", "write", "edit", "delete", "move", "bash")
EVIDENCE: tuple[Evidence, ...] = ("tool_meta", "tool_input", "snapshot", "patch_part", "shell")

ERROR = 1  # severity, in the language server protocol
PATH_KEYS = ("filePath", "file_path", "path")
EDIT_TOOLS = ("edit", "multiedit")
PATCH_TOOLS = ("apply_patch", "patch")
CHANGING_TOOLS = ("bash", "write", *EDIT_TOOLS, *PATCH_TOOLS)


@dataclass(slots=True, kw_only=True)  # not frozen: that takes four times as long to make
class FileEvent:
    """One path that one tool call touched or tried to touch (or one command, with no path)."""

    event_type: EventType
    file_path: str | None = None
    new_file_path: str | None = None
    command: str | None = None
    diff: str | None = None
    status: Status = "completed"
    is_new_file: bool | None = None
    additions: int | None = None
    deletions: int | None = None
    start_line: int | None = None
    end_line: int | None = None
    evidence: Evidence = "tool_input"


class Change(NamedTuple):
    """What a unified diff changes: lines added and removed, first and last line touched then."""

    additions: int
    deletions: int
    start_line: int | None
    end_line: int | None


def extract_file_events(parts: object) -> list[dict[str, Any]]:
    """The file events of a message's parts, in order, as plain dicts.

    A flat part gives exactly `event_type` and `file_path` (read), also `diff` (write, edit), or
    `command` (bash). opencode's own parts give those keys and more: every field of `FileEvent`,
    one dict per file of an `apply_patch`.
    """
    return [
        _flat_event(event) if call.is_flat else asdict(event)
        for call in tool_calls(parts)
        for event in file_events(call)
    ]


def file_events(call: ToolCall) -> list[FileEvent]:
    """The files a tool call touched or tried to: one event per path, in the order of the call.

    The type is the operation asked for, whatever became of it; `status` says what became of it.
    Lines added and removed are known for what completed, for a write only where it made the file.
    """
    if call.is_flat:
        return _flat_events(call)
    if call.tool == "bash":
        return [_event(call, "bash", command=as_text(call.input.get("command")))]
    if call.tool in PATCH_TOOLS:
        return _patch_events(call)
    path = next((p for key in PATH_KEYS if (p := as_text(call.input.get(key)))), None)
    if path is None:
        return []
    if call.tool == "read":
        start, end = _lines_read(call)
        return [_event(call, "read", file_path=path, start_line=start, end_line=end)]
    if call.tool == "write":
        return [_write_event(call, path)]
    if call.tool in EDIT_TOOLS:
        return [_edit_event(call, path)]
    return []


def changed_paths(call: ToolCall) -> Iterator[str]:
    """The paths of a call's events that are changes, without what else there is to know of them."""
    if call.tool in PATCH_TOOLS:
        for wanted in _patch_files(as_text(call.input.get("patchText")) or ""):
            yield from filter(None, (wanted.path, wanted.moved_to))
    elif call.tool == "write" or call.tool in EDIT_TOOLS:
        path = next((p for key in PATH_KEYS if (p := as_text(call.input.get(key)))), None)
        if path is not None:
            yield path


def diff_change(diff: str) -> Change:
    """Counts a unified diff's lines, by its hunk headers: a removed line "-- x" is no header.

    `start_line` and `end_line` are 1-based lines of the new file; a pure removal gives the line
    after it.
    """
    added = removed = 0
    first = last = None
    old_left = new_left = line = 0
    for text in diff.split("\n"):
        if old_left <= 0 and new_left <= 0:
            if header := HUNK.match(text):
                old_left, new_left = int(header[2] or 1), int(header[4] or 1)
                # "+0,0" (an emptied file) names the line before the first
                line = max(int(header[3]), 1)
            continue
        mark = text[:1]
        if mark == "\\":  # "\ No newline at end of file" belongs to neither side
            continue
        if mark in "+-" and mark:
            first = line if first is None else first
            last = line
        if mark == "+":
            added, new_left, line = added + 1, new_left - 1, line + 1
        elif mark == "-":
            removed, old_left = removed + 1, old_left - 1
        else:
            old_left, new_left, line = old_left - 1, new_left - 1, line + 1
    return Change(added, removed, first, last)


def errors_left(call: ToolCall, event: FileEvent) -> int | None:
    """How many errors a language server saw in the file of this change; None where none looked.

    opencode keeps what its servers have said of any file. It waits a moment for them: what a slow
    one says of this change comes with the next.
    """
    said = as_dict(call.metadata.get("diagnostics"))
    if not said:
        return None
    given = call.metadata
    files = as_dicts(given.get("files"))
    named = [given.get("filepath"), as_dict(given.get("filediff")).get("file")]
    named += [file.get("movePath") or file.get("filePath") for file in files]
    path = _posix(event.new_file_path or event.file_path or "")
    end = "/" + UPWARDS.sub("", path).lstrip("/")
    full = (_posix(name) for name in map(as_text, named) if name)
    path = next((name for name in full if name.endswith(end)), path)
    found = next((found for file, found in said.items() if _posix(file) == path), None)
    if found is None:
        return None
    return sum(1 for diagnostic in as_dicts(found) if diagnostic.get("severity") == ERROR)


def _posix(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))


# Nine digits: a line number that is longer is none, and fits no column.
HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
NUMBERED_LINE = re.compile(r"^(?:<content>)?(\d{1,9})[:|] ", re.MULTILINE)
READ_END = re.compile(r"^</(?:content|file)>", re.MULTILINE)
PATCH_FILE = re.compile(r"\*\*\* (Add|Update|Delete) File: (.*\S)")
PATCH_MOVE = re.compile(r"\*\*\* Move to: (.*\S)")
UPWARDS = re.compile(r"(?:\.\./)+")
PATCH_TYPES: dict[str, EventType] = {"Add": "write", "Update": "edit", "Delete": "delete"}


def _first(input: dict[str, Any], *keys: str) -> str | None:
    """The text under the first of these keys that has one, be it empty."""
    for key in keys:
        if isinstance(value := input.get(key), str):
            return value
    return None


def _event(call: ToolCall, event_type: EventType, **fields: Any) -> FileEvent:
    done = call.status in ("completed", "aborted")
    evidence: Evidence = "tool_meta" if done and call.metadata else "tool_input"
    return FileEvent(event_type=event_type, status=call.status, evidence=evidence, **fields)


def _flat_event(event: FileEvent) -> dict[str, Any]:
    if event.event_type == "bash":
        return {"event_type": "bash", "command": event.command}
    flat: dict[str, Any] = {"event_type": event.event_type, "file_path": event.file_path}
    if event.event_type != "read":
        flat["diff"] = event.diff
    return flat


def _flat_events(call: ToolCall) -> list[FileEvent]:
    """The flat shape's events: its own keys first, as `input.diff or input.content` would."""
    given = call.input
    path, diff = _first(given, "path", "filePath", "file_path"), _first(given, "diff")
    match call.tool:
        case "read":
            return [_event(call, "read", file_path=path)]
        case "write":
            return [_event(call, "write", file_path=path, diff=diff or _first(given, "content"))]
        case "edit":
            wanted = _first(given, "new_string", "newString") or _first(given, "replace")
            return [_event(call, "edit", file_path=path, diff=diff or wanted)]
        case "bash":
            return [_event(call, "bash", command=_first(given, "command"))]
    return []


def _lines_read(call: ToolCall) -> tuple[int | None, int | None]:
    if call.status != "completed":
        return None, None
    if display := as_dict(call.metadata.get("display")):
        return as_int(display.get("lineStart"), below=2**31), as_int(
            display.get("lineEnd"), below=2**31
        )
    # Before 1.17 only the numbers in front of the printed lines tell what was read.
    return lines_printed(call.output or "")


def lines_printed(output: str) -> tuple[int | None, int | None]:
    """The first and last line of a file that a read printed, by the numbers in front of them."""
    printed = READ_END.split(output, maxsplit=1)[0]
    numbers = NUMBERED_LINE.findall(printed)
    return (int(numbers[0]), int(numbers[-1])) if numbers else (None, None)


def _write_event(call: ToolCall, path: str) -> FileEvent:
    content = _first(call.input, "content")
    exists = call.metadata.get("exists")
    is_new = not exists if isinstance(exists, bool) and call.status == "completed" else None
    lines = None
    if call.status == "completed" and content is not None:
        lines = content.count("\n") + (content != "" and not content.endswith("\n"))
    return _event(
        call,
        "write",
        file_path=path,
        diff=content,
        is_new_file=is_new,
        additions=lines if is_new else None,
        deletions=0 if is_new else None,
        start_line=1 if lines else None,
        end_line=lines or None,
    )


def _edit_event(call: ToolCall, path: str) -> FileEvent:
    filediff = as_dict(call.metadata.get("filediff"))
    diff = as_text(call.metadata.get("diff")) or as_text(filediff.get("patch"))
    if call.status != "completed" or diff is None:
        return _event(call, "edit", file_path=path, diff=_wanted(call.input))
    change = diff_change(diff)
    return _event(
        call,
        "edit",
        file_path=path,
        diff=diff,
        is_new_file=call.input.get("oldString") == "" and change.deletions == 0,
        **change._asdict(),
    )


def _wanted(input: dict[str, Any]) -> str | None:
    """What an edit asked for but did not do: all its old lines, then all its new ones."""
    edits = input.get("edits")
    wanted = []
    for edit in as_dicts(edits) if isinstance(edits, list) else [input]:
        old, new = _first(edit, "oldString", "old_string"), _first(edit, "newString", "new_string")
        for mark, text in (("-", old), ("+", new)):
            wanted += [mark + line for line in text.split("\n")] if text else []
    return "\n".join(wanted) or None


def _patch_events(call: ToolCall) -> list[FileEvent]:
    files = call.metadata.get("files")
    results = as_dicts(files) if isinstance(files, list) else []
    events = []
    for wanted in _patch_files(as_text(call.input.get("patchText")) or ""):
        result = _take_result(results, wanted) if call.status == "completed" else {}
        diff = as_text(result.get("patch")) or as_text(result.get("diff"))
        change = diff_change(diff)._asdict() if diff else {}
        completed = call.status == "completed"
        events.append(
            _event(
                call,
                wanted.event_type,
                file_path=wanted.path,
                new_file_path=wanted.moved_to,
                diff=diff or wanted.text,
                is_new_file=wanted.event_type == "write" if completed else None,
                **change,
            )
        )
    return events


class _PatchFile(NamedTuple):
    event_type: EventType
    path: str
    moved_to: str | None
    text: str


def _patch_files(patch: str) -> Iterator[_PatchFile]:
    """The files a patch text names, in order, each with its own lines."""
    current: _PatchFile | None = None
    lines: list[str] = []
    for line in [*patch.split("\n"), "*** End Patch"]:
        header, is_end = PATCH_FILE.match(line), line.startswith("*** End Patch")
        if current and (header or is_end):
            yield current._replace(text="\n".join(lines))
        if is_end:
            return
        if header:
            current, lines = _PatchFile(PATCH_TYPES[header[1]], header[2], None, ""), []
        elif current and (move := PATCH_MOVE.match(line)):
            current = current._replace(event_type="move", moved_to=move[1])
        elif current:
            lines.append(line)


def _take_result(results: list[dict[str, Any]], wanted: _PatchFile) -> dict[str, Any]:
    """opencode's result for this file of the patch, taken out: a path named twice gets both.

    The next engine names a file that was moved by its new path.
    """
    for said in filter(None, (wanted.path, wanted.moved_to)):
        name = posixpath.normpath(said)
        # "../web/page.html" is seen from a folder that the call does not name
        end = "/" + UPWARDS.sub("", name)
        for number, result in enumerate(results):
            path = (as_text(result.get("filePath")) or "").replace("\\", "/")
            if path == name or path.endswith(end):
                return results.pop(number)
    return {}
