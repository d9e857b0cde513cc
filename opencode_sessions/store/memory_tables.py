"""Rows as dicts that behave as the tables do: keys, places in a session, what goes with what."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..models import Row
from . import (
    KEPT_BY_APPEND,
    Append,
    AppendTo,
    Delete,
    IdsTaken,
    Prune,
    Put,
    PutMessage,
    PutSession,
    Step,
    StoreFailed,
    TableName,
)
from .values import dumps, loads, plain

OLDEST = datetime.min.replace(tzinfo=UTC)
PARENTS = {"session_id": "sessions", "message_id": "messages"}


class Tables:
    """The rows of each table by their ids, in the order they were stored."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = defaultdict(dict)
        self._sessions: dict[str, str] = {}  # opencode_id -> id
        self._messages: dict[tuple[str, str], str] = {}  # session id, opencode_id -> id
        self._last: dict[tuple[str, str], int] = {}  # table, session id -> seq

    def apply(self, steps: Sequence[Step]) -> list[Row]:
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
        return [{column: copied(value) for column, value in row.items()} for row in rows]

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
                    known = id is None or id in self.rows[parent] or id in coming[parent]
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
        kept, given = self.rows[step.table], ((row["id"], row) for row in step.rows)
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
        kept = self.rows["sessions"].get(self._holder("sessions", row) or row["id"])
        if kept is None:
            return self._store("sessions", row)
        kept["updated_at"] = row["updated_at"]
        if row["abi_thread_id"] is not None:
            kept["abi_thread_id"] = row["abi_thread_id"]
        kept["title"] = kept["title"] or row["title"]
        return kept

    def _put_message(self, row: Row) -> Row:
        row = plain(row)
        kept = self.rows["messages"].get(self._holder("messages", row) or row["id"])
        if kept is not None:
            kept |= {name: row[name] for name in ("role", "content", "parts")}
            return kept
        session_id = row["session_id"]
        turn = self._last.get(("turn", session_id), 0) + (row["role"] == "user")
        place = {"seq": self._next("messages", session_id), "turn": max(turn, 1)}
        return self._store("messages", row | place)

    def _append(self, table: str, row: Row) -> None:
        message = self.rows["messages"][row["message_id"]]
        row = plain(row) | {"turn": message["turn"]}
        if kept := self.rows[table].get(row["id"]):
            kept |= {column: row[column] for column in row.keys() - KEPT_BY_APPEND}
            return
        session_id = row["session_id"] or message["session_id"]
        place = {"session_id": session_id, "seq": self._next(table, session_id)}
        self._store(table, row | place)

    def _next(self, table: str, session_id: str) -> int:
        return self._last.get((table, session_id), -1) + 1

    def _store(self, table: str, row: Row) -> Row:
        stored = self.rows[table].setdefault(row["id"], {})
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
        for id, row in self.rows["sessions"].items():
            times = [row[name] for name in ("created_at", "updated_at") if row.get(name)]
            if times:
                last[id] = max(times)
        for row in self.rows["messages"].values():
            if row.get("created_at"):
                id = row["session_id"]
                last[id] = max(last.get(id, OLDEST), row["created_at"])
        return {id for id, time in last.items() if time < before}

    def _delete(self, parents: str, ids: set[str]) -> None:
        if not ids:
            return
        key = f"{parents.removesuffix('s')}_id"
        for name, rows in self.rows.items():
            column = "id" if name == parents else key
            self.rows[name] = {k: row for k, row in rows.items() if row.get(column) not in ids}
        sessions = self.rows["sessions"]
        self._sessions = {k: id for k, id in self._sessions.items() if id in sessions}
        self._messages = {k: id for k, id in self._messages.items() if id in self.rows["messages"]}
        self._last = {k: seq for k, seq in self._last.items() if k[1] in sessions}


def copied(value: Any) -> Any:
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
