"""Files of what opencode gives out, read session by session: exports, answers, lines of a run.

Each file is read twice, first for what it tells of: however many files there are, only those of one
session are in memory. What a format cannot tell stays unknown; `formats.UNTOLD` says what that is.
"""

import sys
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..loose import as_text
from .formats import HINT, LABELS, Format, decoded, format_of, recognised, without_marks
from .given import Message, Taken, updated
from .source import Item, Json, Problem, contents, created, is_wanted, parse_json, why
from .surroundings import KEPT_BYTES, Loaded, Surroundings

STANDARD_INPUT = Path("-")
# opencode ends before a pipe has taken all of it: github.com/anomalyco/opencode/issues/29330
CUT_OFF = "is cut off (opencode may lose the end of what it writes to a pipe, not to a file)"
BROKEN = "its JSON is broken"
FILES_KEPT = 2  # a session's messages may come in pages


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
        """First the number of sessions that follow, then each session and each problem met.

        Sessions come oldest first, those of one file together.
        """
        found = _Contents()
        for file in self.files:
            found.add(file, self._taken(file))
        every = [(told, found.worktree(told)) for told in found.sessions.values()]
        wanted = [
            (told, worktree)
            for told, worktree in every
            if told.info["id"] not in leave_out
            and is_wanted(told.touched, worktree, since, project)
        ]
        taken = lru_cache(FILES_KEPT)(self._taken)
        around = Surroundings(
            None,
            ((told.info, worktree) for told, worktree in every),
            lambda id: found.sessions[id].loaded(taken),
        )
        yield len(wanted)
        yield from found.problems
        for told, worktree in _file_by_file(wanted):
            yield from around.session(told.info, worktree, shell)

    def states(self) -> dict[str, str | None]:
        """None: what was given out once has no later state."""
        return {}

    def neighbourhoods(self) -> list[list[str]]:
        """None: who would read a part of it has to read all."""
        return []

    def notes(self) -> list[str]:
        """What this format cannot tell."""
        if self.format == "run":
            return ["run lines hold no prompts, titles or directories: those stay unknown"]
        if self.format == "sanitized":
            return ["sanitized exports hold no texts, paths, titles or inputs: those stay unknown"]
        return []

    def _taken(self, file: Path) -> Taken:
        """What a file tells."""
        taken = Taken(is_sanitized=self.format == "sanitized")
        for place, value in self._values(file, taken.problems):
            taken.take(place, value)
        return taken

    def _values(self, file: Path, problems: list[Problem]) -> Iterator[tuple[str, Any]]:
        """The JSON value of a file, or those of its lines, each with its place."""
        place = "standard input" if self.given is not None else f"file {file}"
        reason, data = BROKEN, b""
        for _attempt in range(2):  # it may have been half written
            try:
                data = decoded(contents(file) if self.given is None else self.given)
            except OSError as error:
                reason = f"cannot be read: {why(error)}"
                continue
            if self.format == "sanitized":
                data = without_marks(data)
            whole = parse_json(data)
            if whole is not None:
                yield place, whole
                return
            reason = BROKEN if data.rstrip().endswith((b"}", b"]")) else CUT_OFF
        lines = [
            (f"{place}, line {n}", line) for n, line in enumerate(data.splitlines(), 1) if line
        ]
        values = [(place, parse_json(line)) for place, line in lines]
        if self.format != "run" and not (values and isinstance(values[0][1], dict | list)):
            problems.append(Problem(place, reason))
            return
        for line_place, value in values:
            if value is None:
                problems.append(Problem(line_place, BROKEN))
            else:
                yield line_place, value


@dataclass(slots=True)
class _Told:
    """What was seen of a session before it is read, and the files that its messages are in."""

    info: Json
    files: list[Path] = field(default_factory=list)
    last: float | None = None  # the time of its last message
    worktree: str | None = None

    @property
    def touched(self) -> Json:
        """The session's info; where there is none, with the time of its last message."""
        if "time" in self.info or self.last is None:
            return self.info
        return self.info | {"time": {"updated": self.last}}

    def loaded(self, taken: Callable[[Path], Taken]) -> Loaded:
        """Its messages, of all its files; of one that two of them have, what the later says."""
        id: str = self.info["id"]
        messages: dict[str, Message] = {}
        for file in self.files:
            if id not in (sessions := taken(file).sessions):
                return Loaded(None, [Problem(f"session {id}", "changed while it was read")], 0)
            messages |= sessions[id].messages
        return Loaded([*messages.values()], [], KEPT_BYTES + 1)  # it is the files that are kept


@dataclass(slots=True)
class _Contents:
    """What files tell of, all together."""

    sessions: dict[str, _Told] = field(default_factory=dict)
    worktrees: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, file: Path, taken: Taken) -> None:
        """Adds what one file tells; of what two say of a session itself the newer is taken."""
        self.problems += taken.problems
        self.worktrees |= taken.worktrees
        for id, given in taken.sessions.items():
            known = self.sessions.get(id)
            if given.is_whole and known is not None:
                if updated(known.info) > updated(given.info):
                    continue
                known = None
            if known is None:
                known = self.sessions[id] = _Told(given.info)
            if len(given.info) > 1 and updated(given.info) >= updated(known.info):
                known.info = given.info
            if given.messages:
                known.files.append(file)
                known.last = max(known.last or 0.0, given.last)
                known.worktree = known.worktree or given.worktree

    def worktree(self, told: _Told) -> str | None:
        """A session's worktree: as its messages say, else as its project or those of it do."""
        if not self.worktrees:
            for one in self.sessions.values():
                if (project := as_text(one.info.get("projectID"))) and one.worktree:
                    self.worktrees.setdefault(project, one.worktree)
        return told.worktree or self.worktrees.get(str(told.info.get("projectID")))


def _file_by_file(wanted: list[tuple[_Told, str | None]]) -> list[tuple[_Told, str | None]]:
    """Sessions oldest first, but those of one file together: it is not read for each of them."""
    ordered = sorted(wanted, key=lambda one: created(one[0].touched))
    places: dict[Path, int] = {}
    for place, (told, _worktree) in enumerate(ordered):
        for file in told.files:
            places.setdefault(file, place)
    return sorted(ordered, key=lambda one: min(map(places.__getitem__, one[0].files), default=-1))


def given_out(file: Path) -> JsonFiles | None:
    """What opencode gave out, in this file or from standard input; None if it is no such thing.

    Raises:
        SourceError: the file cannot be read, or standard input holds something else.
    """
    if file != STANDARD_INPUT:
        format = recognised(file)
        return JsonFiles(format, (file,)) if format else None
    given = sys.stdin.buffer.read()
    format = format_of(given)
    if format is None:
        raise SourceError(f"Standard input holds nothing that opencode gives out. {HINT}")
    return JsonFiles(format, (file,), given)


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
