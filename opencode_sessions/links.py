"""Sessions that went through a symbolic link into their worktree, by the names they used.

The server of versions around 1.2 stored a session's folder as it was named to it, beside the real
path of the worktree; what it noted of the disk has real paths, what a model asked for has either.
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from . import events as events_
from . import parts as parts_
from .loose import as_dict, as_text

Json = dict[str, Any]
Message = tuple[Json, list[Json]]


class Link(NamedTuple):
    """A name that leads into the worktree, and the folder it leads to."""

    name: str
    target: str

    def followed(self, path: str | None) -> str | None:
        """The path without the link, if it leads through it."""
        if path and (path + "/").startswith(self.name + "/"):
            return self.target + path[len(self.name) :]
        return path

    def followed_in(self, event: events_.FileEvent) -> events_.FileEvent:
        """The event with the real paths."""
        new = self.followed(event.new_file_path)
        return replace(event, file_path=self.followed(event.file_path), new_file_path=new)

    def followed_by(self, message: Message) -> Message:
        """The message with the real paths, wherever a call was asked for one."""
        info, parts = message
        name = re.compile(rf"(?<![\w./~-]){re.escape(self.name)}(?![\w.~-])")
        path = as_dict(info.get("path"))
        placed = info | {"path": path | {"cwd": self.followed(as_text(path.get("cwd")))}}
        return placed, [self._asked(part, name) for part in parts]

    def _asked(self, part: Json, name: "re.Pattern[str]") -> Json:
        state = as_dict(part.get("state"))
        said = as_dict(state.get("input"))
        texts = {key: value for key, value in said.items() if isinstance(value, str)}
        real = {key: name.sub(lambda _: self.target, text) for key, text in texts.items()}
        return part if real == texts else part | {"state": state | {"input": said | real}}


def link_of(
    directory: str | None, worktree: str | None, messages: Iterable[Message]
) -> Link | None:
    """The link a session went through, if it kept the link's name and tells where it leads.

    A `patch` part has real paths: a file that a call of the same step changed shows which folder it
    is. Where that is not clear, all names stay.
    """
    if not directory or not worktree or (directory + "/").startswith(worktree.rstrip("/") + "/"):
        return None
    possible: set[str] | None = None
    for info, parts in messages:
        if as_dict(info.get("path")).get("root") != worktree:
            continue
        noted = parts_.changed_files(parts)
        for call in parts_.tool_calls(parts):
            for event in events_.file_events(call) if call.status == "completed" else ():
                path = posixpath.normpath(posixpath.join(directory, event.file_path or "."))
                if event.event_type == "read" or not path.startswith(directory + "/"):
                    continue
                end = path.removeprefix(directory)
                folders = {file.removesuffix(end) for file in noted if file.endswith(end)}
                if folders:
                    possible = folders if possible is None else possible & folders
    if not possible or len(possible) > 1:
        return None
    (target,) = possible
    if not (target + "/").startswith(worktree + "/"):
        return None
    while target != worktree and posixpath.basename(target) == posixpath.basename(directory):
        target, directory = posixpath.dirname(target), posixpath.dirname(directory)
    return Link(directory, target)
