"""One session as opencode left it, however it was stored: frozen records with every field named.

A source hands over what opencode itself calls an export, ``{info, messages: [{info, parts}]}``;
`session_record` makes of it what needs the whole session to be known: the order of things (`seq`),
turns, copies made by a fork, and what was reverted. Times are aware UTC datetimes, costs are in
US dollars.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from . import events as events_
from . import parts as parts_
from .changes import MessageChanges, Witness, shell_changes
from .links import Link, link_of
from .loose import as_dict, as_int, as_number, as_text
from .order import age_of, in_order, order
from .tokens import Tokens, counts, tokens_of

Actor = Literal["agent", "user"]
ACTORS: tuple[Actor, ...] = ("agent", "user")

# opencode's own words before the result of a `!` command: the only mark that a user ran it.
USER_SHELL = "The following tool was executed by the user"
ABSOLUTE = re.compile(r"[A-Za-z]:|[/\\]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reported(NamedTuple):
    """What opencode itself sums up about files: kept for contrast, never trusted."""

    files: int | None = None
    additions: int | None = None
    deletions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEventRecord:
    """A file event in its place: `number` counts those of its call, `seq` those of its session."""

    number: int
    seq: int
    event: events_.FileEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What the commands of a step changed, where no single call of them can be named.

    `id` is that of the part that tells it.
    """

    id: str
    is_undone: bool
    file_events: tuple[FileEventRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallRecord:
    """A tool call in its place, with the file events it gave."""

    seq: int
    actor: Actor
    started_at: datetime | None
    duration_s: float | None
    is_undone: bool
    call: parts_.ToolCall
    file_events: tuple[FileEventRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """A message: opencode's `info` and `parts` as they were, and what we read in them."""

    id: str
    parent_id: str | None
    role: str
    seq: int
    turn: int
    created_at: datetime | None
    completed_at: datetime | None
    agent: str | None
    provider: str | None
    model: str | None
    finish: str | None
    error: str | None
    is_compaction: bool
    is_fork_copy: bool
    is_undone: bool
    cost_usd: float | None
    tokens: Tokens
    reported: Reported
    content: str | None
    info: dict[str, Any]
    parts: list[dict[str, Any]]
    tool_calls: tuple[ToolCallRecord, ...]
    steps: tuple[StepRecord, ...]

    @property
    def file_events(self) -> tuple[FileEventRecord, ...]:
        """The file events of this message that belong to no single call."""
        return tuple(event for step in self.steps for event in step.file_events)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session with everything in it."""

    id: str
    parent_id: str | None
    project_id: str | None
    worktree: str | None
    directory: str | None
    title: str | None
    version: str | None
    agent: str | None
    provider: str | None
    model: str | None
    created_at: datetime | None
    updated_at: datetime | None
    archived_at: datetime | None
    reported: Reported
    reported_cost_usd: float | None
    reported_tokens: Tokens
    info: dict[str, Any]
    messages: tuple[MessageRecord, ...]


def session_record(
    info: dict[str, Any],
    messages: Iterable[tuple[dict[str, Any], list[dict[str, Any]]]],
    *,
    worktree: str | None = None,
    shell: bool = True,
    witness: Witness | None = None,
) -> SessionRecord:
    """The record of one session from opencode's JSON: `info`, and each message's `(info, parts)`.

    Messages and parts may come in any order. `seq` orders messages by time, then id; the parts of
    one are in the order of their ids (which wrap every 795 days).
    `shell` adds file events for what commands changed; `witness` knows more about that.
    """
    ordered = sorted(
        ((message, in_order(message, parts)) for message, parts in messages),
        key=lambda message: order(message[0]),
    )
    directory = as_text(info.get("directory"))
    if directory is None:  # sessions migrated from before 1.0 have none: their messages say it
        paths = (as_dict(message.get("path")) for message, _parts in ordered)
        directory = next((cwd for path in paths if (cwd := as_text(path.get("cwd")))), None)
    time, summary, model = (
        as_dict(info.get("time")),
        as_dict(info.get("summary")),
        as_dict(info.get("model")),
    )
    link = link_of(directory, worktree, ordered)
    directory = link.followed(directory) if link else directory
    changes = {}
    if shell:
        placed = [link.followed_by(message) for message in ordered] if link else ordered
        changes = shell_changes(placed, directory=directory, worktree=worktree, witness=witness)
    records = tuple(_messages(info, ordered, changes, link, directory))
    return SessionRecord(
        id=str(info["id"]),
        parent_id=as_text(info.get("parentID")),
        project_id=as_text(info.get("projectID")),
        worktree=worktree,
        directory=directory,
        title=as_text(info.get("title")),
        version=as_text(info.get("version")),
        agent=as_text(info.get("agent")) or _latest(records, "agent"),
        provider=as_text(model.get("providerID")) or _latest(records, "provider"),
        model=as_text(model.get("id")) or _latest(records, "model"),
        created_at=moment(time.get("created")),
        updated_at=moment(time.get("updated")),
        archived_at=moment(time.get("archived")),
        reported=Reported(
            *(as_int(summary.get(key)) for key in ("files", "additions", "deletions"))
        ),
        reported_cost_usd=as_number(info.get("cost")),
        reported_tokens=counts(info.get("tokens")),
        info=info,
        messages=records,
    )


def moment(milliseconds: object) -> datetime | None:
    """A time from opencode's milliseconds since 1970; None for none, or outside years 1 to 9999."""
    number = as_number(milliseconds)
    if number is None:
        return None
    try:
        return EPOCH + timedelta(milliseconds=number)
    except OverflowError:
        return None


def _messages(
    session: dict[str, Any],
    ordered: list[tuple[dict[str, Any], list[dict[str, Any]]]],
    changes: dict[str, MessageChanges],
    link: Link | None,
    directory: str | None,
) -> Iterator[MessageRecord]:
    session_created = as_number(as_dict(session.get("time")).get("created"))
    revert, version = as_dict(session.get("revert")), as_text(session.get("version"))
    shell_prompts = {m.get("id") for m, parts in ordered if _is_user_shell(parts)}
    turn = calls = events = 0
    undone = False
    for seq, (info, parts) in enumerate(ordered):
        role = as_text(info.get("role")) or "unknown"
        turn = turn + 1 if role == "user" else max(turn, 1)
        created = as_number(as_dict(info.get("time")).get("created"))
        is_copy = bool(created and session_created and created < session_created)
        reverted_here = (
            revert.get("messageID") is not None and info.get("id") == revert["messageID"]
        )
        first_undone = as_text(revert.get("partID")) if reverted_here else None
        undone = message_undone = undone or (reverted_here and first_undone is None)
        changed = changes.get(str(info.get("id")), MessageChanges())
        age = age_of(info)
        folder = as_text(as_dict(info.get("path")).get("cwd"))
        # The next engine has no prompt before the command that a user ran.
        is_users = role == "user" or as_text(info.get("parentID")) in shell_prompts
        records, steps = [], []
        for place, call in enumerate(parts_.tool_calls(parts)):
            undone = undone or (
                first_undone is not None and age(call.part_id or "") >= age(first_undone)
            )
            found = events_.file_events(call)
            if folder and folder != directory:
                found = [_seen_from(folder, event) for event in found]
            if link:
                found = [link.followed_in(event) for event in found]
            found = found + changed.by_call.get(place, [])
            started = moment(call.started_ms)
            records.append(
                ToolCallRecord(
                    seq=calls,
                    actor="user" if is_users else "agent",
                    started_at=started,
                    duration_s=_seconds(call.started_ms, call.ended_ms),
                    is_undone=undone,
                    call=call,
                    file_events=_numbered(found, events),
                )
            )
            calls, events = calls + 1, events + len(found)
            if place in changed.by_step:
                id, found = changed.by_step[place]
                numbered = _numbered(found, events)
                steps.append(StepRecord(id=id, is_undone=undone, file_events=numbered))
                events += len(found)
        is_undone = message_undone
        yield _message(info, parts, version, seq, turn, role, is_copy, is_undone, records, steps)
        undone = undone or reverted_here


def _seen_from(folder: str, event: events_.FileEvent) -> events_.FileEvent:
    """An event of a message that was written in another folder than its session's is now."""
    paths = [
        posixpath.join(folder, path) if path and not ABSOLUTE.match(path) else path
        for path in (event.file_path, event.new_file_path)
    ]
    return replace(event, file_path=paths[0], new_file_path=paths[1])


def _numbered(found: list[events_.FileEvent], first: int) -> tuple[FileEventRecord, ...]:
    return tuple(
        FileEventRecord(number=number, seq=first + number, event=event)
        for number, event in enumerate(found)
    )


def _message(
    info: dict[str, Any],
    parts: list[dict[str, Any]],
    version: str | None,
    seq: int,
    turn: int,
    role: str,
    is_fork_copy: bool,
    is_undone: bool,
    calls: list[ToolCallRecord],
    steps: list[StepRecord],
) -> MessageRecord:
    time, error, model = (
        as_dict(info.get("time")),
        as_dict(info.get("error")),
        as_dict(info.get("model")),
    )
    diffs = as_dict(info.get("summary")).get("diffs")
    return MessageRecord(
        id=str(info["id"]),
        parent_id=as_text(info.get("parentID")),
        role=role,
        seq=seq,
        turn=turn,
        created_at=moment(time.get("created")),
        completed_at=moment(time.get("completed")),
        agent=as_text(info.get("agent")) or as_text(info.get("mode")),
        provider=as_text(info.get("providerID")) or as_text(model.get("providerID")),
        model=as_text(info.get("modelID")) or as_text(model.get("modelID")),
        finish=as_text(info.get("finish")),
        error=_error(error),
        # One key, two types: `summary` is true on the answer to a compaction, an object on prompts.
        is_compaction=info.get("summary") is True,
        is_fork_copy=is_fork_copy,
        is_undone=is_undone,
        cost_usd=as_number(info.get("cost")),
        tokens=tokens_of(info, parts, version),
        reported=_reported(diffs) if isinstance(diffs, list) else Reported(),
        content=parts_.extract_text(parts),
        info=info,
        parts=parts,
        tool_calls=tuple(calls),
        steps=tuple(steps),
    )


def _reported(diffs: list[Any]) -> Reported:
    found = [diff for diff in diffs if isinstance(diff, dict)]
    return Reported(
        len(found),
        sum(as_int(diff.get("additions")) or 0 for diff in found),
        sum(as_int(diff.get("deletions")) or 0 for diff in found),
    )


def _error(error: dict[str, Any]) -> str | None:
    name, message = as_text(error.get("name")), as_text(as_dict(error.get("data")).get("message"))
    return ": ".join(text for text in (name, message) if text) or None


def _is_user_shell(parts: list[dict[str, Any]]) -> bool:
    return any(part.get("synthetic") and part.get("text") == USER_SHELL for part in parts)


def _latest(messages: tuple[MessageRecord, ...], name: str) -> str | None:
    values = (getattr(message, name) for message in reversed(messages) if not message.is_compaction)
    return next((value for value in values if value), None)


def _seconds(start_ms: float | None, end_ms: float | None) -> float | None:
    return None if start_ms is None or end_ms is None else (end_ms - start_ms) / 1000
