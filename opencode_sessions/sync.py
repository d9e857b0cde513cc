"""From a source into a store: an upsert, session by session, that says what it did.

A session of which nothing changed since the last import is not read again: its `state` says so. One
that is read is compared with what the store has of it, and only what differs is written, in one
transaction together with the new state: killed at any point, the next import completes. New ones
are written several at a time, and one by one where that fails. A session that cannot be stored is
reported and the others go on. Rows are known again by opencode's ids, a
session that an application stored itself by its `opencode_id`. What the application said stays;
what it did not say is filled in; what opencode has deleted is kept and marked, or dropped.
"""

import asyncio
import os
import platform
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from tqdm.auto import tqdm

from .ahead import in_thread, seldom_collected
from .besides import bury, gone_note
from .comparing import Difference, compare, is_older, is_told
from .errors import SourceError
from .import_report import ORDER, Count, ImportReport
from .models import TABLES, Row
from .prepared import MANY, Notes, Prepared, read, read_apart
from .rows import SessionRows
from .sources import WITH_SNAPSHOTS, Problem, Source, SourceChanged, Untold
from .store import (
    CallerWorkFailed,
    IdsTaken,
    Put,
    Store,
    StoreFailed,
    TableName,
)
from .wanted import TOLD, Wanted

TRIES = 3
ROWS_TOGETHER = 4000  # of new sessions in one transaction: each commit waits for the disk


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
        report.notes += await bury(store, places, there, wanted.deleted)
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
        self._waiting: list[Prepared] = []
        self._waiting_rows = 0
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
        leave_out = frozenset(unchanged | self.taken)
        is_apart = len(said.keys() - leave_out) >= MANY
        items = (read_apart if is_apart else read)(source, wanted, leave_out)
        self.taken |= unchanged
        problems: list[Problem] = []
        untold = [Untold(0, 0)]
        total = 0
        bar = tqdm(desc="import", unit="session", disable=not progress, leave=False)
        with bar, seldom_collected():
            try:
                async with aclosing(in_thread(items)) as found:
                    async for item in found:
                        if isinstance(item, int):
                            total += item
                            bar.total = total
                            bar.refresh()
                        elif isinstance(item, Notes):
                            self.report.notes += item
                        elif isinstance(item, Untold):
                            untold.append(item)
                        elif isinstance(item, Problem):
                            problems.append(item)
                            self.saw_all &= not item.place.startswith("folder ")
                        else:
                            await self._session(item, problems)
                            bar.update()
            except SourceError:
                await self._store_waiting()  # what was read was read well
                self._skip(problems)
                raise
            await self._store_waiting()
        # What could not be read here another source may have.
        failed = {problem.place.removeprefix("session ") for problem in problems}
        self.taken |= said.keys() - failed
        self._skip(problems)
        every = Untold(*map(sum, zip(*untold, strict=True)))
        self.report.notes += [every.note] if every.snapshots else []
        self._remark(doubles)

    def _skip(self, problems: list[Problem]) -> None:
        for problem in problems:
            self.report.skip(problem)

    async def _unchanged(self) -> set[str]:
        """The sessions stored in the state they are in; of them the wanted count as unchanged."""
        columns = ["opencode_id", "imported", "deleted_at", *TOLD]
        stored = await self._store.select("sessions", columns)
        return await asyncio.to_thread(self._unchanged_of, stored)

    def _unchanged_of(self, stored: Iterable[tuple[Any, ...]]) -> set[str]:
        unchanged = set()
        for opencode_id, imported, deleted_at, *told in stored:
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

    async def _session(self, prepared: Prepared, problems: list[Problem]) -> None:
        """Imports one session; one with a problem is read again the next time, to say it again."""
        self.taken.add(prepared.id)
        self.there.add(prepared.id)
        is_known = self.saw_all and prepared.id in self._states
        is_whole = is_known and not any(prepared.id in problem.place for problem in problems)
        prepared.session["imported"] = {
            "place": self.place if prepared.id in self._states else None,
            "state": self._states[prepared.id] if is_whole else None,
            **{name: len(prepared.rows[name]) for name in ORDER[1:]},
        }
        if prepared.session["opencode_id"] in self._stored:
            await self._store_waiting()  # the older one keeps ids that two have
            await self._store_one(prepared, is_whole)
            return
        self._stored.add(prepared.session["opencode_id"])
        self._waiting.append(prepared)
        self._waiting_rows += prepared.size
        if self._waiting_rows >= ROWS_TOGETHER:
            await self._store_waiting()

    async def _store_waiting(self) -> None:
        """Writes sessions that the store has not had in one transaction, or else one by one."""
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if not waiting:
            return
        found = await asyncio.to_thread(lambda: [compare(one.rows, _nothing()) for one in waiting])
        rows = {name: [row for one in waiting for row in one.rows[name]] for name in ORDER}
        steps = [Put(name, listed) for name, listed in rows.items() if listed]
        if any(len({row["id"] for row in step.rows}) < len(step.rows) for step in steps):
            steps = []  # two sessions share ids: the second has to see the first one's
        is_stored = False
        try:
            if steps:
                await self._store.apply(steps)
                is_stored = True
        except CallerWorkFailed as error:
            self.report.notes.append(str(error))
            is_stored = True
        except StoreFailed:
            pass  # which of them failed, and why, is told when each is stored alone
        for one, difference in zip(waiting, found, strict=True):
            if is_stored:
                self._count(one, difference)
            else:
                await self._store_one(one, is_whole=False, is_new=True)

    async def _store_one(self, prepared: Prepared, is_whole: bool, *, is_new: bool = False) -> None:
        """Writes what of a session the store has not; nothing is gone of one that `is_new`."""
        taken: dict[TableName, set[str]] = {}
        for attempt in range(TRIES):
            try:
                is_looked_for = attempt or not is_new
                stored = await _stored(self._store, prepared.rows) if is_looked_for else _nothing()
                older = is_older(prepared.session, stored["sessions"])
                if older or is_told(prepared.rows, stored):
                    self._older += older
                    for name in ORDER:
                        getattr(self.report, name).unchanged += len(prepared.rows[name])
                    return
                is_same = any(
                    row["imported"] and row["imported"]["place"] == self.place
                    for row in stored["sessions"]
                )
                deleted = self._wanted.deleted if is_whole and is_same else None
                found = await asyncio.to_thread(
                    compare, prepared.rows, stored, deleted, taken, shell=self._wanted.shell
                )
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
                    place, reason = f"session {prepared.id}", f"could not be stored: {error}"
                    self.report.skip(Problem(place, reason))
                    return
        self._copied += len(taken.get("messages", ()))
        self._count(prepared, found)

    def _count(self, prepared: Prepared, found: Difference) -> None:
        self._others += found.others
        self._gone += found.gone
        self.report.scrubbed += prepared.scrubbed
        for name in ORDER:
            count, new, changed = getattr(self.report, name), found.new[name], found.changed[name]
            count.new += new
            count.changed += changed
            count.unchanged += len(prepared.rows[name]) - new - changed

    def _remark(self, doubles: int) -> None:
        if doubles:
            self.report.notes.append(
                f"{doubles} sessions were also in a source before this one, and taken from there"
            )
        if self._gone:
            self.report.notes.append(gone_note(self._gone, "messages", self._wanted.deleted))
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


def _nothing() -> SessionRows:
    return {name: [] for name in ORDER}


async def _stored(store: Store, rows: SessionRows) -> SessionRows:
    """What the store has of this session: all columns, all tables."""
    (session,) = rows["sessions"]
    stored: SessionRows = {}
    where: dict[str, list[Any]] = {"opencode_id": [session["opencode_id"]]}
    for name in ORDER:
        columns = [column.name for column in TABLES[name].columns]
        found = await store.select(name, columns, where)
        stored[name] = await asyncio.to_thread(_named, columns, found)
        if name == "sessions":
            where = {"session_id": [row["id"] for row in stored[name]]}
    return stored


def _named(columns: list[str], rows: Iterable[tuple[Any, ...]]) -> list[Row]:
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _place(source: Source, origin: str | None) -> str:
    """What tells this place from all others, also where several people import into one store."""
    path = os.fsencode(os.path.realpath(str(source))).decode("utf-8", "replace")
    return f"{origin} {platform.node()} {path}"
