"""Every column of the four frames, said once as data: what it is called, holds, and means.

The builder, `frames.schema`, docs/columns.md and the tests all read this.
"""

from typing import Final, NamedTuple

from ..store import TableName

EVENT_TYPES = ("read", "write", "edit", "delete", "move", "bash")
STATUSES = ("completed", "error", "denied", "aborted", "pending")
EVIDENCE = ("tool_meta", "tool_input", "snapshot", "patch_part", "shell")
ACTORS = ("agent", "user")
ROLES = ("user", "assistant", "system", "tool", "unknown")

FIXED = {
    "event_type": EVENT_TYPES,
    "status": STATUSES,
    "evidence": EVIDENCE,
    "actor": ACTORS,
}
# Optional columns, and what asks for them.
ASKED = {"diff": "diffs=True", "parts": "parts=True", "input": "parts=True"}
TIME: Final = "datetime64[us, UTC]"


class Column(NamedTuple):
    """One column: its frame, its dtype, the stored column it is read from ("" if computed)."""

    frame: TableName
    name: str
    dtype: str
    stored: str
    meaning: str
    unit: str = ""
    is_optional: bool = False


class _Frame:
    def __init__(self, frame: TableName) -> None:
        self.frame = frame

    def __call__(self, name: str, dtype: str, stored: str, meaning: str, unit: str = "") -> Column:
        return Column(self.frame, name, dtype, name if stored == "=" else stored, meaning, unit)


def _place(of: _Frame) -> list[Column]:
    return [
        of("session_id", "category", "=", "row id of the session"),
        of("opencode_session_id", "category", "", "opencode's id of the session"),
        of(
            "root_session_id",
            "category",
            "",
            "the session that started it all: itself, or its topmost parent",
        ),
        of("parent_session_id", "category", "", "the session whose task call started this one"),
        of("project", "category", "", "the project's worktree, else the session's directory"),
    ]


def _writer(of: _Frame) -> list[Column]:
    return [
        of(
            "source",
            "category",
            "=",
            "who wrote the row: service, database, storage, export, server",
        ),
        of("origin", "category", "=", "whose data it is, as the import was told"),
    ]


def _agent(of: _Frame) -> list[Column]:
    return [
        of("agent_name", "category", "=", "agent: build, plan, general, ..."),
        of("provider", "category", "=", "provider of the model"),
        of("model", "category", "=", "model that was asked"),
    ]


def _money(of: _Frame, prefix: str, stored: str, whose: str) -> list[Column]:
    def source(name: str) -> str:
        return "=" if stored else ""

    return [
        of(f"{prefix}cost_usd", "float64", source("cost_usd"), f"cost, {whose}", "US dollars"),
        of(
            f"{prefix}tokens_input",
            "Int64",
            source(""),
            f"input tokens without cached ones, {whose}",
            "tokens",
        ),
        of(
            f"{prefix}tokens_output",
            "Int64",
            source(""),
            f"output tokens without reasoning, {whose}",
            "tokens",
        ),
        of(
            f"{prefix}tokens_reasoning", "Int64", source(""), f"reasoning tokens, {whose}", "tokens"
        ),
        of(
            f"{prefix}tokens_cache_read",
            "Int64",
            source(""),
            f"input tokens read from cache, {whose}",
            "tokens",
        ),
        of(
            f"{prefix}tokens_cache_write",
            "Int64",
            source(""),
            f"input tokens written to cache, {whose}",
            "tokens",
        ),
    ]


def _reported(of: _Frame, over: str) -> list[Column]:
    return [
        of("reported_files", "Int32", "=", f"files changed {over}, as opencode sums up", "files"),
        of("reported_additions", "Int32", "=", f"lines added {over}, as opencode sums up", "lines"),
        of(
            "reported_deletions",
            "Int32",
            "=",
            f"lines removed {over}, as opencode sums up",
            "lines",
        ),
    ]


def _flags(of: _Frame) -> list[Column]:
    return [
        of(
            "is_fork_copy",
            "bool",
            "=",
            "copied by a fork from another session, did not happen here",
        ),
        of("is_undone", "bool", "=", "reverted, the files were put back; or deleted since"),
    ]


def _file_events() -> list[Column]:
    of = _Frame("file_events")
    return [
        of("event_id", "str", "id", "row id: the part's id and a number"),
        *_place(of),
        of("turn", "Int32", "=", "number of the user message it belongs to, from 1"),
        of("message_id", "str", "=", "row id of the message"),
        of("call_id", "str", "=", "the provider's id of the tool call, not unique across forks"),
        of("seq", "Int32", "=", "place among the session's file events, from 0"),
        of("time", TIME, "created_at", "start of the tool call"),
        of("duration_s", "float64", "=", "how long the tool call ran", "seconds"),
        of("actor", "category", "=", "agent, or user for a ! command"),
        *_agent(of),
        of("tool", "category", "=", "tool that was called"),
        of("event_type", "category", "=", "operation asked for, whatever became of it"),
        of(
            "file_path",
            "category",
            "=",
            "POSIX path, relative to the worktree, absolute outside it",
        ),
        of("new_file_path", "category", "=", "where a move went"),
        of(
            "is_new_file",
            "boolean",
            "=",
            "whether the write or edit made the file; NA where not known",
        ),
        of("command", "str", "=", "the command of a bash event"),
        of("status", "category", "=", "what became of it"),
        of("error", "str", "=", "the error's text"),
        of("additions", "Int32", "=", "lines added; NA where not known", "lines"),
        of("deletions", "Int32", "=", "lines removed; NA where not known", "lines"),
        of("start_line", "Int32", "=", "first line read or touched, from 1"),
        of("end_line", "Int32", "=", "last line read or touched"),
        of("evidence", "category", "=", "how we know"),
        of("output_bytes", "Int64", "=", "size of what a read or command put out", "bytes"),
        of("exit_code", "Int32", "=", "exit code of a command"),
        of(
            "pruned_at",
            TIME,
            "=",
            "when opencode took the output of a read or command out of the context",
        ),
        of(
            "errors_left",
            "Int32",
            "=",
            "errors a language server reported in the file with the change; NA where none looked",
            "errors",
        ),
        *_flags(of),
        *_writer(of),
        of("diff", "str", "=", "the change as text: a diff, or what was written")._replace(
            is_optional=True
        ),
    ]


def _sessions() -> list[Column]:
    of = _Frame("sessions")
    place = [
        column._replace(stored="id" if column.name == "session_id" else "") for column in _place(of)
    ]
    place[1] = place[1]._replace(stored="opencode_id")
    return [
        *place,
        of("project_id", "category", "=", "opencode's project id: the repository's first commit"),
        of("workdir", "category", "=", "directory the session ran in"),
        of("title", "str", "=", "title"),
        *_agent(of),
        of("opencode_version", "category", "=", "opencode that created the session"),
        of("created_at", TIME, "=", "when it was created"),
        of("updated_at", TIME, "=", "when it was last touched"),
        of("archived_at", TIME, "=", "when it was archived"),
        of("deleted_at", TIME, "=", "when an import found that opencode has deleted it"),
        of("abi_thread_id", "str", "=", "the application's own thread"),
        of("turns", "Int32", "", "user messages, undone ones included", "messages"),
        of("messages", "Int32", "", "messages, undone ones included", "messages"),
        of("tool_calls", "Int32", "", "tool calls, fork copies included", "calls"),
        of("file_events", "Int32", "", "file events, fork copies included", "events"),
        *_money(
            of, "", "", "summed over the session's own messages, undone ones too, no fork copies"
        ),
        *_reported(of, "in the session"),
        *_money(of, "reported_", "=", "as opencode sums up"),
        *_writer(of),
    ]


def _messages() -> list[Column]:
    of = _Frame("messages")
    return [
        of("message_id", "str", "id", "row id"),
        *_place(of),
        of("opencode_message_id", "str", "opencode_id", "opencode's id of the message"),
        of("parent_message_id", "str", "parent_id", "opencode's id of the prompt it answers"),
        of("turn", "Int32", "=", "number of the user message it belongs to, from 1"),
        of("seq", "Int32", "=", "place among the session's messages, from 0"),
        of("time", TIME, "created_at", "when it was created"),
        of("duration_s", "float64", "", "until it was complete", "seconds"),
        of("deleted_at", TIME, "=", "when an import found that opencode has deleted it"),
        of("role", "category", "=", "user or assistant"),
        *_agent(of),
        of("finish", "category", "=", "why the model stopped"),
        of("error", "str", "=", "the error's name and text"),
        of("is_compaction", "bool", "=", "the summary that replaced the context before it"),
        of("content", "str", "=", "its text"),
        *_money(of, "", "=", "of this model request"),
        *_reported(of, "in the turn"),
        *_flags(of),
        *_writer(of),
        of("parts", "object", "=", "its parts as they were stored")._replace(is_optional=True),
    ]


def _tool_calls() -> list[Column]:
    of = _Frame("tool_calls")
    return [
        of("tool_call_id", "str", "id", "row id: the part's id"),
        *_place(of),
        of("turn", "Int32", "=", "number of the user message it belongs to, from 1"),
        of("message_id", "str", "=", "row id of the message"),
        of("call_id", "str", "=", "the provider's id of the call, not unique across forks"),
        of("seq", "Int32", "=", "place among the session's tool calls, from 0"),
        of("time", TIME, "created_at", "start of the call"),
        of("duration_s", "float64", "=", "how long it ran", "seconds"),
        of("actor", "category", "=", "agent, or user for a ! command"),
        *_agent(of),
        of(
            "tool",
            "category",
            "=",
            "tool that was called; MCP and custom tools under their own names",
        ),
        of("status", "category", "=", "what became of it"),
        of("error", "str", "=", "the error's text"),
        of("title", "str", "=", "opencode's title of the call"),
        of("exit_code", "Int32", "=", "exit code of a command"),
        of("output_bytes", "Int64", "=", "size of the output", "bytes"),
        of(
            "input_hash",
            "Int64",
            "=",
            "the same for two calls with the same arguments; NA where those are unknown",
        ),
        of("child_session_id", "category", "=", "opencode's id of the session a task call started"),
        *_flags(of),
        *_writer(of),
        of("input", "object", "=", "its arguments")._replace(is_optional=True),
    ]


COLUMNS: dict[TableName, list[Column]] = {
    "sessions": _sessions(),
    "messages": _messages(),
    "tool_calls": _tool_calls(),
    "file_events": _file_events(),
}

HEAD = """# The columns of the frames

From the code, by `make columns`; in a notebook `frames.schema` says the same.

Every frame has all of its columns with these dtypes, also where it is empty, whatever the store.
Categories are those observed, sorted; of """


JOINED = """What another frame has to say of a row comes by its id, with `merge` or with a dict:

    model = frames.sessions.set_index("session_id")["model"]
    events["session_model"] = events["session_id"].map(model.to_dict())

Not with `.map(model)` itself: where both are categories, pandas (3.1) may give the value of another
row without a word."""


def page() -> str:
    """`docs/columns.md`: a table for each frame."""
    fixed = [f"`{name}` always {', '.join(values)}" for name, values in FIXED.items()]
    lines = [f"{HEAD}{'; of '.join(fixed)}."]
    lines += ["", JOINED]
    for frame, columns in COLUMNS.items():
        lines += [
            "",
            f"## `.{frame}`",
            "",
            "| column | dtype | unit | meaning |",
            "|---|---|---|---|",
        ]
        for column in columns:
            asked = f" (with `{ASKED[column.name]}`)" if column.is_optional else ""
            told = f"`{column.dtype}` | {column.unit} | {column.meaning}{asked}"
            lines.append(f"| `{column.name}` | {told} |")
    return "\n".join(lines)
