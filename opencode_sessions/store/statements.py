"""The statements that write, each made once: making one takes longer than running it.

A statement takes a row's columns as its parameters, and what else it wants to know of a row under
the names `in_session` and `prompts`. Its own numbers are in its text: a driver binds them to each
row else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from sys import intern
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Dialect,
    Executable,
    Float,
    Insert,
    Integer,
    Select,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from ..models import TABLES, Id, Row
from . import GIVEN, KEPT_BY_APPEND, Append, AppendTo, PutMessage, Step, TableName
from .values import dumps, loads

BESIDE_COLUMNS = {"in_session", "prompts"}
NO_TEXT: ColumnElement[str] = literal_column("''")
ZERO: ColumnElement[int] = literal_column("0")
ONE: ColumnElement[int] = literal_column("1")
INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
SPOKEN: dict[str, Callable[..., Dialect]] = {
    "sqlite": sqlite.dialect,
    "postgresql": postgresql.asyncpg.dialect,
}
DIALECTS = {
    name: spoken(json_serializer=dumps, json_deserializer=loads) for name, spoken in SPOKEN.items()
}


# What SQLAlchemy makes where a row does not say it.
MADE_HERE = {name: {c.name for c in table.c if c.default} for name, table in TABLES.items()}


def _insert(dialect: str, table: TableName) -> Any:
    return INSERTS[dialect](TABLES[table])


def added_to(steps: Iterable[Step]) -> dict[str, list[str]]:
    """What `in_turn` wants to know: the sessions that steps add to, some by a message of theirs."""
    sessions: set[str] = set()
    messages: set[str] = set()
    put: set[str] = set()
    for step in steps:
        if isinstance(step, AppendTo):
            messages.add(step.message_id)
        rows = [step.row] if isinstance(step, PutMessage) else ()
        put |= {row["id"] for row in rows}
        for row in step.rows if isinstance(step, Append) else rows:
            if row.get("session_id"):
                sessions.add(row["session_id"])
            else:
                messages.add(row["message_id"])
    return {"sessions": sorted(sessions), "messages": sorted(messages - put)}


@cache
def in_turn(*, by_message: bool = True) -> Select[Any]:
    """Locks sessions in one order until the transaction ends, for PostgreSQL.

    Where rows are locked and not the database, two writers would count on from the same `seq`.
    """
    sessions, messages = TABLES["sessions"].c, TABLES["messages"].c
    given = bindparam("sessions", type_=ARRAY(Id))
    wanted = sessions.id == func.any(given)
    if by_message:
        of = messages.id == func.any(bindparam("messages", type_=ARRAY(Id)))
        its = select(messages.session_id).where(of)
        wanted = sessions.id.in_(select(func.unnest(given)).union(its))
    chosen = select(sessions.id).where(wanted).order_by(sessions.id)
    return chosen.with_for_update(key_share=True)


@cache
def put_session(dialect: str, is_named: bool) -> Executable:
    """Creates a session or touches the one that has its opencode id; returns it."""
    table, insert = TABLES["sessions"], _insert(dialect, "sessions")
    new = insert.excluded
    statement: Executable = insert.on_conflict_do_update(
        index_elements=[table.c.opencode_id if is_named else table.c.id],
        set_={
            "updated_at": new.updated_at,
            "abi_thread_id": func.coalesce(new.abi_thread_id, table.c.abi_thread_id),
            "title": func.coalesce(func.nullif(table.c.title, NO_TEXT), new.title),
        },
    ).returning(*table.c)
    return statement


@cache
def put_message(dialect: str, is_named: bool) -> Executable:
    """Adds a message to its session or updates the one with its opencode id; returns its place."""
    table, insert = TABLES["messages"], _insert(dialect, "messages")
    new = insert.excluded
    in_session = table.c.session_id == bindparam("in_session", type_=Id)
    last = select(func.coalesce(func.max(table.c.seq) + ONE, ZERO)).where(in_session)
    prompts = bindparam("prompts", type_=Integer)
    # The last one's: turns do not go back, and the greatest is in no index.
    latest = select(table.c.turn).where(in_session, table.c.seq.is_not(None))
    latest = latest.order_by(table.c.seq.desc()).limit(ONE).offset(ZERO)
    turn = func.coalesce(latest.scalar_subquery() + prompts, ONE)
    statement: Executable = (
        insert.values(seq=last.scalar_subquery(), turn=turn)
        .on_conflict_do_update(
            index_elements=[table.c.session_id, table.c.opencode_id] if is_named else [table.c.id],
            set_={"role": new.role, "content": new.content, "parts": new.parts},
        )
        .returning(table.c.id, table.c.session_id, table.c.seq, table.c.turn)
    )
    return statement


@cache
def message() -> Select[Any]:
    """What is stored of a message (`in_message`), but for what it was given."""
    messages = TABLES["messages"].c
    said = (column for column in messages if column.name not in GIVEN)
    return select(*said).where(messages.id == bindparam("in_message", type_=Id))


def message_parameters(row: Row) -> Row:
    """What `put_message` wants to know of a row."""
    return row | {"in_session": row["session_id"], "prompts": int(row["role"] == "user")}


@cache
def place() -> Select[Any]:
    """The session and the turn of a message (`in_message`); a row of nothing if it is not there."""
    messages = TABLES["messages"].c
    its = [
        select(column).where(messages.id == bindparam("in_message", type_=Id)).scalar_subquery()
        for column in (messages.session_id, messages.turn)
    ]
    return select(its[0].label("session_id"), its[1].label("turn"))


@cache
def append(dialect: str, name: TableName, columns: frozenset[str]) -> Executable:
    """Adds a row of these columns to its message, or updates the one that has its id."""
    table, insert = TABLES[name], _insert(dialect, name)
    in_session = table.c.session_id == bindparam("in_session", type_=Id)
    last = select(func.coalesce(func.max(table.c.seq) + ONE, ZERO)).where(in_session)
    changed = (columns | {"turn"}) - KEPT_BY_APPEND
    statement: Executable = insert.values(seq=last.scalar_subquery()).on_conflict_do_update(
        index_elements=[table.c.id],
        set_={column: insert.excluded[column] for column in changed},
    )
    return statement


def append_parameters(row: Row, place: Row) -> Row:
    """What `append` wants to know of a row of the message that has this place."""
    session_id = row["session_id"] or place["session_id"]
    return row | {"session_id": session_id, "turn": place["turn"], "in_session": session_id}


@cache
def put(dialect: str, name: TableName, columns: frozenset[str]) -> Insert:
    """Inserts rows of these columns, or updates those of their session that have their ids."""
    table, insert = TABLES[name], _insert(dialect, name)
    changed = {column: insert.excluded[column] for column in columns - {"id"}}
    is_own = None if name == "sessions" else table.c.session_id == insert.excluded.session_id
    statement: Insert = insert.on_conflict_do_update(
        index_elements=[table.c.id], set_=changed, where=is_own
    )
    return statement


@dataclass(frozen=True, slots=True)
class Text:
    """A statement as its driver takes it."""

    sql: str
    names: list[str]
    """The columns, and what else a row has to have, in the order of the parameters."""
    columns: list[str]
    """Those it gives back; none if it gives nothing."""
    made: dict[int, Callable[[Any], Any]]
    """How what the driver gives becomes a value, by the column's place."""

    def row(self, values: Sequence[Any]) -> dict[str, Any]:
        """A row of those it gave back."""
        row = dict(zip(self.columns, values, strict=True))
        for place, make in self.made.items():
            if values[place] is not None:
                row[self.columns[place]] = make(values[place])
        return row


def driver_text(statement: Any, dialect: str, columns: frozenset[str]) -> Text:
    """A statement of this module for the driver, its values said by a row of these columns."""
    columns -= BESIDE_COLUMNS
    spoken = DIALECTS[dialect]
    compiled = statement.compile(dialect=spoken, column_keys=sorted(columns))
    names = [intern(str(name)) for name in compiled.positiontup or ()]  # as keys of rows are
    gives = statement.is_select or compiled.effective_returning
    returned = list(statement.exported_columns) if gives else []
    made = {}
    for place, column in enumerate(returned):
        kind = column.type.dialect_impl(spoken)
        if not isinstance(column.type, Float) and (make := kind.result_processor(spoken, None)):
            made[place] = make  # a float is one already
    return Text(str(compiled), names, [column.name for column in returned], made)


@cache
def put_text(name: TableName, columns: frozenset[str]) -> tuple[str, list[str]] | None:
    """What `put` says to SQLite, and its columns in order; None where values have to be added."""
    text = driver_text(put("sqlite", name, columns), "sqlite", columns)
    return (text.sql, text.names) if columns.issuperset(text.names) else None
