"""Steps as Core statements, one after the other, in a transaction that is open."""

from collections.abc import Sequence
from itertools import product

from sqlalchemy import Executable, delete, select

from ..models import TABLES, Row
from . import (
    TABLE_NAMES,
    Append,
    AppendTo,
    Delete,
    IdsTaken,
    Prune,
    Put,
    PutMessage,
    PutSession,
    Step,
    TableName,
    bulk,
    queries,
    statements,
)
from .engine import Executor, check_supported
from .values import plain

BATCH = 2000  # ids in one statement


async def apply(executor: Executor, dialect: str, steps: Sequence[Step]) -> list[Row]:
    """Applies all steps; gives a row for each PutSession, PutMessage and pruned session.

    Raises:
        IdsTaken: other sessions have some of the ids; nothing is to be committed.
    """
    check_supported(dialect)
    rows: list[Row] = []
    taken: dict[TableName, set[str]] = {}
    aliases: dict[str, str] = {}
    if dialect == "postgresql":
        await executor.execute(statements.in_turn(), statements.added_to(steps))
    for step in steps:
        if isinstance(step, AppendTo):
            id = aliases.get(step.message_id, step.message_id)
            for append in step.within(id):
                await _applied(executor, dialect, append)
        elif isinstance(step, Put):
            if ids := await _put(executor, dialect, step):
                taken[step.table] = ids | taken.get(step.table, set())
        else:
            given = await _applied(executor, dialect, step)
            if isinstance(step, PutMessage):
                aliases[step.row["id"]] = given[0]["id"]
            rows += given
    if taken:
        raise IdsTaken(taken)
    return rows


async def _applied(executor: Executor, dialect: str, step: Step) -> list[Row]:
    match step:
        case PutSession(row):
            statement = statements.put_session(dialect, row["opencode_id"] is not None)
            return await _returned(executor, statement, row)
        case PutMessage(row):
            row = plain(row)
            statement = statements.put_message(dialect, row["opencode_id"] is not None)
            put = await _returned(executor, statement, statements.message_parameters(row))
            if put[0]["id"] != row["id"]:
                its = {"in_message": put[0]["id"]}
                put = await _returned(executor, statements.message(), its)
            return [row | put[0]]
        case Append(table, rows) if rows:
            places: dict[str, Row] = {}
            for id in {row["message_id"] for row in rows}:
                places[id], *_ = await _returned(executor, statements.place(), {"in_message": id})
            placed = [
                statements.append_parameters(plain(row), places[row["message_id"]]) for row in rows
            ]
            statement = statements.append(dialect, table, frozenset(rows[0]))
            await executor.execute(statement, placed)
        case Prune(before):
            idle = [id for (id,) in await executor.execute(queries.idle(before))]
            await _applied(executor, dialect, Delete("sessions", idle))
            return [{"id": id} for id in idle]
        case Delete(parents, ids):
            for start, name in product(range(0, len(ids), BATCH), TABLE_NAMES):
                source = TABLES[name]
                key = "id" if name == parents else f"{parents.removesuffix('s')}_id"
                if key in source.c:
                    chosen = source.c[key].in_(list(ids[start : start + BATCH]))
                    await executor.execute(delete(source).where(chosen))
    return []


async def _put(executor: Executor, dialect: str, step: Put) -> set[str]:
    """Puts rows; gives the ids of those that were not written, as other sessions have them."""
    table, rows = step.table, list(step.rows)
    if not rows:
        return set()
    written = await bulk.put(executor, dialect, table, rows)
    if table == "sessions" or written == len(rows):
        return set()
    # Some were not written, or the driver does not count.
    own, source = {row["id"]: row["session_id"] for row in rows}, TABLES[table]
    taken: set[str] = set()
    for start in range(0, len(rows), BATCH):
        some = [row["id"] for row in rows[start : start + BATCH]]
        stored = select(source.c.id, source.c.session_id).where(source.c.id.in_(some))
        holders = (await executor.execute(stored)).all()
        taken |= {row.id for row in holders if own[row.id] != row.session_id}
    return taken


async def _returned(executor: Executor, statement: Executable, row: Row) -> list[Row]:
    return [dict((await executor.execute(statement, row)).mappings().one())]
