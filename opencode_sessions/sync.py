"""From a source into a store: an upsert, session by session, that says what it did.

A session of which nothing changed since the last import is not read again: its `state` says so. One
that is read is compared with what the store has of it, and only what differs is written, in one
transaction together with the new state: killed at any point, the next import completes. A session
that cannot be stored is reported and the others go on. Rows are known again by opencode's ids, a
session that an application stored itself by its `opencode_id`. What the application said stays;
what it did not say is filled in; what opencode has deleted is kept and marked, or dropped.
"""

import asyncio
import os
import platform
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from .besides import Deleted
from .comparing import compare, is_older
from .errors import SourceError
from .import_report import ORDER, Count, ImportReport
from .matching import APPLICATION
from .models import TABLES, Row, now
from .records import EPOCH, SessionRecord
from .rows import SessionRows, session_rows
from .sources import WITH_SNAPSHOTS, Item, Problem, Source, SourceChanged, is_wanted, unforeseen
from .store import (
    CallerWorkFailed,
    Delete,
    IdsTaken,
    Put,
    Store,
    StoreFailed,
    TableName,
    finish,
)
from .store.values import clean, packed

TRIES = 3
READER = 2  # goes up when the same data would give other rows: then everything is read again
BATCH = 500  # ids in one statement
# What tells whether a stored session is wanted.
TOLD = ("updated_at", "created_at", "project_id", "workdir", "worktree")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to import: whose it is, which sessions, and what to do with what opencode deleted."""

    origin: str | None = None
    since: datetime | None = None
    project: str | None = None
    shell: bool = True
    deleted: Deleted = "keep"

    @property
    def is_everything(self) -> bool:
        """Whether no session is left out, so that one that is missing must be gone."""
        return self.since is None and self.project is None

    def wants(self, stored: Row) -> bool:
        """Whether a stored session is one of those: by `TOLD` of its columns."""
        if self.is_everything:
            return True
        touched = stored["updated_at"] and (stored["updated_at"] - EPOCH) / timedelta(
            milliseconds=1
        )
        created = stored["created_at"] and (stored["created_at"] - EPOCH) / timedelta(
            milliseconds=1
        )
        info = {
            "time": {"updated": touched, "created": created},
            "projectID": stored["project_id"],
            "directory": stored["workdir"],
        }
        return is_wanted(info, stored["worktree"], self.since, self.project)

    def state(self, said: str | None) -> str | None:
        """A session's state, together with what else decides its rows; None where it has none."""
        if not said:
            return None
        told = said if self.shell else said.removesuffix(WITH_SNAPSHOTS)
        return f"{READER} {self.shell} {self.origin} {told}"


async def import_sources(
    store: Store, sources: list[Source], wanted: Wanted, *, progress: bool
) -> ImportReport:
    """Imports these sources into the store; a session two of them have is taken from the first.

    Of several sources one that cannot be read is reported, and the others are imported.

    Raises:
        SourceError: none of the sources could be read at all.
        SchemaError: the store's tables are missing or old.
    """
    report = ImportReport()
    started = time.monotonic()
    taken: set[str] = set()
    there: set[str] = set()
    places: set[str] = set()
    failures: list[SourceError] = []
    for source in sources:
        failed = ImportReport()
        for attempt in range(TRIES):
            run = _Import(store, source, wanted, set(taken))
            try:
                await run.run(progress=progress)
            except SourceError as error:
                run.report.go_on_from(failed)
                failed = run.report
                if isinstance(error, SourceChanged) and attempt < TRIES - 1:
                    continue
                failures.append(error)
                failed.skip(Problem(f"source {source}", str(error)))
            else:
                run.report.go_on_from(failed)
                places |= {run.place} if run.saw_all else set()
            break
        taken |= run.taken
        there |= run.there
        report.add(run.report)
    if failures and len(failures) == len(sources):
        raise failures[0]
    if wanted.is_everything:
        await _bury(store, places, there, wanted, report)
    report.seconds = time.monotonic() - started
    return report


class _Import:
    """One reading of one source."""

    def __init__(self, store: Store, source: Source, wanted: Wanted, taken: set[str]) -> None:
        self.report = ImportReport(sources=[f"{source} ({source.kind})"])
        self.taken = taken  # sessions that no other source has to give any more
        self.there: set[str] = set()
        self.saw_all = True  # every folder there is, so that what is missing must be gone
        self.place = _place(source, wanted.origin)
        self._store = store
        self._source = source
        self._wanted = wanted
        self._states: dict[str, str | None] = {}
        self._stored: set[str] = set()  # opencode's ids of sessions the store has
        self._others: Counter[TableName] = Counter()
        self._gone = 0
        self._older = 0
        self._copied = 0

    async def run(self, *, progress: bool) -> None:
        """Reads what changed and stores it."""
        wanted, source = self._wanted, self._source
        # States first: what changes after this is read now and once more the next time.
        said = await asyncio.to_thread(source.states)
        self._states = {id: wanted.state(state) for id, state in said.items()}
        self.there |= said.keys()
        unchanged = await self._unchanged()
        doubles = len(self.taken & said.keys())
        items = source.sessions(
            since=wanted.since,
            project=wanted.project,
            shell=wanted.shell,
            leave_out=unchanged | self.taken,
        )
        self.taken |= unchanged
        problems: list[Problem] = []
        with tqdm(desc="import", unit="session", disable=not progress, leave=False) as bar:
            async with aclosing(_in_thread(self._read(items))) as found:
                async for item in found:
                    if isinstance(item, int):
                        bar.reset(total=item)
                    elif isinstance(item, Problem):
                        problems.append(item)
                        self.saw_all &= not item.place.startswith("folder ")
                    else:
                        await self._session(item, problems)
                        bar.update()
        # What could not be read here another source may have.
        failed = {problem.place.removeprefix("session ") for problem in problems}
        self.taken |= said.keys() - failed
        for problem in problems:
            self.report.skip(problem)
        self.report.notes += await asyncio.to_thread(source.notes)
        self._remark(doubles)

    async def _unchanged(self) -> set[str]:
        """The sessions stored in the state they are in; of them the wanted count as unchanged."""
        unchanged = set()
        for opencode_id, imported, deleted_at, *told in await self._store.select(
            "sessions", ["opencode_id", "imported", "deleted_at", *TOLD]
        ):
            self._stored.add(opencode_id)
            state = self._states.get(opencode_id)
            if not imported or state is None or deleted_at:
                continue
            # Snapshots that are there no more have told what they know.
            if imported["state"] not in (state, state + WITH_SNAPSHOTS):
                continue
            if opencode_id in self.taken:
                continue
            unchanged.add(opencode_id)
            if not self._wanted.wants(dict(zip(TOLD, told, strict=True))):
                continue
            self.report.sessions.unchanged += 1
            for name in ORDER[1:]:
                count: Count = getattr(self.report, name)
                count.unchanged += imported[name]
            self._others += Counter(imported["beside"])
        return unchanged

    def _read(self, items: Iterator[Item]) -> Iterator["int | Problem | _Read"]:
        """What a source gives, its sessions as rows."""
        for item in items:
            if not isinstance(item, SessionRecord):
                yield item
                continue
            try:
                yield _Read(item.id, *_rows(item, self._source.kind, self._wanted.origin))
            except Exception as error:  # one session is no reason to lose the others
                yield unforeseen(item.id, error)

    async def _session(self, read: "_Read", problems: list[Problem]) -> None:
        """Imports one session; one with a problem is read again the next time, to say it again."""
        id, rows, scrubbed = read
        self.taken.add(id)
        self.there.add(id)
        is_known = self.saw_all and id in self._states
        is_whole = is_known and not any(id in problem.place for problem in problems)
        (session,) = rows["sessions"]
        session["imported"] = {
            "place": self.place if id in self._states else None,
            "state": self._states[id] if is_whole else None,
            **{name: len(rows[name]) for name in ORDER[1:]},
        }
        taken: dict[TableName, set[str]] = {}
        for attempt in range(TRIES):
            try:
                if attempt or session["opencode_id"] in self._stored:
                    stored = await _stored(self._store, rows)
                else:
                    stored = {name: [] for name in ORDER}
                if is_older(session, stored["sessions"]):
                    self._older += 1
                    for name in ORDER:
                        getattr(self.report, name).unchanged += len(rows[name])
                    return
                is_same = any(
                    row["imported"] and row["imported"]["place"] == self.place
                    for row in stored["sessions"]
                )
                deleted = self._wanted.deleted if is_whole and is_same else None
                found = await asyncio.to_thread(compare, rows, stored, deleted, taken)
                if found.steps:
                    await self._store.apply(found.steps)
                break
            except CallerWorkFailed as error:
                self.report.notes.append(str(error))
                break
            except StoreFailed as error:
                if isinstance(error, IdsTaken):
                    taken |= {name: ids | taken.get(name, set()) for name, ids in error.ids.items()}
                # Unless it is passing, an application may have stored the same meanwhile.
                if error.is_passing or attempt == TRIES - 1:
                    place, reason = f"session {id}", f"could not be stored: {error}"
                    self.report.skip(Problem(place, reason))
                    return
        self._stored.add(session["opencode_id"])
        self._others += found.others
        self._gone += found.gone
        self._copied += len(taken.get("messages", ()))
        self.report.scrubbed += scrubbed
        for name in ORDER:
            count, new, changed = getattr(self.report, name), found.new[name], found.changed[name]
            count.new += new
            count.changed += changed
            count.unchanged += len(rows[name]) - new - changed

    def _remark(self, doubles: int) -> None:
        if doubles:
            self.report.notes.append(
                f"{doubles} sessions were also in a source before this one, and taken from there"
            )
        if self._gone:
            self.report.notes.append(_gone_note(self._gone, "messages", self._wanted.deleted))
        if self._older:
            self.report.notes.append(
                f"{self._older} sessions are older here than what is stored: that was kept"
            )
        if self._copied:
            self.report.notes.append(
                f"{self._copied} messages have the id of another session's: "
                "they are stored under ids of their own"
            )
        if others := self._others:
            counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in others.items())
            self.report.notes.append(
                f"{counts} that an application stored match none of opencode's: "
                "they are kept beside"
            )


class _Read(NamedTuple):
    """A session as it is to be stored, and how many of its values had to be replaced."""

    id: str
    rows: SessionRows
    scrubbed: int


def _rows(record: SessionRecord, source: str, origin: str | None) -> tuple[SessionRows, int]:
    rows, replaced = session_rows(record, source=source, origin=origin), 0
    for name, listed in rows.items():
        make = clean if name == "sessions" else packed
        cleaned = [make(row) for row in listed]
        rows[name] = [row for row, _count in cleaned]
        replaced += sum(count for _row, count in cleaned)
    return rows, replaced


async def _stored(store: Store, rows: SessionRows) -> SessionRows:
    """What the store has of this session: all columns, all tables."""
    (session,) = rows["sessions"]
    stored: SessionRows = {}
    where: dict[str, list[Any]] = {"opencode_id": [session["opencode_id"]]}
    for name in ORDER:
        columns = [column.name for column in TABLES[name].columns]
        found = await store.select(name, columns, where)
        stored[name] = [dict(zip(columns, row, strict=True)) for row in found]
        if name == "sessions":
            where = {"session_id": [row["id"] for row in stored[name]]}
    return stored


def _place(source: Source, origin: str | None) -> str:
    """What tells this place from all others, also where several people import into one store."""
    path = os.fsencode(os.path.realpath(str(source))).decode("utf-8", "replace")
    return f"{origin} {platform.node()} {path}"


def _gone_note(count: int, what: str, deleted: Deleted) -> str:
    done = "dropped" if deleted == "drop" else "kept, and marked"
    return f"{count} {what} are gone from opencode: {done}"


async def _bury(
    store: Store, places: set[str], there: set[str], wanted: Wanted, report: ImportReport
) -> None:
    """Marks or drops the sessions that were imported from these places and are not there now.

    One that an application stored is the application's to drop.
    """
    here = {clean({"id": id})[0]["id"] for id in there}  # as they were stored
    marked, dropped = [], []
    for id, opencode_id, source, imported, deleted_at in await store.select(
        "sessions", ["id", "opencode_id", "source", "imported", "deleted_at"]
    ):
        if opencode_id in here or not imported or imported["place"] not in places:
            continue
        if wanted.deleted == "drop" and source not in APPLICATION:
            dropped.append(id)
        elif not deleted_at:
            marked.append({"id": id, "opencode_id": opencode_id, "deleted_at": now()})
    for start in range(0, len(marked), BATCH):
        await store.apply([Put("sessions", marked[start : start + BATCH])])
    for start in range(0, len(dropped), BATCH):
        await store.apply([Delete("sessions", dropped[start : start + BATCH])])
    if marked:
        report.notes.append(_gone_note(len(marked), "sessions", "keep"))
    if dropped:
        report.notes.append(_gone_note(len(dropped), "sessions", "drop"))


async def _in_thread(items: Iterator[Any]) -> AsyncGenerator[Any, None]:
    """A blocking iterator's items, each taken in a thread while the one before it is used.

    It is closed when no thread is in it.
    """
    end = object()
    ahead = asyncio.create_task(asyncio.to_thread(next, items, end))
    try:
        while (item := await asyncio.shield(ahead)) is not end:
            ahead = asyncio.create_task(asyncio.to_thread(next, items, end))
            yield item
    finally:
        try:
            await finish(asyncio.wait([ahead]))
        finally:
            items.close()  # type: ignore[attr-defined]
