"""What opencode gives out: `opencode export` files, the server's answers, `run` lines.

A format is recognised by its shape:

- ``{"info": ..., "messages": [...]}``: an export, one session; with ``--sanitize``, marks stand for
  what it said;
- ``{"id": "ses_...", ...}``, ``[{"info": ..., "parts": [...]}, ...]`` and
  ``[{"id": ..., "worktree": ...}]``: ``GET /session/:id``, ``GET /session/:id/message`` and
  ``GET /project``, which belong together by the session's and the project's id;
- lines of ``{"type": ..., "sessionID": ..., "part": ...}``: `opencode run --format json`.

What a format cannot tell stays unknown; `UNTOLD` says what that is.
"""

import codecs
import re
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import SourceError
from ..loose import as_dict, as_dicts, as_number, as_text
from ..records import session_record
from .source import Item, Json, Problem, contents, created, is_wanted, parse_json, root, why
from .surroundings import Surroundings

Format = Literal["export", "server", "run", "sanitized"]
LABELS: dict[Format, str] = {
    "export": "opencode export",
    "server": "answers of opencode serve",
    "run": "opencode run --format json",
    "sanitized": "opencode export --sanitize",
}
STANDARD_INPUT = Path("-")
HEAD_BYTES = 4096
HEADS: tuple[tuple[Format, "re.Pattern[bytes]"], ...] = (
    ("sanitized", re.compile(rb'\s*\{\s*"info"\s*:.*"\[redacted:session-', re.DOTALL)),
    ("export", re.compile(rb'\s*\{\s*"info"\s*:')),
    ("server", re.compile(rb'\s*\[\s*(\]|\{\s*"(info|id|parts)"\s*:)')),
    ("server", re.compile(rb'\s*\{\s*"id"\s*:\s*"ses_')),
    ("run", re.compile(rb'\s*\{[^\n]*"sessionID"\s*:[^\n]*"part"\s*:|\s*\{\s*"type"\s*:')),
)
# A mark of --sanitize: a text, or an object in place of a call's input or metadata.
MARK = re.compile(rb'\{\s*"redacted"\s*:\s*"[^"\\]*"\s*\}|"\[redacted:[^"\\]*"(?!\s*:)')
# What shells put before redirected text.
BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

TOKENS = tuple(
    f"tokens_{name}" for name in ("input", "output", "reasoning", "cache_read", "cache_write")
)
SUMS = ("reported_cost_usd", *(f"reported_{name}" for name in TOKENS))
SESSION = (
    *("project_id", "title", "opencode_version", "created_at", "updated_at", "archived_at"),
    *("root_session_id", "parent_session_id", "is_fork_copy", "is_undone", "cost_usd", *TOKENS),
    *("reported_files", "reported_additions", "reported_deletions", *SUMS),
)
# The columns of the frames, `source` aside, that each kind of source may not be able to tell as the
# database does: they are unknown there, or follow from what is. An export and the server's answers
# tell all; run lines give rows of answers alone, and a sanitized export gives events of commands.
UNTOLD: dict[str, tuple[str, ...]] = {
    "export": (),
    "server": (),
    "storage": SUMS,  # which opencode has since it has a database
    "messages alone": SESSION,
    "run": (
        *SESSION,
        *("project", "workdir", "turns", "messages", "turn", "seq", "actor", "agent_name"),
        *("provider", "model", "parent_message_id", "duration_s", "finish", "error"),
        *("is_compaction", "file_path", "file_events", "parts"),
    ),
    "sanitized": (
        *("project", "workdir", "title", "content", "parts", "input", "input_hash", "command"),
        "file_events",
        # an aborted command says so in its output alone
        *("status", "exit_code", "output_bytes", "evidence", "seq"),
    ),
}


@dataclass(slots=True)
class _Session:
    """What the files read so far say of one session."""

    info: Json
    messages: dict[str, tuple[Json, list[Json]]] = field(default_factory=dict)

    def worktree(self) -> str | None:
        return root(info for info, _parts in self.messages.values())

    def touched(self) -> Json:
        """The session's info; where there is none, with the time of its last message."""
        if "time" in self.info or not self.messages:
            return self.info
        last = max(created(info)[0] for info, _parts in self.messages.values())
        return self.info | {"time": {"updated": last}}


@dataclass(frozen=True, slots=True)
class JsonFiles:
    """Files of one format, read together: a session's info and messages may lie in two of them.

    `given` is what came from standard input, in place of files.
    """

    format: Format
    files: tuple[Path, ...]
    given: bytes | None = None

    @property
    def kind(self) -> str:
        """What rows say in `source`."""
        return "server" if self.format == "server" else "export"

    def __str__(self) -> str:
        names = str(self.files[0]) if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{'standard input' if self.given else names}, {LABELS[self.format]}"

    def sessions(
        self,
        *,
        since: datetime | None = None,
        project: str | None = None,
        shell: bool = True,
        leave_out: Container[str] = (),
    ) -> Iterator[Item]:
        """First the number of sessions that follow, then each session and each problem met."""
        problems: list[Problem] = []
        taken = _Taken(is_sanitized=self.format == "sanitized")
        for file in self.files:
            for place, value in self._values(file, problems):
                if not taken.take(value):
                    problems.append(Problem(place, "holds nothing that opencode gives out"))
        every = [(session, taken.worktree(session)) for session in taken.sessions.values()]
        wanted = [
            one
            for one in every
            if one[0].info["id"] not in leave_out
            and is_wanted(one[0].touched(), one[1], since, project)
        ]
        wanted.sort(key=lambda one: created(one[0].touched()))
        around = Surroundings(
            None,
            ((session.info, worktree) for session, worktree in every),
            lambda id: taken.sessions[id].messages.values(),
        )
        yield len(wanted)
        yield from problems
        for session, worktree in wanted:
            yield session_record(
                session.info,
                session.messages.values(),
                worktree=worktree,
                shell=shell,
                witness=around.of(session.info, worktree),
            )

    def states(self) -> dict[str, str | None]:
        """None: what was given out once has no later state."""
        return {}

    def notes(self) -> list[str]:
        """What this format cannot tell."""
        if self.format == "run":
            return ["run lines hold no prompts, titles or directories: those stay unknown"]
        if self.format == "sanitized":
            return ["sanitized exports hold no texts, paths, titles or inputs: those stay unknown"]
        return []

    def _values(self, file: Path, problems: list[Problem]) -> Iterator[tuple[str, Any]]:
        """The JSON value of a file, or those of its lines, each with its place."""
        place = "standard input" if self.given is not None else f"file {file}"
        reason = "its JSON is broken"
        data = b""
        for _attempt in range(2):  # it may have been half written
            try:
                data = decoded(contents(file) if self.given is None else self.given)
            except OSError as error:
                reason = f"cannot be read: {why(error)}"
                continue
            if self.format == "sanitized":
                data = MARK.sub(lambda mark: b"{}" if mark[0].startswith(b"{") else b"null", data)
            whole = parse_json(data)
            if whole is not None:
                yield place, whole
                return
        lines = [
            (f"{place}, line {n}", line) for n, line in enumerate(data.splitlines(), 1) if line
        ]
        values = [(place, parse_json(line)) for place, line in lines]
        if self.format != "run" and not (values and isinstance(values[0][1], dict | list)):
            problems.append(Problem(place, reason))
            return
        for line_place, value in values:
            if value is None:
                problems.append(Problem(line_place, "its JSON is broken"))
            else:
                yield line_place, value


@dataclass(slots=True)
class _Taken:
    """The sessions and projects that the values read so far tell of."""

    is_sanitized: bool
    sessions: dict[str, _Session] = field(default_factory=dict)
    worktrees: dict[str, str] = field(default_factory=dict)

    def take(self, value: Any) -> bool:
        """Adds what a value says; whether it is something that opencode gives out."""
        if isinstance(value, list):
            return all([self._take_listed(item) for item in value])
        if not isinstance(value, dict):
            return False
        info, messages = value.get("info"), value.get("messages")
        if isinstance(info, dict) and isinstance(messages, list):
            return self._take_export(info, messages)
        if isinstance(value.get("sessionID"), str):
            return self._take_line(value)
        return self._take_listed(value)

    def worktree(self, session: _Session) -> str | None:
        """A session's worktree: as its messages say, else as those of its project do."""
        if not self.worktrees:
            for one in self.sessions.values():
                if (project := as_text(one.info.get("projectID"))) and (found := one.worktree()):
                    self.worktrees.setdefault(project, found)
        return session.worktree() or self.worktrees.get(str(session.info.get("projectID")))

    def _take_export(self, info: Json, messages: list[Any]) -> bool:
        id = as_text(info.get("id"))
        if id is None:
            return False
        known = self.sessions.get(id)
        if known is not None and _updated(known.info) > _updated(info):
            return True
        self.sessions[id] = _Session(info | ({"sanitized": True} if self.is_sanitized else {}))
        return all([self._take_listed(message) for message in messages])

    def _take_listed(self, item: Any) -> bool:
        """A message with its parts, a session's info, or a project, as the server lists them."""
        if not isinstance(item, dict):
            return False
        id, worktree, info = item.get("id"), as_text(item.get("worktree")), item.get("info")
        if isinstance(info, dict):
            message, session = as_text(info.get("id")), as_text(info.get("sessionID"))
            if message is None or session is None:
                return False
            self._session(session).messages[message] = (info, as_dicts(item.get("parts")))
            return True
        if isinstance(id, str) and id.startswith("ses_"):
            self._session(id).info = item
            return True
        if isinstance(id, str) and worktree is not None:
            self.worktrees[id] = worktree
            return True
        return False

    def _take_line(self, line: Json) -> bool:
        """A line of `opencode run --format json`: one part of an answer, as it was finished."""
        session, part = self._session(line["sessionID"]), as_dict(line.get("part"))
        message = as_text(part.get("messageID"))
        if message is None:
            return line.get("type") == "error"
        time = {"created": line.get("timestamp")}
        new: Json = {"id": message, "role": "assistant", "time": time}
        info, parts = session.messages.setdefault(message, (new, []))
        parts.append(part)
        if part.get("type") == "step-finish":  # in a message a step, its cost is the message's
            info |= {key: part[key] for key in ("cost", "tokens") if key in part}
            info["finish"] = part.get("reason")
        return True

    def _session(self, id: str) -> _Session:
        return self.sessions.setdefault(id, _Session({"id": id}))


def given_out(file: Path) -> JsonFiles | None:
    """What opencode gave out, in this file or from standard input; None if it is no such thing.

    Raises:
        SourceError: the file cannot be read, or standard input holds something else.
    """
    if file != STANDARD_INPUT:
        format = recognised(file)
        return JsonFiles(format, (file,)) if format else None
    given = sys.stdin.buffer.read()
    format = _format(given)
    if format is None:
        raise SourceError(f"Standard input holds nothing that opencode gives out. {HINT}")
    return JsonFiles(format, (file,), given)


HINT = f"Give what one of these gives: {', '.join(LABELS.values())}."


def recognised(file: Path) -> Format | None:
    """The format of a file, by how it begins; None if it is nothing opencode gives out.

    Raises:
        SourceError: it cannot be read, or holds JSON of something else.
    """
    try:
        with file.open("rb") as opened:
            return _format(opened.read(HEAD_BYTES))
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {why(error)}.") from error


def by_format(files: Iterable[Path]) -> list[JsonFiles]:
    """The files among these that opencode gave out, those of one format together."""
    formats: dict[Format, list[Path]] = {format: [] for format in LABELS}
    for file in files:
        try:
            format = recognised(file)
        except SourceError:
            format = "export"  # reading it says what is wrong, and the others are read
        if format:
            formats[format].append(file)
    return [JsonFiles(format, tuple(found)) for format, found in formats.items() if found]


def decoded(data: bytes) -> bytes:
    """JSON as UTF-8, whatever a shell made of it."""
    for bom, encoding in BOMS.items():
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, "replace").encode()
    return data


def _format(data: bytes) -> Format | None:
    head = decoded(data[:HEAD_BYTES])
    return next((format for format, pattern in HEADS if pattern.match(head)), None)


def _updated(info: Json) -> float:
    time = as_dict(info.get("time"))
    return as_number(time.get("updated")) or as_number(time.get("created")) or 0.0
