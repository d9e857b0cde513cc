"""What opencode gives out: `opencode export` files, the server's answers, `run` lines.

A format is recognised by its shape:

- ``{"info": ..., "messages": [...]}``: an export, one session;
- ``{"id": "ses_...", ...}`` and ``[{"info": ..., "parts": [...]}, ...]``: ``GET /session/:id`` and
  ``GET /session/:id/message``, which belong together by the session's id;
- lines of ``{"type": ..., "sessionID": ..., "part": ...}``: `opencode run --format json`.

What a format cannot tell stays unknown: messages alone have no title or project, run lines neither
prompts nor costs of messages, a sanitized export no texts, paths or inputs.
"""

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, cast

from ..errors import SourceError
from ..loose import as_dicts
from ..records import session_record
from .source import Item, Problem, is_wanted, parse_json
from .surroundings import Surroundings

Json = dict[str, Any]
Format = Literal["export", "server", "run"]
LABELS = {
    "export": "opencode export",
    "server": "answers of opencode serve",
    "run": "opencode run --format json",
}
STANDARD_INPUT = Path("-")
HEAD_BYTES = 4096
HEADS: tuple[tuple[Format, "re.Pattern[bytes]"], ...] = (
    ("export", re.compile(rb'\s*\{\s*"info"\s*:')),
    ("server", re.compile(rb'\s*\[\s*(\]|\{\s*"(info|id|parts)"\s*:)')),
    ("server", re.compile(rb'\s*\{\s*"id"\s*:\s*"ses_')),
    ("run", re.compile(rb'\s*\{[^\n]*"sessionID"\s*:[^\n]*"part"\s*:|\s*\{\s*"type"\s*:')),
)
REDACTED = "[redacted:"


@dataclass(slots=True)
class _Session:
    """What the files read so far say of one session."""

    info: Json
    messages: dict[str, tuple[Json, list[Json]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JsonFiles:
    """Files of one format, read together: a session's info and messages may lie in two of them."""

    format: Format
    files: tuple[Path, ...]

    @property
    def kind(self) -> str:
        """What rows say in `source`."""
        return "server" if self.format == "server" else "export"

    def __str__(self) -> str:
        names = str(self.files[0]) if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{names}, {LABELS[self.format]}"

    def sessions(
        self,
        *,
        since: datetime | None = None,
        project: str | None = None,
        shell: bool = True,
        leave_out: Collection[str] = (),
    ) -> Iterator[Item]:
        """First the number of sessions that follow, then each session and each problem met."""
        problems: list[Problem] = []
        found: dict[str, _Session] = {}
        for file in self.files:
            for value in _values(file, problems):
                if not _take(value, found):
                    problems.append(Problem(f"file {file}", "holds nothing opencode gives out"))
        wanted = [
            one
            for id, one in found.items()
            if id not in leave_out and is_wanted(one.info, None, since, project)
        ]
        around = Surroundings(
            None,
            ((one.info, None) for one in found.values()),
            lambda id: found[id].messages.values(),
        )
        yield len(wanted)
        yield from problems
        for session in wanted:
            yield session_record(
                session.info,
                session.messages.values(),
                shell=shell,
                witness=around.of(session.info, None),
            )

    def states(self) -> dict[str, str | None]:
        """None: what was given out once has no later state."""
        return {}

    def notes(self) -> list[str]:
        """What this format cannot tell."""
        if self.format == "run":
            return ["run lines hold no prompts, titles or directories: those stay unknown"]
        return []


def recognised(file: Path) -> Format | None:
    """The format of a file, by how it begins; None if it is nothing opencode gives out."""
    if file == STANDARD_INPUT:
        head = cast(BufferedReader, sys.stdin.buffer).peek(HEAD_BYTES)[:HEAD_BYTES]
    else:
        try:
            with file.open("rb") as opened:
                head = opened.read(HEAD_BYTES)
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror}.") from error
    return next((format for format, pattern in HEADS if pattern.match(head)), None)


def _values(file: Path, problems: list[Problem]) -> Iterator[Any]:
    """The JSON value of a file, or those of its lines."""
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        problems.append(Problem(f"file {file}", f"cannot be read: {error.strerror}"))
        return
    whole = parse_json(data)
    if whole is not None:
        yield whole
        return
    broken = 0
    for number, line in enumerate(data.splitlines(), 1):
        value = parse_json(line) if line.strip() else ""
        if value is None:
            broken += 1
            problems.append(Problem(f"file {file}", f"line {number}: its JSON is broken"))
        elif value:
            yield value


def _take(value: Any, found: dict[str, _Session]) -> bool:
    """Adds what a value says to the sessions; says whether it said anything of one."""
    if isinstance(value, list):
        return all([_take_listed(item, found) for item in value])
    if not isinstance(value, dict):
        return False
    info, messages = value.get("info"), value.get("messages")
    if isinstance(info, dict) and isinstance(messages, list) and isinstance(info.get("id"), str):
        is_sanitized = str(info.get("title", "")).startswith(REDACTED)
        if is_sanitized and info["id"] in found:  # the same session, without its texts
            return True
        found[info["id"]] = _Session(info | ({"sanitized": True} if is_sanitized else {}))
        return all([_take_listed(message, found) for message in messages])
    if isinstance(value.get("sessionID"), str):
        return _take_line(value, found)
    return _take_listed(value, found)


def _take_listed(item: Any, found: dict[str, _Session]) -> bool:
    """A message with its parts, or a session's info, as the server lists them."""
    if not isinstance(item, dict):
        return False
    if isinstance(item.get("info"), dict):
        info, parts = item["info"], item.get("parts")
        if not isinstance(info.get("id"), str) or not isinstance(info.get("sessionID"), str):
            return False
        session = found.setdefault(info["sessionID"], _Session({"id": info["sessionID"]}))
        session.messages[info["id"]] = (info, as_dicts(parts))
        return True
    if str(item.get("id", "")).startswith("ses_"):
        found.setdefault(item["id"], _Session({})).info = item
        return True
    return False


def _take_line(line: Json, found: dict[str, _Session]) -> bool:
    """A line of `opencode run --format json`: one part of an answer, as it was finished."""
    part = line.get("part")
    session = found.setdefault(line["sessionID"], _Session({"id": line["sessionID"]}))
    if not isinstance(part, dict) or not isinstance(part.get("messageID"), str):
        return line.get("type") == "error"
    time = {"created": line.get("timestamp")}
    new: Json = {"id": part["messageID"], "role": "assistant", "time": time}
    info, parts = session.messages.setdefault(part["messageID"], (new, []))
    parts.append(part)
    if part.get("type") == "step-finish":  # in a message a step, its cost is the message's
        info |= {key: part[key] for key in ("cost", "tokens") if key in part}
        info["finish"] = part.get("reason")
    return True
