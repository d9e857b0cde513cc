"""Everything a store holds, read at once: what is kept beside the database, and what is new.

All of it runs in threads beside the event loop, and where it counts without the interpreter's lock:
the loop goes on turning.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..store import NotAtOnce, TableName, Whole
from . import kept as files
from .arrow import REPEATED, Numbers, coded, in_one, places, rows_of, tabled, types
from .building import OF_MESSAGE, Sessions, ordered, ranked, row_order, sessions_of, taken
from .kept import Kept

log = logging.getLogger("opencode_sessions")

SMALLEST = 50_000  # rows of a table worth a file of their own
MOST_NEW = 0.05  # of the sessions; with more the file is made anew
MOST_READ = 0.5  # of the sessions; with more the whole table is read
PARSING = 3  # batches that wait to be parsed, at most
AGENTS = ("id", "session_id", *OF_MESSAGE)

Took = Callable[[int], None]


class Read(NamedTuple):
    """The sessions, and the other tables."""

    sessions: Sessions
    tables: dict[TableName, Any]
    """Those that are kept, and messages, in the order of the frames."""
    keep: Callable[[], None]
    """Keeps for the next time what is worth it; to be called once, in any thread."""


def read(
    whole: Whole,
    columns: Mapping[TableName, Sequence[str]],
    lean: Collection[TableName],
    took: Took,
) -> Read:
    """Reads columns of the sessions and of other tables, as they are at one moment.

    Rows of the others come with the agent and model of their message.

    Args:
        whole: the database.
        columns: by table, what to read of it; sessions and messages first.
        lean: the tables without large columns, which may be kept.
        took: is told of rows as they are read, in the thread that reads them.

    Raises:
        NotAtOnce: it has to be read row by row.
    """
    if any(None in types(name, of).values() for name, of in columns.items()):
        raise NotAtOnce("values of JSON are objects")
    with whole as entered:
        return _Reading(entered, columns, lean, took).read()


class _Reading:
    def __init__(
        self,
        whole: Whole,
        columns: Mapping[TableName, Sequence[str]],
        lean: Collection[TableName],
        took: Took,
    ) -> None:
        self._whole = whole
        self._columns = columns
        self._lean = lean
        self._took = took
        self._version = whole.schema_version()
        self._marks: Mapping[str, int] = {}
        self._messages: Any = None  # of all sessions, with their agents
        self._astray: set[str] = set()

    def read(self) -> Read:
        names = [name for name in self._columns if name != "sessions"]
        kept: dict[TableName, Kept] = {
            name: found for name in names if (found := self._kept(name)) is not None
        }
        due = self._due(kept)
        has_marked = bool(due) and self._whole.mark()
        self._whole.begin()
        self._marks = self._whole.marks() or {}
        found = self._rows(self._whole, "sessions", self._columns["sessions"])
        try:
            sessions = sessions_of(rows_of(found), None)
        except ValueError as error:
            raise NotAtOnce(str(error)) from error
        is_gone = any(table.marks.keys() - sessions.rows.keys() for table in kept.values())
        if is_gone and (folder := self._whole.beside):
            files.forget(folder)  # another program deleted a session: no text of it is kept on
            kept = {}
        if self._whole.schema_version() != self._version:
            kept, has_marked = {}, False
        beside = self._side_by_side(names)
        if "messages" not in names:
            self._messages = beside.get("messages")
        tables: dict[TableName, Any] = {}
        for name in names:
            table = self._again(name, kept[name], sessions) if name in kept else None
            if table is None:
                rows = beside.pop(name, None)
                if rows is None:
                    rows = self._rows(self._whole, name, self._columns[name])
                table = self._with_agents(name, rows)
                del rows
            if name == "messages" or name in due:  # to be summed up, to be kept
                order = row_order(ranked(table["session_id"], sessions), table)
                if order is not None:
                    columns = dict(zip(table.column_names, table.columns, strict=True))
                    del table
                    table = ordered(columns, order)
            tables[name] = table
            if name == "messages":
                self._messages = table
        return Read(sessions, tables, self._keeping(sessions, tables, due if has_marked else ()))

    def _side_by_side(self, names: Sequence[TableName]) -> dict[TableName, Any]:
        """Rows of the tables, read by two at the same time; of none where there cannot be two."""
        *others, last = names
        columns = {name: self._columns[name] for name in others}
        if not others and last != "messages":
            columns = {"messages": AGENTS}
        if not columns or (twin := self._whole.twin()) is None:
            return {}
        with ThreadPoolExecutor(1) as thread:
            rest = thread.submit(self._rows_by, twin, columns)
            rows = self._rows(self._whole, last, self._columns[last])
            return {last: rows, **rest.result()}

    def _rows_by(
        self, twin: Whole, columns: Mapping[TableName, Sequence[str]]
    ) -> dict[TableName, Any]:
        try:
            with twin as whole:
                whole.begin()
                return {name: self._rows(whole, name, columns[name]) for name in columns}
        except NotAtOnce as error:  # nobody else is let in: one after the other
            log.debug("reading one table after the other: %s", error)
            return {}

    def _kept(self, name: TableName) -> Kept | None:
        folder = self._whole.beside
        if folder is None or name not in self._lean:
            return None
        return files.read(folder, name, self._types(name), self._version)

    def _due(self, kept: Mapping[TableName, Kept]) -> list[TableName]:
        """The tables to be kept anew: not kept yet, or with too many sessions that changed."""
        if self._whole.beside is None or (marks := self._whole.marks()) is None:
            return []
        due: list[TableName] = []
        for name in self._lean:
            if name not in self._columns or name == "sessions":
                continue
            if name in kept:
                clean = len(marks.items() & kept[name].marks.items())
                sessions = max(self._whole.count("sessions"), len(kept[name].marks))
                if clean >= (1 - MOST_NEW) * sessions:
                    continue
            if self._whole.count(name) >= SMALLEST:
                due.append(name)
        return due

    def _again(self, name: TableName, kept: Kept, sessions: Sessions) -> Any:
        """A table from what is kept of it, and from what has changed; None if it is not worth it.

        Raises:
            NotAtOnce: it has to be read row by row.
        """
        clean = {id for id, _ in self._marks.items() & kept.marks.items()}
        codes, ids = coded(kept.table["session_id"])
        changed = (sessions.rows.keys() | {id for id in ids if id is not None}) - clean
        if len(changed) > MOST_READ * max(len(sessions.rows), len(ids)):
            return None
        is_clean = np.array([*(id in clean for id in ids), False])[codes]
        table = taken(kept.table, np.flatnonzero(is_clean))
        if changed:
            fresh = self._rows(self._whole, name, self._columns[name], changed)
            table = pa.concat_tables([table, self._with_agents(name, fresh, changed)])
        # REPLACE takes a row from another session without a word.
        return table if table.num_rows == self._whole.count(name) else None

    def _rows(
        self,
        whole: Whole,
        name: TableName,
        columns: Sequence[str],
        sessions: Collection[str] | None = None,
    ) -> Any:
        """Rows of a table; one thread parses what the other reads."""
        typed = types(name, columns)
        tables = [pa.schema(typed.items()).empty_table()]
        waiting: deque[Future[Any]] = deque()
        before: dict[str, tuple[bytes, Any]] = {}

        def next_one() -> None:
            tables.append(waiting.popleft().result())
            self._took(tables[-1].num_rows)

        with ThreadPoolExecutor(1) as parsing:
            for batch in whole.batches(name, columns, sessions):
                waiting.append(parsing.submit(tabled, batch, typed, before))
                if len(waiting) > PARSING:
                    next_one()
            while waiting:
                next_one()
        return pa.concat_tables(tables)

    def _types(self, name: TableName) -> dict[str, Any]:
        typed = types(name, self._columns[name])
        return typed if name == "messages" else typed | dict.fromkeys(OF_MESSAGE, REPEATED)

    def _with_agents(
        self, name: TableName, rows: Any, sessions: Collection[str] | None = None
    ) -> Any:
        """Rows with the agent and model of their message, which is one of these sessions."""
        if name == "messages":
            return rows
        if self._whole.beside is None:  # asked for again by the frame, and not as it is kept
            place = rows.column_names.index("message_id")
            rows = rows.set_column(place, "message_id", in_one(rows["message_id"]))
        messages = self._messages
        if messages is None:
            messages = self._rows(self._whole, "messages", AGENTS, sessions)
        at = places(rows["message_id"], messages["id"])
        is_given = rows["message_id"].is_valid().to_numpy()
        if self._messages is None and (sessions is None or (is_given & (at < 0)).any()):
            if sessions is not None:  # a message of another session's
                messages = self._rows(self._whole, "messages", AGENTS)
                at = places(rows["message_id"], messages["id"])
            self._messages = messages
        self._note_astray(rows, is_given, messages, at)
        for column in OF_MESSAGE:
            codes, values = coded(messages[column])
            found = np.append(codes, np.int32(-1))[at]
            indices = pa.array(found, pa.int32(), mask=found < 0)
            encoded = pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))
            rows = rows.append_column(column, encoded)
        return rows

    def _note_astray(self, rows: Any, is_given: Numbers, messages: Any, at: Numbers) -> None:
        """Sessions with a row of another session's message: their marks do not say all of them."""
        codes, ids = coded(rows["session_id"])
        own_codes, own_ids = coded(messages["session_id"])
        place = {id: number for number, id in enumerate(own_ids)}
        expected = np.array([*(place.get(id, -2) for id in ids), -2], dtype=np.int32)[codes]
        is_astray = is_given & (np.append(own_codes, np.int32(-1))[at] != expected)
        self._astray |= {id for id in (ids[code] for code in set(codes[is_astray])) if id}

    def _keeping(
        self, sessions: Sessions, tables: Mapping[TableName, Any], due: Collection[TableName]
    ) -> Callable[[], None]:
        whole, folder, version = self._whole, self._whole.beside, self._version
        marks = {id: None if id in self._astray else self._marks.get(id) for id in sessions.rows}
        # Not this reading itself: it would keep the messages as long.
        kept = {name: Kept(tables[name].select(list(self._types(name))), marks) for name in due}

        def keep() -> None:
            if folder is None or not kept:
                return
            for name, table in kept.items():
                files.write(folder, name, table, version)
            if _lacks(whole, marks):  # deleted meanwhile, with what was kept before
                files.forget(folder)

        return keep


def _lacks(whole: Whole, sessions: Collection[str]) -> bool:
    """Whether some sessions are not there now, as far as one can see."""
    try:
        with whole as now:
            return now.lacks(sessions)
    except NotAtOnce:
        return True
