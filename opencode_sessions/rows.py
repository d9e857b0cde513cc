"""From records and parts to rows of the tables, for the import and the service alike."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from . import events as events_
from . import parts as parts_
from .loose import as_dicts, as_text
from .models import Row, new_id
from .records import MessageRecord, Reported, SessionRecord, moment
from .store import TableName
from .store.values import fingerprint
from .tokens import Tokens

LONGEST_ID = 36
# The years 1 to 9999: what `moment` has times for.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_800_000
COMMANDS = parts_.ToolCall(tool="bash", input={})
SessionRows = dict[TableName, list[Row]]


def session_rows(record: SessionRecord, *, source: str, origin: str | None) -> SessionRows:
    """The rows of one session and all in it, under opencode's own ids."""
    writer = {"source": source, "origin": origin}
    session_id = row_id(record.id)
    session = {
        "id": session_id,
        "opencode_id": record.id,
        "agent_name": record.agent,
        "workdir": record.directory,
        "title": record.title,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "parent_id": record.parent_id,
        "project_id": record.project_id,
        "worktree": record.worktree,
        "provider": record.provider,
        "model": record.model,
        "opencode_version": record.version,
        "archived_at": record.archived_at,
        **_reported(record.reported),
        "reported_cost_usd": record.reported_cost_usd,
        **_tokens("reported_tokens", record.reported_tokens),
        "info": record.info,
        "deleted_at": None,
        **writer,
    }
    rows: SessionRows = {"sessions": [session], "messages": [], "tool_calls": [], "file_events": []}
    named: Counter[str] = Counter()
    # Of inputs that nobody knows none can be told to be the same as another.
    untold = {"input_hash": None} if "sanitized" in record.info else {}
    for message in record.messages:
        rows["messages"].append(_message_row(message, session_id) | writer)
        place: Row = {
            "session_id": session_id,
            "message_id": row_id(message.id),
            "turn": message.turn,
            "is_fork_copy": message.is_fork_copy,
            **writer,
        }
        for number, call in enumerate(message.tool_calls):
            at = place | {
                "created_at": call.started_at or message.created_at,
                "actor": call.actor,
                "is_undone": call.is_undone,
            }
            # Before 0.5 parts had no ids; a call's is its provider's, and new with each message.
            said = call.call.part_id or f"{message.id}/{call.call.call_id or number}"
            named[said] += 1
            id = row_id(said if named[said] == 1 else f"{said}#{named[said]}")
            rows["tool_calls"].append(call_row(call.call, id) | at | {"seq": call.seq} | untold)
            for event in call.file_events:
                event_row = event_row_of(call.call, event.event, id, event.number)
                rows["file_events"].append(event_row | at | {"seq": event.seq})
        for step in message.steps:
            at = place | {
                "created_at": message.completed_at or message.created_at,
                "actor": "agent",
                "is_undone": step.is_undone,
            }
            for event in step.file_events:  # of one of its calls, nobody knows which
                row = event_row_of(COMMANDS, event.event, row_id(step.id), event.number)
                rows["file_events"].append(row | at | {"seq": event.seq, "tool_call_id": None})
    return rows


def message_call_rows(
    parts: Iterable[Any], message_id: str, place: Row, now: datetime, stored: Iterable[Row] = ()
) -> tuple[list[Row], list[Row]]:
    """The tool call and file event rows of one message's parts, as an application hands them over.

    A part or call that says its id keeps the same row however often it is stored; one that does not
    gets a new row each time, unless it is one of those that are `stored` with the message.
    """
    calls: list[Row] = []
    events: list[Row] = []
    ids: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in stored:
        ids[row["tool"], row["input_hash"]].append(row["id"])
    times: Counter[str] = Counter()
    beginning = new_id().replace("-", "")  # the same for all: neighbours are written faster
    for call in parts_.tool_calls(parts):
        said = call.part_id or (f"{message_id}/{call.call_id}" if call.call_id else None)
        if said:
            times[said] += 1
            if times[said] > 1:  # twice in one message: two rows, told by their number
                said = f"{said}#{times[said]}"
        at = place | {
            "message_id": message_id,
            "created_at": moment(call.started_ms) or now,
            "actor": "agent",
        }
        row = call_row(call, row_id(said) if said else "") | at
        if not said:
            same = ids[row["tool"], row["input_hash"]]
            row["id"] = same.pop(0) if same else f"{beginning}-{len(calls)}"
        calls.append(row)
        events += [
            event_row_of(call, event, row["id"], number) | at
            for number, event in enumerate(events_.file_events(call))
        ]
    return calls, events


def call_row(call: parts_.ToolCall, id: str) -> Row:
    """What a tool call row says of the call itself."""
    return {
        "id": id,
        "call_id": call.call_id,
        "tool": call.tool,
        "input": call.input,
        "input_hash": _input_hash(call),
        "status": call.status,
        "error": call.error,
        "title": call.title,
        "output_bytes": _output_bytes(call),
        "exit_code": _exit_code(call),
        "child_session_id": _child(call),
        "duration_s": _duration(call),
    }


def _input_hash(call: parts_.ToolCall) -> int:
    """The same for calls that ask for the same; how a command is described is not what it asks."""
    asked = call.input
    if call.tool == "bash":
        asked = {key: value for key, value in asked.items() if key != "description"}
    return fingerprint(asked)


def _output_bytes(call: parts_.ToolCall) -> int | None:
    return None if call.output is None else len(call.output.encode("utf-8", "replace"))


def _exit_code(call: parts_.ToolCall) -> int | None:
    code = call.metadata.get("exit")
    return code if type(code) is int and abs(code) < 2**31 else None


def _child(call: parts_.ToolCall) -> str | None:
    """The session that a call started; 0.5 named it only in each part of its summary."""
    if not call.metadata:
        return None
    parts = as_dicts(call.metadata.get("summary")) if call.tool == "task" else []
    said = [call.metadata.get("sessionId"), *(part.get("sessionID") for part in parts)]
    return next((id for id in map(as_text, said) if id), None)


def event_row_of(
    call: parts_.ToolCall, event: events_.FileEvent, call_row_id: str, number: int
) -> Row:
    """What a file event row says of the event itself."""
    puts_out = event.event_type in ("read", "bash")
    return {
        "id": row_id(f"{call_row_id}.{number}"),
        "tool_call_id": call_row_id,
        "call_id": call.call_id,
        "tool": call.tool,
        "event_type": event.event_type,
        "file_path": event.file_path,
        "new_file_path": event.new_file_path,
        "command": event.command,
        "diff": event.diff,
        "status": event.status,
        "error": call.error,
        "duration_s": _duration(call),
        "is_new_file": event.is_new_file,
        "additions": event.additions,
        "deletions": event.deletions,
        "start_line": event.start_line,
        "end_line": event.end_line,
        "evidence": event.evidence,
        "output_bytes": _output_bytes(call) if puts_out else None,
        "exit_code": _exit_code(call) if event.event_type == "bash" else None,
        "pruned_at": moment(call.pruned_ms) if puts_out else None,
        "errors_left": None if puts_out else events_.errors_left(call, event),
    }


def row_id(said: str) -> str:
    """opencode's id as a primary key; one that does not fit gets a key that is always its own."""
    if len(said) <= LONGEST_ID:
        return said
    text = said.encode("utf-8", "replace").decode()  # a lone surrogate has no hash
    return str(uuid5(NAMESPACE_URL, f"opencode:{text}"))


def _message_row(message: MessageRecord, session_id: str) -> Row:
    return {
        "id": row_id(message.id),
        "session_id": session_id,
        "role": message.role,
        "content": message.content,
        "parts": message.parts,
        "created_at": message.created_at,
        "opencode_id": message.id,
        "parent_id": message.parent_id,
        "seq": message.seq,
        "turn": message.turn,
        "completed_at": message.completed_at,
        "agent_name": message.agent,
        "provider": message.provider,
        "model": message.model,
        "finish": message.finish,
        "error": message.error,
        "is_compaction": message.is_compaction,
        "is_fork_copy": message.is_fork_copy,
        "is_undone": message.is_undone,
        "cost_usd": message.cost_usd,
        **_tokens("tokens", message.tokens),
        **_reported(message.reported),
        "info": message.info,
        "deleted_at": None,
    }


def _tokens(prefix: str, tokens: Tokens) -> Row:
    return {f"{prefix}_{name}": count for name, count in tokens._asdict().items()}


def _reported(reported: Reported) -> Row:
    return {f"reported_{name}": _count(number) for name, number in reported._asdict().items()}


def _count(number: int | None) -> int | None:
    """A number that its column can hold: opencode's own sums may be nonsense."""
    return number if number is not None and abs(number) < 2**31 else None


def _duration(call: parts_.ToolCall) -> float | None:
    if call.started_ms is None or call.ended_ms is None:
        return None
    if not all(FIRST_MS <= ms < LAST_MS for ms in (call.started_ms, call.ended_ms)):
        return None
    return (call.ended_ms - call.started_ms) / 1000
