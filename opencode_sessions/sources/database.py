"""opencode's SQLite database, of every version since 1.2: its rows, as records.

A database may hold the tables of today's engine, of the next one (`next_engine`), or both: then a
message that both have is today's, and what only one has is added.

Tables that may hold secrets (account, control_account, credential, session_share) are never read.
A row that cannot be understood becomes a `Problem`, and what is good around it is still yielded.
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..changes import Message
from ..errors import SourceError
from ..loose import as_number
from . import next_engine
from .snapshots import Snapshots, kept_projects
from .source import (
    Item,
    Json,
    Problem,
    as_str,
    created,
    is_settled,
    is_wanted,
    parse_json,
    with_snapshots,
)
from .surroundings import Loaded, Surroundings, neighbourhoods
from .untouched import unreadable, untouched

NEEDED = ("session", "message", "part")
NEXT_ENGINE = (next_engine.SESSIONS, next_engine.MESSAGES)
SESSIONS = ("session", next_engine.SESSIONS)
# Everything opencode 1.2 to 1.18 creates, and what the next engine keeps beside its sessions:
# prompts that wait, and what it was told. Other tables are from a version newer than we know.
KNOWN = {
    *NEEDED,
    *NEXT_ENGINE,
    *("session_inbox", "session_pending", "instruction_entry", "instruction_checkpoint"),
    *("project", "project_directory", "permission", "todo", "workspace", "event", "event_sequence"),
    *("session_input", "session_context_epoch", "session_share", "migration"),
    *("account", "account_state", "control_account", "credential", "data_migration"),
    *("__drizzle_migrations", "sqlite_sequence"),
}
SUMMARY = ("additions", "deletions", "files", "diffs")
TOKENS = ("input", "output", "reasoning")
SUM_BELOW = 10**9  # so that the times of any number of rows add up to 64 bits
JSON_COLUMNS = ("revert", "permission", "model", "metadata", "summary_diffs")


@dataclass(frozen=True, slots=True)
class Database:
    """One opencode database."""

    path: Path

    kind = "database"

    def __str__(self) -> str:
        return str(self.path)

    def sessions(
        self,
        *,
        since: datetime | None = None,
        project: str | None = None,
        shell: bool = True,
        leave_out: Container[str] = (),
    ) -> Iterator[Item]:
        """First the number of sessions that follow, then each session and each problem met.

        Raises:
            SourceError: no opencode database, or locked, or damaged beyond reading.
            SourceChanged: opencode rewrote the file meanwhile.
        """
        with untouched(self.path) as connection, Snapshots(self.path.parent) as snapshots:
            tables, every = self._every(connection)
            wanted = [
                one
                for one in every
                if one[0]["id"] not in leave_out and is_wanted(*one, since, project)
            ]
            worktree_of = {info["id"]: worktree for info, worktree in every}
            around = Surroundings(
                snapshots, every, lambda id: _loaded(connection, tables, id, worktree_of[id])
            )
            yield len(wanted)
            for info, worktree in wanted:
                yield from around.session(info, worktree, shell)
            yield from _strays(connection, tables)
            yield from snapshots.missing()

    def _every(
        self, connection: sqlite3.Connection
    ) -> tuple[set[str], list[tuple[Json, str | None]]]:
        """The tables there are, and each session with its worktree."""
        try:
            tables = _tables(connection, self.path)
            worktrees = _worktrees(connection) if "project" in tables else {}
            infos = _session_infos(connection, tables)
        except sqlite3.DatabaseError as error:
            raise unreadable(self.path, error) from error
        return tables, [(info, worktrees.get(info.get("projectID", ""))) for info in infos]

    def neighbourhoods(self) -> list[list[str]]:
        """The sessions that were at work in one worktree at one time, together."""
        with untouched(self.path) as connection:
            _tables, every = self._every(connection)
        return neighbourhoods(every)

    def states(self) -> dict[str, str | None]:
        """How many messages and parts each session has, and when they were written."""
        latest: dict[str, float] = {}
        states: dict[str, str] = {}  # of sessions, the first tables: others may have strays
        is_whole = True
        with untouched(self.path) as connection:
            try:
                tables = _tables(connection, self.path)
                for table in (*SESSIONS, "message", "part", next_engine.MESSAGES):
                    if table not in tables:
                        continue
                    try:
                        counts = _written(connection, table)
                    except sqlite3.DatabaseError:
                        if table in SESSIONS:
                            raise
                        is_whole = False  # what is read of it is read again the next time
                        continue
                    for id, count, total, touched in counts:
                        id, at = as_str(id), as_number(touched) or 0.0
                        if id not in states and table not in SESSIONS:
                            continue
                        states[id] = f"{states.get(id, '')}/{count}:{total}:{at:.0f}"
                        latest[id] = max(latest.get(id, 0.0), at)
                kept = _with_snapshots(connection, tables, kept_projects(self.path.parent))
            except sqlite3.DatabaseError as error:
                raise unreadable(self.path, error) from error
        return {
            id: with_snapshots(state if is_whole and is_settled(latest[id]) else None, id in kept)
            for id, state in states.items()
        }

    def notes(self) -> list[str]:
        """What else the database holds that this version does not read, one sentence each."""
        notes = []
        with untouched(self.path) as connection:
            try:
                tables = _tables(connection, self.path)
            except sqlite3.DatabaseError as error:
                raise unreadable(self.path, error) from error
            try:
                if unknown := sorted(tables - KNOWN):
                    counts = (f"{name} ({_count(connection, name)} rows)" for name in unknown)
                    notes.append(f"tables newer than this version, not read: {', '.join(counts)}")
                notes += next_engine.unread(connection, tables)
            except sqlite3.DatabaseError as error:
                notes.append(f"what else is in it cannot be read: {error}")
        return notes


def _tables(connection: sqlite3.Connection, path: Path) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    tables = {as_str(name) for (name,) in rows}
    missing = [name for name in NEEDED if name not in tables]
    if missing and not tables.issuperset(NEXT_ENGINE):
        found = ", ".join(sorted(tables)[:8]) or "none"
        raise SourceError(
            f"{path} is no opencode database: it has no table {' and '.join(missing)} "
            f"(tables: {found})."
        )
    return tables


def _count(connection: sqlite3.Connection, table: str, where: str = "") -> int:
    name = table.replace('"', '""')
    count: int = connection.execute(f'SELECT count(*) FROM "{name}" {where}').fetchone()[0]
    return count


def _written(connection: sqlite3.Connection, table: str) -> list[tuple[Any, ...]]:
    """By session, how many rows a table has, and when they were written."""
    key = "id" if table in SESSIONS else "session_id"
    return connection.execute(
        f"SELECT {key}, count(*), sum(time_updated % {SUM_BELOW}), "
        # as the rows lie in the file: by an index each is looked for
        f"max(time_updated) FROM {table} NOT INDEXED GROUP BY {key}"
    ).fetchall()


def _worktrees(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT id, worktree FROM project")
    return {as_str(id): as_str(worktree) for id, worktree in rows if worktree is not None}


def _with_snapshots(
    connection: sqlite3.Connection, tables: set[str], projects: set[str]
) -> set[str]:
    """The sessions of these projects."""
    found = set()
    for table in SESSIONS if projects else ():
        if table in tables:
            rows = connection.execute(f"SELECT id, project_id FROM {table}")
            found |= {as_str(id) for id, project in rows if as_str(project) in projects}
    return found


def _session_infos(connection: sqlite3.Connection, tables: set[str]) -> list[Json]:
    """The sessions, oldest first; of one that both engines have, the next one's row is newer."""
    infos: dict[str, Json] = {}
    for table in SESSIONS:
        if table in tables:
            columns = [as_str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY time_created, id"):
                info = _session_info(dict(zip(columns, row, strict=True)))
                infos[info["id"]] = infos.get(info["id"], {}) | info
    return sorted(infos.values(), key=created)


def _loaded(
    connection: sqlite3.Connection, tables: set[str], session_id: str, worktree: str | None
) -> Loaded:
    """A session's messages; none, and why, if their pages are damaged."""
    messages: list[Message] = []
    problems: list[Problem] = []
    size = 0
    try:
        if "message" in tables and "part" in tables:
            messages, problems, size = _todays_messages(connection, session_id)
        if next_engine.is_read(tables, has_todays=bool(messages)):
            known = {info["id"] for info, _parts in messages}
            more, unread, read = next_engine.messages(connection, session_id, worktree, known)
            messages, problems, size = messages + more, problems + unread, size + read
    except sqlite3.DatabaseError as error:
        reason = f"unreadable in the database: {error}"
        return Loaded(None, [Problem(f"session {session_id}", reason)], 0)
    return Loaded(messages, problems, size)


def _todays_messages(
    connection: sqlite3.Connection, session_id: str
) -> tuple[list[Message], list[Problem], int]:
    problems: list[Problem] = []
    size = 0
    parts: dict[str, list[Json]] = defaultdict(list)
    rows = connection.execute(
        "SELECT id, message_id, data FROM part WHERE session_id = ? ORDER BY id", (session_id,)
    )
    for id, message_id, data in rows:
        part = parse_json(data)
        if not isinstance(part, dict):
            problems.append(Problem(f"part {as_str(id)} of {session_id}", "its JSON is broken"))
            continue
        ids = {"id": as_str(id), "sessionID": session_id, "messageID": as_str(message_id)}
        parts[ids["messageID"]].append({**ids, **part, **ids})
        size += len(data)
    messages: list[Message] = []
    rows = connection.execute(
        "SELECT id, time_created, data FROM message WHERE session_id = ?", (session_id,)
    )
    for id, time_created, data in rows:
        info = parse_json(data)
        if not isinstance(info, dict):
            # Its tool calls happened all the same: keep them, under what the row itself tells.
            problems.append(Problem(f"message {as_str(id)} of {session_id}", "its JSON is broken"))
            info = {"time": {"created": time_created}}
        else:
            size += len(data)  # prompts may hold whole files, in their summary
        ids = {"id": as_str(id), "sessionID": session_id}
        messages.append(({**ids, **info, **ids}, parts.pop(ids["id"], [])))
    for message_id, orphans in parts.items():
        place = f"message {message_id} of {session_id}"
        problems.append(Problem(place, f"has no row, only {len(orphans)} parts"))
    return messages, problems, size


def _strays(connection: sqlite3.Connection, tables: set[str]) -> Iterator[Problem]:
    """Rows that hang on no session any more: named, so that nothing is lost in silence."""
    sessions = " UNION ".join(f"SELECT id FROM {table}" for table in SESSIONS if table in tables)
    for table in ("message", "part", next_engine.MESSAGES):
        if table not in tables:
            continue
        strays = f"SELECT DISTINCT session_id FROM {table} WHERE session_id NOT IN ({sessions})"
        try:
            for (session_id,) in connection.execute(strays).fetchall():
                place = f"of {as_str(session_id)}"
                rows = f"SELECT id FROM {table} WHERE session_id IN (?1, CAST(?1 AS TEXT))"
                for (id,) in connection.execute(rows, (session_id,)):
                    yield Problem(f"{table} {as_str(id)} {place}", "its session has no row")
        except sqlite3.DatabaseError as error:
            yield Problem(f"{table} rows", f"unreadable in the database: {error}")


def _session_info(row: Json) -> Json:
    """A session row in the shape of opencode's export; columns newer than ours keep their name."""
    values = {
        key: as_str(value) if isinstance(value, bytes) else value for key, value in row.items()
    }
    for key in JSON_COLUMNS:
        if isinstance(row.get(key), bytes):
            values[key] = parse_json(row[key])
    info: Json = {"id": as_str(values.pop("id"))}
    for column, key in (("project_id", "projectID"), ("parent_id", "parentID")):
        info[key] = values.pop(column, None)
    info["time"] = _taken(values, "time_", ("created", "updated", "compacting", "archived"))
    info["summary"] = _taken(values, "summary_", SUMMARY)
    info["tokens"] = _taken(values, "tokens_", TOKENS)
    info["tokens"]["cache"] = _taken(values, "tokens_cache_", ("read", "write"))
    info["share"] = _taken(values, "share_", ("url",))
    info = values | info
    return {key: value for key, value in info.items() if value not in (None, {}, {"cache": {}})}


def _taken(values: Json, prefix: str, names: tuple[str, ...]) -> Json:
    taken = {name: values.pop(prefix + name, None) for name in names}
    return {name: value for name, value in taken.items() if value is not None}


def is_opencode_database(path: str | os.PathLike[str]) -> bool:
    """Whether this file is opencode's own database, found out without leaving a trace."""
    file = Path(path)
    if "://" in os.fspath(path) or not file.is_file() or file.stat().st_size == 0:
        return False
    is_opencodes = False
    try:
        with untouched(file) as connection:
            _tables(connection, file)
            is_opencodes = True  # also if opencode writes to it just now
    except SourceError:
        pass
    return is_opencodes
