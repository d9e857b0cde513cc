"""What the JSON that opencode gives out says: sessions, their messages, and projects.

Values of one place are taken together: an export says all of its session, the server's answers and
the lines of a run say parts of one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..loose import as_dict, as_number, as_text
from .source import Json, Problem, created, root

Message = tuple[Json, list[Json]]


@dataclass(slots=True)
class Given:
    """What is said of one session; an export says all of it (`is_whole`)."""

    info: Json
    messages: dict[str, Message] = field(default_factory=dict)
    is_whole: bool = False

    @property
    def worktree(self) -> str | None:
        """The worktree that its messages name."""
        return root(info for info, _parts in self.messages.values())

    @property
    def last(self) -> float:
        """The time of its last message, in milliseconds."""
        return max((created(info)[0] for info, _parts in self.messages.values()), default=0.0)


@dataclass(slots=True)
class Taken:
    """The sessions and projects that values tell of, and what is wrong with some of them."""

    is_sanitized: bool = False
    sessions: dict[str, Given] = field(default_factory=dict)
    worktrees: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def take(self, place: str, value: Any) -> None:
        """Adds what the value at a place says."""
        if isinstance(value, list):
            for number, item in enumerate(value):
                self._told(self._take_listed(item), f"{place}, item {number}")
        elif isinstance(value, dict):
            info, messages = value.get("info"), value.get("messages")
            if isinstance(info, dict) and isinstance(messages, list):
                self._take_export(place, info, messages)
            elif isinstance(value.get("sessionID"), str):
                self._told(self._take_line(value), place)
            else:
                self._told(self._take_listed(value), place)
        else:
            self._told(False, place)

    def _told(self, is_taken: bool, place: str) -> None:
        if not is_taken:
            self.problems.append(Problem(place, "holds nothing that opencode gives out"))

    def _take_export(self, place: str, info: Json, messages: list[Any]) -> None:
        id = as_text(info.get("id"))
        if id is None:
            self._told(False, place)
            return
        known = self.sessions.get(id)
        if known is not None and updated(known.info) > updated(info):
            return
        marked = info | ({"sanitized": True} if self.is_sanitized else {})
        self.sessions[id] = Given(marked, is_whole=True)
        for number, message in enumerate(messages):
            self._told(self._take_listed(message), f"{place}, message {number}")

    def _take_listed(self, item: Any) -> bool:
        """A message with its parts, a session's info, or a project, as the server lists them."""
        if not isinstance(item, dict):
            return False
        id, worktree, info = item.get("id"), as_text(item.get("worktree")), item.get("info")
        if isinstance(info, dict):
            return self._take_message(info, item.get("parts"))
        if isinstance(id, str) and id.startswith("ses_"):
            self._session(id).info = item
            return True
        if isinstance(id, str) and worktree is not None:
            self.worktrees[id] = worktree
            return True
        return False

    def _take_message(self, info: Json, parts: Any) -> bool:
        id, session_id = as_text(info.get("id")), as_text(info.get("sessionID"))
        if id is None or session_id is None:
            return False
        place = f"message {id} of {session_id}"
        message = info, list(self._parts(parts, place))
        messages = self._session(session_id).messages
        if messages.get(id, message) != message:
            self.problems.append(Problem(place, "is there twice, and the later one was taken"))
        messages[id] = message
        return True

    def _parts(self, parts: Any, message: str) -> Iterator[Json]:
        for number, part in enumerate(parts if isinstance(parts, list) else [parts]):
            if isinstance(part, dict):
                yield part
            elif parts is not None:
                self.problems.append(Problem(f"part {number} of {message}", "is no JSON object"))

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

    def _session(self, id: str) -> Given:
        return self.sessions.setdefault(id, Given({"id": id}))


def updated(info: Json) -> float:
    """When a session was last touched, in milliseconds."""
    time = as_dict(info.get("time"))
    return as_number(time.get("updated")) or as_number(time.get("created")) or 0.0
