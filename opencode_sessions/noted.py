"""What opencode notes of changes, as events: what differs between two trees, and patch parts."""

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from .events import EventType, Evidence, FileEvent
from .shell import Command, NamedChange

EVENT_TYPES: dict[str, EventType] = {"A": "write", "M": "edit", "D": "delete"}
EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
QUOTED_PATH = re.compile(r'(.*/)"(.*)"', re.DOTALL)
OCTAL = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
ESCAPES = {
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"v": b"\v",
}


class TreeChange(NamedTuple):
    """A file that differs between two trees: added, modified or deleted; its path is absolute.

    `additions` and `deletions` are lines as git counts them, None for a binary file.
    """

    status: Literal["A", "M", "D"]
    path: str
    before: str
    after: str
    additions: int | None
    deletions: int | None


def between(changes: list[TreeChange]) -> Iterator[FileEvent]:
    """The events of changes between two trees; a file that goes and comes unchanged has moved."""
    gone: dict[str, list[TreeChange]] = {}
    for change in changes:
        if change.status == "D" and change.before != EMPTY_BLOB:
            gone.setdefault(change.before, []).append(change)
    moved: dict[str, str] = {}
    for change in changes:
        if change.status == "A" and (from_ := gone.get(change.after)):
            name = posixpath.basename(change.path)
            old = next((one for one in from_ if posixpath.basename(one.path) == name), from_[0])
            from_.remove(old)
            moved[old.path] = change.path
    arrived = set(moved.values())
    for change in changes:
        if new := moved.get(change.path):
            yield FileEvent(
                event_type="move",
                file_path=change.path,
                new_file_path=new,
                is_new_file=False,
                additions=0,
                deletions=0,
                evidence="snapshot",
            )
        elif change.path not in arrived:
            yield FileEvent(
                event_type=EVENT_TYPES[change.status],
                file_path=change.path,
                is_new_file=change.status == "A",
                additions=change.additions,
                deletions=change.deletions,
                evidence="snapshot",
            )


def patched_events(paths: Iterable[str], commands: Iterable[Command]) -> Iterator[FileEvent]:
    """The events of paths a patch part names, of the kind that the commands tell.

    It names a file that was moved by its new path alone.
    """
    left = dict.fromkeys(paths)
    for change in [change for command in commands for change in command.changes]:
        if change.new_path is not None:
            inside = posixpath.join(change.new_path, posixpath.basename(change.path))
            new = next((path for path in (change.new_path, inside) if path in left), None)
            if new is not None:
                left.pop(new)
                left.pop(change.path, None)
                yield named(change._replace(new_path=new), "patch_part")
            elif change.path in left:  # moved to where opencode does not look
                left.pop(change.path)
                yield named(change._replace(event_type="delete", new_path=None), "patch_part")
        elif change.path in left:
            left.pop(change.path)
            yield named(change, "patch_part")
    for path in left:
        yield FileEvent(event_type="edit", file_path=path, evidence="patch_part")


def named(change: NamedChange, evidence: Evidence) -> FileEvent:
    """The event of a change that a command's text names."""
    return FileEvent(
        event_type=change.event_type,
        file_path=change.path,
        new_file_path=change.new_path,
        evidence=evidence,
    )


def unquoted(path: str) -> str:
    """The path as it is: before 1.0 names outside ASCII came as git quotes them."""
    found = QUOTED_PATH.fullmatch(path)
    if found is None:
        return path

    def escaped(match: re.Match[bytes]) -> bytes:
        if len(match[1]) == 3:
            return bytes([int(match[1], 8) & 0xFF])
        return ESCAPES.get(match[1], match[1])

    raw = found[2].encode("utf-8", "surrogatepass")
    return found[1] + OCTAL.sub(escaped, raw).decode("utf-8", "replace")
