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
import os
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..loose import as_dict, as_dicts, as_text
from .snapshots import Snapshots, kept_projects
from .source import (
    Item,
    Json,
    Problem,
    contents,
    created,
    is_settled,
    is_wanted,
    parse_json,
    root,
    why,
    with_snapshots,
)
from .surroundings import Loaded, Surroundings, neighbourhoods


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
        leave_out: Container[str] = (),
    ) -> Iterator[Item]:
        """First the number of sessions that follow, then each session and each problem met."""
        problems: list[Problem] = []
        layouts = list(self._layouts(problems))
        every = _every(layouts, problems)
        layout_of = {info["id"]: layout for layout, info, _worktree in every}
        for layout in layouts:
            problems += layout.strays(layout_of)
        wanted = [
            entry
            for entry in every
            if entry[1]["id"] not in leave_out and is_wanted(entry[1], entry[2], since, project)
        ]
        wanted.sort(key=lambda entry: created(entry[1]))
        yield len(wanted)
        yield from problems
        with Snapshots(self.path) as snapshots:
            around = Surroundings(
                snapshots,
                ((info, worktree) for _layout, info, worktree in every),
                lambda id: layout_of[id].loaded(id),
            )
            for _layout, info, worktree in wanted:
                yield from around.session(info, worktree, shell)
            yield from snapshots.missing()

    def neighbourhoods(self) -> list[list[str]]:
        """The sessions that were at work in one worktree at one time, together."""
        every = _every(self._layouts([]), [])
        return neighbourhoods((info, worktree) for _layout, info, worktree in every)

    def states(self) -> dict[str, str | None]:
        """The sizes and times of each session's files."""
        states: dict[str, str | None] = {}
        kept = kept_projects(self.path)
        for layout in self._layouts([]):
            for project_id, file in layout.session_files([]):
                if file.stem not in states:
                    state = _state([file, *layout.files(file.stem)])
                    states[file.stem] = with_snapshots(state, project_id in kept)
        return states

    def notes(self) -> list[str]:
        """Nothing: all that it has is read."""
        return []

    def _layouts(self, problems: list[Problem]) -> Iterator["_Layout"]:
        """What is there, the newest first."""
        yield _Layout(self.path / "storage", by_project=True)
        for folder in _listed(self.path / "project", problems):
            yield _Layout(folder / "storage", by_project=False)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are below one `storage` folder: per project, or since 1.0 for all of them."""

    root: Path
    by_project: bool
    worktrees: dict[str, str | None] = field(default_factory=dict)

    def session_files(self, problems: list[Problem]) -> Iterator[tuple[str, Path]]:
        """Each session's file, with the id of its project."""
        if self.by_project:
            folders = [(folder.name, folder) for folder in _listed(self.root / "session", problems)]
        else:
            folders = [(self.root.parent.name, self.root / "session" / "info")]
        for project_id, folder in folders:
            for file in _listed(folder, problems):
                if file.name.startswith("ses_") and file.suffix == ".json":
                    yield project_id, file

    def worktree(self, info: Json) -> str | None:
        """The worktree of a session's project; before 1.0 only messages say where it is."""
        project = str(info["projectID"])
        if self.by_project and project not in self.worktrees:
            file = self.root / "project" / f"{Path(project).name}.json"
            found = as_text((_read(file, "project", []) or {}).get("worktree"))
            self.worktrees[project] = found
        if self.worktrees.get(project) is None:
            infos = (_message(file, "", [])[0] for file in self._message_files(info["id"], []))
            self.worktrees[project] = root(infos)
        return self.worktrees[project]

    def files(self, session_id: str) -> Iterator[Path]:
        """The files of a session's messages and parts."""
        folder = "part" if self.by_project else f"session/part/{session_id}"
        for file in self._message_files(session_id, []):
            yield file
            yield from _listed(self.root / folder / file.stem, [])

    def loaded(self, session_id: str) -> Loaded:
        """A session's messages and parts, and how large their files are."""
        problems: list[Problem] = []
        messages = list(self.messages(session_id, problems))
        return Loaded(messages, problems, sum(map(_size, self.files(session_id))))

    def messages(
        self, session_id: str, problems: list[Problem]
    ) -> Iterator[tuple[Json, list[Json]]]:
        """A session's messages, with their parts; one whose file is broken keeps its parts."""
        for file in self._message_files(session_id, problems):
            info, inside = _message(file, session_id, problems)
            parts = self._parts(session_id, file.stem, problems)
            yield info | {"id": file.stem, "sessionID": session_id}, inside + parts

    def strays(self, sessions: Container[str]) -> Iterator[Problem]:
        """What hangs on no session or message any more: nothing is lost in silence."""
        messages = set()
        unread: list[Problem] = []
        for folder in _listed(self._message_folder, unread):
            files = [file.stem for file in _listed(folder, unread) if file.suffix == ".json"]
            messages |= {*files}
            if folder.name not in sessions and files:
                yield Problem(f"session {folder.name}", f"has no file, only {len(files)} messages")
        # A message that cannot be seen is not gone.
        folders = _listed(self.root / "part", []) if self.by_project and not unread else []
        for folder in folders:
            if folder.name not in messages and (parts := _listed(folder, [])):
                yield Problem(f"message {folder.name}", f"has no file, only {len(parts)} parts")

    @property
    def _message_folder(self) -> Path:
        return self.root / ("message" if self.by_project else "session/message")

    def _message_files(self, session_id: str, problems: list[Problem]) -> list[Path]:
        files = _listed(self._message_folder / session_id, problems)
        return [file for file in files if file.suffix == ".json"]

    def _parts(self, session_id: str, message_id: str, problems: list[Problem]) -> list[Json]:
        folder = "part" if self.by_project else f"session/part/{session_id}"
        parts = []
        for file in _listed(self.root / folder / message_id, problems):
            if file.suffix != ".json":
                continue
            part = _read(file, f"part {file.stem} of {session_id}", problems)
            if part is not None:
                ids = {"id": file.stem, "sessionID": session_id, "messageID": message_id}
                parts.append(part | ids)
        return parts


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _state(files: list[Path]) -> str | None:
    digest, latest = hashlib.blake2b(digest_size=16), 0
    for file in files:
        try:
            status = file.stat()
        except OSError:
            return None
        latest = max(latest, status.st_mtime_ns)
        digest.update(os.fsencode(f"{file.name} {status.st_mtime_ns} {status.st_size}\n"))
    return digest.hexdigest() if is_settled(latest / 1e6) else None


def _message(file: Path, session_id: str, problems: list[Problem]) -> tuple[Json, list[Json]]:
    """A message's file: its info, and the parts inside it, as it was before 0.5."""
    message = _read(file, f"message {file.stem} of {session_id}", problems) or {}
    return (
        _first_generation(message) if isinstance(message.get("metadata"), dict) else (message, [])
    )


def _first_generation(message: Json) -> tuple[Json, list[Json]]:
    """A message of 0.1 as later versions have it: what lies under `metadata` in its own place.

    Each tool invocation gets the metadata of its call, where `parts` looks for it.
    """
    metadata = message["metadata"]
    assistant, tools = as_dict(metadata.get("assistant")), as_dict(metadata.get("tool"))
    parts = []
    for part in as_dicts(message.get("parts")):
        said = tools.get(str(as_dict(part.get("toolInvocation")).get("toolCallId")))
        parts.append(part | {"metadata": said} if isinstance(said, dict) else part)
    own = {key: value for key, value in message.items() if key not in ("parts", "metadata")}
    rest = {key: value for key, value in metadata.items() if key not in ("assistant", "tool")}
    return own | assistant | rest, parts


def _listed(folder: Path, problems: list[Problem]) -> list[Path]:
    """What is in a folder, by name; nothing if it is none."""
    try:
        return sorted(folder / name for name in os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(Problem(f"folder {folder}", f"cannot be read: {why(error)}"))
        return []


def _every(
    layouts: Iterable[_Layout], problems: list[Problem]
) -> list[tuple[_Layout, Json, str | None]]:
    """Each session: where it is, its info and its worktree."""
    found: dict[str, tuple[_Layout, Json]] = {}
    for layout in layouts:
        for project_id, file in layout.session_files(problems):
            if file.stem in found:
                continue
            # Its messages tell what it did all the same.
            info = _read(file, f"session {file.stem}", problems) or {}
            found[file.stem] = layout, {"projectID": project_id} | info | {"id": file.stem}
    return [(layout, info, layout.worktree(info)) for layout, info in found.values()]


def _read(file: Path, place: str, problems: list[Problem]) -> Json | None:
    """The JSON object in a file; None, and a problem, if there is none the second time either."""
    reason = ""
    for _attempt in range(2):
        try:
            value = parse_json(contents(file))
        except OSError as error:
            reason = f"cannot be read: {why(error)}"
            continue
        if isinstance(value, dict):
            return value
        reason = "its JSON is broken" if value is None else "is no JSON object"
    problems.append(Problem(place, reason))
    return None
