"""What applications append, many writes in few statements, for the driver itself to run.

Through SQLAlchemy a statement costs as much as 60 on SQLite's driver, most of it spent in waiting
for the driver's thread. So SQLAlchemy makes each statement once, and the driver runs those of a
transaction together: on SQLite in one visit to a thread, on PostgreSQL in a round trip for each
kind of row. What to run is said by a generator that is sent what came back, the same for both.

Rows go in by kind: sessions, messages, then what is in them. Those of one kind keep their order,
and none depends on a later kind. A row that turns out to be stored under another id than it was
given is known by both to all that comes after it.
"""

from collections import defaultdict
from collections.abc import Collection, Generator, Sequence
from functools import cache
from typing import Any, NamedTuple

from ..models import Row
from . import Append, AppendTo, PutMessage, PutSession, Step, TableName, statements
from .statements import Text

ADDING = PutSession | PutMessage | Append | AppendTo

Appending = Generator["Run", Sequence[Sequence[Any]] | None, list[Row]]


class Run(NamedTuple):
    """One statement to run for several rows; each gives one back if the statement has columns."""

    text: Text
    rows: Sequence[Row]
    into: TableName | None = None
    """The table, where the rows are appended to messages."""


def is_appending(steps: Sequence[Step]) -> bool:
    """Whether these steps only add to what is there."""
    return all(isinstance(step, ADDING) for step in steps)


def appending(dialect: str, steps: Sequence[Step]) -> Appending:
    """Says what to run for these steps; returns a row for each PutSession and PutMessage."""
    stored: dict[int, Row] = {}
    aliases: dict[str, str] = {}
    if sessions := [(n, step.row) for n, step in enumerate(steps) if isinstance(step, PutSession)]:
        yield from _put("sessions", dialect, sessions, stored, aliases)
    messages = [
        (n, _known(step.row, aliases))
        for n, step in enumerate(steps)
        if isinstance(step, PutMessage)
    ]
    if messages:
        yield from _put("messages", dialect, messages, stored, aliases)
    lots: dict[tuple[TableName, frozenset[str]], list[Row]] = defaultdict(list)
    for step in steps:
        for append in _appends(step, aliases):
            if append.rows:
                lots[append.table, frozenset(append.rows[0])] += (
                    [_known(row, aliases) for row in append.rows] if aliases else append.rows
                )
    places = {stored[n]["id"]: stored[n] for n, _row in messages}
    asked = {row["message_id"] for rows in lots.values() for row in rows} - places.keys()
    if asked:
        yield from _places(dialect, asked, places)
    for (table, columns), rows in lots.items():
        placed = [statements.append_parameters(row, places[row["message_id"]]) for row in rows]
        yield Run(_append_text(dialect, table, columns), placed, table)
    return [stored[n] for n in sorted(stored)]


def _put(
    table: TableName,
    dialect: str,
    asked: Sequence[tuple[int, Row]],
    stored: dict[int, Row],
    aliases: dict[str, str],
) -> Generator[Run, Sequence[Sequence[Any]] | None, None]:
    """Puts sessions or messages; those that opencode has named are known by that name."""
    is_message = table == "messages"
    for is_named in (True, False):
        lot = [(n, row) for n, row in asked if (row["opencode_id"] is not None) is is_named]
        if not lot:
            continue
        text = _put_text(dialect, table, is_named, frozenset(lot[0][1]))
        rows = [row for _n, row in lot]
        if is_message:
            rows = [statements.message_parameters(row) for row in rows]
        found = yield Run(text, rows)
        for (n, row), values in zip(lot, found or (), strict=True):
            stored[n] = row | text.row(values)
            if stored[n]["id"] != row["id"]:
                aliases[row["id"]] = stored[n]["id"]
    if is_message and (others := [n for n, row in asked if row["id"] in aliases]):
        text = _message_text(dialect)
        found = yield Run(text, [{"in_message": stored[n]["id"]} for n in others])
        for n, values in zip(others, found or (), strict=True):
            stored[n] |= text.row(values)


def _places(
    dialect: str, ids: Collection[str], places: dict[str, Row]
) -> Generator[Run, Sequence[Sequence[Any]] | None, None]:
    """Looks up where messages are that were stored before."""
    text = _place_text(dialect)
    found = yield Run(text, [{"in_message": id} for id in ids])
    places |= {id: text.row(values) for id, values in zip(ids, found or (), strict=True)}


def _appends(step: Step, aliases: dict[str, str]) -> Sequence[Append]:
    if isinstance(step, AppendTo):
        return step.within(aliases.get(step.message_id, step.message_id))
    return [step] if isinstance(step, Append) else []


def _known(row: Row, aliases: dict[str, str]) -> Row:
    """The row with the ids its session and message are stored under."""
    if not aliases:
        return row
    names = [name for name in ("session_id", "message_id") if row.get(name) in aliases]
    return row | {name: aliases[row[name]] for name in names}


@cache
def _put_text(dialect: str, table: TableName, is_named: bool, columns: frozenset[str]) -> Text:
    put = statements.put_session if table == "sessions" else statements.put_message
    return statements.driver_text(put(dialect, is_named), dialect, columns)


@cache
def _place_text(dialect: str) -> Text:
    return statements.driver_text(statements.place(), dialect, frozenset({"in_message"}))


@cache
def _message_text(dialect: str) -> Text:
    return statements.driver_text(statements.message(), dialect, frozenset({"in_message"}))


@cache
def _append_text(dialect: str, table: TableName, columns: frozenset[str]) -> Text:
    statement = statements.append(dialect, table, columns)
    return statements.driver_text(statement, dialect, columns | {"turn"})
