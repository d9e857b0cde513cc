"""What the readers of opencode's data share: what a source is, what a problem is, its JSON."""

import errno
import json
import os
import stat
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from ..loose import as_dict, as_number, as_text
from ..records import SessionRecord, moment


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read: where it is, and why."""

    place: str
    reason: str


Json = dict[str, Any]
LARGEST_FILE = 512 * 2**20  # nothing opencode writes comes near; a sparse file must not fill memory


class Untold(NamedTuple):
    """How many of the snapshots asked for are gone or cannot be read."""

    snapshots: int
    asked: int

    @property
    def note(self) -> str:
        """It in a sentence."""
        return (
            f"{self.snapshots} of {self.asked} snapshots asked for are gone or cannot be read: "
            "what commands changed there is known from patch parts"
        )


Item = SessionRecord | Problem | Untold | int


class Source(Protocol):
    """One place opencode keeps sessions in, or one thing it gave out."""

    @property
    def kind(self) -> str:
        """How it is stored: database, storage, export or server; what rows say in `source`."""

    def sessions(
        self,
        *,
        since: datetime | None = None,
        project: str | None = None,
        shell: bool = True,
        leave_out: Container[str] = (),
    ) -> Iterator[Item]:
        """First the number of sessions that follow, then each of them and what is wrong.

        `since` leaves out sessions not touched after it; `project` is a worktree's path, its last
        part, or a project id; `leave_out` names sessions by id. Sessions come oldest first. `shell`
        adds file events for what commands changed.

        Raises:
            SourceError: nothing of it can be read.
            SourceChanged: opencode rewrote it meanwhile.
        """

    def states(self) -> dict[str, str | None]:
        """Each session's id and a text that is another whenever anything in it has changed.

        It ends in `WITH_SNAPSHOTS` where there are some of its project: they tell more, and may be
        there later than the session. None where all that cannot be told: of what was just written
        to, or has no times.
        """

    def neighbourhoods(self) -> list[list[str]]:
        """Its sessions, oldest first: those in one list are read best by one reader.

        To tell what the commands of a session changed, those beside it are looked at as well. Empty
        where there is nothing to gain, as all has to be read to know what is there.
        """

    def notes(self) -> list[str]:
        """What else it holds that this version does not read, one sentence each."""


WITH_SNAPSHOTS = " with snapshots"
# What was written to so recently may be written to again in the same millisecond.
SETTLED_MS = 2000


def is_settled(touched_ms: float) -> bool:
    """Whether a later change of what was touched then would have a later time."""
    return touched_ms < time.time() * 1000 - SETTLED_MS


def with_snapshots(state: str | None, are_there: bool) -> str | None:
    """A session's state, saying that there are snapshots of its project."""
    return state + WITH_SNAPSHOTS if state and are_there else state


def is_wanted(
    info: dict[str, Any], worktree: str | None, since: datetime | None, project: str | None
) -> bool:
    """Whether a session is of this project and was touched since then."""
    if since is not None:
        times = as_dict(info.get("time"))
        touched = moment(times.get("updated")) or moment(times.get("created"))
        if touched is None or touched < since:
            return False
    if project is None:
        return True
    places = [place for place in (worktree, info.get("directory")) if isinstance(place, str)]
    names = {info.get("projectID"), *places, *(Path(place).name or place for place in places)}
    return (project.rstrip("/") or project) in names


def unforeseen(id: str, error: Exception) -> Problem:
    """What to say of a session that was not understood."""
    return Problem(f"session {id}", f"was not understood ({type(error).__name__}: {error})")


def created(info: Json) -> tuple[float, str]:
    """What sorts sessions and messages by their time, then id."""
    return as_number(as_dict(info.get("time")).get("created")) or 0.0, str(info.get("id"))


def root(infos: Iterable[Json]) -> str | None:
    """The worktree that a session's messages name, where nothing else tells it."""
    roots = (as_text(as_dict(info.get("path")).get("root")) for info in infos)
    return next((root for root in roots if root), None)


def contents(file: Path) -> bytes:
    """What is in an ordinary file; links are followed.

    Raises:
        OSError: it cannot be read, is too large, or is none: reading a FIFO would wait for ever.
    """
    opened = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        if status.st_size > LARGEST_FILE:
            raise OSError(errno.EFBIG, f"it is too large ({status.st_size:,} bytes)")
        with open(opened, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(opened)


def as_str(value: object) -> str:
    """What stands in a column, as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def why(error: OSError) -> str:
    """What to say of a file that could not be read, without its name."""
    return error.strerror or type(error).__name__


def parse_json(data: object) -> Any:
    """The value of JSON text, None if it is broken; lone surrogates, as JavaScript writes, pass."""
    if not isinstance(data, bytes | str):
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
