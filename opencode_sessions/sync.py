"""From a source into a store: an upsert, session by session, that says what it did.

A session is compared with what the store has of it and only what differs is written, in one
transaction; a session that cannot be stored is reported and the others go on. Rows are known again
by opencode's ids, a session that an application stored itself by its `opencode_id`. What the
application said stays; what it did not say is filled in; what opencode has forgotten is kept.
"""

import asyncio
import html
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tqdm.auto import tqdm

from .models import TABLES, Row
from .records import SessionRecord
from .rows import SessionRows, session_rows
from .sources import Problem, Source, SourceChanged
from .store import Put, Step, Store, StoreFailed, TableName
from .store.values import clean

ORDER: tuple[TableName, ...] = ("sessions", "messages", "tool_calls", "file_events")
TRIES = 3
PROBLEMS_SHOWN = 5
SKIPPED = {
    "session": "sessions",
    "message": "messages",
}  # first word of a problem's place; else a part


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
        lines = [
            f"ImportReport: {', '.join(self.sources) or 'nothing read'} ({self.seconds:.1f} s)"
        ]
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
        title = html.escape(
            f"Imported {', '.join(self.sources) or 'nothing'} in {self.seconds:.1f} s"
        )
        remarks = "".join(f"<li>{html.escape(line)}</li>" for line in self._remarks())
        listed = f"<ul>{remarks}</ul>" if remarks else ""
        return f"<p>{title}</p><table><thead><tr>{head}</tr></thead>{rows}</table>{listed}"

    def _counts(self) -> list[tuple[str, Count]]:
        return [(name.replace("_", " "), getattr(self, name)) for name in ORDER]

    def _remarks(self) -> Iterator[str]:
        for problem in self.problems[:PROBLEMS_SHOWN]:
            yield f"skipped {problem.place}: {problem.reason}"
        if (more := len(self.problems) - PROBLEMS_SHOWN) > 0:
            yield f"and {more} more in .problems"
        if self.scrubbed:
            yield f"{self.scrubbed} values no database can hold were replaced"
        yield from self.notes


async def import_sources(
    store: Store,
    sources: list[Source],
    *,
    origin: str | None,
    since: datetime | None,
    project: str | None,
    progress: bool,
) -> ImportReport:
    """Imports these sources into the store; a session two of them have is taken from the first.

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
            items = source.sessions(since=since, project=project)
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
    doubles = 0
    with tqdm(desc="import", unit="session", disable=not progress, leave=False) as bar:
        async for item in _in_thread(items):
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
                await _import_session(store, report, item, kind, origin)
                bar.update()
    if doubles:
        report.notes.append(
            f"{doubles} sessions were also in a source before this one, and taken from there"
        )


async def _import_session(
    store: Store, report: ImportReport, record: SessionRecord, kind: str, origin: str | None
) -> None:
    rows, scrubbed = await asyncio.to_thread(_rows, record, kind, origin)
    try:
        stored = await _stored(store, rows)
        changes = await asyncio.to_thread(_compare, rows, stored)
        steps: list[Step] = [
            Put(name, changes[name].written) for name in ORDER if changes[name].written
        ]
        if steps:
            await store.apply(steps)
    except StoreFailed as error:
        report.problems.append(Problem(f"session {record.id}", f"could not be stored: {error}"))
        report.sessions.skipped += 1
        return
    report.scrubbed += scrubbed
    for name in ORDER:
        count, change = getattr(report, name), changes[name]
        count.new += change.new
        count.changed += len(change.written) - change.new
        count.unchanged += len(rows[name]) - len(change.written)


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


def _compare(rows: SessionRows, stored: SessionRows) -> dict[TableName, _Changes]:
    """The rows to write: those the store has not, and those that differ from what it has."""
    _take_over_ids(rows, stored)
    changes: dict[TableName, _Changes] = {name: _Changes() for name in ORDER}
    for name in ORDER:
        kept = {row["id"]: row for row in stored[name]}
        for row in rows[name]:
            old = kept.get(row["id"])
            if old is None:
                changes[name].new += 1
                changes[name].written.append(row)
                continue
            new = _merged(old, row)
            if any(old[column] != value for column, value in new.items()):
                changes[name].written.append(new)
    return changes


def _take_over_ids(rows: SessionRows, stored: SessionRows) -> None:
    """Points rows at the ids under which an application stored the same session and messages."""
    session_ids = {row["opencode_id"]: row["id"] for row in stored["sessions"]}
    message_ids = {
        row["opencode_id"]: row["id"] for row in stored["messages"] if row["opencode_id"]
    }
    for row in rows["sessions"]:
        row["id"] = session_ids.get(row["opencode_id"], row["id"])
    session_id = rows["sessions"][0]["id"]
    renamed = {}
    for row in rows["messages"]:
        kept = message_ids.get(row["opencode_id"], row["id"])
        renamed[row["id"]] = kept
        row["id"] = kept
    for name in ORDER[1:]:
        for row in rows[name]:
            row["session_id"] = session_id
            if name != "messages":
                row["message_id"] = renamed.get(row["message_id"], row["message_id"])


def _merged(old: Row, new: Row) -> Row:
    """The new row; where an application wrote the old one, only what it left open is filled in."""
    if old["source"] not in (None, "service"):
        return new
    place = ("seq", "turn", "is_fork_copy", "is_undone")
    return {
        column: value if column in place or old[column] is None else old[column]
        for column, value in new.items()
    } | {"source": old["source"], "origin": old["origin"]}


async def _in_thread(items: Iterator[Any]) -> AsyncIterator[Any]:
    """A blocking iterator's items, each taken in a thread; closed when no thread is in it."""
    end = object()
    try:
        while True:
            taken = asyncio.ensure_future(asyncio.to_thread(next, items, end))
            try:
                item = await asyncio.shield(taken)
            except asyncio.CancelledError:
                await asyncio.wait([taken])
                raise
            if item is end:
                return
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
