"""From a source into a store: an upsert, session by session, that says what it did.

A session is compared with what the store has of it and only what differs is written, in one
transaction; a session that cannot be stored is reported and the others go on. Rows are known again
by opencode's ids, a session that an application stored itself by its `opencode_id`. What the
application said stays; what it did not say is filled in; what opencode has forgotten is kept.
"""

import asyncio
import html
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tqdm.auto import tqdm

from .matching import APPLICATION, take_over_ids
from .models import TABLES, Row
from .records import SessionRecord
from .rows import SessionRows, session_rows
from .sources import Problem, Source, SourceChanged
from .store import CallerWorkFailed, Put, Store, StoreFailed, TableName, finish
from .store.values import clean

ORDER: tuple[TableName, ...] = ("sessions", "messages", "tool_calls", "file_events")
TRIES = 3
PROBLEMS_SHOWN = 5
SKIPPED = {
    "session": "sessions",
    "message": "messages",
    **dict.fromkeys(("file", "folder", "standard"), "sessions"),
}  # first word of a problem's place; else a part
# What an application does not say of a session or message: opencode's times, and what takes the
# whole session to know.
NEVER_SAID = {"created_at", "seq", "turn", "is_fork_copy", "is_undone"}


@dataclass(slots=True)
class Count:
    """How many rows of a kind an import met."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.new + self.changed + self.unchanged + self.skipped


@dataclass(slots=True, repr=False)
class ImportReport:
    """What an import read and stored, and what it had to leave out and why."""

    sources: list[str] = field(default_factory=list)
    sessions: Count = field(default_factory=Count)
    messages: Count = field(default_factory=Count)
    tool_calls: Count = field(default_factory=Count)
    file_events: Count = field(default_factory=Count)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scrubbed: int = 0
    seconds: float = 0.0

    def __repr__(self) -> str:
        read = ", ".join(map(_printable, self.sources)) or "nothing read"
        lines = [f"ImportReport: {read} ({self.seconds:.1f} s)"]
        lines.append(f"  {'':<12}{'new':>9}{'changed':>9}{'unchanged':>11}{'skipped':>9}")
        for name, count in self._counts():
            numbers = f"{count.new:>9,}{count.changed:>9,}{count.unchanged:>11,}{count.skipped:>9,}"
            lines.append(f"  {name:<12}{numbers}")
        return "\n".join(lines + [f"  {line}" for line in self._remarks()])

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th>{name}</th>" for name in ("", "new", "changed", "unchanged", "skipped")
        )
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th>"
            + "".join(f"<td>{n:,}</td>" for n in (c.new, c.changed, c.unchanged, c.skipped))
            + "</tr>"
            for name, c in self._counts()
        )
        read = ", ".join(map(_printable, self.sources)) or "nothing"
        title = html.escape(f"Imported {read} in {self.seconds:.1f} s")
        remarks = "".join(f"<li>{html.escape(line)}</li>" for line in self._remarks())
        listed = f"<ul>{remarks}</ul>" if remarks else ""
        return f"<p>{title}</p><table><thead><tr>{head}</tr></thead>{rows}</table>{listed}"

    def _counts(self) -> list[tuple[str, Count]]:
        return [(name.replace("_", " "), getattr(self, name)) for name in ORDER]

    def _remarks(self) -> Iterator[str]:
        for problem in self.problems[:PROBLEMS_SHOWN]:
            yield _printable(f"skipped {problem.place}: {problem.reason}")
        if (more := len(self.problems) - PROBLEMS_SHOWN) > 0:
            yield f"and {more} more in .problems"
        if self.scrubbed:
            yield f"{self.scrubbed} values no database can hold were replaced"
        yield from map(_printable, self.notes)


async def import_sources(
    store: Store,
    sources: list[Source],
    *,
    origin: str | None,
    since: datetime | None,
    project: str | None,
    progress: bool,
    shell: bool = True,
) -> ImportReport:
    """Imports these sources into the store; a session two of them have is taken from the first.

    `shell` adds file events for what commands changed.

    Raises:
        SourceError: a source could not be read at all.
        SchemaError: the store's tables are missing or old.
    """
    report = ImportReport()
    started = time.monotonic()
    seen: set[str] = set()
    for source in sources:
        for attempt in range(TRIES):
            part, found = ImportReport(sources=[f"{source} ({source.kind})"]), set(seen)
            items = source.sessions(since=since, project=project, shell=shell)
            try:
                await _import(store, items, source.kind, part, found, origin, progress)
                part.notes += await asyncio.to_thread(source.notes)
            except SourceChanged:
                if attempt == TRIES - 1:
                    raise
                continue
            break
        seen = found
        _add(report, part)
    report.seconds = time.monotonic() - started
    return report


async def _import(
    store: Store,
    items: Iterator[SessionRecord | Problem | int],
    kind: str,
    report: ImportReport,
    seen: set[str],
    origin: str | None,
    progress: bool,
) -> None:
    doubles, others = 0, Counter[TableName]()
    with tqdm(desc="import", unit="session", disable=not progress, leave=False) as bar:
        async with aclosing(_in_thread(items)) as found:
            async for item in found:
                if isinstance(item, int):
                    bar.reset(total=item)
                elif isinstance(item, Problem):
                    report.problems.append(item)
                    count: Count = getattr(report, SKIPPED.get(item.place.split()[0], "tool_calls"))
                    count.skipped += 1
                elif item.id in seen:
                    doubles += 1
                    bar.update()
                else:
                    seen.add(item.id)
                    others += await _import_session(store, report, item, kind, origin)
                    bar.update()
    if doubles:
        report.notes.append(
            f"{doubles} sessions were also in a source before this one, and taken from there"
        )
    if others:
        counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in others.items())
        report.notes.append(
            f"{counts} that an application stored match none of opencode's: they are kept beside"
        )


async def _import_session(
    store: Store, report: ImportReport, record: SessionRecord, kind: str, origin: str | None
) -> Counter[TableName]:
    """Imports one session; counts what an application stored of it that is not in the source."""
    rows, scrubbed = await asyncio.to_thread(_rows, record, kind, origin)
    for attempt in range(TRIES):
        try:
            stored = await _stored(store, rows)
            changes, others = await asyncio.to_thread(_compare, rows, stored)
            written = ((name, changes[name].written) for name in ORDER)
            if steps := [Put(name, changed) for name, changed in written if changed]:
                await store.apply(steps)
            break
        except CallerWorkFailed as error:
            report.notes.append(str(error))
            break
        except StoreFailed as error:
            # Unless it is passing, an application may have stored the same meanwhile: look again.
            if error.is_passing or attempt == TRIES - 1:
                problem = Problem(f"session {record.id}", f"could not be stored: {error}")
                report.problems.append(problem)
                report.sessions.skipped += 1
                return Counter()
    report.scrubbed += scrubbed
    for name in ORDER:
        count, change = getattr(report, name), changes[name]
        count.new += change.new
        count.changed += len(change.written) - change.new
        count.unchanged += len(rows[name]) - len(change.written)
    return others


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


def _compare(
    rows: SessionRows, stored: SessionRows
) -> tuple[dict[TableName, _Changes], Counter[TableName]]:
    """The rows to write, those the store has not or has otherwise; and how many others it has."""
    others = take_over_ids(rows, stored)
    changes: dict[TableName, _Changes] = {name: _Changes() for name in ORDER}
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
            if any(old[column] != value for column, value in new.items()):
                changes[name].written.append(new)
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


async def _in_thread(items: Iterator[Any]) -> AsyncGenerator[Any, None]:
    """A blocking iterator's items, each taken in a thread; closed when no thread is in it."""
    end = object()
    try:
        while (item := await finish(asyncio.to_thread(next, items, end))) is not end:
            yield item
    finally:
        items.close()  # type: ignore[attr-defined]


def _add(total: ImportReport, part: ImportReport) -> None:
    for name in ORDER:
        sum_, one = getattr(total, name), getattr(part, name)
        for kind in Count.__slots__:
            setattr(sum_, kind, getattr(sum_, kind) + getattr(one, kind))
    total.sources += part.sources
    total.problems += part.problems
    total.notes += part.notes
    total.scrubbed += part.scrubbed


def _printable(text: str) -> str:
    """Text that an agent or a file's name may hold, without what a terminal obeys."""
    return "".join(c if c.isprintable() else "�" for c in text)
