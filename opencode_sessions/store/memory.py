"""A store in this process alone: what is asked of one, of rows that are dicts."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any

from ..models import TABLES, Row
from . import MONEY, Done, NotAtOnce, Step, Store, Summary, TableName, Take, Texts, Totals, Where
from .memory_tables import OLDEST, Tables, copied
from .searching.answers import SEARCHED, Answer, Newest, Progress, Search
from .values import is_oddly_written, whole

BATCH = 2000  # rows handed over between two turns of the event loop
EVENT_COLUMNS = TABLES["file_events"].c


class MemoryStore:
    """A store that needs nothing and keeps nothing."""

    place = "memory"

    def __init__(self) -> None:
        self._tables = Tables()

    @property
    def known(self) -> Summary:
        """What it holds."""
        sessions = self._tables.rows["sessions"].values()
        times = [row["updated_at"] for row in sessions if row.get("updated_at")]
        messages, events = self._tables.rows["messages"], self._tables.rows["file_events"]
        return Summary(len(sessions), len(messages), len(events), max(times, default=None))

    @property
    def takes_groups(self) -> bool:
        """Nothing is gained by it."""
        return False

    async def apply(self, steps: Sequence[Step]) -> list[Row]:
        """Applies all steps or none."""
        return self._tables.apply(steps)

    async def select(
        self, table: TableName, columns: Sequence[str], where: Where | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows as tuples in the order of `columns`."""
        found: list[tuple[Any, ...]] = []
        await self.scan(table, columns, where, found.extend)
        return found

    async def scan(
        self, table: TableName, columns: Sequence[str], where: Where | None, take: Take
    ) -> None:
        """Hands over rows as tuples in the order of `columns`."""
        rows = self._chosen(table, where)
        for start in range(0, len(rows), BATCH):
            if start:
                await asyncio.sleep(0)
            take(_told(rows[start : start + BATCH], columns))

    def _chosen(self, table: TableName, where: Where | None) -> list[Row]:
        rows = self._tables.rows[table].values()
        if not where:
            return list(rows)
        wanted = {column: set(values) for column, values in where.items()}
        return [row for row in rows if all(row.get(name) in wanted[name] for name in wanted)]

    def whole(self) -> None:
        """What is in memory is there at once as it is."""

    async def touched(self, since: datetime) -> set[str]:
        """The sessions in which something happened at or after this moment."""

        return {
            row["id"]
            for row in self._tables.rows["sessions"].values()
            if any((row.get(name) or OLDEST) >= since for name in ("created_at", "updated_at"))
        } | {
            row["session_id"]
            for row in self._tables.rows["messages"].values()
            if (row.get("created_at") or OLDEST) >= since
        }

    async def places(self) -> set[tuple[str | None, str | None]]:
        """Each different workdir and worktree."""
        sessions = self._tables.rows["sessions"].values()
        return {(row.get("workdir"), row.get("worktree")) for row in sessions}

    async def on_paths(
        self, columns: Sequence[str], paths: Collection[str] | None, ending: str
    ) -> list[tuple[Any, ...]]:
        """File events on these paths, or on oddly written ones that may be shown like this."""
        plain = None if paths is None else {*paths}

        def is_on(path: str | None) -> bool:
            if path is None or (plain is not None and path in plain):
                return path is not None
            return plain is None or is_oddly_written(path)

        found: list[tuple[Any, ...]] = []
        for row in self._tables.rows["file_events"].values():
            if is_on(row.get("file_path")) or is_on(row.get("new_file_path")):
                message = self._tables.rows["messages"].get(row.get("message_id") or "", {})
                told = message | {c: v for c, v in row.items() if c in EVENT_COLUMNS}
                found.append(tuple(copied(told.get(column)) for column in columns))
        return found

    async def with_prompt(self, message_id: str) -> list[str]:
        """The row ids of a message and of the prompt it answers."""
        messages = self._tables.rows["messages"]
        message = messages.get(message_id)
        if message is None:
            return []
        place = message.get("seq")
        prompts = [
            (row["seq"], id)
            for id, row in messages.items()
            if row["session_id"] == message["session_id"]
            and (row["role"], message["role"] != "user", place is not None) == ("user", True, True)
            and row.get("seq") is not None
            and row["seq"] < place
        ]
        return [message_id, *(id for _, id in sorted(prompts)[-1:])]

    async def texts(self, table: TableName, columns: Sequence[str], where: Where) -> Texts:
        """None: the rows are objects already."""
        raise NotAtOnce

    async def texts_on_paths(
        self, columns: Sequence[str], paths: Collection[str] | None, ending: str
    ) -> Texts:
        """There are none."""
        raise NotAtOnce

    async def totals(self, session_ids: Collection[str] | None = None) -> dict[str, Totals]:
        """By session, what it holds, in the order of `TOTALS`."""
        by_session: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for name in ("messages", "tool_calls", "file_events"):
            for row in self._tables.rows[name].values():
                by_session[row["session_id"]][name].append(row)
        chosen = by_session.keys() if session_ids is None else by_session.keys() & {*session_ids}
        totals: dict[str, Totals] = {}
        for id in chosen:
            held = by_session[id]
            own = [row for row in held["messages"] if not row.get("is_fork_copy")]
            own.sort(key=lambda row: row.get("seq") or 0)  # floats add up otherwise in another
            cost, *tokens = (_sum(row.get(column) for row in own) for column in MONEY)
            prompts = sum(row["role"] == "user" for row in held["messages"])
            counts = (len(held[name]) for name in ("tool_calls", "file_events"))
            totals[id] = len(held["messages"]), prompts, cost, *map(whole, tokens), *counts
        return totals

    async def reading(self, work: Callable[[Store], Coroutine[Any, Any, Done]]) -> Done:
        """Does work that selects a few rows several times."""
        return await work(self)

    async def summary(self) -> Summary:
        """Counts and the newest session's time."""
        return self.known

    async def search(self, search: Search, progress: Progress) -> list[Answer]:
        """The newest answers: every row is looked at, in a thread, those added last first."""
        newest = Newest(search)
        for table in SEARCHED:
            if columns := newest.columns(table):
                rows = self._chosen(table, newest.where(table))[::-1]
                said = ({name: row.get(name) for name in columns} for row in rows)
                await asyncio.to_thread(newest.take, table, said)
        return newest.answers()

    async def reindex(self, progress: Progress) -> None:
        """Nothing to make."""

    async def room(self) -> tuple[int, str]:
        """None."""
        return 0, "In memory what is deleted is free at once."

    async def close(self) -> None:
        """Nothing to let go of."""


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _told(rows: Iterable[Row], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(copied(row.get(column)) for column in columns) for row in rows]
