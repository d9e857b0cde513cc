"""What the readers of opencode's data share: what a source is, what a problem is, its JSON."""

import json
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from ..loose import as_dict
from ..records import SessionRecord, moment


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read: where it is, and why."""

    place: str
    reason: str


Item = SessionRecord | Problem | int


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
        leave_out: Collection[str] = (),
    ) -> Iterator[Item]:
        """First the number of sessions that follow, then each session and each problem met.

        `since` leaves out sessions not touched after it; `project` is a worktree's path, its last
        part, or a project id; `leave_out` names sessions by id. Sessions come oldest first. `shell`
        adds file events for what commands changed.

        Raises:
            SourceError: nothing of it can be read.
            SourceChanged: opencode rewrote it meanwhile.
        """

    def states(self) -> dict[str, str | None]:
        """Each session's id and a text that is another whenever anything in it has changed.

        None where that cannot be told: of what was just written to, or has no times.
        """

    def notes(self) -> list[str]:
        """What else it holds that this version does not read, one sentence each."""


# What was written to so recently may be written to again in the same millisecond.
SETTLED_MS = 2000


def is_settled(touched_ms: float) -> bool:
    """Whether a later change of what was touched then would have a later time."""
    return touched_ms < time.time() * 1000 - SETTLED_MS


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
