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
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tqdm.auto import tqdm

from .import_report import ORDER, Count, ImportReport
from .matching import APPLICATION, take_over_ids
from .models import TABLES, Row, now
from .records import SessionRecord
from .rows import SessionRows, session_rows
from .sources import Problem, Source, SourceChanged
from .store import CallerWorkFailed, Delete, Put, Step, Store, StoreFailed, TableName, finish
from .store.values import clean

Deleted = Literal["keep", "drop"]
TRIES = 3
READER = 2  # goes up when the same data would give other rows: then everything is read again
# What no application has said of a session or message: opencode's times, what takes the whole
# session to know, and what is the import's own.
NEVER_SAID = {"created_at", "seq", "turn", "is_fork_copy", "is_undone", "deleted_at", "imported"}
BATCH = 500  # ids in one statement


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

    def state(self, said: str | None) -> str | None:
        """A session's state, together with what else decides its rows; None where it has none."""
        return f"{READER} {self.shell} {self.origin} {said}" if said else None


async def import_sources(
    store: Store, sources: list[Source], wanted: Wanted, *, progress: bool
) -> ImportReport:
    """Imports these sources into the store; a session two of them have is taken from the first.

    Raises:
        SourceError: a source could not be read at all.
        SchemaError: the store's tables are missing or old.
    """
    report = ImportReport()
    started = time.monotonic()
    seen: set[str] = set()
    places: set[str] = set()
    for source in sources:
        failed = ImportReport()
        for attempt in range(TRIES):
            run = _Import(store, source, wanted, set(seen))
            try:
                await run.run(progress=progress)
            except SourceChanged:
                if attempt == TRIES - 1:
                    raise
                run.report.go_on_from(failed)
                failed = run.report
                continue
            break
        run.report.go_on_from(failed)
        seen = run.seen
        places |= {run.place} if run.saw_all else set()
        report.add(run.report)
    if wanted.is_everything:
        await _bury(store, places, seen, wanted, report)
    report.seconds = time.monotonic() - started
    return report


class _Import:
    """One reading of one source."""

    def __init__(self, store: Store, source: Source, wanted: Wanted, seen: set[str]) -> None:
        self.report = ImportReport(sources=[f"{source} ({source.kind})"])
        self.seen = seen
        self.saw_all = True  # every folder there is, so that what is missing must be gone
        self.place = _place(source, wanted.origin)
        self._store = store
        self._source = source
        self._wanted = wanted
        self._states: dict[str, str | None] = {}
        self._others: Counter[TableName] = Counter()
        self._gone = 0

    async def run(self, *, progress: bool) -> None:
        """Reads what changed and stores it."""
        wanted, source = self._wanted, self._source
        # States first: what changes after this is read now and once more the next time.
        said = await asyncio.to_thread(source.states)
        self._states = {id: wanted.state(state) for id, state in said.items()}
        unchanged = await self._unchanged()
        doubles = len(self.seen & said.keys())
        items = source.sessions(
            since=wanted.since,
            project=wanted.project,
            shell=wanted.shell,
            leave_out=unchanged | self.seen,
        )
        self.seen |= said.keys()
        problems: list[Problem] = []
        with tqdm(desc="import", unit="session", disable=not progress, leave=False) as bar:
            async with aclosing(_in_thread(items)) as found:
                async for item in found:
                    if isinstance(item, int):
                        bar.reset(total=item)
                    elif isinstance(item, Problem):
                        problems.append(item)
                        self.saw_all &= not item.place.startswith("folder ")
                    else:
                        await self._session(item, problems)
                        bar.update()
        for problem in problems:
            self.report.skip(problem)
        self.report.notes += await asyncio.to_thread(source.notes)
        self._remark(doubles)

    async def _unchanged(self) -> set[str]:
        """The sessions that are stored in the state they are in; they count as unchanged."""
        unchanged = set()
        for opencode_id, imported, deleted_at in await self._store.select(
            "sessions", ["opencode_id", "imported", "deleted_at"]
        ):
            state = self._states.get(opencode_id)
            if not imported or state is None or imported["state"] != state or deleted_at:
                continue
            if opencode_id in self.seen:
                continue
            unchanged.add(opencode_id)
            self.report.sessions.unchanged += 1
            for name in ORDER[1:]:
                count: Count = getattr(self.report, name)
                count.unchanged += imported[name]
            self._others += Counter(imported["beside"])
        return unchanged

    async def _session(self, record: SessionRecord, problems: list[Problem]) -> None:
        """Imports one session; one with a problem is read again the next time, to say it again."""
        self.seen.add(record.id)
        is_known = self.saw_all and record.id in self._states
        is_whole = is_known and not any(record.id in problem.place for problem in problems)
        kind, origin = self._source.kind, self._wanted.origin
        rows, scrubbed = await asyncio.to_thread(_rows, record, kind, origin)
        (session,) = rows["sessions"]
        session["imported"] = {
            "place": self.place if record.id in self._states else None,
            "state": self._states[record.id] if is_whole else None,
            **{name: len(rows[name]) for name in ORDER[1:]},
        }
        for attempt in range(TRIES):
            try:
                stored = await _stored(self._store, rows)
                changes, others = await asyncio.to_thread(_compare, rows, stored)
                written = ((name, changes[name].written) for name in ORDER)
                steps: list[Step] = [Put(name, changed) for name, changed in written if changed]
                is_same = any(
                    row["imported"] and row["imported"]["place"] == self.place
                    for row in stored["sessions"]
                )
                gone = _gone(rows, stored) if is_whole and is_same else {}
                steps += _farewell(gone, rows, self._wanted.deleted)
                if steps:
                    await self._store.apply(steps)
                break
            except CallerWorkFailed as error:
                self.report.notes.append(str(error))
                break
            except StoreFailed as error:
                # Unless it is passing, an application may have stored the same meanwhile.
                if error.is_passing or attempt == TRIES - 1:
                    place, reason = f"session {record.id}", f"could not be stored: {error}"
                    self.report.skip(Problem(place, reason))
                    return
        self._others += others
        self._gone += sum(not row["deleted_at"] for row in gone.get("messages", ()))
        self.report.scrubbed += scrubbed
        for name in ORDER:
            count, change = getattr(self.report, name), changes[name]
            count.new += change.new
            count.changed += change.changed
            count.unchanged += len(rows[name]) - change.new - change.changed

    def _remark(self, doubles: int) -> None:
        if doubles:
            self.report.notes.append(
                f"{doubles} sessions were also in a source before this one, and taken from there"
            )
        if self._gone:
            self.report.notes.append(_gone_note(self._gone, "messages", self._wanted.deleted))
        if others := self._others:
            counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in others.items())
            self.report.notes.append(
                f"{counts} that an application stored match none of opencode's: "
                "they are kept beside"
            )


def _rows(record: SessionRecord, source: str, origin: str | None) -> tuple[SessionRows, int]:
    rows, replaced = session_rows(record, source=source, origin=origin), 0
    for name, listed in rows.items():
        cleaned = [clean(row) for row in listed]
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


@dataclass(slots=True)
class _Changes:
    written: list[Row] = field(default_factory=list)
    new: int = 0
    changed: int = 0


def _compare(
    rows: SessionRows, stored: SessionRows
) -> tuple[dict[TableName, _Changes], Counter[TableName]]:
    """The rows to write, those the store has not or has otherwise; and how many others it has."""
    others = take_over_ids(rows, stored)
    changes: dict[TableName, _Changes] = {name: _Changes() for name in ORDER}
    rows["sessions"][0]["imported"]["beside"] = dict(others)
    (session,), known = rows["sessions"], [row["info"] or {} for row in stored["sessions"]]
    says_less = "sanitized" in session["info"] and any("sanitized" not in info for info in known)
    for name in ORDER:
        kept = {row["id"]: row for row in stored[name]}
        for row in rows[name]:
            old = kept.get(row["id"])
            if old is None:
                changes[name].new += 1
                changes[name].written.append(row)
                continue
            new = _merged(name, old, row, says_less)
            differs = {column for column, value in new.items() if old[column] != value}
            if differs:
                changes[name].written.append(new)
                changes[name].changed += differs != {"imported"}
    return changes, others


def _merged(name: TableName, old: Row, new: Row, says_less: bool) -> Row:
    """The new row; of one that an application stored, what it said stays.

    What it said are the session and its messages. Its calls and file events were read from parts
    that may not tell what became of them: opencode's say that. A sanitized export fills in only
    what is open.
    """
    if says_less:
        return new | {column: old[column] for column in new if old[column] not in (None, "")}
    if old["source"] not in APPLICATION:
        return new
    if name in ("sessions", "messages"):
        said = {column for column in new if old[column] not in (None, "")} - NEVER_SAID
    else:
        said = {column for column in new if new[column] is None}
    return new | {column: old[column] for column in said | {"source", "origin"}}


def _place(source: Source, origin: str | None) -> str:
    """What tells this place from all others, also where several people import into one store."""
    path = os.fsencode(os.path.realpath(str(source))).decode("utf-8", "replace")
    return f"{origin} {platform.node()} {path}"


def _gone(rows: SessionRows, stored: SessionRows) -> SessionRows:
    """What an import stored of a session, and the session has no more."""
    gone: SessionRows = {}
    for name in ORDER[1:]:
        here = {row["id"] for row in rows[name]}
        kept = (row for row in stored[name] if row["source"] not in APPLICATION)
        gone[name] = [row for row in kept if row["id"] not in here]
    return gone


def _farewell(gone: SessionRows, rows: SessionRows, deleted: Deleted) -> list[Step]:
    """Steps that drop what is gone, or mark it.

    opencode deletes messages when a reverted turn is replaced: what they did was undone. An event
    of a call that is still there was our reading of it, as it was then: the new one replaces it.
    """
    messages = {row["id"] for row in rows["messages"]}
    calls = {None, *(row["id"] for row in rows["tool_calls"])}
    steps: list[Step] = []
    for name, left in gone.items():
        marked = []
        for row in left if deleted == "keep" else ():
            if name == "messages":
                mark, keys = {"deleted_at": row["deleted_at"] or now()}, {"opencode_id"}
            elif name == "tool_calls":
                mark, keys = {"is_undone": True}, {"message_id", "tool"}
            elif row["message_id"] in messages and row["tool_call_id"] in calls:
                continue
            else:
                mark, keys = {"is_undone": True}, {"message_id", "event_type"}
            marked.append({key: row[key] for key in {"id", "session_id"} | keys} | mark)
        ids = {row["id"] for row in left} - {row["id"] for row in marked}
        if ids:
            steps.append(Delete(name, sorted(ids)))
        if marked:
            steps.append(Put(name, marked))
    return steps


def _gone_note(count: int, what: str, deleted: Deleted) -> str:
    done = "dropped" if deleted == "drop" else "kept, and marked"
    return f"{count} {what} are gone from opencode: {done}"


async def _bury(
    store: Store, places: set[str], seen: set[str], wanted: Wanted, report: ImportReport
) -> None:
    """Marks or drops the sessions that were imported from these places and are not there now.

    One that an application stored is the application's to drop.
    """
    here = {clean({"id": id})[0]["id"] for id in seen}  # as they were stored
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
    """A blocking iterator's items, each taken in a thread; closed when no thread is in it."""
    end = object()
    try:
        while (item := await finish(asyncio.to_thread(next, items, end))) is not end:
            yield item
    finally:
        items.close()  # type: ignore[attr-defined]
