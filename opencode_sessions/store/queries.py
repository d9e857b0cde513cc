"""What reads of a store ask a database, for either dialect; `statements` has what writes say."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CompoundSelect,
    Float,
    Select,
    String,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    text,
    union,
    union_all,
)

from ..models import IS_MOVE, ODDLY_WRITTEN, TABLES, Id
from . import MONEY, TableName, Where
from .texts import expressions
from .values import dumps

# Every path begins with nothing. PostgreSQL takes nearly all paths to be odd ones and would look at
# each; of those that begin with what it does not know yet it expects few, and asks their index.
WITH_ANY_BEGINNING = "file_path ^@ (SELECT '')"

# A statement, and the values it is asked with. One that is made anew or has values of its own is
# read through by SQLAlchemy each time, to find what it was compiled to.
Asked = tuple[Select[Any] | CompoundSelect[Any], dict[str, Any]]


def chosen(name: TableName, columns: Sequence[str], where: Where) -> Asked:
    """Rows of a table; `where` gives each column's allowed values."""
    return _chosen(name, tuple(columns), tuple(where)), _allowed(where)


def texts(name: TableName, columns: Sequence[str], where: Where) -> Asked:
    """The same as one row of texts, for SQLite."""
    given = {column: _values("sqlite", values) for column, values in where.items()}
    return _texts(name, tuple(columns), tuple(where)), given


@cache
def _chosen(name: TableName, columns: tuple[str, ...], by: tuple[str, ...]) -> Select[Any]:
    return _where(select(*(TABLES[name].c[column] for column in columns)), name, by)


@cache
def _texts(name: TableName, columns: tuple[str, ...], by: tuple[str, ...]) -> Select[Any]:
    is_allowed = (_is_among("sqlite", TABLES[name].c[column], column) for column in by)
    return _as_texts(name, columns).select_from(TABLES[name]).where(*is_allowed)


def counts(dialect: str, name: TableName, where: Where) -> Asked:
    """By session, how many rows a table has; of messages also the prompts and the sums.

    Floats are added up in the order of the session, so that where rows lie changes no sum: SQLite
    reads them so from the index of the totals, PostgreSQL is told.
    """
    table = TABLES[name]
    found = [table.c.session_id, func.count()]
    if name == "messages":
        found.append(func.count(case((table.c.role == "user", 1))))
        own = table.c.is_fork_copy.is_not(True)
        for column in MONEY:
            # As floats: an SQLite sum of integers fails where it is too large for one.
            total: Any = func.sum(case((own, cast(table.c[column], Float))))
            if column == "cost_usd" and dialect == "postgresql":  # tokens are whole numbers
                total = total.aggregate_order_by(table.c.seq, table.c.cost_usd)
            found.append(total)
    counted = _where(select(*found), name, tuple(where)).group_by(table.c.session_id)
    return counted, _allowed(where)


def with_prompt(message_id: str) -> Asked:
    """The row ids of a message and of the prompt it answers."""
    return _with_prompt(), {"message_id": message_id}


@cache
def _with_prompt() -> CompoundSelect[Any]:
    message, prompt = TABLES["messages"].alias(), TABLES["messages"].alias()
    is_it = message.c.id == bindparam("message_id", type_=Id)
    answered = (
        select(prompt.c.id)
        .join(message, prompt.c.session_id == message.c.session_id)
        .where(is_it, message.c.role != "user", prompt.c.role == "user")
        .where(prompt.c.seq < message.c.seq)
        .order_by(prompt.c.seq.desc(), prompt.c.id.desc())
        .limit(1)
    )
    return union_all(select(message.c.id).where(is_it), select(answered.subquery().c.id))


def touched(since: datetime) -> CompoundSelect[Any]:
    """The sessions in which something happened at or after a moment."""
    sessions, messages = TABLES["sessions"].c, TABLES["messages"].c
    is_new = or_(sessions.created_at >= since, sessions.updated_at >= since)
    with_messages = select(messages.session_id).where(messages.created_at >= since)
    return union(select(sessions.id).where(is_new), with_messages)


def idle(before: datetime) -> Select[Any]:
    """The sessions in which something happened, but nothing since a moment."""
    sessions, messages = TABLES["sessions"].c, TABLES["messages"].c
    its = select(1).where(messages.session_id == sessions.id)
    times = (sessions.created_at, sessions.updated_at)
    return select(sessions.id).where(
        *(func.coalesce(time < before, True) for time in times),
        ~its.where(messages.created_at >= before).exists(),
        or_(
            *(time.is_not(None) for time in times),
            its.where(messages.created_at.is_not(None)).exists(),
        ),
    )


@cache
def places() -> Select[Any]:
    """Each different place of a session."""
    sessions = TABLES["sessions"].c
    return select(sessions.workdir, sessions.worktree).distinct()


def on_paths(
    dialect: str, columns: Sequence[str], paths: Collection[str] | None, ending: str
) -> Asked:
    """File events on some paths, or on oddly written ones that may be shown with this ending.

    With no paths, on any that may. Each part has an index of its own; a row may come twice.
    Columns that events do not have, are those of their message.
    """
    given = {} if paths is None else {"paths": _values(dialect, paths)}
    return _on_paths(dialect, tuple(columns), paths is None), _ending(ending) | given


def texts_on_paths(columns: Sequence[str], paths: Collection[str] | None, ending: str) -> Asked:
    """The same as one row of texts, for SQLite; no row comes twice."""
    given = {} if paths is None else {"paths": _values("sqlite", paths)}
    return _texts_on_paths(tuple(columns), paths is None), _ending(ending) | given


def _ending(ending: str) -> dict[str, str]:
    return {"ending": re.sub("[%_/]", r"/\g<0>", ending)}


@cache
def _on_paths(dialect: str, columns: tuple[str, ...], is_any: bool) -> CompoundSelect[Any]:
    found = _with_messages(columns)
    return union_all(*(found.where(*way) for way in _ways(dialect, is_any)))


@cache
def _texts_on_paths(columns: tuple[str, ...], is_any: bool) -> Select[Any]:
    events = TABLES["file_events"]
    rowid: ColumnElement[int] = literal_column(f"{events.name}.rowid")
    ids = select(rowid).select_from(events).correlate(None)
    on = union_all(*(ids.where(*way) for way in _ways("sqlite", is_any)))
    found = _with_messages(columns).where(rowid.in_(on))
    return _as_texts("file_events", columns).select_from(found.subquery())


def _with_messages(columns: Sequence[str]) -> Select[Any]:
    events, messages = TABLES["file_events"], TABLES["messages"]
    has = [(events if name in events.c else messages).c[name] for name in columns]
    with_messages = events.outerjoin(messages, messages.c.id == events.c.message_id)
    return select(*has).select_from(with_messages)


def _ways(dialect: str, is_any: bool) -> list[tuple[ColumnElement[bool], ...]]:
    """How a file event may be on some paths or, without them, on any that may have the ending."""
    path, new_path = (TABLES["file_events"].c[name] for name in ("file_path", "new_file_path"))
    ending = bindparam("ending", type_=String())
    is_move: ColumnElement[bool] = literal_column(IS_MOVE)
    is_odd: ColumnElement[bool] = literal_column(f"({ODDLY_WRITTEN})")
    if dialect == "postgresql":
        is_odd &= literal_column(WITH_ANY_BEGINNING)

    def may_end(path: ColumnElement[str | None]) -> ColumnElement[bool]:
        closings = (path.endswith(mark, autoescape=True) for mark in ("/", "\\", "."))
        # Not the parameter alone: SQLite would plan the whole statement anew for each value of it.
        return or_(path.like("%" + ending, escape="/"), path == "", *closings)

    if is_any:
        return [(may_end(path),), (is_move, may_end(new_path))]
    is_it, is_moved_there = (_is_among(dialect, of, "paths") for of in (path, new_path))
    return [
        (is_it,),
        (is_odd, may_end(path)),
        (is_move, or_(is_moved_there, may_end(new_path))),
    ]


def _is_among(dialect: str, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
    """Whether a value is among those of one parameter, however many these are.

    The statement is the same for all: PostgreSQL soon has a plan for it, which takes longer than to
    find a file's events.
    """
    if dialect == "postgresql":
        return column == func.any(bindparam(parameter, type_=ARRAY(String)))
    values = text(f"SELECT value FROM json_each(:{parameter})")
    return column.in_(values.bindparams(bindparam(parameter, type_=String())))


def _values(dialect: str, values: Collection[str]) -> list[str] | str:
    return list(values) if dialect == "postgresql" else dumps(list(values))


def _as_texts(name: TableName, columns: Sequence[str]) -> Select[Any]:
    made: list[ColumnElement[Any]] = [literal_column(each) for each in expressions(name, columns)]
    return select(*made)


def known(name: TableName, ids: Sequence[str]) -> Select[Any]:
    """Those of these ids that a table has, in one parameter on PostgreSQL."""
    id = TABLES[name].c.id
    return select(id).where(id == func.any(bindparam(None, ids, type_=ARRAY(Id))))


def _where(statement: Select[Any], name: TableName, by: Sequence[str]) -> Select[Any]:
    for column in map(TABLES[name].c.__getitem__, by):
        allowed = bindparam(column.name, type_=column.type, expanding=True)
        statement = statement.where(column.in_(allowed))
    return statement


def _allowed(where: Where) -> dict[str, Any]:
    return {column: list(values) for column, values in where.items()}
