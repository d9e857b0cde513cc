"""opencode's trees of JSON files, of every version before 1.2: a file a session, message, part.

Three layouts, told apart by what is there:

- ``project/<slug>/storage/session/{info,message}``: 0.1, the parts inside the messages;
- the same with ``part`` beside ``message``: 0.5, a message per turn;
- ``storage/{session,message,part,project}``: 1.0 and 1.1, a message per step.

Newer versions leave a tree where it is: 0.5 to 1.0 copied it, 1.1 to 1.2 imported it, 1.17 and
later know nothing of it. A session that two layouts have is read from the newer. A half-written
file is read a second time; what then is broken becomes a `Problem`, and the rest is yielded.
"""

import hashlib
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..loose import as_dict, as_number, as_text
from ..records import session_record
from .source import Item, Problem, is_settled, is_wanted, parse_json

Json = dict[str, Any]
LARGEST_FILE = 512 * 2**20  # nothing opencode writes comes near; a sparse file must not fill memory


@dataclass(frozen=True, slots=True)
class StorageTree:
    """The JSON files below one of opencode's data folders."""

    path: Path

    kind = "storage"

    def __str__(self) -> str:
        return str(self.path)

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
        found: dict[str, tuple[_Layout, Json, str | None]] = {}
        for layout, file in self._session_files():
            info = _read(file, f"session {file.stem}", problems)
            if info is None:
                continue
            info = {"projectID": layout.project_id(file)} | info | {"id": file.stem}
            found.setdefault(file.stem, (layout, info, layout.worktree(info)))
        wanted = [
            entry
            for id, entry in found.items()
            if id not in leave_out and is_wanted(entry[1], entry[2], since, project)
        ]
        wanted.sort(key=lambda entry: _created(entry[1]))
        yield len(wanted)
        yield from problems
        for layout, info, worktree in wanted:
            problems = []
            messages = list(layout.messages(info["id"], problems))
            yield from problems
            if worktree is None:  # before 1.0 only the messages say where the project is
                roots = (
                    as_text(as_dict(info.get("path")).get("root")) for info, _parts in messages
                )
                worktree = next((root for root in roots if root), None)
            yield session_record(info, messages, worktree=worktree, shell=shell)

    def states(self) -> dict[str, str | None]:
        """The sizes and times of each session's files."""
        states: dict[str, str | None] = {}
        for layout, file in self._session_files():
            if file.stem not in states:
                states[file.stem] = _state([file, *layout.files(file.stem)])
        return states

    def notes(self) -> list[str]:
        """Nothing: a tree holds nothing else."""
        return []

    def _session_files(self) -> Iterator[tuple["_Layout", Path]]:
        newest = _Layout(self.path / "storage", by_project=True)
        yield from ((newest, file) for file in sorted(newest.root.glob("session/*/ses_*.json")))
        for root in sorted(self.path.glob("project/*/storage")):
            layout = _Layout(root, by_project=False)
            yield from ((layout, file) for file in sorted(root.glob("session/info/ses_*.json")))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are below one `storage` folder: per project, or since 1.0 for all of them."""

    root: Path
    by_project: bool

    def project_id(self, session_file: Path) -> str:
        return session_file.parent.name if self.by_project else self.root.parent.name

    def worktree(self, info: Json) -> str | None:
        if not self.by_project:
            return None
        file = self.root / "project" / f"{info['projectID']}.json"
        return as_text((_read(file, "", []) or {}).get("worktree"))

    def files(self, session_id: str) -> Iterator[Path]:
        """The files of a session's messages and parts."""
        for file in self._message_files(session_id):
            yield file
            yield from self._part_files(session_id, file.stem)

    def messages(
        self, session_id: str, problems: list[Problem]
    ) -> Iterator[tuple[Json, list[Json]]]:
        for file in self._message_files(session_id):
            message = _read(file, f"message {file.stem} of {session_id}", problems)
            if message is None:
                continue
            ids = {"id": file.stem, "sessionID": session_id}
            if isinstance(message.get("metadata"), dict):
                yield _first_generation(message | ids)
            else:
                yield message | ids, self._parts(session_id, file.stem, problems)

    def _parts(self, session_id: str, message_id: str, problems: list[Problem]) -> list[Json]:
        parts = []
        for file in self._part_files(session_id, message_id):
            part = _read(file, f"part {file.stem} of {session_id}", problems)
            if part is not None:
                ids = {"id": file.stem, "sessionID": session_id, "messageID": message_id}
                parts.append(part | ids)
        return parts

    def _message_files(self, session_id: str) -> list[Path]:
        folder = self.root / ("message" if self.by_project else "session/message")
        return sorted((folder / session_id).glob("*.json"))

    def _part_files(self, session_id: str, message_id: str) -> list[Path]:
        folder = self.root / ("part" if self.by_project else f"session/part/{session_id}")
        return sorted((folder / message_id).glob("*.json"))


def _first_generation(message: Json) -> tuple[Json, list[Json]]:
    """A message of 0.1 as later versions have it: what lies under `metadata` in its own place.

    Each tool invocation gets the metadata of its call, where `parts` looks for it.
    """
    metadata = message["metadata"]
    assistant, tools = as_dict(metadata.get("assistant")), as_dict(metadata.get("tool"))
    listed = message.get("parts")
    parts = []
    for part in listed if isinstance(listed, list) else []:
        call = as_dict(part.get("toolInvocation")) if isinstance(part, dict) else {}
        said = tools.get(str(call.get("toolCallId")))
        parts.append(part | {"metadata": said} if isinstance(said, dict) else part)
    own = {key: value for key, value in message.items() if key not in ("parts", "metadata")}
    rest = {key: value for key, value in metadata.items() if key not in ("assistant", "tool")}
    return own | assistant | rest, parts


def _read(file: Path, place: str, problems: list[Problem]) -> Json | None:
    """The JSON object in a file; None, and a problem, if there is none the second time either."""
    reason = "its JSON is broken"
    for _attempt in range(2):
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):  # reading a FIFO would wait for ever
                reason = "is no ordinary file"
                break
            if status.st_size > LARGEST_FILE:
                reason = f"is too large ({status.st_size:,} bytes)"
                break
            value = parse_json(file.read_bytes())
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            continue
        if isinstance(value, dict):
            return value
    problems.append(Problem(place or f"file {file.name}", reason))
    return None


def _state(files: list[Path]) -> str | None:
    digest, latest = hashlib.blake2b(digest_size=16), 0
    for file in files:
        try:
            status = file.stat()
        except OSError:
            return None
        latest = max(latest, status.st_mtime_ns)
        digest.update(f"{file.name} {status.st_mtime_ns} {status.st_size}\n".encode())
    return digest.hexdigest() if is_settled(latest / 1e6) else None


def _created(info: Json) -> tuple[float, str]:
    return as_number(as_dict(info.get("time")).get("created")) or 0.0, info["id"]
