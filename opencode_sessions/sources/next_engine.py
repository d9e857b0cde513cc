"""The messages of opencode's next engine (opencode 2), in the shape of today's.

They lie in one table, `session_message`, a row each with its parts inside; the sessions in
`session_v2`, with the columns of `session`. What is said here of them comes from opencode's public
source (github.com/anomalyco/opencode: `packages/schema/src/session-message.ts`, `session-error.ts`,
`packages/core/src/session/sql.ts`, `snapshot.ts`, `tool/plugin/*.ts`) and from databases of
0.0.0-beta-19381 and 2.0.26 that others published:

- a row's `type` says what it is; markers (who answers, with which model, where, that a turn is
  over) are no messages;
- an update copies the old messages over, under their ids and with less in them, and leaves the old
  tables as they were: of a message that is in both, the old one says more;
- `bash` is called `shell`, `task` `subagent`, `apply_patch` `patch`; paths lie under `path`, and
  may be relative; results are in `content`, what is known of them in `metadata`. `bash` and `task`
  have their old names here, so that one question finds the same calls of every version;
- calls have their provider's id and no other; tokens of the output are without the reasoning's;
- the paths of a step's changed files are seen from the project's folder.
"""

import posixpath
import sqlite3
from collections.abc import Collection

from ..loose import as_dict, as_dicts, as_int, as_text
from .source import Json, Problem, as_str, parse_json

Message = tuple[Json, list[Json]]

SESSIONS, MESSAGES = "session_v2", "session_message"
MOVED = "location-switched"
MARKERS = ("agent-switched", "model-switched", MOVED, "idle")
ROLES = {
    "user": "user",
    "shell": "user",
    "assistant": "assistant",
    "compaction": "assistant",
    **dict.fromkeys(("synthetic", "system", "skill"), "system"),
}
TOOLS = {"shell": "bash", "subagent": "task"}
PATCH, EDIT, WRITE, SUBAGENT = "patch", "edit", "write", "subagent"
STATES = {"streaming": "pending", "pending": "pending", "running": "running"}
SHELL_STATES = {"running": "running", "killed": "aborted"}
CREATED, WROTE = "Created file", "Wrote file"  # a write's whole result
REFUSED, STOPPED, STOPPED_TEXT = "permission.", "aborted", "Tool execution interrupted"


def is_read(tables: Collection[str], *, has_todays: bool) -> bool:
    """Whether a session's rows here are its messages.

    Without a table of its own for sessions, opencode 1.14 to 1.18 may have written the messages of
    today's engine here as well, under other ids.
    """
    return MESSAGES in tables and (SESSIONS in tables or not has_todays)


def messages(
    connection: sqlite3.Connection, session_id: str, worktree: str | None, known: Collection[str]
) -> tuple[list[Message], list[Problem], int]:
    """A session's messages but those that are `known`, what is wrong, and the bytes of JSON read.

    Rows of unknown types are left out.
    """
    problems: list[Problem] = []
    size = 0
    rows = connection.execute(
        f"SELECT id, type, data FROM {MESSAGES} WHERE session_id = ? ORDER BY time_created, id",
        (session_id,),
    )
    found = []
    for id, kind, data in rows:
        id, kind = as_str(id), as_str(kind)
        row = parse_json(data)
        if not isinstance(row, dict):
            problems.append(Problem(f"message {id} of {session_id}", "its JSON is broken"))
        elif id not in known:
            found.append((id, kind, row))
            size += len(data)
    moves = [row for _id, kind, row in found if kind == MOVED]
    folder = as_text(_folder(as_dict(moves[0].get("previous")))) if moves else None
    read: list[Message] = []
    for id, kind, row in found:
        if kind == MOVED:
            folder = as_text(_folder(row)) or folder
        elif kind in ROLES:
            ids = {"id": id, "sessionID": session_id}
            info, parts = _message(kind, row, worktree)
            if folder:
                info["path"] = {"cwd": folder, "root": worktree}
            placed = [part | {"messageID": id, "sessionID": session_id} for part in parts]
            read.append((info | ids, placed))
    return read, problems, size


def unread(connection: sqlite3.Connection, tables: Collection[str]) -> list[str]:
    """What of its rows is not read, in sentences."""
    if MESSAGES not in tables:
        return []
    types = ", ".join(f"'{name}'" for name in (*ROLES, *MARKERS))
    counts = [
        f"{as_str(kind)} ({count} rows)"
        for kind, count in connection.execute(
            f"SELECT type, count(*) FROM {MESSAGES} WHERE type NOT IN ({types}) GROUP BY type"
        )
    ]
    notes = []
    if counts:
        notes.append(f"types of {MESSAGES} newer than this version, not read: {', '.join(counts)}")
    if not is_read(tables, has_todays=True):
        types = ", ".join(f"'{name}'" for name in ROLES)
        ((count,),) = connection.execute(
            f"SELECT count(*) FROM {MESSAGES} WHERE type IN ({types}) "
            "AND session_id IN (SELECT session_id FROM message)"
        )
        if count:
            notes.append(
                f"{count} rows of opencode's next engine in {MESSAGES} "
                "stand beside messages of today's, not read"
            )
    return notes


def _message(kind: str, data: Json, worktree: str | None) -> Message:
    """A row of one of `ROLES` as a message's info and its parts."""
    model, error = as_dict(data.get("model")), as_dict(data.get("error"))
    info = {key: value for key, value in data.items() if key not in ("content", "text")}
    info |= {"role": ROLES[kind], "type": kind}
    if model:
        info |= {"modelID": model.get("id"), "providerID": model.get("providerID")}
    if error:
        info["error"] = {"name": error.get("type"), "data": error}
    if isinstance(data.get("tokens"), dict):
        info["tokens"] = _with_total(data["tokens"])
    if kind == "compaction":
        return info | {"summary": True}, [{"type": "text", "text": data.get("summary")}]
    if kind == "shell":
        return info, [_command(data)]
    if kind == "assistant":
        return info, _step(data, worktree)
    return info, _prompt(data)


def _folder(said: Json) -> object:
    return as_dict(said.get("location")).get("directory")


def _with_total(tokens: Json) -> Json:
    cache = as_dict(tokens.get("cache"))
    counts = [tokens.get(key) for key in ("input", "output", "reasoning")]
    counts += [cache.get("read"), cache.get("write")]
    return tokens | {"total": sum(as_int(count) or 0 for count in counts)}


def _prompt(data: Json) -> list[Json]:
    parts: list[Json] = [{"type": "text", "text": data.get("text")}]
    for file in _listed(data.get("files")):
        known = {"url": file.get("uri"), "filename": file.get("name")}
        parts.append(file | known | {"type": "file"})
    return parts + [agent | {"type": "agent"} for agent in _listed(data.get("agents"))]


def _step(data: Json, worktree: str | None) -> list[Json]:
    """The parts of a model's answer, between what was there before it and after."""
    parts = [
        _call(part) if part.get("type") == "tool" else part for part in _listed(data.get("content"))
    ]
    snapshot = as_dict(data.get("snapshot"))
    files = snapshot.get("files")
    if not isinstance(files, list) or worktree in (None, "/"):
        return parts
    paths = [posixpath.join(worktree or "", file) for file in files if isinstance(file, str)]
    return [
        {"type": "step-start", "snapshot": snapshot.get("start")},
        *parts,
        {"type": "step-finish", "reason": data.get("finish"), "snapshot": snapshot.get("end")},
        *([{"type": "patch", "hash": snapshot.get("start"), "files": paths}] if paths else []),
    ]


def _call(part: Json) -> Json:
    name, state, time = part.get("name"), as_dict(part.get("state")), as_dict(part.get("time"))
    output = "\n".join(
        text for one in _listed(state.get("content")) if isinstance(text := one.get("text"), str)
    )
    metadata = _metadata(name, as_dict(state.get("metadata")), output)
    told: Json = {
        "status": STATES.get(str(state.get("status")), state.get("status")),
        "input": as_dict(state.get("input")),
        "metadata": metadata,
        "output": output,
        "time": {"start": time.get("ran") or time.get("created"), "end": time.get("completed")},
    }
    if told["status"] == "error":
        error = as_dict(state.get("error"))
        kind, message = str(error.get("type")), as_text(error.get("message")) or "unknown"
        if kind.startswith(REFUSED):
            told["status"] = "denied"
        elif kind == STOPPED or message.startswith(STOPPED_TEXT):
            told["status"] = "aborted"
        told["error"] = message
    tool = TOOLS.get(name, name) if isinstance(name, str) else None
    return {"type": "tool", "tool": tool, "callID": part.get("id"), "state": told}


def _metadata(name: object, metadata: Json, output: str) -> Json:
    """What is known of a call's result, where it was kept before."""
    files = _listed(metadata.get("files"))
    if name == EDIT and files:
        return metadata | {"filediff": files[0]}
    if name == PATCH:
        return metadata | {"files": [file | {"filePath": file.get("file")} for file in files]}
    if name == WRITE and output.startswith((CREATED, WROTE)):
        return metadata | {"exists": output.startswith(WROTE)}
    if name == SUBAGENT:
        return metadata | {"sessionId": metadata.get("sessionID")}
    return metadata


def _command(data: Json) -> Json:
    """A command that the user ran, as a call."""
    time, output = as_dict(data.get("time")), as_dict(data.get("output"))
    state = {
        "status": SHELL_STATES.get(str(data.get("status")), "completed"),
        "input": {"command": data.get("command")},
        "output": output.get("output"),
        "metadata": {"exit": data.get("exit")},
        "time": {"start": time.get("created"), "end": time.get("completed")},
    }
    return {"type": "tool", "tool": "bash", "callID": data.get("shellID"), "state": state}


def _listed(value: object) -> list[Json]:
    return as_dicts(value) if isinstance(value, list) else []
