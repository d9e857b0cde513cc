"""Rows in this process alone: dicts that behave as the tables do."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from ..models import TABLES, Row
from . import (
    KEPT_BY_APPEND,
    MONEY,
    Append,
    AppendTo,
    Delete,
    Done,
    IdsTaken,
    NotAtOnce,
    Prune,
    Put,
    PutMessage,
    PutSession,
    Step,
    Store,
    StoreFailed,
    Summary,
    TableName,
    Take,
    Texts,
    Totals,
    Where,
)
from .searching.answers import SEARCHED, Answer, Newest, Progress, Search
from .values import dumps, is_oddly_written, loads, plain, whole

OLDEST = datetime.min.replace(tzinfo=UTC)
BATCH = 2000  # rows handed over between two turns of the event loop
EVENT_COLUMNS = TABLES["file_events"].c
PARENTS = {"session_id": "sessions", "message_id": "messages"}


class MemoryStore:
    """A store that needs nothing and keeps nothing."""

    place = "memory"

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Row]] = defaultdict(dict)
        self._sessions: dict[str, str] = {}  # opencode_id -> id
        self._messages: dict[tuple[str, str], str] = {}  # session id, opencode_id -> id
        self._last: dict[tuple[str, str], int] = {}  # table, session id -> seq

    @property
    def known(self) -> Summary:
        """What it holds."""
        sessions = self._tables["sessions"].values()
        times = [row["updated_at"] for row in sessions if row.get("updated_at")]
        messages, events = self._tables["messages"], self._tables["file_events"]
        return Summary(len(sessions), len(messages), len(events), max(times, default=None))

    @property
    def takes_groups(self) -> bool:
        """Nothing is gained by it."""
        return False

    async def apply(self, steps: Sequence[Step]) -> list[Row]:
        """Applies all steps or none: what could refuse a row is looked at before any is stored."""
        self._check(steps)
        rows = []
        aliases: dict[str, str] = {}
        for step in steps:
            match step:
                case PutSession(row):
                    rows.append(self._put_session(row))
                case PutMessage(row):
                    rows.append(self._put_message(row))
                    aliases[row["id"]] = rows[-1]["id"]
                case AppendTo(message_id, within):
                    for append in within(aliases.get(message_id, message_id)):
                        for row in append.rows:
                            self._append(append.table, row)
                case Append(table, added):
                    for row in added:
                        self._append(table, row)
                case Put(table, put):
                    for row in put:
                        self._store(table, row)
                case Delete(table, ids):
                    self._delete(table, set(ids))
                case Prune(before):
                    idle = self._idle(before)
                    self._delete("sessions", idle)
                    rows += [{"id": id} for id in idle]
        return [{column: _copy(value) for column, value in row.items()} for row in rows]

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
        rows = self._tables[table].values()
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
            for row in self._tables["sessions"].values()
            if any((row.get(name) or OLDEST) >= since for name in ("created_at", "updated_at"))
        } | {
            row["session_id"]
            for row in self._tables["messages"].values()
            if (row.get("created_at") or OLDEST) >= since
        }

    async def places(self) -> set[tuple[str | None, str | None]]:
        """Each different workdir and worktree."""
        sessions = self._tables["sessions"].values()
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
        for row in self._tables["file_events"].values():
            if is_on(row.get("file_path")) or is_on(row.get("new_file_path")):
                message = self._tables["messages"].get(row.get("message_id") or "", {})
                told = message | {c: v for c, v in row.items() if c in EVENT_COLUMNS}
                found.append(tuple(_copy(told.get(column)) for column in columns))
        return found

    async def texts_on_paths(
        self, columns: Sequence[str], paths: Collection[str] | None, ending: str
    ) -> Texts:
        """There are none."""
        raise NotAtOnce

    async def totals(self, session_ids: Collection[str] | None = None) -> dict[str, Totals]:
        """By session, what it holds, in the order of `TOTALS`."""
        by_session: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for name in ("messages", "tool_calls", "file_events"):
            for row in self._tables[name].values():
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

    def _check(self, steps: Sequence[Step]) -> None:
        """What keys do: no row without its session and message, no opencode id twice."""
        coming: dict[str, set[str]] = defaultdict(set)
        taken: dict[TableName, set[str]] = {}
        for step in steps:
            if isinstance(step, Delete | AppendTo | Prune):
                continue
            if isinstance(step, Put) and (ids := self._of_others(step)):
                taken[step.table] = taken.get(step.table, set()) | ids
            single = isinstance(step, PutSession | PutMessage)
            for row in [step.row] if single else step.rows:  # type: ignore[union-attr]
                for column, parent in PARENTS.items():
                    id = row.get(column)
                    known = id is None or id in self._tables[parent] or id in coming[parent]
                    if not known:
                        raise StoreFailed(f"no row {id} in {parent}", is_passing=False)
                if isinstance(step, Put) and self._holder(step.table, row) not in (None, row["id"]):
                    raise StoreFailed(
                        f"{row['opencode_id']} is in {step.table} already", is_passing=False
                    )
                coming[_table_of(step)].add(row["id"])
        if taken:
            raise IdsTaken(taken)

    def _of_others(self, step: Put) -> set[str]:
        """The ids among these rows' that rows of other sessions have."""
        kept, given = self._tables[step.table], ((row["id"], row) for row in step.rows)
        return {
            id
            for id, row in given
            if id in kept and kept[id].get("session_id") != row.get("session_id")
        }

    def _holder(self, table: str, row: Row) -> str | None:
        """The id of the row that has this one's opencode id."""
        if table == "sessions":
            return self._sessions.get(row["opencode_id"])
        if table == "messages":
            return self._messages.get((row["session_id"], row["opencode_id"]))
        return None

    def _put_session(self, row: Row) -> Row:
        kept = self._tables["sessions"].get(self._holder("sessions", row) or row["id"])
        if kept is None:
            return self._store("sessions", row)
        kept["updated_at"] = row["updated_at"]
        if row["abi_thread_id"] is not None:
            kept["abi_thread_id"] = row["abi_thread_id"]
        kept["title"] = kept["title"] or row["title"]
        return kept

    def _put_message(self, row: Row) -> Row:
        row = plain(row)
        kept = self._tables["messages"].get(self._holder("messages", row) or row["id"])
        if kept is not None:
            kept |= {name: row[name] for name in ("role", "content", "parts")}
            return kept
        session_id = row["session_id"]
        turn = self._last.get(("turn", session_id), 0) + (row["role"] == "user")
        place = {"seq": self._next("messages", session_id), "turn": max(turn, 1)}
        return self._store("messages", row | place)

    def _append(self, table: str, row: Row) -> None:
        message = self._tables["messages"][row["message_id"]]
        row = plain(row) | {"turn": message["turn"]}
        if kept := self._tables[table].get(row["id"]):
            kept |= {column: row[column] for column in row.keys() - KEPT_BY_APPEND}
            return
        session_id = row["session_id"] or message["session_id"]
        place = {"session_id": session_id, "seq": self._next(table, session_id)}
        self._store(table, row | place)

    def _next(self, table: str, session_id: str) -> int:
        return self._last.get((table, session_id), -1) + 1

    def _store(self, table: str, row: Row) -> Row:
        stored = self._tables[table].setdefault(row["id"], {})
        stored |= plain(row)
        if table == "sessions":
            if row["opencode_id"] is not None:
                self._sessions[row["opencode_id"]] = row["id"]
            return stored
        session_id = row["session_id"]
        if table == "messages" and row["opencode_id"] is not None:
            self._messages[session_id, row["opencode_id"]] = row["id"]
        for counter, value in ((table, row.get("seq")), ("turn", row.get("turn"))):
            if value is not None:
                key = (counter, session_id)
                self._last[key] = max(self._last.get(key, 0), value)
        return stored

    def _idle(self, before: datetime) -> set[str]:
        """The sessions in which something happened, but nothing since this moment."""
        last: dict[str, datetime] = {}
        for id, row in self._tables["sessions"].items():
            times = [row[name] for name in ("created_at", "updated_at") if row.get(name)]
            if times:
                last[id] = max(times)
        for row in self._tables["messages"].values():
            if row.get("created_at"):
                id = row["session_id"]
                last[id] = max(last.get(id, OLDEST), row["created_at"])
        return {id for id, time in last.items() if time < before}

    def _delete(self, parents: str, ids: set[str]) -> None:
        if not ids:
            return
        key = f"{parents.removesuffix('s')}_id"
        for name, rows in self._tables.items():
            column = "id" if name == parents else key
            self._tables[name] = {k: row for k, row in rows.items() if row.get(column) not in ids}
        sessions = self._tables["sessions"]
        self._sessions = {k: id for k, id in self._sessions.items() if id in sessions}
        self._messages = {
            k: id for k, id in self._messages.items() if id in self._tables["messages"]
        }
        self._last = {k: seq for k, seq in self._last.items() if k[1] in sessions}


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _told(rows: Iterable[Row], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(_copy(row.get(column)) for column in columns) for row in rows]


def _copy(value: Any) -> Any:
    """What leaves the store is the caller's to change; what is in it is not."""
    return loads(dumps(value)) if isinstance(value, dict | list) else value


def _table_of(step: Step) -> str:
    match step:
        case PutSession():
            return "sessions"
        case PutMessage():
            return "messages"
        case Append(table, _) | Put(table, _):
            return table
    return ""
