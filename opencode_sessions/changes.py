"""Changes no tool's own words explain: which command made them, and how we know.

opencode notes what a step left on the disk: the snapshot trees before and after it, and a `patch`
part that names the files. What no edit, write or patch of the step explains was changed by its
commands, if it was not changed by somebody else meanwhile: several sessions may work in one
worktree, and then each finds the others' changes in its trees. A change that more than one of them
may have made is nobody's. Where opencode noted nothing, only the text of a command tells.
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from . import events as events_
from . import parts as parts_
from .events import FileEvent
from .loose import as_dict, as_number, as_text
from .noted import TreeChange, between, named, patched_events, unquoted
from .shell import Command, is_below, read_command

Json = dict[str, Any]
Message = tuple[Json, list[Json]]
Pair = tuple[str, str]


class Work(NamedTuple):
    """A call that changed files or may have: when it ran, and which paths it says."""

    call_id: str | None
    start_ms: float
    end_ms: float
    paths: frozenset[str]
    command: Command | None


class Witness(Protocol):
    """What a source knows beyond the session itself."""

    def trees(self, root: str, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[TreeChange]]:
        """What changed between trees of this worktree; a pair that cannot be told is not there."""

    def others(self, start_ms: float, end_ms: float) -> Iterable[Work]:
        """What other sessions did in the same worktree in this time."""


@dataclass(slots=True)
class MessageChanges:
    """What commands of a message changed.

    `by_call`: by the place of the call in the message. `by_step`: where no single call can be
    named, by the place of the step's last call: the id of the part that tells it, and the events.
    """

    by_call: dict[int, list[FileEvent]] = field(default_factory=dict)
    by_step: dict[int, tuple[str, list[FileEvent]]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Step:
    message: str
    start_ms: float
    end_ms: float
    root: str
    folder: str | None
    earlier: str | None
    before: str | None
    after: str | None
    part_id: str
    patched: list[str]
    explained: set[str]
    calls: dict[int, parts_.ToolCall]
    commands: dict[int, Command]

    def is_covered(self, event: FileEvent) -> bool:
        """Whether opencode's notes would have it: they are of the session's folder alone."""
        paths = [path for path in (event.file_path, event.new_file_path) if path]
        return self.folder is None or any(is_below(path, self.folder) for path in paths)

    def names(self, path: str) -> bool:
        """Whether one of its commands names this path as changed."""
        return any(command.names(path) for command in self.commands.values())

    def pairs(self) -> Iterator[Pair]:
        """The trees to compare: before and after it, and at the end of the step before it."""
        if self.before and self.after and self.before != self.after:
            yield self.before, self.after
        names_any = any(command.changes for command in self.commands.values())
        if names_any and self.earlier and self.before and self.earlier != self.before:
            yield self.earlier, self.before


def shell_changes(
    messages: Sequence[Message],
    *,
    directory: str | None,
    worktree: str | None,
    witness: Witness | None,
) -> dict[str, MessageChanges]:
    """What the commands of a session changed, by message id; a message without has no entry.

    Args:
        messages: opencode's JSON of each message and its parts.
        directory: where the session's relative paths start.
        worktree: the top of its project, where it is known.
        witness: what else is known of the disk; None leaves the messages' own words.
    """
    steps: list[_Step] = []
    is_noted = False
    earlier: str | None = None
    for info, parts in messages:
        is_noted = is_noted or any(part.get("type") == "patch" for part in parts)
        if any(part.get("tool") == "bash" or "toolInvocation" in part for part in parts):
            steps += _steps(info, parts, directory, worktree, earlier)
        finished = (part.get("snapshot") for part in parts if part.get("type") == "step-finish")
        earlier = next((tree for part in finished if (tree := as_text(part))), earlier)
    trees: dict[str, Mapping[Pair, Sequence[TreeChange]]] = {}
    if witness is not None:
        wanted: dict[str, dict[Pair, None]] = {}
        for step in steps:
            wanted.setdefault(step.root, {}).update(dict.fromkeys(step.pairs()))
        trees = {root: witness.trees(root, list(pairs)) for root, pairs in wanted.items()}
    found: dict[str, MessageChanges] = {}
    for step in steps:
        is_told = step.before is not None or (is_noted and step.part_id)
        for place, call in step.calls.items():
            said = _said(call, step.commands[place])
            if events := [event for event in said if not (is_told and step.is_covered(event))]:
                found.setdefault(step.message, MessageChanges()).by_call[place] = events
        if is_told and (events := _noted(step, trees.get(step.root, {}), witness)):
            message = found.setdefault(step.message, MessageChanges())
            if len(step.calls) == 1:
                (place,) = step.calls
                message.by_call[place] = events + message.by_call.get(place, [])
            else:
                message.by_step[max(step.calls)] = (step.part_id or step.message, events)
    return found


def _noted(
    step: _Step, trees: Mapping[Pair, Sequence[TreeChange]], witness: Witness | None
) -> list[FileEvent]:
    """What a step's commands changed, by what opencode noted of it."""
    late = trees.get((step.earlier or "", step.before or ""))
    changed = trees.get((step.before or "", step.after or ""))
    if step.before is not None and step.before == step.after:
        if late is None and step.earlier not in (None, step.before):
            said = (_said(call, step.commands[place]) for place, call in step.calls.items())
            return [event for events in said for event in events if step.is_covered(event)]
        changed = []
    if changed is None:
        ours = _ours(step, step.patched, witness)
        return list(patched_events(ours, step.commands.values()))
    ours = _ours(step, [change.path for change in changed], witness)
    mine = [change for change in changed if change.path in ours]
    # The tree before a step may be taken when its command has run: what the command names is its.
    for change in late or []:
        if change.path not in ours and step.names(change.path):
            mine.append(change)
    return list(between(mine))


def works(messages: Iterable[Message], directory: str | None) -> list[Work]:
    """The calls of a session that changed files or may have, in order, for its neighbours."""
    found = []
    for info, parts in messages:
        place = _directory(info, directory)
        # In these a part of a tool has its name; what has none is looked at.
        changing = [p for p in parts if p.get("tool", "bash") in events_.CHANGING_TOOLS]
        for call in parts_.tool_calls(changing):
            if call.started_ms is None or call.status in ("denied", "pending"):
                continue
            command = _command(call, place) if call.tool == "bash" else None
            paths = frozenset(_explained(call, place))
            if paths or (command is not None and (command.changes or not command.is_whole)):
                end = call.started_ms if call.ended_ms is None else call.ended_ms
                found.append(Work(call.call_id, call.started_ms, end, paths, command))
    return found


def _steps(
    info: Json,
    parts: list[Json],
    directory: str | None,
    worktree: str | None,
    earlier: str | None,
) -> Iterator[_Step]:
    """The steps of a message that ran a command: all of it since 1.0, before one of several.

    `earlier` is the last tree before it.
    """
    groups: list[list[Json]] = [[]]
    for part in parts:
        if part.get("type") == "step-start" and groups[-1]:
            groups.append([])
        groups[-1].append(part)
    time, path = as_dict(info.get("time")), as_dict(info.get("path"))
    folder = _directory(info, directory)
    calls = [list(parts_.tool_calls(group)) for group in groups]
    first = 0
    for number, (group, listed) in enumerate(zip(groups, calls, strict=True)):
        ran = {
            first + place: call
            for place, call in enumerate(listed)
            if call.tool == "bash" and call.status not in ("denied", "pending")
        }
        first += len(listed)
        if not ran:
            continue
        start = [call.started_ms for call in listed if call.started_ms is not None]
        end = [call.ended_ms for call in listed if call.ended_ms is not None]
        if len(groups) == 1:
            start += [ms for ms in [as_number(time.get("created"))] if ms is not None]
            end += [ms for ms in [as_number(time.get("completed"))] if ms is not None]
        before, after, part_id, patched = None, None, "", []
        for part in group:
            kind = part.get("type")
            if kind == "step-start":
                before = as_text(part.get("snapshot"))
                part_id = part_id or as_text(part.get("id")) or ""
            elif kind == "step-finish":
                after = as_text(part.get("snapshot"))
            elif kind == "patch":
                part_id = as_text(part.get("id")) or part_id
                files = part.get("files")
                if isinstance(files, list):
                    patched += [unquoted(file) for file in files if isinstance(file, str)]
        # Before 1.0 the next step may begin before the files of this one are looked at.
        telling = [*listed, *(calls[number + 1] if number + 1 < len(calls) else [])]
        yield _Step(
            message=str(info.get("id")),
            start_ms=min(start, default=0.0),
            end_ms=max(end, default=float("inf")),
            root=as_text(path.get("root")) or worktree or "",
            folder=folder,
            earlier=earlier,
            before=before,
            after=after,
            part_id=part_id,
            patched=patched,
            explained={path for call in telling for path in _explained(call, folder)},
            calls=ran,
            commands={place: _command(call, folder) for place, call in ran.items()},
        )


def _explained(call: parts_.ToolCall, directory: str | None) -> Iterator[str]:
    """The paths a tool that says what it changes has changed."""
    if call.status in ("denied", "pending") or call.tool == "bash":
        return
    for path in events_.changed_paths(call):
        yield posixpath.normpath(posixpath.join(directory or "", path))


def _ours(step: _Step, paths: Iterable[str], witness: Witness | None) -> dict[str, None]:
    """Those of the changed paths that the commands of this step changed, in order."""
    unexplained = [path for path in dict.fromkeys(paths) if path not in step.explained]
    if not unexplained:
        return {}
    own = {(call.call_id, call.started_ms) for call in step.calls.values()}
    others = [] if witness is None else list(witness.others(step.start_ms, step.end_ms))
    # A fork has copies of what was done before it: the same calls at the same times.
    others = [work for work in others if (work.call_id, work.start_ms) not in own]
    told = frozenset().union(*(work.paths for work in others))
    foreign = [work.command for work in others if work.command is not None]
    is_open = any(not c.is_whole and not c.brings_work for c in step.commands.values())
    is_alone = all(command.is_whole for command in foreign)
    ours: dict[str, None] = {}
    for path in unexplained:
        is_told = path in told or any(command.names(path) for command in foreign)
        if step.names(path) or (is_open and is_alone and not is_told):
            ours[path] = None
    return ours


def _said(call: parts_.ToolCall, command: Command) -> list[FileEvent]:
    """What a command says it changes, where it ran to its end without an error."""
    if call.status != "completed" or call.metadata.get("exit") not in (0, None):
        return []
    return [named(change, "shell") for change in command.changes if change.is_sure]


def _command(call: parts_.ToolCall, directory: str | None) -> Command:
    workdir = as_text(call.input.get("workdir"))
    if workdir is not None:
        directory = posixpath.join(directory or "", workdir)
    return read_command(as_text(call.input.get("command")) or "", directory)


def _directory(info: Json, directory: str | None) -> str | None:
    return as_text(as_dict(info.get("path")).get("cwd")) or directory
